//! A line on the terminal while an agent works: for how long, and on what. Without a terminal there is none.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::Ui;
use super::stderr::Stderr;
use super::terminal::escape_control;
use crate::env;

const TICK: Duration = Duration::from_millis(100);

/// The line, which is cleared when this is dropped.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// Shows the line; `None` if standard error is not a terminal or is to be quiet.
    pub(crate) fn start(ui: &Ui, prefix: &'static str) -> Option<Self> {
        if ui.is_quiet() || !io::stderr().is_terminal() || env::var_os("TERM").is_none_or(|terminal| terminal == "dumb")
        {
            return None;
        }
        let target = ProgressDrawTarget::term_like_with_hz(
            Box::new(Screen { frame: Mutex::default(), stderr: Arc::clone(&ui.stderr) }),
            20,
        );
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(prefix);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Some(Self(bar))
    }

    /// Returns a handle that sets the text of the line from another thread.
    pub(crate) fn handle(&self) -> SpinnerHandle {
        SpinnerHandle(self.0.clone())
    }
}

/// Sets the text of a [`Spinner`].
pub(crate) struct SpinnerHandle(ProgressBar);

impl SpinnerHandle {
    /// Shows what the agent is doing.
    pub(crate) fn set(&self, text: &str) {
        self.0.set_message(escape_control(text));
    }
}

/// The terminal on standard error, drawn frame by frame ([`Stderr::draw`]). A terminal that is stopped (Ctrl-S) must not
/// hold up the call, and indicatif's target would wait for it.
#[derive(Debug)]
struct Screen {
    /// The frame so far.
    frame: Mutex<String>,
    stderr: Arc<Stderr>,
}

impl Screen {
    fn put(&self, part: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner).write_fmt(part).map_err(io::Error::other)
    }
}

/// The sequences are those of ECMA-48: CUU, CUD, CUF, CUB and EL.
impl TermLike for Screen {
    fn width(&self) -> u16 {
        Term::stderr().size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.put(format_args!("\x1b[{n}A")) } else { Ok(()) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.put(format_args!("\x1b[{n}B")) } else { Ok(()) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.put(format_args!("\x1b[{n}C")) } else { Ok(()) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.put(format_args!("\x1b[{n}D")) } else { Ok(()) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let frame = std::mem::take(&mut *self.frame.lock().unwrap_or_else(PoisonError::into_inner));
        self.stderr.draw(&frame);
        Ok(())
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_moves_only_by_a_count() {
        let screen = Screen { frame: Mutex::default(), stderr: Arc::default() };
        for count in [0, 2] {
            screen.move_cursor_up(count).unwrap();
            screen.move_cursor_down(count).unwrap();
            screen.move_cursor_right(count).unwrap();
            screen.move_cursor_left(count).unwrap();
        }
        assert_eq!(*screen.frame.lock().unwrap(), "\x1b[2A\x1b[2B\x1b[2C\x1b[2D");
    }
}

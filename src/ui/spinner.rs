//! What a person at a terminal sees while an answer is being made: that something is going on, for how long, and what.
//! Where standard error is no terminal there is nothing of it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::stdio;
use super::terminal::escape_control;
use crate::env;

const TICK: Duration = Duration::from_millis(100);

/// A line that moves, gone when this is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// `None` where nobody watches.
    pub(crate) fn start(prefix: &'static str, quiet: bool) -> Option<Self> {
        if quiet || !io::stderr().is_terminal() || env::var_os("TERM").is_none_or(|terminal| terminal == "dumb") {
            return None;
        }
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 20);
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(prefix);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Some(Self(bar))
    }

    /// Returns what sets the text of the line from another thread.
    pub(crate) fn handle(&self) -> ProgressHandle {
        ProgressHandle(self.0.clone())
    }
}

/// Sets the text of a [`Progress`] line.
pub(crate) struct ProgressHandle(ProgressBar);

impl ProgressHandle {
    /// Shows what the agent is doing.
    pub(crate) fn set(&self, text: &str) {
        self.0.set_message(escape_control(text));
    }
}

/// The terminal on standard error, drawn frame by frame through [`stdio::draw`]: a terminal that has stopped (Ctrl-S)
/// must not hold up the call, and indicatif's own target waits for it.
#[derive(Debug, Default)]
struct Screen {
    /// The frame so far.
    frame: Mutex<String>,
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
        stdio::draw(&frame);
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! A line on the terminal while an agent works: for how long, and on what. Without a terminal there is none.
//!
//! It is on standard error. Standard output may be at the same terminal, so the line is cleared before the first text.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::{Term, truncate_str};

use super::Ui;
use super::stderr::Stderr;
use super::terminal::escape_control;
use crate::env;

const TICK: Duration = Duration::from_millis(100);

/// How long the terminal may take to clear the line.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(1);

/// The line, which is cleared when this is dropped.
pub(crate) struct Spinner(SpinnerHandle);

impl Spinner {
    /// Shows the line. Returns `None` with `--quiet`, or if standard error is not a terminal.
    pub(crate) fn start(ui: &Ui, prefix: &'static str) -> Option<Self> {
        if ui.is_quiet() || !io::stderr().is_terminal() || env::var_os("TERM").is_none_or(|terminal| terminal == "dumb")
        {
            return None;
        }
        let (cleared, stderr) = (Arc::<Cleared>::default(), Arc::clone(&ui.stderr));
        let screen = Screen { frame: Mutex::default(), cleared: Arc::clone(&cleared), stderr };
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen), 20);
        let bar = ProgressBar::with_draw_target(None, target).with_prefix(prefix);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Some(Self(SpinnerHandle { bar, cleared, stderr: Arc::clone(&ui.stderr) }))
    }

    /// Returns a handle that changes the line from another thread.
    pub(crate) fn handle(&self) -> SpinnerHandle {
        self.0.clone()
    }
}

/// How far the line is cleared.
#[derive(Debug, Default)]
struct Cleared {
    started: AtomicBool,
    /// The next frame clears the line, and must not be dropped.
    is_next: AtomicBool,
}

/// Changes the line of a [`Spinner`].
#[derive(Clone, Debug)]
pub(crate) struct SpinnerHandle {
    bar: ProgressBar,
    cleared: Arc<Cleared>,
    stderr: Arc<Stderr>,
}

impl SpinnerHandle {
    /// Shows what the agent is doing.
    pub(crate) fn set(&self, text: &str) {
        self.bar.set_message(escape_control(text));
    }

    /// Clears the line for good before a text on standard output. If that is a terminal too, a terminal that is stopped
    /// is waited for as the text would wait for it.
    pub(super) fn clear_before_text(&self) {
        self.clear(if io::stdout().is_terminal() { Duration::MAX } else { CLEAR_TIMEOUT });
    }

    /// Clears the line for good, and waits until the terminal has done so. A line that the terminal has not taken by
    /// then stays, because clearing it later could remove other text.
    fn clear(&self, timeout: Duration) {
        if self.cleared.started.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_drawn = self.stderr.finish(timeout);
        self.cleared.is_next.store(is_drawn, Ordering::SeqCst);
        self.bar.finish_and_clear();
        if is_drawn {
            self.stderr.finish(timeout);
        }
    }
}

/// The terminal on standard error, drawn frame by frame ([`Stderr::draw`]). A terminal that is stopped (Ctrl-S) must not
/// hold up the call, and indicatif's target would wait for it.
#[derive(Debug)]
struct Screen {
    /// The frame so far.
    frame: Mutex<String>,
    cleared: Arc<Cleared>,
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
        if self.cleared.is_next.load(Ordering::SeqCst) {
            self.stderr.write_last(&frame);
        } else {
            self.stderr.draw(&frame);
        }
        Ok(())
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.clear(CLEAR_TIMEOUT);
    }
}

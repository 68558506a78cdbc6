//! A line on the terminal that shows what the agent is doing, and for how long.
//!
//! It is on standard error. Standard output may be at the same terminal, so the line is cleared before the first text.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use console::{Term, truncate_str};

use super::Ui;
use super::stderr::Stderr;
use super::terminal::escape_control;
use crate::env;

const TICK: Duration = Duration::from_millis(100);

/// One turn of the wheel at the beginning of the line.
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The time that the terminal may take to clear the line.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(1);

/// EL of ECMA-48, which erases the line from the cursor on.
const ERASE: &str = "\x1b[K";

/// The line, which is cleared when this is dropped.
pub(crate) struct Spinner(Arc<Line>);

impl Spinner {
    /// Shows the line. Returns `None` with `--quiet`, or if standard error is not a terminal.
    pub(crate) fn start(ui: &Ui, prefix: &'static str) -> Option<Self> {
        if ui.is_quiet() || !io::stderr().is_terminal() || env::var_os("TERM").is_none_or(|terminal| terminal == "dumb")
        {
            return None;
        }
        let line = Arc::new(Line {
            prefix,
            started: Instant::now(),
            stderr: Arc::clone(&ui.stderr),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let drawn = Arc::clone(&line);
        thread::Builder::new().spawn(move || drawn.draw_until_cleared()).ok()?;
        Some(Self(line))
    }

    /// Returns a handle that changes the line from another thread.
    pub(crate) fn handle(&self) -> SpinnerHandle {
        SpinnerHandle(Arc::clone(&self.0))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.clear(CLEAR_TIMEOUT);
    }
}

/// Changes the line of a [`Spinner`].
#[derive(Clone, Debug)]
pub(crate) struct SpinnerHandle(Arc<Line>);

impl SpinnerHandle {
    /// Shows what the agent is doing.
    pub(crate) fn set(&self, text: &str) {
        self.0.lock().text = escape_control(text);
    }

    /// Clears the line for good before a text on standard output. If that is at a terminal too and the terminal is
    /// stopped, this waits for it, as the text would.
    pub(super) fn clear_before_text(&self) {
        self.0.clear(if io::stdout().is_terminal() { Duration::MAX } else { CLEAR_TIMEOUT });
    }
}

/// The line. A terminal that is stopped (Ctrl-S) drops frames and does not hold up the call ([`Stderr::draw`]).
#[derive(Debug)]
struct Line {
    prefix: &'static str,
    started: Instant,
    stderr: Arc<Stderr>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    is_drawn: bool,
    is_cleared: bool,
}

impl Line {
    fn draw_until_cleared(&self) {
        let mut state = self.lock();
        for frame in FRAMES.iter().cycle() {
            if state.is_cleared {
                return;
            }
            let width = usize::from(Term::stderr().size().1).saturating_sub(1); // a full line would wrap
            let line = format!("{frame} {} {} {}", self.prefix, elapsed(self.started.elapsed()), state.text);
            // with the lock, so that no frame follows the clearing
            self.stderr.draw(&format!("\r{}{ERASE}", truncate_str(&line, width, "")));
            state.is_drawn = true;
            let waited = self.changed.wait_timeout_while(state, TICK, |state| !state.is_cleared);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Clears the line for good, and waits until the terminal has done so. If the terminal has not taken the line by
    /// then, the line stays, because a later clearing could remove other text.
    fn clear(&self, timeout: Duration) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.is_cleared, true) {
            return;
        }
        let is_drawn = state.is_drawn;
        drop(state);
        self.changed.notify_all();
        if is_drawn && self.stderr.finish(timeout) {
            self.stderr.write_last(&format!("\r{ERASE}"));
            self.stderr.finish(timeout);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a duration as `7s`, `1m 07s` or `2h 01m`.
fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m {:02}s", seconds % 60),
        (hours, minutes) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_has_two_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (67, "1m 07s"), (3599, "59m 59s"), (100 * 3600 + 61, "100h 01m")]
        {
            assert_eq!(elapsed(Duration::from_millis(seconds * 1000 + 999)), text);
        }
    }
}

//! A line on the terminal that shows what the agent is doing, and for how long.

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

    /// Returns a handle that sets the text of the line from another thread.
    pub(crate) fn handle(&self) -> SpinnerHandle {
        SpinnerHandle(Arc::clone(&self.0))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Sets the text of a [`Spinner`].
pub(crate) struct SpinnerHandle(Arc<Line>);

impl SpinnerHandle {
    /// Shows what the agent is doing.
    pub(crate) fn set(&self, text: &str) {
        self.0.lock().text = escape_control(text);
    }
}

/// The line. A terminal that is stopped (Ctrl-S) drops frames and does not hold up the call ([`Stderr::draw`]).
struct Line {
    prefix: &'static str,
    started: Instant,
    stderr: Arc<Stderr>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
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
            let line = format!("{frame} {} {} {}", self.prefix, clock(self.started.elapsed()), state.text);
            // with the lock, so that no frame follows the clearing
            self.stderr.draw(&format!("\r{}{ERASE}", truncate_str(&line, width, "")));
            state.is_drawn = true;
            let waited = self.changed.wait_timeout_while(state, TICK, |state| !state.is_cleared);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn clear(&self) {
        let mut state = self.lock();
        state.is_cleared = true;
        if state.is_drawn {
            self.stderr.write_last(&format!("\r{ERASE}"));
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a duration as `HH:MM:SS`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_hours() {
        assert_eq!(clock(Duration::from_millis(59_999)), "00:00:59");
        assert_eq!(clock(Duration::from_secs(100 * 3600 + 61)), "100:01:01");
    }
}

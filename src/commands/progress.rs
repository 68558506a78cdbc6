//! What a person at a terminal sees while an answer is being made: that something is going on, for how long, and what.
//! Where standard error is no terminal there is nothing of it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::backend::Backend;
use crate::output::escape_control;

const TICK: Duration = Duration::from_millis(100);

/// A line that moves, gone when this is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// `None` where nobody watches.
    pub(super) fn start(backend: Backend, quiet: bool) -> Option<Self> {
        if quiet || !io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new_spinner().with_prefix(backend.name());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Some(Self(bar))
    }

    /// Takes what the agent says that it is doing.
    pub(super) fn watcher(&self) -> impl Fn(&str) + Send + 'static {
        let bar = self.0.clone();
        move |doing| bar.set_message(escape_control(doing))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

//! `--retry`: waits after a temporary failure, so that the turn can be tried again.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::runner::TurnRunner;
use crate::error::{Error, ErrorKind, Result};
use crate::late_signal;
use crate::process::End;
use crate::random;

/// The prompt of a retry in a session whose history already has the caller's prompt.
pub(super) const FOLLOW_UP: &str = "The previous request failed before you could answer it. Answer it now.";

/// The first pause. Each further pause is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The retries of one call.
pub(super) struct Retries<'a> {
    turn: &'a TurnRunner<'a>,
    /// The number of retries so far.
    count: u32,
    pause: Duration,
}

impl<'a> Retries<'a> {
    pub(super) fn new(turn: &'a TurnRunner<'a>) -> Self {
        Self { turn, count: 0, pause: FIRST_PAUSE }
    }

    /// Waits until the turn that failed with `error` can be tried again. Returns that error.
    ///
    /// # Errors
    ///
    /// `error` itself if there is no retry: the limit of `--retry` is reached, or the deadline would pass first. If a
    /// signal ends the wait, [`ErrorKind::Interrupted`].
    pub(super) fn wait(&mut self, error: Error) -> Result<Error> {
        let TurnRunner { options, ui, runner, .. } = self.turn;
        if self.count >= options.retries {
            return Err(error);
        }
        if let Some(signal) = late_signal::get() {
            return Err(interrupted(error, signal));
        }
        let retry_at = error.turn.cause.as_ref().and_then(|cause| cause.retry_at);
        let until = retry_at.and_then(|at| Duration::try_from(at.duration_since(Timestamp::now())).ok());
        let pause = with_jitter(self.pause).max(until.unwrap_or_default());
        let is_late = |deadline: Instant| Instant::now().checked_add(pause).is_none_or(|end| end >= deadline);
        if options.deadline.is_some_and(is_late) {
            let when = retry_at.map_or_else(|| format!("in {:.1} s", pause.as_secs_f64()), |at| format!("at {at}"));
            ui.warn(&format!("not trying again: the next try would be {when}, after the deadline"));
            return Err(error);
        }
        self.count += 1;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let (seconds, all) = (pause.as_secs_f64(), options.retries);
        let what = error.to_single_line();
        let what = what.trim_end_matches('.');
        ui.warn(&format!("{what}; trying again in {seconds:.1} s (retry {} of {all})", self.count));
        late_signal::release();
        match runner.pause(pause) {
            Ok(()) => Ok(error),
            Err(End::Interrupted(signal)) => Err(interrupted(error, signal)),
            Err(_) => Err(error),
        }
    }
}

impl Retries<'_> {
    /// Checks that no signal arrived after the turn failed with `error`, so that the agent can be called again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`] if one did.
    pub(super) fn check_signal(error: Error) -> Result<()> {
        if let Some(signal) = late_signal::get() {
            return Err(interrupted(error, signal));
        }
        late_signal::release();
        Ok(())
    }
}

/// Returns the error for a signal that arrived after the failed turn.
fn interrupted(error: Error, signal: i32) -> Error {
    let cause = error.to_single_line();
    let kind = ErrorKind::Interrupted(signal);
    Error { kind, message: format!("interrupted by signal {signal} before the retry"), causes: vec![cause], ..error }
}

/// Returns `pause` and up to a quarter more, so that callers which failed together do not retry together.
fn with_jitter(pause: Duration) -> Duration {
    let chance = u32::try_from(random::number() % 1024).unwrap_or_default();
    pause + pause * chance / 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_lengthens_a_pause_by_at_most_a_quarter() {
        let pause = Duration::from_secs(4);
        let pauses: Vec<Duration> = (0..100).map(|_| with_jitter(pause)).collect();
        assert!(pauses.iter().all(|longer| (pause..Duration::from_secs(5)).contains(longer)), "{pauses:?}");
        assert!(pauses.iter().any(|longer| *longer != pauses[0]));
    }
}

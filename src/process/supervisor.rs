//! Decides when an agent is stopped, when it is killed and when its run is over.
//!
//! A [`Supervisor`] starts no process or thread and reads no clock. [`super::ActiveRun`] makes the observations and
//! performs the actions.

use std::time::{Duration, Instant};

use super::{DRAIN_TIMEOUT, End, PIPE_CAPACITY, POLL_INTERVAL, TERM_GRACE};

const SUCCESS: End = End::Exited(0);

/// How long to wait if there is neither a deadline nor a stall timeout. Every event ends the wait.
const NO_LIMIT: Duration = Duration::from_secs(3600);

/// How long an agent may do nothing but reconnect if there is no stall timeout. codex 0.169.0 reconnects without an end.
pub(crate) const RECONNECT_LIMIT: Duration = Duration::from_secs(300);

/// The time limits of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) deadline: Option<Instant>,
    /// The longest time between two lines.
    pub(super) stall: Option<Duration>,
}

/// What happened since the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Time passed, or an output ended.
    Tick,
    /// The agent itself ended. Processes that it started may still run.
    Exited(End),
    /// A terminating signal arrived.
    Signal(i32),
    /// This process was stopped and is running again.
    Continued,
    /// The agent exited with status 0, but its output shows that the turn failed.
    TurnFailed,
}

/// How far one of the agent's outputs is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamProgress {
    pub(super) bytes_read: u64,
    /// The bytes still in the pipe, if the system reports them.
    pub(super) bytes_pending: Option<u64>,
    /// The bytes that reached the sink and, if they belong there, stdout.
    pub(super) bytes_processed: u64,
    pub(super) ended: bool,
}

/// The agent's outputs at the time of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub(super) stdout: StreamProgress,
    pub(super) stderr: StreamProgress,
    /// When the last line arrived on the agent's standard output. Reports of reconnections do not count.
    pub(super) last_line: Instant,
    /// Whether the agent has printed nothing but reports of reconnections since then.
    pub(super) reconnecting: bool,
}

impl Observation {
    fn streams(&self) -> [StreamProgress; 2] {
        [self.stdout, self.stderr]
    }

    fn total_read(&self) -> u64 {
        self.streams().iter().map(|stream| stream.bytes_read).sum()
    }
}

/// What to do to the agent and everything it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Terminate,
    /// Pass on the signal that this process received.
    Forward(i32),
    Kill,
}

/// A run that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) end: End,
    /// Whether all output was processed. If not, stdout is blocked.
    pub(super) all_processed: bool,
}

/// The result of a step: first the action, then the wait for the next input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) action: Option<Action>,
    pub(super) next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Step again at the next event, or after this time.
    Wait(Duration),
    Finished(Finished),
}

/// The agent's own end.
#[derive(Clone, Copy, Debug)]
struct Exit {
    end: End,
    at: Instant,
    /// How many bytes of each output can come from the agent: those read or pending when it ended. `None` if the
    /// system does not report them.
    expected: Option<[u64; 2]>,
    /// How many bytes of both outputs were read when it ended.
    bytes_read: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    /// The agent ended without being stopped. Its output is still being read.
    Draining(Exit),
    /// The agent, or what is left of its process group, has to end.
    Stopping {
        reason: End,
        started: Instant,
        /// When it was killed for the first time.
        killed: Option<Instant>,
        exit: Option<Exit>,
    },
}

/// The state of one run.
#[derive(Debug)]
pub(super) struct Supervisor {
    limits: Limits,
    phase: Phase,
    /// When the stall timeout last started without a line: at the start, or when this process was continued.
    stall_started: Instant,
    /// How many bytes of both outputs were read at the last step.
    last_total: u64,
}

impl Supervisor {
    pub(super) fn new(now: Instant, limits: Limits) -> Self {
        Self { limits, phase: Phase::Running, stall_started: now, last_total: 0 }
    }

    /// Advances the run by one input.
    ///
    /// `group_is_gone` reports whether everything that the agent started has ended. It is called only after the
    /// agent's end, and only if its group has to end.
    pub(super) fn step(
        &mut self,
        now: Instant,
        input: Input,
        seen: &Observation,
        mut group_is_gone: impl FnMut() -> bool,
    ) -> Step {
        let mut action = self.handle(now, input, seen, &mut group_is_gone);
        if let Some(reason) = self.limit_reached(now, seen) {
            action = Some(self.stop(now, reason, Action::Terminate));
        }
        if let Phase::Stopping { started, killed, .. } = &mut self.phase
            && now >= *started + TERM_GRACE
        {
            // repeated at every step, because a process that keeps forking can escape one round
            killed.get_or_insert(now);
            action = Some(Action::Kill);
        }
        let next = match self.finished(now, seen, group_is_gone) {
            Some(finished) => Next::Finished(finished),
            None => Next::Wait(self.wait_time(now, seen)),
        };
        Step { action, next }
    }

    /// Returns whether processes remain that had to end.
    pub(super) fn has_survivors(&self, group_is_gone: impl FnOnce() -> bool) -> bool {
        match self.phase {
            Phase::Running | Phase::Draining(_) => false,
            Phase::Stopping { exit, .. } => exit.is_none() || !group_is_gone(),
        }
    }

    fn handle(
        &mut self,
        now: Instant,
        input: Input,
        seen: &Observation,
        group_is_gone: impl FnOnce() -> bool,
    ) -> Option<Action> {
        match (input, &mut self.phase) {
            (Input::Exited(end), Phase::Stopping { exit, .. }) => {
                *exit = Some(Exit::new(end, now, seen));
                None
            }
            (Input::Exited(end), _) => {
                self.phase = Phase::Draining(Exit::new(end, now, seen));
                // a failed turn must not leave anything running: codex from npm would continue without its launcher
                let stop = end != SUCCESS && !group_is_gone();
                stop.then(|| self.stop(now, end, Action::Terminate))
            }
            (Input::Signal(_), Phase::Stopping { reason: End::Interrupted(_), killed, .. }) => {
                killed.get_or_insert(now);
                Some(Action::Kill)
            }
            (Input::Signal(signal), _) => Some(self.stop(now, End::Interrupted(signal), Action::Forward(signal))),
            (Input::TurnFailed, Phase::Draining(exit)) => {
                let end = exit.end;
                Some(self.stop(now, end, Action::Terminate))
            }
            (Input::Continued, _) => {
                self.stall_started = now;
                None
            }
            (Input::Tick | Input::TurnFailed, _) => None,
        }
    }

    /// Starts stopping for `reason`. If the agent is being stopped already, only the reason changes.
    fn stop(&mut self, now: Instant, new_reason: End, action: Action) -> Action {
        let exit = match &mut self.phase {
            Phase::Running => None,
            Phase::Draining(exit) => Some(*exit),
            Phase::Stopping { reason, .. } => {
                *reason = new_reason;
                return action;
            }
        };
        self.phase = Phase::Stopping { reason: new_reason, started: now, killed: None, exit };
        action
    }

    /// Returns why the agent has to be stopped now, if it has.
    fn limit_reached(&self, now: Instant, seen: &Observation) -> Option<End> {
        match self.phase {
            Phase::Running if self.is_late(now) => Some(End::Deadline),
            Phase::Running => self.stall_left(now, seen)?.is_zero().then_some(End::Stalled),
            Phase::Draining(exit) => (exit.end != SUCCESS && self.is_late(now)).then_some(End::Deadline),
            Phase::Stopping { .. } => None,
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.limits.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Returns how much longer the agent may print nothing. `None` means without a limit.
    ///
    /// An agent is not silent while its output waits for this process, or for a blocked stdout.
    fn stall_left(&self, now: Instant, seen: &Observation) -> Option<Duration> {
        let limit = self.limits.stall.or(seen.reconnecting.then_some(RECONNECT_LIMIT))?;
        let stdout = seen.stdout;
        let busy =
            stdout.bytes_processed < stdout.bytes_read || stdout.bytes_pending.is_some_and(|pending| pending > 0);
        let since = if busy { now } else { seen.last_line.max(self.stall_started) };
        Some(since.checked_add(limit)?.saturating_duration_since(now))
    }

    /// Returns the end of the run once there is nothing left to wait for.
    fn finished(&mut self, now: Instant, seen: &Observation, group_is_gone: impl FnOnce() -> bool) -> Option<Finished> {
        match self.phase {
            Phase::Running => None,
            Phase::Draining(exit) => {
                let drained = self.is_drained(exit, now, seen);
                // a blocked stdout must not delay a completed turn beyond its deadline
                (drained || self.is_late(now)).then_some(Finished { end: exit.end, all_processed: drained })
            }
            Phase::Stopping { reason, killed, exit, .. } => {
                let drained = exit.is_some_and(|exit| self.is_drained(exit, now, seen));
                let unkillable = killed.is_some_and(|killed| now >= killed + DRAIN_TIMEOUT);
                let enough_read = drained || killed.is_some() || self.is_late(now);
                let over = unkillable || exit.is_some() && enough_read && group_is_gone();
                over.then_some(Finished { end: reason, all_processed: true })
            }
        }
    }

    /// Returns whether all of the agent's output is processed.
    ///
    /// A process that inherited the agent's pipes keeps them open. Then [`DRAIN_TIMEOUT`] must have passed, and all
    /// bytes that can come from the agent must be processed. So no output is lost if stdout is blocked.
    fn is_drained(&mut self, exit: Exit, now: Instant, seen: &Observation) -> bool {
        let streams = seen.streams();
        if streams.iter().all(|stream| stream.ended) {
            return true;
        }
        let total = seen.total_read();
        let processed: u64 = streams.iter().map(|stream| stream.bytes_processed).sum();
        let quiet = total == self.last_total && total == processed;
        self.last_total = total;
        let complete = match exit.expected {
            Some(expected) => streams.iter().zip(expected).all(|(stream, expected)| stream.bytes_processed >= expected),
            None => quiet || total - exit.bytes_read > 2 * PIPE_CAPACITY,
        };
        complete && now >= exit.at + DRAIN_TIMEOUT
    }

    fn wait_time(&self, now: Instant, seen: &Observation) -> Duration {
        if !matches!(self.phase, Phase::Running) {
            return POLL_INTERVAL;
        }
        let deadline = self.limits.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let stall = self.stall_left(now, seen).map(|left| left.max(POLL_INTERVAL));
        deadline.into_iter().chain(stall).min().unwrap_or(NO_LIMIT)
    }
}

impl Exit {
    fn new(end: End, at: Instant, seen: &Observation) -> Self {
        let expected = match seen.streams().map(|stream| Some(stream.bytes_read + stream.bytes_pending?)) {
            [Some(stdout), Some(stderr)] => Some([stdout, stderr]),
            _ => None,
        };
        Self { end, at, expected, bytes_read: seen.total_read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: i32 = 2;
    const TERM: i32 = 15;

    /// A run at times and with outputs that the test chooses.
    struct Run {
        supervisor: Supervisor,
        start: Instant,
        seen: Observation,
        /// With `None`, asking for it fails the test.
        group_is_gone: Option<bool>,
    }

    impl Run {
        fn new(deadline: Option<u64>, stall: Option<u64>) -> Self {
            let start = Instant::now();
            let deadline = deadline.map(|seconds| start + Duration::from_secs(seconds));
            let limits = Limits { deadline, stall: stall.map(Duration::from_secs) };
            let stream = StreamProgress { bytes_read: 0, bytes_pending: Some(0), bytes_processed: 0, ended: false };
            let seen = Observation { stdout: stream, stderr: stream, last_line: start, reconnecting: false };
            Self { supervisor: Supervisor::new(start, limits), start, seen, group_is_gone: None }
        }

        /// Steps at `ms` milliseconds after the start.
        fn at(&mut self, ms: u64, input: Input) -> Step {
            let now = self.start + Duration::from_millis(ms);
            let gone = self.group_is_gone;
            self.supervisor.step(now, input, &self.seen, || gone.expect("nothing depends on the group now"))
        }

        fn end_streams(&mut self) {
            (self.seen.stdout.ended, self.seen.stderr.ended) = (true, true);
        }

        fn has_survivors(&self) -> bool {
            self.supervisor.has_survivors(|| self.group_is_gone.unwrap())
        }
    }

    fn wait(action: Option<Action>, ms: u64) -> Step {
        Step { action, next: Next::Wait(Duration::from_millis(ms)) }
    }

    /// Waits for the next poll.
    fn poll(action: Option<Action>) -> Step {
        Step { action, next: Next::Wait(POLL_INTERVAL) }
    }

    fn finished(end: End) -> Step {
        Step { action: None, next: Next::Finished(Finished { end, all_processed: true }) }
    }

    const TICK: Input = Input::Tick;
    const EXIT_0: Input = Input::Exited(SUCCESS);
    const FAILURE: End = End::Exited(3);

    #[test]
    fn waits_until_the_nearest_limit_while_the_agent_runs() {
        assert_eq!(Run::new(None, None).at(0, TICK), Step { action: None, next: Next::Wait(NO_LIMIT) });
        assert_eq!(Run::new(Some(9), None).at(2000, TICK), wait(None, 7000));
        assert_eq!(Run::new(Some(9), Some(4)).at(2000, TICK), wait(None, 2000));
        assert_eq!(Run::new(Some(9), Some(4)).at(3999, TICK), poll(None)); // not a busy loop
    }

    #[test]
    fn deadline_terminates_a_running_agent_and_kills_it_after_the_grace_period() {
        let mut run = Run::new(Some(3), None);
        assert_eq!(run.at(2999, TICK), wait(None, 1));
        assert_eq!(run.at(3000, TICK), poll(Some(Action::Terminate)));
        assert_eq!(run.at(3020, TICK), poll(None));
        assert_eq!(run.at(7999, TICK), poll(None));
        assert_eq!(run.at(8000, TICK), poll(Some(Action::Kill)));
        assert_eq!(run.at(8020, TICK), poll(Some(Action::Kill))); // repeated, because a process that forks can escape once
        run.group_is_gone = Some(false);
        assert_eq!(run.at(8040, Input::Exited(End::Killed(9))), poll(Some(Action::Kill)));
        run.group_is_gone = Some(true);
        let Step { action, next } = run.at(8060, TICK); // the outputs are not waited for
        assert_eq!((action, next), (Some(Action::Kill), finished(End::Deadline).next));
        assert!(!run.has_survivors());
    }

    #[test]
    fn stopped_agent_that_ends_in_time_is_not_killed() {
        let mut run = Run::new(Some(3), None);
        run.at(3000, TICK);
        run.group_is_gone = Some(false);
        run.end_streams();
        assert_eq!(run.at(3100, EXIT_0), poll(None));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(3120, TICK), finished(End::Deadline));
    }

    #[test]
    fn silence_terminates_the_agent() {
        let mut run = Run::new(None, Some(4));
        assert_eq!(run.at(4000, TICK), poll(Some(Action::Terminate)));
        run.group_is_gone = Some(true);
        run.end_streams();
        assert_eq!(run.at(4500, Input::Exited(End::Killed(TERM))), finished(End::Stalled));
    }

    #[test]
    fn stall_timeout_starts_again_at_a_line_and_after_this_process_was_stopped() {
        let mut run = Run::new(None, Some(4));
        run.seen.last_line = run.start + Duration::from_secs(3);
        assert_eq!(run.at(5000, TICK), wait(None, 2000));
        assert_eq!(run.at(60_000, Input::Continued), wait(None, 4000));
        assert_eq!(run.at(64_000, TICK), poll(Some(Action::Terminate)));
    }

    #[test]
    fn agent_that_only_reconnects_is_stopped_after_five_minutes() {
        let mut run = Run::new(None, None);
        assert_eq!(run.at(1000, TICK), wait(None, 3_600_000));
        run.seen.reconnecting = true;
        assert_eq!(run.at(299_000, TICK), wait(None, 1000));
        assert_eq!(run.at(300_000, TICK), poll(Some(Action::Terminate)));
        let mut run = Run::new(None, Some(4));
        run.seen.reconnecting = true;
        assert_eq!(run.at(1000, TICK), wait(None, 3000), "a stall timeout is the limit instead");
    }

    #[test]
    fn output_that_waits_for_this_process_is_not_silence() {
        let mut run = Run::new(None, Some(4));
        (run.seen.stdout.bytes_read, run.seen.stdout.bytes_processed) = (10, 9);
        assert_eq!(run.at(60_000, TICK), wait(None, 4000));
        run.seen.stdout.bytes_processed = 10;
        run.seen.stdout.bytes_pending = Some(1);
        assert_eq!(run.at(60_000, TICK), wait(None, 4000));
        run.seen.stdout.bytes_pending = None;
        assert_eq!(run.at(60_000, TICK), poll(Some(Action::Terminate)));
    }

    #[test]
    fn first_signal_is_forwarded_and_the_second_kills() {
        let mut run = Run::new(None, None);
        assert_eq!(run.at(1000, Input::Signal(INT)), poll(Some(Action::Forward(INT))));
        assert_eq!(run.at(1500, TICK), poll(None));
        assert_eq!(run.at(2000, Input::Signal(TERM)), poll(Some(Action::Kill)));
        assert_eq!(run.at(2020, TICK), poll(None));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(2040, Input::Exited(End::Killed(9))), finished(End::Interrupted(INT)));
    }

    #[test]
    fn output_is_not_waited_for_after_a_kill() {
        let mut run = Run::new(None, None);
        run.at(1000, Input::Signal(INT));
        assert_eq!(run.at(6000, TICK), poll(Some(Action::Kill)));
        run.group_is_gone = Some(true);
        let step = run.at(6010, Input::Exited(End::Killed(9)));
        assert_eq!(step.next, finished(End::Interrupted(INT)).next);
    }

    #[test]
    fn signal_after_a_deadline_becomes_the_reason_and_does_not_extend_the_grace_period() {
        let mut run = Run::new(Some(3), None);
        run.at(3000, TICK);
        assert_eq!(run.at(4000, Input::Signal(INT)), poll(Some(Action::Forward(INT))));
        assert_eq!(run.at(8000, TICK), poll(Some(Action::Kill)));
        run.group_is_gone = Some(true);
        let step = run.at(8020, Input::Exited(End::Killed(9)));
        assert_eq!(step.next, finished(End::Interrupted(INT)).next);
    }

    #[test]
    fn signal_while_output_is_drained_interrupts_the_turn() {
        let mut run = Run::new(None, None);
        assert_eq!(run.at(1000, EXIT_0), poll(None));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(1020, Input::Signal(INT)), poll(Some(Action::Forward(INT))));
        run.end_streams();
        assert_eq!(run.at(1040, TICK), finished(End::Interrupted(INT)));
    }

    #[test]
    fn success_is_over_when_both_outputs_end() {
        let mut run = Run::new(None, None);
        assert_eq!(run.at(1000, EXIT_0), poll(None));
        run.seen.stdout.ended = true;
        assert_eq!(run.at(1001, TICK), poll(None));
        run.seen.stderr.ended = true;
        assert_eq!(run.at(1002, TICK), finished(SUCCESS));
        assert!(!run.has_survivors());
    }

    #[test]
    fn success_with_an_open_pipe_is_over_after_the_drain_timeout() {
        let mut run = Run::new(None, None);
        assert_eq!(run.at(1000, EXIT_0), poll(None));
        assert_eq!(run.at(1999, TICK), poll(None));
        assert_eq!(run.at(2000, TICK), finished(SUCCESS));
        assert!(!run.has_survivors()); // the remaining process is meant to continue
    }

    #[test]
    fn all_bytes_that_were_in_the_pipes_at_the_agents_end_are_processed() {
        let mut run = Run::new(None, None);
        run.seen.stdout = StreamProgress { bytes_read: 5, bytes_pending: Some(7), ..run.seen.stdout };
        run.seen.stderr.bytes_pending = Some(1);
        run.at(1000, EXIT_0);
        run.seen.stdout.bytes_processed = 11;
        run.seen.stderr.bytes_processed = 1;
        assert_eq!(run.at(60_000, TICK), poll(None));
        run.seen.stdout.bytes_processed = 12;
        assert_eq!(run.at(60_020, TICK), finished(SUCCESS));
    }

    #[test]
    fn quiet_pipes_are_drained_if_the_system_does_not_report_pending_bytes() {
        let mut run = Run::new(None, None);
        run.seen.stderr.bytes_pending = None;
        run.at(1000, EXIT_0);
        (run.seen.stdout.bytes_read, run.seen.stdout.bytes_processed) = (5, 5);
        assert_eq!(run.at(2000, TICK), poll(None)); // more was read since the last step
        run.seen.stdout.bytes_read = 6;
        assert_eq!(run.at(2020, TICK), poll(None));
        assert_eq!(run.at(2040, TICK), poll(None)); // not everything is processed
        run.seen.stdout.bytes_processed = 6;
        assert_eq!(run.at(2060, TICK), finished(SUCCESS));
    }

    #[test]
    fn busy_pipes_are_drained_after_more_bytes_than_the_agent_can_have_left() {
        let mut run = Run::new(None, None);
        run.seen.stdout = StreamProgress { bytes_read: 10, bytes_pending: None, ..run.seen.stdout };
        run.at(1000, EXIT_0);
        run.seen.stdout.bytes_read += 2 * PIPE_CAPACITY;
        assert_eq!(run.at(3000, TICK), poll(None));
        run.seen.stdout.bytes_read += 1;
        assert_eq!(run.at(3020, TICK), finished(SUCCESS));
    }

    #[test]
    fn deadline_after_a_success_ends_only_the_wait_for_a_blocked_stdout() {
        let mut run = Run::new(Some(3), None);
        run.seen.stdout.bytes_pending = Some(7);
        assert_eq!(run.at(1000, EXIT_0), poll(None));
        assert_eq!(run.at(2999, TICK), poll(None));
        let finished = Finished { end: SUCCESS, all_processed: false };
        assert_eq!(run.at(3000, TICK), Step { action: None, next: Next::Finished(finished) });
    }

    #[test]
    fn stall_timeout_does_not_apply_after_the_agents_end() {
        let mut run = Run::new(None, Some(1));
        run.seen.stdout.bytes_pending = Some(7);
        run.at(500, EXIT_0);
        run.seen.stdout.bytes_pending = Some(0);
        assert_eq!(run.at(9000, TICK), poll(None));
    }

    #[test]
    fn deadline_stops_a_failed_agents_drain() {
        let mut run = Run::new(Some(3), None);
        run.group_is_gone = Some(true); // as far as the system reports it
        run.seen.stdout.bytes_pending = Some(7);
        assert_eq!(run.at(1000, Input::Exited(FAILURE)), poll(None));
        let step = run.at(3000, TICK);
        assert_eq!((step.action, step.next), (Some(Action::Terminate), finished(End::Deadline).next));
    }

    #[test]
    fn failed_agent_with_nothing_left_is_only_drained() {
        let mut run = Run::new(None, None);
        run.group_is_gone = Some(true);
        assert_eq!(run.at(1000, Input::Exited(FAILURE)), poll(None));
        run.end_streams();
        assert_eq!(run.at(1020, TICK), finished(FAILURE));
    }

    #[test]
    fn failed_agents_leftovers_are_terminated() {
        let mut run = Run::new(None, None);
        run.group_is_gone = Some(false);
        run.end_streams();
        assert_eq!(run.at(1000, Input::Exited(FAILURE)), poll(Some(Action::Terminate)));
        assert_eq!(run.at(1020, TICK), poll(None));
        assert!(run.has_survivors());
        run.group_is_gone = Some(true);
        assert_eq!(run.at(1040, TICK), finished(FAILURE));
    }

    #[test]
    fn leftovers_of_a_failed_turn_are_terminated_although_the_agent_succeeded() {
        let mut run = Run::new(Some(9), None);
        run.end_streams();
        assert_eq!(run.at(1000, EXIT_0), finished(SUCCESS));
        run.group_is_gone = Some(false);
        assert_eq!(run.at(1100, Input::TurnFailed), poll(Some(Action::Terminate)));
        assert_eq!(run.at(6100, TICK), poll(Some(Action::Kill)));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(6120, TICK).next, finished(SUCCESS).next);
    }

    #[test]
    fn processes_that_cannot_be_killed_are_waited_for_only_for_the_drain_timeout() {
        let mut run = Run::new(None, None);
        run.at(1000, Input::Signal(INT));
        run.at(2000, Input::Signal(INT));
        assert_eq!(run.at(2500, Input::Signal(INT)), poll(Some(Action::Kill)));
        assert_eq!(run.at(2999, TICK), poll(None));
        assert_eq!(run.at(3000, TICK), finished(End::Interrupted(INT)));
        assert!(run.has_survivors()); // the agent itself has not ended
    }

    #[test]
    fn output_is_drained_after_a_stop_unless_the_deadline_passed() {
        let mut run = Run::new(Some(9), None);
        run.seen.stdout.bytes_pending = Some(7);
        run.at(1000, Input::Signal(INT));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(1100, Input::Exited(End::Killed(INT))), poll(None));
        assert_eq!(run.at(5000, TICK), poll(None));
        run.seen.stdout.bytes_processed = 7;
        assert_eq!(run.at(5020, TICK), finished(End::Interrupted(INT)));

        let mut run = Run::new(Some(3), None);
        run.seen.stdout.bytes_pending = Some(7);
        run.at(1000, Input::Signal(INT));
        run.group_is_gone = Some(true);
        assert_eq!(run.at(1100, EXIT_0), poll(None));
        assert_eq!(run.at(2999, TICK), poll(None));
        assert_eq!(run.at(3000, TICK), finished(End::Interrupted(INT)));
    }
}

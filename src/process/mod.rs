//! Runs one agent process and everything it starts: spawn, streams, deadline, signals, end. It depends neither on the
//! store nor on a particular agent.
//!
//! Signals on Unix: the agent leads its own session and process group, so Ctrl-C at the terminal reaches only this
//! process. It forwards INT, TERM, HUP and QUIT to the whole group, and sends TERM for all other signals. It kills the
//! group after five seconds or at the second signal. If this process is killed, the sentry does the same. A deadline or
//! a failed turn starts the same sequence with TERM.
//!
//! A run returns when only zombies are left of the group and, on Linux, of processes that left the group. A successful
//! turn is not stopped: the processes that it leaves running, such as a server, are meant to run.

pub(crate) mod foreground;
#[cfg(unix)]
mod sentry;
mod streams;
mod supervisor;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use streams::{Feeder, Stream};
pub(crate) use supervisor::RECONNECT_LIMIT;
use supervisor::{Action, Finished, Input, Limits, Next, Observation, Supervisor};

use crate::late_signal;
use crate::ui::OutputStream;

#[cfg(windows)]
pub(crate) use platform::interrupt;
pub(crate) use platform::prepare_signals;

/// The time between the first signal and the kill.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long processes that inherited the agent's pipes may still write after its end, and how long killed processes
/// may take to vanish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval between checks of what no event reports, such as the end of the group.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The most that a pipe holds on any supported system. This much unread output can be the agent's own.
const PIPE_CAPACITY: u64 = 1 << 20;

/// Handles a signal that arrived when there was no agent to forward it to.
fn handle_late_signal(signal: i32) {
    if !late_signal::receive(signal) {
        platform::raise_default(signal);
    }
}

/// Keeps the next terminating signal from now on ([`late_signal`]), until a [`Runner`] handles signals.
pub(crate) fn keep_next_signal() -> io::Result<()> {
    if !late_signal::is_held() {
        late_signal::hold();
    }
    platform::handle_signals()
}

/// The program to start.
#[derive(Debug)]
pub(crate) struct Command {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub set: Vec<(OsString, OsString)>,
    pub unset: Vec<OsString>,
    /// The directory to run in. `None` means the current directory.
    pub dir: Option<PathBuf>,
    /// What the agent reads on its standard input. `None` means an empty one.
    pub stdin: Option<Vec<u8>>,
    /// The stream that its standard output is passed through to, as [`Passthrough`] selects. `None` means none.
    pub output: Option<OutputStream>,
    /// The longest time between two lines on the agent's standard output.
    pub stall: Option<Duration>,
}

/// Receives the agent's standard output in chunks, as it arrives.
pub(crate) trait OutputSink: Send + 'static {
    /// Called as soon as the agent was started. Its first output may have been received before.
    fn start(&mut self) {}

    fn write(&mut self, chunk: &[u8]);

    /// Returns whether the last line only reports that the agent tries to reconnect.
    fn is_reconnecting(&self) -> bool {
        false
    }

    /// Returns what the agent does now, as far as its output shows that.
    fn activity(&self) -> Option<String> {
        None
    }

    /// Receives the end of the output. It may be called twice.
    fn finish(&mut self) {}

    /// Returns what was rendered for stdout since the last call.
    fn drain(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// What is written to stdout while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passthrough {
    Off,
    /// The agent's output as it is.
    Raw,
    /// What the sink [rendered](OutputSink::drain).
    Rendered,
}

/// How an agent's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// The agent was killed by a signal that this process did not send.
    #[cfg_attr(all(windows, not(test)), expect(dead_code, reason = "Windows has no signals that kill"))]
    Killed(i32),
    Deadline,
    /// The agent printed nothing for too long.
    Stalled,
    /// This process received the signal and stopped the agent.
    Interrupted(i32),
}

/// A completed run.
#[derive(Debug)]
pub(crate) struct Run {
    pub end: End,
    /// Whether an agent was started. The deadline may have passed before, or a signal may have arrived.
    pub started: bool,
    /// The processes that had to end and still run, or an empty list if the system does not report them. `None` means
    /// that no process is left.
    pub survivors: Option<Vec<i32>>,
    /// What the agent did when it was stopped, as far as its output shows that.
    pub activity: Option<String>,
    /// The last part of the agent's standard error.
    pub stderr: Vec<u8>,
    /// Whether the output could be written to stdout. A closed stdout is not an error.
    pub copied: io::Result<()>,
}

impl Run {
    fn not_started(end: End) -> Self {
        Self { end, started: false, survivors: None, activity: None, stderr: Vec::new(), copied: Ok(()) }
    }
}

/// What the threads of a run report to its main loop.
enum Event {
    Exited(End),
    StreamEnded,
    Signal(i32),
}

/// Runs agents one after the other. While it exists, it handles signals.
pub(crate) struct Runner {
    events: Receiver<Event>,
    sender: Sender<Event>,
    deadline: Option<Instant>,
}

impl Runner {
    /// Creates a runner. `deadline` applies to all its runs together.
    pub(crate) fn new(deadline: Option<Instant>) -> io::Result<Self> {
        let (sender, events) = mpsc::channel();
        platform::watch_signals(&sender)?;
        Ok(Self { events, sender, deadline })
    }

    /// Defers the first signal from now on ([`late_signal`]), so that the result of the turn is not lost.
    #[expect(clippy::unused_self, reason = "only the owner of a runner has a turn to keep")]
    pub(crate) fn turn_is_done(&self) {
        late_signal::hold();
    }

    /// Waits for `pause`, or until a signal arrives or the deadline passes.
    pub(crate) fn pause(&self, pause: Duration) -> Result<(), End> {
        let until = Instant::now() + pause;
        loop {
            let wake = self.deadline.map_or(until, |deadline| deadline.min(until));
            match self.events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal(signal)) if platform::is_terminating(signal) => {
                    return Err(End::Interrupted(signal));
                }
                Ok(Event::Signal(signal)) => platform::job_control(signal, None),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) if self.is_late() => {
                    return Err(End::Deadline);
                }
                Err(_) => return Ok(()),
            }
        }
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Returns the next terminating signal in the channel. Discards all other events.
    fn next_terminating_signal(&self) -> Option<i32> {
        self.events.try_iter().find_map(|event| match event {
            Event::Signal(signal) if platform::is_terminating(signal) => Some(signal),
            _ => None,
        })
    }

    /// Runs one agent to its end. Its standard output goes to `sink` and, if `passthrough` selects it, to the output of
    /// `command`.
    ///
    /// Both outputs are read and the standard input is written concurrently, so an agent never blocks on one of them.
    ///
    /// `succeeded` judges the turn by what `sink` received. It is not called if the sink is still busy when the run
    /// has to end. If the turn failed although the agent exited with status 0, the processes that it left running are
    /// stopped.
    ///
    /// # Errors
    ///
    /// Fails if the agent cannot be started.
    pub(crate) fn run<S: OutputSink>(
        &self,
        command: Command,
        sink: S,
        passthrough: Passthrough,
        succeeded: impl FnOnce(S) -> bool,
    ) -> io::Result<Run> {
        // events of an earlier run are out of date, but a signal that arrived since is not
        let early = self.next_terminating_signal();
        while self.next_terminating_signal().is_some() {}
        if let Some(signal) = early {
            return Ok(Run::not_started(End::Interrupted(signal)));
        }
        if self.is_late() {
            return Ok(Run::not_started(End::Deadline));
        }

        let ended = || {
            let sender = self.sender.clone();
            move || drop(sender.send(Event::StreamEnded)) // the receiver outlives every run
        };
        let final_output = command.output.clone();
        let mut stdout = Stream::prepare(sink, passthrough, command.output, ended())?;
        let mut stderr = Stream::prepare(streams::Tail::default(), Passthrough::Off, None, ended())?;
        let feeder = command.stdin.map(Feeder::prepare).transpose()?;
        let mut builder = process::Command::new(&command.program);
        builder.args(&command.arguments).envs(command.set).stdout(Stdio::piped()).stderr(Stdio::piped());
        builder.stdin(if feeder.is_some() { Stdio::piped() } else { Stdio::null() });
        for name in &command.unset {
            builder.env_remove(name);
        }
        if let Some(dir) = &command.dir {
            builder.current_dir(dir);
        }
        let mut agent = platform::AgentProcess::start(builder, self.sender.clone())?;
        let pipes = agent.take_pipes();
        if let (Some(feeder), Some(pipe)) = (feeder, pipes.stdin) {
            feeder.feed(pipe);
        }
        stdout.start(pipes.stdout);
        stderr.start(pipes.stderr);
        stdout.report_start();

        let limits = Limits { deadline: self.deadline, stall: command.stall };
        let supervisor = Supervisor::new(Instant::now(), limits);
        let mut run = ActiveRun { events: &self.events, supervisor, agent, stdout, stderr, activity: None };
        let Finished { mut end, all_processed } = run.wait(Input::Tick);
        let copied = if all_processed { run.stdout.copied() } else { Err(io::ErrorKind::TimedOut.into()) };
        let idle = run.stdout.is_idle();
        let mut sink = run.stdout.take_sink(DRAIN_TIMEOUT);
        if let (Some(sink), Passthrough::Rendered, true) = (&mut sink, passthrough, idle) {
            sink.finish(); // the reader thread has not called it if a process still holds the pipe open
            if let Some(output) = final_output {
                streams::write_with_timeout(output, sink.drain(), DRAIN_TIMEOUT);
            }
        }
        let succeeded = sink.is_some_and(succeeded);
        if end == End::Exited(0) && !succeeded && !run.agent.is_gone() {
            end = run.wait(Input::TurnFailed).end;
        }
        let survivors = run.survivors();
        run.agent.reap();
        let stderr = run.stderr.take_sink(DRAIN_TIMEOUT).map(streams::Tail::into_bytes).unwrap_or_default();
        Ok(Run { end, started: true, survivors, activity: run.activity, stderr, copied })
    }
}

impl Drop for Runner {
    /// Restores the usual meaning of signals, unless a turn is done. A signal that arrived after the agent's end is
    /// handled like a later one.
    fn drop(&mut self) {
        platform::release_signals_to_default();
        while let Some(signal) = self.next_terminating_signal() {
            handle_late_signal(signal);
        }
    }
}

/// This process's ends of the agent's three streams.
struct Pipes {
    stdin: Option<File>,
    stdout: File,
    stderr: File,
}

/// An agent that was started, with the [`Supervisor`] that decides about it.
struct ActiveRun<'a, S> {
    events: &'a Receiver<Event>,
    supervisor: Supervisor,
    agent: platform::AgentProcess,
    stdout: Stream<S>,
    stderr: Stream<streams::Tail>,
    /// See [`Run::activity`].
    activity: Option<String>,
}

impl<S: OutputSink> ActiveRun<'_, S> {
    /// Waits until the run is over. Begins with `input`.
    fn wait(&mut self, mut input: Input) -> Finished {
        loop {
            let seen = self.observe();
            let step = self.supervisor.step(Instant::now(), input, &seen, || self.agent.is_gone());
            if step.action.is_some() && self.activity.is_none() {
                self.activity = self.stdout.activity(); // before the agent reports its own end
            }
            match step.action {
                Some(Action::Terminate) => self.agent.terminate(),
                Some(Action::Forward(signal)) => self.agent.forward(signal),
                Some(Action::Kill) => self.agent.kill(),
                None => {}
            }
            let timeout = match step.next {
                Next::Wait(timeout) => timeout,
                Next::Finished(finished) => return finished,
            };
            input = match self.events.recv_timeout(timeout) {
                Ok(Event::Exited(end)) => Input::Exited(end),
                Ok(Event::Signal(signal)) if platform::is_terminating(signal) => Input::Signal(signal),
                Ok(Event::Signal(signal)) => {
                    platform::job_control(signal, Some(&self.agent));
                    Input::Continued
                }
                Ok(Event::StreamEnded) | Err(_) => Input::Tick,
            };
        }
    }

    fn observe(&self) -> Observation {
        Observation {
            stdout: self.stdout.progress(),
            stderr: self.stderr.progress(),
            last_line: self.stdout.last_line(),
            reconnecting: self.stdout.is_reconnecting(),
        }
    }

    /// Returns the processes that had to end and still run.
    fn survivors(&mut self) -> Option<Vec<i32>> {
        self.supervisor.has_survivors(|| self.agent.is_gone()).then(|| self.agent.processes())
    }
}

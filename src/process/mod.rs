//! One agent process and all it starts: spawn, streams, deadline, signals, end. Knows no store and no agent.
//!
//! Who receives which signal (Unix): the agent leads a session and process group of its own, so a Ctrl-C at the
//! terminal reaches only us. What we receive we hand to the whole group, as TERM if it is not one of the usual four;
//! five seconds later, or at the second signal, the group is killed. If we are killed, the sentry does the same. A
//! deadline is the same with TERM as the first signal, and so is a turn that failed. We return when nothing of the group
//! is left but zombies, on Linux nothing that has left the group either. A turn that ends by itself and well is not
//! touched: what it leaves running (a dev server, say) was meant to run.

#[cfg(unix)]
mod sentry;
mod streams;
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

use crate::late_signal;

/// From the first signal to the kill.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// How long output may still come after the agent's end from processes that inherited its pipes, and how long we wait
/// for killed processes to vanish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at what no event tells us (is the group gone?).
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A pipe holds at most this much on the systems we know, so this much may be the agent's own last words.
const PIPE_CAPACITY: u64 = 1 << 20;

/// From here on what this program makes is its user's alone, whatever the caller's umask is; agents get the caller's.
pub(crate) fn keep_files_private() {
    platform::keep_files_private();
}

/// Settles what signals mean before any agent runs: a limit for the size of files is an error of the write that reaches
/// it, and the first process of a container can be ended.
pub(crate) fn prepare_signals() {
    platform::prepare_signals();
}

/// Runs `work`, whose files are as private or open as the caller wants them. For when no other thread makes any.
pub(crate) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    platform::with_callers_umask(work)
}

/// Receives a signal that came while there was no agent to hand it to.
fn signalled_late(signal: i32) {
    if !late_signal::receive(signal) {
        platform::raise_default(signal);
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Command {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub set: Vec<(OsString, OsString)>,
    pub unset: Vec<OsString>,
    /// The directory to run in; `None`: ours.
    pub dir: Option<PathBuf>,
    /// What it reads on standard input; `None`: nothing, at once.
    pub stdin: Option<Vec<u8>>,
    /// Where its standard output is passed on to, if it is ([`Passthrough`]).
    pub output: Option<File>,
    /// How long it may be without a line on standard output.
    pub stall: Option<Duration>,
}

/// Hears the agent's standard output, in pieces as they come.
pub(crate) trait OutputSink: Send + 'static {
    fn write(&mut self, chunk: &[u8]);

    /// Hears that nothing more comes. It may be told so twice.
    fn finish(&mut self) {}

    /// What it has to say to our standard output since it was last asked.
    fn drain(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// What goes to our standard output while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passthrough {
    Off,
    /// What the agent says, as it is.
    Raw,
    /// What the listener [says](Listener::say).
    Rendered,
}

/// How an agent's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// A signal that did not come from us.
    #[cfg_attr(windows, expect(dead_code, reason = "there are no signals that kill"))]
    Killed(i32),
    Deadline,
    /// It said nothing for too long.
    Stalled,
    /// This signal came to us; the agent is gone.
    Interrupted(i32),
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub end: End,
    /// Whether there was an agent at all: the deadline or a signal may have come before.
    pub started: bool,
    /// The agent's processes that had to end and are still there; empty where the system does not tell which. `None`:
    /// there is none.
    pub survivors: Option<Vec<i32>>,
    /// The end of the agent's standard error.
    pub stderr: Vec<u8>,
    /// Whether the output could be copied to ours. A reader that went away is no error.
    pub copied: io::Result<()>,
}

/// What the threads of a run tell its main loop.
enum Event {
    Exited(End),
    StreamEnded,
    Signal(i32),
}

/// Starts agents one after the other. As long as it is there signals are ours to handle.
pub(crate) struct Runner {
    events: Receiver<Event>,
    sender: Sender<Event>,
    deadline: Option<Instant>,
}

impl Runner {
    /// `deadline` is for everything, from the start of the program.
    pub(crate) fn new(deadline: Option<Instant>) -> io::Result<Self> {
        let (sender, events) = mpsc::channel();
        platform::watch_signals(&sender)?;
        Ok(Self { events, sender, deadline })
    }

    /// Keeps the first signal from here on ([`late_signal`]): what the turn gave must not be lost.
    #[expect(clippy::unused_self, reason = "only who runs agents has turns to keep")]
    pub(crate) fn turn_is_done(&self) {
        late_signal::hold();
    }

    /// Waits for `pause` unless a signal or the deadline comes first.
    pub(crate) fn pause(&self, pause: Duration) -> Result<(), End> {
        let until = Instant::now() + pause;
        loop {
            let wake = self.deadline.map_or(until, |deadline| deadline.min(until));
            match self.events.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal(signal)) if platform::is_terminating(signal) => return Err(End::Interrupted(signal)),
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

    /// Runs one agent to its end. Its standard output goes to `listener`, and to ours as it comes what `passing` says.
    ///
    /// Both outputs are read all the time, so an agent can never block on one of them; its standard input is written
    /// beside that for the same reason. An error means that nothing was started.
    ///
    /// `succeeded` judges what was heard, unless the listener was still busy when the run had to end. What a turn leaves
    /// running that ended by itself is ended if the turn did not succeed.
    pub(crate) fn run<L: OutputSink>(
        &self,
        command: Command,
        listener: L,
        passing: Passthrough,
        succeeded: impl FnOnce(L) -> bool,
    ) -> io::Result<Run> {
        // what a former run left in the channel is old; a signal that came since is not
        let mut early = None;
        while let Ok(event) = self.events.try_recv() {
            if let Event::Signal(signal) = event
                && platform::is_terminating(signal)
            {
                early.get_or_insert(signal);
            }
        }
        let over = |end| Run { end, started: false, survivors: None, stderr: Vec::new(), copied: Ok(()) };
        if let Some(signal) = early {
            return Ok(over(End::Interrupted(signal)));
        }
        if self.is_late() {
            return Ok(over(End::Deadline));
        }

        let ended = || {
            let sender = self.sender.clone();
            move || drop(sender.send(Event::StreamEnded)) // the receiver outlives every run
        };
        let last_words = command.output.as_ref().map(File::try_clone).transpose()?;
        let output = command.output;
        let mut stdout = Stream::prepare(listener, passing, output, ended())?;
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

        let mut watch = Supervisor {
            runner: self,
            agent: &mut agent,
            stdout: &stdout,
            stderr: &stderr,
            stop: None,
            exit: None,
            seen: 0,
            stall: command.stall,
            listening_since: Instant::now(),
        };
        let (mut end, all_read) = watch.wait();
        let copied = if all_read { stdout.copied() } else { Err(io::ErrorKind::TimedOut.into()) };
        let idle = stdout.handled() == stdout.bytes_read_and_pending().0;
        let mut listener = stdout.take_listener(DRAIN_TIMEOUT);
        if let (Some(listener), Passthrough::Rendered, true) = (&mut listener, passing, idle) {
            listener.finish(); // where something still holds the pipe nobody has told it yet
            if let Some(output) = last_words {
                streams::write_with_timeout(output, listener.drain(), DRAIN_TIMEOUT);
            }
        }
        if !listener.is_some_and(succeeded) && end == End::Exited(0) {
            end = watch.end_what_is_left(end);
        }
        let survivors = watch.survivors();
        agent.reap();
        Ok(Run {
            end,
            started: true,
            survivors,
            stderr: stderr.take_listener(DRAIN_TIMEOUT).map(streams::Tail::into_bytes).unwrap_or_default(),
            copied,
        })
    }
}

impl Drop for Runner {
    /// Gives signals their usual meaning back, unless a turn is done. The same goes for one that came after the agent's
    /// end.
    fn drop(&mut self) {
        platform::release_signals_to_default();
        while let Ok(event) = self.events.try_recv() {
            if let Event::Signal(signal) = event
                && platform::is_terminating(signal)
            {
                signalled_late(signal);
            }
        }
    }
}

/// What the agent is started with on its three streams.
struct Pipes {
    stdin: Option<File>,
    stdout: File,
    stderr: File,
}

/// Why an agent is being stopped, and how far that is.
struct Stop {
    why: End,
    since: Instant,
    killed: Option<Instant>,
}

/// The agent's own end, while processes it started may still hold its pipes.
#[derive(Clone, Copy)]
struct Exit {
    end: End,
    at: Instant,
    /// How much of both outputs can be the agent's: all that was there when it ended. `None`: the system does not tell.
    due: Option<[u64; 2]>,
    /// How much was read by then.
    read: u64,
}

/// The main loop of one run.
struct Supervisor<'a, L: OutputSink> {
    runner: &'a Runner,
    agent: &'a mut platform::AgentProcess,
    stdout: &'a Stream<L>,
    stderr: &'a Stream<streams::Tail>,
    stop: Option<Stop>,
    exit: Option<Exit>,
    /// How many bytes had come at the last look.
    seen: u64,
    /// How long there may be no line.
    stall: Option<Duration>,
    /// Since when silence counts: since the start, or since we were last stopped.
    listening_since: Instant,
}

impl<L: OutputSink> Supervisor<'_, L> {
    /// Waits until the run is over. Tells how it ended, and whether all that the agent said was dealt with.
    fn wait(&mut self) -> (End, bool) {
        loop {
            let now = Instant::now();
            if let (None, Some(why)) = (&self.stop, self.stop_reason(now)) {
                self.agent.terminate();
                self.stop = Some(Stop { why, since: now, killed: None });
            }
            if let Some(stop) = &mut self.stop
                && now >= stop.since + TERM_GRACE
            {
                // again at every look: what forks all the time can slip through once
                self.agent.kill();
                stop.killed.get_or_insert(now);
            }
            if let Some(over) = self.over(now) {
                return over;
            }
            match self.runner.events.recv_timeout(self.sleep(now)) {
                Ok(Event::Exited(end)) => self.exited(end),
                Ok(Event::Signal(signal)) if platform::is_terminating(signal) => self.signal(signal),
                Ok(Event::Signal(signal)) => {
                    platform::job_control(signal, Some(self.agent));
                    self.listening_since = Instant::now();
                }
                Ok(Event::StreamEnded) | Err(_) => {}
            }
        }
    }

    /// Why the agent is to be stopped now, if it is.
    fn stop_reason(&self, now: Instant) -> Option<End> {
        if self.exit.is_some_and(|exit| exit.end == End::Exited(0)) {
            return None; // it is done, and what it left running is to go on
        }
        if self.runner.is_late() {
            return Some(End::Deadline);
        }
        let silent = self.stall_left(now)?.is_zero() && self.exit.is_none();
        silent.then_some(End::Stalled)
    }

    /// How much longer the agent may be silent. It is not while our reader makes it wait, or what it said waits for us.
    /// `None`: for ever.
    fn stall_left(&self, now: Instant) -> Option<Duration> {
        let limit = self.stall?;
        let (read, waiting) = self.stdout.bytes_read_and_pending();
        let busy = self.stdout.handled() < read || waiting.is_some_and(|bytes| bytes > 0);
        let since = if busy { now } else { self.stdout.last_line().max(self.listening_since) };
        Some(since.checked_add(limit)?.saturating_duration_since(now))
    }

    /// Ends what a turn left running that ended by itself with `end`, and waits for it. Tells how the run ended: a signal
    /// may come meanwhile.
    fn end_what_is_left(&mut self, end: End) -> End {
        if self.agent.is_gone() {
            return end;
        }
        self.agent.terminate();
        self.stop = Some(Stop { why: end, since: Instant::now(), killed: None });
        self.wait().0
    }

    /// The agent's processes that had to end and are still there.
    fn survivors(&mut self) -> Option<Vec<i32>> {
        let gone = self.stop.is_none() || self.exit.is_some() && self.agent.is_gone();
        (!gone).then(|| self.agent.processes())
    }

    /// The end, once nothing is left to wait for.
    fn over(&mut self, now: Instant) -> Option<(End, bool)> {
        let drained = self.exit.is_some_and(|exit| self.is_drained(exit, now));
        let Some(stop) = &self.stop else {
            let exit = self.exit?;
            // our reader does not read: the turn is done all the same
            let given_up = !drained && self.runner.is_late();
            return (drained || given_up).then_some((exit.end, !given_up));
        };
        let late = |since: Option<Instant>| since.is_some_and(|since| now >= since + DRAIN_TIMEOUT);
        if late(stop.killed) {
            return Some((stop.why, true)); // what is left cannot be killed
        }
        let gone = self.exit.is_some() && self.agent.is_gone();
        (gone && (drained || stop.killed.is_some() || self.runner.is_late())).then_some((stop.why, true))
    }

    /// Whether all output is there. The pipes may stay open because a process the agent started inherited them: then a
    /// second must have passed, and all that can be the agent's must be dealt with. Output that waits for our reader is
    /// not cut off.
    fn is_drained(&mut self, exit: Exit, now: Instant) -> bool {
        if self.stdout.ended() && self.stderr.ended() {
            return true;
        }
        let handled = [self.stdout.handled(), self.stderr.handled()];
        let read = self.read();
        let quiet = read == self.seen && read == handled.iter().sum::<u64>();
        self.seen = read;
        let complete = match exit.due {
            Some(due) => handled.iter().zip(due).all(|(handled, due)| *handled >= due),
            None => quiet || read - exit.read > 2 * PIPE_CAPACITY,
        };
        complete && now >= exit.at + DRAIN_TIMEOUT
    }

    /// How many bytes of both outputs were read.
    fn read(&self) -> u64 {
        self.stdout.bytes_read_and_pending().0 + self.stderr.bytes_read_and_pending().0
    }

    fn sleep(&self, now: Instant) -> Duration {
        if self.exit.is_some() || self.stop.is_some() {
            return POLL_INTERVAL;
        }
        let deadline = self.runner.deadline.map(|deadline| deadline.saturating_duration_since(now));
        let stall = self.stall_left(now).map(|left| left.max(POLL_INTERVAL));
        deadline.into_iter().chain(stall).min().unwrap_or(Duration::from_secs(3600))
    }

    fn exited(&mut self, end: End) {
        let at = Instant::now();
        let come = [self.stdout.bytes_read_and_pending(), self.stderr.bytes_read_and_pending()];
        let due = match come {
            [(out, Some(out_left)), (err, Some(err_left))] => Some([out + out_left, err + err_left]),
            _ => None,
        };
        self.exit = Some(Exit { end, at, due, read: come[0].0 + come[1].0 });
        // a failed turn was not meant to leave anything: codex from npm would go on without its launcher
        if end != End::Exited(0) && self.stop.is_none() && !self.agent.is_gone() {
            self.agent.terminate();
            self.stop = Some(Stop { why: end, since: at, killed: None });
        }
    }

    fn signal(&mut self, signal: i32) {
        let now = Instant::now();
        match &mut self.stop {
            Some(stop) if matches!(stop.why, End::Interrupted(_)) => {
                self.agent.kill();
                stop.killed.get_or_insert(now);
            }
            Some(stop) => {
                self.agent.forward(signal);
                stop.why = End::Interrupted(signal);
            }
            None => {
                self.agent.forward(signal);
                self.stop = Some(Stop { why: End::Interrupted(signal), since: now, killed: None });
            }
        }
    }
}

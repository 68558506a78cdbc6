//! Windows: an agent and everything it starts form one job.
//!
//! A job can be killed but not asked to end, so a stop has no grace period. A process cannot leave its job.

use std::fs::File;
use std::io::{self, Read};
use std::os::windows::io::OwnedHandle;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};

use super::streams::lock;
use super::{End, Event, Pipes};
use crate::sys;

/// The signal number for Ctrl-C, Ctrl-Break and a closed console. It is that of SIGINT, as in shells on Windows.
const INTERRUPT: i32 = 2;

/// The interval between checks whether the agent has ended.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn is_terminating(signal: i32) -> bool {
    signal == INTERRUPT
}

/// Does nothing, because Windows has no such signals.
pub(crate) fn prepare_signals() {}

/// The channel that receives Ctrl-C. `None` means that no agent runs.
static RECEIVER: Mutex<Option<Sender<Event>>> = Mutex::new(None);

/// Sends Ctrl-C to `events` from now on. The agent shares the console and receives it too.
pub(super) fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    *lock(&RECEIVER) = Some(events.clone());
    handle_signals()
}

/// Installs the handler for Ctrl-C, once per process.
pub(super) fn handle_signals() -> io::Result<()> {
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    let set = HANDLER.get_or_init(|| ctrlc::set_handler(interrupt).map_err(|error| error.to_string()));
    set.clone().map_err(io::Error::other)
}

/// Has the effect of Ctrl-C.
pub(crate) fn interrupt() {
    let sent = lock(&RECEIVER).as_ref().is_some_and(|events| events.send(Event::Signal(INTERRUPT)).is_ok());
    if !sent {
        super::handle_late_signal(INTERRUPT);
    }
}

/// Passes Ctrl-C to [`super::handle_late_signal`] from now on.
pub(super) fn release_signals_to_default() {
    *lock(&RECEIVER) = None;
}

pub(super) fn raise_default(signal: i32) {
    std::process::exit(128 + signal);
}

/// Does nothing, because Windows has no job control.
pub(super) fn job_control(_signal: i32, _agent: Option<&AgentProcess>) {}

/// Reads from `pipe` and adds the bytes to `count`.
pub(super) fn read_counted(pipe: &mut File, buffer: &mut [u8], count: &Mutex<u64>) -> io::Result<usize> {
    let n = pipe.read(buffer)?;
    *lock(count) += n as u64;
    Ok(n)
}

/// Returns `None`: only unsafe calls report it.
pub(super) fn bytes_in(_pipe: &File) -> Option<u64> {
    None
}

/// A running agent.
pub(super) struct AgentProcess {
    job: Arc<Mutex<Box<dyn ChildWrapper>>>,
    ended: AtomicBool,
}

impl AgentProcess {
    pub(super) fn start(command: Command, events: Sender<Event>) -> io::Result<Self> {
        sys::disinherit_standard_handles();
        let job = CommandWrap::from(command).wrap(JobObject).spawn()?;
        let job = Arc::new(Mutex::new(job));
        let watched = Arc::clone(&job);
        thread::Builder::new().spawn(move || {
            let end = loop {
                // checks the agent itself, because the job lasts until its last process ends
                match lock(&watched).inner_mut().try_wait() {
                    Ok(Some(status)) => break End::Exited(status.code().unwrap_or(1)),
                    Ok(None) => {}
                    Err(_) => break End::Exited(1),
                }
                thread::sleep(EXIT_POLL_INTERVAL);
            };
            drop(events.send(Event::Exited(end)));
        })?;
        Ok(Self { job, ended: AtomicBool::new(false) })
    }

    pub(super) fn take_pipes(&mut self) -> Pipes {
        let mut job = lock(&self.job);
        let stdout = job.stdout().take().expect("standard output is piped");
        let stderr = job.stderr().take().expect("standard error is piped");
        Pipes {
            stdin: job.stdin().take().map(|pipe| OwnedHandle::from(pipe).into()),
            stdout: OwnedHandle::from(stdout).into(),
            stderr: OwnedHandle::from(stderr).into(),
        }
    }

    pub(super) fn terminate(&self) {
        self.kill();
    }

    /// Kills the whole job, which is gone when this returns.
    pub(super) fn kill(&self) {
        let _ = lock(&self.job).start_kill();
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Does nothing, because the console delivers Ctrl-C to the agent too.
    #[expect(clippy::unused_self, reason = "the Unix version needs it")]
    pub(super) fn forward(&self, _signal: i32) {}

    /// Returns whether the job was killed. Otherwise it may still contain processes that the agent started.
    pub(super) fn is_gone(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns nothing: the system does not report which processes survive.
    #[expect(clippy::unused_self, reason = "the Unix version needs it")]
    pub(super) fn processes(&self) -> Vec<i32> {
        Vec::new()
    }

    #[expect(clippy::unused_self, reason = "the Unix version needs it")]
    pub(super) fn reap(self) {}
}

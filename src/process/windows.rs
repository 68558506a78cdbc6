//! The agent and all it starts as one job, on Windows. A job cannot be asked to end, only ended, so there is no grace
//! here; what a job leaves is whatever it started, since a process cannot leave its job.

use std::fs::File;
use std::io::{self, Read};
use std::os::windows::io::OwnedHandle;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use process_wrap::std::{ChildWrapper, CommandWrap, JobObject};

use super::{End, Event, Pipes};
use crate::sys;

/// What Ctrl-C, Ctrl-Break or a closed console counts as: the number of SIGINT, as shells on Windows have it.
const INTERRUPT: i32 = 2;

/// Between two looks whether the agent has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn is_terminating(signal: i32) -> bool {
    signal == INTERRUPT
}

/// There are no signals to prepare for.
pub(super) fn prepare_signals() {}

/// Who hears of Ctrl-C; `None` where no agent is there that it could be handed to.
static LISTENER: Mutex<Option<Sender<Event>>> = Mutex::new(None);

/// From here on Ctrl-C comes as an event. The agent shares our console and gets its own.
pub(super) fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    /// The system's handler is set once in the life of a process.
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    *lock(&LISTENER) = Some(events.clone());
    let handler = || {
        let heard = lock(&LISTENER).as_ref().is_some_and(|events| events.send(Event::Signal(INTERRUPT)).is_ok());
        if !heard {
            super::signalled_late(INTERRUPT);
        }
    };
    let set = HANDLER.get_or_init(|| ctrlc::set_handler(handler).map_err(|error| error.to_string()));
    set.clone().map_err(io::Error::other)
}

/// From here on Ctrl-C goes to [`super::signalled_late`].
pub(super) fn release_signals_to_default() {
    *lock(&LISTENER) = None;
}

pub(super) fn raise_default(signal: i32) {
    std::process::exit(128 + signal);
}

/// There is no job control.
pub(super) fn job_control(_signal: i32, _agent: Option<&AgentProcess>) {}

/// There is no umask.
pub(super) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// There is no umask; the temp directory is the user's own.
pub(super) fn keep_files_private() {}

/// Reads and counts.
pub(super) fn read_counted(pipe: &mut File, buffer: &mut [u8], count: &Mutex<u64>) -> io::Result<usize> {
    let n = pipe.read(buffer)?;
    *lock(count) += n as u64;
    Ok(n)
}

/// Not told without unsafe calls.
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
        sys::keep_standard_handles();
        let job = CommandWrap::from(command).wrap(JobObject).spawn()?;
        let job = Arc::new(Mutex::new(job));
        let watched = Arc::clone(&job);
        thread::Builder::new().spawn(move || {
            let end = loop {
                // of the agent itself: the job goes on as long as anything it started
                match lock(&watched).inner_mut().try_wait() {
                    Ok(Some(status)) => break End::Exited(status.code().unwrap_or(1)),
                    Ok(None) => {}
                    Err(_) => break End::Exited(1),
                }
                thread::sleep(POLL_INTERVAL);
            };
            drop(events.send(Event::Exited(end)));
        })?;
        Ok(Self { job, ended: AtomicBool::new(false) })
    }

    pub(super) fn take_pipes(&mut self) -> Pipes {
        let mut job = lock(&self.job);
        let stdout = job.stdout().take().expect("standard output was asked for");
        let stderr = job.stderr().take().expect("standard error was asked for");
        Pipes {
            stdin: job.stdin().take().map(|pipe| OwnedHandle::from(pipe).into()),
            stdout: OwnedHandle::from(stdout).into(),
            stderr: OwnedHandle::from(stderr).into(),
        }
    }

    pub(super) fn terminate(&self) {
        self.kill();
    }

    /// Ends the whole job. It is gone when this returns.
    pub(super) fn kill(&self) {
        let _ = lock(&self.job).start_kill();
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(super) fn forward(&self, _signal: i32) {}

    /// Whether the job was ended. One that was not may still have processes that the agent started.
    pub(super) fn is_gone(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// What a job cannot end is not told.
    #[expect(clippy::unused_self, reason = "on Unix there may be some")]
    pub(super) fn processes(&self) -> Vec<i32> {
        Vec::new()
    }

    #[expect(clippy::unused_self, reason = "on Unix there is something to reap")]
    pub(super) fn reap(self) {}
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

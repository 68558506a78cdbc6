//! The agent on Windows: for now one process. Job objects, which hold what it starts too, are still to come.

use std::fs::File;
use std::io;
use std::os::windows::io::AsHandle;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{End, Event};

/// No signals come here as events.
pub(super) fn ends_us(_signal: i32) -> bool {
    false
}

#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
pub(super) fn watch_signals(_events: &Sender<Event>) -> io::Result<()> {
    Ok(())
}

pub(super) fn job_control(_signal: i32, _agent: Option<&Agent>) {}

/// Our standard output without a buffer.
pub(super) fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

/// A running agent.
pub(super) struct Agent {
    child: Arc<Mutex<Child>>,
}

impl Agent {
    pub(super) fn start(mut command: Command, events: Sender<Event>) -> io::Result<Self> {
        let child = Arc::new(Mutex::new(command.spawn()?));
        let waited = Arc::clone(&child);
        thread::spawn(move || {
            let end = loop {
                match lock(&waited).try_wait() {
                    Ok(Some(status)) => break End::Exited(status.code().unwrap_or(1)),
                    Ok(None) => {}
                    Err(_) => break End::Exited(1),
                }
                thread::sleep(Duration::from_millis(10));
            };
            drop(events.send(Event::Exited(end)));
        });
        Ok(Self { child })
    }

    pub(super) fn take_pipes(&mut self) -> (Option<ChildStdin>, ChildStdout, ChildStderr) {
        let mut child = lock(&self.child);
        let stdout = child.stdout.take().expect("standard output was asked for");
        let stderr = child.stderr.take().expect("standard error was asked for");
        (child.stdin.take(), stdout, stderr)
    }

    pub(super) fn terminate(&self) {
        self.kill();
    }

    pub(super) fn kill(&self) {
        let _ = lock(&self.child).kill();
    }

    pub(super) fn pass_on(&self, _signal: i32) {}

    pub(super) fn is_gone(&self) -> bool {
        !matches!(lock(&self.child).try_wait(), Ok(None))
    }

    #[expect(clippy::unused_self, reason = "on Unix there is something to reap")]
    pub(super) fn reap(self) {}
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

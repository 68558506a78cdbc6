//! Stops a turn from another process.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::dir::RecordDir;
use super::record::Record;

/// How long the process of a turn may take after it was asked to stop. It gives its agent five seconds, and needs two more
/// at most to see that nothing is left.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a killed process may take to vanish.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Stops the turn `id` and waits until its process has ended. Does nothing if that has ended already.
///
/// Only a process that holds the lock of the record is signalled, so a reused process ID is safe.
///
/// # Errors
///
/// Fails if the process cannot be signalled, or is still there after it was killed.
pub(crate) fn stop(dir: &RecordDir, id: &str, record: &Record) -> io::Result<()> {
    if !dir.is_alive(id) {
        return Ok(());
    }
    let Some(process) = platform::TurnProcess::open(dir, id, record)? else { return Ok(()) };
    process.ask()?;
    if wait_for_end(dir, id, PATIENCE) {
        return Ok(());
    }
    process.kill()?;
    if wait_for_end(dir, id, KILL_TIMEOUT) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Waits until no process holds the lock of the turn. Returns false if that takes longer than `limit`.
fn wait_for_end(dir: &RecordDir, id: &str, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    let mut pause = SHORTEST_PAUSE;
    while dir.is_alive(id) {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    true
}

#[cfg(unix)]
mod platform {
    use std::io;
    use std::path::PathBuf;

    #[cfg(target_os = "linux")]
    use rustix::fd::OwnedFd;
    use rustix::process::{Pid, Signal};

    use super::super::dir::RecordDir;
    use super::super::live::private_file;
    use super::super::record::Record;

    /// The process that runs a turn.
    pub(super) struct TurnProcess {
        /// Exists if the process was asked to stop.
        request: PathBuf,
        /// Refers to the same process even if its ID is reused.
        #[cfg(target_os = "linux")]
        handle: OwnedFd,
        #[cfg(not(target_os = "linux"))]
        pid: Pid,
    }

    impl TurnProcess {
        /// Returns the process that holds the lock of the turn `id`, or `None` if there is none any more.
        pub(super) fn open(dir: &RecordDir, id: &str, record: &Record) -> io::Result<Option<Self>> {
            if dir.open(id, "lock").is_err() {
                return Ok(None);
            }
            if !dir.is_in_own_namespace(id) {
                return Err(io::Error::other("its process runs in another container or sandbox"));
            }
            let pid = record.pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
            let pid = pid.ok_or_else(|| io::Error::other("its record has no process ID"))?;
            #[cfg(target_os = "linux")]
            let opened = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
                Ok(handle) => Self { request: dir.file(id, "stop"), handle },
                Err(rustix::io::Errno::SRCH) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            #[cfg(not(target_os = "linux"))]
            let opened = Self { request: dir.file(id, "stop"), pid };
            // only after this check, the handle is known to be that of the holder
            Ok(dir.is_alive(id).then_some(opened))
        }

        /// Asks the process to stop its agent and to end, unless that was done. A second TERM would kill the agent.
        pub(super) fn ask(&self) -> io::Result<()> {
            let is_first = match private_file().create_new(true).open(&self.request) {
                Err(error) => error.kind() != io::ErrorKind::AlreadyExists, // a full disk has no room for it
                Ok(_) => true,
            };
            if is_first {
                self.send(Signal::TERM)?;
            }
            self.send(Signal::CONT) // a stopped process does not act on a signal until it continues
        }

        pub(super) fn kill(&self) -> io::Result<()> {
            self.send(Signal::KILL)
        }

        fn send(&self, signal: Signal) -> io::Result<()> {
            #[cfg(target_os = "linux")]
            let sent = rustix::process::pidfd_send_signal(&self.handle, signal);
            #[cfg(not(target_os = "linux"))]
            let sent = rustix::process::kill_process(self.pid, signal);
            match sent {
                Err(rustix::io::Errno::SRCH) => Ok(()), // it has ended
                sent => sent.map_err(io::Error::from),
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::path::PathBuf;

    use super::super::dir::RecordDir;
    use super::super::record::Record;

    /// The process that runs a turn. It checks for the file often, because Windows has no signal for it.
    pub(super) struct TurnProcess {
        file: PathBuf,
    }

    impl TurnProcess {
        #[expect(clippy::unnecessary_wraps, reason = "the Unix twin can fail")]
        pub(super) fn open(dir: &RecordDir, id: &str, _record: &Record) -> io::Result<Option<Self>> {
            Ok(Some(Self { file: dir.file(id, "stop") }))
        }

        pub(super) fn ask(&self) -> io::Result<()> {
            File::create(&self.file).map(drop)
        }

        /// Fails, because a process cannot be killed safely by its number.
        #[expect(clippy::unused_self, reason = "the Unix twin needs it")]
        pub(super) fn kill(&self) -> io::Result<()> {
            Err(io::Error::other("its process does not answer"))
        }
    }
}

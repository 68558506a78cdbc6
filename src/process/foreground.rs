//! Runs an interactive program at the terminal of this process, as a shell runs an editor.
//!
//! The program stays in this process's group and has its streams, so keys that send signals reach both. This process does
//! not act on INT and QUIT while it waits, and forwards TERM and HUP. It stops if the program has stopped, and not by
//! TSTP itself: otherwise one Ctrl-Z could stop it twice.

use std::io;
use std::process::Command;

#[cfg(unix)]
pub(crate) use unix::Foreground;
#[cfg(windows)]
pub(crate) use windows::Foreground;

#[cfg(unix)]
mod unix {
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::iterator::Signals;

    use super::{Command, io};
    use crate::process::POLL_INTERVAL;
    use crate::process::streams::lock;
    use crate::sys;

    /// A timeout for a signal to the group, which reaches its processes one after the other.
    const GROUP_CONTINUE_LIMIT: Duration = Duration::from_millis(100);

    /// The signals that are handled.
    pub(crate) struct Foreground(Signals);

    impl Foreground {
        /// Handles signals from now on. One that is ignored stays ignored.
        pub(crate) fn new() -> io::Result<Self> {
            // handlers, unlike ignored signals, are not inherited by the program
            let handled =
                [SIGINT, SIGQUIT, SIGTSTP, SIGTERM, SIGHUP].into_iter().filter(|&signal| !sys::is_ignored(signal));
            Signals::new(handled).map(Self)
        }

        /// Runs `command` until it ends. Returns its exit status as a shell does.
        ///
        /// It inherits the standard streams and the descriptors for which `share` clears the flag that closes them.
        pub(crate) fn run(self, mut command: Command, share: impl FnOnce()) -> io::Result<i32> {
            sys::reset_sigchld()?;
            sys::close_descriptors_on_exec();
            share();
            let child = sys::with_callers_umask(|| command.spawn())?;
            let pid = Pid::from_child(&child);
            // empty after the end of the program, when another process may get its number
            let target = Arc::new(Mutex::new(Some(pid)));
            let (mut signals, to) = (self.0, Arc::clone(&target));
            thread::Builder::new().spawn(move || {
                for signal in signals.forever() {
                    let forwarded = Signal::from_named_raw(signal).filter(|_| [SIGTERM, SIGHUP].contains(&signal));
                    if let (Some(signal), Some(pid)) = (forwarded, *lock(&to)) {
                        send(pid, signal);
                    }
                }
            })?;
            loop {
                let any = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
                let seen = match rustix::process::waitid(WaitId::Pid(pid), any | WaitIdOptions::NOWAIT) {
                    Err(rustix::io::Errno::INTR) => continue,
                    seen => seen?,
                };
                if seen.is_some_and(|status| status.stopped()) {
                    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
                    let _ = rustix::process::waitid(WaitId::Pid(pid), stopped); // so that it is not seen again
                    sys::perform_default_action(SIGTSTP);
                    continue_if_stopped(pid);
                    continue;
                }
                let _ = lock(&target).take();
                let ended = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)?;
                return Ok(ended.map_or(1, |status| match status.exit_status() {
                    Some(code) => code,
                    None => 128 + status.terminating_signal().unwrap_or_default(),
                }));
            }
        }
    }

    /// Continues a program that was left stopped when this process continued.
    ///
    /// `fg` continues the whole group, so the program's turn comes at about the same time. A signal that is sent after
    /// that could undo the next Ctrl-Z.
    fn continue_if_stopped(pid: Pid) {
        let changed = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED;
        let began = Instant::now();
        loop {
            match rustix::process::waitid(WaitId::Pid(pid), changed | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
                Ok(None) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Ok(Some(_)) | Err(_) => return,
            }
            if began.elapsed() >= GROUP_CONTINUE_LIMIT {
                let _ = rustix::process::kill_process(pid, Signal::CONT);
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends a signal that a stopped process receives, too.
    fn send(pid: Pid, signal: Signal) {
        for signal in [signal, Signal::CONT] {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

#[cfg(windows)]
mod windows {
    use super::{Command, io};

    /// Ctrl-C, which is handled.
    pub(crate) struct Foreground;

    impl Foreground {
        /// Leaves Ctrl-C to the program, which shares the console.
        pub(crate) fn new() -> io::Result<Self> {
            ctrlc::set_handler(|| {}).map_err(io::Error::other)?;
            Ok(Self)
        }

        /// Runs `command` until it ends. Returns its exit status.
        #[expect(clippy::unused_self, reason = "the handler is needed first")]
        pub(crate) fn run(self, mut command: Command, share: impl FnOnce()) -> io::Result<i32> {
            share();
            Ok(command.status()?.code().unwrap_or(1))
        }
    }
}

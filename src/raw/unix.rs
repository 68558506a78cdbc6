//! What runs between fork and exec, and questions to the kernel that no safe call asks.
#![expect(unsafe_code, reason = "pre_exec, sigaction and the pid that waitid tells have no safe form")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::Pid;

/// The caller's umask, for the agent.
static UMASK: OnceLock<Mode> = OnceLock::new();

/// From here on what we make is ours alone, whatever the caller's umask leaves open, or takes away from us.
pub(crate) fn keep_files_private() {
    let _ = UMASK.set(rustix::process::umask(Mode::RWXG | Mode::RWXO));
}

/// Runs `work` with the caller's umask.
pub(crate) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    let Some(mask) = UMASK.get() else { return work() };
    let private = rustix::process::umask(*mask);
    let done = work();
    rustix::process::umask(private);
    done
}

/// Makes the program lead a session and process group of its own: without a controlling terminal, so that something
/// that would ask there fails instead of stopping for ever. On Linux it gets TERM when we die, however we die (not
/// KILL: that would end only npm's launcher and free the real codex).
///
/// The parent-death signal is tied to the thread that spawns; call this from the main thread, which lives as long as
/// the program.
pub(crate) fn lead_a_session(command: &mut Command) {
    let parent = rustix::process::getpid();
    let mask = UMASK.get().copied();
    let prepare = move || {
        rustix::process::setsid()?;
        if let Some(mask) = mask {
            rustix::process::umask(mask);
        }
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            // the parent may have died before that line
            if rustix::process::getppid() != Some(parent) {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
        }
        let _ = parent; // only Linux asks
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates nothing
    unsafe { command.pre_exec(prepare) };
}

/// Whether `signal` is ignored in this process.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction with a null new action only reads; the zeroed struct is a valid place for the answer
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives SIGCHLD its usual meaning. Where our parent ignored it, the system would reap our children by itself: their ends
/// would never be told, and their numbers would be free for strangers.
pub(crate) fn expect_children() -> io::Result<()> {
    if !is_ignored(libc::SIGCHLD) {
        return Ok(());
    }
    // SAFETY: no handler is installed, only the default taken up
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// How `child` ended, if it has, without reaping it.
pub(crate) fn has_ended(child: Pid) -> Option<Ended> {
    wait(libc::P_PID, child.as_raw_nonzero().get().cast_unsigned(), libc::WNOHANG).ok().map(|(_, end)| end)
}

/// Waits until any child has ended, and tells which and how without reaping it. rustix can wait for any, but does not
/// tell which it was.
pub(crate) fn wait_for_any() -> io::Result<(Pid, Ended)> {
    wait(libc::P_ALL, 0, 0)
}

fn wait(which: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<(Pid, Ended)> {
    // SAFETY: waitid writes the zeroed struct, and after a success with WEXITED these fields of it are set or still zero
    let (pid, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(which, id, &raw mut info, libc::WEXITED | libc::WNOWAIT | options) != 0 {
            return Err(io::Error::last_os_error());
        }
        (info.si_pid(), info.si_code, info.si_status())
    };
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Interrupted)?;
    Ok((pid, if code == libc::CLD_EXITED { Ended::Exited(status) } else { Ended::Killed(status) }))
}

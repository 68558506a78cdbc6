//! What runs between fork and exec, and questions to the kernel that no safe call asks.
#![expect(unsafe_code, reason = "pre_exec, sigaction, close_range, getpwuid and waitid's pid have no safe form")]

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Pid, Uid};

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
/// KILL: that would end only npm's launcher and free the real codex). The number of the group is written to `sentry`, on a
/// line.
///
/// The parent-death signal is tied to the thread that spawns; call this from the main thread, which lives as long as
/// the program.
pub(crate) fn lead_a_session(command: &mut Command, sentry: Option<File>) {
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
        if let Some(mut sentry) = sentry.as_ref() {
            let _ = writeln!(sentry, "{}", rustix::process::getpid().as_raw_nonzero()); // it may be gone
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls that are async-signal-safe, and allocates nothing
    unsafe { command.pre_exec(prepare) };
}

/// Keeps all descriptors but the three standard streams from programs that are started from here on. Those that this
/// program opens are kept anyway, but not those of its caller: a server that a turn leaves running would hold the
/// caller's locks and pipes.
pub(crate) fn keep_descriptors() {
    const FIRST: i32 = 3;
    /// At most this many are marked if the system has no list of them.
    const MOST: u64 = 1 << 20;
    const LIST: &str = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the call marks descriptors and touches no memory
        let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if done == 0 {
            return;
        }
    }
    // SAFETY: as above; one that is not open is refused
    let keep = |descriptor| unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    if let Ok(list) = std::fs::read_dir(LIST) {
        for descriptor in list.filter_map(number).filter(|descriptor| *descriptor >= FIRST) {
            keep(descriptor);
        }
    } else {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(MOST);
        for descriptor in FIRST..i32::try_from(limit.min(MOST)).unwrap_or(i32::MAX) {
            keep(descriptor);
        }
    }
}

/// Does to this process what `signal` does if it is not handled. Returns if that is nothing, or once a stop is over.
pub(crate) fn act_by_default(signal: i32) {
    // SAFETY: a zeroed struct is a valid action; no handler is installed but the one that was there
    unsafe {
        let mut handled: libc::sigaction = std::mem::zeroed();
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        if libc::sigaction(signal, &raw const default, &raw mut handled) == 0 {
            libc::raise(signal);
            libc::sigaction(signal, &raw const handled, std::ptr::null_mut());
        }
    }
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

/// The home directory of `user` as the system's list of users has it; `None` for a user who is not in it, or has none.
pub(crate) fn home_of(user: Uid) -> Option<PathBuf> {
    /// No entry is longer.
    const LONGEST: usize = 1 << 20;
    let mut buffer: Vec<libc::c_char> = vec![0; 1 << 12];
    let home = loop {
        let mut found = std::ptr::null_mut();
        // SAFETY: getpwuid_r writes to the zeroed struct and the buffer, whose length it is told, and to nothing else;
        // after a success the pointers in the struct lead into the buffer, which lives until they were read
        let status = unsafe {
            let mut entry: libc::passwd = std::mem::zeroed();
            let status =
                libc::getpwuid_r(user.as_raw(), &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found);
            if status == 0 && !found.is_null() && !entry.pw_dir.is_null() {
                break CStr::from_ptr(entry.pw_dir).to_owned();
            }
            status
        };
        if status != libc::ERANGE || buffer.len() >= LONGEST {
            return None;
        }
        buffer.resize(buffer.len() * 4, 0);
    };
    Some(PathBuf::from(OsStr::from_bytes(home.as_bytes()))).filter(|home| home.is_absolute())
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

//! Code that runs between fork and exec, and system calls that have no safe form.
#![expect(
    unsafe_code,
    reason = "pre_exec, sigaction, inherited descriptors, close_range, madvise, getpwuid, F_GETLK and waitid's pid have no \
              safe form"
)]

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Pid, Uid};

/// The umask that this program was started with.
static UMASK: OnceLock<Mode> = OnceLock::new();

/// Restricts the umask, so that files created by this process are private. Agents are spawned with the caller's umask.
pub(crate) fn keep_files_private() {
    let _ = UMASK.set(rustix::process::umask(Mode::RWXG | Mode::RWXO));
}

/// Runs `work` with the caller's umask. No other thread may create files meanwhile.
pub(crate) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    let Some(mask) = UMASK.get() else { return work() };
    let private = rustix::process::umask(*mask);
    let done = work();
    rustix::process::umask(private);
    done
}

/// Makes the program start in a new session and process group, and writes the number of the group to `sentry`, as a
/// line.
///
/// The session has no controlling terminal, so a program that prompts there fails instead of stopping forever. On
/// Linux the program gets TERM if this process dies for any reason. KILL would end only npm's launcher and leave codex
/// running.
///
/// Linux ties the parent-death signal to the thread that spawns. Call this from the main thread, which lives as long
/// as the program.
pub(crate) fn start_new_session(command: &mut Command, sentry: Option<File>) {
    let parent = rustix::process::getpid();
    let mask = UMASK.get().copied();
    let prepare = move || {
        enter_new_session(mask)?;
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            exit_without(parent);
        }
        let _ = parent; // used only on Linux
        if let Some(mut sentry) = sentry.as_ref() {
            let _ = writeln!(sentry, "{}", rustix::process::getpid().as_raw_nonzero()); // the sentry may have died
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe system calls and does not allocate
    unsafe { command.pre_exec(prepare) };
}

/// Enters a new session, with the caller's umask. Makes only async-signal-safe system calls.
fn enter_new_session(mask: Option<Mode>) -> io::Result<()> {
    rustix::process::setsid()?;
    if let Some(mask) = mask {
        rustix::process::umask(mask);
    }
    Ok(())
}

/// Makes the program start in a new session, without HUP, and with the caller's umask. It inherits `arguments`, and no
/// other descriptor besides the standard streams.
///
/// On Linux the program gets TERM if this process dies, until it calls [`outlive_parent`]. Call this from the main thread.
pub(crate) fn start_detached(command: &mut Command, arguments: OwnedFd) {
    close_descriptors_on_exec();
    let parent = rustix::process::getpid();
    let mask = UMASK.get().copied();
    let prepare = move || {
        enter_new_session(mask)?;
        rustix::io::fcntl_setfd(&arguments, rustix::io::FdFlags::empty())?;
        // SAFETY: the signal is ignored, so no handler runs
        if unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            exit_without(parent);
        }
        let _ = parent; // used only on Linux
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe system calls and does not allocate
    unsafe { command.pre_exec(prepare) };
}

/// Ends this process, which was forked, if `parent` died before it asked for a signal at that event.
///
/// An error would be reported to the parent. As nothing reads it, the standard library would abort with a message.
#[cfg(target_os = "linux")]
fn exit_without(parent: Pid) {
    if rustix::process::getppid() != Some(parent) {
        // SAFETY: the call ends the process, without handlers of the parent
        unsafe { libc::_exit(128 + libc::SIGTERM) }
    }
}

/// Returns the pipe that this process inherited as the descriptor `number`, if there is one.
pub(crate) fn inherited_pipe(number: i32) -> Option<File> {
    if number < 3 {
        return None;
    }
    // SAFETY: the descriptor is only examined, and it is not closed meanwhile
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let kind = rustix::fs::fstat(borrowed).ok()?.st_mode;
    if rustix::fs::FileType::from_raw_mode(kind) != rustix::fs::FileType::Fifo {
        return None;
    }
    // SAFETY: the caller of this program opened the descriptor for it, and nothing else in this process uses it
    Some(unsafe { File::from_raw_fd(number) })
}

/// Lets this process continue after the end of its parent ([`start_detached`]).
pub(crate) fn outlive_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(None);
}

/// Replaces the standard streams of this process. Standard input is empty from now on.
pub(crate) fn replace_standard_streams(stdout: &File, stderr: &File) -> io::Result<()> {
    let empty = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&empty)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// Closes all descriptors except the three standard streams in programs that are executed from now on.
///
/// Descriptors that this program opens are marked anyway, but those inherited from its caller are not. Without the
/// mark, a server that a turn leaves running would hold the caller's locks and pipes.
pub(crate) fn close_descriptors_on_exec() {
    const FIRST: i32 = 3;
    /// The most that are marked if the system does not list them.
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
    // SAFETY: as above; the call fails for a descriptor that is not open
    let mark = |descriptor| unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    if let Ok(list) = std::fs::read_dir(LIST) {
        for descriptor in list.filter_map(number).filter(|descriptor| *descriptor >= FIRST) {
            mark(descriptor);
        }
    } else {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(MOST);
        for descriptor in FIRST..i32::try_from(limit.min(MOST)).unwrap_or(i32::MAX) {
            mark(descriptor);
        }
    }
}

/// Returns an empty buffer for `length` bytes.
///
/// The memory of a large one comes in pages of 2 MiB where Linux has them. With pages of 4 KiB, the page faults take
/// longer than reading a file into the buffer.
pub(crate) fn large_buffer(length: usize) -> Vec<u8> {
    let buffer: Vec<u8> = Vec::with_capacity(length);
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        if buffer.capacity() >= 2 * HUGE {
            let skipped = buffer.as_ptr().align_offset(HUGE);
            let whole = (buffer.capacity() - skipped) / HUGE * HUGE;
            // SAFETY: the range lies within the buffer, and the advice changes only how its memory is laid out
            unsafe { libc::madvise(buffer.as_ptr().add(skipped).cast_mut().cast(), whole, libc::MADV_HUGEPAGE) };
        }
    }
    buffer
}

/// Performs the default action of `signal` on this process. Returns if that does nothing, or after a stop.
pub(crate) fn perform_default_action(signal: i32) {
    // SAFETY: a zeroed struct is a valid action; only the previous handler is installed
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

/// Returns whether this process ignores `signal`.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction with a null new action only reads; the zeroed struct is a valid result buffer
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Restores the default action of SIGCHLD.
///
/// If the parent process ignored it, the system would reap children by itself. Their exit statuses would be lost and
/// their process IDs could be reused.
pub(crate) fn reset_sigchld() -> io::Result<()> {
    if !is_ignored(libc::SIGCHLD) {
        return Ok(());
    }
    // SAFETY: only the default action is installed
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Returns the home directory of `user` from the system's user database, if it has one there.
pub(crate) fn home_of(user: Uid) -> Option<PathBuf> {
    /// The longest entry that is read.
    const LONGEST: usize = 1 << 20;
    let mut buffer: Vec<libc::c_char> = vec![0; 1 << 12];
    let home = loop {
        let mut found = std::ptr::null_mut();
        // SAFETY: getpwuid_r writes only to the zeroed struct and to the buffer, whose length it receives. After a
        // success, the pointers in the struct point into the buffer. The buffer is still alive when they are read.
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

/// Returns the exit status of `child` if it has ended, without reaping it.
pub(crate) fn exit_status_of(child: Pid) -> Option<ExitStatus> {
    wait(libc::P_PID, child.as_raw_nonzero().get().cast_unsigned(), libc::WNOHANG).ok().map(|(_, status)| status)
}

/// Waits until any child has ended. Returns its process ID and exit status, without reaping it.
///
/// rustix can wait for any child, but does not return which one ended.
pub(crate) fn wait_for_any_child() -> io::Result<(Pid, ExitStatus)> {
    wait(libc::P_ALL, 0, 0)
}

fn wait(which: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<(Pid, ExitStatus)> {
    // SAFETY: waitid writes the zeroed struct, and after a success with WEXITED these fields of it are set or still
    // zero
    let (pid, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(which, id, &raw mut info, libc::WEXITED | libc::WNOWAIT | options) != 0 {
            return Err(io::Error::last_os_error());
        }
        (info.si_pid(), info.si_code, info.si_status())
    };
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::Interrupted)?;
    // as wait(2) encodes it
    let encoded = if code == libc::CLD_EXITED { (status & 0xff) << 8 } else { status };
    Ok((pid, ExitStatus::from_raw(encoded)))
}

/// Makes opening a pipe or a device with `options` return immediately.
pub(crate) fn without_blocking(options: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
}

/// Returns whether another process has locked `file` with `flock`. The two kinds of lock exclude each other on these
/// systems, so that asking for one kind finds the other.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    // SAFETY: a zeroed struct is a valid request for the whole file; fcntl writes only to it
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK;
        if libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(lock.l_type != libc::F_UNLCK)
    }
}

/// Runs `attempt`, because an open file can be replaced on Unix.
pub(crate) fn retry_while_open<T>(attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    attempt()
}

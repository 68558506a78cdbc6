//! Unix: an agent leads a new session and process group.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use rustix::event::{PollFd, PollFlags};
#[cfg(target_os = "linux")]
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGVTALRM,
    SIGXCPU, SIGXFSZ,
};
use signal_hook::iterator::Signals;

use super::sentry::Sentry;
use super::streams::lock;
use super::{End, Event, Pipes};
use crate::sys;

/// The largest pipe that Linux allows an unprivileged user (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 1 << 20;

/// Signals that are forwarded unchanged. All others become TERM, because a runtime may use them for something else
/// (USR1 starts node's debugger).
const FORWARDED_UNCHANGED: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Returns the signals that end a program without a handler.
///
/// Signals that report a fault of the program itself are omitted (SEGV, BUS, ILL, FPE, TRAP, SYS). Nothing is reliable
/// after one of them. Rust's runtime ignores PIPE.
fn terminating_signals() -> impl Iterator<Item = i32> {
    let others = [SIGABRT, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU];
    let all = FORWARDED_UNCHANGED.into_iter().chain(others);
    #[cfg(target_os = "linux")]
    let all = all.chain([libc::SIGIO, libc::SIGPWR, libc::SIGSTKFLT]).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    all
}

pub(super) fn is_terminating(signal: i32) -> bool {
    ![SIGTSTP, SIGCONT].contains(&signal)
}

/// The channel that receives signals. `None` means that they have their usual effect on this process.
static RECEIVER: Mutex<Option<Sender<Event>>> = Mutex::new(None);

/// Sets up signals at the start of the program, before any agent runs.
///
/// Exceeding the file size limit becomes an error of the write. The first process of a container can be terminated.
pub(crate) fn prepare_signals() {
    // a handler, unlike an ignored signal, is not inherited by the agent
    if !sys::is_ignored(SIGXFSZ) {
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    }
    // the first process of a container receives no signal without a handler
    if own_pid() == 1 {
        let _ = handle_signals();
    }
}

/// Sends signals to `events` from now on.
pub(super) fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    *lock(&RECEIVER) = Some(events.clone());
    handle_signals()
}

/// Installs the signal handlers, once per process. A signal that was ignored at the start stays ignored (`nohup`).
pub(super) fn handle_signals() -> io::Result<()> {
    static HANDLED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        let all = terminating_signals().chain([SIGTSTP, SIGCONT]);
        let signals = Signals::new(all.filter(|&signal| !sys::is_ignored(signal)))?;
        thread::Builder::new().spawn(move || dispatch(signals))
    };
    let handled = HANDLED.get_or_init(|| start().map(drop).map_err(|error| error.to_string()));
    handled.clone().map_err(io::Error::other)
}

fn dispatch(mut signals: Signals) {
    loop {
        let mut batch: Vec<i32> = signals.wait().collect();
        // a stop that is already over has no effect, whichever signal is listed first
        if batch.contains(&SIGTSTP) && batch.contains(&SIGCONT) {
            batch.retain(|signal| ![SIGTSTP, SIGCONT].contains(signal));
        }
        for signal in batch {
            let sent = lock(&RECEIVER).as_ref().is_some_and(|events| events.send(Event::Signal(signal)).is_ok());
            match signal {
                _ if sent => {}
                signal if is_terminating(signal) => super::handle_late_signal(signal),
                signal => raise_default(signal),
            }
        }
    }
}

/// Passes terminating signals to [`super::handle_late_signal`] from now on. The others have their default action.
pub(super) fn release_signals_to_default() {
    *lock(&RECEIVER) = None;
}

/// Performs the default action of `signal`.
pub(super) fn raise_default(signal: i32) {
    sys::perform_default_action(signal);
    if is_terminating(signal) {
        std::process::exit(128 + signal); // the default action does not end the first process of a container
    }
}

/// Stops or continues the agent together with this process.
///
/// The group is stopped with STOP. It is orphaned, because its leader's parent is in another session, and an orphaned
/// group ignores TSTP (POSIX, "Signal Generation and Delivery"). This process is not stopped if its own group is
/// orphaned too, or if it is the first process of a container. Nothing could continue it there, so the agent continues
/// immediately.
pub(super) fn job_control(signal: i32, agent: Option<&AgentProcess>) {
    let forward = |signal| {
        if let Some(agent) = agent {
            agent.send_signal(signal);
        }
    };
    if signal == SIGTSTP {
        forward(Signal::STOP);
        sys::perform_default_action(SIGTSTP);
    }
    forward(Signal::CONT);
}

/// Reads from `pipe`, waiting for data, and adds the bytes to `count`. Holds the lock of `count` while reading, so
/// that the count and the bytes in the pipe always add up.
pub(super) fn read_counted(pipe: &mut File, buffer: &mut [u8], count: &Mutex<u64>) -> io::Result<usize> {
    rustix::event::poll(&mut [PollFd::new(pipe, PollFlags::IN)], None)?;
    let mut count = lock(count);
    let n = pipe.read(buffer)?;
    *count += n as u64;
    Ok(n)
}

/// Returns how many bytes are in the pipe.
pub(super) fn bytes_in(pipe: &File) -> Option<u64> {
    rustix::io::ioctl_fionread(pipe).ok()
}

/// A running agent.
///
/// Its process is reaped last. Until then no other process or group can get its number, so a signal cannot hit an
/// unrelated process.
pub(super) struct AgentProcess {
    child: Child,
    pid: Pid,
    /// Ends the agent's group if this process is killed. `None` if it could not be spawned or is not needed any more.
    sentry: Option<Sentry>,
    /// Children that do not belong to the agent: the sentry, and those of the program that executed this one.
    preexisting_children: Arc<HashSet<i32>>,
    /// Whether this process had no children when the agent was spawned.
    #[cfg(target_os = "linux")]
    had_no_children: bool,
}

impl AgentProcess {
    pub(super) fn start(mut command: Command, events: Sender<Event>) -> io::Result<Self> {
        become_subreaper();
        sys::reset_sigchld()?;
        sys::close_descriptors_on_exec();
        let mut preexisting_children = children();
        #[cfg(target_os = "linux")]
        let had_no_children = preexisting_children.is_empty();
        let sentry = Sentry::spawn().ok();
        sys::start_new_session(&mut command, sentry.as_ref().and_then(Sentry::input));
        preexisting_children.extend(sentry.as_ref().map(Sentry::pid));
        let preexisting_children = Arc::new(preexisting_children);
        let known_children = Arc::clone(&preexisting_children);
        let (sender, pid) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            if let Ok(pid) = pid.recv() {
                drop(events.send(Event::Exited(wait_for(pid, &known_children))));
            }
        })?;
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let _ = sender.send(pid); // the thread waits for it
        Ok(Self {
            child,
            pid,
            sentry,
            preexisting_children,
            #[cfg(target_os = "linux")]
            had_no_children,
        })
    }

    pub(super) fn take_pipes(&mut self) -> Pipes {
        let stdout = self.child.stdout.take().expect("standard output is piped");
        // a larger pipe means fewer context switches; the default size works too
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        let stderr = self.child.stderr.take().expect("standard error is piped");
        Pipes {
            stdin: self.child.stdin.take().map(|pipe| OwnedFd::from(pipe).into()),
            stdout: OwnedFd::from(stdout).into(),
            stderr: OwnedFd::from(stderr).into(),
        }
    }

    /// Sends TERM to everything that the agent started.
    pub(super) fn terminate(&self) {
        self.send_signal(Signal::TERM);
    }

    /// Kills everything that the agent started.
    pub(super) fn kill(&mut self) {
        self.send_signal(Signal::KILL);
        #[cfg(target_os = "linux")]
        self.kill_children();
    }

    /// Kills the children of this process repeatedly for a moment.
    ///
    /// This finds processes that fork and exit faster than the process list can be read. They become children of this
    /// process, and the list of children is short.
    #[cfg(target_os = "linux")]
    fn kill_children(&mut self) {
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            if self.is_gone() {
                return;
            }
            let known = |pid: &i32| self.preexisting_children.contains(pid) || is_detached(*pid);
            for pid in listed_children().into_iter().filter(|pid| !known(pid)) {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    /// Forwards a terminating signal.
    pub(super) fn forward(&self, signal: i32) {
        let named = Signal::from_named_raw(signal).filter(|_| FORWARDED_UNCHANGED.contains(&signal));
        self.send_signal(named.unwrap_or(Signal::TERM));
    }

    fn send_signal(&self, signal: Signal) {
        let send = |signal| {
            let _ = rustix::process::kill_process_group(self.pid, signal); // the group may be gone
            for pid in self.escaped() {
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        send(signal);
        // a stopped process does not act on a signal until it continues
        if FORWARDED_UNCHANGED.contains(&signal.as_raw()) {
            send(Signal::CONT);
        }
    }

    /// Returns whether only zombies are left. Drops the sentry, so call this only after the agent has ended or been
    /// killed.
    pub(super) fn is_gone(&mut self) -> bool {
        drop(self.sentry.take());
        // This process is the subreaper, so it has a living child while any process of the agent lives. One system
        // call finds that out, while a list of processes changes as it is read.
        #[cfg(target_os = "linux")]
        if self.had_no_children {
            let living = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let none = rustix::process::waitid(WaitId::All, living).is_err_and(|errno| errno == Errno::CHILD);
            return none || only_detached_children();
        }
        match members(self.pid, &self.preexisting_children) {
            Some(members) => members.is_empty(),
            // without a process list: signalling a group fails if it has only zombies
            None => rustix::process::test_kill_process_group(self.pid).is_err(),
        }
    }

    /// Returns the agent's processes, if the system lists them.
    pub(super) fn processes(&self) -> Vec<i32> {
        members(self.pid, &self.preexisting_children)
            .unwrap_or_default()
            .into_iter()
            .map(|process| process.pid)
            .collect()
    }

    /// Returns the agent's processes that left its group, if the system lists them.
    fn escaped(&self) -> Vec<Pid> {
        members(self.pid, &self.preexisting_children)
            .unwrap_or_default()
            .into_iter()
            .filter(|process| process.group != self.pid.as_raw_nonzero().get())
            .filter_map(|process| Pid::from_raw(process.pid))
            .collect()
    }

    /// Reaps the agent. One that could not be killed is left to its next parent.
    pub(super) fn reap(mut self) {
        let _ = self.child.try_wait();
    }
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Exited(code),
            None => Self::Killed(status.signal().unwrap_or_default()),
        }
    }
}

/// Waits for the agent's end without reaping it. Meanwhile reaps orphans that became children of this process.
fn wait_for(agent: Pid, preexisting_children: &HashSet<i32>) -> End {
    loop {
        let (pid, status) = match sys::wait_for_any_child() {
            Ok(ended) => ended,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return End::Exited(1), // no children: the agent was reaped elsewhere
        };
        if pid == agent {
            return status.into();
        }
        if preexisting_children.contains(&pid.as_raw_nonzero().get()) {
            // it must not be reaped here, so every wait would return it again
            thread::sleep(std::time::Duration::from_millis(10));
            if let Some(status) = sys::exit_status_of(agent) {
                return status.into();
            }
            continue;
        }
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Makes orphans of the agent children of this process instead of init, on Linux, so that they can be found.
fn become_subreaper() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// An entry of the process list.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

/// Returns the children of all threads of this process, including zombies (proc(5), `/proc/PID/task/TID/children`).
#[cfg(target_os = "linux")]
fn listed_children() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Returns whether all living children of this process run detached turns, which became its children when the calls
/// that started them ended. False if the children cannot be listed.
#[cfg(target_os = "linux")]
fn only_detached_children() -> bool {
    let living = |pid: &i32| read_process(std::ffi::OsStr::new(&pid.to_string())).is_some();
    let children: Vec<i32> = listed_children().into_iter().filter(living).collect();
    !children.is_empty() && children.into_iter().all(is_detached)
}

/// Returns whether the process runs a detached turn, which outlives the agent that started it.
fn is_detached(pid: i32) -> bool {
    crate::lock::is_detached(&pid.to_string())
}

/// Returns the current children of this process.
fn children() -> HashSet<i32> {
    // usually there are none, which one system call finds out
    let any = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if rustix::process::waitid(WaitId::All, any).is_err() {
        return HashSet::new();
    }
    let own_pid = own_pid();
    processes()
        .unwrap_or_default()
        .into_iter()
        .filter(|process| process.parent == own_pid)
        .map(|process| process.pid)
        .collect()
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Returns all processes except zombies, or `None` if the system does not list them.
fn processes() -> Option<Vec<Process>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    Some(std::fs::read_dir("/proc").ok()?.filter_map(|entry| read_process(&entry.ok()?.file_name())).collect())
}

/// Returns the living processes that belong to the agent, or `None` if the system does not list processes.
///
/// They are its group, its session, and all descendants of this process except those of `preexisting_children` and of
/// detached turns.
fn members(agent: Pid, preexisting_children: &HashSet<i32>) -> Option<Vec<Process>> {
    let processes = processes()?;
    let (agent, own_pid) = (agent.as_raw_nonzero().get(), own_pid());
    let mut descendants: HashSet<i32> = [own_pid].into();
    loop {
        let more = |process: &&Process| {
            descendants.contains(&process.parent)
                && !descendants.contains(&process.pid)
                && !preexisting_children.contains(&process.pid)
                && !is_detached(process.pid)
        };
        let found: Vec<i32> = processes.iter().filter(more).map(|process| process.pid).collect();
        if found.is_empty() {
            break;
        }
        descendants.extend(found);
    }
    let belongs = |process: &Process| {
        process.pid != own_pid
            && (process.group == agent || process.session == agent || descendants.contains(&process.pid))
    };
    Some(processes.into_iter().filter(belongs).collect())
}

/// Reads `/proc/PID/stat` (`proc_pid_stat(5)`). Returns `None` if `name` is not a process, or a dead one.
fn read_process(name: &std::ffi::OsStr) -> Option<Process> {
    let pid = name.to_str()?.parse().ok()?;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may contain anything, even parentheses
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let mut next_number = || fields.next()?.parse().ok();
    let process = Process { pid, parent: next_number()?, group: next_number()?, session: next_number()? };
    (!matches!(state, "Z" | "X")).then_some(process)
}

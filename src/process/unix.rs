//! The agent as a session and process group of its own, on Unix.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
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
use crate::sys::{self, Ended};

/// The most that Linux gives an ordinary user (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 1 << 20;

/// Signals that the agent gets as they come. Of the others its runtime may make something else (USR1 starts node's
/// debugger), so it gets TERM for them.
const HANDED_ON: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Signals that end a program which does not handle them, but for those by which the system reports a fault of the program
/// itself (SEGV, BUS, ILL, FPE, TRAP, SYS): nothing can be relied on after one of these. Rust's runtime ignores PIPE.
fn ending() -> impl Iterator<Item = i32> {
    let others = [SIGABRT, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU];
    let all = HANDED_ON.into_iter().chain(others);
    #[cfg(target_os = "linux")]
    let all = all.chain([libc::SIGIO, libc::SIGPWR, libc::SIGSTKFLT]).chain(libc::SIGRTMIN()..=libc::SIGRTMAX());
    all
}

pub(super) fn is_terminating(signal: i32) -> bool {
    ![SIGTSTP, SIGCONT].contains(&signal)
}

/// Where signals go; `None`: they do to us what they do to any program.
static LISTENER: Mutex<Option<Sender<Event>>> = Mutex::new(None);

/// What signals mean from the start of the program.
pub(super) fn prepare_signals() {
    // a write beyond the limit for the size of a file then fails, as any write may; an agent has no handler for it
    if !sys::is_ignored(SIGXFSZ) {
        let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    }
    // no signal without a handler reaches the first process of a container
    if me() == 1 {
        let _ = handle_signals();
    }
}

/// From here on signals come as events.
pub(super) fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    *lock(&LISTENER) = Some(events.clone());
    handle_signals()
}

/// Handles signals from here on, once in the life of a process. Any that was ignored when we started stays ignored
/// (`nohup`).
fn handle_signals() -> io::Result<()> {
    static HANDLED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        let all = ending().chain([SIGTSTP, SIGCONT]);
        let signals = Signals::new(all.filter(|&signal| !sys::is_ignored(signal)))?;
        thread::Builder::new().spawn(move || pass_to_listener(signals))
    };
    let handled = HANDLED.get_or_init(|| start().map(drop).map_err(|error| error.to_string()));
    handled.clone().map_err(io::Error::other)
}

fn pass_to_listener(mut signals: Signals) {
    loop {
        let mut batch: Vec<i32> = signals.wait().collect();
        // stopped and let go at once: nothing happened, whichever we see first
        if batch.contains(&SIGTSTP) && batch.contains(&SIGCONT) {
            batch.retain(|signal| ![SIGTSTP, SIGCONT].contains(signal));
        }
        for signal in batch {
            let heard = lock(&LISTENER).as_ref().is_some_and(|events| events.send(Event::Signal(signal)).is_ok());
            match signal {
                _ if heard => {}
                signal if is_terminating(signal) => super::signalled_late(signal),
                signal => raise_default(signal),
            }
        }
    }
}

/// From here on signals that end us go to [`super::signalled_late`]; the others do what they do to any program.
pub(super) fn release_signals_to_default() {
    *lock(&LISTENER) = None;
}

/// Does what `signal` does to a program that handles none.
pub(super) fn raise_default(signal: i32) {
    sys::act_by_default(signal);
    if is_terminating(signal) {
        std::process::exit(128 + signal); // the first process of a container is still there
    }
}

/// Stops the agent and us, or lets it go on. The group is stopped with STOP: it is an orphaned one (its leader's
/// parent is in another session), and those ignore TSTP (POSIX, "Signal Generation and Delivery"). If our own group is
/// orphaned too, or we are the first process of a container, we are not stopped, and the agent goes on at once: there is
/// nobody who could continue us.
pub(super) fn job_control(signal: i32, agent: Option<&AgentProcess>) {
    let forward = |signal| {
        if let Some(agent) = agent {
            agent.send_signal(signal);
        }
    };
    if signal == SIGTSTP {
        forward(Signal::STOP);
        sys::act_by_default(SIGTSTP);
    }
    forward(Signal::CONT);
}

/// From here on what we make is ours alone; agents get the caller's umask.
pub(super) fn keep_files_private() {
    sys::keep_files_private();
}

/// Runs `work` with the caller's umask.
pub(super) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    sys::with_callers_umask(work)
}

/// Reads what is there, or waits for it, and counts it together with the reading: who looks at `count` and at the pipe
/// misses nothing between.
pub(super) fn read_counted(pipe: &mut File, buffer: &mut [u8], count: &Mutex<u64>) -> io::Result<usize> {
    rustix::event::poll(&mut [PollFd::new(pipe, PollFlags::IN)], None)?;
    let mut count = lock(count);
    let n = pipe.read(buffer)?;
    *count += n as u64;
    Ok(n)
}

/// How much is in a pipe.
pub(super) fn bytes_in(pipe: &File) -> Option<u64> {
    rustix::io::ioctl_fionread(pipe).ok()
}

/// A running agent. Its process is reaped last of all: as long as it is there, dead or alive, no other process or
/// group can get its number, and no signal of ours can hit a stranger.
pub(super) struct AgentProcess {
    child: Child,
    pid: Pid,
    /// Ends the agent's group should we be killed. `None` if it could not be started, or is no longer needed.
    sentry: Option<Sentry>,
    /// Children of ours that are none of the agent's: the sentry, and those from the program that became us.
    preexisting_children: Arc<HashSet<i32>>,
    /// Whether this process had no child before it became this program.
    #[cfg(target_os = "linux")]
    alone: bool,
}

impl AgentProcess {
    pub(super) fn start(mut command: Command, events: Sender<Event>) -> io::Result<Self> {
        become_subreaper();
        sys::expect_children()?;
        sys::keep_descriptors();
        let mut preexisting_children = children();
        #[cfg(target_os = "linux")]
        let alone = preexisting_children.is_empty();
        let sentry = Sentry::post().ok();
        sys::lead_a_session(&mut command, sentry.as_ref().and_then(Sentry::input));
        preexisting_children.extend(sentry.as_ref().map(Sentry::pid));
        let preexisting_children = Arc::new(preexisting_children);
        let known = Arc::clone(&preexisting_children);
        let (sender, pid) = mpsc::channel();
        thread::Builder::new().spawn(move || {
            if let Ok(pid) = pid.recv() {
                drop(events.send(Event::Exited(wait_for(pid, &known))));
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
            alone,
        })
    }

    pub(super) fn take_pipes(&mut self) -> Pipes {
        let stdout = self.child.stdout.take().expect("standard output was asked for");
        // a larger pipe means fewer turns between the agent and us; where it is refused the usual one does
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        let stderr = self.child.stderr.take().expect("standard error was asked for");
        Pipes {
            stdin: self.child.stdin.take().map(|pipe| OwnedFd::from(pipe).into()),
            stdout: OwnedFd::from(stdout).into(),
            stderr: OwnedFd::from(stderr).into(),
        }
    }

    /// Asks everything to end.
    pub(super) fn terminate(&self) {
        self.send_signal(Signal::TERM);
    }

    /// Ends everything.
    pub(super) fn kill(&mut self) {
        self.send_signal(Signal::KILL);
        #[cfg(target_os = "linux")]
        self.kill_children();
    }

    /// Ends our children, again and again for a moment: what forks and dies faster than a list of all processes is read
    /// becomes our child each time, and that list is short.
    #[cfg(target_os = "linux")]
    fn kill_children(&mut self) {
        const ROUNDS: usize = 100;
        for _ in 0..ROUNDS {
            if self.is_gone() {
                return;
            }
            for pid in listed_children().into_iter().filter(|pid| !self.preexisting_children.contains(pid)) {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    /// Hands on a signal that ends us.
    pub(super) fn forward(&self, signal: i32) {
        let named = Signal::from_named_raw(signal).filter(|_| HANDED_ON.contains(&signal));
        self.send_signal(named.unwrap_or(Signal::TERM));
    }

    fn send_signal(&self, signal: Signal) {
        let send = |signal| {
            let _ = rustix::process::kill_process_group(self.pid, signal); // it may be gone
            for pid in self.escaped() {
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        send(signal);
        // a stopped process does not act on a signal before it goes on
        if HANDED_ON.contains(&signal.as_raw()) {
            send(Signal::CONT);
        }
    }

    /// Whether nothing is left but zombies. Asked once the agent has ended or is killed: the sentry goes first.
    pub(super) fn is_gone(&mut self) -> bool {
        drop(self.sentry.take());
        // As we are their reaper, some child of ours lives as long as anything of the agent's does, and asking for
        // living ones is one question; a list of processes is read while they change.
        #[cfg(target_os = "linux")]
        if self.alone {
            let living = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            return rustix::process::waitid(WaitId::All, living).is_err_and(|errno| errno == Errno::CHILD);
        }
        match members(self.pid, &self.preexisting_children) {
            Some(members) => members.is_empty(),
            // without a list of processes: a group of zombies alone cannot be signalled
            None => rustix::process::test_kill_process_group(self.pid).is_err(),
        }
    }

    /// The agent's processes, where the system can tell.
    pub(super) fn processes(&self) -> Vec<i32> {
        members(self.pid, &self.preexisting_children)
            .unwrap_or_default()
            .into_iter()
            .map(|process| process.pid)
            .collect()
    }

    /// Processes of the agent's that have left its group, where the system can tell.
    fn escaped(&self) -> Vec<Pid> {
        members(self.pid, &self.preexisting_children)
            .unwrap_or_default()
            .into_iter()
            .filter(|process| process.group != self.pid.as_raw_nonzero().get())
            .filter_map(|process| Pid::from_raw(process.pid))
            .collect()
    }

    /// Reaps the agent, unless it could not be killed: then whoever becomes its parent does.
    pub(super) fn reap(mut self) {
        let _ = self.child.try_wait();
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exited(status) => Self::Exited(status),
            Ended::Killed(signal) => Self::Killed(signal),
        }
    }
}

/// Waits for the agent's end without reaping it, and meanwhile reaps orphans that were handed to us.
fn wait_for(agent: Pid, preexisting_children: &HashSet<i32>) -> End {
    loop {
        let (pid, end) = match sys::wait_for_any() {
            Ok(ended) => ended,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return End::Exited(1), // there is no child any more: somebody else reaped it
        };
        if pid == agent {
            return end.into();
        }
        if preexisting_children.contains(&pid.as_raw_nonzero().get()) {
            // not ours to reap, and it would be told again and again
            thread::sleep(std::time::Duration::from_millis(10));
            if let Some(end) = sys::has_ended(agent) {
                return end.into();
            }
            continue;
        }
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// On Linux, processes whose parent dies become our children instead of init's, so that we can still find them.
fn become_subreaper() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// A line of the system's list of processes.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

/// The children of all our threads, dead ones too (proc(5), `/proc/PID/task/TID/children`).
#[cfg(target_os = "linux")]
fn listed_children() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Our children as they are now.
fn children() -> HashSet<i32> {
    // mostly there is none, and that is quick to know
    let any = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if rustix::process::waitid(WaitId::All, any).is_err() {
        return HashSet::new();
    }
    let me = me();
    processes()
        .unwrap_or_default()
        .into_iter()
        .filter(|process| process.parent == me)
        .map(|process| process.pid)
        .collect()
}

fn me() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// All processes that are no zombies; `None` where there is no list of them to read.
fn processes() -> Option<Vec<Process>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    Some(std::fs::read_dir("/proc").ok()?.filter_map(|entry| read_process(&entry.ok()?.file_name())).collect())
}

/// Everything alive that belongs to the agent: its group, its session, and whatever descends from us but through one of
/// the `preexisting_children`. `None` where there is no list of processes to read.
fn members(agent: Pid, preexisting_children: &HashSet<i32>) -> Option<Vec<Process>> {
    let processes = processes()?;
    let (agent, me) = (agent.as_raw_nonzero().get(), me());
    let mut ours: HashSet<i32> = [me].into();
    loop {
        let more = |process: &&Process| {
            ours.contains(&process.parent)
                && !ours.contains(&process.pid)
                && !preexisting_children.contains(&process.pid)
        };
        let found: Vec<i32> = processes.iter().filter(more).map(|process| process.pid).collect();
        if found.is_empty() {
            break;
        }
        ours.extend(found);
    }
    let belongs = |process: &Process| {
        process.pid != me && (process.group == agent || process.session == agent || ours.contains(&process.pid))
    };
    Some(processes.into_iter().filter(belongs).collect())
}

/// Reads `/proc/PID/stat` (its manual is `proc_pid_stat(5)`); `None` for what is no process, or dead.
fn read_process(name: &std::ffi::OsStr) -> Option<Process> {
    let pid = name.to_str()?.parse().ok()?;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything, parentheses too
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let process = Process { pid, parent: number()?, group: number()?, session: number()? };
    (!matches!(state, "Z" | "X")).then_some(process)
}

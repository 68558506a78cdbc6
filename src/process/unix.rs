//! The agent as a session and process group of its own, on Unix.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::sync::mpsc::Sender;
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use super::{End, Event};

mod raw;

/// The most that Linux gives an ordinary user (`/proc/sys/fs/pipe-max-size`).
#[cfg(target_os = "linux")]
const PIPE_SIZE: usize = 1 << 20;

/// Signals that end a program; those that were ignored when we started stay ignored (`nohup`).
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

pub(super) fn ends_us(signal: i32) -> bool {
    ENDING.contains(&signal)
}

/// From here on signals come as events.
pub(super) fn watch_signals(events: &Sender<Event>) -> io::Result<()> {
    let wanted = ENDING.into_iter().filter(|&signal| !raw::is_ignored(signal)).chain([SIGTSTP, SIGCONT]);
    let mut signals = Signals::new(wanted)?;
    let events = events.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Stops the agent and us, or lets it go on. The group is stopped with STOP: it is an orphaned one (its leader's
/// parent is in another session), and those ignore TSTP (POSIX, "Signal Generation and Delivery").
pub(super) fn job_control(signal: i32, agent: Option<&Agent>) {
    let pass_on = |signal| {
        if let Some(agent) = agent {
            agent.pass_on_signal(signal);
        }
    };
    if signal == SIGTSTP {
        pass_on(Signal::STOP);
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
    } else if signal == SIGCONT {
        pass_on(Signal::CONT);
    }
}

/// Our standard output without a buffer.
pub(super) fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A running agent. Its process is reaped last of all: as long as it is there, dead or alive, no other process or
/// group can get its number, and no signal of ours can hit a stranger.
pub(super) struct Agent {
    child: Child,
    pid: Pid,
}

impl Agent {
    pub(super) fn start(mut command: Command, events: Sender<Event>) -> io::Result<Self> {
        become_subreaper();
        raw::lead_a_session(&mut command);
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        thread::spawn(move || drop(events.send(Event::Exited(wait_for(pid)))));
        Ok(Self { child, pid })
    }

    pub(super) fn take_pipes(&mut self) -> (Option<ChildStdin>, ChildStdout, ChildStderr) {
        let stdout = self.child.stdout.take().expect("standard output was asked for");
        // a larger pipe means fewer turns between the agent and us; where it is refused the usual one does
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        let stderr = self.child.stderr.take().expect("standard error was asked for");
        (self.child.stdin.take(), stdout, stderr)
    }

    /// Asks everything to end.
    pub(super) fn terminate(&self) {
        self.pass_on_signal(Signal::TERM);
    }

    /// Ends everything.
    pub(super) fn kill(&self) {
        self.pass_on_signal(Signal::KILL);
    }

    pub(super) fn pass_on(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            self.pass_on_signal(signal);
        }
    }

    fn pass_on_signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process_group(self.pid, signal); // it may be gone
        for pid in self.escaped() {
            let _ = rustix::process::kill_process(pid, signal);
        }
        // a stopped process does not act on a signal before it goes on
        if signal != Signal::STOP {
            let _ = rustix::process::kill_process_group(self.pid, Signal::CONT);
        }
    }

    /// Whether nothing is left but zombies.
    pub(super) fn is_gone(&self) -> bool {
        match members(self.pid) {
            Some(members) => members.is_empty(),
            // without a list of processes: a group of zombies alone cannot be signalled
            None => rustix::process::test_kill_process_group(self.pid).is_err(),
        }
    }

    /// Processes of the agent's that have left its group, where the system can tell.
    fn escaped(&self) -> Vec<Pid> {
        members(self.pid)
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

/// Waits for the agent's end without reaping it, and meanwhile reaps orphans that were handed to us.
fn wait_for(agent: Pid) -> End {
    loop {
        let Ok((pid, end)) = raw::wait_for_any() else { continue }; // interrupted by a signal
        if pid == agent {
            return end;
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

/// Everything alive that belongs to the agent: its group, its session, and whatever descends from us. `None` where
/// there is no list of processes to read.
fn members(agent: Pid) -> Option<Vec<Process>> {
    let processes: Vec<Process> = if cfg!(target_os = "linux") {
        std::fs::read_dir("/proc").ok()?.filter_map(|entry| read_process(&entry.ok()?.file_name())).collect()
    } else {
        return None;
    };
    let mut ours: HashSet<i32> = [rustix::process::getpid().as_raw_nonzero().get()].into();
    loop {
        let before = ours.len();
        ours.extend(
            processes
                .iter()
                .filter(|process| ours.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if ours.len() == before {
            break;
        }
    }
    let agent = agent.as_raw_nonzero().get();
    let me = rustix::process::getpid().as_raw_nonzero().get();
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

//! Features that only Unix has: signals, sessions, replacing the program of a process.
//!
//! On other systems, the steps that need them panic. Tests with such steps run only on Unix.

#[cfg(not(unix))]
pub(crate) use elsewhere::{become_program, group_and_session, handle, ignore, leave_session, raise};
#[cfg(unix)]
pub(crate) use unix::{become_program, group_and_session, handle, ignore, leave_session, raise};

#[cfg(unix)]
mod unix {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use rustix::process::{Signal, getpid, kill_process, setsid};
    use signal_hook::flag;
    use signal_hook::iterator::Signals;

    use crate::plan::SignalName;

    /// Ignores the signals with a handler, so that child processes do not inherit it.
    pub(crate) fn ignore(names: &[SignalName]) {
        for &name in names {
            flag::register(signal(name).as_raw(), Arc::new(AtomicBool::new(false)))
                .unwrap_or_else(|error| panic!("stand-in: cannot ignore {name:?}: {error}"));
        }
    }

    /// Calls `on_signal` in a separate thread for each of these signals that arrives from now on.
    pub(crate) fn handle(names: &[SignalName], on_signal: impl Fn(SignalName) + Send + 'static) {
        let mut signals = Signals::new(names.iter().map(|&name| signal(name).as_raw()))
            .unwrap_or_else(|error| panic!("stand-in: cannot handle {names:?}: {error}"));
        let names = names.to_vec();
        thread::spawn(move || {
            for number in &mut signals {
                names.iter().filter(|&&name| signal(name).as_raw() == number).for_each(|&name| on_signal(name));
            }
        });
    }

    pub(crate) fn raise(name: SignalName) {
        kill_process(getpid(), signal(name)).expect("a process may signal itself");
    }

    pub(crate) fn leave_session() {
        setsid().expect("a process that does not lead a group can start a session");
    }

    /// Returns the process group and the session from `/proc`. Both are 0 if they were created outside this container, and
    /// rustix does not support 0.
    #[cfg(target_os = "linux")]
    pub(crate) fn group_and_session() -> (i32, i32) {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("every process has a status line");
        let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
        let mut fields = fields.split(' ').skip(2).map(|field| field.parse().expect("a number"));
        (fields.next().expect("a group"), fields.next().expect("a session"))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn group_and_session() -> (i32, i32) {
        use rustix::process::{getpgrp, getsid};
        let session = getsid(None).expect("every process has a session");
        (getpgrp().as_raw_nonzero().get(), session.as_raw_nonzero().get())
    }

    pub(crate) fn become_program(command: &mut Command) -> ! {
        panic!("stand-in: cannot execute itself again: {}", command.exec())
    }

    fn signal(name: SignalName) -> Signal {
        match name {
            SignalName::Hup => Signal::HUP,
            SignalName::Int => Signal::INT,
            SignalName::Quit => Signal::QUIT,
            SignalName::Kill => Signal::KILL,
            SignalName::Usr1 => Signal::USR1,
            SignalName::Term => Signal::TERM,
            SignalName::Tstp => Signal::TSTP,
            SignalName::Cont => Signal::CONT,
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::process::Command;

    use crate::plan::SignalName;

    pub(crate) fn ignore(_: &[SignalName]) {
        panic!("stand-in: `ignore` needs unix");
    }

    pub(crate) fn handle(_: &[SignalName], _: impl Fn(SignalName) + Send + 'static) {
        panic!("stand-in: `on_signal` needs unix");
    }

    pub(crate) fn raise(_: SignalName) {
        panic!("stand-in: `raise` needs unix");
    }

    pub(crate) fn leave_session() {
        panic!("stand-in: `own_session` needs unix");
    }

    pub(crate) fn group_and_session() -> (i32, i32) {
        (0, 0)
    }

    pub(crate) fn become_program(_: &mut Command) -> ! {
        panic!("stand-in: `close_stdout` needs unix");
    }
}

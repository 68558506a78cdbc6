//! One call of the program: its input and its outcome.

use std::{fmt, process::Command, time::Duration};

use assert_cmd::assert::Assert;
use serde_json::Value;

use crate::shared::{
    outcome::{AssertExt as _, Finished},
    running::{RunCommand as _, Running},
    wait::wait_until,
};

/// A timeout that only a hanging call reaches, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// A call that has not been started.
pub(crate) struct Call {
    command: Command,
    input: Input,
}

enum Input {
    /// `/dev/null`.
    None,
    /// A pipe with these bytes.
    Bytes(Vec<u8>),
    /// A pipe with these bytes that stays open and silent while the call runs.
    Unfinished(Vec<u8>),
}

impl Call {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, input: Input::None }
    }

    /// Sets a variable in the call's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes a variable from the call's environment.
    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Starts the call as the leader of a process group, as shells do.
    pub(crate) fn in_own_group(mut self) -> Self {
        std::os::unix::process::CommandExt::process_group(&mut self.command, 0);
        self
    }

    /// Returns the call as a command, to run it at a terminal.
    #[cfg(target_os = "linux")]
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Pipes these bytes into the call.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Pipes these bytes into the call and keeps the pipe open, as some CI systems do.
    pub(crate) fn unfinished_input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Unfinished(bytes.into());
        self
    }

    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    #[track_caller]
    pub(crate) fn start(mut self) -> Started {
        Started(match &self.input {
            Input::None => self.command.start(),
            Input::Bytes(bytes) => self.command.start_with_input(bytes),
            Input::Unfinished(bytes) => self.command.start_with_unfinished_input(bytes),
        })
    }
}

/// A running call. Killed when dropped.
pub(crate) struct Started(Running);

impl Started {
    /// Waits until standard error contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        wait_until(LIMIT, || self.0.stderr_so_far().contains(text));
    }

    /// Interrupts the call, as a terminal does.
    pub(crate) fn interrupt(&self) {
        self.0.signal(rustix::process::Signal::INT);
    }

    /// Sends a signal to the call.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.0.signal(signal);
    }

    /// Sends a signal to the process group of the call, which must be [its own](Call::in_own_group).
    pub(crate) fn signal_group(&self, signal: rustix::process::Signal) {
        let group = i32::try_from(self.0.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process_group(group.expect("a process ID"), signal).expect("the group exists");
    }

    /// # Panics
    ///
    /// If the call does not end, or if a process that it left keeps its outputs open.
    #[track_caller]
    pub(crate) fn wait(self) -> Outcome {
        let Finished { assert, took } = self.0.wait(LIMIT);
        Outcome { stdout: assert.stdout_text(), stderr: assert.stderr_text(), elapsed: took, assert }
    }
}

/// The result of a call, with everything that explains a failure.
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    assert: Assert,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.exit(0)
    }

    /// Returns the exit status, unless a signal ended the call.
    pub(crate) fn code(&self) -> Option<i32> {
        self.assert.get_output().status.code()
    }

    #[track_caller]
    pub(crate) fn exit(self, code: i32) -> Self {
        Self { assert: self.assert.code(code), ..self }
    }

    /// Returns standard output as one line, without its newline.
    #[track_caller]
    pub(crate) fn line(&self) -> &str {
        let line = self.stdout.strip_suffix('\n').filter(|line| !line.contains('\n'));
        line.unwrap_or_else(|| panic!("standard output is not one line\n{self}"))
    }

    /// Returns standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.assert.json()
    }

    /// Returns standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// Returns the JSON error in the last line of standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        match serde_json::from_str::<Value>(line) {
            Ok(mut report) if report["error"].is_object() => report["error"].take(),
            _ => panic!("the last line of standard error is not an error report\n{self}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}after {:?}", self.assert, self.elapsed)
    }
}

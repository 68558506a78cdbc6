//! The script of the stand-in: what it plays, call by call.
//!
//! The stand-in reads this and the tests write it; both compile this one file, so the two cannot come to disagree.
//! `plan.json` holds a list of [`Turn`]s. The n-th call plays the n-th of them, every later call the last.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One call: first the steps under `do`, then the answer (`last_message`, `stderr`, `stdout`, `exit`).
///
/// The answer has the fields of the recorded conformance cases, which therefore play unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Turn {
    /// Environment variables whose values the record of the call shall hold.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) watch_env: BTreeSet<String>,
    #[serde(rename = "do", skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
    /// The text for the file that codex's `-o` or `--output-last-message` names.
    pub(crate) last_message: Option<String>,
    pub(crate) stderr: String,
    /// `@ID@` in it becomes the session that was asked for, or `id-new-N` where none was.
    pub(crate) stdout: String,
    /// Takes the place of `stdout` when the call asks for claude's `stream-json`.
    pub(crate) stream: Option<String>,
    pub(crate) exit: i32,
}

/// One thing to do, in JSON `{"stdout": "text"}` or, where it takes nothing, `"read_stdin"`.
///
/// Paths that are relative mean the directory of the stand-in, which no workspace shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Writes text, with `@ID@` replaced.
    Stdout(String),
    /// Writes text, with `@ID@` replaced.
    Stderr(String),
    /// Writes bytes that need not be text.
    Bytes {
        to: Sink,
        bytes: Vec<u8>,
    },
    /// Writes a pattern over and over, as fast as the reader takes it.
    Flood {
        to: Sink,
        pattern: String,
        size: Size,
    },
    SleepMs(u64),
    /// Waits until a file exists. After 60 s it times out with exit status 99.
    WaitFor(String),
    /// Creates an empty file.
    Create(String),
    /// Creates a file and holds a lock on it as long as this process lives: a sign of life that needs no process id.
    Lock(String),
    /// Reads standard input to its end and records it.
    ReadStdin,
    /// Survives these signals from now on (unix).
    Ignore(Vec<SignalName>),
    /// Plays other steps whenever one of these signals comes, beside what else is going on (unix).
    OnSignal {
        signals: Vec<SignalName>,
        #[serde(rename = "do")]
        steps: Vec<Step>,
    },
    /// Starts a separate process that plays other steps and holds some of our outputs open as long as it lives.
    Grandchild {
        #[serde(rename = "do")]
        steps: Vec<Step>,
        #[serde(default = "both_outputs")]
        holds: Vec<Sink>,
        /// Leaves our session, and with it our process group (unix).
        #[serde(default)]
        own_session: bool,
    },
    /// Sends itself a signal (unix).
    Raise(SignalName),
    /// Closes standard output and continues (unix).
    CloseStdout,
    /// Ends immediately, without the answer.
    Exit(i32),
}

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sink {
    Stdout,
    Stderr,
}

/// How much a flood writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Size {
    /// This many bytes; the last copy of the pattern may be cut.
    Bytes(u64),
    /// This many copies of the pattern.
    Times(u64),
}

/// The signals that a program like ours meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum SignalName {
    Hup,
    Int,
    Quit,
    Kill,
    Usr1,
    Term,
    Tstp,
    Cont,
}

fn both_outputs() -> Vec<Sink> {
    vec![Sink::Stdout, Sink::Stderr]
}

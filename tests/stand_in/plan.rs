//! The script of the stand-in: the turns it plays.
//!
//! The tests write it and the stand-in reads it. Both compile this file, so the formats always match. `plan.json` holds
//! a list of [`Turn`]s. The n-th call plays the n-th turn, and every later call plays the last one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One call: first the steps under `do`, then the answer (`last_message`, `stderr`, `stdout`, `exit`).
///
/// The answer has the fields of the recorded conformance cases, which therefore play unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Turn {
    /// Environment variables whose values are recorded.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) watch_env: BTreeSet<String>,
    #[serde(rename = "do", skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
    /// The text for the file of codex's `-o` or `--output-last-message`.
    pub(crate) last_message: Option<String>,
    pub(crate) stderr: String,
    /// `@ID@` is replaced with the requested session, or with `id-new-N` if none was requested.
    pub(crate) stdout: String,
    /// Replaces `stdout` if the call requests claude's `stream-json`.
    pub(crate) stream: Option<String>,
    pub(crate) exit: i32,
}

/// One action, in JSON `{"stdout": "text"}`, or `"read_stdin"` if it has no value.
///
/// Relative paths start at the directory of the stand-in, which is not in any workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Writes text, with `@ID@` replaced.
    Stdout(String),
    /// Writes text, with `@ID@` replaced.
    Stderr(String),
    /// Writes any bytes.
    Bytes {
        to: Sink,
        bytes: Vec<u8>,
    },
    /// Writes a pattern repeatedly, as fast as the reader accepts it.
    Flood {
        to: Sink,
        pattern: String,
        size: Size,
    },
    SleepMs(u64),
    /// Waits until a file exists. Exits with status 99 after 60 s.
    WaitFor(String),
    /// Creates an empty file.
    Create(String),
    /// Creates a file and holds a lock on it as long as this process lives. So a test can detect the end of the process
    /// without its ID.
    Lock(String),
    /// Reads standard input to its end and records it.
    ReadStdin,
    /// Ignores these signals from now on (unix).
    Ignore(Vec<SignalName>),
    /// Plays other steps concurrently whenever one of these signals arrives (unix).
    OnSignal {
        signals: Vec<SignalName>,
        #[serde(rename = "do")]
        steps: Vec<Step>,
    },
    /// Starts a separate process that plays other steps and holds some outputs open as long as it lives.
    Grandchild {
        #[serde(rename = "do")]
        steps: Vec<Step>,
        #[serde(default = "both_outputs")]
        holds: Vec<Sink>,
        /// Leaves the session, and with it the process group (unix).
        #[serde(default)]
        own_session: bool,
    },
    /// Sends a signal to this process (unix).
    Raise(SignalName),
    /// Closes standard output and continues (unix).
    CloseStdout,
    /// Ends immediately, without the answer.
    Exit(i32),
}

/// An output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sink {
    Stdout,
    Stderr,
}

/// The amount of output of a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Size {
    /// The number of bytes. The last copy of the pattern may be incomplete.
    Bytes(u64),
    /// The number of copies of the pattern.
    Times(u64),
}

/// The signals that the program handles.
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

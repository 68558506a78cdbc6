//! The record of the stand-in's calls, one JSON object per line of `calls.jsonl`.
//!
//! Lines are only appended. The first line of a call is written when the call begins, so a test can wait for it. Later
//! events follow in separate lines, each with the number of its call. The stand-in writes the lines and the tests read
//! them. Both compile this file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use super::plan::{SignalName, Sink};

/// One line: an event and its call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The number of the call, from 0, in the order of the starts.
    pub(crate) call: usize,
    #[serde(flatten)]
    pub(crate) event: Event,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Began(Invocation),
    Stdin(Input),
    Signal(SignalName),
    /// The process ID of a grandchild.
    Grandchild(u32),
    /// The reader of an output had closed the pipe.
    BrokenPipe(Sink),
    /// The exit status, written right before the call ends. A killed call does not have this line.
    Ended(i32),
}

/// The arguments and the environment of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invocation {
    /// The name of the called program: `claude`, `codex`, …
    pub(crate) name: String,
    /// The arguments without the program's name.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    /// The watched variables. The value of an unset one is `None`.
    pub(crate) env: BTreeMap<String, Option<String>>,
    pub(crate) pid: u32,
    /// The process group, or 0 on systems without process groups.
    pub(crate) process_group: i32,
    /// The session, or 0 on systems without sessions.
    pub(crate) session: i32,
}

/// The standard input. The content is kept only if it is short and UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) length: u64,
    /// The checksum of all input, in hexadecimal digits.
    pub(crate) md5: String,
    pub(crate) text: Option<String>,
}

/// Returns all entries in `file`, which the caller has locked.
pub(crate) fn entries(file: &mut File) -> io::Result<Vec<Entry>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Returns a digest in hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

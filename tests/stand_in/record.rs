//! What the stand-in writes down about its calls, one JSON object per line of `calls.jsonl`.
//!
//! A line is only ever appended: the first one of a call is there as soon as the call began (a test can wait for it),
//! what comes to light later follows in lines of its own, each with the number of its call. The stand-in writes these
//! and the tests read them; both compile this one file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use super::plan::{SignalName, Sink};

/// One line: something that happened, and in which call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Counts from 0 in the order in which the calls began.
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
    /// The process id of a grandchild.
    Grandchild(u32),
    /// The reader of an output had gone away.
    BrokenPipe(Sink),
    /// The exit status with which the call is about to end. A call that was killed has no such line.
    Ended(i32),
}

/// How the stand-in was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invocation {
    /// The name it was called under: `claude`, `codex`, …
    pub(crate) name: String,
    /// Without the program itself.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    /// The watched variables; `None` for one that was not set.
    pub(crate) env: BTreeMap<String, Option<String>>,
    pub(crate) pid: u32,
    /// Process group and session; 0 where the system has none.
    pub(crate) process_group: i32,
    pub(crate) session: i32,
}

/// What came in on standard input. The text itself is kept only where it is short, and text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) length: u64,
    /// Hexadecimal, of everything.
    pub(crate) md5: String,
    pub(crate) text: Option<String>,
}

/// Everything that `file`, which the caller has locked, holds so far.
pub(crate) fn entries(file: &mut File) -> io::Result<Vec<Entry>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// A digest in hexadecimal digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

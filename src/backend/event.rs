//! The events of a turn in a form that is the same for every agent, and helpers for parsers. [`crate::render`] prints
//! them.

use std::time::Duration;

use serde_json::value::RawValue;

use super::usage::Usage;
use crate::json::{self, Members};

/// Something that an agent reported. Texts are unescaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AgentEvent {
    /// A piece of a text. A text ends with a piece that is `last`, or with any other event.
    Text {
        kind: TextKind,
        piece: String,
        last: bool,
    },
    ToolStarted(Tool),
    ToolEnded(Outcome),
    /// A problem that does not end the turn.
    Warning(String),
    TurnEnded(Summary),
    /// A line that is not an event.
    Noise(String),
}

/// The kind of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextKind {
    Answer,
    Reasoning,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The same as in its [`Outcome`].
    pub id: String,
    pub name: String,
    /// A description of its input, such as a command or a path.
    pub about: String,
    /// Whether a subagent calls it.
    pub inner: bool,
}

/// The outcome of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub id: String,
    pub failed: bool,
    /// Details, the most important first.
    pub details: Vec<String>,
}

/// What the agent reports at the end of a turn.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    pub failed: bool,
    pub took: Option<Duration>,
    pub usage: Usage,
}

/// Returns the object in `raw`, or `None` if it is not an object.
pub(super) fn object(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// Returns the elements of the array in `raw`, or nothing if it is not an array.
pub(super) fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Returns the member `name` as a number, or `None` if it is missing or not a number.
pub(super) fn number<'a, N: serde::Deserialize<'a>>(members: &Members<'a>, name: &str) -> Option<N> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Returns the member `name` as a text. A member of another type is returned as JSON, and null as an empty string.
pub(super) fn words(members: &Members<'_>, name: &str) -> String {
    let Some(raw) = members.get(name).filter(|raw| !["null", "{}", "[]"].contains(&raw.get())) else {
        return String::new();
    };
    json::text(raw).unwrap_or_else(|| raw.get().to_owned())
}

/// Describes the number of lines that a tool printed.
pub(super) fn lines_of(output: &str) -> String {
    match output.trim_end().lines().count() {
        0 => "no output".to_owned(),
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

/// Returns the first line that is not blank.
pub(super) fn first_line(output: &str) -> Option<String> {
    output.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Describes a to-do list: the completed items, all items, and the next one. Each item has a text and a state.
pub(super) fn progress(steps: &[(String, bool)]) -> String {
    let done = steps.iter().filter(|(_, done)| *done).count();
    let next = steps.iter().find(|(_, done)| !done).map(|(what, _)| format!(" · next: {what}"));
    format!("{done} of {} done{}", steps.len(), next.unwrap_or_default())
}

/// Returns `path` relative to `dir` if it is below `dir`. An empty `dir` is not known.
pub(super) fn seen_from(dir: &str, path: &str) -> String {
    if dir.is_empty() {
        return path.to_owned();
    }
    let inside = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix(['/', '\\']));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path).to_owned()
}

//! What an agent reports of a turn while it runs, in terms that mean the same for every agent, and helpers for the readers
//! of its events. Rendering is in [`crate::render`].

use std::time::Duration;

use serde_json::value::RawValue;

use crate::json::{self, Members};

/// Something that an agent reported. Texts are the agent's, unescaped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AgentEvent {
    /// A piece of a text. Pieces without another event between them belong together, up to one that is `last`.
    Text {
        kind: TextKind,
        piece: String,
        last: bool,
    },
    ToolStarted(Tool),
    ToolEnded(Outcome),
    /// Something went wrong, and the turn continues.
    Warning(String),
    TurnEnded(Summary),
    /// A line that is not an event.
    Noise(String),
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextKind {
    Answer,
    Reasoning,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The same as in its [`Outcome`].
    pub id: String,
    pub name: String,
    /// What it is called with: a command, a file.
    pub about: String,
    /// Whether a subagent calls it.
    pub inner: bool,
}

/// How a call of a tool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub id: String,
    pub failed: bool,
    /// Details, the most important first.
    pub details: Vec<String>,
}

/// The end of a turn, as far as the agent reports it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    pub failed: bool,
    pub took: Option<Duration>,
    pub tokens: Option<Tokens>,
    /// In US dollars, of the session so far.
    pub cost: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Everything the model was given.
    pub input: u64,
    /// The part of it that came from a cache.
    pub cached: u64,
    pub output: u64,
    /// Whether they are those of the session so far, not of the turn.
    pub of_session: bool,
}

/// Returns the object in `raw`.
pub(super) fn object(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// Returns the elements of the list in `raw`; none if it is something else.
pub(super) fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// Returns the member `name` as a number; `None` if it is missing or something else.
pub(super) fn number<'a, N: serde::Deserialize<'a>>(members: &Members<'a>, name: &str) -> Option<N> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// Returns the member `name` as a text, or as it is written if it is something else; nothing if it is null or empty.
pub(super) fn words(members: &Members<'_>, name: &str) -> String {
    let Some(raw) = members.get(name).filter(|raw| !["null", "{}", "[]"].contains(&raw.get())) else {
        return String::new();
    };
    json::text(raw).unwrap_or_else(|| raw.get().to_owned())
}

/// Describes how much a tool printed.
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

/// Describes a to-do list as `done of all`, and its next item. Each item has a text, and whether it is done.
pub(super) fn progress(steps: &[(String, bool)]) -> String {
    let done = steps.iter().filter(|(_, done)| *done).count();
    let next = steps.iter().find(|(_, done)| !done).map(|(what, _)| format!(" · next: {what}"));
    format!("{done} of {} done{}", steps.len(), next.unwrap_or_default())
}

/// Returns `path` relative to `dir`, if it is below it.
pub(super) fn seen_from(dir: &str, path: &str) -> String {
    let inside = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix(['/', '\\']));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path).to_owned()
}

//! What an agent tells of a turn while it runs, in words that mean the same for every agent, and what the readers of
//! their events share. How that looks is no business of this file.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::json::{self, Members};

/// Something that an agent told. Texts are the agent's own, with whatever is in them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AgentEvent {
    /// A piece of a text; pieces with no other moment between them belong together up to one that is `last`.
    Text {
        kind: TextKind,
        piece: String,
        last: bool,
    },
    ToolStarted(Tool),
    ToolEnded(Outcome),
    /// Something went wrong, and the turn goes on.
    Warning(String),
    Over(Summary),
    /// A line that is no event.
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
    /// The same in its [`Outcome`].
    pub id: String,
    pub name: String,
    /// What it is called for: a command, a file.
    pub about: String,
    /// Whether an agent that the agent itself started calls it.
    pub inner: bool,
}

/// How a call of a tool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub id: String,
    pub failed: bool,
    /// What is worth knowing of it, most important first.
    pub told: Vec<String>,
}

/// The end of a turn, as far as the agent tells.
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
    /// All that the model was shown.
    pub input: u64,
    /// As much of it came out of a cache.
    pub cached: u64,
    pub output: u64,
    /// Whether they are those of the session so far instead of the turn's.
    pub of_session: bool,
}

/// The object in `raw`.
pub(super) fn object(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// The elements of the list in `raw`; none where it is something else.
pub(super) fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// The member `name` as a number; `None` where there is none or it is something else.
pub(super) fn number<'a, N: serde::Deserialize<'a>>(members: &Members<'a>, name: &str) -> Option<N> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

/// The member `name` as a text, or as it stands where it is something else; empty where it says nothing.
pub(super) fn words(members: &Members<'_>, name: &str) -> String {
    let Some(raw) = members.get(name).filter(|raw| !["null", "{}", "[]"].contains(&raw.get())) else {
        return String::new();
    };
    json::text(raw).unwrap_or_else(|| raw.get().to_owned())
}

/// How much a tool said.
pub(super) fn lines_of(output: &str) -> String {
    match output.trim_end().lines().count() {
        0 => "no output".to_owned(),
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

/// The first line that says something.
pub(super) fn first_line(output: &str) -> Option<String> {
    output.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// A list of things to do as `done of all`, and the one that is next. Of each: what, and whether it is done.
pub(super) fn progress(steps: &[(String, bool)]) -> String {
    let done = steps.iter().filter(|(_, done)| *done).count();
    let next = steps.iter().find(|(_, done)| !done).map(|(what, _)| format!(" · next: {what}"));
    format!("{done} of {} done{}", steps.len(), next.unwrap_or_default())
}

/// `path` as it is seen from `dir`.
pub(super) fn seen_from(dir: &str, path: &str) -> String {
    let inside = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix(['/', '\\']));
    inside.filter(|rest| !rest.is_empty()).unwrap_or(path).to_owned()
}

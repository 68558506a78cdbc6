//! Describes what an agent does, in the form "running `cargo test`".

use serde_json::value::RawValue;

use super::event::{AgentEvent, Tool};
use super::output::EventReader;
use crate::json::{self, Members};

/// What an agent does between its tool calls, as long as no piece of its answer arrives.
pub(super) const WAITING: &str = "waiting for the model";

/// The limit on the bytes of a line that is kept.
pub(super) const LONGEST_LINE: usize = 64 << 10;

/// The limit on the tool calls that are kept.
pub(super) const MOST_CALLS: usize = 16;

/// The limit on the characters of a command or path.
const LONGEST_DETAIL: usize = 80;

/// Returns the last tool call in a line, as `reader` describes it.
pub(super) fn tool_in(line: &[u8], reader: &mut impl EventReader) -> Option<Tool> {
    let text = json::readable(line);
    let raw: &RawValue = serde_json::from_str(&text).ok()?;
    let event: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    let mut last = None;
    reader.event(&event, raw, &mut |event| {
        if let AgentEvent::ToolStarted(tool) = event {
            last = Some(tool);
        }
    });
    last
}

/// Adds a line to `calls`, and drops the oldest if there are too many.
pub(super) fn keep(calls: &mut Vec<Vec<u8>>, line: &[u8]) {
    if line.len() > LONGEST_LINE {
        return;
    }
    if calls.len() == MOST_CALLS {
        calls.remove(0);
    }
    calls.push(line.to_vec());
}

/// Returns `verb` and the beginning of `detail`, as code.
pub(super) fn doing(verb: &str, detail: &str) -> String {
    let detail = detail.trim();
    let is_end = |&(count, (_, c)): &(usize, (usize, char))| count == LONGEST_DETAIL || c == '\n';
    match detail.char_indices().enumerate().find(is_end) {
        Some((_, (end, _))) => format!("{verb} `{}…`", &detail[..end]),
        None => format!("{verb} `{detail}`"),
    }
}

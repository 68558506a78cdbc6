//! What claude does now, from the tool calls without a result and from the last piece of its answer.

use memchr::memmem::{self, Finder};

use super::events::Reader;
use crate::backend::activity::{LONGEST_LINE, WAITING, doing, keep, tool_in};

const PIECE: &[u8] = br#"{"type":"stream_event""#;
const MESSAGE: &[u8] = br#"{"type":"assistant""#;
const RESULTS: &[u8] = br#"{"type":"user""#;
const RETRY: &[u8] = br#"{"type":"system","subtype":"api_retry""#;

/// What each kind of piece means.
const PIECES: [(&[u8], &str); 3] = [
    (br#""text_delta""#, "writing its answer"),
    (br#""thinking_delta""#, "thinking"),
    (br#""input_json_delta""#, "writing a tool call"),
];

/// The state of a stream. Lines are kept as they are, and parsed if a description is needed.
pub(super) struct StreamActivity {
    begun: bool,
    retrying: bool,
    /// The lines of tool calls without a result.
    calls: Vec<Vec<u8>>,
    /// The last line, if it is a piece of a message.
    piece: Vec<u8>,
    call_word: Finder<'static>,
    result_key: Finder<'static>,
}

impl Default for StreamActivity {
    fn default() -> Self {
        let (call_word, result_key) = (Finder::new("tool_use\""), Finder::new("\"tool_use_id\":\""));
        Self { begun: false, retrying: false, calls: Vec::new(), piece: Vec::new(), call_word, result_key }
    }
}

impl StreamActivity {
    pub(super) fn line(&mut self, line: &[u8]) {
        self.begun = true;
        if line.starts_with(PIECE) {
            self.retrying = false;
            self.piece.clear();
            self.piece.extend_from_slice(&line[..line.len().min(LONGEST_LINE)]);
        } else if line.starts_with(MESSAGE) {
            self.retrying = false;
            self.piece.clear();
            if self.call_word.find(line).is_some() {
                keep(&mut self.calls, line);
            }
        } else if line.starts_with(RESULTS) {
            self.piece.clear();
            self.end_calls(line);
        } else if line.starts_with(RETRY) {
            self.retrying = true;
        }
    }

    /// Removes the calls whose results are in `line`.
    fn end_calls(&mut self, line: &[u8]) {
        if self.calls.is_empty() {
            return;
        }
        let Self { calls, result_key, .. } = self;
        for at in result_key.find_iter(line) {
            let rest = &line[at + result_key.needle().len()..];
            let Some(end) = memchr::memchr(b'"', rest) else { continue };
            calls.retain(|call| memmem::find(call, &rest[..end]).is_none());
        }
    }

    pub(super) fn describe(&self) -> Option<String> {
        if let Some(call) = self.calls.iter().rev().find_map(|line| describe_call(line)) {
            return Some(call);
        }
        if self.retrying {
            return Some("waiting to repeat a failed request".to_owned());
        }
        let is_in_piece = |(word, _): &&(&[u8], &str)| memmem::find(&self.piece, word).is_some();
        let what = PIECES.iter().find(is_in_piece).map(|(_, what)| *what);
        self.begun.then(|| what.unwrap_or(WAITING).to_owned())
    }
}

/// Describes the tool call in a line.
fn describe_call(line: &[u8]) -> Option<String> {
    let tool = tool_in(line, &mut Reader::new(String::new()))?;
    Some(match tool.name.as_str() {
        "Bash" | "PowerShell" => doing("running", &tool.about),
        "Edit" | "MultiEdit" | "NotebookEdit" | "Write" => doing("editing", &tool.about),
        "Read" => doing("reading", &tool.about),
        name => doing("calling the tool", name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"cargo test"}}]},"parent_tool_use_id":null}"#;
    const EDIT: &str = r#"{"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":"toolu_2","name":"Edit","input":{"file_path":"/a/b.rs"}}]},"parent_tool_use_id":null}"#;
    const RESULT: &str = r#"{"type":"user","message":{"role":"user","content":[{"tool_use_id":"toolu_2","type":"tool_result","content":"ok \"tool_use_id\":\"toolu_1\""}]}}"#;

    fn described(lines: &[&str]) -> Option<String> {
        let mut activity = StreamActivity::default();
        for line in lines {
            activity.line(line.as_bytes());
        }
        activity.describe()
    }

    #[test]
    fn tool_call_without_a_result_is_described() {
        assert_eq!(described(&[CALL]).as_deref(), Some("running `cargo test`"));
        assert_eq!(described(&[CALL, EDIT]).as_deref(), Some("editing `/a/b.rs`"));
        assert_eq!(described(&[CALL, EDIT, RESULT]).as_deref(), Some("running `cargo test`"));
        assert_eq!(described(&[EDIT, RESULT]).as_deref(), Some(WAITING));
        let other = CALL.replace("Bash", "WebFetch");
        assert_eq!(described(&[&other]).as_deref(), Some("calling the tool `WebFetch`"));
    }

    #[test]
    fn last_piece_is_described() {
        let piece = |kind: &str| {
            format!(
                r#"{{"type":"stream_event","event":{{"type":"content_block_delta","delta":{{"type":"{kind}","text":"x"}}}}}}"#
            )
        };
        let retry = r#"{"type":"system","subtype":"api_retry","attempt":1}"#;
        assert_eq!(described(&[]), None);
        assert_eq!(described(&[r#"{"type":"system","subtype":"init"}"#]).as_deref(), Some(WAITING));
        assert_eq!(described(&[&piece("text_delta")]).as_deref(), Some("writing its answer"));
        assert_eq!(described(&[&piece("thinking_delta")]).as_deref(), Some("thinking"));
        assert_eq!(
            described(&[&piece("thinking_delta"), retry]).as_deref(),
            Some("waiting to repeat a failed request")
        );
        assert_eq!(described(&[retry, &piece("text_delta"), RESULT]).as_deref(), Some(WAITING));
    }
}

//! Reads the events of claude's `--output-format stream-json`, with and without partial messages.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;

use super::output::{ResultEvent, is_other_model};
use super::usage::usage;
use crate::backend::event::{
    AgentEvent, Outcome, Summary, TextKind, Tool, first_line, lines_of, list, number, object, progress, seen_from,
    words,
};
use crate::backend::output::EventReader;
use crate::json::{self, Members};

/// The members of a tool's input that describe the call, the best ones first.
const DESCRIPTIVE: &[&str] =
    &["command", "file_path", "notebook_path", "pattern", "query", "url", "subject", "description", "skill", "prompt"];

/// Reads the events of one turn.
pub(super) struct Reader {
    /// The directory that claude runs in.
    dir: String,
    /// The ID of the message that arrives in pieces.
    message: Option<String>,
    /// The number of bytes received for each of its texts. The complete texts follow their pieces.
    pieces: VecDeque<usize>,
    /// Whether the answer was emitted already. The result repeats it.
    answered: bool,
}

impl EventReader for Reader {
    fn event(&mut self, event: &Members<'_>, raw: &RawValue, emit: &mut dyn FnMut(AgentEvent)) {
        let inner = event.text("parent_tool_use_id").is_some();
        match event.text("type").as_deref() {
            Some("stream_event") if !inner => self.piece(event, emit),
            Some("assistant") => self.message(event, inner, emit),
            Some("user") => results(event, emit),
            Some("system") => match event.text("subtype").as_deref() {
                Some("init") => self.dir = event.text("cwd").unwrap_or_else(|| std::mem::take(&mut self.dir)),
                Some("api_retry") => emit(AgentEvent::Warning(retry(event))),
                Some(subtype) if is_other_model(subtype) => emit(AgentEvent::Warning(words(event, "content"))),
                _ => {}
            },
            Some("result") => self.result(event, raw, emit),
            _ => {}
        }
    }
}

impl Reader {
    pub(super) fn new(dir: String) -> Self {
        Self { dir, message: None, pieces: VecDeque::new(), answered: false }
    }

    fn piece(&mut self, event: &Members<'_>, emit: &mut dyn FnMut(AgentEvent)) {
        let Some(event) = event.get("event").and_then(object) else { return };
        match event.text("type").as_deref() {
            Some("message_start") => {
                self.message = event.get("message").and_then(object).and_then(|message| message.text("id"));
                self.pieces.clear();
            }
            Some("content_block_start") => {
                let kind = event.get("content_block").and_then(object).and_then(|block| block.text("type"));
                if matches!(kind.as_deref(), Some("text" | "thinking")) {
                    self.pieces.push_back(0);
                }
            }
            Some("content_block_delta") => {
                let Some(delta) = event.get("delta").and_then(object) else { return };
                let (kind, piece) = match delta.text("type").as_deref() {
                    Some("text_delta") => (TextKind::Answer, delta.text("text")),
                    Some("thinking_delta") => (TextKind::Reasoning, delta.text("thinking")),
                    _ => return,
                };
                let piece = piece.unwrap_or_default();
                if let Some(received) = self.pieces.back_mut() {
                    *received += piece.len();
                }
                self.answered |= kind == TextKind::Answer;
                emit(AgentEvent::Text { kind, piece, last: false });
            }
            _ => {}
        }
    }

    fn message(&mut self, event: &Members<'_>, inner: bool, emit: &mut dyn FnMut(AgentEvent)) {
        let Some(message) = event.get("message").and_then(object) else { return };
        // claude reports the cause of a failure as if the model had written it, but the error contains it already
        let refused = event.get("error").is_some_and(|raw| raw.get() != "null");
        let is_partial = self.message.is_some() && message.text("id") == self.message;
        for block in message.get("content").map(list).unwrap_or_default().into_iter().filter_map(object) {
            let (kind, text) = match block.text("type").as_deref() {
                Some("text") => (TextKind::Answer, block.text("text")),
                Some("thinking") => (TextKind::Reasoning, block.text("thinking")),
                Some("tool_use" | "server_tool_use" | "mcp_tool_use") => {
                    emit(AgentEvent::ToolStarted(self.tool(&block, inner)));
                    continue;
                }
                _ => continue,
            };
            if inner || refused {
                continue;
            }
            let text = text.unwrap_or_default();
            let shown = if is_partial { self.pieces.pop_front().unwrap_or_default() } else { 0 };
            let piece = if shown > 0 { text.get(shown..).unwrap_or_default().to_owned() } else { text };
            self.answered |= kind == TextKind::Answer;
            if shown > 0 || !piece.is_empty() {
                emit(AgentEvent::Text { kind, piece, last: true });
            }
        }
    }

    /// Reads the end of the turn. An answer from claude itself, for example to `/context`, is only in the result.
    fn result(&mut self, event: &Members<'_>, raw: &RawValue, emit: &mut dyn FnMut(AgentEvent)) {
        let summary = summary(event, raw);
        if !self.answered && !summary.failed {
            emit(AgentEvent::Text { kind: TextKind::Answer, piece: words(event, "result"), last: true });
        }
        self.answered = false;
        emit(AgentEvent::TurnEnded(summary));
    }

    fn tool(&self, block: &Members<'_>, inner: bool) -> Tool {
        let input = block.get("input").and_then(object).unwrap_or_default();
        let described = DESCRIPTIVE.iter().find_map(|name| Some((*name, input.text(name)?)));
        let about = match (input.get("todos"), described) {
            (Some(todos), _) => {
                let step = |todo: Members<'_>| (words(&todo, "content"), words(&todo, "status") == "completed");
                progress(&list(todos).into_iter().filter_map(object).map(step).collect::<Vec<_>>())
            }
            (None, Some(("file_path" | "notebook_path", path))) => seen_from(&self.dir, &path),
            (None, Some((_, text))) => text,
            (None, None) => words(block, "input"),
        };
        Tool { id: words(block, "id"), name: words(block, "name"), about, inner }
    }
}

fn results(event: &Members<'_>, emit: &mut dyn FnMut(AgentEvent)) {
    let Some(message) = event.get("message").and_then(object) else { return };
    for block in message.get("content").map(list).unwrap_or_default().into_iter().filter_map(object) {
        if block.text("type").as_deref() == Some("tool_result") {
            let failed = block.get("is_error").is_some_and(|raw| raw.get() == "true");
            let output = block.get("content").map(tool_output).unwrap_or_default();
            let details = if failed { failure(&output) } else { details(event.get("tool_use_result"), &output) };
            emit(AgentEvent::ToolEnded(Outcome { id: words(&block, "tool_use_id"), failed, details }));
        }
    }
}

/// Returns the output of a tool, which is a text or a list of blocks.
fn tool_output(content: &RawValue) -> String {
    json::text(content).unwrap_or_else(|| {
        let texts = list(content).into_iter().filter_map(object).filter_map(|block| block.text("text"));
        texts.collect::<Vec<_>>().join("\n")
    })
}

/// Returns why a tool failed: the exit status and the first line of its output, or the first line of an explanation.
fn failure(output: &str) -> Vec<String> {
    let output = output.trim();
    let inner = output.strip_prefix("<tool_use_error>").map(|rest| rest.trim_end_matches("</tool_use_error>"));
    let output = inner.unwrap_or(output);
    match output.strip_prefix("Exit code ") {
        Some(rest) => {
            let (status, output) = rest.split_once('\n').unwrap_or((rest, ""));
            [Some(format!("exit {status}")), first_line(output)].into_iter().flatten().collect()
        }
        None => first_line(output.strip_prefix("Error: ").unwrap_or(output)).into_iter().collect(),
    }
}

/// Returns the details of a success, for the tools whose results have a known form.
fn details(result: Option<&RawValue>, output: &str) -> Vec<String> {
    let Some(result) = result.and_then(object) else { return Vec::new() };
    if let Some(patch) = result.get("structuredPatch") {
        let lines = list(patch).into_iter().filter_map(object).filter_map(|hunk| hunk.get("lines"));
        let lines: Vec<String> = lines.flat_map(list).filter_map(json::text).collect();
        let count = |sign: char| lines.iter().filter(|line| line.starts_with(sign)).count();
        let (added, removed) = (count('+'), count('-'));
        return if added + removed == 0 { Vec::new() } else { vec![format!("+{added} -{removed}")] };
    }
    if result.get("stdout").is_some() {
        return vec![lines_of(output)];
    }
    let content = result.get("file").and_then(object).and_then(|file| file.text("content"));
    content.map(|content| lines_of(&content)).into_iter().collect()
}

fn retry(event: &Members<'_>) -> String {
    let part = |name: &str| Some(words(event, name)).filter(|words| !words.is_empty());
    let reason: Vec<String> = ["error_status", "error"].into_iter().filter_map(part).collect();
    let reason = if reason.is_empty() { String::new() } else { format!(" ({})", reason.join(" ")) };
    let count = part("attempt").zip(part("max_retries")).map(|(attempt, most)| format!(" {attempt} of {most}"));
    format!("the call of the model failed{reason}; trying again{}", count.unwrap_or_default())
}

fn summary(event: &Members<'_>, raw: &RawValue) -> Summary {
    Summary {
        failed: ResultEvent::of(raw).is_some_and(|verdict| verdict.failure().is_some()),
        took: number(event, "duration_ms").map(Duration::from_millis),
        usage: usage(event),
    }
}

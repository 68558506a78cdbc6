//! Parses the output of `codex exec --json`, one event on each line.

use memchr::memmem;
use serde_json::value::RawValue;

use super::activity::OpenItems;
use super::events::Reader;
use crate::backend::OutputMode;
use crate::backend::activity::WAITING;
use crate::backend::lines::Line;
use crate::backend::output::{Failure, LineOutput, LineParser, OutputParser, TurnReport};
use crate::json::{self, Members};

pub(super) fn parser(mode: OutputMode, events_from: Option<String>) -> Box<dyn OutputParser> {
    let wants_answer = matches!(mode, OutputMode::Json | OutputMode::StreamedAnswer);
    Box::new(LineOutput::new(ExecParser::new(wants_answer), events_from.map(Reader::new)))
}

/// How the message of an error event begins that reports an attempt to reconnect.
pub(super) const RECONNECTING: &str = "Reconnecting... ";

/// What an item begins with, as codex writes it. Most lines are items, and in a stream none of them matters.
const ITEM: &[u8] = br#"{"type":"item."#;

/// Finds the thread, the answer and the verdict in the events of `codex exec --json`.
struct ExecParser {
    words: [memmem::Finder<'static>; 3],
    /// Finds answers. `None` in a stream, which is passed through.
    answer_word: Option<memmem::Finder<'static>>,
    thread_id: Option<String>,
    answer: Option<String>,
    prompt_stored: bool,
    /// Whether the last line reports an attempt to reconnect.
    reconnecting: bool,
    failed: Option<FailureEvent>,
    error: Option<FailureEvent>,
    open_items: OpenItems,
}

/// An event that reports a failure.
struct FailureEvent {
    reason: Option<String>,
    event: Box<RawValue>,
}

impl ExecParser {
    fn new(wants_answer: bool) -> Self {
        let words = ["thread.started", "\"turn.", "\"error\""].map(memmem::Finder::new);
        let answer_word = wants_answer.then(|| memmem::Finder::new("agent_message"));
        Self {
            words,
            answer_word,
            thread_id: None,
            answer: None,
            prompt_stored: false,
            reconnecting: false,
            failed: None,
            error: None,
            open_items: OpenItems::default(),
        }
    }
}

impl LineParser for ExecParser {
    /// Parses a line only if it contains a word of a relevant event.
    fn line(&mut self, Line { bytes, whole }: Line<'_>) {
        self.reconnecting = false;
        let is_item = bytes.starts_with(ITEM);
        if is_item && whole {
            self.open_items.line(bytes);
        }
        let words = if is_item { &[][..] } else { &self.words };
        if !words.iter().chain(&self.answer_word).any(|word| word.find(bytes).is_some()) {
            return;
        }
        let text = json::readable(bytes);
        let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else { return };
        let Ok(event) = serde_json::from_str::<Members<'_>>(raw.get()) else { return };
        let members_of = |name| serde_json::from_str::<Members<'_>>(event.get(name)?.get()).ok();
        let failure = |reason: Option<&RawValue>| {
            let reason = reason.map(|raw| json::text(raw).unwrap_or_else(|| raw.get().to_owned()));
            Some(FailureEvent { reason, event: raw.to_owned() })
        };
        // only the type identifies an event; its other members may differ between releases
        match event.text("type").as_deref() {
            Some("thread.started") => self.thread_id = event.text("thread_id"),
            Some("turn.failed") => {
                let message = members_of("error").and_then(|error| error.get("message"));
                self.failed = failure(message.or(event.get("error")));
            }
            Some("error") => {
                self.error = failure(event.get("message"));
                let reason = self.error.as_ref().and_then(|error| error.reason.as_deref());
                self.reconnecting = reason.is_some_and(|reason| reason.starts_with(RECONNECTING));
            }
            Some("turn.started") => self.prompt_stored = true,
            // an error that the turn got over, a reconnect for example
            Some("turn.completed") => self.error = None,
            Some("item.completed") => {
                let message = members_of("item").filter(|item| item.text("type").as_deref() == Some("agent_message"));
                if let Some(text) = message.and_then(|message| message.text("text")) {
                    self.answer = whole.then_some(text); // the beginning of an answer is not the answer
                }
            }
            _ => {}
        }
    }

    fn is_reconnecting(&self) -> bool {
        self.reconnecting
    }

    fn activity(&self) -> Option<String> {
        if self.reconnecting {
            return Some("reconnecting to the model".to_owned());
        }
        self.open_items.describe().or_else(|| self.prompt_stored.then(|| WAITING.to_owned()))
    }

    fn into_report(mut self) -> TurnReport {
        let (failure, verdict) = match self.failed.take().or(self.error.take()) {
            Some(failed) => (Some(Failure { reason: failed.reason }), Some(failed.event)),
            None => (None, None),
        };
        let Self { thread_id: reported_id, answer, prompt_stored, .. } = self;
        TurnReport { reported_id, failure, verdict, prompt_stored, answer, ..TurnReport::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> TurnReport {
        report_of(lines, true)
    }

    fn report_of(lines: &[&str], wants_answer: bool) -> TurnReport {
        let mut parser = ExecParser::new(wants_answer);
        for line in lines {
            parser.line(Line { bytes: line.as_bytes(), whole: true });
        }
        parser.into_report()
    }

    #[test]
    fn error_before_the_completion_of_a_turn_is_not_a_failure() {
        let reconnect = r#"{"type":"error","message":"reconnecting"}"#;
        let done = r#"{"type":"turn.completed"}"#;
        assert_eq!(report(&[reconnect, done]).failure, None);
        let failure = report(&[done, reconnect]).failure.unwrap();
        assert_eq!(failure.reason.as_deref(), Some("reconnecting"));
        let failed = r#"{"type":"turn.failed","error":{"message":"no key"}}"#;
        let turn = report(&[reconnect, failed, reconnect]);
        assert_eq!(turn.failure.unwrap().reason.as_deref(), Some("no key"));
        assert_eq!(turn.verdict.unwrap().get(), failed);
    }

    #[test]
    fn failure_may_have_any_reason_or_none() {
        for (event, reason) in [
            (r#"{"type":"turn.failed","error":"boom"}"#, Some("boom")),
            (r#"{"type":"turn.failed","error":{"code":7}}"#, Some(r#"{"code":7}"#)),
            (r#"{"type":"turn.failed"}"#, None),
            (r#"{"type":"error","message":{"a":1}}"#, Some(r#"{"a":1}"#)),
        ] {
            assert_eq!(report(&[event]).failure.unwrap().reason.as_deref(), reason, "{event}");
        }
    }

    #[test]
    fn error_item_is_not_a_failure_and_the_last_message_is_the_answer() {
        let turn = report(&[
            r#"{"type":"thread.started","thread_id":"t"}"#,
            r#"{"type":"item.completed","item":{"type":"error","message":"deprecated"}}"#,
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"one"}}"#,
            r#"{"type":"item.completed","item":{"type":"reasoning","text":"agent_message"}}"#,
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"two"}}"#,
        ]);
        assert_eq!((turn.failure, turn.answer.as_deref()), (None, Some("two")));
        assert_eq!(turn.reported_id.as_deref(), Some("t"));
    }

    #[test]
    fn an_item_that_quotes_other_events_is_an_item() {
        let quotes = r#"{"type":"item.completed","item":{"type":"agent_message","text":"\"error\" \"turn.failed\""}}"#;
        let failed = r#"{"item":{"type":"agent_message"},"type":"turn.failed","error":{"message":"no key"}}"#;
        for wants_answer in [true, false] {
            let report = report_of(&[quotes, failed, quotes], wants_answer);
            assert_eq!(report.failure.unwrap().reason.as_deref(), Some("no key"));
            assert_eq!(report.answer.is_some(), wants_answer);
        }
    }
}

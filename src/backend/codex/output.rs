//! What `codex exec --json` writes: an event a line.

use memchr::memmem;
use serde_json::value::RawValue;

use super::events::Reader;
use crate::backend::OutputMode;
use crate::backend::lines::Line;
use crate::backend::output::{Failure, LineOutput, LineParser, OutputParser, TurnReport};
use crate::json::{self, Members};

pub(super) fn parser(mode: OutputMode, events_from: Option<String>) -> Box<dyn OutputParser> {
    let wants_answer = matches!(mode, OutputMode::Json | OutputMode::StreamedAnswer);
    Box::new(LineOutput::new(ExecParser::new(wants_answer), events_from.map(Reader::new)))
}

/// Finds the thread, the answer and the verdict in the events of `codex exec --json`.
struct ExecParser {
    words: [memmem::Finder<'static>; 3],
    /// Finds answers, if one is wanted: a stream prints them as they come.
    answer_word: Option<memmem::Finder<'static>>,
    thread_id: Option<String>,
    answer: Option<String>,
    failed: Option<FailureEvent>,
    error: Option<FailureEvent>,
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
        Self { words, answer_word, thread_id: None, answer: None, failed: None, error: None }
    }
}

impl LineParser for ExecParser {
    /// Takes one line. Only lines that hold a word of an event that matters are parsed.
    fn line(&mut self, Line { bytes, whole }: Line<'_>) {
        if !self.words.iter().chain(&self.answer_word).any(|word| word.find(bytes).is_some()) {
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
        // the type alone decides what an event is; what else is in it may change from release to release
        match event.text("type").as_deref() {
            Some("thread.started") => self.thread_id = event.text("thread_id"),
            Some("turn.failed") => {
                let message = members_of("error").and_then(|error| error.get("message"));
                self.failed = failure(message.or(event.get("error")));
            }
            Some("error") => self.error = failure(event.get("message")),
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

    fn into_report(self) -> TurnReport {
        let (failure, verdict) = match self.failed.or(self.error) {
            Some(failed) => (Some(Failure { reason: failed.reason }), Some(failed.event)),
            None => (None, None),
        };
        TurnReport { reported_id: self.thread_id, failure, verdict, answer: self.answer, ..TurnReport::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> TurnReport {
        let mut listener = ExecParser::new(true);
        for line in lines {
            listener.line(Line { bytes: line.as_bytes(), whole: true });
        }
        listener.into_report()
    }

    #[test]
    fn an_error_that_the_turn_got_over_is_no_failure() {
        let reconnect = r#"{"type":"error","message":"reconnecting"}"#;
        let done = r#"{"type":"turn.completed"}"#;
        assert_eq!(report(&[reconnect, done]).failure, None);
        let failure = report(&[done, reconnect]).failure.unwrap();
        assert_eq!(failure.reason.as_deref(), Some("reconnecting"));
        let failed = r#"{"type":"turn.failed","error":{"message":"no key"}}"#;
        let account = report(&[reconnect, failed, reconnect]);
        assert_eq!(account.failure.unwrap().reason.as_deref(), Some("no key"));
        assert_eq!(account.verdict.unwrap().get(), failed);
    }

    #[test]
    fn a_failure_of_another_shape_is_one_all_the_same() {
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
    fn a_warning_item_is_no_failure_and_the_last_message_counts() {
        let account = report(&[
            r#"{"type":"thread.started","thread_id":"t"}"#,
            r#"{"type":"item.completed","item":{"type":"error","message":"deprecated"}}"#,
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"one"}}"#,
            r#"{"type":"item.completed","item":{"type":"reasoning","text":"agent_message"}}"#,
            r#"{"type":"item.completed","item":{"type":"agent_message","text":"two"}}"#,
        ]);
        assert_eq!((account.failure, account.answer.as_deref()), (None, Some("two")));
        assert_eq!(account.reported_id.as_deref(), Some("t"));
    }
}

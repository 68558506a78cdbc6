//! Parses the output of `codex exec --json`, one event on each line.

use memchr::memmem;
use serde_json::value::RawValue;

use super::activity::OpenItems;
use super::events::{Reader, tool_name};
use super::usage::usage;
use super::warnings::warning;
use crate::backend::activity::WAITING;
use crate::backend::event::object;
use crate::backend::lines::Line;
use crate::backend::output::{AgentWarning, DeniedTools, Failure, LineOutput, LineParser, OutputParser, TurnReport};
use crate::backend::{OutputMode, Usage};
use crate::json::{self, Members};

pub(super) fn parser(mode: OutputMode, keeps_answer: bool, events_from: Option<String>) -> Box<dyn OutputParser> {
    let wants_answer = keeps_answer || matches!(mode, OutputMode::Json | OutputMode::StreamedAnswer);
    Box::new(LineOutput::new(ExecParser::new(wants_answer), events_from.map(Reader::new)))
}

/// How the message of an error event begins that reports an attempt to reconnect.
pub(super) const RECONNECTING: &str = "Reconnecting... ";

/// The beginning of an item, as codex writes it. Most lines are items. In a stream only the last answer, warnings and
/// refused calls matter, which are found without searching the whole line.
const ITEM: &[u8] = br#"{"type":"item."#;

/// The bytes at the beginning of an item that have its type, after its ID.
const HEAD: usize = 160;

/// The bytes at the end of an item that have its status, which codex writes last.
const TAIL: usize = 40;

/// The limit on the bytes of an answer that is kept of a stream.
const LONGEST_ANSWER: usize = 1 << 20;

/// Finds the thread, the answer and the verdict in the events of `codex exec --json`.
struct ExecParser {
    words: [memmem::Finder<'static>; 4],
    answer_word: memmem::Finder<'static>,
    declined_word: memmem::Finder<'static>,
    warning_word: memmem::Finder<'static>,
    /// Whether the answer is to be printed. A stream is passed through.
    wants_answer: bool,
    thread_id: Option<String>,
    /// The form of the events, if they show a turn.
    form: Option<EventForm>,
    answer: Option<String>,
    /// The event with the last answer of a stream, which is parsed at the end.
    answer_event: Vec<u8>,
    /// Whether there was an answer, even one that was not kept.
    answered: bool,
    completed: bool,
    declined: Vec<String>,
    warnings: Vec<AgentWarning>,
    prompt_stored: bool,
    /// Whether the last line reports an attempt to reconnect.
    reconnecting: bool,
    failed: Option<FailureEvent>,
    error: Option<FailureEvent>,
    open_items: OpenItems,
    usage: Usage,
}

/// The form of codex's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventForm {
    Current,
    /// That of releases before 0.44.0. They do not report a thread.
    Old,
}

/// An event that reports a failure.
struct FailureEvent {
    reason: Option<String>,
    event: Box<RawValue>,
}

impl ExecParser {
    fn new(wants_answer: bool) -> Self {
        let [thread, turn, error, old, answer_word, declined_word, warning_word] = [
            "thread.started",
            "\"turn.",
            "\"error\"",
            "\"msg\"",
            "\"agent_message\"",
            "\"declined\"",
            "\"type\":\"error\"",
        ]
        .map(memmem::Finder::new);
        Self {
            words: [thread, turn, error, old],
            answer_word,
            declined_word,
            warning_word,
            wants_answer,
            thread_id: None,
            form: None,
            answer: None,
            answer_event: Vec::new(),
            answered: false,
            completed: false,
            declined: Vec::new(),
            warnings: Vec::new(),
            prompt_stored: false,
            reconnecting: false,
            failed: None,
            error: None,
            usage: Usage::default(),
            open_items: OpenItems::default(),
        }
    }

    /// Returns whether the line may be relevant, by the words in it. Keeps an answer of a stream.
    fn is_relevant(&mut self, bytes: &[u8], whole: bool) -> bool {
        let has = |word: &memmem::Finder<'_>, part: &[u8]| word.find(part).is_some();
        if !bytes.starts_with(ITEM) {
            return self.words.iter().chain([&self.answer_word, &self.declined_word]).any(|word| has(word, bytes));
        }
        if has(&self.declined_word, &bytes[bytes.len().saturating_sub(TAIL)..]) {
            return true;
        }
        let head = &bytes[..bytes.len().min(HEAD)];
        if has(&self.warning_word, head) {
            return true;
        }
        if self.wants_answer {
            return has(&self.answer_word, bytes);
        }
        let is_completed = bytes[ITEM.len()..].starts_with(b"completed\"");
        if is_completed && has(&self.answer_word, head) {
            self.answered = true;
            self.answer = None;
            self.answer_event.clear();
            if whole && bytes.len() <= LONGEST_ANSWER {
                self.answer_event.extend_from_slice(bytes);
            }
        }
        false
    }

    fn item(&mut self, item: &Members<'_>, whole: bool) {
        if item.text("status").as_deref() == Some("declined") {
            self.declined.push(tool_name(item));
        }
        match item.text("type").as_deref() {
            Some("agent_message") => {
                let Some(text) = item.text("text") else { return };
                self.answered = true;
                self.answer_event.clear();
                self.answer = whole.then_some(text); // the beginning of an answer is not the answer
            }
            Some("error") => {
                if let Some(warning) = item.text("message").and_then(|text| warning(&text)) {
                    warning.add_to(&mut self.warnings);
                }
            }
            _ => {}
        }
    }
}

/// Returns the members of the item in an event.
fn item_of<'a>(event: &Members<'a>) -> Option<Members<'a>> {
    object(event.get("item")?)
}

impl LineParser for ExecParser {
    /// Parses a line only if it contains a word of a relevant event.
    fn line(&mut self, Line { bytes, whole }: Line<'_>) {
        self.reconnecting = false;
        if bytes.starts_with(ITEM) && whole {
            self.open_items.line(bytes);
        }
        if !self.is_relevant(bytes, whole) {
            return;
        }
        let text = json::readable(bytes);
        let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else { return };
        let Some(event) = object(raw) else { return };
        let failure = |reason: Option<&RawValue>| {
            let reason = reason.map(|raw| json::text(raw).unwrap_or_else(|| raw.get().to_owned()));
            Some(FailureEvent { reason, event: raw.to_owned() })
        };
        // only the type identifies an event; its other members may differ between releases
        match event.text("type").as_deref() {
            None if event.get("msg").and_then(object).is_some_and(|message| message.text("type").is_some()) => {
                self.form = Some(EventForm::Old);
            }
            Some("thread.started") => self.thread_id = event.text("thread_id"),
            Some("turn.failed") => {
                let message = event.get("error").and_then(object).and_then(|error| error.get("message"));
                self.failed = failure(message.or(event.get("error")));
            }
            Some("error") => {
                self.error = failure(event.get("message"));
                let reason = self.error.as_ref().and_then(|error| error.reason.as_deref());
                self.reconnecting = reason.is_some_and(|reason| reason.starts_with(RECONNECTING));
            }
            Some("turn.started") => self.prompt_stored = true,
            Some("turn.completed") => {
                self.form = Some(EventForm::Current);
                self.error = None; // an error from which the turn recovered, such as a reconnection
                self.completed = true;
                self.usage = usage(&event);
            }
            Some("item.completed") => item_of(&event).iter().for_each(|item| self.item(item, whole)),
            _ => {}
        }
    }

    fn is_reconnecting(&self) -> bool {
        self.reconnecting
    }

    fn session_id(&self) -> Option<&str> {
        self.thread_id.as_deref()
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
        if !self.answer_event.is_empty() {
            let line = std::mem::take(&mut self.answer_event);
            let text = json::readable(&line);
            let event = serde_json::from_str::<Members<'_>>(&text).ok();
            event.as_ref().and_then(item_of).iter().for_each(|item| self.item(item, true));
        }
        // a stream may be one of another release, in which the turn has no end
        let answer_missing = !self.answered && (self.wants_answer || self.completed);
        let Self { thread_id: reported_id, answer, prompt_stored, usage, form, warnings, .. } = self;
        // the answer may be from a new thread
        let nameless = match form.filter(|_| reported_id.is_none()) {
            Some(EventForm::Current) => Some("its events do not name their thread"),
            Some(EventForm::Old) => Some("its events are those of codex before 0.44.0, which do not name their thread"),
            None => None,
        };
        let denied = DeniedTools { names: self.declined, complete: false };
        TurnReport {
            reported_id,
            failure,
            verdict,
            prompt_stored,
            answer,
            answer_missing,
            denied,
            warnings,
            malformed: nameless.map(str::to_owned),
            usage,
            ..TurnReport::default()
        }
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
            assert!(report.answer.unwrap().contains("turn.failed"));
        }
    }
}

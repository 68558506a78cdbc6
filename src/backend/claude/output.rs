//! Parses claude's output: one JSON answer, or a stream of events that ends in a result.

use jiff::Timestamp;
use memchr::memmem;
use serde_json::value::RawValue;

use super::activity::StreamActivity;
use super::events::Reader;
use super::usage::usage;
use crate::backend::event::{list, object};
use crate::backend::lines::Line;
use crate::backend::output::{AgentWarning, DeniedTools, Failure, LineOutput, LineParser, OutputParser, TurnReport};
use crate::backend::{AgentEvent, OutputMode};
use crate::json::{self, Members};

/// The bytes at the beginning of an event that have its type and subtype.
const HEAD: usize = 80;

/// The limit on the size of an answer, which is kept in memory until the end.
const LONGEST_ANSWER: usize = 512 << 20;

pub(super) fn parser(mode: OutputMode, _keeps_answer: bool, events_from: Option<String>) -> Box<dyn OutputParser> {
    match mode {
        OutputMode::Json => Box::<WholeAnswer>::default(),
        OutputMode::Stream { .. } => lines(StreamParser::default(), events_from),
        OutputMode::StreamedAnswer => {
            lines(StreamParser { wants_answer: true, ..StreamParser::default() }, events_from)
        }
    }
}

fn lines(parser: StreamParser, events_from: Option<String>) -> Box<dyn OutputParser> {
    Box::new(LineOutput::new(parser, events_from.map(Reader::new)))
}

/// Collects the answer of `--output-format json`, which is parsed at the end.
#[derive(Default)]
struct WholeAnswer {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl OutputParser for WholeAnswer {
    fn feed(&mut self, chunk: &[u8], _emit: &mut dyn FnMut(AgentEvent)) {
        if self.bytes.len() + chunk.len() > LONGEST_ANSWER {
            self.is_too_long = true;
        } else {
            self.bytes.extend_from_slice(chunk);
        }
    }

    fn end(&mut self, _emit: &mut dyn FnMut(AgentEvent)) {}

    fn into_report(self: Box<Self>) -> TurnReport {
        if self.is_too_long {
            let malformed = Some(format!("it wrote more than {} MiB", LONGEST_ANSWER >> 20));
            return TurnReport { malformed, ..TurnReport::default() };
        }
        parse_answer(self.bytes)
    }
}

/// Parses the answer of `--output-format json`: an object, or an array whose last element is the result.
fn parse_answer(whole: Vec<u8>) -> TurnReport {
    let report = find_result(&whole).unwrap_or_else(|malformed| TurnReport {
        malformed: Some(malformed.to_owned()),
        last_words: Some(String::from_utf8_lossy(&whole).trim().to_owned()).filter(|words| !words.is_empty()),
        ..TurnReport::default()
    });
    TurnReport { whole, ..report }
}

fn find_result(whole: &[u8]) -> Result<TurnReport, &'static str> {
    if whole.trim_ascii().is_empty() {
        return Err("it wrote nothing to standard output");
    }
    let text = json::readable(whole);
    let raw: &RawValue = serde_json::from_str(&text).map_err(|_| "its standard output is not JSON")?;
    let last = if raw.get().starts_with('[') {
        let elements: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| "its standard output is not JSON")?;
        elements.into_iter().next_back().ok_or("its standard output is an empty array")?
    } else {
        raw
    };
    let verdict = ResultEvent::of(last).ok_or("its standard output is not a JSON object")?;
    if raw.get().starts_with('[') && !verdict.is_result() {
        return Err("its standard output is an array that does not end in a result");
    }
    Ok(verdict.into_report())
}

/// The event that ends a turn. In other releases, every field may be missing or have another type.
pub(super) struct ResultEvent<'a> {
    members: Members<'a>,
    raw: &'a RawValue,
}

impl<'a> ResultEvent<'a> {
    /// Returns the event in `raw`, or `None` if `raw` is not an object.
    pub(super) fn of(raw: &'a RawValue) -> Option<Self> {
        Some(Self { members: serde_json::from_str(raw.get()).ok()?, raw })
    }

    pub(super) fn is_result(&self) -> bool {
        self.members.text("type").as_deref() == Some("result")
    }

    /// Returns when a limit ends, if this is the event that reports a reached one.
    fn limit_ends(&self) -> Option<Timestamp> {
        if self.members.text("type").as_deref() != Some("rate_limit_event") {
            return None;
        }
        let info: Members<'_> = serde_json::from_str(self.members.get("rate_limit_info")?.get()).ok()?;
        if info.text("status").as_deref() != Some("rejected") {
            return None;
        }
        Timestamp::from_second(info.get("resetsAt")?.get().parse().ok()?).ok()
    }

    /// Returns the warning about another model than the requested one, if this is the event that reports it.
    fn other_model(&self) -> Option<AgentWarning> {
        let is_system = self.members.text("type").as_deref() == Some("system");
        let is_other = is_system && is_other_model(&self.members.text("subtype")?);
        AgentWarning::new(&self.members.text("content").filter(|_| is_other)?)
    }

    fn session_id(&self) -> Option<String> {
        self.members.text("session_id")
    }

    /// Returns the failure that the event reports.
    ///
    /// If a call to the API failed, `is_error` is true although the subtype is `success`. Other failures have another
    /// subtype.
    pub(super) fn failure(&self) -> Option<Failure> {
        let is_error = self.members.get("is_error").is_some_and(|raw| raw.get() == "true");
        let subtype = self.members.text("subtype");
        if !is_error && subtype.as_deref().is_none_or(|subtype| subtype == "success") {
            return None;
        }
        let errors = self.members.get("errors").map(|raw| match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            Ok(errors) => errors.into_iter().map(words).collect::<Vec<_>>().join("; "),
            Err(_) => words(raw),
        });
        let details = [self.members.get("result").map(words), errors, subtype];
        Some(Failure { reason: details.into_iter().flatten().find(|words| !words.is_empty()) })
    }

    /// Returns the calls that claude was not allowed to make. Releases that list them list all of them.
    fn denied(&self) -> DeniedTools {
        let Some(denials) = self.members.get("permission_denials") else { return DeniedTools::default() };
        let tool = |denial: Members<'_>| denial.text("tool_name").unwrap_or_else(|| "unknown".to_owned());
        DeniedTools { names: list(denials).into_iter().filter_map(object).map(tool).collect(), complete: true }
    }

    fn into_report(self) -> TurnReport {
        let answer = self.members.get("result").filter(|raw| raw.get() != "null").map(words);
        let structured = self.members.get("structured_output").filter(|raw| raw.get() != "null");
        TurnReport {
            structured: structured.and_then(|raw| RawValue::from_string(json::compact(raw.get())).ok()),
            unmet_schema: self.members.text("subtype").as_deref() == Some("error_max_structured_output_retries"),
            reported_id: self.session_id(),
            failure: self.failure(),
            verdict: Some(self.raw.to_owned()),
            answer_missing: answer.is_none(),
            answer,
            denied: self.denied(),
            usage: usage(&self.members),
            ..TurnReport::default()
        }
    }
}

/// Returns the content of a text, an empty string for null, and the JSON of any other value.
fn words(raw: &RawValue) -> String {
    json::text(raw).unwrap_or_else(|| if raw.get() == "null" { String::new() } else { raw.get().to_owned() })
}

/// Returns whether a system event with this subtype reports that another model than the requested one answers.
pub(super) fn is_other_model(subtype: &str) -> bool {
    ["model_fallback", "model_refusal_fallback"].contains(&subtype)
}

/// Finds the session ID and the result in `--output-format stream-json`.
struct StreamParser {
    /// Whether the answer is to be printed, so that there must be a whole one.
    wants_answer: bool,
    first_id: Option<String>,
    result: Option<TurnReport>,
    id_key: memmem::Finder<'static>,
    result_word: memmem::Finder<'static>,
    limit_word: memmem::Finder<'static>,
    limit_ends: Option<Timestamp>,
    model_word: memmem::Finder<'static>,
    warnings: Vec<AgentWarning>,
    activity: StreamActivity,
}

impl Default for StreamParser {
    fn default() -> Self {
        let [id_key, result_word, limit_word, model_word] =
            ["\"session_id\"", "\"result\"", "\"rate_limit_event\"", "_fallback\""].map(memmem::Finder::new);
        let activity = StreamActivity::default();
        Self {
            wants_answer: false,
            first_id: None,
            result: None,
            id_key,
            result_word,
            limit_word,
            limit_ends: None,
            model_word,
            warnings: Vec::new(),
            activity,
        }
    }
}

impl LineParser for StreamParser {
    /// Parses a line only if it may contain the result, or the first session ID.
    fn line(&mut self, line: Line<'_>) {
        if line.whole {
            self.activity.line(line.bytes);
        }
        let wants_id = self.first_id.is_none() && self.id_key.find(line.bytes).is_some();
        let is_wanted = |word: &memmem::Finder<'_>| word.find(line.bytes).is_some();
        let is_other_model = || self.model_word.find(&line.bytes[..line.bytes.len().min(HEAD)]).is_some();
        if !wants_id && !is_wanted(&self.result_word) && !is_wanted(&self.limit_word) && !is_other_model() {
            return;
        }
        let text = json::readable(line.bytes);
        let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else {
            return;
        };
        let Some(event) = ResultEvent::of(raw) else { return };
        if self.first_id.is_none() {
            self.first_id = event.session_id();
        }
        self.limit_ends = event.limit_ends().or(self.limit_ends);
        if let Some(warning) = event.other_model() {
            warning.add_to(&mut self.warnings);
        }
        if event.is_result() {
            let malformed = (!line.whole && self.wants_answer).then(|| "its answer is too long".to_owned());
            self.result = Some(TurnReport { malformed, ..event.into_report() });
        }
    }

    fn session_id(&self) -> Option<&str> {
        self.first_id.as_deref()
    }

    fn activity(&self) -> Option<String> {
        self.activity.describe()
    }

    fn into_report(self) -> TurnReport {
        let missing = || self.wants_answer.then(|| "its events have no result".to_owned());
        let report = self.result.unwrap_or_else(|| TurnReport { malformed: missing(), ..TurnReport::default() });
        let (limit_ends, warnings) = (self.limit_ends, self.warnings);
        TurnReport { reported_id: report.reported_id.or(self.first_id), limit_ends, warnings, ..report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_has_claudes_reason() {
        let failed = |text: &str| parse_answer(text.as_bytes().to_vec()).failure.map(|failure| failure.reason);
        assert_eq!(failed(r#"{"type":"result","subtype":"success","is_error":false,"result":"x"}"#), None);
        assert_eq!(failed("{}"), None);
        assert_eq!(
            failed(r#"{"subtype":"success","is_error":true,"result":"no key"}"#),
            Some(Some("no key".to_owned()))
        );
        assert_eq!(
            failed(r#"{"subtype":"error_during_execution","is_error":false,"errors":["a",{"b":1}]}"#),
            Some(Some("a; {\"b\":1}".to_owned()))
        );
        assert_eq!(failed(r#"{"subtype":"error_max_turns"}"#), Some(Some("error_max_turns".to_owned())));
    }

    #[test]
    fn answer_longer_than_the_limit_is_refused() {
        let fed = |chunk: &[u8]| {
            let mut bytes = vec![0; LONGEST_ANSWER]; // no memory is touched
            bytes.pop();
            let mut answer = WholeAnswer { bytes, is_too_long: false };
            answer.feed(chunk, &mut |_| {});
            answer
        };
        assert!(!fed(b"1").is_too_long);
        let too_long = Box::new(fed(b"12")).into_report();
        assert_eq!(too_long.malformed.as_deref(), Some("it wrote more than 512 MiB"));
    }

    #[test]
    fn refused_tools_are_complete_if_claude_lists_them() {
        let denied =
            |members: &str| parse_answer(format!(r#"{{"type":"result","result":"x"{members}}}"#).into_bytes()).denied;
        let listed = |names: &[&str], complete| DeniedTools {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            complete,
        };
        assert_eq!(denied(""), listed(&[], false));
        assert_eq!(denied(r#","permission_denials":[]"#), listed(&[], true));
        let odd = r#","permission_denials":[{"tool_name":"Write"},7,{},{"tool_name":"Write"}]"#;
        assert_eq!(denied(odd), listed(&["Write", "unknown", "Write"], true));
        assert_eq!(denied(r#","permission_denials":null"#), listed(&[], true));
        assert_eq!(denied(odd).by_name(), [("Write", 2), ("unknown", 1)]);
    }

    #[test]
    fn output_without_an_answer_is_malformed() {
        let malformed = |text: &str| parse_answer(text.as_bytes().to_vec()).malformed.is_some();
        let cut = parse_answer(br#"{"result":"x\ud83d","is_error":true,"type":"a","type":"result"}"#.to_vec());
        assert_eq!(cut.malformed, None);
        assert!(cut.failure.unwrap().reason.unwrap().starts_with('x'));
        for bad in ["", " \n", "hello", "{\"a\": 1", "[]", "[1]", "7", "[{\"type\":\"assistant\"}]", "{} {}"] {
            assert!(malformed(bad), "{bad}");
        }
        let turn = parse_answer(br#"[{"type":"system"},{"type":"result","result":"R","session_id":"i"}]"#.to_vec());
        assert_eq!((turn.malformed, turn.answer, turn.reported_id), (None, Some("R".into()), Some("i".into())));
    }

    #[test]
    fn id_of_the_result_takes_precedence_over_the_first_id() {
        let mut parser = StreamParser::default();
        parser.line(Line { bytes: br#"{"type":"system","subtype":"init","session_id":"a"}"#, whole: true });
        parser.line(Line { bytes: b"not JSON with \"result\"", whole: true });
        parser.line(Line { bytes: br#"{"type":"user","session_id":"c","text":"\"result\""}"#, whole: true });
        assert_eq!(parser.first_id.as_deref(), Some("a"));
        parser
            .line(Line { bytes: br#"{"is_error":true,"result":"why","session_id":"b","type":"result"}"#, whole: true });
        let turn = parser.into_report();
        assert_eq!(turn.reported_id.as_deref(), Some("b"));
        assert_eq!(turn.failure.unwrap().reason.as_deref(), Some("why"));
    }
}

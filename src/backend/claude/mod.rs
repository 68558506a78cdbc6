//! Claude Code: the program `claude`, tried with 2.1.329.

pub(super) mod events;

use std::ffi::OsString;

use memchr::memmem;
use serde_json::value::RawValue;

use super::{Arguments, Failure, HelpPage, Invocation, OutputMode, PromptChannel, Role, SessionMode, TurnReport};
use crate::json::{self, Members};
use crate::session::SessionName;

pub(super) const MAPPING_FILE: &str = "claude-code-alias-mapping.json";
pub(super) const ID_KEY: &str = "session_id";

/// Some releases refuse to run where this is set, which it is in every shell that Claude Code itself starts.
pub(super) const REMOVED_ENV: &[&str] = &["CLAUDECODE"];

pub(super) const HELP_PAGES: &[HelpPage] = &[HelpPage {
    arguments: &["--help"],
    options: &[
        "-p",
        "--output-format",
        "--resume",
        "--append-system-prompt",
        "--model",
        "--effort",
        "--verbose",
        "--include-partial-messages",
        "--fork-session",
    ],
}];

/// Whether claude alone has this option of ours.
pub(super) fn owns_option(option: &str) -> bool {
    matches!(option, "claude-cmd" | "reasoning-effort" | "effort" | "verbose" | "include-partials")
}

/// Arguments of `claude` that would change the session, the form of the answer, or whether it runs to an end.
pub(super) fn is_reserved_arg(argument: &str) -> bool {
    const LONG: &[&str] = &[
        "--background",
        "--bg",
        "--cloud",
        "--continue",
        "--desktop",
        "--fork-session",
        "--from-pr",
        "--help",
        "--input-format",
        "--no-session-persistence",
        "--output-format",
        "--remote-control",
        "--replay-user-messages",
        "--resume",
        "--resume-session-at",
        "--rewind-files",
        "--session-id",
        "--teleport",
        "--tmux",
        "--version",
    ];
    if argument.starts_with("--") {
        return LONG.contains(&argument.split('=').next().unwrap_or(argument));
    }
    // short options may be joined behind one that takes no value: -pc is -p -c
    let joined = argument.strip_prefix('-').map(|rest| rest.trim_start_matches('p'));
    joined.and_then(|rest| rest.chars().next()).is_some_and(|c| "chrv".contains(c))
}

pub(super) fn default_prompt(name: &SessionName) -> String {
    format!("Initialize a new session named '{name}'. Reply only: OK")
}

pub(super) fn arguments(turn: &Invocation<'_>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.push("-p");
    if let (PromptChannel::Argument(text), false) = (turn.prompt, turn.needs_double_dash()) {
        arguments.push(text);
    }
    let (history, forks) = (turn.session.history(), matches!(turn.session, SessionMode::Fork(_)));
    match turn.form {
        OutputMode::Json => arguments.option("--resume", history).push("--output-format").push("json"),
        OutputMode::Stream { .. } => arguments.push("--output-format").push("stream-json").option("--resume", history),
    };
    arguments.flag("--fork-session", forks);
    match turn.role {
        Some(Role::Text(text)) => arguments.push("--append-system-prompt").push(text),
        Some(Role::File(path)) => arguments.push("--append-system-prompt-file").push(path),
        None => &mut arguments,
    };
    arguments.option("--model", turn.model.map(|model| model.name)).option("--effort", turn.effort);
    if let OutputMode::Stream { partials } = turn.form {
        // `claude -p` refuses stream-json without it
        arguments.push("--verbose").flag("--include-partial-messages", partials);
    }
    arguments.0.extend_from_slice(turn.extra);
    if let (PromptChannel::Argument(text), true) = (turn.prompt, turn.needs_double_dash()) {
        arguments.push("--").push(text);
    }
    arguments.0
}

/// The last word of a turn. Every field may be missing or of another type in other releases.
struct Verdict<'a> {
    members: Members<'a>,
    raw: &'a RawValue,
}

impl<'a> Verdict<'a> {
    /// The verdict in `raw`, which is one wherever it is an object.
    fn of(raw: &'a RawValue) -> Option<Self> {
        Some(Self { members: serde_json::from_str(raw.get()).ok()?, raw })
    }

    fn is_result(&self) -> bool {
        self.members.text("type").as_deref() == Some("result")
    }

    fn session_id(&self) -> Option<String> {
        self.members.text("session_id")
    }

    /// A failed call to the API has `is_error` true and still the subtype `success`; other failures have a subtype
    /// that tells which.
    fn failure(&self) -> Option<Failure> {
        let is_error = self.members.get("is_error").is_some_and(|raw| raw.get() == "true");
        let subtype = self.members.text("subtype");
        if !is_error && subtype.as_deref().is_none_or(|subtype| subtype == "success") {
            return None;
        }
        let errors = self.members.get("errors").map(|raw| match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            Ok(errors) => errors.into_iter().map(words).collect::<Vec<_>>().join("; "),
            Err(_) => words(raw),
        });
        let told = [self.members.get("result").map(words), errors, subtype];
        Some(Failure { reason: told.into_iter().flatten().find(|words| !words.is_empty()) })
    }

    fn into_report(self) -> TurnReport {
        TurnReport {
            reported_id: self.session_id(),
            failure: self.failure(),
            verdict: Some(self.raw.to_owned()),
            answer: self.members.get("result").filter(|raw| raw.get() != "null").map(words),
            ..TurnReport::default()
        }
    }
}

/// A JSON value as words: a text as it is, nothing for null, anything else as claude wrote it.
fn words(raw: &RawValue) -> String {
    json::text(raw).unwrap_or_else(|| if raw.get() == "null" { String::new() } else { raw.get().to_owned() })
}

/// What the answer of `--output-format json` means: an object, or an array whose last element is the result.
pub(super) fn conclude(whole: Vec<u8>) -> TurnReport {
    let account = understand(&whole).unwrap_or_else(|malformed| TurnReport {
        malformed: Some(malformed.to_owned()),
        last_words: Some(String::from_utf8_lossy(&whole).trim().to_owned()).filter(|words| !words.is_empty()),
        ..TurnReport::default()
    });
    TurnReport { whole, ..account }
}

fn understand(whole: &[u8]) -> Result<TurnReport, &'static str> {
    if whole.trim_ascii().is_empty() {
        return Err("it wrote nothing to standard output");
    }
    let text = json::readable(whole);
    let raw: &RawValue = serde_json::from_str(&text).map_err(|_| "its standard output is no JSON")?;
    let last = if raw.get().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| "its standard output is no JSON")?;
        elements.into_iter().next_back().ok_or("its standard output is an empty array")?
    } else {
        raw
    };
    let verdict = Verdict::of(last).ok_or("its standard output is no JSON object")?;
    if raw.get().starts_with('[') && !verdict.is_result() {
        return Err("its standard output is an array that does not end in a result");
    }
    Ok(verdict.into_report())
}

/// Listens to `--output-format stream-json`.
pub(super) struct Listener {
    first_id: Option<String>,
    verdict: Option<TurnReport>,
    id_key: memmem::Finder<'static>,
    result: memmem::Finder<'static>,
}

impl Default for Listener {
    fn default() -> Self {
        let (id_key, result) = (memmem::Finder::new("\"session_id\""), memmem::Finder::new("\"result\""));
        Self { first_id: None, verdict: None, id_key, result }
    }
}

impl Listener {
    /// Takes one line. Only lines that may hold an id we do not have yet, or the result, are parsed.
    pub(super) fn line(&mut self, line: &[u8]) {
        let wants_id = self.first_id.is_none() && self.id_key.find(line).is_some();
        if !wants_id && self.result.find(line).is_none() {
            return;
        }
        let text = json::readable(line);
        let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else {
            return;
        };
        let Some(event) = Verdict::of(raw) else { return };
        if self.first_id.is_none() {
            self.first_id = event.session_id();
        }
        if event.is_result() {
            self.verdict = Some(event.into_report());
        }
    }

    pub(super) fn conclude(self) -> TurnReport {
        let account = self.verdict.unwrap_or_default();
        TurnReport { reported_id: account.reported_id.or(self.first_id), ..account }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::codex::ExecOptions;
    use crate::session::AgentSessionId;

    #[test]
    fn a_fork_names_the_session_that_it_is_of() {
        let (exec, id) = (ExecOptions::default(), AgentSessionId::new("i").unwrap());
        let turn =
            Invocation { session: SessionMode::Fork(&id), ..Invocation::plain(&exec, PromptChannel::Argument("x")) };
        let want = ["-p", "x", "--resume", "i", "--output-format", "json", "--fork-session"];
        assert_eq!(arguments(&turn), want);
    }

    #[test]
    fn a_prompt_that_looks_like_an_option_goes_last_behind_dashes() {
        let exec = ExecOptions::default();
        let id = AgentSessionId::new("i").unwrap();
        let turn = Invocation {
            session: SessionMode::Resume(&id),
            ..Invocation::plain(&exec, PromptChannel::Argument("--help"))
        };
        assert_eq!(arguments(&turn), ["-p", "--resume", "i", "--output-format", "json", "--", "--help"]);
    }

    #[test]
    fn arguments_of_the_caller_stand_directly_before_the_prompt() {
        let exec = ExecOptions::default();
        let extra = ["--allowedTools".into(), "Bash".into()];
        let turn = Invocation {
            extra: &extra,
            effort: Some("low"),
            ..Invocation::plain(&exec, PromptChannel::Argument("go"))
        };
        assert_eq!(
            arguments(&turn),
            ["-p", "--output-format", "json", "--effort", "low", "--allowedTools", "Bash", "--", "go"]
        );
        let turn = Invocation { prompt: PromptChannel::StandardInput, ..turn };
        assert_eq!(arguments(&turn).last().unwrap(), "Bash");
    }

    #[test]
    fn a_stream_is_always_verbose_and_a_session_may_start_in_one() {
        let exec = ExecOptions::default();
        let turn = Invocation {
            form: OutputMode::Stream { partials: true },
            ..Invocation::plain(&exec, PromptChannel::Argument("go"))
        };
        assert_eq!(
            arguments(&turn),
            ["-p", "go", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        );
    }

    #[test]
    fn arguments_that_change_the_session_or_the_answer_are_refused() {
        for argument in ["--resume", "--resume=x", "-r", "-rx", "-c", "-pc", "--output-format=text", "--fork-session"] {
            assert!(is_reserved_arg(argument), "{argument}");
        }
        for argument in ["--add-dir", "-p", "-n", "-d", "--resumeable", "x", "-", "--settings={\"a\":1}"] {
            assert!(!is_reserved_arg(argument), "{argument}");
        }
    }

    #[test]
    fn the_verdict_tells_failure_in_claudes_words() {
        let failed = |text: &str| conclude(text.as_bytes().to_vec()).failure.map(|failure| failure.reason);
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
    fn output_that_is_no_answer_is_told_apart() {
        let malformed = |text: &str| conclude(text.as_bytes().to_vec()).malformed.is_some();
        let cut = conclude(br#"{"result":"x\ud83d","is_error":true,"type":"a","type":"result"}"#.to_vec());
        assert_eq!(cut.malformed, None);
        assert!(cut.failure.unwrap().reason.unwrap().starts_with('x'));
        for bad in ["", " \n", "hello", "{\"a\": 1", "[]", "[1]", "7", "[{\"type\":\"assistant\"}]", "{} {}"] {
            assert!(malformed(bad), "{bad}");
        }
        let account = conclude(br#"[{"type":"system"},{"type":"result","result":"R","session_id":"i"}]"#.to_vec());
        assert_eq!(
            (account.malformed, account.answer, account.reported_id),
            (None, Some("R".into()), Some("i".into()))
        );
    }

    #[test]
    fn a_stream_tells_the_id_of_its_result_before_that_of_its_beginning() {
        let mut listener = Listener::default();
        listener.line(br#"{"type":"system","subtype":"init","session_id":"a"}"#);
        listener.line(b"not JSON with \"result\"");
        listener.line(br#"{"type":"user","session_id":"c","text":"\"result\""}"#);
        assert_eq!(listener.first_id.as_deref(), Some("a"));
        listener.line(br#"{"is_error":true,"result":"why","session_id":"b","type":"result"}"#);
        let account = listener.conclude();
        assert_eq!(account.reported_id.as_deref(), Some("b"));
        assert_eq!(account.failure.unwrap().reason.as_deref(), Some("why"));
    }
}

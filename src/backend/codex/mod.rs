//! Codex CLI: the program `codex`, tried with 0.169.0.

pub(super) mod events;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use memchr::memmem;
use serde_json::value::RawValue;

use super::lines::Line;
use super::output::Watcher;
use super::{Arguments, Failure, HelpPage, Invocation, PromptChannel, SessionMode, TurnReport};
use crate::json::{self, Members};
use crate::session::{SessionName, trim};

pub(super) const MAPPING_FILE: &str = "codex-cli-alias-mapping.json";
pub(super) const ID_KEY: &str = "thread_id";

/// What `codex exec` takes beside the prompt and the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecOptions {
    pub config: Vec<String>,
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub image: Vec<PathBuf>,
    pub full_auto: FullAuto,
    pub bypass_approvals_and_sandbox: bool,
    pub skip_git_repo_check: bool,
}

/// How `--full-auto` is said to codex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FullAuto {
    #[default]
    No,
    /// As the caller said it.
    Flag,
    /// As the setting it stood for, for releases that no longer know the flag.
    Setting,
}

/// What `codex exec`, `codex exec resume` and `codex exec fork` all take of what we use. `--full-auto` is not among it: we know what to do
/// without.
const USED_OPTIONS: &[&str] = &[
    "--json",
    "-o",
    "--config",
    "--enable",
    "--disable",
    "--image",
    "--model",
    "--dangerously-bypass-approvals-and-sandbox",
    "--skip-git-repo-check",
];

pub(super) const HELP_PAGES: &[HelpPage] = &[
    HelpPage { arguments: &["exec", "--help"], options: USED_OPTIONS },
    HelpPage { arguments: &["exec", "resume", "--help"], options: USED_OPTIONS },
    HelpPage { arguments: &["exec", "fork", "--help"], options: USED_OPTIONS },
];

/// Whether codex alone has this option of ours on `command`.
pub(super) fn owns_option(command: &str, option: &str) -> bool {
    match option {
        "codex-cmd"
        | "codex-shell"
        | "codex-shell-cmd"
        | "codex-shell-init"
        | "config"
        | "enable"
        | "disable"
        | "image"
        | "full-auto"
        | "dangerously-bypass-approvals-and-sandbox"
        | "skip-git-repo-check"
        | "thread-id"
        | "fake-thread-id"
        | "print-thread-id" => true,
        // claude keeps the role that a session was created with
        "role-definition-md" => command.starts_with("resume-"),
        _ => false,
    }
}

/// Arguments of `codex exec` that would change the thread, the form of the answer, or whether it can be resumed.
///
/// `previous` is the argument before it: a word that follows an option may be its value, another one would be a command
/// of `codex exec`.
pub(super) fn is_reserved_arg(previous: Option<&str>, argument: &str) -> bool {
    const COMMANDS: &[&str] = &["fork", "help", "resume", "review"];
    const LONG: &[&str] = &[
        "--all",
        "--ephemeral",
        "--experimental-json",
        "--help",
        "--json",
        "--last",
        "--output-last-message",
        "--version",
    ];
    let stands_alone = previous.is_none_or(|previous| !previous.starts_with('-') || previous.contains('='));
    if COMMANDS.contains(&argument) && stands_alone {
        return true;
    }
    if argument.starts_with("--") {
        return LONG.contains(&argument.split('=').next().unwrap_or(argument));
    }
    argument.strip_prefix('-').and_then(|rest| rest.chars().next()).is_some_and(|c| "ohV".contains(c))
}

pub(super) fn default_prompt(name: &SessionName) -> String {
    format!("Initialize a new persistent Codex session named '{name}'. Reply exactly: OK")
}

/// codex has no system prompt to add to: a role is said in words before the request.
pub(super) fn prompt_with_role<'a>(role: Option<&str>, prompt: &'a [u8]) -> Cow<'a, [u8]> {
    const INTRODUCTION: &str = "Follow this role definition for this request and the surrounding session context unless the user overrides it.";
    match role.map(trim) {
        None | Some("") => Cow::Borrowed(prompt),
        Some(role) => {
            let mut text = format!("{INTRODUCTION}\n\n{role}\n\nUser request:\n").into_bytes();
            text.extend_from_slice(prompt);
            Cow::Owned(text)
        }
    }
}

pub(super) fn arguments(turn: &Invocation<'_>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.push("exec");
    match turn.session {
        SessionMode::New => {}
        SessionMode::Resume(_) => drop(arguments.push("resume")),
        SessionMode::Fork(_) => drop(arguments.push("fork")),
    }
    let remembered = turn.model.filter(|model| model.remembered).map(|model| model.name);
    let explicit = turn.model.filter(|model| !model.remembered).map(|model| model.name);
    arguments
        .option("--model", remembered)
        .each("--config", &turn.exec.config)
        .each("--enable", &turn.exec.enable)
        .each("--disable", &turn.exec.disable)
        .each("--image", &turn.exec.image)
        .option("--model", explicit)
        .flag("--full-auto", turn.exec.full_auto == FullAuto::Flag)
        .option("--config", (turn.exec.full_auto == FullAuto::Setting).then_some("sandbox_mode=\"workspace-write\""))
        .flag("--dangerously-bypass-approvals-and-sandbox", turn.exec.bypass_approvals_and_sandbox)
        .flag("--skip-git-repo-check", turn.exec.skip_git_repo_check);
    if let Some(id) = turn.session.history() {
        arguments.push(id);
    }
    arguments.push("--json").option("-o", turn.answer_file);
    arguments.0.extend_from_slice(turn.extra);
    if turn.needs_double_dash() {
        arguments.push("--");
    }
    match turn.prompt {
        PromptChannel::Argument(text) => arguments.push(text),
        PromptChannel::StandardInput => arguments.push("-"),
    };
    arguments.0
}

/// Whether this end of a call says that codex no longer knows `--full-auto` (0.169 does not).
pub(crate) fn does_not_know_full_auto(exit_status: Option<i32>, stderr: &[u8]) -> bool {
    exit_status == Some(2) && memmem::find(stderr, b"unexpected argument '--full-auto'").is_some()
}

/// Whether a line of codex's standard error says nothing of what went wrong.
pub(crate) fn is_chatter(line: &str) -> bool {
    line == "Reading additional input from stdin..." || line == "Reading prompt from stdin..."
}

/// Whether a line of codex's standard error is one of its log, which mostly repeats what follows in plain words.
pub(crate) fn is_log(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit()) && line.contains("Z ") && line.contains(" codex_")
}

/// Whether codex says that another process has the thread open.
pub(crate) fn is_active_writer(stderr: &[u8]) -> bool {
    memmem::find(stderr, b"already has an active writer").is_some()
}

/// Listens to `codex exec --json`.
pub(super) struct Listener {
    words: [memmem::Finder<'static>; 4],
    /// Hears what codex is doing.
    pub(super) watcher: Option<Watcher>,
    thread_id: Option<String>,
    answer: Option<String>,
    failed: Option<Told>,
    error: Option<Told>,
}

impl Default for Listener {
    fn default() -> Self {
        let words = ["thread.started", "agent_message", "\"turn.", "\"error\""];
        Self {
            words: words.map(memmem::Finder::new),
            watcher: None,
            thread_id: None,
            answer: None,
            failed: None,
            error: None,
        }
    }
}

/// What codex begins with this event, in words.
fn doing(line: &[u8]) -> Option<String> {
    memmem::find(line, b"item.started")?;
    let text = json::readable(line);
    let event: Members<'_> = serde_json::from_str(&text).ok()?;
    let item: Members<'_> = serde_json::from_str(event.get("item")?.get()).ok()?;
    let with = |what: &str, detail: &str| format!("{what} {}", item.text(detail).unwrap_or_default());
    Some(match item.text("type")?.as_str() {
        "command_execution" => with("runs", "command"),
        "web_search" => with("searches for", "query"),
        "mcp_tool_call" => with("calls", "tool"),
        "file_change" => "changes files".to_owned(),
        "reasoning" => "thinks".to_owned(),
        "agent_message" => "answers".to_owned(),
        other => other.replace('_', " "),
    })
}

/// An event that tells of a failure.
struct Told {
    reason: Option<String>,
    event: Box<RawValue>,
}

impl Listener {
    /// Takes one line. Only lines that hold a word we look for are parsed.
    pub(super) fn line(&mut self, Line { bytes, whole }: Line<'_>) {
        if let Some(watcher) = &self.watcher
            && let Some(doing) = doing(bytes)
        {
            watcher(&doing);
        }
        if !self.words.iter().any(|word| word.find(bytes).is_some()) {
            return;
        }
        let text = json::readable(bytes);
        let Ok(raw) = serde_json::from_str::<&RawValue>(&text) else { return };
        let Ok(event) = serde_json::from_str::<Members<'_>>(raw.get()) else { return };
        let members_of = |name| serde_json::from_str::<Members<'_>>(event.get(name)?.get()).ok();
        let told = |reason: Option<&RawValue>| {
            let reason = reason.map(|raw| json::text(raw).unwrap_or_else(|| raw.get().to_owned()));
            Some(Told { reason, event: raw.to_owned() })
        };
        // the type alone decides what an event is; what else is in it may change from release to release
        match event.text("type").as_deref() {
            Some("thread.started") => self.thread_id = event.text("thread_id"),
            Some("turn.failed") => {
                let message = members_of("error").and_then(|error| error.get("message"));
                self.failed = told(message.or(event.get("error")));
            }
            Some("error") => self.error = told(event.get("message")),
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

    pub(super) fn conclude(self) -> TurnReport {
        let (failure, verdict) = match self.failed.or(self.error) {
            Some(told) => (Some(Failure { reason: told.reason }), Some(told.event)),
            None => (None, None),
        };
        TurnReport { reported_id: self.thread_id, failure, verdict, answer: self.answer, ..TurnReport::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Model;
    use crate::session::AgentSessionId;

    fn account(lines: &[&str]) -> TurnReport {
        let mut listener = Listener::default();
        for line in lines {
            listener.line(Line { bytes: line.as_bytes(), whole: true });
        }
        listener.conclude()
    }

    #[test]
    fn a_remembered_model_stands_before_the_options_and_a_new_one_behind() {
        let exec = ExecOptions { config: vec!["a=1".into()], full_auto: FullAuto::Setting, ..ExecOptions::default() };
        let id = AgentSessionId::new("t").unwrap();
        let model = |remembered| Some(Model { name: "m", remembered });
        let turn = Invocation {
            session: SessionMode::Resume(&id),
            model: model(true),
            ..Invocation::plain(&exec, PromptChannel::Argument("- x"))
        };
        let setting = "sandbox_mode=\"workspace-write\"";
        assert_eq!(
            arguments(&turn),
            ["exec", "resume", "--model", "m", "--config", "a=1", "--config", setting, "t", "--json", "--", "- x"]
        );
        let turn =
            Invocation { session: SessionMode::New, model: model(false), prompt: PromptChannel::Argument("x"), ..turn };
        assert_eq!(arguments(&turn), ["exec", "--config", "a=1", "--model", "m", "--config", setting, "--json", "x"]);
    }

    #[test]
    fn a_fork_names_the_session_that_it_is_of() {
        let (exec, id) = (ExecOptions::default(), AgentSessionId::new("t").unwrap());
        let turn =
            Invocation { session: SessionMode::Fork(&id), ..Invocation::plain(&exec, PromptChannel::Argument("x")) };
        assert_eq!(arguments(&turn), ["exec", "fork", "t", "--json", "x"]);
    }

    #[test]
    fn a_prompt_from_standard_input_is_a_dash() {
        let exec = ExecOptions::default();
        assert_eq!(arguments(&Invocation::plain(&exec, PromptChannel::StandardInput)), ["exec", "--json", "-"]);
        let extra = ["--add-dir".into(), "d".into()];
        let turn = Invocation { extra: &extra, ..Invocation::plain(&exec, PromptChannel::StandardInput) };
        assert_eq!(arguments(&turn), ["exec", "--json", "--add-dir", "d", "--", "-"]);
    }

    #[test]
    fn arguments_that_change_the_thread_or_the_answer_are_refused() {
        for argument in ["--json", "-o", "-ofile", "--output-last-message=x", "--last", "--ephemeral", "-h"] {
            assert!(is_reserved_arg(None, argument), "{argument}");
        }
        for argument in ["-c", "--config=a", "-C", "--profile", "x", "-"] {
            assert!(!is_reserved_arg(None, argument), "{argument}");
        }
        assert!(is_reserved_arg(None, "resume") && is_reserved_arg(Some("--a=b"), "fork"));
        assert!(!is_reserved_arg(Some("--profile"), "review"));
    }

    #[test]
    fn an_error_that_the_turn_got_over_is_no_failure() {
        let reconnect = r#"{"type":"error","message":"reconnecting"}"#;
        let done = r#"{"type":"turn.completed"}"#;
        assert_eq!(account(&[reconnect, done]).failure, None);
        let failure = account(&[done, reconnect]).failure.unwrap();
        assert_eq!(failure.reason.as_deref(), Some("reconnecting"));
        let failed = r#"{"type":"turn.failed","error":{"message":"no key"}}"#;
        let account = account(&[reconnect, failed, reconnect]);
        assert_eq!(account.failure.unwrap().reason.as_deref(), Some("no key"));
        assert_eq!(account.verdict.unwrap().get(), failed);
    }

    #[test]
    fn what_it_begins_is_told_in_words() {
        let started = |item: &str| doing(format!("{{\"type\":\"item.started\",\"item\":{item}}}").as_bytes());
        assert_eq!(started(r#"{"type":"command_execution","command":"ls -l"}"#).as_deref(), Some("runs ls -l"));
        assert_eq!(started(r#"{"type":"todo_list"}"#).as_deref(), Some("todo list"));
        assert_eq!(started("7"), None);
        assert_eq!(doing(br#"{"type":"item.completed","item":{"type":"reasoning"}}"#), None);
    }

    #[test]
    fn a_failure_of_another_shape_is_one_all_the_same() {
        for (event, reason) in [
            (r#"{"type":"turn.failed","error":"boom"}"#, Some("boom")),
            (r#"{"type":"turn.failed","error":{"code":7}}"#, Some(r#"{"code":7}"#)),
            (r#"{"type":"turn.failed"}"#, None),
            (r#"{"type":"error","message":{"a":1}}"#, Some(r#"{"a":1}"#)),
        ] {
            assert_eq!(account(&[event]).failure.unwrap().reason.as_deref(), reason, "{event}");
        }
    }

    #[test]
    fn a_warning_item_is_no_failure_and_the_last_message_counts() {
        let account = account(&[
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

//! Claude Code: the program `claude`, tested with 2.1.330.

mod activity;
mod args;
mod cause;
mod echo;
mod events;
mod features;
mod output;
mod settings;
mod usage;

use std::borrow::Cow;
use std::ffi::OsString;

use serde_json::Value;

pub(crate) use self::args::ClaudeLaunchArgs;
use super::session_files::SessionFiles;
use super::spec::{
    Capabilities, CommandSandbox, FailedRun, Home, JsonOutput, OnNewId, Retry, SandboxMark, SchemaChannel, SkillDirs,
    SkillTexts, Spec, StderrLine, UserDir,
};
use super::support::HelpPage;
use super::{
    Arguments, Fallbacks, InteractiveInvocation, Invocation, OutputMode, PromptChannel, Role, SchemaArgument,
    SessionMode,
};
use crate::json::Members;
use crate::session::{AgentSessionId, SessionName};

const COMMAND_VARIABLE: &str = "CLAUDE_CMD";

const SCHEMA_OPTION: &str = "--json-schema";

pub(super) static SPEC: Spec = Spec {
    name: "claude",
    mapping_file: "claude-code-alias-mapping.json",
    id_key: "session_id",
    command_variable: COMMAND_VARIABLE,
    missing_hint: "install it, or pass a command with --claude-cmd (shell aliases and functions do not work)",
    launch_variables: &[],
    // some releases do not run if this is set, and Claude Code sets it in every shell that it starts
    removed_env: &["CLAUDECODE"],
    command_sandbox: CommandSandbox {
        mark: SandboxMark::Variable("SANDBOX_RUNTIME"),
        way_out: "add 'invoke-persist *' to sandbox.excludedCommands in claude's settings",
    },
    home: Home { variable: "CLAUDE_CONFIG_DIR", default_dir: ".claude" },
    // projects/-home-me-project/ID.jsonl
    session_files: SessionFiles { dir: "projects", depth: 1, id_in: |name| name.strip_suffix(".jsonl") },
    capabilities: Capabilities {
        effort: true,
        system_prompt: true,
        events_in_json_mode: false,
        accepts_new_id: true,
        answer_file: false,
        schema: SchemaChannel::Argument,
        json_output: JsonOutput::PassThrough,
        on_new_id: OnNewId::Follow,
        delete_ignores_call_options: true,
    },
    skill: SkillTexts {
        name: "claude-code-invoke-persist",
        agent: "Claude Code",
        id_option: "--session-id",
        main: include_str!("skill/SKILL.md"),
        creation: include_str!("skill/references/creation.md"),
        invocation: include_str!("skill/references/invocation.md"),
    },
    skill_dirs: SkillDirs { user: UserDir::Agent("skills"), project: ".claude/skills", duplicates: None },
    echo: echo::PROTOCOL,
    help_pages: HELP_PAGES,
    features: features::FEATURES,
    release: features::release,
    owns_option: args::owns_option,
    original_options: args::original_options,
    passed_options: args::PASSED_OPTIONS,
    is_reserved_arg: |_previous, argument| is_reserved_arg(argument),
    default_prompt,
    prompt_with_role: |_role, prompt| Cow::Borrowed(prompt),
    printed_answer: |answer| format!("{answer}\n"),
    launch: args::launch,
    arguments,
    interactive_arguments,
    parser: output::parser,
    retry: |_args, run| retry(run),
    failure_code: |_home, _session, _since| None, // the result has all codes
    diagnose: cause::diagnose,
    cause_hint: cause::hint,
    allowing_arguments: |tools| vec!["--allowedTools".to_owned(), tools.join(",")],
    config_words: |_args| Vec::new(),
    setting_kind: settings::kind,
    is_unprotected: settings::is_unprotected,
    is_for_one_turn: |option| settings::kind(option) == SCHEMA_OPTION,
    is_for_turns_only: |_option| false,
    schema_option: SCHEMA_OPTION,
    schema_hint,
    stderr_line: |line| if line.starts_with(IGNORED_EFFORT) { StderrLine::IgnoredEffort } else { StderrLine::Message },
};

/// The beginning of the warning of claude 2.1.160 and later about an effort that they ignore. No field of the
/// result has it.
const IGNORED_EFFORT: &str = "Warning: Unknown --effort value ";

const HELP_PAGES: &[HelpPage] = &[HelpPage {
    arguments: &["--help"],
    command: None,
    options: &["-p", "--output-format", "--resume", "--append-system-prompt", "--model", "--verbose"],
}];

/// Returns whether `argument` would change the session or the form of the answer, or keep claude from exiting.
fn is_reserved_arg(argument: &str) -> bool {
    const LONG: &[&str] = &[
        "--background",
        "--bg",
        "--cloud",
        "--continue",
        "--desktop",
        "--environment",
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
    // short options may follow one that takes no value: -pc is -p -c
    let joined = argument.strip_prefix('-').map(|rest| rest.trim_start_matches('p'));
    joined.and_then(|rest| rest.chars().next()).is_some_and(|c| "chrv".contains(c))
}

/// Returns whether to retry without [`Invocation::new_id`]. Releases before 2.1 accept none for a fork, older ones none at
/// all.
fn retry(run: &FailedRun<'_>) -> Retry {
    const REFUSALS: [&str; 2] = ["error: unknown option '--session-id'", "Error: --session-id cannot be used with "];
    let stderr = String::from_utf8_lossy(run.stderr);
    let is_refusal = |line: &str| REFUSALS.iter().any(|beginning| line.starts_with(beginning));
    if run.exit_status != 1 || run.lines > 0 || run.fallbacks.agent_chooses_id || !stderr.lines().any(is_refusal) {
        return Retry::No;
    }
    Retry::WithFallbacks {
        fallbacks: Fallbacks { agent_chooses_id: true, ..run.fallbacks },
        note: Some("this claude does not accept an ID for the new session; calling it without one"),
    }
}

fn default_prompt(name: &SessionName) -> String {
    format!("Initialize a new session named '{name}'. Reply only: OK")
}

fn arguments(turn: &Invocation<'_>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.push("-p");
    if let (PromptChannel::Argument(text), false) = (turn.prompt, turn.needs_double_dash()) {
        arguments.push(text);
    }
    let (history, forks) = (turn.session.history(), matches!(turn.session, SessionMode::Fork(_)));
    match turn.mode {
        OutputMode::Json => arguments.option("--resume", history).push("--output-format").push("json"),
        OutputMode::Stream { .. } | OutputMode::StreamedAnswer => {
            arguments.push("--output-format").push("stream-json").option("--resume", history)
        }
    };
    arguments.flag("--fork-session", forks);
    arguments.option("--session-id", turn.new_id.map(AgentSessionId::as_str));
    let resumes = history.is_some();
    append_role(&mut arguments, turn.role.filter(|_| !resumes || !has_own_role(turn.extra)));
    arguments.option("--model", turn.model.map(|model| model.name)).option("--effort", turn.effort);
    if let Some(SchemaArgument::Text(text)) = turn.schema {
        arguments.push(SCHEMA_OPTION).push(without_dialect(text));
    }
    if turn.mode != OutputMode::Json {
        // `claude -p` refuses stream-json without it
        arguments.push("--verbose");
        let partials = turn.mode != OutputMode::Stream { partials: false };
        arguments.flag("--include-partial-messages", partials);
    }
    arguments.all(turn.extra);
    if let (PromptChannel::Argument(text), true) = (turn.prompt, turn.needs_double_dash()) {
        arguments.push("--").push(text);
    }
    arguments.0
}

/// Passes the role on every turn, because claude before 2.1.268 forgets it after each turn. Later releases keep it, and
/// ignore another one.
fn append_role(arguments: &mut Arguments, role: Option<Role<'_>>) {
    match role {
        Some(Role::Text(text)) => arguments.push("--append-system-prompt").push(text),
        Some(Role::File(path)) => arguments.push("--append-system-prompt-file").push(path),
        None => arguments,
    };
}

/// Returns whether the caller's arguments have a role. claude does not accept both options, and uses the last of one.
fn has_own_role(extra: &[OsString]) -> bool {
    let name = |argument: &OsString| argument.to_str().and_then(|text| text.split('=').next()).map(str::to_owned);
    let is_role = |name: String| matches!(name.as_str(), "--append-system-prompt" | "--append-system-prompt-file");
    extra.iter().filter_map(name).any(is_role)
}

/// Returns a schema without `$schema`. claude knows draft-07 only, and refuses the name of any other.
fn without_dialect(schema: &str) -> String {
    let Ok(members) = serde_json::from_str::<Members<'_>>(schema) else { return schema.to_owned() };
    let members = members.0.iter().filter(|(key, _)| key != "$schema");
    let members: Vec<String> = members.map(|(key, raw)| format!("{}:{raw}", Value::from(key.as_ref()))).collect();
    format!("{{{}}}", members.join(","))
}

fn schema_hint(reason: &str) -> Option<&'static str> {
    let is_refused = reason.starts_with("Error: --json-schema ");
    is_refused.then_some("write the schema with keywords of draft-07: claude refuses newer and unknown ones")
}

fn interactive_arguments(session: &InteractiveInvocation<'_>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.push("--resume").push(session.session.as_str());
    append_role(&mut arguments, session.role.filter(|_| !has_own_role(session.extra)));
    arguments.option("--model", session.model.map(|model| model.name)).option("--effort", session.effort);
    arguments.0.extend_from_slice(session.extra);
    arguments.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BackendArgs;

    #[test]
    fn fork_names_its_original_session() {
        let (exec, id) = (BackendArgs::default(), AgentSessionId::new("i").unwrap());
        let turn =
            Invocation { session: SessionMode::Fork(&id), ..Invocation::plain(&exec, PromptChannel::Argument("x")) };
        let want = ["-p", "x", "--resume", "i", "--output-format", "json", "--fork-session"];
        assert_eq!(arguments(&turn), want);
    }

    #[test]
    fn prompt_that_begins_with_a_dash_follows_a_double_dash() {
        let exec = BackendArgs::default();
        let id = AgentSessionId::new("i").unwrap();
        let turn = Invocation {
            session: SessionMode::Resume(&id),
            ..Invocation::plain(&exec, PromptChannel::Argument("--help"))
        };
        assert_eq!(arguments(&turn), ["-p", "--resume", "i", "--output-format", "json", "--", "--help"]);
    }

    #[test]
    fn extra_arguments_directly_precede_the_prompt() {
        let exec = BackendArgs::default();
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
    fn stream_is_verbose_for_new_and_resumed_sessions() {
        let exec = BackendArgs::default();
        let turn = Invocation {
            mode: OutputMode::Stream { partials: true },
            ..Invocation::plain(&exec, PromptChannel::Argument("go"))
        };
        assert_eq!(
            arguments(&turn),
            ["-p", "go", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        );
    }

    #[test]
    fn arguments_that_change_the_session_or_the_output_are_refused() {
        for argument in ["--resume", "--resume=x", "-r", "-rx", "-c", "-pc", "--output-format=text", "--environment"] {
            assert!(is_reserved_arg(argument), "{argument}");
        }
        for argument in ["--add-dir", "-p", "-n", "-d", "--resumeable", "x", "-", "--settings={\"a\":1}"] {
            assert!(!is_reserved_arg(argument), "{argument}");
        }
    }
}

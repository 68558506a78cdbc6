//! Codex CLI: the program `codex`, tested with 0.169.0.

mod activity;
mod args;
mod cause;
mod echo;
mod events;
mod exec_options;
mod features;
mod output;
mod placement;
mod quirks;
mod rollout;
mod settings;
mod usage;
mod warnings;

use std::borrow::Cow;
use std::ffi::OsString;

pub(crate) use self::args::{CodexArgs, CodexLaunchArgs};
use super::session_files::SessionFiles;
use super::spec::{
    Capabilities, CommandSandbox, DuplicateDirs, Home, JsonOutput, OnNewId, SandboxMark, SchemaChannel, SkillDirs,
    SkillTexts, Spec, UserDir,
};
use super::support::HelpPage;
use super::{Arguments, InteractiveInvocation, Invocation, PromptChannel, SchemaArgument, SessionMode};
use crate::json::Members;
use crate::session::{SessionName, trim};

const COMMAND_VARIABLE: &str = "CODEX_CMD";

const SCHEMA_OPTION: &str = "--output-schema";

pub(super) static SPEC: Spec = Spec {
    name: "codex",
    mapping_file: "codex-cli-alias-mapping.json",
    id_key: "thread_id",
    command_variable: COMMAND_VARIABLE,
    missing_hint: "install it, or pass a command with --codex-cmd; for an alias or function add --codex-shell posix",
    launch_variables: args::LAUNCH_VARIABLES,
    removed_env: &[],
    command_sandbox: CommandSandbox {
        mark: SandboxMark::Program("codex-linux-sandbox"),
        way_out: "allow invoke-persist in a rule of codex, so that it runs outside of the sandbox",
    },
    home: Home { variable: "CODEX_HOME", default_dir: ".codex" },
    session_files: SessionFiles { dir: "sessions", depth: 3, id_in: thread_in_file_name },
    capabilities: Capabilities {
        effort: false,
        system_prompt: false,
        events_in_json_mode: true,
        accepts_new_id: false,
        answer_file: true,
        schema: SchemaChannel::File,
        json_output: JsonOutput::Report,
        on_new_id: OnNewId::Lost,
        delete_ignores_call_options: false,
    },
    skill: SkillTexts {
        name: "codex-cli-invoke-persist",
        agent: "Codex",
        id_option: "--thread-id",
        main: include_str!("skill/SKILL.md"),
        creation: include_str!("skill/references/creation.md"),
        invocation: include_str!("skill/references/invocation.md"),
    },
    skill_dirs: SkillDirs {
        user: UserDir::Home(".agents/skills"),
        project: ".agents/skills",
        duplicates: Some(DuplicateDirs {
            up_to_root: ".agents/skills",
            root: ".codex/skills",
            user: &[UserDir::Home(".agents/skills"), UserDir::Agent("skills")],
        }),
    },
    echo: echo::PROTOCOL,
    help_pages: HELP_PAGES,
    features: features::FEATURES,
    release: features::release,
    owns_option: args::owns_option,
    original_options: args::original_options,
    passed_options: args::PASSED_OPTIONS,
    is_reserved_arg,
    default_prompt,
    prompt_with_role,
    // the original for codex added a newline only if the answer did not end in one
    printed_answer: |answer| if answer.ends_with('\n') { answer.to_owned() } else { format!("{answer}\n") },
    launch: args::launch,
    arguments,
    interactive_arguments,
    parser: output::parser,
    retry: quirks::retry,
    failure_code: rollout::failure_code,
    diagnose: cause::diagnose,
    cause_hint: cause::hint,
    allowing_arguments: |_tools| ["--sandbox", "workspace-write"].map(str::to_owned).to_vec(),
    config_words: settings::words,
    setting_kind: settings::kind,
    is_unprotected: settings::is_unprotected,
    is_for_one_turn: settings::is_for_one_turn,
    is_for_turns_only: settings::is_for_turns_only,
    schema_option: SCHEMA_OPTION,
    schema_hint,
    stderr_line: quirks::stderr_line,
};

/// The options that `codex exec` and `codex exec fork` must accept. `--full-auto` has a fallback. So has every option that
/// `codex exec resume` lacks.
const USED_OPTIONS: &[&str] =
    &["--json", "-o", "--config", "--model", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check"];

const HELP_PAGES: &[HelpPage] = &[
    HelpPage { arguments: &["exec", "--help"], command: None, options: USED_OPTIONS },
    HelpPage { arguments: &["exec", "fork", "--help"], command: Some(features::FORK.option), options: USED_OPTIONS },
];

/// Returns whether `argument` would change the thread or the form of the answer, or make the thread impossible to
/// resume.
///
/// A word that follows an option may be the option's value. Other words may be commands of `codex exec`.
fn is_reserved_arg(previous: Option<&str>, argument: &str) -> bool {
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
    let is_value = previous.is_some_and(|previous| previous.starts_with('-') && !previous.contains('='));
    if COMMANDS.contains(&argument) && !is_value {
        return true;
    }
    if argument.starts_with("--") {
        return LONG.contains(&argument.split('=').next().unwrap_or(argument));
    }
    argument.strip_prefix('-').and_then(|rest| rest.chars().next()).is_some_and(|c| "ohV".contains(c))
}

/// Returns the thread ID in a name such as `rollout-2026-11-21T10-55-33-ID.jsonl`, below directories for year, month and
/// day.
fn thread_in_file_name(name: &str) -> Option<&str> {
    const TIME: &str = "2026-11-21T10-55-33-";
    name.strip_prefix("rollout-")?.strip_suffix(".jsonl")?.get(TIME.len()..)
}

fn default_prompt(name: &SessionName) -> String {
    format!("Initialize a new persistent Codex session named '{name}'. Reply exactly: OK")
}

/// Returns the prompt with the role before it, because codex cannot extend its system prompt.
fn prompt_with_role<'a>(role: Option<&str>, prompt: &'a [u8]) -> Cow<'a, [u8]> {
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

fn arguments(turn: &Invocation<'_>) -> Vec<OsString> {
    let mut arguments = Arguments::default();
    arguments.push("exec");
    let command = match turn.session {
        SessionMode::New => None,
        SessionMode::Resume(_) => Some("resume"),
        SessionMode::Fork(_) => Some("fork"),
    };
    let (before, after) = match command {
        None => (Vec::new(), turn.extra.iter().map(OsString::as_os_str).collect()),
        Some(_) => placement::split(turn.extra),
    };
    arguments.all(&before);
    let id = turn.session.history();
    let schema = match turn.schema {
        Some(SchemaArgument::File(path)) => Some(path),
        _ => None,
    };
    if turn.fallbacks.options_first {
        let (options, words) = placement::separate_words(after);
        push_options(&mut arguments, turn);
        // an option with several values would take the command as one of them, so these stand in between
        arguments.all(&options).push("--json").option("--output-last-message", turn.answer_file);
        arguments.option(SCHEMA_OPTION, schema);
        arguments.all(command.as_slice()).all(id.as_slice()).all(&words);
    } else {
        arguments.all(command.as_slice());
        push_options(&mut arguments, turn);
        arguments.all(id.as_slice()).push("--json").option("-o", turn.answer_file);
        arguments.option(SCHEMA_OPTION, schema).all(&after);
    }
    if turn.needs_double_dash() {
        arguments.push("--");
    }
    match turn.prompt {
        PromptChannel::Argument(text) => arguments.push(text),
        PromptChannel::StandardInput => arguments.push("-"),
    };
    arguments.0
}

/// Adds the options of this program's command line.
fn push_options(arguments: &mut Arguments, turn: &Invocation<'_>) {
    let exec = &turn.args.codex;
    let remembered = turn.model.filter(|model| model.remembered).map(|model| model.name);
    let explicit = turn.model.filter(|model| !model.remembered).map(|model| model.name);
    let replaced = turn.fallbacks.replaced_option;
    arguments
        .option("--model", remembered)
        .each("--config", &exec.config)
        .each("--enable", &exec.enable)
        .each("--disable", &exec.disable)
        .each("--image", &exec.image)
        .option("--model", explicit)
        .flag("--full-auto", exec.full_auto && !replaced)
        .option("--config", (exec.full_auto && replaced).then_some("sandbox_mode=\"workspace-write\""))
        .flag("--dangerously-bypass-approvals-and-sandbox", exec.dangerously_bypass_approvals_and_sandbox)
        .flag("--skip-git-repo-check", exec.skip_git_repo_check);
}

/// The API wants every part of a schema to be closed. codex passes on the body of its refusal.
fn schema_hint(reason: &str) -> Option<&'static str> {
    let body: Members<'_> = serde_json::from_str(reason).ok()?;
    let error: Members<'_> = serde_json::from_str(body.get("error")?.get()).ok()?;
    let is_refused = error.text("code").as_deref() == Some("invalid_json_schema");
    is_refused.then_some(
        "write the schema for strict mode: each object has \"additionalProperties\": false, and its \"required\" names all \
         properties; for an optional one, allow null",
    )
}

/// The interactive program has no `--full-auto` and no `--skip-git-repo-check`: it asks whether to trust a directory.
fn interactive_arguments(session: &InteractiveInvocation<'_>) -> Vec<OsString> {
    let args = &session.args.codex;
    let mut arguments = Arguments::default();
    arguments
        .push("resume")
        .each("--config", &args.config)
        .each("--enable", &args.enable)
        .each("--disable", &args.disable)
        .each("--image", &args.image)
        .option("--model", session.model.map(|model| model.name))
        .option("--sandbox", args.full_auto.then_some("workspace-write"))
        .flag("--dangerously-bypass-approvals-and-sandbox", args.dangerously_bypass_approvals_and_sandbox)
        .push(session.session.as_str());
    arguments.0.extend_from_slice(session.extra);
    arguments.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{BackendArgs, Fallbacks, Model};
    use crate::session::AgentSessionId;

    #[test]
    fn remembered_model_precedes_the_options_and_an_explicit_one_follows_them() {
        let exec =
            BackendArgs { codex: CodexArgs { config: vec!["a=1".into()], full_auto: true, ..CodexArgs::default() } };
        let id = AgentSessionId::new("t").unwrap();
        let model = |remembered| Some(Model { name: "m", remembered });
        let turn = Invocation {
            session: SessionMode::Resume(&id),
            model: model(true),
            fallbacks: Fallbacks { replaced_option: true, ..Fallbacks::default() },
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
    fn fork_names_its_original_session() {
        let (exec, id) = (BackendArgs::default(), AgentSessionId::new("t").unwrap());
        let turn =
            Invocation { session: SessionMode::Fork(&id), ..Invocation::plain(&exec, PromptChannel::Argument("x")) };
        assert_eq!(arguments(&turn), ["exec", "fork", "t", "--json", "x"]);
    }

    #[test]
    fn prompt_on_standard_input_is_a_dash() {
        let exec = BackendArgs::default();
        assert_eq!(arguments(&Invocation::plain(&exec, PromptChannel::StandardInput)), ["exec", "--json", "-"]);
        let extra = ["--add-dir".into(), "d".into()];
        let turn = Invocation { extra: &extra, ..Invocation::plain(&exec, PromptChannel::StandardInput) };
        assert_eq!(arguments(&turn), ["exec", "--json", "--add-dir", "d", "--", "-"]);
    }

    #[test]
    fn arguments_that_change_the_thread_or_the_output_are_refused() {
        for argument in ["--json", "-o", "-ofile", "--output-last-message=x", "--last", "--ephemeral", "-h"] {
            assert!(is_reserved_arg(None, argument), "{argument}");
        }
        for argument in ["-c", "--config=a", "-C", "--profile", "x", "-"] {
            assert!(!is_reserved_arg(None, argument), "{argument}");
        }
        assert!(is_reserved_arg(None, "resume") && is_reserved_arg(Some("--a=b"), "fork"));
        assert!(!is_reserved_arg(Some("--profile"), "review"));
    }
}

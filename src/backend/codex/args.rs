//! The options that only codex has.

#![allow(clippy::doc_markdown, reason = "help would show the backticks")]

use std::path::PathBuf;

use clap::Args;

use crate::backend::LaunchArgs;
use crate::backend::spec::{Launch, Setting, ShellLaunch};

/// Options for starting codex.
#[expect(clippy::struct_field_names, reason = "the options have the prefix")]
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Agent options (codex)")]
pub(crate) struct CodexLaunchArgs {
    /// Command to run instead of 'codex' [env: CODEX_CMD]
    #[arg(long, value_name = "CMD")]
    pub codex_cmd: Option<String>,
    /// Run the command in a shell (posix or powershell), so that functions and aliases work [env: CODEX_SHELL]
    #[arg(long, value_name = "KIND")]
    pub codex_shell: Option<String>,
    /// Shell to use, with its options [env: CODEX_SHELL_CMD]
    #[arg(long, value_name = "CMD")]
    pub codex_shell_cmd: Option<String>,
    /// Commands that the shell runs first [env: CODEX_SHELL_INIT]
    #[arg(long, value_name = "SCRIPT", allow_hyphen_values = true)]
    pub codex_shell_init: Option<String>,
}

/// Options that are passed to `codex exec`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Agent options (codex)")]
pub(crate) struct CodexArgs {
    /// Set a configuration value; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// Enable a feature; repeatable
    #[arg(long, value_name = "FEATURE")]
    pub enable: Vec<String>,
    /// Disable a feature; repeatable
    #[arg(long, value_name = "FEATURE")]
    pub disable: Vec<String>,
    /// Attach an image; repeatable
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// Let codex write to the workspace without asking
    #[arg(long)]
    pub full_auto: bool,
    /// Run without a sandbox and without asking
    #[arg(long)]
    pub dangerously_bypass_approvals_and_sandbox: bool,
    /// Allow running outside a Git repository
    #[arg(long)]
    pub skip_git_repo_check: bool,
}

/// The variables that set the options of the shell.
pub(super) const LAUNCH_VARIABLES: &[&str] = &["CODEX_SHELL", "CODEX_SHELL_CMD", "CODEX_SHELL_INIT"];

pub(super) fn launch(args: &LaunchArgs) -> Launch<'_> {
    fn setting<'a>(option: &'static str, variable: &'static str, value: Option<&'a String>) -> Setting<'a> {
        Setting { option, variable, value: value.map(String::as_str) }
    }
    let args = &args.codex;
    let [kind, command, init] = LAUNCH_VARIABLES else { unreachable!("the list has three elements") };
    Launch {
        command: setting("--codex-cmd", super::COMMAND_VARIABLE, args.codex_cmd.as_ref()),
        shell: Some(ShellLaunch {
            kind: setting("--codex-shell", kind, args.codex_shell.as_ref()),
            command: setting("--codex-shell-cmd", command, args.codex_shell_cmd.as_ref()),
            init: setting("--codex-shell-init", init, args.codex_shell_init.as_ref()),
        }),
    }
}

/// Returns whether only codex has `--option` on `command`.
pub(super) fn owns_option(command: &str, option: &str) -> bool {
    match option {
        "thread-id" | "fake-thread-id" | "print-thread-id" => true,
        // a claude session keeps the role of its first turn
        "role-definition-md" => command.starts_with("resume-") || command == "ask",
        option => CALL_OPTIONS.contains(&option),
    }
}

/// The options of a turn that only codex has.
const CALL_OPTIONS: &[&str] = &[
    "codex-cmd",
    "codex-shell",
    "codex-shell-cmd",
    "codex-shell-init",
    "config",
    "enable",
    "disable",
    "image",
    "full-auto",
    "dangerously-bypass-approvals-and-sandbox",
    "skip-git-repo-check",
];

/// Returns the options of the original script for codex.
pub(super) fn original_options(command: &str) -> Vec<&'static str> {
    const SESSION: &[&str] = &["session-name", "session-alias", "alias", "thread-id", "session-id"];
    const PRINT_ID: &[&str] = &["print-thread-id", "print-session-id"];
    const CALL: &[&str] = &["env-file", "model", "deadline-seconds"];
    let own: &[&[&str]] = match command {
        "create-session" => &[
            SESSION,
            &["role-definition-md", "init-prompt", "print-mapping-json", "fake-thread-id", "fake-session-id"],
            PRINT_ID,
            CALL,
            CALL_OPTIONS,
        ],
        "resolve" => &[SESSION, PRINT_ID],
        "list-sessions" => &[&["workspace-dir", "print-aliases"]],
        "delete-session" => &[SESSION, &["workspace-dir", "print-mapping-json"]],
        "delete-all-sessions" => &[&["workspace-dir"]],
        "resume-json" => &[SESSION, &["prompt", "role-definition-md", "print-result"], PRINT_ID, CALL, CALL_OPTIONS],
        "resume-stream" => &[SESSION, &["prompt", "role-definition-md"], CALL, CALL_OPTIONS],
        _ => return Vec::new(),
    };
    own.concat()
}

pub(super) const PASSED_OPTIONS: &[(&str, bool)] =
    &[("--add-dir", true), ("--profile", true), ("--sandbox", true), ("-s", true)];

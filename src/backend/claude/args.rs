//! The options that only claude has.

#![allow(clippy::doc_markdown, reason = "help would show the backticks")]

use clap::Args;

use crate::backend::LaunchArgs;
use crate::backend::spec::{Launch, Setting};

/// Options for starting claude.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Agent options (claude)")]
pub(crate) struct ClaudeLaunchArgs {
    /// Command to run instead of 'claude' [env: CLAUDE_CMD]
    #[arg(long, value_name = "CMD")]
    pub claude_cmd: Option<String>,
}

pub(super) fn launch(args: &LaunchArgs) -> Launch<'_> {
    let value = args.claude.claude_cmd.as_deref();
    Launch { command: Setting { option: "--claude-cmd", variable: super::COMMAND_VARIABLE, value }, shell: None }
}

/// Returns whether only claude has `--option`, on any command.
pub(super) fn owns_option(_command: &str, option: &str) -> bool {
    matches!(option, "claude-cmd" | "reasoning-effort" | "effort" | "verbose" | "include-partials")
}

/// Returns the options of the original script for claude.
pub(super) fn original_options(command: &str) -> Vec<&'static str> {
    const SESSION: &[&str] = &["session-name", "session-alias", "alias", "session-id"];
    const PRINT_ID: &[&str] = &["print-session-id"];
    const CALL: &[&str] = &["env-file", "model", "deadline-seconds", "claude-cmd", "reasoning-effort", "effort"];
    let own: &[&[&str]] = match command {
        "create-session" => {
            &[SESSION, &["role-definition-md", "init-prompt", "print-mapping-json", "fake-session-id"], PRINT_ID, CALL]
        }
        "resolve" => &[SESSION, PRINT_ID],
        "list-sessions" => &[&["workspace-dir", "print-aliases"]],
        "delete-session" => &[SESSION, &["workspace-dir", "print-mapping-json"], CALL],
        "delete-all-sessions" => &[&["workspace-dir"], CALL],
        "resume-json" => &[SESSION, &["prompt", "print-result"], PRINT_ID, CALL],
        "resume-stream" => &[SESSION, &["prompt", "verbose", "include-partials"], CALL],
        _ => return Vec::new(),
    };
    own.concat()
}

pub(super) const PASSED_OPTIONS: &[(&str, bool)] = &[
    ("--add-dir", true),
    ("--agents", true),
    ("--allowed-tools", true),
    ("--allowedTools", true),
    ("--dangerously-skip-permissions", false),
    ("--disallowed-tools", true),
    ("--disallowedTools", true),
    ("--fallback-model", true),
    ("--max-budget-usd", true),
    ("--max-turns", true),
    ("--mcp-config", true),
    ("--permission-mode", true),
    ("--settings", true),
    ("--system-prompt", true),
    ("--tools", true),
];

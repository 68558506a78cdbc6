//! Classifies the standard error of codex, and decides when a retry helps.

use memchr::memmem;

use super::events::{EDIT, SHELL};
use crate::backend::BackendArgs;
use crate::backend::spec::{FailedRun, Retry, StderrLine};

pub(super) fn retry(args: &BackendArgs, run: &FailedRun<'_>) -> Retry {
    if args.codex.full_auto && !run.fallback && lacks_full_auto(run) {
        return Retry::WithFallback(
            "this codex does not support --full-auto; using sandbox_mode=\"workspace-write\" instead",
        );
    }
    // without output no turn has started, so a retry does not send the prompt twice
    if run.resumes && run.exit_status > 0 && run.lines == 0 && is_active_writer(run.stderr) {
        return Retry::SessionInUse;
    }
    Retry::No
}

pub(super) fn stderr_line(line: &str) -> StderrLine {
    match line {
        _ if is_chatter(line) => StderrLine::Noise,
        _ if is_log(line) => denied_tool(line).map_or(StderrLine::Log, StderrLine::Denied),
        _ => StderrLine::Message,
    }
}

/// Returns whether this codex does not support `--full-auto`. Release 0.169 does not.
fn lacks_full_auto(run: &FailedRun<'_>) -> bool {
    run.exit_status == 2 && memmem::find(run.stderr, b"unexpected argument '--full-auto'").is_some()
}

/// How a line of standard error begins that explains nothing. Codex 0.169.0 prints the second one in every directory
/// without a trust setting. This program reports an empty answer itself.
const CHATTER: &[&str] = &[
    "Reading additional input from stdin...",
    "Reading prompt from stdin...",
    "warning: Untrusted project-local configuration is disabled.",
    "Warning: no last agent message; wrote empty content to ",
];

/// The part of codex's log that reports why it did not run a tool. Most of these calls have no event.
const ROUTER: &str = " codex_core::tools::router: error=";

/// How the log begins after [`ROUTER`] for a call that was not allowed, and the tool. The log also has calls with other
/// faults, such as bad arguments, and calls whose event has the status `declined`.
const DENIALS: &[(&str, &str)] = &[
    ("approval policy is ", SHELL),
    ("patch rejected: ", EDIT),
    // in backquotes follows the command that a rule forbids
    (r#"exec_command failed: CreateProcess { message: "Rejected(\"`"#, SHELL),
];

fn is_chatter(line: &str) -> bool {
    CHATTER.iter().any(|beginning| line.starts_with(beginning))
}

/// Returns the tool in a line of the log about a call that was not allowed.
fn denied_tool(line: &str) -> Option<&'static str> {
    let (_, reason) = line.split_once(ROUTER)?;
    DENIALS.iter().find(|(beginning, _)| reason.starts_with(beginning)).map(|(_, tool)| *tool)
}

/// Returns whether a line of standard error is from codex's log. A plain message with the same content usually follows.
fn is_log(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit()) && line.contains("Z ") && line.contains(" codex_")
}

/// Returns whether codex reports that another process has the thread open.
fn is_active_writer(stderr: &[u8]) -> bool {
    memmem::find(stderr, b"already has an active writer").is_some()
}

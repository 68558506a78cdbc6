//! Classifies the standard error of codex, and decides when a retry helps.

use memchr::memmem;

use super::events::{EDIT, SHELL};
use crate::backend::spec::{FailedRun, Retry, StderrLine};
use crate::backend::{BackendArgs, Fallbacks};

pub(super) fn retry(args: &BackendArgs, run: &FailedRun<'_>) -> Retry {
    // without output no turn has started, so a second call does not send the prompt twice
    let is_silent = run.lines == 0;
    let stderr = String::from_utf8_lossy(run.stderr);
    match refused_argument(&stderr).filter(|_| run.exit_status == 2) {
        Some("--full-auto") if args.codex.full_auto && !run.fallbacks.replaced_option => Retry::WithFallbacks {
            fallbacks: Fallbacks { replaced_option: true, ..run.fallbacks },
            note: Some("this codex refuses --full-auto; using sandbox_mode=\"workspace-write\" instead"),
        },
        // before 0.105.0, the command `resume` did not have all options of `exec`
        Some(argument) if run.resumes && is_silent && is_option(argument) && !run.fallbacks.options_first => {
            Retry::WithFallbacks { fallbacks: Fallbacks { options_first: true, ..run.fallbacks }, note: None }
        }
        _ if run.resumes && is_silent && run.exit_status > 0 && is_active_writer(run.stderr) => Retry::SessionInUse,
        _ => Retry::No,
    }
}

/// Returns the argument that codex does not accept.
pub(super) fn refused_argument(stderr: &str) -> Option<&str> {
    const BEGINNING: &str = "error: unexpected argument '";
    let at =
        stderr.match_indices(BEGINNING).find(|(at, _)| stderr[..*at].is_empty() || stderr[..*at].ends_with('\n'))?.0;
    stderr[at + BEGINNING.len()..].split_once("' found").map(|(argument, _)| argument)
}

/// Returns whether `argument` has the form of an option. It may be a prompt.
pub(super) fn is_option(argument: &str) -> bool {
    argument.starts_with('-') && argument.len() > 1 && !argument.contains(char::is_whitespace)
}

pub(super) fn stderr_line(line: &str) -> StderrLine {
    match line {
        _ if is_chatter(line) => StderrLine::Noise,
        _ if is_log(line) => denied_tool(line).map_or(StderrLine::Log, StderrLine::Denied),
        _ => StderrLine::Message,
    }
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
const DENIALS: &[(&str, &str)] = &[("approval policy is ", SHELL), ("patch rejected: ", EDIT)];

/// How the log begins after [`ROUTER`] for a command that failed. Before 0.169.0, the command follows.
const COMMAND_FAILED: &str = "exec_command failed";

/// What is before the cause of that failure. In the cause itself, quotation marks are escaped.
const CAUSE: &str = r#": CreateProcess { message: ""#;

/// How the cause begins if a rule forbids the command.
const REJECTED: &str = r#"Rejected(\"`"#;

fn is_chatter(line: &str) -> bool {
    CHATTER.iter().any(|beginning| line.starts_with(beginning))
}

/// Returns the tool in a line of the log about a call that was not allowed.
fn denied_tool(line: &str) -> Option<&'static str> {
    let (_, reason) = line.split_once(ROUTER)?;
    let cause = reason.strip_prefix(COMMAND_FAILED).and_then(|failure| Some(failure.rsplit_once(CAUSE)?.1));
    if cause.is_some_and(|cause| cause.starts_with(REJECTED)) {
        return Some(SHELL);
    }
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

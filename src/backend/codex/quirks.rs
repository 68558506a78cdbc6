//! Classifies the standard error of codex, and decides when a retry helps.

use memchr::memmem;

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
        _ if is_log(line) => StderrLine::Log,
        _ => StderrLine::Message,
    }
}

/// Returns whether this codex does not support `--full-auto`. Release 0.169 does not.
fn lacks_full_auto(run: &FailedRun<'_>) -> bool {
    run.exit_status == 2 && memmem::find(run.stderr, b"unexpected argument '--full-auto'").is_some()
}

/// Returns whether a line of standard error explains nothing.
fn is_chatter(line: &str) -> bool {
    line == "Reading additional input from stdin..." || line == "Reading prompt from stdin..."
}

/// Returns whether a line of standard error is from codex's log. A plain message with the same content usually follows.
fn is_log(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit()) && line.contains("Z ") && line.contains(" codex_")
}

/// Returns whether codex reports that another process has the thread open.
fn is_active_writer(stderr: &[u8]) -> bool {
    memmem::find(stderr, b"already has an active writer").is_some()
}

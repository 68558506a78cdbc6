//! The standard error of codex, and when another try helps.

use memchr::memmem;

use crate::backend::BackendArgs;
use crate::backend::spec::{FailedRun, Retry, StderrLine};

pub(super) fn retry(args: &BackendArgs, run: &FailedRun<'_>) -> Retry {
    if args.codex.full_auto && !run.fallback && does_not_know_full_auto(run) {
        return Retry::WithFallback(
            "this codex does not know --full-auto; calling it with sandbox_mode=\"workspace-write\"",
        );
    }
    // without a line no turn began, so another try sends the prompt once
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

/// Returns whether this codex does not know `--full-auto`, as 0.169 does not.
fn does_not_know_full_auto(run: &FailedRun<'_>) -> bool {
    run.exit_status == 2 && memmem::find(run.stderr, b"unexpected argument '--full-auto'").is_some()
}

/// Returns whether a line of standard error explains nothing.
fn is_chatter(line: &str) -> bool {
    line == "Reading additional input from stdin..." || line == "Reading prompt from stdin..."
}

/// Returns whether a line of standard error is one of codex's log, which mostly repeats what follows in plain words.
fn is_log(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit()) && line.contains("Z ") && line.contains(" codex_")
}

/// Returns whether codex reports that another process has the thread open.
fn is_active_writer(stderr: &[u8]) -> bool {
    memmem::find(stderr, b"already has an active writer").is_some()
}

//! `--summary-file` has the facts about a turn after its end, with the same keys for all agents.

use std::path::Path;

use serde_json::value::RawValue;

use crate::cli;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::records::recorder::TurnFacts;
use crate::ui::json::JsonObject;
use crate::ui::output_file::ReplacedFile;

const OPTION: &str = "--summary-file";

/// Runs `call`, which runs a turn, and records its end. Writes the summary if the options ask for it, also of a turn
/// that failed.
///
/// # Errors
///
/// A usage error if the file cannot be written, before `call` runs. Otherwise the errors of `call`.
pub(crate) fn with_summary(
    context: &Context,
    options: &cli::CallArgs,
    call: impl FnOnce() -> Result<i32>,
) -> Result<i32> {
    let file = options.summary_file.as_deref().map(open).transpose()?;
    let outcome = call();
    let facts = context.turn.set_outcome(outcome.as_ref().copied());
    let Some(file) = file else { return outcome };
    match (file.write(&(summary(&facts).to_line() + "\n")), outcome) {
        (Ok(()), outcome) => outcome,
        (Err(error), Ok(_)) => Err(error.with_turn_started().with_prompt_in_history(Some(true))),
        (Err(error), Err(failed)) => Err(failed.caused_by(error.to_single_line())),
    }
}

fn open(path: &Path) -> Result<ReplacedFile> {
    if path == Path::new("-") {
        return Err(Error::usage(format!("{OPTION} cannot be standard output"))
            .with_hint(format!("name a file, such as {OPTION} summary.json")));
    }
    ReplacedFile::open(OPTION, path)
}

fn summary(facts: &TurnFacts) -> JsonObject {
    let record = &facts.record;
    let object = JsonObject::new()
        .with("backend", record.backend.as_deref())
        .with("alias", record.alias.as_deref())
        .with("session_id", record.session_id.as_deref())
        .with("source", facts.source.as_deref())
        .with("model", record.model.as_deref())
        .with("reasoning_effort", record.reasoning_effort.as_deref())
        .with("settings", record.settings.clone().unwrap_or_default())
        .with("started_at", record.started_at.as_deref())
        .with("duration_seconds", record.duration_seconds)
        .with("exit_code", record.exit_code)
        .with("kind", record.kind.as_deref())
        .with("cause", record.cause.as_deref())
        .with("retryable", record.retryable)
        .with("retry_at", record.retry_at.as_deref())
        .with("answer", facts.answer.as_deref());
    let object = match &facts.structured_answer {
        Some(answer) => object.with_raw("structured_answer", Some::<&RawValue>(answer)),
        None => object.with("structured_answer", None::<&str>),
    };
    object
        .with("denied", record.denied.clone())
        .with("input_tokens", record.input_tokens)
        .with("cached_input_tokens", record.cached_input_tokens)
        .with("output_tokens", record.output_tokens)
        .with("cost_usd", record.cost_usd)
        .with("session_input_tokens", record.session_input_tokens)
        .with("session_output_tokens", record.session_output_tokens)
        .with("session_cost_usd", record.session_cost_usd)
        .with("agent_turns", record.agent_turns)
        .with("tries", record.tries)
}

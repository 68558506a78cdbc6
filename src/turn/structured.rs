//! `--schema`: an answer that a program can read.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::value::RawValue;

use super::options::TurnOptions;
use super::request::TurnRequest;
use crate::backend::{Backend, SchemaChannel, TurnReport};
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::json;
use crate::schema::Schema;
use crate::ui::shell;

/// The schema of an answer.
pub(crate) struct AnswerSchema {
    schema: Schema,
    /// The caller's text without its line breaks, because the order of its keys matters to a model.
    pub(super) text: String,
    path: PathBuf,
}

impl AnswerSchema {
    /// Reads and checks the file of `--schema`.
    ///
    /// # Errors
    ///
    /// A usage error with the place in the file.
    pub(super) fn read(path: Option<&Path>, deadline: Option<Instant>) -> Result<Option<Self>> {
        const OPTION: &str = "--schema";
        let Some(path) = path else { return Ok(None) };
        let text = input::text_file(path, OPTION, deadline)?;
        let cannot_use = || Error::usage(format!("cannot use {OPTION} {}", path.display()));
        let schema = Schema::parse(&text).map_err(|fault| cannot_use().caused_by(fault))?;
        if !schema.allows_an_object() {
            return Err(cannot_use()
                .caused_by("only an object can be delivered, and no object matches the schema")
                .with_hint(
                    "wrap it: {\"type\": \"object\", \"properties\": {\"items\": …}, \"required\": [\"items\"], …}",
                ));
        }
        let text = json::compact(&text);
        Ok(Some(Self { schema, text, path: path.to_owned() }))
    }

    /// Returns an error if the answer of a complete turn does not match.
    pub(super) fn error(&self, backend: Backend, report: &TurnReport) -> Option<Error> {
        let reasons: Vec<String> = match &report.structured {
            _ if report.unmet_schema => {
                report.failure.as_ref().and_then(|failure| failure.reason.clone()).into_iter().collect()
            }
            Some(structured) => self.schema.faults(structured.get()).iter().map(ToString::to_string).collect(),
            None => {
                let answer = report.answer.as_deref().unwrap_or_default();
                let not_json = serde_json::from_str::<&RawValue>(answer).err();
                let (what, why) = match (backend.capabilities().schema, not_json) {
                    (SchemaChannel::File, Some(error)) => ("an answer that is not JSON", Some(error.to_string())),
                    _ => ("no structured answer", None),
                };
                return Some(invalid(format!("{backend} gave {what}"), why, report));
            }
        };
        let is_invalid = report.unmet_schema || !reasons.is_empty();
        is_invalid.then(|| invalid(format!("{backend}'s answer does not match the schema"), reasons, report))
    }

    /// Returns the hint for an answer that does not match.
    pub(super) fn hint(&self, options: &TurnOptions, request: &TurnRequest<'_>) -> String {
        let session = match (request.name, request.session.known()) {
            (Some(name), _) => vec!["--session-name".to_owned(), name.to_string()],
            (None, id) => vec!["--session-id".to_owned(), id.map_or_else(|| "ID".to_owned(), ToString::to_string)],
        };
        let file = ["--schema".to_owned(), self.path.display().to_string()];
        let prompt = ["--prompt".to_owned(), "Correct your answer.".to_owned()];
        let words = session.iter().chain(&options.location_args).chain(&file).chain(&prompt);
        let words: Vec<String> = words.map(|word| shell::quote(word)).collect();
        let backend = options.agent.backend;
        format!("ask for a correction: invoke-persist --backend {backend} resume-json {}", words.join(" "))
    }
}

fn invalid(message: String, causes: impl IntoIterator<Item = String>, report: &TurnReport) -> Error {
    let error = Error::new(ErrorKind::AnswerInvalid, message).with_verdict(report.verdict.clone());
    causes.into_iter().fold(error, Error::caused_by)
}

/// Returns the JSON of an answer on one line, if the answer is JSON.
pub(super) fn parse_answer(answer: &str) -> Option<Box<RawValue>> {
    let text = json::whole_characters(answer);
    serde_json::from_str::<&RawValue>(&text).ok().and_then(|raw| RawValue::from_string(json::compact(raw.get())).ok())
}

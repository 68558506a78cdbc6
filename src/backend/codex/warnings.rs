//! The warnings in codex's events: items of the type `error`, which do not end a turn.

use crate::backend::output::AgentWarning;

/// How a warning begins that is not about the turn. Callers with such a model, setting or network get it in every
/// turn.
const USUAL: &[&str] = &[
    "Model metadata for `",
    "Under-development features enabled: ",
    "Falling back from WebSockets to HTTPS transport.",
];

/// What is around the models in the warning about a thread whose last turn had another model.
const OTHER_MODEL: [&str; 3] = ["This session was recorded with model `", "` but is resuming with `", "`"];

/// Returns the warning with this text, or `None` if it is not about the turn.
pub(super) fn warning(text: &str) -> Option<AgentWarning> {
    if USUAL.iter().any(|beginning| text.starts_with(beginning)) {
        return None;
    }
    Some(AgentWarning { new_model: new_model(text).map(str::to_owned), ..AgentWarning::new(text)? })
}

/// Returns the model that the thread continues with.
fn new_model(text: &str) -> Option<&str> {
    let [beginning, middle, end] = OTHER_MODEL;
    let (_, rest) = text.strip_prefix(beginning)?.split_once(middle)?;
    rest.split_once(end).map(|(model, _)| model)
}

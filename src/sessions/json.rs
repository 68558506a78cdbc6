//! The JSON for stored sessions, which `list-sessions` and `delete-session` print.

use crate::backend::Backend;
use crate::store::format::{Entry, Mapping};
use crate::ui::json::JsonObject;

/// Returns the JSON for all usable entries, in the order of the file.
pub(crate) fn entries(backend: Backend, mapping: &Mapping) -> JsonObject {
    mapping
        .entries()
        .fold(JsonObject::new(), |object, (name, entry)| object.with_object(name, describe(backend, &entry)))
}

fn describe(backend: Backend, entry: &Entry) -> JsonObject {
    JsonObject::new()
        .with(backend.id_key(), entry.id.as_str())
        .with_some("created_at", entry.created_at.as_deref())
        .with_some("last_model", entry.model.as_deref())
        .with_some("last_reasoning_effort", entry.effort.as_deref())
        .with_stored_settings(entry.settings.as_deref())
}

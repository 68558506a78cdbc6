//! From a name or an ID to one stored session.

use super::selector::SessionSelector;
use super::suggest::not_found;
use crate::error::{Error, Result};
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::ui::json::JsonObject;

/// A session that was found, or just created.
pub(crate) struct StoredSession {
    pub(crate) id: AgentSessionId,
    /// Its name and entry, or `None` if it is not in the mapping.
    pub(crate) saved: Option<(SessionName, Entry)>,
    /// The mapping at the time of the lookup.
    pub(super) mapping: Option<Mapping>,
    source: String,
}

impl StoredSession {
    pub(crate) fn model(&self) -> Option<&str> {
        self.saved.as_ref()?.1.model.as_deref()
    }

    pub(crate) fn effort(&self) -> Option<&str> {
        self.saved.as_ref()?.1.effort.as_deref()
    }

    /// Returns the JSON of its stored settings.
    pub(crate) fn settings(&self) -> Option<&str> {
        self.saved.as_ref()?.1.settings.as_deref()
    }

    /// Returns how the session was found.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Returns the role that the session began with, if its name keeps one.
    ///
    /// # Errors
    ///
    /// Those of reading the mapping, for the file with the role.
    pub(crate) fn role(&self, store: &Store) -> Result<Option<String>> {
        Ok(if self.saved.is_some() { store.role(&self.id)? } else { None })
    }

    /// Returns whether the agent may not have the session, because its first turn was stopped.
    pub(crate) fn may_be_missing(&self) -> bool {
        self.saved.as_ref().is_some_and(|(_, entry)| entry.first_turn_stopped)
    }

    /// Returns all names that the session had at the time of the lookup.
    pub(crate) fn names(&self) -> Vec<String> {
        self.mapping.as_ref().map(|mapping| mapping.names_of(&self.id)).unwrap_or_default()
    }

    /// Returns the session as messages name it: by its names, first the one it was found by, and its ID.
    pub(crate) fn label(&self) -> String {
        /// Further names are counted only.
        const MOST: usize = 3;
        let Some((name, _)) = &self.saved else { return format!("the session {}", self.id) };
        let others: Vec<String> = self.names().into_iter().filter(|other| other != name.as_str()).collect();
        let mut shown: Vec<String> = others.iter().take(MOST).map(|other| format!("'{other}'")).collect();
        if others.len() > MOST {
            shown.push(format!("{} more", others.len() - MOST));
        }
        let also = if shown.is_empty() { String::new() } else { format!(", also named {}", shown.join(", ")) };
        format!("the session '{name}'{also} ({})", self.id)
    }

    /// Returns a session that was just started and saved.
    pub(crate) fn created(name: SessionName, entry: Entry, source: &str) -> Self {
        Self { id: entry.id.clone(), saved: Some((name, entry)), mapping: None, source: source.to_owned() }
    }

    /// Returns the same session with the ID that the agent reported for the turn, if there is one.
    pub(crate) fn answered_as(self, id: Option<AgentSessionId>) -> Self {
        Self { id: id.unwrap_or(self.id), ..self }
    }

    /// Returns the JSON that `resolve` prints first. [`crate::backend::JsonOutput::Report`] begins with it too.
    pub(crate) fn describe(&self, store: &Store, model: Option<&str>, effort: Option<&str>) -> JsonObject {
        let name = self.saved.as_ref().map(|(name, _)| name.as_str());
        let file = name.is_some().then(|| store.path().display().to_string());
        let object = JsonObject::new()
            .with(store.backend.id_key(), self.id.as_str())
            .with("alias", name)
            .with("mapping_file", file)
            .with("last_model", model);
        let object =
            if store.backend.capabilities().effort { object.with("last_reasoning_effort", effort) } else { object };
        object.with("source", self.source.as_str())
    }

    /// Returns the JSON that `resolve` and `set-session` print: also what the name keeps.
    pub(crate) fn describe_all(&self, store: &Store) -> JsonObject {
        let role = self.saved.as_ref().and_then(|_| store.role_file(&self.id)).map(|path| path.display().to_string());
        let described = self.describe(store, self.model(), self.effort());
        described.with_stored_settings(self.settings()).with_some("role_file", role.as_deref())
    }
}

/// Why a name was not found: the ID in its entry is unusable, or there is no entry (`None`).
type Unusable = Option<crate::session::UnusableId>;

/// Finds the session that `selector` refers to. An ID takes precedence over a name and needs no mapping.
///
/// # Errors
///
/// `SessionNotFound` for a name that is not in the mapping. For a name, also the errors of reading the mapping.
pub(crate) fn find_session(store: &Store, selector: &SessionSelector) -> Result<StoredSession> {
    let Some(id) = &selector.id else {
        let name = selector.name.as_ref().expect("a selector has a name or an ID");
        return find_by_name(store, name)?.map_err(|unusable| not_found(store, name, unusable));
    };
    let mapping = match store.read() {
        Ok(mapping) => mapping,
        Err(error) => {
            let error = Error::from(error).to_single_line();
            store.ui.warn(&format!("{error}; the ID is used without a remembered model"));
            None
        }
    };
    let saved = mapping.as_ref().and_then(|mapping| mapping.find(id));
    let key = store.backend.id_key();
    let source = if saved.is_some() { format!("mapping_file_by_{key}") } else { key.to_owned() };
    Ok(StoredSession { id: id.clone(), saved, mapping, source })
}

/// Finds `name`. The inner error means that it is not in the mapping, or that its entry is unusable.
pub(crate) fn find_by_name(store: &Store, name: &SessionName) -> Result<std::result::Result<StoredSession, Unusable>> {
    let Some(mapping) = store.read()? else {
        return Ok(Err(None));
    };
    let Some(entry) = mapping.get(name) else {
        return Ok(Err(mapping.why_unusable(name)));
    };
    let (id, saved, source) = (entry.id.clone(), Some((name.clone(), entry)), "mapping_file".to_owned());
    Ok(Ok(StoredSession { id, saved, mapping: Some(mapping), source }))
}

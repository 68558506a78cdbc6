//! Saves what a turn changes in the mapping: the ID, the model, the effort and the settings of its session.

use super::options::TurnOptions;
use super::recovery_hint::adopt_hint;
use crate::error::Error;
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::lookup::StoredSession;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::ui::Ui;

/// The changes of the mapping after a turn in a session.
pub(super) struct SessionUpdate<'a> {
    pub(super) options: &'a TurnOptions,
    /// The session before the turn.
    pub(super) session: &'a StoredSession,
    pub(super) new_id: Option<AgentSessionId>,
    /// The model and effort of the turn.
    pub(super) model: Option<String>,
    pub(super) effort: Option<String>,
    /// Whether the turn was stopped, and started a session that the agent did not have.
    pub(super) stopped: bool,
    /// Whether standard output contains the ID of the session that answered.
    pub(super) prints_id: bool,
}

impl SessionUpdate<'_> {
    /// Saves the changes of a successful turn. An error here does not fail the call, because the turn is complete.
    pub(super) fn save(&self, store: &Store, ui: &Ui) {
        if self.session.saved.is_none() {
            if let Some(id) = &self.new_id {
                self.note(ui, false, &format!("session {} continues as {id}", self.session.id));
            }
            return;
        }
        let updated = store.update(true, |mapping, recreated| {
            if let Some((name, entry)) = self.entry().filter(|_| recreated) {
                mapping.insert(name, &entry);
                mapping.set_workspace(&store.workspace);
                return ((Vec::new(), true), true);
            }
            let (notes, changed) = self.apply(mapping, &store.workspace);
            ((notes, changed), changed)
        });
        match updated {
            Ok(updated) => {
                let (notes, saved) = updated.value;
                for note in &notes {
                    self.note(ui, saved, note);
                }
            }
            Err(error) => {
                let id = self.new_id.as_ref().unwrap_or(&self.session.id);
                let error = Error::from(error).to_single_line();
                let warning = format!("the turn in session {id} is complete, but the mapping was not updated: {error}");
                if self.new_id.is_some() { ui.warn_always(&warning) } else { ui.warn(&warning) }
            }
        }
    }

    /// Prints a note about the session that answered. `saved` means that the mapping contains its ID. `--quiet` does not
    /// suppress the note if the new ID is neither saved nor printed.
    fn note(&self, ui: &Ui, saved: bool, note: &str) {
        if self.new_id.is_some() && !saved && !self.prints_id {
            ui.warn_always(note);
        } else {
            ui.note(note);
        }
    }

    /// Changes `mapping`. Returns notes for the user, and whether anything changed. During the turn, the entry may have
    /// been renamed, given to another session, or deleted.
    fn apply(&self, mapping: &mut Mapping, workspace: &str) -> (Vec<String>, bool) {
        let Some((name, original)) = &self.session.saved else {
            return (Vec::new(), false);
        };
        let (old, new) = (&self.session.id, self.new_id.as_ref().unwrap_or(&self.session.id));
        let mut notes = Vec::new();
        let now = mapping.get(name).map(|entry| entry.id);
        let known = self.session.names();
        let renamed = mapping.names_of(old).into_iter().find(|name| !known.contains(name));
        let target = match now {
            Some(id) if id == *old => Some(name.as_str().to_owned()),
            Some(id) => {
                notes.push(format!("'{name}' was given to {id} during the turn and keeps it; this turn was in {new}"));
                renamed
            }
            None => renamed.or_else(|| {
                let hint = adopt_hint(self.options, Some(name), new);
                notes.push(format!("'{name}' was deleted during the turn and stays deleted; {hint}"));
                None
            }),
        };
        let followers = if new == old { Vec::new() } else { mapping.names_of(old) };
        let changed = target.is_some() || !followers.is_empty();
        if new != old {
            notes.push(format!("session {old} continues as {new}"));
            for name in followers {
                if let Some(entry) = mapping.get(&SessionName::verbatim(&name)) {
                    mapping.amend(&name, &Entry { id: new.clone(), first_turn_stopped: self.stopped, ..entry });
                }
            }
        }
        if let Some(name) = target {
            let entry = mapping.get(&SessionName::verbatim(&name)).unwrap_or_else(|| original.clone());
            let replaces = self.options.remembered.as_ref().is_some_and(|remembered| remembered.replaces);
            // what was only used again may have been changed during the turn
            let newest = |used: &Option<String>, given: &Option<String>, kept: &Option<String>| {
                used.clone().filter(|_| given.is_some()).or_else(|| kept.clone().filter(|_| !replaces))
            };
            let model = newest(&self.model, &self.options.model, &entry.model);
            let effort = newest(&self.effort, &self.options.effort, &entry.effort);
            let settings = self.options.settings_after(entry.settings.as_deref());
            let id = new.clone();
            mapping.amend(&name, &Entry { id, model, effort, first_turn_stopped: self.stopped, settings, ..entry });
        }
        if changed {
            mapping.set_workspace_if_empty(workspace);
        }
        (notes, changed)
    }

    /// Returns the entry for a mapping file that was lost during the turn.
    fn entry(&self) -> Option<(&SessionName, Entry)> {
        let (name, original) = self.session.saved.as_ref()?;
        let id = self.new_id.as_ref().unwrap_or(&self.session.id).clone();
        let (model, effort) = (self.model.clone(), self.effort.clone());
        let settings = self.options.settings_after(original.settings.as_deref());
        Some((name, Entry { id, model, effort, first_turn_stopped: self.stopped, settings, ..original.clone() }))
    }
}

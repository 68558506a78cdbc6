//! Sessions that the records of turns still have, although their names are gone.

use std::path::Path;

use jiff::Timestamp;

use crate::backend::Backend;
use crate::error::ErrorKind;
use crate::paths;
use crate::records::dir::RecordDir;
use crate::session::{AgentSessionId, SessionName};
use crate::store::location::MappingLocation;
use crate::time::ago;
use crate::ui::shell;

/// Returns a hint for a name that is missing: how to wait for the turn that may save it, or else [`last_used`].
pub(crate) fn missing_name(
    backends: &[Backend],
    location: &MappingLocation,
    workspace: &Path,
    name: &SessionName,
) -> Option<String> {
    first_turn(backends, workspace, name).or_else(|| last_used(backends, location, workspace, name))
}

/// Returns a hint with the command that waits for a turn of another process, if that turn is for `name`.
///
/// The name of a new session is saved at the end of its first turn. Nothing else may use the session until then.
fn first_turn(backends: &[Backend], workspace: &Path, name: &SessionName) -> Option<String> {
    let dir = RecordDir::of_workspace(workspace).ok()??;
    if !dir.check().ok()? {
        return None;
    }
    let (backend, id, record) = dir.ids().into_iter().find_map(|id| {
        let record = dir.read(&id)?;
        let backend = Backend::from_name(record.backend.as_deref()?).filter(|backend| backends.contains(backend))?;
        let is_other = !record.state.is_final() && record.pid != Some(std::process::id());
        (is_other && record.alias.as_deref() == Some(name.as_str())).then_some((backend, id, record))
    })?;
    let words = [format!("--turn-id={id}")].into_iter().chain(workspace_arg(workspace));
    let words: Vec<String> = words.map(|word| shell::quote(&word)).collect();
    let (state, words) = (record.state.name(), words.join(" "));
    Some(format!(
        "a turn of a {backend} session of that name is {state}; wait for it with: invoke-persist wait-turn {words}"
    ))
}

/// Returns a hint with the command that saves the session of one of `backends` that had `name` last.
///
/// `location` is where the name was looked for. Only reads records. So a name can be restored whose mapping was removed,
/// for example by a reboot.
pub(crate) fn last_used(
    backends: &[Backend],
    location: &MappingLocation,
    workspace: &Path,
    name: &SessionName,
) -> Option<String> {
    let dir = RecordDir::of_workspace(workspace).ok()??;
    if !dir.check().ok()? {
        return None;
    }
    let records = dir.ids().into_iter().filter_map(|id| dir.read(&id));
    // the ID in such a record is that of a session which answered by mistake
    let mut records = records.filter(|record| record.kind.as_deref() != Some(ErrorKind::SessionLost.name()));
    let (backend, id, record) = records.find_map(|record| {
        let backend = Backend::from_name(record.backend.as_deref()?).filter(|backend| backends.contains(backend))?;
        let id = AgentSessionId::new(record.session_id.as_deref()?).ok()?;
        (record.alias.as_deref() == Some(name.as_str())).then_some((backend, id, record))
    })?;
    let last = record.ended_at.as_deref().and_then(|ended| ended.parse().ok()).or_else(|| record.started())?;
    let words = [format!("--session-name={name}"), format!("--adopt={id}")];
    let words: Vec<String> =
        words.into_iter().chain(location_args(location, workspace)).map(|word| shell::quote(&word)).collect();
    let used = ago(last, Timestamp::now());
    let words = words.join(" ");
    Some(format!(
        "a {backend} session of that name was last used {used}; to save it again, run: invoke-persist --backend \
         {backend} create-session {words}"
    ))
}

/// Returns the options that select the mapping at `location` in the current directory.
fn location_args(location: &MappingLocation, workspace: &Path) -> impl Iterator<Item = String> {
    let file = match location {
        MappingLocation::Explicit { resolved, .. } => Some(format!("--mapping-file={}", resolved.display())),
        MappingLocation::Default { .. } => None,
    };
    file.into_iter().chain(workspace_arg(workspace))
}

/// Returns the option that selects `workspace`, unless it is the current directory.
fn workspace_arg(workspace: &Path) -> Option<String> {
    let is_current = paths::current_dir().ok().and_then(|dir| paths::resolve(&dir).ok()).as_deref() == Some(workspace);
    (!is_current).then(|| format!("--workspace-dir={}", workspace.display()))
}

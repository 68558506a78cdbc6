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
    let is_current = paths::current_dir().ok().and_then(|dir| paths::resolve(&dir).ok()).as_deref() == Some(workspace);
    let dir = (!is_current).then(|| format!("--workspace-dir={}", workspace.display()));
    file.into_iter().chain(dir)
}

//! The directories of records: one for each workspace, below the user's state directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::live;
use super::record::{Record, State};
use crate::env;
use crate::error::Result;
use crate::lock::make_private;
use crate::paths::absolute;
use crate::store::location;

/// The directory for all workspaces, in the state directory.
const DIR: &str = "turns";

/// The number of ended turns whose records are kept for each workspace.
const KEPT: usize = 200;

/// How long the outputs of a detached turn are kept at least if nobody has fetched them.
const KEPT_UNFETCHED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The records of one workspace.
#[derive(Clone, Debug)]
pub(crate) struct RecordDir {
    /// `<state>/turns`.
    parent: PathBuf,
    path: PathBuf,
}

impl RecordDir {
    /// Returns the directory for `workspace`, which is a path from [`crate::paths::resolve`]. `None` if the user has no
    /// home directory.
    pub(crate) fn of_workspace(workspace: &Path) -> Result<Option<Self>> {
        let Some(parent) = parent()? else { return Ok(None) };
        let path = parent.join(location::key(workspace)?);
        Ok(Some(Self { parent, path }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory if it is missing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] if other users could change it. Otherwise the errors of creating it.
    pub(super) fn create(&self) -> io::Result<()> {
        make_private(&self.parent, true)?;
        make_private(&self.path, false)
    }

    /// Returns the path of a file of the turn `id`.
    pub(crate) fn file(&self, id: &str, extension: &str) -> PathBuf {
        self.path.join(format!("{id}.{extension}"))
    }

    /// Returns the IDs of all turns, newest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".record")?.to_owned())).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids
    }

    /// Returns the record of the turn `id`. `None` if there is none, or if it cannot be read.
    ///
    /// A turn that is not over and whose process is gone is [`State::Lost`].
    pub(crate) fn read(&self, id: &str) -> Option<Record> {
        let record = self.read_stored(id)?;
        if record.state.is_final() || live::is_alive(self, id) {
            return Some(record);
        }
        // it may have ended since it was read
        let record = self.read_stored(id)?;
        let state = if record.state.is_final() { record.state } else { State::Lost };
        let activity = record.activity.filter(|_| !state.is_final());
        Some(Record { state, activity, ..record })
    }

    fn read_stored(&self, id: &str) -> Option<Record> {
        let text = fs::read(self.file(id, "record")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Removes the records of old turns. A turn that is not over is kept.
    pub(super) fn prune(&self) {
        let now = SystemTime::now();
        for id in self.ids().into_iter().skip(KEPT) {
            let is_wanted = self.read(&id).is_some_and(|record| {
                let unfetched = record.detached && !self.file(&id, "fetched").exists();
                !record.state.is_final() || unfetched && self.age(&id, now) < KEPT_UNFETCHED
            });
            if !is_wanted {
                self.remove(&id);
            }
        }
    }

    /// Removes all files of the turn `id`, the record last, so that an interrupted removal is repeated.
    pub(super) fn remove(&self, id: &str) {
        for extension in ["tmp", "out", "err", "fetched", "stop", "lock", "record"] {
            let _ = fs::remove_file(self.file(id, extension));
        }
    }

    /// Returns the time since the record of the turn `id` was last written.
    fn age(&self, id: &str, now: SystemTime) -> Duration {
        let written = fs::metadata(self.file(id, "record")).and_then(|metadata| metadata.modified());
        written.ok().and_then(|written| now.duration_since(written).ok()).unwrap_or_default()
    }
}

/// Returns `<state>/turns`. `None` if the user has no home directory.
fn parent() -> Result<Option<PathBuf>> {
    let state = env::state_dir().map(|dir| absolute(&dir)).transpose()?;
    Ok(state.map(|state| state.join(DIR)))
}

//! The directories of records: one for each workspace, below the user's state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::live;
use super::record::{Record, State, StoredTotals};
use crate::env;
use crate::error::Result;
use crate::lock::{check_private, make_private, pid_namespace};
use crate::paths::absolute;
use crate::sort::{sort, sort_by};
use crate::store::location;
use crate::sys::retry_while_open;

/// The directory for all workspaces, in the state directory.
const DIR: &str = "turns";

/// The number of ended turns whose records are kept for each workspace.
const KEPT: usize = 200;

/// The shortest time for which outputs of a detached turn are kept that nobody has fetched.
const KEPT_UNFETCHED: Duration = Duration::from_secs(30 * 24 * 3600);

/// The limit on the bytes of a record. What this program writes is much smaller.
const LARGEST: u64 = 1 << 20;

/// The limit on the characters of an ID.
const LONGEST_ID: usize = 64;

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

    /// Returns the directories of all workspaces that have records.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let Some(parent) = parent()? else { return Ok(Vec::new()) };
        let entries = fs::read_dir(&parent).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        sort(&mut paths);
        let of_path = |path: PathBuf| Self { parent: parent.clone(), path };
        Ok(paths.into_iter().map(of_path).filter(|dir| dir.path.is_dir()).collect())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the directory exists. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] if other users could change it.
    pub(crate) fn check(&self) -> io::Result<bool> {
        match check_private(&self.parent).and_then(|()| check_private(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            checked => checked.map(|()| true),
        }
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

    /// Opens a file of the turn `id` for reading. Never waits, and follows no symlink.
    ///
    /// # Errors
    ///
    /// Fails if it is not a regular file of this user.
    pub(crate) fn open(&self, id: &str, extension: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
        }
        let file = retry_while_open(|| options.open(self.file(id, extension)))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::uid(&metadata) != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        Ok(file)
    }

    /// Returns the IDs of all turns, newest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let ids = names.filter_map(|name| Some(name.strip_suffix(".record")?.to_owned()));
        let mut ids: Vec<String> = ids.filter(|id| is_id(id)).collect();
        sort_by(&mut ids, |one, other| other.cmp(one));
        ids
    }

    /// Returns the record of the turn `id`. `None` if there is none, or if it cannot be read.
    ///
    /// A turn that is not over and whose process is gone is [`State::Lost`].
    pub(crate) fn read(&self, id: &str) -> Option<Record> {
        self.try_read(id).ok()
    }

    /// Returns the record of the turn `id`, like [`RecordDir::read`].
    ///
    /// # Errors
    ///
    /// Those of [`RecordDir::open`] and of reading the file. Fails if it is not a record.
    pub(crate) fn try_read(&self, id: &str) -> io::Result<Record> {
        let record = self.read_stored(id)?;
        if record.state.is_final() || self.is_alive(id) {
            return Ok(record);
        }
        // it may have ended since it was read
        let record = self.read_stored(id)?;
        let state = if record.state.is_final() { record.state } else { State::Lost };
        let activity = record.activity.filter(|_| !state.is_final());
        Ok(Record { state, activity, ..record })
    }

    /// Returns whether the process of the turn `id` is alive.
    pub(crate) fn is_alive(&self, id: &str) -> bool {
        // opening anything else could wait
        let is_file = fs::symlink_metadata(self.file(id, "lock")).is_ok_and(|metadata| metadata.is_file());
        is_file && live::is_alive(self, id)
    }

    /// Returns whether the process ID in the record of the running turn `id` is valid in this process's namespace.
    pub(crate) fn is_in_own_namespace(&self, id: &str) -> bool {
        let mut namespace = String::new();
        let read = self.open(id, "lock").and_then(|lock| lock.take(1000).read_to_string(&mut namespace));
        read.is_ok() && namespace.trim() == pid_namespace().unwrap_or_default()
    }

    /// Returns what the turn `id` left of the totals of its session. Much faster than [`RecordDir::read`].
    pub(super) fn read_totals(&self, id: &str) -> Option<StoredTotals> {
        parse(&self.read_text(id).ok()?).ok()
    }

    fn read_stored(&self, id: &str) -> io::Result<Record> {
        let record: Record = parse(&self.read_text(id)?)?;
        // the name of the file decides, because it also names the other files of the turn
        Ok(Record { turn_id: Some(id.to_owned()), ..record })
    }

    fn read_text(&self, id: &str) -> io::Result<Vec<u8>> {
        /// More than most records have, so that one read is enough.
        const USUAL: usize = 4 << 10;
        let mut text = Vec::with_capacity(USUAL);
        self.open(id, "record")?.take(LARGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::other("it is too large"));
        }
        Ok(text)
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

/// Parses the text of a record, or of a part of it.
fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> io::Result<T> {
    let object = Some(text).filter(|text| text.starts_with(b"{")); // an array would be taken for the fields
    let record = object.and_then(|text| serde_json::from_slice(text).ok());
    record.ok_or_else(|| io::Error::other("it is not a record"))
}

/// Returns whether `text` has the form of an ID, which is also a file name.
pub(crate) fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= LONGEST_ID && text.bytes().all(is_plain) && text.starts_with(|c: char| c != '-')
}

/// Returns `<state>/turns`. `None` if the user has no home directory.
fn parent() -> Result<Option<PathBuf>> {
    let state = env::state_dir().map(|dir| absolute(&dir)).transpose()?;
    Ok(state.map(|state| state.join(DIR)))
}

//! The directory of a mapping. It is opened once and accessed through that handle, so that it cannot be swapped meanwhile.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::Dir;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(super) use windows::Dir;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Error, Removed, role};
use crate::error::io_message;
use crate::random;
use crate::session::AgentSessionId;

/// The largest mapping that is read or written. 100,000 names take 18 MiB.
pub(super) const MAX_SIZE: u64 = 64 << 20;

/// The age at which any temp file is stale.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Who could have written a file.
#[derive(Clone, Debug, Default)]
#[cfg_attr(windows, expect(dead_code, reason = "Windows does not check this"))]
pub(in crate::store) enum Writers {
    /// Only this user.
    #[default]
    Own,
    /// Others too, for this reason.
    Shared(String),
    /// Others too, for this reason. If this program replaces the file, nobody else can write to it any more.
    SharedUntilReplaced(String),
}

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Content {
    pub bytes: Vec<u8>,
    pub writers: Writers,
}

impl Dir {
    /// Returns the same directory with the role of session `id` as its file.
    pub(super) fn role(&self, id: &AgentSessionId) -> Result<Self, Error> {
        self.beside(role::file_name(&self.file_name(), id))
    }

    /// Reads the role. Returns `None` if the file does not exist.
    pub(super) fn read_role(&self) -> Result<Option<String>, Error> {
        let text =
            self.read().and_then(|content| content.map(|content| role::parse(content.bytes, self.path())).transpose());
        text.map_err(|error| error.of_role(self.path().to_owned()))
    }

    /// Writes the role, and removes the file if its place does not keep it readable and safe.
    pub(super) fn write_role(&self, text: &str) -> Result<(), Error> {
        self.replace(text.as_bytes()).map_err(|error| error.of_role(self.path().to_owned()))?;
        self.read_role().map(drop).inspect_err(|_| {
            let _ = self.unlink();
        })
    }
}

/// Returns a name for a temp file beside `file` that no other process uses, on any machine.
fn temp_name(file: &str) -> String {
    format!("{file}.tmp.{}", random::digits())
}

/// Returns whether this is the name of a temp file for the mapping `file` or one of its roles. Until 0.1 it ended in the
/// process ID.
fn is_temp_name(name: &str, file: &str) -> bool {
    let Some((written, suffix)) = name.rsplit_once(".tmp.") else { return false };
    let is_process_id = suffix.bytes().all(|byte| byte.is_ascii_digit());
    let is_temp = !suffix.is_empty() && (is_process_id || has_random_suffix(suffix));
    is_temp && (written == file || role::is_file_name(written, file))
}

/// Returns whether the name of a temp file is from [`temp_name`]. Those files are locked while they are written.
fn has_random_suffix(name: &str) -> bool {
    let suffix = name.rsplit('.').next().unwrap_or_default();
    suffix.len() == random::digits().len() && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a temp file with this modification time is stale.
fn is_stale(modified: Option<SystemTime>) -> bool {
    modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > STALE_AFTER)
}

/// Returns names for an invalid file, in the order in which they are tried.
fn quarantine_names(file: &str) -> impl Iterator<Item = String> {
    let first = format!("{file}.bad.{}", std::process::id());
    std::iter::once(first.clone()).chain((1..).map(move |n| format!("{first}.{n}")))
}

/// Returns a name for a mapping that is about to be removed. If that is interrupted, the file stays.
fn name_of_removed(file: &str) -> String {
    format!("{file}.removed.{}", random::digits())
}

/// Returns whether both paths lead to the same file, also through bind mounts or with other capitalization.
#[cfg(unix)]
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// Always false, because a resolved path of an existing file has only one spelling on Windows.
#[cfg(windows)]
pub(super) fn is_same(_one: &Path, _other: &Path) -> bool {
    false
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), why: io_message(error) }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::Unwritable { path: path.to_owned(), why: io_message(error) }
}

#[cfg(unix)]
fn is_unsafe(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Unsafe { path: path.to_owned(), why: why.to_string() }
}

fn too_large(path: &Path) -> Error {
    Error::Unreadable { path: path.to_owned(), why: format!("it is larger than {} MiB", MAX_SIZE >> 20) }
}

fn not_regular(path: &Path) -> Error {
    Error::Unreadable { path: path.to_owned(), why: "it is not a regular file".to_owned() }
}

pub(super) fn too_large_to_write(path: &Path) -> Error {
    Error::Unwritable { path: path.to_owned(), why: format!("it would be larger than {} MiB", MAX_SIZE >> 20) }
}

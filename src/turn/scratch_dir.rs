//! A private temporary directory for the files of one turn.

use std::cell::OnceCell;
use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Error, ErrorKind, Result};
use crate::paths;

const PREFIX: &str = "invoke-persist-turn-";

/// A file that is locked while the directory is in use.
const LOCK: &str = "lock";

/// The age at which a directory may be stale. A younger one may not be locked yet.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// A directory that only this user can access. It is created on first use, and removed on drop.
#[derive(Default)]
pub(crate) struct ScratchDir(OnceCell<Open>);

struct Open {
    /// The lock. It is dropped before the directory is removed, because Windows does not remove open files. `None` if
    /// the file system does not support locks. Then no other call can take the lock and remove the directory.
    _lock: Option<File>,
    dir: TempDir,
}

impl ScratchDir {
    /// Returns an unused path in the directory.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        if self.0.get().is_none() {
            // like the original, use the temporary directory of mappings
            let place = paths::temp_dir()?;
            remove_leftovers(&place);
            let dir = Open::make(&place).map_err(|error| {
                Error::new(ErrorKind::Io, "cannot create a temporary directory").with_io_cause(&error)
            })?;
            let _ = self.0.set(dir);
        }
        Ok(self.0.get().expect("it was just created").dir.path().join(name))
    }

    /// Writes a file in the directory and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path(name)?;
        fs::write(&path, bytes).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot write '{}'", path.display())).with_io_cause(&error)
        })?;
        Ok(path)
    }
}

impl Open {
    fn make(place: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        let locked = lock.try_lock().is_ok();
        Ok(Self { _lock: locked.then_some(lock), dir })
    }
}

/// Removes the directories that killed calls left in `place`. Errors are ignored, because a later call tries again.
fn remove_leftovers(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
    for dir in entries.filter(named).filter(may_be_stale).map(|entry| entry.path()) {
        let free = match File::open(dir.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if free {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Returns whether this is an old directory of this user, and not a symlink.
fn may_be_stale(entry: &DirEntry) -> bool {
    let is = |metadata: Metadata| {
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        metadata.is_dir() && is_own(&metadata) && age.is_some_and(|age| age >= STALE_AFTER)
    };
    entry.metadata().is_ok_and(is)
}

#[cfg(unix)]
fn is_own(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == rustix::process::geteuid().as_raw()
}

/// Always true, because the temporary directory is private to the user on Windows.
#[cfg(windows)]
fn is_own(_metadata: &Metadata) -> bool {
    true
}

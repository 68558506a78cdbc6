//! A temporary directory of one turn, for what goes between this program and the agent in files.

use std::cell::OnceCell;
use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{Error, ErrorKind, Result};
use crate::paths;

const PREFIX: &str = "invoke-persist-turn-";

/// Locked as long as the directory is in use.
const LOCK: &str = "lock";

/// What is younger is let be: its call may not have locked it yet.
const OLD: Duration = Duration::from_secs(3600);

/// A directory that only we can enter, made when first needed and removed at the end.
#[derive(Default)]
pub(crate) struct ScratchDir(OnceCell<Open>);

struct Open {
    /// The lock, let go before the directory is removed: Windows removes no file that is open. `None` if the place has no
    /// locks: then nobody takes one to remove the directory either.
    _lock: Option<File>,
    dir: TempDir,
}

impl ScratchDir {
    /// A path in the directory, where nothing is.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        if self.0.get().is_none() {
            // by the rule for the mapping's place, which was the original's for this directory too
            let place = paths::temp_dir()?;
            remove_leftovers(&place);
            let dir = Open::make(&place).map_err(|error| {
                Error::new(ErrorKind::Io, "no temporary directory can be made").with_io_cause(&error)
            })?;
            let _ = self.0.set(dir);
        }
        Ok(self.0.get().expect("just made").dir.path().join(name))
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path(name)?;
        fs::write(&path, bytes).map_err(|error| {
            Error::new(ErrorKind::Io, format!("'{}' cannot be written", path.display())).with_io_cause(&error)
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

/// Removes what killed calls of ours left in `place`. Whatever fails is left to a later call.
fn remove_leftovers(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let named = |entry: &DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
    for dir in entries.filter(named).filter(is_old_and_ours).map(|entry| entry.path()) {
        let free = match File::open(dir.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if free {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// Whether it is a directory, and not a link to one, that this user made long ago.
fn is_old_and_ours(entry: &DirEntry) -> bool {
    let is = |metadata: Metadata| {
        let age = metadata.modified().ok().and_then(|made| made.elapsed().ok());
        metadata.is_dir() && is_ours(&metadata) && age.is_some_and(|age| age >= OLD)
    };
    entry.metadata().is_ok_and(is)
}

#[cfg(unix)]
fn is_ours(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(metadata) == rustix::process::geteuid().as_raw()
}

/// The temp directory is the user's own.
#[cfg(windows)]
fn is_ours(_metadata: &Metadata) -> bool {
    true
}

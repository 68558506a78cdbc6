//! Files that processes show to each other beside the locks.
//!
//! The process locks the file for as long as it lives, so a notice of a killed process is recognized and removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::private;
use crate::random;

/// A notice of this process, removed on drop.
#[derive(Debug)]
pub(super) struct Notice {
    path: PathBuf,
    /// Kept open because it is locked.
    file: File,
}

impl Notice {
    /// Publishes `text` in `directory` under `name`, which must be unique.
    pub(super) fn publish(directory: &Path, name: &str, text: &str) -> io::Result<Self> {
        let (temporary, path) = (directory.join(random::digits()), directory.join(name));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        private(&mut options);
        let mut file = options.open(&temporary)?;
        // locked and complete before it becomes visible
        let written = file.lock().and_then(|()| file.write_all(text.as_bytes()));
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(Self { path, file })
    }

    /// Returns whether it is in `directory`.
    pub(super) fn is_in(&self, directory: &Path) -> bool {
        self.path.parent() == Some(directory)
    }

    /// Updates its modification time.
    pub(super) fn touch(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }
}

/// What other processes or the system do to it.
#[cfg(test)]
impl Notice {
    /// Unlocks and closes the file, as the system does when the process ends.
    pub(super) fn end_process(&mut self) {
        let _ = self.file.unlock(); // another test may have forked a child; Wine unlocks the file and reports an error
        self.file = tempfile::tempfile().unwrap();
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    pub(super) fn set_modified(&self, time: SystemTime) {
        self.file.set_modified(time).unwrap();
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock(); // a child that was just forked has the file open, too
    }
}

/// Returns the regular files in `directory` whose names `is_wanted` accepts.
pub(super) fn files(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let wanted = entries.filter(move |entry| entry.file_name().to_str().is_some_and(&is_wanted));
    wanted.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path())
}

/// Opens a file for reading, but not through a symlink.
pub(super) fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    private(&mut options);
    options.open(path).ok()
}

/// Opens the notice at `path` if its process is alive. Removes it if not.
pub(super) fn open_of_living(path: &Path) -> Option<File> {
    let file = open(path)?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(file),
        Ok(()) => {
            let _ = fs::remove_file(path); // no other notice gets this name
            None
        }
        Err(TryLockError::Error(_)) => None,
    }
}

//! On Windows, the temp directory is private to the user, so plain paths are safe.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::super::location::{DIR, MappingLocation, Root};
use super::{Content, Error, MAX_SIZE, Removed, Writers, role};
use crate::sys::retry_while_open;

/// The directory of a mapping.
#[derive(Debug)]
pub(in crate::store) struct Dir {
    parent: PathBuf,
    /// The mapping, with symlinks resolved.
    file: PathBuf,
    /// The path of the mapping as the caller passed it, for messages and for removal.
    path: PathBuf,
}

impl Dir {
    /// Opens the directory. Returns `None` if it does not exist.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    pub(in crate::store) fn open(location: &MappingLocation) -> Result<Option<Self>, Error> {
        let dir = Self::at(location);
        Ok(dir.parent.is_dir().then_some(dir))
    }

    /// Opens the directory, and creates it if it does not exist.
    pub(in crate::store) fn create(location: &MappingLocation) -> Result<Self, Error> {
        let dir = Self::at(location);
        fs::create_dir_all(&dir.parent).map_err(|error| super::unwritable(&dir.path, &error))?;
        Ok(dir)
    }

    /// Returns the keys of all workspaces that have a directory below `root`.
    pub(in crate::store) fn keys(root: &Root) -> Result<Vec<String>, Error> {
        let shared = root.dir.join(DIR);
        let entries = match fs::read_dir(&shared) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(super::unreadable(&shared, &error)),
        };
        let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
        Ok(dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn at(location: &MappingLocation) -> Self {
        let file = match location {
            MappingLocation::Default { file, .. } => file,
            MappingLocation::Explicit { resolved, .. } => resolved,
        };
        let dir = file.parent().unwrap_or(Path::new(".")).to_owned();
        Self { parent: dir, file: file.clone(), path: location.file().to_owned() }
    }

    /// Returns the same directory with another file.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    pub(super) fn beside(&self, name: String) -> Result<Self, Error> {
        let file = self.parent.join(name);
        Ok(Self { parent: self.parent.clone(), path: file.clone(), file })
    }

    /// Returns the name of the file.
    pub(super) fn file_name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the path of the file, for messages.
    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file exists.
    pub(in crate::store) fn exists(&self) -> bool {
        fs::symlink_metadata(&self.file).is_ok()
    }

    /// Reads the mapping. Returns `None` if the file does not exist.
    pub(in crate::store) fn read(&self) -> Result<Option<Content>, Error> {
        let fail = |error: io::Error| super::unreadable(&self.path, &error);
        match fs::metadata(&self.file) {
            Ok(metadata) if !metadata.is_file() => return Err(super::not_regular(&self.path)),
            Ok(metadata) if metadata.len() > MAX_SIZE => return Err(super::too_large(&self.path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        }
        let mut bytes = Vec::new();
        match retry_while_open(|| File::open(&self.file)) {
            Ok(file) => file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        if bytes.len() as u64 > MAX_SIZE {
            return Err(super::too_large(&self.path));
        }
        Ok(Some(Content { bytes, writers: Writers::Own }))
    }

    /// Always succeeds, because permission bits do not decide this on Windows. The write itself reports errors.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    #[expect(clippy::unused_self, reason = "on Unix it checks the directory")]
    pub(in crate::store) fn check_writable(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Replaces the mapping with `bytes` atomically: writes a temp file, syncs it, and renames it.
    pub(in crate::store) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        self.remove_stale_temp_files();
        let temp = self.parent.join(super::temp_name(&self.file_name()));
        let written = OpenOptions::new().write(true).create_new(true).open(&temp).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            drop(file);
            retry_while_open(|| fs::rename(&temp, &self.file))
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&temp);
            super::unwritable(&self.path, &error)
        })
    }

    /// Renames the mapping to an unused name, and returns its new path.
    pub(in crate::store) fn quarantine(&self) -> Result<String, Error> {
        let is_unused = |name: &String| fs::symlink_metadata(self.parent.join(name)).is_err();
        let name = super::quarantine_names(&self.file_name()).find(is_unused).expect("there are more names than files");
        let quarantined = self.parent.join(name);
        retry_while_open(|| fs::rename(&self.file, &quarantined))
            .map_err(|error| super::unwritable(&self.path, &error))?;
        Ok(quarantined.display().to_string())
    }

    /// Returns `None`, because symlinks are removed like other files on Windows.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    pub(in crate::store) fn remove_link(_location: &MappingLocation) -> Result<Option<Removed>, Error> {
        Ok(None)
    }

    /// Removes the mapping, then its directory if it is empty.
    pub(in crate::store) fn remove(&self) -> Result<Removed, Error> {
        if !self.unlink()? {
            return Ok(Removed::default());
        }
        Ok(Removed { file: true, dir: self.remove_if_empty() })
    }

    /// Removes the file only. Returns whether it existed.
    pub(in crate::store) fn unlink(&self) -> Result<bool, Error> {
        match retry_while_open(|| fs::remove_file(&self.path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(super::unwritable(&self.path, &error)),
        }
    }

    /// Renames the mapping before it is removed. Returns its new name, if there is a mapping.
    pub(in crate::store) fn move_aside(&self) -> Result<Option<String>, Error> {
        if self.path.is_dir() {
            return Err(super::not_regular(&self.path));
        }
        let name = super::name_of_removed(&self.file_name());
        match retry_while_open(|| fs::rename(&self.path, self.parent.join(&name))) {
            Ok(()) => Ok(Some(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(super::unwritable(&self.path, &error)),
        }
    }

    /// Reverts [`move_aside`](Self::move_aside).
    pub(in crate::store) fn move_back(&self, name: &str) -> Result<(), Error> {
        let moved = self.parent.join(name);
        retry_while_open(|| fs::rename(&moved, &self.path)).map_err(|error| super::unwritable(&moved, &error))
    }

    /// Removes the mapping after [`move_aside`](Self::move_aside).
    pub(in crate::store) fn remove_moved(&self, name: &str) -> Result<(), Error> {
        let moved = self.parent.join(name);
        retry_while_open(|| fs::remove_file(&moved)).map_err(|error| super::unwritable(&moved, &error))
    }

    /// Removes the roles of the mapping, which was removed, and the directory if only stale temp files are left in it.
    /// Returns whether the directory was removed.
    pub(in crate::store) fn remove_if_empty(&self) -> bool {
        self.remove_files(|name, _| role::is_file_name(name, &self.file_name()));
        self.remove_stale_temp_files();
        self.path.parent().is_some_and(|dir| fs::remove_dir(dir).is_ok())
    }

    /// Removes temp files that crashed writers left in the directory.
    fn remove_stale_temp_files(&self) {
        self.remove_files(|name, entry| {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            super::is_temp_name(name, &self.file_name()) && super::is_stale(modified)
        });
    }

    /// Removes the files for which `is_wanted` is true.
    fn remove_files(&self, is_wanted: impl Fn(&str, &DirEntry) -> bool) {
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_wanted(&name, &entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

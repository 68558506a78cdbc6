//! The script of an original skill, and the shim that replaces it. The shim runs this program, so the skill's text works
//! unchanged.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::dir::rename_new;
use super::host::read_beginning;
use super::{MAIN_FILE, Skill, Stamp};
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result, io_message};
use crate::lock::Lock;
use crate::paths;
use crate::sort::sort;
use crate::ui::Ui;

/// The path of the script, in original skills and in those of this program.
pub(crate) const SCRIPT: &str = "scripts/invoke_persist.py";

/// The suffix of the original script while a shim replaces it.
const BACKUP_SUFFIX: &str = ".original";

/// The beginning of the shims of all releases.
const SHIM_PREFIX: &[u8] = b"#!/usr/bin/env python3\n\"\"\"Runs invoke-persist for ";

/// The limit on the size of a script.
const MAX_SIZE: u64 = 4 << 20;

/// An original skill, as it was found.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) dir: PathBuf,
    /// The agent that its script is for, if that is known.
    pub(crate) backend: Option<Backend>,
    /// Whether a shim replaces its script.
    pub(crate) is_shimmed: bool,
}

impl Original {
    /// Returns the original skill in `dir`, if there is one.
    pub(crate) fn in_dir(dir: &Path) -> Option<Self> {
        // the skills of this program have a script of this name too
        let main = read_beginning(&dir.join(MAIN_FILE)).unwrap_or_default();
        if Stamp::of(main.as_bytes()).is_some() {
            return None;
        }
        let script = dir.join(SCRIPT);
        let metadata = fs::metadata(&script).ok()?;
        let content =
            if metadata.is_file() && metadata.len() <= MAX_SIZE { fs::read(&script).ok()? } else { return None };
        let is_shimmed = content.starts_with(SHIM_PREFIX);
        if is_shimmed {
            let script = paths::resolve(&script).ok()?;
            fs::symlink_metadata(backup_of(&script)).ok()?;
        }
        let named = |backend: &Backend| if is_shimmed { runs(&content, *backend) } else { names(&content, *backend) };
        let backend = match Backend::ALL.into_iter().filter(named).collect::<Vec<_>>()[..] {
            [] => return None,
            [only] => Some(only),
            _ => None,
        };
        Some(Self { dir: dir.to_owned(), backend, is_shimmed })
    }

    /// Returns the original skills in the directory `skills`, sorted by name.
    pub(crate) fn find_in(skills: &Path) -> Vec<Self> {
        let mut dirs: Vec<PathBuf> =
            fs::read_dir(skills).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        sort(&mut dirs);
        dirs.iter().filter_map(|dir| Self::in_dir(dir)).collect()
    }
}

/// Returns whether an original script is for `backend`: it names that mapping.
fn names(script: &[u8], backend: Backend) -> bool {
    memchr::memmem::find(script, backend.spec().mapping_file.as_bytes()).is_some()
}

/// Returns whether a shim is for `backend`.
fn runs(shim: &[u8], backend: Backend) -> bool {
    memchr::memmem::find(shim, format!("\"{backend}\"").as_bytes()).is_some()
}

fn backup_of(script: &Path) -> PathBuf {
    let mut backup = script.to_owned().into_os_string();
    backup.push(BACKUP_SUFFIX);
    backup.into()
}

/// The script of an installed skill, locked against changes by other calls.
pub(crate) struct SkillScript {
    path: PathBuf,
    backup: PathBuf,
    content: Vec<u8>,
    _lock: Option<Lock>,
}

impl SkillScript {
    /// Opens the script of the skill in `dir`.
    pub(crate) fn open(dir: &Path, ui: &Ui) -> Result<Self> {
        let script = dir.join(SCRIPT);
        let refused = |why: String| {
            Error::usage(format!("'{}' is not an original skill", dir.display()))
                .caused_by(why)
                .with_hint(format!("pass the directory that contains SKILL.md and {SCRIPT}"))
        };
        let metadata = fs::metadata(&script).map_err(|error| refused(format!("{SCRIPT}: {}", io_message(&error))))?;
        if !metadata.is_file() || metadata.len() > MAX_SIZE {
            return Err(refused(format!("{SCRIPT} is not a script")));
        }
        let path = paths::resolve(&script).map_err(|error| failed("find", &script, &error))?;
        let lock = super::lock(path.parent().unwrap_or(&path), ui)?;
        let content = fs::read(&path).map_err(|error| failed("read", &script, &error))?;
        Ok(Self { backup: backup_of(&path), path, content, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the original script while a shim replaces it.
    pub(crate) fn backup(&self) -> &Path {
        &self.backup
    }

    /// Returns the agent whose mapping the script names. The scripts of both originals have the same name.
    pub(crate) fn backend(&self) -> Option<Backend> {
        match Backend::ALL.into_iter().filter(|backend| names(&self.content, *backend)).collect::<Vec<_>>()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn is_shim(&self) -> bool {
        self.content.starts_with(SHIM_PREFIX)
    }

    /// Replaces the script with the shim for `backend`, or for the agent in its text, and keeps a backup.
    ///
    /// Returns `false` if the script already is that shim.
    pub(crate) fn replace(&self, backend: Option<Backend>) -> Result<bool> {
        let skill_of = |backend| Skill::all().find(|skill| skill.backend() == backend);
        if self.is_shim() {
            if backend.is_none_or(|backend| runs(&self.content, backend)) {
                return Ok(false);
            }
            return Err(Error::usage(format!("'{}' is a shim for the other agent", self.path.display()))
                .with_hint("restore the original first, with --undo"));
        }
        let skill = backend.or_else(|| self.backend()).and_then(skill_of).ok_or_else(|| {
            Error::usage(format!("cannot detect which agent '{}' is for", self.path.display()))
                .with_hint("add --backend claude or --backend codex")
        })?;
        let replace = || {
            // the script is never missing: the backup is a second name for it, and the shim then replaces the first
            let shim = self.create_temp(skill.shim().as_bytes())?;
            let is_new = self.back_up()?;
            shim.persist(&self.path).map(drop).map_err(|error| {
                // the script is still in place, so it needs no backup
                if is_new && fs::read(&self.path).is_ok_and(|content| content == self.content) {
                    let _ = fs::remove_file(&self.backup);
                }
                error.error
            })
        };
        match replace() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::Io, format!("'{}' already exists", self.backup.display()))
                    .caused_by("it is the backup of another script")
                    .with_hint("compare both scripts, and remove the one that you do not need"))
            }
            Err(error) => Err(failed("replace", &self.path, &error)),
        }
    }

    /// Creates the backup as a hard link, or as a copy if the file system has no hard links.
    ///
    /// Returns `false` if it exists already, because a call was killed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if a different file has the path of the backup.
    fn back_up(&self) -> io::Result<bool> {
        let exists = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        let is_file = || fs::symlink_metadata(&self.backup).is_ok_and(|metadata| metadata.is_file());
        let is_same = || is_file() && fs::read(&self.backup).is_ok_and(|content| content == self.content);
        let created = match fs::hard_link(&self.path, &self.backup) {
            Err(error) if !exists(&error) => self.copy(),
            result => result,
        };
        match created {
            Err(error) if exists(&error) && is_same() => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Copies the script to the backup atomically.
    fn copy(&self) -> io::Result<()> {
        let file = self.create_temp(&self.content)?;
        rename_new(file.path(), &self.backup)
    }

    /// Creates a temp file beside the script with the script's permissions.
    fn create_temp(&self, content: &[u8]) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(content)?;
        file.as_file().set_permissions(fs::metadata(&self.path)?.permissions())?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Replaces the shim with the backup. Returns `false` if there is neither.
    pub(crate) fn restore(&self) -> Result<bool> {
        if fs::symlink_metadata(&self.backup).is_err() {
            if self.is_shim() {
                return Err(Error::new(ErrorKind::Io, format!("cannot restore '{}'", self.path.display()))
                    .caused_by(format!("its backup '{}' is missing", self.backup.display())));
            }
            return Ok(false);
        }
        if !self.is_shim() {
            return Err(Error::new(ErrorKind::Io, format!("'{}' is not a shim", self.path.display()))
                .caused_by(format!("it was changed after the backup '{}'", self.backup.display()))
                .with_hint("compare both scripts, and remove the one that you do not need"));
        }
        fs::rename(&self.backup, &self.path).map_err(|error| failed("restore", &self.path, &error))?;
        Ok(true)
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {verb} '{}'", path.display())).with_io_cause(error)
}

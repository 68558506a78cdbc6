//! The original's skills call a Python script in their own directory. Here that script makes room for one that runs this
//! program, so that their text works unchanged.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Skill;
use super::dir::rename_new;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Lock;
use crate::paths;
use crate::ui::Ui;

/// The script, in an original and in a skill of ours.
pub(crate) const SCRIPT: &str = "scripts/invoke_persist.py";

/// What is added to the original script's name while the stand-in is in its place.
const KEPT: &str = ".original";

/// How every stand-in begins, of whichever release.
const MARK: &[u8] = b"#!/usr/bin/env python3\n\"\"\"Runs invoke-persist for ";

/// No script is larger.
const LARGEST: u64 = 4 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Changed,
    /// It was so already.
    Unchanged,
}

/// An installed skill whose script can be replaced, which no other call does meanwhile.
pub(crate) struct Original {
    script: PathBuf,
    kept: PathBuf,
    content: Vec<u8>,
    _lock: Option<Lock>,
}

impl Original {
    /// `dir` is the skill's, as the original installed it.
    pub(crate) fn open(dir: &Path, ui: &Ui) -> Result<Self> {
        let script = dir.join(SCRIPT);
        let refused = |why: String| {
            Error::usage(format!("'{}' is no skill of the original", dir.display()))
                .caused_by(why)
                .with_hint(format!("name the directory that holds SKILL.md and {SCRIPT}"))
        };
        let metadata = fs::metadata(&script);
        let metadata = metadata.map_err(|error| refused(format!("{SCRIPT}: {}", crate::error::io_message(&error))))?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(refused(format!("{SCRIPT} is no script")));
        }
        let real = paths::resolve(&script).map_err(|error| failed(&script, "found", &error))?;
        let lock = super::lock(real.parent().unwrap_or(&real), ui)?;
        let content = fs::read(&real).map_err(|error| failed(&script, "read", &error))?;
        let mut kept = real.clone().into_os_string();
        kept.push(KEPT);
        Ok(Self { script: real, kept: kept.into(), content, _lock: lock })
    }

    /// Where the original script is while the stand-in is in its place.
    pub(crate) fn kept(&self) -> &Path {
        &self.kept
    }

    pub(crate) fn script(&self) -> &Path {
        &self.script
    }

    /// The agent whose mapping the script keeps. Both originals have the same name, so their text has to tell.
    pub(crate) fn backend(&self) -> Option<Backend> {
        let names = |backend: &Backend| memchr::memmem::find(&self.content, backend.spec().mapping_file.as_bytes());
        match Backend::ALL.into_iter().filter(|backend| names(backend).is_some()).collect::<Vec<_>>()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether the script is the stand-in already, of whatever agent.
    fn is_ours(&self) -> bool {
        self.content.starts_with(MARK)
    }

    /// Puts the stand-in for `backend` in the script's place and keeps the script beside it. `None`: its text tells.
    pub(crate) fn replace(&self, backend: Option<Backend>) -> Result<Done> {
        let skill = |backend| Skill::all().find(|skill| skill.backend() == backend);
        if self.is_ours() {
            let says = |backend| memchr::memmem::find(&self.content, format!("\"{backend}\"").as_bytes()).is_some();
            if backend.is_none_or(says) {
                return Ok(Done::Unchanged);
            }
            return Err(Error::usage(format!("'{}' stands in for the other agent's script", self.script.display()))
                .with_hint("undo that first, with --undo"));
        }
        let skill = backend.or_else(|| self.backend()).and_then(skill).ok_or_else(|| {
            Error::usage(format!("'{}' does not tell whose sessions it keeps", self.script.display()))
                .with_hint("add --backend claude or --backend codex")
        })?;
        let put = || {
            // the script is never missing: it gets a second name first, and then the stand-in takes the first one
            let file = self.beside(skill.stand_in().as_bytes())?;
            let is_new = self.keep()?;
            file.persist(&self.script).map(drop).map_err(|error| {
                // the script is still there, so the second name is one too many
                if is_new && fs::read(&self.script).is_ok_and(|content| content == self.content) {
                    let _ = fs::remove_file(&self.kept);
                }
                error.error
            })
        };
        match put() {
            Ok(()) => Ok(Done::Changed),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::Io, format!("'{}' is in the way", self.kept.display()))
                    .caused_by("a script was kept there before, and the one in its place is not ours")
                    .with_hint("look which of both you want, and move the other away"))
            }
            Err(error) => Err(failed(&self.script, "replaced", &error)),
        }
    }

    /// Gives the script a second name, or if the file system knows none, a copy. Returns whether that is new: a call
    /// that was killed may have left it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if something else has that name. It is left alone.
    fn keep(&self) -> io::Result<bool> {
        let is_available = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        let is_file = || fs::symlink_metadata(&self.kept).is_ok_and(|metadata| metadata.is_file());
        let is_same = || is_file() && fs::read(&self.kept).is_ok_and(|kept| kept == self.content);
        let kept = match fs::hard_link(&self.script, &self.kept) {
            Err(error) if !is_available(&error) => self.copy(),
            done => done,
        };
        match kept {
            Err(error) if is_available(&error) && is_same() => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Copies the script. The copy has its name when it is whole.
    fn copy(&self) -> io::Result<()> {
        let file = self.beside(&self.content)?;
        rename_new(file.path(), &self.kept)
    }

    /// A file beside the script with the script's permissions, removed if it is not given a name.
    fn beside(&self, content: &[u8]) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(self.script.parent().unwrap_or(Path::new(".")))?;
        file.write_all(content)?;
        file.as_file().set_permissions(fs::metadata(&self.script)?.permissions())?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    /// Puts the script back.
    pub(crate) fn restore(&self) -> Result<Done> {
        if fs::symlink_metadata(&self.kept).is_err() {
            if self.is_ours() {
                return Err(Error::new(ErrorKind::Io, format!("'{}' is not there", self.kept.display()))
                    .caused_by("without the script that was kept there is nothing to put back"));
            }
            return Ok(Done::Unchanged);
        }
        if !self.is_ours() {
            return Err(Error::new(ErrorKind::Io, format!("'{}' is not what was put there", self.script.display()))
                .caused_by(format!("the script kept before is '{}'", self.kept.display()))
                .with_hint("look which of both you want, and move the other away"));
        }
        fs::rename(&self.kept, &self.script).map_err(|error| failed(&self.script, "put back", &error))?;
        Ok(Done::Changed)
    }
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("'{}' cannot be {what}", path.display())).with_io_cause(error)
}

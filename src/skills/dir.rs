//! The directory of one skill: its state, and its atomic replacement.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Files, MAIN_FILE, Skill, Stamp, digest_of};
use crate::error::{Error, ErrorKind, Result};
use crate::paths;

/// The limit on files in a directory. A skill of this program has fewer.
const MAX_FILES: usize = 1000;
/// The limit on the size of a file. Those of a skill of this program are smaller.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Files that systems and interpreters create. They do not count as edits.
const IGNORED: [&str; 3] = [".DS_Store", "Thumbs.db", "__pycache__"];

/// The prefix of directories for new skills before they are moved to their destination.
const STAGING_PREFIX: &str = ".invoke-persist-skill-";
/// The directory for backups if the directory for skills is a mount point. Hosts skip it because it is hidden.
const BACKUPS_INSIDE: &str = ".replaced";
/// The age at which a staging directory is stale, because its process was killed.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// The state of an installed skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    UpToDate,
    /// Unchanged since an older release installed it.
    Outdated {
        version: String,
    },
    /// Changed since this program installed it.
    Modified,
    /// Not installed by this program, or by a newer release.
    Foreign {
        why: String,
    },
}

impl State {
    /// Returns the term that `npx skills` and `gh skill` use.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UpToDate => "up-to-date",
            Self::Outdated { .. } => "outdated",
            Self::Modified => "modified",
            Self::Foreign { .. } => "foreign",
        }
    }

    /// Returns whether a replacement would lose files of the user.
    pub(crate) fn has_user_changes(&self) -> bool {
        matches!(self, Self::Modified | Self::Foreign { .. })
    }
}

/// The location of a skill.
#[derive(Clone, Debug)]
pub(crate) struct SkillDir {
    pub skill: Skill,
    /// The directory for skills, which contains the skill's directory.
    pub skills: PathBuf,
}

impl SkillDir {
    pub(crate) fn path(&self) -> PathBuf {
        self.skills.join(self.skill.name())
    }

    pub(crate) fn state(&self) -> Result<State> {
        let dir = self.path();
        let fail = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot read the skill '{}'", dir.display())).with_io_cause(&error)
        };
        let foreign = |why: &str| Ok(State::Foreign { why: why.to_owned() });
        match fs::symlink_metadata(&dir) {
            Ok(metadata) if metadata.is_symlink() => return foreign("it is a symlink"),
            Ok(metadata) if !metadata.is_dir() => return foreign("it is not a directory"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
            Err(error) => return Err(fail(error)),
        }
        let mut files = Files::new();
        match read(&dir, "", &mut files) {
            Ok(true) => {}
            Ok(false) => return foreign("it contains files that a skill does not have"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.state(), // changed by another process
            Err(error) => return Err(fail(error)),
        }
        let Some(stamp) = files.get(MAIN_FILE).and_then(|main| Stamp::of(main)) else {
            return foreign("its SKILL.md is not from this program");
        };
        Ok(if digest_of(&files) != stamp.digest {
            State::Modified
        } else if files == self.skill.files() {
            State::UpToDate
        } else if is_newer(&stamp.version) {
            State::Foreign { why: format!("it is from a newer release, {}", stamp.version) }
        } else {
            State::Outdated { version: stamp.version }
        })
    }

    /// Installs the skill and replaces the existing directory, which has the state `existing`.
    ///
    /// Returns the path of the backup if the user changed the existing directory.
    pub(crate) fn install(&self, existing: &State) -> Result<Option<PathBuf>> {
        let dir = self.path();
        self.change("write", |area| {
            if existing.has_user_changes() {
                // written at the path of the backup, because the two directories are swapped in one step
                let backup = area.create_backup(self.skill, |path| fs::create_dir(path))?;
                let installed = self.write_to(&backup).and_then(|()| swap(&backup, &dir));
                return installed.inspect_err(|_| area.discard(&backup)).map(|()| Some(backup));
            }
            let staging = area.staging()?;
            let new = staging.path().join("new");
            self.write_to(&new)?;
            let installed = if *existing == State::Missing { rename_new(&new, &dir) } else { swap(&new, &dir) };
            installed.map(|()| None)
        })
    }

    /// Removes the existing directory. With `keep`, moves it to a backup instead, and returns the path of the backup.
    pub(crate) fn remove(&self, keep: bool) -> Result<Option<PathBuf>> {
        let dir = self.path();
        self.change("remove", |area| {
            if keep {
                return area.create_backup(self.skill, |path| rename_new(&dir, path)).map(Some);
            }
            let staging = area.staging()?;
            fs::rename(&dir, staging.path().join("old"))?;
            Ok(None)
        })
    }

    fn write_to(&self, dir: &Path) -> io::Result<()> {
        self.skill.files().into_iter().try_for_each(|(path, content)| write(&dir.join(path), &content))
    }

    /// Makes a change with the first staging area that allows it. A change that fails leaves everything unchanged.
    fn change<T>(&self, verb: &str, change: impl Fn(&StagingArea) -> io::Result<T>) -> Result<T> {
        let result = fs::create_dir_all(&self.skills).and_then(|()| {
            let skills = paths::resolve(&self.skills)?;
            match change(&StagingArea::beside(&skills)) {
                Err(error) if is_unsuitable(&error) => change(&StagingArea::inside(&skills)),
                result => result,
            }
        });
        result.map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot {verb} the skill '{}'", self.path().display()))
                .with_io_cause(&error)
                .with_hint("make the directory for skills writable, or choose another one with --dir")
        })
    }
}

/// The directories for new skills and for backups.
///
/// No host finds skills in them. codex would use neither of two skills with the same name.
struct StagingArea {
    /// Contains the staging directories.
    directory: PathBuf,
    backups: PathBuf,
}

impl StagingArea {
    /// Beside the directory for skills.
    fn beside(skills: &Path) -> Self {
        let mut name = skills.file_name().unwrap_or_default().to_owned();
        name.push("-replaced");
        Self { directory: skills.parent().unwrap_or(skills).to_owned(), backups: skills.with_file_name(name) }
    }

    /// In the directory for skills, under names that the hosts skip.
    fn inside(skills: &Path) -> Self {
        Self { directory: skills.to_owned(), backups: skills.join(BACKUPS_INSIDE) }
    }

    fn staging(&self) -> io::Result<TempDir> {
        remove_stale(&self.directory);
        tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(&self.directory)
    }

    /// Calls `create` with the paths for backups of `skill` until one is unused, and returns that.
    ///
    /// `create` fails with [`io::ErrorKind::AlreadyExists`] for a used path.
    fn create_backup(&self, skill: Skill, create: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.backups)?;
        let paths = (1..u32::MAX).map(|n| self.backups.join(format!("{}.{n}", skill.name())));
        let is_used =
            |path: &io::Result<PathBuf>| path.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
        let created = paths.map(|path| create(&path).map(|()| path)).find(|path| !is_used(path));
        created.expect("there are more names than files").inspect_err(|_| self.remove_if_empty())
    }

    /// Removes a directory for a backup after a failure.
    fn discard(&self, backup: &Path) {
        let _ = fs::remove_dir_all(backup);
        self.remove_if_empty();
    }

    fn remove_if_empty(&self) {
        let _ = fs::remove_dir(&self.backups);
    }
}

/// Returns whether another staging area may work, because this one is on another file system or not writable.
fn is_unsuitable(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

/// Renames `from` without replacing anything.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] if `to` exists.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {} // not supported by the file system
            result => return Ok(result?),
        }
    }
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Swaps two directories.
fn swap(new: &Path, existing: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, existing, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // not atomic: without support for an exchange, the destination is missing for a moment
    let mut old = new.as_os_str().to_owned();
    old.push(".old");
    let old = Path::new(&old);
    rename_new(existing, old)?;
    rename_new(new, existing).inspect_err(|_| drop(rename_new(old, existing)))?;
    rename_new(old, new)
}

/// Returns whether `version` is a version that is later than the one of this program.
fn is_newer(version: &str) -> bool {
    let numbers = |version: &str| version.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    numbers(version).is_some_and(|version| Some(version) > numbers(env!("CARGO_PKG_VERSION")))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = fs::File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Reads all files below `dir`. Returns `false` for a file that skills of this program never have.
fn read(dir: &Path, prefix: &str, files: &mut Files) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { return Ok(false) };
        if IGNORED.contains(&name.as_str()) {
            continue;
        }
        let (metadata, path) = (fs::symlink_metadata(entry.path())?, format!("{prefix}{name}"));
        if metadata.is_dir() {
            if !read(&entry.path(), &format!("{path}/"), files)? {
                return Ok(false);
            }
        } else if metadata.is_file() && metadata.len() <= MAX_FILE_SIZE && files.len() < MAX_FILES {
            files.insert(path, fs::read(entry.path())?);
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_stale(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_staging = entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX);
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_staging && age.is_some_and(|age| age > STALE_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

//! The directory of one skill: what stands there, and how it is replaced. At every moment it is the old or the new one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Files, MAIN_FILE, Skill, Stamp, digest_of};
use crate::error::{Error, ErrorKind, Result};
use crate::paths;

/// More files than this are no skill of ours, and need not be read to know it.
const MOST_FILES: usize = 1000;
/// Nor is a larger file.
const LARGEST: u64 = 1 << 20;

/// What systems and interpreters leave beside files. It is nobody's edit.
const LITTER: [&str; 3] = [".DS_Store", "Thumbs.db", "__pycache__"];

/// Where new directories are made before they are moved into place.
const STAGING_PREFIX: &str = ".invoke-persist-skill-";
/// Where the directory for skills is a mount point, what is kept is in it, hidden from the hosts.
const KEPT_INSIDE: &str = ".replaced";
/// A staging directory this old belongs to a process that was killed.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);

/// What stands in the place of a skill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    UpToDate,
    /// As this other release of ours left it.
    Outdated {
        version: String,
    },
    /// From us, and changed since.
    Modified,
    /// Not from us.
    Foreign {
        why: String,
    },
}

impl State {
    /// The word for it, as `npx skills` and `gh skill` have it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UpToDate => "up-to-date",
            Self::Outdated { .. } => "outdated",
            Self::Modified => "modified",
            Self::Foreign { .. } => "foreign",
        }
    }

    /// Whether something of the user's would be lost with it.
    pub(crate) fn has_user_changes(&self) -> bool {
        matches!(self, Self::Modified | Self::Foreign { .. })
    }
}

/// The place of a skill: a directory for skills, and in it the skill's own.
#[derive(Clone, Debug)]
pub(crate) struct SkillDir {
    pub skill: Skill,
    /// The directory for skills.
    pub skills: PathBuf,
}

impl SkillDir {
    pub(crate) fn dir(&self) -> PathBuf {
        self.skills.join(self.skill.name())
    }

    pub(crate) fn state(&self) -> Result<State> {
        let dir = self.dir();
        let fail = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("the skill in '{}' cannot be read", dir.display())).with_io_cause(&error)
        };
        let foreign = |why: &str| Ok(State::Foreign { why: why.to_owned() });
        match fs::symlink_metadata(&dir) {
            Ok(metadata) if metadata.is_symlink() => return foreign("it is a link"),
            Ok(metadata) if !metadata.is_dir() => return foreign("it is no directory"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
            Err(error) => return Err(fail(error)),
        }
        let mut files = Files::new();
        match read(&dir, "", &mut files) {
            Ok(true) => {}
            Ok(false) => return foreign("it holds other things than a skill does"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.state(), // it was changed meanwhile
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

    /// Puts the skill there, in the place of what is there now. What is precious is moved aside; tells where.
    pub(crate) fn install(&self, there: &State) -> Result<Option<PathBuf>> {
        let dir = self.dir();
        self.change("written", |workplace| {
            if there.has_user_changes() {
                // made where the old one is to be kept, since they change places in one step
                let kept = workplace.take_place(self.skill, |kept| fs::create_dir(kept))?;
                let placed = self.write_to(&kept).and_then(|()| swap(&kept, &dir));
                return placed.inspect_err(|_| workplace.give_back(&kept)).map(|()| Some(kept));
            }
            let staging = workplace.staging()?;
            let new = staging.path().join("new");
            self.write_to(&new)?;
            let placed = if *there == State::Missing { rename_new(&new, &dir) } else { swap(&new, &dir) };
            placed.map(|()| None)
        })
    }

    /// Takes away whatever is there. With `keep` it is moved aside; tells where.
    pub(crate) fn remove(&self, keep: bool) -> Result<Option<PathBuf>> {
        let dir = self.dir();
        self.change("removed", |workplace| {
            if keep {
                return workplace.take_place(self.skill, |kept| rename_new(&dir, kept)).map(Some);
            }
            let staging = workplace.staging()?;
            fs::rename(&dir, staging.path().join("old"))?;
            Ok(None)
        })
    }

    fn write_to(&self, dir: &Path) -> io::Result<()> {
        self.skill.files().into_iter().try_for_each(|(path, content)| write(&dir.join(path), &content))
    }

    /// Makes a change in the first workplace where that can be done. A change that fails leaves everything as it was.
    fn change<T>(&self, what: &str, change: impl Fn(&Workplace) -> io::Result<T>) -> Result<T> {
        let done = fs::create_dir_all(&self.skills).and_then(|()| {
            let skills = paths::resolve(&self.skills)?;
            match change(&Workplace::beside(&skills)) {
                Err(error) if is_of_the_place(&error) => change(&Workplace::inside(&skills)),
                done => done,
            }
        });
        done.map_err(|error| {
            Error::new(ErrorKind::Io, format!("the skill '{}' cannot be {what}", self.dir().display()))
                .with_io_cause(&error)
                .with_hint("make the directory for skills writable, or name another one with --dir")
        })
    }
}

/// Where new directories are made, and where old ones are kept. No host takes them for skills: codex finds none of two that
/// have one name.
struct Workplace {
    /// For what is gone after the change.
    directory: PathBuf,
    /// For what is kept.
    aside: PathBuf,
}

impl Workplace {
    /// Beside the directory for skills.
    fn beside(skills: &Path) -> Self {
        let mut name = skills.file_name().unwrap_or_default().to_owned();
        name.push("-replaced");
        Self { directory: skills.parent().unwrap_or(skills).to_owned(), aside: skills.with_file_name(name) }
    }

    /// In the directory for skills, under names that the hosts skip.
    fn inside(skills: &Path) -> Self {
        Self { directory: skills.to_owned(), aside: skills.join(KEPT_INSIDE) }
    }

    fn staging(&self) -> io::Result<TempDir> {
        remove_leftovers(&self.directory);
        tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(&self.directory)
    }

    /// Lets `take` make something of `skill` that is to be kept, under the first name that it finds free. `take` fails
    /// for a name that is not free. Returns the path.
    fn take_place(&self, skill: Skill, take: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.aside)?;
        let paths = (1..u32::MAX).map(|n| self.aside.join(format!("{}.{n}", skill.name())));
        let is_taken =
            |path: &io::Result<PathBuf>| path.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
        let taken = paths.map(|path| take(&path).map(|()| path)).find(|path| !is_taken(path));
        taken.expect("there are more names than files").inspect_err(|_| self.remove_if_empty())
    }

    /// Removes what was made in a place that is not needed after all.
    fn give_back(&self, kept: &Path) {
        let _ = fs::remove_dir_all(kept);
        self.remove_if_empty();
    }

    fn remove_if_empty(&self) {
        let _ = fs::remove_dir(&self.aside);
    }
}

/// Whether it may be done in another workplace: this one is on another file system, or cannot be written.
fn is_of_the_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

/// Renames `from`, but not over something.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] if something has that name.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {} // a file system that cannot
            done => return Ok(done?),
        }
    }
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Lets `new` and `there` change places.
fn swap(new: &Path, there: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, there, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // a system or file system that cannot: for a moment there is nothing
    let mut old = new.as_os_str().to_owned();
    old.push(".old");
    let old = Path::new(&old);
    rename_new(there, old)?;
    rename_new(new, there).inspect_err(|_| drop(rename_new(old, there)))?;
    rename_new(old, new)
}

/// Whether this is a later release than we are. What is no version is not.
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

/// Reads all files below `dir`. `false`: there is something that a skill of ours never has.
fn read(dir: &Path, prefix: &str, files: &mut Files) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { return Ok(false) };
        if LITTER.contains(&name.as_str()) {
            continue;
        }
        let (metadata, path) = (fs::symlink_metadata(entry.path())?, format!("{prefix}{name}"));
        if metadata.is_dir() {
            if !read(&entry.path(), &format!("{path}/"), files)? {
                return Ok(false);
            }
        } else if metadata.is_file() && metadata.len() <= LARGEST && files.len() < MOST_FILES {
            files.insert(path, fs::read(entry.path())?);
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX);
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if ours && age.is_some_and(|age| age > LEFTOVER_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

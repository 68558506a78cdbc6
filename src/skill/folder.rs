//! The folder of one skill: what stands there, and how it is replaced. At every moment it is the old or the new one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Files, MAIN_FILE, Skill, Stamp, digest_of};
use crate::error::{Error, Kind, Result};
use crate::store::location;

/// More files than this are no skill of ours, and need not be read to know it.
const MOST_FILES: usize = 1000;
/// Nor is a larger file.
const LARGEST: u64 = 1 << 20;

/// What systems and interpreters leave beside files. It is nobody's edit.
const LITTER: [&str; 3] = [".DS_Store", "Thumbs.db", "__pycache__"];

/// Where new folders are made before they are moved into place.
const STAGING_PREFIX: &str = ".invoke-persist-skill-";
/// A staging folder this old belongs to a process that was killed.
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
    pub(crate) fn is_precious(&self) -> bool {
        matches!(self, Self::Modified | Self::Foreign { .. })
    }
}

/// The place of a skill: a folder for skills, and in it the skill's own.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub skill: Skill,
    /// The folder for skills.
    pub skills: PathBuf,
}

impl Place {
    pub(crate) fn folder(&self) -> PathBuf {
        self.skills.join(self.skill.name())
    }

    pub(crate) fn state(&self) -> Result<State> {
        let folder = self.folder();
        let fail = |error: io::Error| {
            Error::new(Kind::Io, format!("the skill in '{}' cannot be read", folder.display())).because(&error)
        };
        let foreign = |why: &str| Ok(State::Foreign { why: why.to_owned() });
        match fs::symlink_metadata(&folder) {
            Ok(metadata) if metadata.is_symlink() => return foreign("it is a link"),
            Ok(metadata) if !metadata.is_dir() => return foreign("it is no folder"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
            Err(error) => return Err(fail(error)),
        }
        let mut files = Files::new();
        if !read(&folder, "", &mut files).map_err(fail)? {
            return foreign("it holds other things than a skill does");
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

    /// Puts the skill there, in the place of whatever is. With `keep` that is moved aside; tells where.
    pub(crate) fn install(&self, keep: bool) -> Result<Option<PathBuf>> {
        let folder = self.folder();
        self.change("written", || {
            fs::create_dir_all(&self.skills)?;
            let staging = self.staging()?;
            // made where the old one is to be kept, since they change places in one step
            let kept = if keep { Some(self.free_place_aside()?) } else { None };
            let new = kept.clone().unwrap_or_else(|| staging.path().join("new"));
            let placed = self.write_to(&new).and_then(|()| match fs::symlink_metadata(&folder) {
                Ok(_) => swap(&new, &folder),
                Err(_) => fs::rename(&new, &folder),
            });
            placed.inspect_err(|_| drop(fs::remove_dir_all(&new)))?;
            Ok(kept)
        })
    }

    /// Takes away whatever is there. With `keep` it is moved aside; tells where.
    pub(crate) fn remove(&self, keep: bool) -> Result<Option<PathBuf>> {
        self.change("removed", || {
            if keep {
                let kept = self.free_place_aside()?;
                return fs::rename(self.folder(), &kept).map(|()| Some(kept));
            }
            let staging = self.staging()?;
            fs::rename(self.folder(), staging.path().join("old"))?;
            Ok(None)
        })
    }

    fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.skill.files().into_iter().try_for_each(|(path, content)| write(&folder.join(path), &content))
    }

    fn change<T>(&self, what: &str, change: impl FnOnce() -> io::Result<T>) -> Result<T> {
        change().map_err(|error| {
            Error::new(Kind::Io, format!("the skill '{}' cannot be {what}", self.folder().display()))
                .because(&error)
                .hint("make the folder for skills writable, or name another one with --dir")
        })
    }

    /// A folder on the same file system that no host takes for one of its own: beside the folder for skills, or if
    /// nothing can be made there, in it.
    fn staging(&self) -> io::Result<TempDir> {
        let skills = location::resolve(&self.skills)?;
        let beside = skills.parent().unwrap_or(&skills);
        remove_leftovers(beside);
        let make = |folder: &Path| tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(folder);
        make(beside).or_else(|_| make(&skills))
    }

    /// A path for what is to be kept, outside of every folder for skills: codex finds none of two that have one name.
    fn free_place_aside(&self) -> io::Result<PathBuf> {
        let skills = location::resolve(&self.skills)?;
        let mut name = skills.file_name().unwrap_or_default().to_owned();
        name.push("-replaced");
        let aside = skills.with_file_name(name);
        fs::create_dir_all(&aside)?;
        let free = (1..u32::MAX)
            .map(|n| aside.join(format!("{}.{n}", self.skill.name())))
            .find(|path| fs::symlink_metadata(path).is_err());
        Ok(free.expect("there are more names than files"))
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
    let old = new.with_extension("old");
    fs::rename(there, &old)?;
    fs::rename(new, there).inspect_err(|_| drop(fs::rename(&old, there)))?;
    fs::rename(&old, new)
}

/// Whether this is a later release than we are. What is no version is not.
fn is_newer(version: &str) -> bool {
    let numbers = |version: &str| version.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    numbers(version).is_some_and(|version| Some(version) > numbers(env!("CARGO_PKG_VERSION")))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Reads all files below `folder`. `false`: there is something that a skill of ours never has.
fn read(folder: &Path, prefix: &str, files: &mut Files) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
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

fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX);
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if ours && age.is_some_and(|age| age > LEFTOVER_AFTER) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

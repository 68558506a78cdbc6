//! Where lock files are: in directories that no variable moves, so that all processes of a user meet there whatever
//! their environment, and below `INVOKE_PERSIST_DIR`, so that containers meet which share only that.
//!
//! A lock is taken in every directory that can be used. Two processes that see different ones, for instance because one
//! of them may not write to `/tmp`, still meet in those that both see.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::io_message;
use crate::env;

/// The directory below `INVOKE_PERSIST_DIR` that holds locks.
const SHARED: &str = "locks";

/// A directory for locks that is there and ours alone.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    /// Whether other machines or containers may share it.
    pub(super) shared: bool,
}

/// A directory that may serve for locks.
pub(super) enum Candidate {
    /// In the system's directory for temporary files. Anybody can create it there first, and it may be read-only or full.
    Temporary,
    /// In the home directory, in use from when the one before could not be used for the first time.
    Home,
    /// Below `INVOKE_PERSIST_DIR`, if that is there.
    Shared(PathBuf),
}

/// All candidates, in the order in which locks are taken in them.
pub(super) fn candidates() -> impl Iterator<Item = Candidate> {
    let shared = env::var_os(env::DIR).map(|dir| Candidate::Shared(Path::new(&dir).join(SHARED)));
    [Candidate::Temporary, Candidate::Home].into_iter().chain(shared)
}

impl Candidate {
    /// The directory, made if it is not there. `None`: it is not in use. `needed`: no candidate before this one could be
    /// used.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, or is not ours alone.
    pub(super) fn open(&self, needed: bool) -> io::Result<Option<Dir>> {
        let (path, parents) = match self {
            Self::Temporary => (temporary()?, cfg!(windows)),
            Self::Home => match home() {
                Some(path) if needed || path.exists() => (path, true),
                _ => return Ok(None),
            },
            Self::Shared(path) => (path.clone(), false),
        };
        make_private(&path, parents)?;
        Ok(Some(Dir { path, shared: matches!(self, Self::Shared(_)) }))
    }
}

/// Makes `INVOKE_PERSIST_DIR` if it is set and not there, so that locks can be taken in it. For what writes there later:
/// what only reads must not leave it behind.
pub(crate) fn make_shared() {
    if let Some(dir) = env::var_os(env::DIR) {
        let _ = make_private(Path::new(&dir), true); // what is wrong with it shows when it is used
    }
}

/// The first directory for locks that can be used, but not one that is shared.
///
/// # Errors
///
/// None can be used.
pub(crate) fn dir() -> io::Result<PathBuf> {
    let mut unusable = Vec::new();
    for candidate in [Candidate::Temporary, Candidate::Home] {
        match candidate.open(true) {
            Ok(Some(dir)) => return Ok(dir.path),
            Ok(None) => {}
            Err(error) => unusable.push(error),
        }
    }
    Err(join(&unusable))
}

/// One error for all directories.
pub(super) fn join(errors: &[io::Error]) -> io::Error {
    let kind = errors.first().map_or(io::ErrorKind::NotFound, io::Error::kind);
    let all: Vec<String> = errors.iter().map(io_message).collect();
    io::Error::new(kind, all.join("; "))
}

pub(super) fn cannot_be_used(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the directory '{}' cannot be used: {}", dir.display(), io_message(error)))
}

#[cfg(target_os = "macos")]
fn temporary() -> io::Result<PathBuf> {
    // the user's own temp directory, as the system and not the environment has it
    static ANSWER: OnceLock<String> = OnceLock::new();
    if ANSWER.get().is_none() {
        let answer = std::process::Command::new("/usr/bin/getconf").arg("DARWIN_USER_TEMP_DIR").output()?;
        let _ = ANSWER.set(String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    }
    let parent = ANSWER.get().filter(|answer| !answer.is_empty()).map_or("/tmp", String::as_str);
    Ok(Path::new(parent).join(format!("invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(all(unix, not(target_os = "macos")))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system has to be asked")]
fn temporary() -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("/tmp/invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(windows)]
fn temporary() -> io::Result<PathBuf> {
    let local = env::var_os("LOCALAPPDATA")
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the variable LOCALAPPDATA is not set"))?;
    Ok(PathBuf::from(local).join("invoke-persist"))
}

/// Below the home directory, wherever `HOME` is. Windows does without: its first directory is below the user's profile.
fn home() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || env::account_home().filter(|home| home.is_dir());
    HOME.get_or_init(|| find().map(|home| home.join(".cache/invoke-persist"))).clone()
}

/// Makes a directory, and with `parents` all above it, unless it is there. Fails unless it is ours alone.
#[cfg(unix)]
fn make_private(path: &Path, parents: bool) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match std::fs::DirBuilder::new().recursive(parents).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let why = format!("the directory '{}' cannot be made: {}", path.display(), io_message(&error));
            return Err(io::Error::new(error.kind(), why));
        }
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(path)?;
    let shown = path.display();
    let me = rustix::process::geteuid().as_raw();
    let why = if !metadata.is_dir() {
        format!("'{shown}' is not a directory")
    } else if metadata.uid() != me {
        format!("the directory '{shown}' belongs to user {}", metadata.uid())
    } else if metadata.mode() & 0o022 != 0 {
        format!("others may write to the directory '{shown}'")
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(windows)]
fn make_private(path: &Path, parents: bool) -> io::Result<()> {
    match std::fs::DirBuilder::new().recursive(parents).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

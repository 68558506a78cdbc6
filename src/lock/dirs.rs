//! The directories of lock files.
//!
//! The directories in the temp and home directories do not depend on environment variables, so all processes of a user
//! meet there. The one below `INVOKE_PERSIST_DIR` is for containers that share only that.
//!
//! A lock is taken in every usable directory. Two processes may be able to use different ones, for example if `/tmp`
//! is read-only for one of them. They meet in those that both can use.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::io_message;
use crate::env;

/// The name of the lock directory below `INVOKE_PERSIST_DIR`.
const SHARED: &str = "locks";

/// An existing lock directory that is private to the user.
#[derive(Debug)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    /// Whether other machines or containers may share it.
    pub(super) shared: bool,
}

/// A directory that may be usable for locks.
pub(super) enum Candidate {
    /// In the system's temp directory, where another user may create it first. It may also be read-only or full.
    Temporary,
    /// In the home directory. It is created the first time that the temp directory is unusable, and used from then on.
    Home,
    /// Below `INVOKE_PERSIST_DIR`, if that exists.
    Shared(PathBuf),
}

/// Returns all candidates, in the order in which they are locked.
pub(super) fn candidates() -> impl Iterator<Item = Candidate> {
    let shared = env::var_os(env::DIR).map(|dir| Candidate::Shared(Path::new(&dir).join(SHARED)));
    [Candidate::Temporary, Candidate::Home].into_iter().chain(shared)
}

impl Candidate {
    /// Opens the directory and creates it if necessary. Returns `None` if it is not in use. `needed` means that no
    /// earlier candidate was usable.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be created or is not private to the user.
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

    /// Returns the directory if it exists and locks can be in it. Creates nothing.
    pub(super) fn existing(&self) -> Option<Dir> {
        let path = match self {
            Self::Temporary => temporary().ok()?,
            Self::Home => home()?,
            Self::Shared(path) => path.clone(),
        };
        check_private(&path).ok()?;
        Some(Dir { path, shared: matches!(self, Self::Shared(_)) })
    }
}

/// Creates `INVOKE_PERSIST_DIR` if it is set, so that locks can be taken in it. A command that only reads must not call
/// this, because it must not create the directory.
pub(crate) fn make_shared() {
    if let Some(dir) = env::var_os(env::DIR) {
        let _ = make_private(Path::new(&dir), true); // an error is reported when the directory is used
    }
}

/// Returns the first usable lock directory that is not shared.
///
/// # Errors
///
/// Fails if none is usable.
pub(crate) fn dir() -> io::Result<PathBuf> {
    let mut errors = Vec::new();
    for candidate in [Candidate::Temporary, Candidate::Home] {
        match candidate.open(true) {
            Ok(Some(dir)) => return Ok(dir.path),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    Err(join(&errors))
}

/// Joins the errors of all directories.
pub(super) fn join(errors: &[io::Error]) -> io::Error {
    let kind = errors.first().map_or(io::ErrorKind::NotFound, io::Error::kind);
    let all: Vec<String> = errors.iter().map(io_message).collect();
    io::Error::new(kind, all.join("; "))
}

pub(super) fn unusable(dir: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot use the directory '{}': {}", dir.display(), io_message(error)))
}

#[cfg(target_os = "macos")]
fn temporary() -> io::Result<PathBuf> {
    // the user's own temp directory, from the system and not the environment
    static OUTPUT: OnceLock<String> = OnceLock::new();
    if OUTPUT.get().is_none() {
        let output = std::process::Command::new("/usr/bin/getconf").arg("DARWIN_USER_TEMP_DIR").output()?;
        let _ = OUTPUT.set(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let parent = OUTPUT.get().filter(|output| !output.is_empty()).map_or("/tmp", String::as_str);
    Ok(Path::new(parent).join(format!("invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(all(unix, not(target_os = "macos")))]
#[expect(clippy::unnecessary_wraps, reason = "on macOS and Windows it can fail")]
fn temporary() -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("/tmp/invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(windows)]
fn temporary() -> io::Result<PathBuf> {
    let local = env::var_os("LOCALAPPDATA")
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "LOCALAPPDATA is not set"))?;
    Ok(PathBuf::from(local).join("invoke-persist"))
}

/// Returns the directory below the account's home directory, regardless of `HOME`. On Windows there is none, because
/// the first directory is already below the user's profile.
fn home() -> Option<PathBuf> {
    static HOME: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || env::account_home().filter(|home| home.is_dir());
    HOME.get_or_init(|| find().map(|home| home.join(".cache/invoke-persist"))).clone()
}

/// Creates a directory, and with `parents` those above it, if it is missing. Fails if it is not private to the user.
#[cfg(unix)]
pub(crate) fn make_private(path: &Path, parents: bool) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().recursive(parents).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let message = format!("cannot create the directory '{}': {}", path.display(), io_message(&error));
            return Err(io::Error::new(error.kind(), message));
        }
        _ => {}
    }
    check_private(path)
}

/// Fails if the directory is missing or not private to the user.
#[cfg(unix)]
pub(crate) fn check_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path)?;
    let shown = path.display();
    let own_uid = rustix::process::geteuid().as_raw();
    let message = if !metadata.is_dir() {
        format!("'{shown}' is not a directory")
    } else if metadata.uid() != own_uid {
        format!("the directory '{shown}' belongs to user {}", metadata.uid())
    } else if metadata.mode() & 0o022 != 0 {
        format!("the directory '{shown}' is writable by other users")
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(windows)]
pub(crate) fn make_private(path: &Path, parents: bool) -> io::Result<()> {
    match std::fs::DirBuilder::new().recursive(parents).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Fails if the directory is missing. It is in a directory that is private to the user.
#[cfg(windows)]
pub(crate) fn check_private(path: &Path) -> io::Result<()> {
    std::fs::symlink_metadata(path).map(drop)
}

//! Paths by the rules of Python's `os.path` and `pathlib`, which the original used. Both programs must find the same file.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};

/// Returns the system's temp directory by the rule of Python's `tempfile.gettempdir`: the first writable candidate.
///
/// If none is writable, returns the first that exists, because reading must work in a read-only sandbox.
pub(crate) fn temp_dir() -> Result<PathBuf> {
    let mut first_that_exists = None;
    for candidate in environment::temp_dir_candidates() {
        let candidate = absolute(&candidate)?;
        if !candidate.is_dir() {
            continue;
        }
        if is_writable(&candidate) {
            return Ok(candidate);
        }
        first_that_exists.get_or_insert(candidate);
    }
    first_that_exists.ok_or_else(|| {
        Error::new(ErrorKind::Io, "cannot find a temp directory")
            .with_hint(format!("set TMPDIR or {} to a private directory", environment::DIR))
    })
}

/// Returns whether permissions allow files to be created in `dir`.
#[cfg(unix)]
pub(crate) fn is_writable(dir: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok() && !is_virtual(dir)
}

/// Always true, because temp directories are private on Windows.
#[cfg(windows)]
pub(crate) fn is_writable(_dir: &Path) -> bool {
    true
}

/// Returns whether the directory is in a virtual file system (`/proc`, `/sys`).
///
/// Root has write permission there, but cannot create files. Python notices by creating one, but reading a mapping must
/// not write anything.
#[cfg(target_os = "linux")]
fn is_virtual(dir: &Path) -> bool {
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572; // statfs(2)
    let kind = rustix::fs::statfs(dir).map(|system| system.f_type);
    kind.is_ok_and(|kind| [rustix::fs::PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&kind))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_virtual(_dir: &Path) -> bool {
    false
}

/// Returns the workspace as text, which JSON requires.
pub(crate) fn to_text(workspace: &Path) -> Result<&str> {
    workspace.to_str().ok_or_else(|| {
        Error::usage(format!("the workspace {} is not UTF-8", workspace.display()))
            .with_hint("use a directory whose path is UTF-8")
    })
}

pub(crate) fn current_dir() -> Result<PathBuf> {
    env::current_dir().map_err(|error| {
        Error::new(ErrorKind::Io, "cannot find the current directory")
            .with_io_cause(&error)
            .with_hint("change to an existing directory")
    })
}

/// Makes `path` absolute as Python's `os.path.abspath` does. Removes `.`, `..` and double slashes lexically.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let joined = if path.is_absolute() { path.to_owned() } else { current_dir()?.join(path) };
    let mut absolute = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                absolute.pop();
            }
            Component::CurDir => {}
            other => absolute.push(other),
        }
    }
    Ok(with_two_slashes(joined.as_os_str().as_encoded_bytes(), absolute))
}

/// Returns the path that Python's `str(Path(text))` gives, which has no `.`, double slashes or slash at the end.
pub(crate) fn python_path(text: &str) -> PathBuf {
    let path: PathBuf = Path::new(text).components().filter(|component| *component != Component::CurDir).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { with_two_slashes(text.as_bytes(), path) }
}

/// Returns `path` with two slashes at its beginning if `bytes` begins with exactly two.
///
/// Their meaning is up to the system (POSIX), and Python keeps them.
fn with_two_slashes(bytes: &[u8], path: PathBuf) -> PathBuf {
    if !cfg!(unix) || !bytes.starts_with(b"//") || bytes.starts_with(b"///") {
        return path;
    }
    let mut two = std::ffi::OsString::from("/");
    two.push(path);
    two.into()
}

/// Makes `path` absolute and resolves symlinks, as Python's `Path.resolve()` does.
///
/// Missing components are resolved lexically, and so is `..` below them. A symlink loop is an error.
#[cfg(unix)]
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    follow(path, |candidate| std::fs::read_link(candidate).map_or(Ok(None), |target| Ok(Some(target))))
}

/// Makes `path` absolute and resolves symlinks, as on Unix. Removes the `\\?\` that the system adds.
#[cfg(windows)]
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut existing = path.as_path();
    loop {
        match std::fs::canonicalize(existing) {
            Ok(mut resolved) => {
                resolved.extend(missing.iter().rev());
                let text = resolved.to_string_lossy();
                return Ok(match (text.strip_prefix(r"\\?\UNC\"), text.strip_prefix(r"\\?\")) {
                    (Some(share), _) => PathBuf::from(format!(r"\\{share}")),
                    (None, Some(plain)) if resolved.to_str().is_some() => PathBuf::from(plain),
                    _ => resolved.clone(),
                });
            }
            Err(error) => match (existing.parent(), existing.file_name()) {
                (Some(parent), Some(name)) => {
                    missing.push(name.to_owned());
                    existing = parent;
                }
                _ => return Err(error),
            },
        }
    }
}

/// Resolves `path` as [`resolve`] does, but refuses symlinks that another user may have planted.
///
/// Such a symlink is in a sticky directory that everyone may write to. It belongs neither to this user nor to the owner
/// of the directory. This is the rule of Linux's `fs.protected_symlinks`, which the kernel does not apply to symlinks
/// that a program reads itself.
///
/// # Errors
///
/// [`io::ErrorKind::PermissionDenied`] for such a symlink, and the errors of [`resolve`].
#[cfg(unix)]
pub(crate) fn resolve_unplanted(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    const STICKY_FOR_EVERYONE: u32 = 0o1002;
    follow(path, |candidate| {
        // reads the owner first: in a sticky directory, nobody else can replace a symlink that passes the check
        let link = match std::fs::symlink_metadata(candidate) {
            Ok(metadata) if metadata.is_symlink() => metadata,
            _ => return Ok(None),
        };
        if link.uid() != rustix::process::geteuid().as_raw() {
            let directory = std::fs::symlink_metadata(candidate.parent().unwrap_or(Path::new("/")))?;
            let shared = directory.mode() & STICKY_FOR_EVERYONE == STICKY_FOR_EVERYONE;
            if shared && link.uid() != directory.uid() {
                let why = format!("the symlink '{}' belongs to user {}", candidate.display(), link.uid());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        std::fs::read_link(candidate).map(Some)
    })
}

/// Resolves `path` as [`resolve`] does. Other users cannot plant symlinks, which need a privilege on Windows.
#[cfg(windows)]
pub(crate) fn resolve_unplanted(path: &Path) -> io::Result<PathBuf> {
    resolve(path)
}

/// Resolves `path` from the root on. `read_link` returns the target of a symlink, and `None` for other files.
#[cfg(unix)]
fn follow(path: &Path, read_link: impl Fn(&Path) -> io::Result<Option<PathBuf>>) -> io::Result<PathBuf> {
    /// The limit of Linux for one path (`path_resolution(7)`).
    const MAX_LINKS: usize = 40;
    let mut rest: Vec<PathBuf> =
        vec![if path.is_absolute() { path.to_owned() } else { env::current_dir()?.join(path) }];
    let mut resolved = PathBuf::from("/");
    let mut links = 0;
    while let Some(next) = rest.pop() {
        let mut components = next.components();
        let Some(first) = components.next() else { continue };
        let remaining = components.as_path();
        if !remaining.as_os_str().is_empty() {
            rest.push(remaining.to_owned());
        }
        match first {
            Component::RootDir => resolved = PathBuf::from("/"),
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => {
                let candidate = resolved.join(name);
                match read_link(&candidate)? {
                    Some(target) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(io::Error::other("its symlinks form a loop"));
                        }
                        rest.push(target);
                    }
                    None => resolved = candidate,
                }
            }
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(resolved)
}

/// Finds `program` in the directories of `path` (a value of `PATH`), or as a path below `dir`.
pub(crate) fn find_program(program: &str, path: Option<&OsStr>, dir: &Path) -> Result<PathBuf> {
    if let Ok(found) = which::which_in(program, path, dir) {
        return Ok(dir.join(found)); // PATH may contain relative directories, and the agent may start in another one
    }
    let candidates: Vec<PathBuf> = if Path::new(program).components().count() > 1 {
        vec![dir.join(program)]
    } else {
        path.map(|path| env::split_paths(path).map(|dir| dir.join(program)).collect()).unwrap_or_default()
    };
    if let Some(file) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Err(Error::new(ErrorKind::AgentNotExecutable, format!("cannot execute '{}'", file.display()))
            .caused_by("the file is not executable")
            .with_hint("make it executable, or pass another command"));
    }
    let not_found = Error::new(ErrorKind::AgentNotFound, format!("cannot find the agent's program '{program}'"));
    Err(if let Some(dir) = candidates.iter().find(|candidate| candidates.len() == 1 && candidate.is_dir()) {
        not_found.caused_by(format!("'{}' is a directory", dir.display()))
    } else {
        not_found
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn as_many_symlinks_are_followed_as_on_linux() {
        // /40 is a symlink to 39, and so on; /0 is a file
        let read_link = |path: &Path| {
            let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            Ok(number.checked_sub(1).map(|next| PathBuf::from(next.to_string())))
        };
        assert_eq!(follow(Path::new("/40"), read_link).unwrap(), Path::new("/0"));
        assert_eq!(follow(Path::new("/41"), read_link).unwrap_err().to_string(), "its symlinks form a loop");
    }
}

//! Paths by the rules of Python's `os.path` and `pathlib`: the original used those, and both programs must come to the
//! same file.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};

/// The system's temp directory, by the rule of Python's `tempfile.gettempdir`: the first of several that can be written to.
/// If none can, the first that is there, since reading must work in a read-only sandbox.
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
        Error::new(ErrorKind::Io, "there is no temp directory")
            .with_hint(format!("set TMPDIR, or {} to a directory of your own", environment::DIR))
    })
}

/// Whether files can be made in `dir`, as far as permissions tell.
#[cfg(unix)]
pub(crate) fn is_writable(dir: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok() && !is_made_up(dir)
}

/// Windows has no such question; its temp directories are the user's own.
#[cfg(windows)]
pub(crate) fn is_writable(_dir: &Path) -> bool {
    true
}

/// Whether the kernel makes the directory up (`/proc`, `/sys`). There root is told that it may write, and yet nobody can
/// make a file; Python finds out by trying, which would be a write where we only read.
#[cfg(target_os = "linux")]
fn is_made_up(dir: &Path) -> bool {
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572; // statfs(2)
    let kind = rustix::fs::statfs(dir).map(|system| system.f_type);
    kind.is_ok_and(|kind| [rustix::fs::PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&kind))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_made_up(_dir: &Path) -> bool {
    false
}

/// The workspace as text.
pub(crate) fn to_text(workspace: &Path) -> Result<&str> {
    workspace.to_str().ok_or_else(|| {
        Error::usage(format!("the workspace {} is not UTF-8", workspace.display()))
            .with_hint("JSON cannot name it; work from a directory whose path is UTF-8")
    })
}

/// The current directory.
pub(crate) fn current_dir() -> Result<PathBuf> {
    env::current_dir().map_err(|error| {
        Error::new(ErrorKind::Io, "the current directory cannot be found")
            .with_io_cause(&error)
            .with_hint("change to one that exists")
    })
}

/// `path` as Python's `os.path.abspath` gives it: joined to the current directory, `.`, `..` and double slashes removed by
/// name alone.
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

/// The text that Python's `str(Path(text))` gives: without `.`, double slashes and a slash at the end.
pub(crate) fn python_path(text: &str) -> PathBuf {
    let path: PathBuf = Path::new(text).components().filter(|component| *component != Component::CurDir).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { with_two_slashes(text.as_bytes(), path) }
}

/// `path`, with two slashes where `bytes` begins with exactly two: POSIX leaves their meaning to the system, and Python
/// keeps them.
fn with_two_slashes(bytes: &[u8], path: PathBuf) -> PathBuf {
    if !cfg!(unix) || !bytes.starts_with(b"//") || bytes.starts_with(b"///") {
        return path;
    }
    let mut two = std::ffi::OsString::from("/");
    two.push(path);
    two.into()
}

/// `path` as Python's `Path.resolve()` gives it: absolute, without links. What does not exist is taken by name, `..`
/// below it too. A circle of links is an error.
#[cfg(unix)]
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    follow(path, |candidate| std::fs::read_link(candidate).map_or(Ok(None), |target| Ok(Some(target))))
}

/// As on Unix; the system resolves what exists, without the `\\?\` that it puts before its answer.
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

/// Resolves `path` as [`resolve`] does, but refuses every link on it that another user may have planted: one in a sticky
/// directory that everyone may write to, which belongs neither to us nor to the directory's owner. That is the rule of
/// Linux's `fs.protected_symlinks`, which the kernel cannot apply to links that a program reads.
///
/// # Errors
///
/// [`io::ErrorKind::PermissionDenied`] if there is such a link, and the errors of [`resolve`].
#[cfg(unix)]
pub(crate) fn resolve_unplanted(path: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    const STICKY_FOR_EVERYONE: u32 = 0o1002;
    follow(path, |candidate| {
        // the owner is read first: what is ours, or the directory owner's, nobody else can replace in a sticky directory
        let link = match std::fs::symlink_metadata(candidate) {
            Ok(metadata) if metadata.is_symlink() => metadata,
            _ => return Ok(None),
        };
        if link.uid() != rustix::process::geteuid().as_raw() {
            let directory = std::fs::symlink_metadata(candidate.parent().unwrap_or(Path::new("/")))?;
            let shared = directory.mode() & STICKY_FOR_EVERYONE == STICKY_FOR_EVERYONE;
            if shared && link.uid() != directory.uid() {
                let why = format!("the link '{}' belongs to user {}", candidate.display(), link.uid());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
        }
        std::fs::read_link(candidate).map(Some)
    })
}

/// Making links takes a privilege on Windows, so there is nobody who could plant one.
#[cfg(windows)]
pub(crate) fn resolve_unplanted(path: &Path) -> io::Result<PathBuf> {
    resolve(path)
}

/// Walks `path` from the root on. `read_link` returns the target of a link, and `None` for what is not one.
#[cfg(unix)]
fn follow(path: &Path, read_link: impl Fn(&Path) -> io::Result<Option<PathBuf>>) -> io::Result<PathBuf> {
    /// As many links as Linux follows on one path (`path_resolution(7)`).
    const MOST_LINKS: usize = 40;
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
                        if links > MOST_LINKS {
                            return Err(io::Error::other("its links go in a circle"));
                        }
                        rest.push(target);
                    }
                    None => resolved = candidate, // not a link, or not there
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
        return Ok(dir.join(found)); // absolute even where PATH has a relative directory: the agent may start elsewhere
    }
    let candidates: Vec<PathBuf> = if Path::new(program).components().count() > 1 {
        vec![dir.join(program)]
    } else {
        path.map(|path| env::split_paths(path).map(|dir| dir.join(program)).collect()).unwrap_or_default()
    };
    if let Some(there) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Err(Error::new(ErrorKind::AgentNotExecutable, format!("'{}' cannot be executed", there.display()))
            .caused_by("the file is not marked as a program")
            .with_hint("make it executable, or name another command"));
    }
    let not_found = Error::new(ErrorKind::AgentNotFound, format!("the agent's program '{program}' was not found"));
    Err(if let Some(dir) = candidates.iter().find(|candidate| candidates.len() == 1 && candidate.is_dir()) {
        not_found.caused_by(format!("'{}' is a directory", dir.display()))
    } else {
        not_found
    })
}

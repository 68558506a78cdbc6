//! Where a workspace's mapping is. Both programs, the original in Python and this one, must come to the same path.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::backend::Backend;
use crate::digest;
use crate::env as environment;
use crate::error::{Error, Kind, Result};

/// The folder below the root that holds a folder for every workspace.
pub(crate) const FOLDER: &str = "agent-sessions";

/// Where a mapping is, and by which rules it is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `<root>/agent-sessions/<key>/<file>`: a known path in a folder that may be everybody's, so it is checked.
    Default { root: PathBuf, key: String, file: PathBuf, private_root: bool },
    /// A file the caller named: links are followed and its mode is kept.
    Explicit { file: PathBuf, resolved: PathBuf },
}

impl Place {
    /// The default place of `backend`'s mapping for `workspace`, a path that [`resolve`] gave.
    pub(crate) fn of_workspace(backend: Backend, workspace: &Path) -> Result<Self> {
        let (root, key) = (Root::chosen()?, key(workspace)?);
        Ok(root.place(backend, &key))
    }

    /// The file a caller named with `--mapping-file`.
    pub(crate) fn explicit(file: &Path) -> Result<Self> {
        let Some(text) = file.to_str() else {
            return Err(Error::usage(format!("--mapping-file {}: the path is not UTF-8", file.display())));
        };
        if text.trim().is_empty() {
            return Err(Error::usage("--mapping-file is blank").hint("name a file, or leave the option out"));
        }
        let resolved = resolve_unplanted(file).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(Kind::MappingUnsafe, format!("--mapping-file {text} is not safe to use"))
                    .because(&error)
                    .hint("remove the link, or name a file in a directory of your own")
            }
            _ => {
                Error::new(Kind::MappingUnreadable, format!("--mapping-file {text} cannot be resolved")).because(&error)
            }
        })?;
        if resolved.file_name().is_none() || text.ends_with('/') || resolved.is_dir() {
            return Err(Error::new(Kind::MappingUnreadable, format!("--mapping-file {text} is a folder, not a file")));
        }
        Ok(Self::Explicit { file: python_path(text), resolved })
    }

    /// The path as it is printed.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Default { file, .. } | Self::Explicit { file, .. } => file,
        }
    }

    /// The path without links, for comparing.
    pub(crate) fn resolved_file(&self) -> PathBuf {
        match self {
            Self::Default { file, .. } => resolve(file).unwrap_or_else(|_| file.clone()),
            Self::Explicit { resolved, .. } => resolved.clone(),
        }
    }
}

/// The folder in which `agent-sessions` is.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub folder: PathBuf,
    /// Whether the caller gave it to us alone.
    pub private: bool,
}

impl Root {
    /// `INVOKE_PERSIST_DIR`, or the system's temp folder.
    pub(crate) fn chosen() -> Result<Self> {
        let (folder, private) = match environment::raw(environment::FOLDER) {
            Some(folder) => (absolute(Path::new(&folder))?, true),
            None => (temp_folder()?, false),
        };
        if folder.to_str().is_none() {
            return Err(Error::usage(format!("the folder for mappings, {}, is not UTF-8", folder.display()))
                .hint(format!("set {} to a folder whose name is", environment::FOLDER)));
        }
        Ok(Self { folder, private })
    }

    /// The place of `backend`'s mapping for the workspace with this key.
    pub(crate) fn place(&self, backend: Backend, key: &str) -> Place {
        let (root, key, private_root) = (self.folder.clone(), key.to_owned(), self.private);
        let file = root.join(FOLDER).join(&key).join(backend.mapping_file_name());
        Place::Default { root, key, file, private_root }
    }
}

/// The system's temp folder, by the rule of Python's `tempfile.gettempdir`: the first of several that can be written to.
/// If none can, the first that is there, since reading must work in a read-only sandbox.
pub(crate) fn temp_folder() -> Result<PathBuf> {
    let mut first_that_exists = None;
    for candidate in environment::temp_folder_candidates() {
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
        Error::new(Kind::Io, "there is no temp folder")
            .hint(format!("set TMPDIR, or {} to a folder of your own", environment::FOLDER))
    })
}

/// Whether files can be made in `folder`, as far as permissions tell.
#[cfg(unix)]
pub(super) fn is_writable(folder: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok() && !is_made_up(folder)
}

/// Whether the kernel makes the folder up (`/proc`, `/sys`). There root is told that it may write, and yet nobody can
/// make a file; Python finds out by trying, which would be a write where we only read.
#[cfg(target_os = "linux")]
fn is_made_up(folder: &Path) -> bool {
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572; // statfs(2)
    let kind = rustix::fs::statfs(folder).map(|system| system.f_type);
    kind.is_ok_and(|kind| [rustix::fs::PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&kind))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_made_up(_folder: &Path) -> bool {
    false
}

/// Windows has no such question; its temp folders are the user's own.
#[cfg(windows)]
pub(super) fn is_writable(_folder: &Path) -> bool {
    true
}

/// `<basename>-<md5>` of a workspace (contract section 3).
fn key(workspace: &Path) -> Result<String> {
    let text = to_text(workspace)?;
    let last = workspace.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut name = String::new();
    for c in last.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            name.push(c);
        } else if !name.ends_with(REPLACED) {
            name.push(REPLACED);
        }
    }
    let name = name.replace(REPLACED, "_");
    let name = name.trim_matches('_');
    let name = if name.is_empty() { "workspace" } else { name };
    Ok(format!("{name}-{}", digest::md5([text.as_bytes()])))
}

/// Stands for a run of replaced characters until all are seen: a `_` of the name itself does not end such a run.
const REPLACED: char = '\0';

/// The workspace as text.
pub(crate) fn to_text(workspace: &Path) -> Result<&str> {
    workspace.to_str().ok_or_else(|| {
        Error::usage(format!("the workspace {} is not UTF-8", workspace.display()))
            .hint("JSON cannot name it; work from a folder whose path is UTF-8")
    })
}

/// The current folder.
pub(crate) fn current_folder() -> Result<PathBuf> {
    env::current_dir().map_err(|error| {
        Error::new(Kind::Io, "the current folder cannot be found").because(&error).hint("change to one that exists")
    })
}

/// `path` as Python's `os.path.abspath` gives it: joined to the current folder, `.`, `..` and double slashes removed by
/// name alone.
fn absolute(path: &Path) -> Result<PathBuf> {
    let joined = if path.is_absolute() { path.to_owned() } else { current_folder()?.join(path) };
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
fn python_path(text: &str) -> PathBuf {
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

/// Making links takes a privilege on Windows, so there is nobody who could plant one.
#[cfg(windows)]
pub(crate) fn resolve_unplanted(path: &Path) -> io::Result<PathBuf> {
    resolve(path)
}

#[cfg(all(test, unix))] // paths as Unix has them
mod tests {
    use super::*;

    /// Recorded from the original.
    #[test]
    fn keys_are_those_of_the_original() {
        for (path, name) in [
            ("/a/my wörk  (space)!", "my_w_rk_space"),
            ("/a/()", "workspace"),
            ("/", "workspace"),
            ("/a/.hidden_", ".hidden"),
            ("/a/x _y", "x__y"),
            ("/a/a\u{0}b", "a_b"),
        ] {
            let key = key(Path::new(path)).unwrap();
            assert_eq!(key.rsplit_once('-').unwrap().0, name, "{path}");
        }
        assert_eq!(key(Path::new("/")).unwrap(), "workspace-6666cd76f96956469e7be39d750cc7d9");
    }

    #[test]
    fn absolute_works_by_name_alone() {
        for (path, want) in
            [("/a/./b//c/../d/", "/a/b/d"), ("/../x", "/x"), ("//a", "//a"), ("///a", "/a"), ("/a/..", "/")]
        {
            assert_eq!(absolute(Path::new(path)).unwrap(), Path::new(want), "{path}");
        }
    }

    #[test]
    fn resolving_follows_links_and_takes_what_is_missing_by_name() {
        use std::os::unix::fs::symlink;
        let temp = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(temp.path()).unwrap();
        std::fs::create_dir_all(base.join("real/sub")).unwrap();
        symlink("real/sub", base.join("link")).unwrap();
        symlink("link", base.join("second")).unwrap();
        symlink("circle", base.join("circle")).unwrap();
        symlink("gone/../x", base.join("dangling")).unwrap();
        for (path, want) in [
            ("link", "real/sub"),
            ("second/..", "real"),
            ("second/../other/./x", "real/other/x"),
            ("none/../link", "real/sub"),
            ("none/x/../y", "none/y"),
            ("dangling/y", "x/y"),
        ] {
            assert_eq!(resolve(&base.join(path)).unwrap(), base.join(want), "{path}");
        }
        assert!(resolve(&base.join("circle/x")).is_err());
        assert_eq!(resolve(Path::new("/../..")).unwrap(), Path::new("/"));
    }

    #[test]
    fn explicit_paths_are_printed_as_python_prints_them() {
        for (text, want) in [
            ("m.json", "m.json"),
            ("./d//m.json", "d/m.json"),
            ("../a/../m", "../a/../m"),
            ("/x/./m", "/x/m"),
            ("//x//m", "//x/m"),
        ] {
            assert_eq!(python_path(text).to_str(), Some(want));
        }
    }
}

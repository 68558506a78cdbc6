//! The location of a workspace's mapping. The original in Python and this program must find the same path.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::backend::Backend;
use crate::digest;
use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};
use crate::paths::{absolute, python_path, resolve, resolve_unplanted, temp_dir, to_text};

/// The directory below the root that contains a directory for each workspace.
pub(crate) const DIR: &str = "agent-sessions";

/// The path of a mapping, and whether this program or the caller chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MappingLocation {
    /// `<root>/agent-sessions/<key>/<file>`. Checked, because other users may have access to the directory.
    Default { root: PathBuf, key: String, file: PathBuf, private_root: bool },
    /// A file that the caller passed. Symlinks are followed, and its mode is kept.
    Explicit { file: PathBuf, resolved: PathBuf },
}

impl MappingLocation {
    /// Returns the default location of the mapping for `workspace`, which is a path from [`resolve`].
    pub(crate) fn of_workspace(backend: Backend, workspace: &Path) -> Result<Self> {
        let (root, key) = (Root::from_env()?, key(workspace)?);
        Ok(root.location(backend, &key))
    }

    /// Returns the location for `--mapping-file`.
    pub(crate) fn explicit(file: &Path) -> Result<Self> {
        let Some(text) = file.to_str() else {
            return Err(Error::usage(format!("--mapping-file {} is not UTF-8", file.display())));
        };
        if text.trim().is_empty() {
            return Err(Error::usage("--mapping-file is blank").with_hint("pass a file, or remove the option"));
        }
        let resolved = resolve_unplanted(file).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::MappingUnsafe, format!("--mapping-file {text} is not safe to use"))
                    .with_io_cause(&error)
                    .with_hint("remove the symlink, or pass a file in a private directory")
            }
            _ => Error::new(ErrorKind::MappingUnreadable, format!("cannot resolve --mapping-file {text}"))
                .with_io_cause(&error),
        })?;
        if resolved.file_name().is_none() || text.ends_with('/') || resolved.is_dir() {
            return Err(Error::new(
                ErrorKind::MappingUnreadable,
                format!("--mapping-file {text} is a directory, not a file"),
            ));
        }
        Ok(Self::Explicit { file: python_path(text), resolved })
    }

    /// Returns the path as it is printed.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Default { file, .. } | Self::Explicit { file, .. } => file,
        }
    }

    /// Returns the path without symlinks, for comparisons.
    pub(crate) fn resolved_file(&self) -> PathBuf {
        match self {
            Self::Default { file, .. } => resolve(file).unwrap_or_else(|_| file.clone()),
            Self::Explicit { resolved, .. } => resolved.clone(),
        }
    }
}

/// The directory that contains `agent-sessions`.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub dir: PathBuf,
    /// Whether the caller chose it for this program.
    pub private: bool,
}

impl Root {
    /// Returns `INVOKE_PERSIST_DIR`, or the system's temp directory.
    pub(crate) fn from_env() -> Result<Self> {
        let (dir, private) = match environment::var_os(environment::DIR) {
            Some(dir) => (absolute(Path::new(&dir))?, true),
            None => (temp_dir()?, false),
        };
        if dir.to_str().is_none() {
            return Err(Error::usage(format!("the directory for mappings, {}, is not UTF-8", dir.display()))
                .with_hint(format!("set {} to a directory whose path is UTF-8", environment::DIR)));
        }
        Ok(Self { dir, private })
    }

    /// Returns the location of `backend`'s mapping for the workspace with this key.
    pub(crate) fn location(&self, backend: Backend, key: &str) -> MappingLocation {
        let (root, key, private_root) = (self.dir.clone(), key.to_owned(), self.private);
        let file = root.join(DIR).join(&key).join(backend.spec().mapping_file);
        MappingLocation::Default { root, key, file, private_root }
    }
}

/// Returns `<basename>-<md5>` of a workspace (contract section 3).
pub(crate) fn key(workspace: &Path) -> Result<String> {
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

/// A placeholder for a run of replaced characters, because a `_` in the name itself is not part of such a run.
const REPLACED: char = '\0';

#[cfg(all(test, unix))] // the paths are Unix paths
mod tests {
    use super::*;

    /// Recorded from the original.
    #[test]
    fn key_equals_the_originals_key() {
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
    fn absolute_is_lexical() {
        for (path, want) in
            [("/a/./b//c/../d/", "/a/b/d"), ("/../x", "/x"), ("//a", "//a"), ("///a", "/a"), ("/a/..", "/")]
        {
            assert_eq!(absolute(Path::new(path)).unwrap(), Path::new(want), "{path}");
        }
    }

    #[test]
    fn resolve_follows_symlinks_and_keeps_missing_names() {
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
    fn python_path_equals_the_text_of_a_python_path() {
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

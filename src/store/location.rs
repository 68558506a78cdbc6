//! Where a workspace's mapping is. Both programs, the original in Python and this one, must come to the same path.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::backend::Backend;
use crate::digest;
use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};
use crate::paths::{absolute, python_path, resolve, resolve_unplanted, temp_dir, to_text};

/// The directory below the root that holds a directory for every workspace.
pub(crate) const DIR: &str = "agent-sessions";

/// Where a mapping is, and by which rules it is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MappingLocation {
    /// `<root>/agent-sessions/<key>/<file>`: a known path in a directory that may be everybody's, so it is checked.
    Default { root: PathBuf, key: String, file: PathBuf, private_root: bool },
    /// A file the caller named: links are followed and its mode is kept.
    Explicit { file: PathBuf, resolved: PathBuf },
}

impl MappingLocation {
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
            return Err(Error::usage("--mapping-file is blank").with_hint("name a file, or leave the option out"));
        }
        let resolved = resolve_unplanted(file).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::MappingUnsafe, format!("--mapping-file {text} is not safe to use"))
                    .with_io_cause(&error)
                    .with_hint("remove the link, or name a file in a directory of your own")
            }
            _ => Error::new(ErrorKind::MappingUnreadable, format!("--mapping-file {text} cannot be resolved"))
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

/// The directory in which `agent-sessions` is.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub dir: PathBuf,
    /// Whether the caller gave it to us alone.
    pub private: bool,
}

impl Root {
    /// `INVOKE_PERSIST_DIR`, or the system's temp directory.
    pub(crate) fn chosen() -> Result<Self> {
        let (dir, private) = match environment::var_os(environment::DIR) {
            Some(dir) => (absolute(Path::new(&dir))?, true),
            None => (temp_dir()?, false),
        };
        if dir.to_str().is_none() {
            return Err(Error::usage(format!("the directory for mappings, {}, is not UTF-8", dir.display()))
                .with_hint(format!("set {} to a directory whose name is", environment::DIR)));
        }
        Ok(Self { dir, private })
    }

    /// The place of `backend`'s mapping for the workspace with this key.
    pub(crate) fn place(&self, backend: Backend, key: &str) -> MappingLocation {
        let (root, key, private_root) = (self.dir.clone(), key.to_owned(), self.private);
        let file = root.join(DIR).join(&key).join(backend.spec().mapping_file);
        MappingLocation::Default { root, key, file, private_root }
    }
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

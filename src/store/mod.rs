//! The mapping: names to sessions, per workspace, in a small JSON file. Knows no agent's command line.
//!
//! [`location`] says where it is, [`mod@format`] what is in it, [`dir`] how it is read and replaced without anybody
//! else getting in between. Here they are put together: one lock, one read, one change, one write.

mod dir;
pub(crate) mod format;
pub(crate) mod location;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::env;
use crate::error::{self, ErrorKind};
use crate::lock::{self, Key, Lock};
use crate::paths;
use crate::session::SessionName;
use crate::ui::Ui;
use dir::Dir;
use format::{Mapping, ParseError};
use location::{MappingLocation, Root};

/// How long a change waits for other processes that change the same mapping. Each takes milliseconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What can go wrong with a mapping.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the mapping '{}' is no JSON object", path.display())]
    Invalid { path: PathBuf, why: String },
    #[error("the mapping '{}' cannot be read", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("the mapping '{}' cannot be written", path.display())]
    Unwritable { path: PathBuf, why: String },
    #[error("the mapping '{}' cannot be locked", path.display())]
    Unlockable { path: PathBuf, why: String },
    /// The file is a mount of its own.
    #[cfg_attr(not(unix), expect(dead_code, reason = "files are not mounted there"))]
    #[error("the mapping '{}' cannot be replaced", path.display())]
    Mounted { path: PathBuf, why: String },
    #[cfg_attr(windows, expect(dead_code, reason = "the temp directory is the user's own there"))]
    #[error("the mapping '{}' is not safe to use", path.display())]
    Unsafe { path: PathBuf, why: String },
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let (kind, why, hint) = match &error {
            Error::Invalid { why, .. } => (
                ErrorKind::MappingInvalid,
                why,
                "repair or remove the file, or name the session by its id; create-session and delete-session move it aside",
            ),
            Error::Unreadable { why, .. } => (
                ErrorKind::MappingUnreadable,
                why,
                "repair or remove the file, or name another one with --mapping-file",
            ),
            Error::Unwritable { why, .. } => (
                ErrorKind::MappingUnwritable,
                why,
                "make the directory writable, or choose another place with INVOKE_PERSIST_DIR or --mapping-file",
            ),
            Error::Unlockable { why, .. } => {
                (ErrorKind::MappingUnwritable, why, "set INVOKE_PERSIST_DIR to a directory that you can write to")
            }
            Error::Mounted { why, .. } => (
                ErrorKind::MappingUnwritable,
                why,
                "mount its directory instead of the file, or choose another place with INVOKE_PERSIST_DIR or --mapping-file",
            ),
            Error::Unsafe { why, .. } => (
                ErrorKind::MappingUnsafe,
                why,
                "remove what is in the way, or choose a place of your own with INVOKE_PERSIST_DIR or --mapping-file",
            ),
        };
        Self::new(kind, error.to_string()).caused_by(why).with_hint(hint)
    }
}

/// The mapping of one backend in one place.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub backend: Backend,
    pub place: MappingLocation,
    /// Absolute path of the workspace, for a mapping that is made anew.
    pub workspace: String,
    pub ui: Ui,
    pub deadline: Option<Instant>,
}

/// What [`Store::update`] did.
#[derive(Debug)]
pub(crate) struct Updated<T> {
    pub value: T,
    pub written: bool,
    /// The file was no JSON object and was moved aside.
    pub recreated: bool,
}

impl Store {
    /// The same mapping, without notes and warnings.
    pub(crate) fn silenced(&self) -> Self {
        Self { ui: self.ui.with_quiet(true), ..self.clone() }
    }

    /// The path of the file as we print it.
    pub(crate) fn path(&self) -> &Path {
        self.place.file()
    }

    /// Whether a file at `path`, put there later, would take the place of a mapping: of this one, or of any other in the
    /// directory for mappings.
    pub(crate) fn would_be_replaced_by(&self, path: &Path) -> bool {
        let Ok(path) = paths::resolve(path) else { return false };
        let mappings = Root::chosen().ok().and_then(|root| paths::resolve(&root.dir.join(location::DIR)).ok());
        let file = self.place.resolved_file();
        path == file || mappings.is_some_and(|mappings| path.starts_with(mappings)) || dir::is_same(&path, &file)
    }

    /// What the file says; `None` where there is none. Creates nothing and takes no lock: a file is only ever replaced
    /// whole.
    pub(crate) fn read(&self) -> Result<Option<Mapping>, Error> {
        read(self.backend, &self.place)
    }

    fn parse(&self, bytes: Option<Vec<u8>>) -> Result<Option<Mapping>, Error> {
        parse(self.backend, self.path(), bytes)
    }

    /// Finds out before an agent is paid whether its id could be written: makes the directory, and checks all that an
    /// update will check.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let dir = Dir::create(&self.place)?;
        match self.parse(dir.read()?) {
            Ok(_) | Err(Error::Invalid { .. }) => dir.check_writable(),
            Err(error) => Err(error),
        }
    }

    /// Whether the file could be written, as far as can be told without making anything.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if let Some(dir) = Dir::open(&self.place)? {
            return dir.check_writable();
        }
        let file = self.place.resolved_file();
        let there = file.ancestors().skip(1).find(|dir| dir.exists());
        match there {
            Some(dir) if !paths::is_writable(dir) => {
                let why = format!("the directory '{}' cannot be written to", dir.display());
                Err(Error::Unwritable { path: self.path().to_owned(), why })
            }
            _ => Ok(()),
        }
    }

    /// Changes the mapping while no other process of ours does. `change` sees what the file says now, and whether that
    /// is a new beginning because the file was broken, and tells whether it is to be written; where it would stay as it
    /// is, it is not. A file that is no JSON object is moved aside where `replace_invalid`, otherwise that is an error.
    pub(crate) fn update<T>(
        &self,
        replace_invalid: bool,
        change: impl FnOnce(&mut Mapping, bool) -> (T, bool),
    ) -> Result<Updated<T>, Error> {
        if let MappingLocation::Default { private_root: true, .. } = self.place {
            lock::make_shared();
        }
        let _lock = self.lock()?;
        let dir = Dir::create(&self.place)?;
        let mut recreated = false;
        let mut mapping = match self.parse(dir.read()?) {
            Ok(mapping) => mapping.unwrap_or_else(|| Mapping::new(self.backend)),
            Err(Error::Invalid { why, .. }) if replace_invalid => {
                let aside = dir.quarantine()?;
                let path = self.path().display();
                let what = format!(
                    "the mapping '{path}' was no JSON object ({why}); it is now '{aside}', and a new one begins"
                );
                self.ui.warn(&what);
                recreated = true;
                Mapping::new(self.backend)
            }
            Err(error) => return Err(error),
        };
        let (value, changed) = change(&mut mapping, recreated);
        let text = mapping.to_text();
        let written = recreated || (changed && !mapping.was_read_from(&text));
        if written {
            if text.len() as u64 > dir::LARGEST {
                // indented, a file of somebody else's may become one that we would not read again
                return Err(dir::too_large_to_write(self.path()));
            }
            dir.replace(text.as_bytes())?;
        }
        Ok(Updated { value, written, recreated })
    }

    /// Removes the file, and its directory where that is then empty. Tells what was removed: file, directory.
    pub(crate) fn remove(&self) -> Result<(bool, bool), Error> {
        let _lock = self.lock()?;
        if let Some(removed) = Dir::remove_link(&self.place)? {
            return Ok(removed);
        }
        match Dir::open(&self.place)? {
            Some(dir) => dir.remove(),
            None => Ok((false, false)),
        }
    }

    /// The lock for changes of this file.
    fn lock(&self) -> Result<Lock, Error> {
        let unwritable = |why: String| Error::Unwritable { path: self.path().to_owned(), why };
        let limit = Instant::now() + LONGEST_WAIT;
        let limit = self.deadline.map_or(limit, |deadline| limit.min(deadline.max(Instant::now() + MINIMUM_WAIT)));
        let what = format!("the mapping '{}'", self.path().display());
        let waited = Lock::wait(&self.dir_key(), Some(limit), |holder| {
            self.ui.note(&lock::waiting_for(&what, holder));
        });
        match waited {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(holder)) => Err(unwritable(format!("{} is changing it and does not end", lock::name_of(&holder)))),
            Err(error) => Err(Error::Unlockable { path: self.path().to_owned(), why: error::io_message(&error) }),
        }
    }

    /// The key of the lock for changes: one for a directory, since a change may make the directory and a removal may take it
    /// away. The same for every way to spell the path.
    fn dir_key(&self) -> Key {
        let file = self.place.resolved_file();
        key(b"folder", file.parent().unwrap_or(&file), None)
    }

    /// The key of the lock for a name that is being created or reused.
    pub(crate) fn name_key(&self, name: &SessionName) -> Key {
        key(b"name", &self.place.resolved_file(), Some(name))
    }
}

/// A lock's key for something at `path`, which others who share the directory for mappings may have at another path.
fn key(kind: &[u8], path: &Path, name: Option<&SessionName>) -> Key {
    let root = env::var_os(env::DIR).and_then(|root| paths::resolve(root.as_ref()).ok());
    let shared = root.and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    let [own, shared] = [path, shared].map(|path| {
        let parts = [kind, path.as_os_str().as_encoded_bytes()].into_iter();
        parts.chain(name.map(|name| name.as_str().as_bytes())).collect::<Vec<_>>()
    });
    Key::new(&own).shared_as(&shared)
}

/// What the file in `place` says; `None` where there is none.
fn read(backend: Backend, place: &MappingLocation) -> Result<Option<Mapping>, Error> {
    let Some(dir) = Dir::open(place)? else {
        return Ok(None);
    };
    parse(backend, place.file(), dir.read()?)
}

fn parse(backend: Backend, path: &Path, bytes: Option<Vec<u8>>) -> Result<Option<Mapping>, Error> {
    match bytes.map(|bytes| Mapping::parse(backend, bytes)).transpose() {
        Ok(mapping) => Ok(mapping),
        Err(ParseError::Malformed(why)) => Err(Error::Invalid { path: path.to_owned(), why }),
        Err(ParseError::Unsupported(why)) => Err(Error::Unreadable { path: path.to_owned(), why }),
    }
}

/// A mapping among those of all workspaces.
#[derive(Debug)]
pub(crate) struct FoundMapping {
    pub backend: Backend,
    pub file: PathBuf,
    pub mapping: Result<Mapping, Error>,
}

/// Every mapping of this user's below `root`, by file. What other users have there is not looked at.
pub(crate) fn all(root: &Root, backends: &[Backend]) -> Result<Vec<FoundMapping>, Error> {
    let mut keys = Dir::keys(root)?;
    keys.sort_unstable();
    let each = keys.iter().flat_map(|key| backends.iter().map(move |&backend| (key, backend)));
    let found = each.filter_map(|(key, backend)| {
        let place = root.place(backend, key);
        let mapping = read(backend, &place).transpose()?;
        Some(FoundMapping { backend, file: place.file().to_owned(), mapping })
    });
    Ok(found.collect())
}

/// Even after a deadline a paid answer is worth this much waiting for the mapping.
const MINIMUM_WAIT: Duration = Duration::from_secs(2);

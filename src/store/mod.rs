//! The mapping: a small JSON file per workspace, from session names to sessions. Independent of the agents' command lines.
//!
//! [`location`] finds the file, [`mod@format`] parses and writes its content, and [`dir`] reads and replaces it safely.
//! This module combines them: one lock, one read, one change, one write. [`role`] names the files with the roles of
//! sessions, which change together with the mapping.

mod dir;
pub(crate) mod format;
pub(crate) mod location;
mod role;
pub(crate) mod settings;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::env;
use crate::error::{self, ErrorKind};
use crate::lock::{self, Key, Lock};
use crate::paths;
use crate::session::{AgentSessionId, SessionName};
use crate::sort::sort;
use crate::ui::Ui;
use dir::{Content, Dir, Writers};
use format::{Entry, Mapping, ParseError};
use location::{MappingLocation, Root};
use role::RoleChange;
use settings::StoredSettings;

/// How long a change waits for other processes that change the same mapping. Each takes milliseconds.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long a change waits even after the deadline, so that a completed turn is saved.
const MIN_WAIT: Duration = Duration::from_secs(2);

/// Why a mapping cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the mapping '{}' is not a JSON object", path.display())]
    Invalid { path: PathBuf, why: String },
    #[error("cannot read the mapping '{}'", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("cannot write the mapping '{}'", path.display())]
    Unwritable { path: PathBuf, why: String },
    #[error("cannot lock the mapping '{}'", path.display())]
    Unlockable { path: PathBuf, why: String },
    /// The file itself is a mount point.
    #[cfg_attr(not(unix), expect(dead_code, reason = "files are not mounted on Windows"))]
    #[error("cannot replace the mapping '{}'", path.display())]
    Mounted { path: PathBuf, why: String },
    #[cfg_attr(windows, expect(dead_code, reason = "the temp directory is private on Windows"))]
    #[error("the mapping '{}' is not safe to use", path.display())]
    Unsafe { path: PathBuf, why: String },
    /// Others could have written settings, which are executed.
    #[error("the settings in the mapping '{}' are not safe to use", path.display())]
    UnsafeSettings { path: PathBuf, why: String },
    /// Settings do not have the form that this program writes.
    #[error("the settings in the mapping '{}' are invalid", path.display())]
    InvalidSettings { path: PathBuf, why: String },
    /// The file beside the mapping, with the kind of the same error for the mapping.
    #[error("cannot use the role '{}'", path.display())]
    Role { path: PathBuf, kind: ErrorKind, why: String },
}

impl Error {
    /// Returns the same error for a file with a role.
    fn of_role(self, path: PathBuf) -> Self {
        let error = error::Error::from(self);
        Self::Role { path, kind: error.kind, why: error.causes.into_iter().next().unwrap_or_default() }
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        let (kind, why, hint) = match &error {
            Error::Invalid { why, .. } => (
                ErrorKind::MappingInvalid,
                why,
                "repair or remove the file, or pass the session's ID; create-session and delete-session move it aside",
            ),
            Error::Unreadable { why, .. } => (
                ErrorKind::MappingUnreadable,
                why,
                "repair or remove the file, or choose another one with --mapping-file",
            ),
            Error::Unwritable { why, .. } => (
                ErrorKind::MappingUnwritable,
                why,
                "make the directory writable, or choose another location with INVOKE_PERSIST_DIR or --mapping-file",
            ),
            Error::Unlockable { why, .. } => {
                (ErrorKind::MappingUnwritable, why, "set INVOKE_PERSIST_DIR to a directory that you can write to")
            }
            Error::Mounted { why, .. } => (
                ErrorKind::MappingUnwritable,
                why,
                "mount its directory instead of the file, or choose another location with INVOKE_PERSIST_DIR or --mapping-file",
            ),
            Error::Unsafe { why, .. } => (
                ErrorKind::MappingUnsafe,
                why,
                "remove the unsafe file or directory, or choose a private location with INVOKE_PERSIST_DIR or --mapping-file",
            ),
            Error::UnsafeSettings { why, .. } => (
                ErrorKind::MappingUnsafe,
                why,
                "check the file, and make it writable only by you; to run without the settings, pass --forget-settings",
            ),
            Error::InvalidSettings { why, .. } => {
                (ErrorKind::MappingInvalid, why, "remove them with set-session --unset all, or pass --forget-settings")
            }
            Error::Role { kind, why, .. } => (*kind, why, "repair the file, or remove it to continue without the role"),
        };
        Self::new(kind, error.to_string()).caused_by(why).with_hint(hint)
    }
}

/// The mapping of one backend at one location.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub backend: Backend,
    pub location: MappingLocation,
    /// Absolute path of the workspace, for a new mapping.
    pub workspace: String,
    pub ui: Ui,
    pub deadline: Option<Instant>,
}

/// What was removed with a mapping.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removed {
    /// Whether there was a file.
    pub file: bool,
    /// Whether its directory was empty then.
    pub dir: bool,
}

/// The result of [`Store::update`].
#[derive(Debug)]
pub(crate) struct Updated<T> {
    pub value: T,
    pub written: bool,
    /// Whether the file was not a JSON object and was moved aside.
    pub replaced_invalid: bool,
}

impl Store {
    /// Returns the same store without notes and warnings.
    pub(crate) fn silenced(&self) -> Self {
        Self { ui: self.ui.with_quiet(true), ..self.clone() }
    }

    /// Returns the path of the file as it is printed.
    pub(crate) fn path(&self) -> &Path {
        self.location.file()
    }

    /// Returns whether writing a file at `path` would replace this mapping, or any file in the directory for mappings.
    pub(crate) fn would_be_replaced_by(&self, path: &Path) -> bool {
        let Ok(path) = paths::resolve(path) else { return false };
        let mappings = Root::from_env().ok().and_then(|root| paths::resolve(&root.dir.join(location::DIR)).ok());
        let file = self.location.resolved_file();
        path == file || mappings.is_some_and(|mappings| path.starts_with(mappings)) || dir::is_same(&path, &file)
    }

    /// Returns the settings in `entry`, which is from `mapping`. A command or an argument in them is executed, so nobody
    /// else may have written them.
    ///
    /// # Errors
    ///
    /// [`Error::UnsafeSettings`] if others could have written the file, and [`Error::InvalidSettings`].
    pub(crate) fn settings(&self, mapping: &Mapping, entry: &Entry) -> Result<Option<StoredSettings>, Error> {
        let Some(json) = &entry.settings else { return Ok(None) };
        self.check_writers(mapping)?;
        let invalid = |why| Error::InvalidSettings { path: self.path().to_owned(), why };
        StoredSettings::parse(json).map(Some).map_err(invalid)
    }

    /// Checks that nobody else can write to the mapping, before settings are stored in it.
    ///
    /// # Errors
    ///
    /// [`Error::UnsafeSettings`]. A file that is missing or cannot be read is not an error here.
    pub(crate) fn check_private(&self) -> Result<(), Error> {
        self.read().ok().flatten().map_or(Ok(()), |mapping| self.check_writers(&mapping))
    }

    /// Checks that nobody else could have written `mapping`.
    ///
    /// # Errors
    ///
    /// [`Error::UnsafeSettings`].
    pub(crate) fn check_writers(&self, mapping: &Mapping) -> Result<(), Error> {
        match mapping.writers() {
            Writers::Own => Ok(()),
            Writers::Shared(why) | Writers::SharedUntilReplaced(why) => {
                Err(Error::UnsafeSettings { path: self.path().to_owned(), why: why.clone() })
            }
        }
    }

    /// Reads the mapping. Returns `None` if the file does not exist.
    ///
    /// Creates nothing and takes no lock, because files are replaced atomically.
    pub(crate) fn read(&self) -> Result<Option<Mapping>, Error> {
        read(self.backend, &self.location)
    }

    fn parse(&self, content: Option<Content>) -> Result<Option<Mapping>, Error> {
        parse(self.backend, self.path(), content)
    }

    /// Reads the role that the session began with. Returns `None` if it has none.
    ///
    /// The file is checked even beside a mapping that the caller named, because it becomes a part of the agent's system
    /// prompt.
    pub(crate) fn role(&self, id: &AgentSessionId) -> Result<Option<String>, Error> {
        if !self.backend.capabilities().system_prompt {
            return Ok(None);
        }
        let Some(dir) = Dir::open(&self.location)? else { return Ok(None) };
        dir.role(id)?.read_role()
    }

    /// Returns the path of the file with the role of the session, if there is one.
    pub(crate) fn role_file(&self, id: &AgentSessionId) -> Option<PathBuf> {
        let file = Dir::open(&self.location).ok()??.role(id).ok()?;
        file.exists().then(|| file.path().to_owned())
    }

    /// Checks, before a turn is paid for, whether its session ID can be saved.
    ///
    /// Creates the directory and makes every check of an update.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let dir = Dir::create(&self.location)?;
        match self.parse(dir.read()?) {
            Ok(_) | Err(Error::Invalid { .. }) => dir.check_writable(),
            Err(error) => Err(error),
        }
    }

    /// Checks whether the file can be written, without creating anything.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if let Some(dir) = Dir::open(&self.location)? {
            return dir.check_writable();
        }
        let file = self.location.resolved_file();
        let existing = file.ancestors().skip(1).find(|dir| dir.exists());
        match existing {
            Some(dir) if !paths::is_writable(dir) => {
                let why = format!("the directory '{}' is not writable", dir.display());
                Err(Error::Unwritable { path: self.path().to_owned(), why })
            }
            _ => Ok(()),
        }
    }

    /// Changes the mapping while its lock is held.
    ///
    /// `change` gets the current mapping, and whether that replaces an invalid file. It returns a value and whether the
    /// mapping changed. The file is not written if its text stays the same. A file that is not a JSON object is moved
    /// aside with `replace_invalid`, and is an error without.
    pub(crate) fn update<T>(
        &self,
        replace_invalid: bool,
        change: impl FnOnce(&mut Mapping, bool) -> (T, bool),
    ) -> Result<Updated<T>, Error> {
        let mut change = Some(change);
        let mut value = None;
        let (written, was_replaced) = self.update_with(replace_invalid, &mut |mapping, recreated| {
            let change = change.take().expect("it is called once");
            let (result, changed) = change(mapping, recreated);
            value = Some(result);
            changed
        })?;
        Ok(Updated { value: value.expect("the change was made"), written, replaced_invalid: was_replaced })
    }

    /// See [`Store::update`]. Not generic: one copy for each caller would make the program larger. Returns whether the
    /// mapping was written, and whether it replaced an invalid one.
    fn update_with(
        &self,
        replace_invalid: bool,
        change: &mut dyn FnMut(&mut Mapping, bool) -> bool,
    ) -> Result<(bool, bool), Error> {
        if let MappingLocation::Default { private_root: true, .. } = self.location {
            lock::make_shared();
        }
        let _lock = self.lock()?;
        let dir = Dir::create(&self.location)?;
        let mut was_replaced = false;
        let mut mapping = match self.parse(dir.read()?) {
            Ok(mapping) => mapping.unwrap_or_else(|| Mapping::new(self.backend)),
            Err(Error::Invalid { why, .. }) if replace_invalid => {
                let quarantined = dir.quarantine()?;
                let path = self.path().display();
                let warning = format!(
                    "the mapping '{path}' is not a JSON object ({why}); moved it to '{quarantined}' and started a new one"
                );
                self.ui.warn(&warning);
                was_replaced = true;
                Mapping::new(self.backend)
            }
            Err(error) => return Err(error),
        };
        let changed = change(&mut mapping, was_replaced);
        let mut text = mapping.to_text();
        let written = was_replaced || (changed && !mapping.was_read_from(&text));
        // in the new file, they would be trusted
        let is_shared = matches!(mapping.writers(), Writers::SharedUntilReplaced(_));
        let removes_settings = written && is_shared && mapping.remove_settings();
        if removes_settings {
            text = mapping.to_text();
        }
        if written {
            if text.len() as u64 > dir::MAX_SIZE {
                // indentation may push another program's file over the size that is read
                return Err(dir::too_large_to_write(self.path()));
            }
            let roles = mapping.take_role_changes();
            self.keep_roles(&dir, &roles);
            dir.replace(text.as_bytes())?;
            if removes_settings {
                let path = self.path().display();
                self.ui.warn_always(&format!("others could write to the mapping '{path}'; its settings are removed"));
            }
            Self::remove_roles(&dir, &roles, &mapping);
        }
        Ok((written, was_replaced))
    }

    /// Writes the roles that a change adds. Only warns if that fails, because the turn is complete.
    fn keep_roles(&self, dir: &Dir, changes: &[RoleChange]) {
        for change in changes {
            let (id, kept) = match change {
                RoleChange::Keep(id, role) => (id, dir.role(id).and_then(|file| file.write_role(role))),
                RoleChange::Move { from, to } => (to, move_role(dir, from, to)),
                RoleChange::Release(_) => continue,
            };
            if let Err(error) = kept {
                let error = error::Error::from(error).to_single_line();
                let warning =
                    format!("cannot keep the role of the session {id}: {error}; later turns may run without it");
                self.ui.warn_always(&warning);
            }
        }
    }

    /// Removes the roles of sessions that no longer have a name. Errors are ignored, because such a role has no effect.
    fn remove_roles(dir: &Dir, changes: &[RoleChange], mapping: &Mapping) {
        for change in changes {
            let (RoleChange::Move { from: id, .. } | RoleChange::Release(id)) = change else { continue };
            if let Ok(file) = dir.role(id)
                && file.exists()
                && mapping.find(id).is_none()
            {
                let _ = file.unlink();
            }
        }
    }

    /// Removes the file, and its directory if that is then empty.
    pub(crate) fn remove(&self) -> Result<Removed, Error> {
        let _lock = self.lock()?;
        if let Some(removed) = Dir::remove_link(&self.location)? {
            return Ok(removed);
        }
        match Dir::open(&self.location)? {
            Some(dir) => dir.remove(),
            None => Ok(Removed::default()),
        }
    }

    /// Takes the lock for changes of this file.
    fn lock(&self) -> Result<Lock, Error> {
        let unwritable = |why: String| Error::Unwritable { path: self.path().to_owned(), why };
        let (earliest, latest) = (Instant::now() + MIN_WAIT, Instant::now() + MAX_WAIT);
        let limit = self.deadline.map_or(latest, |deadline| latest.min(deadline.max(earliest)));
        let subject = format!("the mapping '{}'", self.path().display());
        let waited = Lock::wait(&self.dir_key(), Some(limit), |holder| {
            self.ui.note(&lock::waiting_for(&subject, holder));
        });
        match waited {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(holder)) => {
                Err(unwritable(format!("timed out waiting for {} to release it", lock::name_of(&holder))))
            }
            Err(error) => Err(Error::Unlockable { path: self.path().to_owned(), why: error::io_message(&error) }),
        }
    }

    /// Returns the key of the lock for changes, which is the same however the path is spelled.
    ///
    /// It locks the whole directory, because a change may create the directory and a removal may remove it.
    fn dir_key(&self) -> Key {
        let file = self.location.resolved_file();
        key(b"folder", file.parent().unwrap_or(&file), None)
    }

    /// Returns the key of the lock for a name that is being created or reused.
    pub(crate) fn name_key(&self, name: &SessionName) -> Key {
        key(b"name", &self.location.resolved_file(), Some(name))
    }
}

/// Copies the role of a session to its new ID.
fn move_role(dir: &Dir, from: &AgentSessionId, to: &AgentSessionId) -> Result<(), Error> {
    match dir.role(from)?.read_role()? {
        Some(role) => dir.role(to)?.write_role(&role),
        None => Ok(()),
    }
}

/// Removes the files of `stores`, which are in one directory, and the directory if it is then empty.
///
/// Removes all or none: a file that cannot be removed leaves the others in place.
pub(crate) fn remove_all(stores: &[Store]) -> Result<Vec<Removed>, Error> {
    let _lock = stores.first().map(Store::lock).transpose()?;
    let dirs = stores.iter().map(|store| Dir::open(&store.location)).collect::<Result<Vec<_>, _>>()?;
    let mut removed = vec![Removed::default(); stores.len()];
    let mut moved: Vec<(usize, &Dir, String)> = Vec::new();
    for (at, dir) in dirs.iter().enumerate().filter_map(|(at, dir)| Some((at, dir.as_ref()?))) {
        match dir.move_aside() {
            Ok(Some(name)) => moved.push((at, dir, name)),
            Ok(None) => {}
            Err(error) => {
                moved.iter().try_for_each(|(_, dir, name)| dir.move_back(name))?;
                return Err(error);
            }
        }
    }
    for (at, dir, name) in &moved {
        dir.remove_moved(name)?;
        removed[*at] = Removed { file: true, dir: dir.remove_if_empty() };
    }
    Ok(removed)
}

/// Returns the key of a lock for `path`. Processes that share the directory for mappings may have it at another path.
fn key(kind: &[u8], path: &Path, name: Option<&SessionName>) -> Key {
    let root = env::var_os(env::DIR).and_then(|root| paths::resolve(root.as_ref()).ok());
    let shared = root.and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
    let [own, shared] = [path, shared].map(|path| {
        let parts = [kind, path.as_os_str().as_encoded_bytes()].into_iter();
        parts.chain(name.map(|name| name.as_str().as_bytes())).collect::<Vec<_>>()
    });
    Key::new(&own).shared_as(&shared)
}

fn read(backend: Backend, location: &MappingLocation) -> Result<Option<Mapping>, Error> {
    let Some(dir) = Dir::open(location)? else {
        return Ok(None);
    };
    parse(backend, location.file(), dir.read()?)
}

fn parse(backend: Backend, path: &Path, content: Option<Content>) -> Result<Option<Mapping>, Error> {
    let Some(Content { bytes, writers }) = content else { return Ok(None) };
    match Mapping::parse(backend, bytes) {
        Ok(mapping) => Ok(Some(mapping.written_by(writers))),
        Err(ParseError::Malformed(why)) => Err(Error::Invalid { path: path.to_owned(), why }),
        Err(ParseError::Unsupported(why)) => Err(Error::Unreadable { path: path.to_owned(), why }),
    }
}

/// One of the mappings of all workspaces.
#[derive(Debug)]
pub(crate) struct FoundMapping {
    pub backend: Backend,
    pub file: PathBuf,
    pub mapping: Result<Mapping, Error>,
}

/// Returns all mappings of this user below `root`, sorted by file. Skips those of other users.
pub(crate) fn all(root: &Root, backends: &[Backend]) -> Result<Vec<FoundMapping>, Error> {
    let mut keys = Dir::keys(root)?;
    sort(&mut keys);
    let each = keys.iter().flat_map(|key| backends.iter().map(move |&backend| (key, backend)));
    let found = each.filter_map(|(key, backend)| {
        let location = root.location(backend, key);
        let mapping = read(backend, &location).transpose()?;
        Some(FoundMapping { backend, file: location.file().to_owned(), mapping })
    });
    Ok(found.collect())
}

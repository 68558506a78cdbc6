//! On Unix, all access goes through descriptors (`openat` and so on), and symlinks below the root are never followed.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::location::{DIR, MappingLocation, Root};
use super::{Content, Error, MAX_SIZE, Removed, Writers, role};

/// The flags for opening a directory without listing it. Search permission is enough for that.
#[cfg(target_os = "linux")]
const OPEN_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_DIR: OFlags = LIST_DIR;
const LIST_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const STICKY: u32 = 0o1000;

/// How often an operation is retried if another process interferes.
const MAX_TRIES: usize = 100;

/// The directory of a mapping.
#[derive(Debug)]
pub(in crate::store) struct Dir {
    handle: File,
    /// The file name of the mapping.
    name: String,
    /// The path of the mapping, for messages.
    path: PathBuf,
    /// The path of the directory without symlinks.
    resolved: PathBuf,
    /// Whether symlinks and owners are checked, because other users have access to the default location.
    hardened: bool,
}

/// Why a directory could not be opened.
enum OpenError {
    NotFound(Error),
    Other(Error),
}

impl Dir {
    /// Opens the directory. Returns `None` if it does not exist.
    pub(in crate::store) fn open(location: &MappingLocation) -> Result<Option<Self>, Error> {
        match Self::open_or_create(location, false) {
            Ok(dir) => Ok(Some(dir)),
            Err(OpenError::NotFound(_)) => Ok(None),
            Err(OpenError::Other(error)) => Err(error),
        }
    }

    /// Opens the directory, and creates it if it does not exist. In the default location it is private afterwards.
    pub(in crate::store) fn create(location: &MappingLocation) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            match Self::open_or_create(location, true) {
                Ok(dir) => return Ok(dir),
                Err(OpenError::Other(error)) => return Err(error),
                Err(OpenError::NotFound(error)) if tries == MAX_TRIES => return Err(error),
                Err(OpenError::NotFound(_)) => tries += 1, // removed between mkdir and open
            }
        }
    }

    /// Returns the keys of all workspaces for which this user has a directory below `root`, or a symlink in its place.
    pub(in crate::store) fn keys(root: &Root) -> Result<Vec<String>, Error> {
        let path = root.dir.join(DIR);
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::NotFound(super::unreadable(&path, &error)),
            _ => OpenError::Other(super::unreadable(&path, &error)),
        };
        let shared = rustix::fs::open(&root.dir, OPEN_DIR, Mode::empty())
            .map_err(|errno| fail(errno.into()))
            .and_then(|root| subdir(&root, DIR, None, &path, fail));
        let shared = match shared {
            Ok(shared) => shared,
            Err(OpenError::NotFound(_)) => return Ok(Vec::new()),
            Err(OpenError::Other(error)) => return Err(error),
        };
        check_shared(&shared, &path)?;
        let cannot_list = |errno: Errno| super::unreadable(&path, &errno.into());
        let listable = rustix::fs::openat(&shared, ".", LIST_DIR, Mode::empty()).map_err(cannot_list)?;
        let entries = rustix::fs::Dir::read_from(&listable).map_err(cannot_list)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let is_own = |name: &String| {
            let Ok(stat) = rustix::fs::statat(&shared, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
            let kind = FileType::from_raw_mode(stat.st_mode);
            stat.st_uid == current_user() && matches!(kind, FileType::Directory | FileType::Symlink)
        };
        Ok(names.filter(|name| name != "." && name != "..").filter(is_own).collect())
    }

    fn open_or_create(location: &MappingLocation, create: bool) -> Result<Self, OpenError> {
        let path = location.file();
        let fail = |error: io::Error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            let error = if create { super::unwritable(path, &error) } else { super::unreadable(path, &error) };
            if is_missing { OpenError::NotFound(error) } else { OpenError::Other(error) }
        };
        let open = |dir: &Path| rustix::fs::open(dir, OPEN_DIR, Mode::empty()).map_err(|errno| fail(errno.into()));
        let create_all = |dir: &Path| DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail);
        match location {
            MappingLocation::Explicit { resolved, .. } => {
                let parent = resolved.parent().unwrap_or(Path::new("/"));
                if create {
                    create_all(parent)?;
                }
                let (handle, name) = (open(parent)?.into(), file_name(resolved));
                Ok(Self { handle, name, path: path.to_owned(), resolved: parent.to_owned(), hardened: false })
            }
            MappingLocation::Default { root, key, private_root, .. } => {
                if create && *private_root {
                    create_all(root)?;
                }
                let root_dir = open(root)?;
                let mode = if *private_root { 0o700 } else { 0o1777 };
                let shared_path = root.join(DIR);
                let shared = subdir(&root_dir, DIR, create.then_some(mode), &shared_path, fail)?;
                check_shared(&shared, &shared_path).map_err(OpenError::Other)?;
                let own_path = shared_path.join(key);
                let own = subdir(&shared, key, create.then_some(0o700), &own_path, fail)?;
                let mode = check_private(&own, &own_path).map_err(OpenError::Other)?;
                if create && mode & 0o077 != 0 {
                    set_mode(&own, 0o700).map_err(|errno| fail(errno.into()))?;
                }
                let name = file_name(path);
                Ok(Self { handle: own, name, path: path.to_owned(), resolved: own_path, hardened: true })
            }
        }
    }

    /// Returns the same directory with another file, which is always checked.
    pub(super) fn beside(&self, name: String) -> Result<Self, Error> {
        let path = self.resolved.join(&name);
        let handle = self.handle.try_clone().map_err(|error| super::unreadable(&path, &error))?;
        Ok(Self { handle, name, path, resolved: self.resolved.clone(), hardened: true })
    }

    /// Returns the name of the file.
    pub(super) fn file_name(&self) -> String {
        self.name.clone()
    }

    /// Returns the path of the file, for messages.
    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file exists.
    pub(in crate::store) fn exists(&self) -> bool {
        rustix::fs::statat(&self.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Reads the mapping. Returns `None` if the file does not exist.
    pub(in crate::store) fn read(&self) -> Result<Option<Content>, Error> {
        // non-blocking, because opening a pipe would wait for a writer
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.handle, &self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => return Err(super::is_unsafe(&self.path, "it is a symlink")),
            Err(errno) => {
                if self.hardened && errno == Errno::ACCESS {
                    self.check_file()?; // reports another owner as the reason
                }
                return Err(super::unreadable(&self.path, &errno.into()));
            }
        };
        let fail = |error: io::Error| super::unreadable(&self.path, &error);
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(super::not_regular(&self.path));
        }
        if self.hardened {
            check_owner(metadata.uid(), mode_of(&metadata), &self.path, "it")?;
        }
        if metadata.len() > MAX_SIZE {
            return Err(super::too_large(&self.path));
        }
        let mut bytes = crate::sys::large_buffer(usize::try_from(metadata.len()).unwrap_or_default() + 1);
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(super::too_large(&self.path));
        }
        Ok(Some(Content { bytes, writers: self.writers(&metadata) }))
    }

    /// Returns the possible writers of the open file of which this is the metadata, or put it here.
    fn writers(&self, metadata: &fs::Metadata) -> Writers {
        const ROOT: u32 = 0;
        let owner = metadata.uid();
        if ![current_user(), ROOT].contains(&owner) {
            return Writers::SharedUntilReplaced(format!("it belongs to user {owner}"));
        }
        let mode = mode_of(metadata);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            let who = if mode.contains(Mode::WOTH) { "everyone" } else { "its group" };
            let shared = if self.hardened { Writers::SharedUntilReplaced } else { Writers::Shared };
            return shared(format!("{who} may write to it"));
        }
        // in a sticky directory only the owner of a file can replace it
        let is_open = |dir: fs::Metadata| mode_of(&dir).contains(Mode::WOTH) && dir.mode() & STICKY == 0;
        if self.handle.metadata().is_ok_and(is_open) {
            return Writers::Shared(format!("everyone may replace files in '{}'", self.resolved.display()));
        }
        Writers::Own
    }

    /// Checks whether permissions and mounts allow the mapping to be replaced.
    pub(in crate::store) fn check_writable(&self) -> Result<(), Error> {
        if is_mounted(&self.handle, &self.name) {
            return Err(Error::Mounted { path: self.path.clone(), why: super::io_message(&Errno::BUSY.into()) });
        }
        rustix::fs::accessat(&self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(|errno| super::unwritable(&self.path, &errno.into()))
    }

    /// Replaces the mapping with `bytes` atomically: writes a temp file, syncs it, renames it, and syncs the directory.
    ///
    /// A crash at any time leaves the old file or the new one. A disk that loses synced data is not covered.
    pub(in crate::store) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        let fail = |error: io::Error| super::unwritable(&self.path, &error);
        self.remove_stale_temp_files();
        let mode = match rustix::fs::statat(&self.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !self.hardened => Mode::from_raw_mode(stat.st_mode),
            _ => Mode::RUSR | Mode::WUSR,
        };
        let (temp, file) = self.create_temp().map_err(fail)?;
        let written = write_synced(&file, mode, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.handle, &temp, &self.handle, &self.name)?));
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(&self.handle, &temp, AtFlags::empty());
            return Err(fail(error));
        }
        sync(&self.handle);
        Ok(())
    }

    /// Creates a temp file for the mapping. It is locked while it is open, so that no other writer removes it as stale.
    fn create_temp(&self) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            tries += 1;
            let name = super::temp_name(&self.name);
            let file = match rustix::fs::openat(&self.handle, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) if tries < MAX_TRIES => continue,
                file => File::from(file?),
            };
            let locked = file.try_lock();
            let stat = rustix::fs::statat(&self.handle, &name, AtFlags::SYMLINK_NOFOLLOW);
            let is_removed = stat.is_err_and(|errno| errno == Errno::NOENT);
            // a process on another machine, which has other locks, may have removed it before it was locked
            if tries == MAX_TRIES || !(is_removed || matches!(locked, Err(TryLockError::WouldBlock))) {
                return Ok((name, file));
            }
        }
    }

    /// Renames the mapping to an unused name, and returns its new path.
    pub(in crate::store) fn quarantine(&self) -> Result<String, Error> {
        let is_unused = |name: &String| {
            rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|errno| errno == Errno::NOENT)
        };
        let name = super::quarantine_names(&self.name).find(is_unused).expect("there are more names than files");
        rustix::fs::renameat(&self.handle, &self.name, &self.handle, &name)
            .map_err(|errno| super::unwritable(&self.path, &errno.into()))?;
        Ok(self.resolved.join(name).display().to_string())
    }

    /// Removes the mapping, then the directory if it is empty.
    ///
    /// In the default location a symlink in place of the mapping is removed itself.
    pub(in crate::store) fn remove(&self) -> Result<Removed, Error> {
        if !self.unlink()? {
            return Ok(Removed::default());
        }
        Ok(Removed { file: true, dir: self.remove_if_empty() })
    }

    /// Removes the file only. Returns whether it existed.
    pub(in crate::store) fn unlink(&self) -> Result<bool, Error> {
        self.check_file()?;
        match rustix::fs::unlinkat(&self.handle, &self.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(super::unwritable(&self.path, &errno.into())),
        }
    }

    /// Renames the mapping, which may be a symlink, before it is removed. Returns its new name, if there is a mapping.
    pub(in crate::store) fn move_aside(&self) -> Result<Option<String>, Error> {
        self.check_file()?;
        let name = super::name_of_removed(&self.name);
        match rustix::fs::renameat(&self.handle, &self.name, &self.handle, &name) {
            Ok(()) => Ok(Some(name)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(super::unwritable(&self.path, &errno.into())),
        }
    }

    /// Reverts [`move_aside`](Self::move_aside).
    pub(in crate::store) fn move_back(&self, name: &str) -> Result<(), Error> {
        rustix::fs::renameat(&self.handle, name, &self.handle, &self.name)
            .map_err(|errno| super::unwritable(&self.resolved.join(name), &errno.into()))
    }

    /// Removes the mapping after [`move_aside`](Self::move_aside).
    pub(in crate::store) fn remove_moved(&self, name: &str) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())
            .map_err(|errno| super::unwritable(&self.resolved.join(name), &errno.into()))
    }

    /// Removes the roles of the mapping, which was removed, and the directory if only stale temp files are left in it.
    /// Returns whether the directory was removed.
    pub(in crate::store) fn remove_if_empty(&self) -> bool {
        self.remove_own_files(|name, _| role::is_file_name(name, &self.name));
        self.remove_stale_temp_files();
        fs::remove_dir(&self.resolved).is_ok()
    }

    /// Removes an explicit symlink instead of its target, then the symlink's directory if it is empty.
    ///
    /// Returns `None` if the path is not a symlink.
    pub(in crate::store) fn remove_link(location: &MappingLocation) -> Result<Option<Removed>, Error> {
        let path = location.file();
        if !matches!(location, MappingLocation::Explicit { .. }) || !path.is_symlink() {
            return Ok(None);
        }
        fs::remove_file(path).map_err(|error| super::unwritable(path, &error))?;
        Ok(Some(Removed { file: true, dir: path.parent().is_some_and(|dir| fs::remove_dir(dir).is_ok()) }))
    }

    /// Checks that the mapping may be removed.
    fn check_file(&self) -> Result<(), Error> {
        let Ok(stat) = rustix::fs::statat(&self.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            return Ok(()); // its target stays
        }
        if kind != FileType::RegularFile {
            return Err(super::not_regular(&self.path));
        }
        if self.hardened {
            check_owner(stat.st_uid, Mode::from_raw_mode(stat.st_mode), &self.path, "it")
        } else {
            Ok(())
        }
    }

    /// Removes this user's temp files that crashed writers left in the directory.
    fn remove_stale_temp_files(&self) {
        self.remove_own_files(|name, stat| {
            let modified = u64::try_from(stat.st_mtime)
                .ok()
                .map(|seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            let is_stale =
                || super::is_stale(modified) || (super::has_random_suffix(name) && self.lock_temp_file(name).is_some());
            super::is_temp_name(name, &self.name) && is_stale()
        });
    }

    /// Removes the files of this user for which `is_wanted` is true.
    fn remove_own_files(&self, is_wanted: impl Fn(&str, &Stat) -> bool) {
        let listing = listable(&self.handle).and_then(|dir| rustix::fs::Dir::read_from(&dir).ok());
        let Some(entries) = listing else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(stat) = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stat.st_uid == current_user() && is_wanted(name, &stat) {
                let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
            }
        }
    }

    /// Locks a temp file. Returns `None` if its writer still has it locked.
    fn lock_temp_file(&self, name: &str) -> Option<File> {
        // opened for writing, which NFS requires for a lock
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.handle, name, flags, Mode::empty()).ok()?);
        file.try_lock().ok().map(|()| file)
    }
}

fn write_synced(mut file: &File, mode: Mode, bytes: &[u8]) -> io::Result<()> {
    rustix::fs::fchmod(file, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_name(path: &Path) -> String {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// Returns whether a file is a mount point, such as a single file that is mounted into a container. A rename cannot
/// replace it.
#[cfg(target_os = "linux")]
fn is_mounted(dir: &impl AsFd, name: &str) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let stat = rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Always false, because other systems do not mount files, or do not report it.
#[cfg(not(target_os = "linux"))]
fn is_mounted(_dir: &impl AsFd, _name: &str) -> bool {
    false
}

/// Opens the directory again, for listing and syncing. Returns `None` without permission.
fn listable(dir: &impl AsFd) -> Option<File> {
    rustix::fs::openat(dir, ".", LIST_DIR, Mode::empty()).ok().map(File::from)
}

/// Syncs a directory, so that new and renamed entries survive a power cut.
///
/// Errors are ignored, because not every file system and directory can be synced.
fn sync(dir: &impl AsFd) {
    if let Some(dir) = listable(dir) {
        let _ = dir.sync_all();
    }
}

#[allow(clippy::cast_possible_truncation, reason = "macOS has modes of 16 bits")]
fn set_mode(dir: &impl AsFd, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmodat(dir, ".", Mode::from_raw_mode(mode as _), AtFlags::empty())
}

/// Opens a directory inside another, and creates it with the mode in `create`. A symlink in its place is refused.
fn subdir(
    parent: &impl AsFd,
    name: &str,
    create: Option<u32>,
    path: &Path,
    fail: impl Fn(io::Error) -> OpenError,
) -> Result<File, OpenError> {
    let open = || rustix::fs::openat(parent, name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty());
    let opened = match (open(), create) {
        (Err(Errno::NOENT), Some(mode)) => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {
                let dir = open().map_err(|errno| fail(errno.into()))?;
                // not in mkdir, because the umask would remove bits that a shared directory needs
                set_mode(&dir, mode).map_err(|errno| fail(errno.into()))?;
                sync(parent);
                Ok(dir)
            }
            Err(Errno::EXIST) => open(), // another process created it meanwhile
            Err(errno) => Err(errno),
        },
        (opened, _) => opened,
    };
    match opened {
        Ok(dir) => {
            if let Some(mode) = create {
                repair_mode(&dir, mode);
            }
            Ok(dir.into())
        }
        Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR) => {
            let link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
            let what = if link { "a symlink" } else { "not a directory" };
            Err(OpenError::Other(super::is_unsafe(path, format_args!("'{}' is {what}", path.display()))))
        }
        Err(errno) => Err(fail(errno.into())),
    }
}

/// Sets the mode of a directory for all users, if the process that created it was killed before it could.
fn repair_mode(dir: &impl AsFd, mode: u32) {
    let is_unfinished = rustix::fs::fstat(dir)
        .is_ok_and(|stat| stat.st_uid == current_user() && Mode::from_raw_mode(stat.st_mode) == Mode::RWXU);
    if is_unfinished && mode & 0o077 != 0 {
        let _ = set_mode(dir, mode); // a failure shuts out other users, but not this one
    }
}

/// Checks the directory that all users may share. It may belong to another user only if it is sticky.
fn check_shared(dir: &File, path: &Path) -> Result<(), Error> {
    let metadata = dir.metadata().map_err(|error| super::unreadable(path, &error))?;
    let sticky = metadata.mode() & STICKY != 0;
    let shown = path.display();
    if metadata.uid() != current_user() && !sticky {
        let why = format_args!("the directory '{shown}' belongs to user {} and is not sticky", metadata.uid());
        return Err(super::is_unsafe(path, why));
    }
    if mode_of(&metadata).contains(Mode::WOTH) && !sticky {
        return Err(super::is_unsafe(
            path,
            format_args!("everyone may write to the directory '{shown}', and it is not sticky"),
        ));
    }
    Ok(())
}

/// Checks that a directory belongs to this user and is not writable for everyone. Returns its mode.
fn check_private(dir: &File, path: &Path) -> Result<u32, Error> {
    let metadata = dir.metadata().map_err(|error| super::unreadable(path, &error))?;
    check_owner(metadata.uid(), mode_of(&metadata), path, &format!("the directory '{}'", path.display()))?;
    Ok(metadata.mode())
}

fn check_owner(owner: u32, mode: Mode, path: &Path, what: &str) -> Result<(), Error> {
    if owner != current_user() {
        return Err(super::is_unsafe(path, format_args!("{what} belongs to user {owner}")));
    }
    if mode.contains(Mode::WOTH) {
        return Err(super::is_unsafe(path, format_args!("everyone may write to {what}")));
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "macOS has modes of 16 bits")]
fn mode_of(metadata: &fs::Metadata) -> Mode {
    Mode::from_bits_truncate(metadata.mode() as _)
}

fn current_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

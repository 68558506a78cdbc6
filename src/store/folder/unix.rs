//! On Unix everything goes through descriptors: `openat` and its like, links never followed below the root.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::super::location::{FOLDER, Place, Root};
use super::{Error, LARGEST};

/// A folder is only gone through, never listed by this handle: one that we may enter and not list will do.
#[cfg(target_os = "linux")]
const OPEN_FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const OPEN_FOLDER: OFlags = LIST_FOLDER;
const LIST_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const STICKY: u32 = 0o1000;

/// How often a folder that others remove beside us is looked for again.
const MOST_TRIES: usize = 100;

/// The folder of a mapping.
#[derive(Debug)]
pub(in crate::store) struct Folder {
    handle: File,
    /// The mapping's name in the folder.
    name: String,
    /// The mapping's path, for messages.
    path: PathBuf,
    /// The folder's path without links.
    resolved: PathBuf,
    /// In the default place others may come near: links and owners are checked.
    checked: bool,
}

/// Why a folder could not be opened.
enum Closed {
    /// It is not there, or a moment ago it was not.
    Absent(Error),
    Failed(Error),
}

impl Folder {
    /// The folder as it is; `None` where there is none.
    pub(in crate::store) fn open(place: &Place) -> Result<Option<Self>, Error> {
        match Self::open_or_create(place, false) {
            Ok(folder) => Ok(Some(folder)),
            Err(Closed::Absent(_)) => Ok(None),
            Err(Closed::Failed(error)) => Err(error),
        }
    }

    /// The folder, made where there is none. In the default place it is ours alone afterwards.
    pub(in crate::store) fn create(place: &Place) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            match Self::open_or_create(place, true) {
                Ok(folder) => return Ok(folder),
                Err(Closed::Failed(error)) => return Err(error),
                Err(Closed::Absent(error)) if tries == MOST_TRIES => return Err(error),
                Err(Closed::Absent(_)) => tries += 1, // removed between making and opening it
            }
        }
    }

    /// The keys of all workspaces of which this user has a folder below `root`, or a link where the folder should be.
    pub(in crate::store) fn keys(root: &Root) -> Result<Vec<String>, Error> {
        let path = root.folder.join(FOLDER);
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Closed::Absent(super::unreadable(&path, &error)),
            _ => Closed::Failed(super::unreadable(&path, &error)),
        };
        let shared = rustix::fs::open(&root.folder, OPEN_FOLDER, Mode::empty())
            .map_err(|errno| fail(errno.into()))
            .and_then(|root| subfolder(&root, FOLDER, None, &path, fail));
        let shared = match shared {
            Ok(shared) => shared,
            Err(Closed::Absent(_)) => return Ok(Vec::new()),
            Err(Closed::Failed(error)) => return Err(error),
        };
        check_shared(&shared, &path)?;
        let unlisted = |errno: Errno| super::unreadable(&path, &errno.into());
        let listable = rustix::fs::openat(&shared, ".", LIST_FOLDER, Mode::empty()).map_err(unlisted)?;
        let entries = rustix::fs::Dir::read_from(&listable).map_err(unlisted)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let ours = |name: &String| {
            let Ok(stat) = rustix::fs::statat(&shared, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
            let kind = FileType::from_raw_mode(stat.st_mode);
            stat.st_uid == me() && matches!(kind, FileType::Directory | FileType::Symlink)
        };
        Ok(names.filter(|name| name != "." && name != "..").filter(ours).collect())
    }

    fn open_or_create(place: &Place, create: bool) -> Result<Self, Closed> {
        let path = place.file();
        let fail = |error: io::Error| {
            let absent = error.kind() == io::ErrorKind::NotFound;
            let error = if create { super::unwritable(path, &error) } else { super::unreadable(path, &error) };
            if absent { Closed::Absent(error) } else { Closed::Failed(error) }
        };
        let open =
            |folder: &Path| rustix::fs::open(folder, OPEN_FOLDER, Mode::empty()).map_err(|errno| fail(errno.into()));
        let make = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail);
        match place {
            Place::Explicit { resolved, .. } => {
                let parent = resolved.parent().unwrap_or(Path::new("/"));
                if create {
                    make(parent)?;
                }
                let (handle, name) = (open(parent)?.into(), file_name(resolved));
                Ok(Self { handle, name, path: path.to_owned(), resolved: parent.to_owned(), checked: false })
            }
            Place::Default { root, key, private_root, .. } => {
                if create && *private_root {
                    make(root)?;
                }
                let root_folder = open(root)?;
                let mode = if *private_root { 0o700 } else { 0o1777 };
                let shared_path = root.join(FOLDER);
                let shared = subfolder(&root_folder, FOLDER, create.then_some(mode), &shared_path, fail)?;
                check_shared(&shared, &shared_path).map_err(Closed::Failed)?;
                let own_path = shared_path.join(key);
                let own = subfolder(&shared, key, create.then_some(0o700), &own_path, fail)?;
                let mode = check_own(&own, &own_path).map_err(Closed::Failed)?;
                if create && mode & 0o077 != 0 {
                    set_mode(&own, 0o700).map_err(|errno| fail(errno.into()))?;
                }
                let name = file_name(path);
                Ok(Self { handle: own, name, path: path.to_owned(), resolved: own_path, checked: true })
            }
        }
    }

    /// The mapping's bytes; `None` where there is no file.
    pub(in crate::store) fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        // without blocking: a pipe with this name would wait for a writer
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.handle, &self.name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => return Err(super::is_unsafe(&self.path, "it is a link")),
            Err(errno) => {
                if self.checked && errno == Errno::ACCESS {
                    self.check_file()?; // another user's is told as such
                }
                return Err(super::unreadable(&self.path, &errno.into()));
            }
        };
        let fail = |error: io::Error| super::unreadable(&self.path, &error);
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            let why = "it is no regular file".to_owned();
            return Err(Error::Unreadable { path: self.path.clone(), why });
        }
        if self.checked {
            check_owner(metadata.uid(), mode_of(&metadata), &self.path, "it")?;
        }
        if metadata.len() > LARGEST {
            return Err(super::too_large(&self.path));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1);
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > LARGEST { Err(super::too_large(&self.path)) } else { Ok(Some(bytes)) }
    }

    /// Whether the mapping could be replaced here, as far as permissions and mounts tell.
    pub(in crate::store) fn check_writable(&self) -> Result<(), Error> {
        if is_mounted(&self.handle, &self.name) {
            return Err(Error::Mounted { path: self.path.clone(), why: super::reason(&Errno::BUSY.into()) });
        }
        rustix::fs::accessat(&self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(|errno| super::unwritable(&self.path, &errno.into()))
    }

    /// Puts `bytes` in the mapping's place: written beside it, flushed to disk, renamed over it, the folder flushed. A
    /// crash at any moment leaves the old file or the new one; not covered is a disk that loses what it said was
    /// flushed.
    pub(in crate::store) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        let fail = |error: io::Error| super::unwritable(&self.path, &error);
        self.remove_leftovers();
        let mode = match rustix::fs::statat(&self.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !self.checked => Mode::from_raw_mode(stat.st_mode),
            _ => Mode::RUSR | Mode::WUSR,
        };
        let (temp, file) = self.create_temp().map_err(fail)?;
        let written = write_flushed(&file, mode, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.handle, &temp, &self.handle, &self.name)?));
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(&self.handle, &temp, AtFlags::empty());
            return Err(fail(error));
        }
        flush(&self.handle);
        Ok(())
    }

    /// A new file to write the mapping to, locked as long as it is open: no other writer takes it for a leftover.
    fn create_temp(&self) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            tries += 1;
            let name = super::temp_name(&self.name);
            let file = match rustix::fs::openat(&self.handle, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) if tries < MOST_TRIES => continue,
                file => File::from(file?),
            };
            let locked = file.try_lock();
            let there = rustix::fs::statat(&self.handle, &name, AtFlags::SYMLINK_NOFOLLOW);
            let gone = there.is_err_and(|errno| errno == Errno::NOENT);
            // before it was locked, somebody whom our locks do not stop may have cleaned it up
            if tries == MOST_TRIES || !(gone || matches!(locked, Err(TryLockError::WouldBlock))) {
                return Ok((name, file));
            }
        }
    }

    /// Renames the mapping to a name that nothing has. Tells the new path.
    pub(in crate::store) fn move_aside(&self) -> Result<String, Error> {
        let free = |name: &String| {
            rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|errno| errno == Errno::NOENT)
        };
        let aside = super::aside_names(&self.name).find(free).expect("there are more names than files");
        rustix::fs::renameat(&self.handle, &self.name, &self.handle, &aside)
            .map_err(|errno| super::unwritable(&self.path, &errno.into()))?;
        Ok(self.resolved.join(aside).display().to_string())
    }

    /// Removes the mapping, or in the default place a link in its place, then the folder if it is empty. Tells which of
    /// the two went.
    pub(in crate::store) fn remove(&self) -> Result<(bool, bool), Error> {
        self.check_file()?;
        match rustix::fs::unlinkat(&self.handle, &self.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok((false, false)),
            Err(errno) => return Err(super::unwritable(&self.path, &errno.into())),
        }
        self.remove_leftovers();
        Ok((true, fs::remove_dir(&self.resolved).is_ok()))
    }

    /// Removes the link that the caller named, not what it points to, then the link's folder if it is empty. `None`:
    /// it is no link.
    pub(in crate::store) fn remove_link(place: &Place) -> Result<Option<(bool, bool)>, Error> {
        let path = place.file();
        if !matches!(place, Place::Explicit { .. }) || !path.is_symlink() {
            return Ok(None);
        }
        fs::remove_file(path).map_err(|error| super::unwritable(path, &error))?;
        Ok(Some((true, path.parent().is_some_and(|folder| fs::remove_dir(folder).is_ok()))))
    }

    /// Fails for what is no file of ours to be removed.
    fn check_file(&self) -> Result<(), Error> {
        let Ok(stat) = rustix::fs::statat(&self.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            return Ok(()); // the link alone goes
        }
        if kind != FileType::RegularFile {
            return Err(Error::Unreadable { path: self.path.clone(), why: "it is no regular file".to_owned() });
        }
        if self.checked {
            check_owner(stat.st_uid, Mode::from_raw_mode(stat.st_mode), &self.path, "it")
        } else {
            Ok(())
        }
    }

    /// Removes temp files of ours that crashed writers left beside the mapping.
    fn remove_leftovers(&self) {
        let listed = listable(&self.handle).and_then(|folder| rustix::fs::Dir::read_from(&folder).ok());
        let Some(entries) = listed else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !super::is_temp_name(name, &self.name) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let modified = u64::try_from(stat.st_mtime)
                .ok()
                .map(|seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            let left = || super::is_old(modified) || (super::has_own_digits(name) && self.lock_left(name).is_some());
            if stat.st_uid == me() && left() {
                let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
            }
        }
    }

    /// A temp file that its writer has left: nobody has it locked.
    fn lock_left(&self, name: &str) -> Option<File> {
        // for writing, without which NFS gives no lock
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.handle, name, flags, Mode::empty()).ok()?);
        file.try_lock().ok().map(|()| file)
    }
}

fn write_flushed(mut file: &File, mode: Mode, bytes: &[u8]) -> io::Result<()> {
    rustix::fs::fchmod(file, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_name(path: &Path) -> String {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// Whether a file is a mount of its own, as containers have single files of their host: nothing can be renamed over it.
#[cfg(target_os = "linux")]
fn is_mounted(folder: &impl AsFd, name: &str) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let answer = rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    answer.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Other systems do not mount files, or do not say so.
#[cfg(not(target_os = "linux"))]
fn is_mounted(_folder: &impl AsFd, _name: &str) -> bool {
    false
}

/// The folder in a form that can be listed and flushed, if we may.
fn listable(folder: &impl AsFd) -> Option<File> {
    rustix::fs::openat(folder, ".", LIST_FOLDER, Mode::empty()).ok().map(File::from)
}

/// Flushes a folder: what was made or renamed in it is there after a power cut. Some file systems cannot, and some
/// folders cannot be opened for it; what was done is done all the same.
fn flush(folder: &impl AsFd) {
    if let Some(folder) = listable(folder) {
        let _ = folder.sync_all();
    }
}

fn set_mode(folder: &impl AsFd, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmodat(folder, ".", Mode::from_raw_mode(mode as _), AtFlags::empty())
}

/// Opens, and with `create` makes, a folder inside another. A link in its place is refused.
fn subfolder(
    parent: &impl AsFd,
    name: &str,
    create: Option<u32>,
    path: &Path,
    fail: impl Fn(io::Error) -> Closed,
) -> Result<File, Closed> {
    let open = || rustix::fs::openat(parent, name, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty());
    let opened = match (open(), create) {
        (Err(Errno::NOENT), Some(mode)) => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {
                let folder = open().map_err(|errno| fail(errno.into()))?;
                // the umask took bits away that a shared folder needs
                set_mode(&folder, mode).map_err(|errno| fail(errno.into()))?;
                flush(parent);
                Ok(folder)
            }
            Err(Errno::EXIST) => open(), // somebody else made it meanwhile
            Err(errno) => Err(errno),
        },
        (opened, _) => opened,
    };
    match opened {
        Ok(folder) => {
            if let Some(mode) = create {
                mend(&folder, mode);
            }
            Ok(folder.into())
        }
        Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR) => {
            let link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
            let what = if link { "a link" } else { "no folder" };
            Err(Closed::Failed(super::is_unsafe(path, format_args!("'{}' is {what}", path.display()))))
        }
        Err(errno) => Err(fail(errno.into())),
    }
}

/// Gives a folder of ours that all users are to share its mode, if whoever made it was killed before.
fn mend(folder: &impl AsFd, mode: u32) {
    let unfinished = rustix::fs::fstat(folder)
        .is_ok_and(|stat| stat.st_uid == me() && Mode::from_raw_mode(stat.st_mode) == Mode::RWXU);
    if unfinished && mode & 0o077 != 0 {
        let _ = set_mode(folder, mode); // others are shut out then, but not we
    }
}

/// The folder that all users may share: it may be another user's only if it is sticky.
fn check_shared(folder: &File, path: &Path) -> Result<(), Error> {
    let metadata = folder.metadata().map_err(|error| super::unreadable(path, &error))?;
    let sticky = metadata.mode() & STICKY != 0;
    let shown = path.display();
    if metadata.uid() != me() && !sticky {
        let why = format_args!("the folder '{shown}' belongs to user {} and is not sticky", metadata.uid());
        return Err(super::is_unsafe(path, why));
    }
    if mode_of(&metadata).contains(Mode::WOTH) && !sticky {
        return Err(super::is_unsafe(
            path,
            format_args!("everyone may write to the folder '{shown}', and it is not sticky"),
        ));
    }
    Ok(())
}

/// A folder that must be ours alone. Tells its mode.
fn check_own(folder: &File, path: &Path) -> Result<u32, Error> {
    let metadata = folder.metadata().map_err(|error| super::unreadable(path, &error))?;
    check_owner(metadata.uid(), mode_of(&metadata), path, &format!("the folder '{}'", path.display()))?;
    Ok(metadata.mode())
}

fn check_owner(owner: u32, mode: Mode, path: &Path, what: &str) -> Result<(), Error> {
    if owner != me() {
        return Err(super::is_unsafe(path, format_args!("{what} belongs to user {owner}")));
    }
    if mode.contains(Mode::WOTH) {
        return Err(super::is_unsafe(path, format_args!("everyone may write to {what}")));
    }
    Ok(())
}

fn mode_of(metadata: &fs::Metadata) -> Mode {
    Mode::from_bits_truncate(metadata.mode() as _)
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

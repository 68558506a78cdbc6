//! On Unix everything goes through descriptors: `openat` and its like, links never followed below the root.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::location::{FOLDER, Place};
use super::{Error, LARGEST};

const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const EVERYONE_WRITES: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The folder of a mapping.
#[derive(Debug)]
pub(in crate::store) struct Folder {
    handle: File,
    /// The mapping's name in the folder.
    name: String,
    /// The mapping's path, for messages and to remove what the caller named.
    path: PathBuf,
    /// In the default place others may come near: links and owners are checked.
    checked: bool,
}

impl Folder {
    /// The folder as it is; `None` where there is none.
    pub(in crate::store) fn open(place: &Place) -> Result<Option<Self>, Error> {
        match Self::open_or_create(place, false) {
            Err(Error::Unreadable { .. }) if is_absent(place) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The folder, made where there is none. In the default place it is ours alone afterwards.
    pub(in crate::store) fn create(place: &Place) -> Result<Self, Error> {
        Self::open_or_create(place, true)
    }

    fn open_or_create(place: &Place, create: bool) -> Result<Self, Error> {
        let path = place.file();
        let fail = |error: io::Error| {
            if create { super::unwritable(path, &error) } else { super::unreadable(path, &error) }
        };
        match place {
            Place::Explicit { resolved, .. } => {
                let parent = resolved.parent().unwrap_or(Path::new("/"));
                if create {
                    DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fail)?;
                }
                let folder =
                    rustix::fs::open(parent, OPEN_FOLDER, Mode::empty()).map_err(|errno| fail(errno.into()))?;
                Ok(Self { handle: folder.into(), name: file_name(resolved), path: path.to_owned(), checked: false })
            }
            Place::Default { root, key, private_root, .. } => {
                if create && *private_root {
                    DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(fail)?;
                }
                let root_folder =
                    rustix::fs::open(root, OPEN_FOLDER, Mode::empty()).map_err(|errno| fail(errno.into()))?;
                let mode = if *private_root { 0o700 } else { 0o1777 };
                let shared_path = root.join(FOLDER);
                let shared = subfolder(&root_folder, FOLDER, create.then_some(mode), &shared_path, fail)?;
                check_shared(&shared, &shared_path)?;
                let own_path = shared_path.join(key);
                let own = subfolder(&shared, key, create.then_some(0o700), &own_path, fail)?;
                let mode = check_own(&own, &own_path)?;
                if create && mode & 0o077 != 0 {
                    own.set_permissions(fs::Permissions::from_mode(0o700)).map_err(fail)?;
                }
                Ok(Self { handle: own, name: file_name(path), path: path.to_owned(), checked: true })
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
            Err(errno) => return Err(super::unreadable(&self.path, &errno.into())),
        };
        let fail = |error: io::Error| super::unreadable(&self.path, &error);
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            let why = "it is no regular file".to_owned();
            return Err(Error::Unreadable { path: self.path.clone(), why });
        }
        if self.checked {
            check_owner(&metadata, &self.path, "it")?;
        }
        if metadata.len() > LARGEST {
            return Err(super::too_large(&self.path));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > LARGEST { Err(super::too_large(&self.path)) } else { Ok(Some(bytes)) }
    }

    /// Whether a file could be made here, as far as permissions tell.
    pub(in crate::store) fn check_writable(&self) -> Result<(), Error> {
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
        let temp = super::temp_name(&self.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.handle, &temp, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| fail(errno.into()))?;
        let written = write_flushed(File::from(file), mode, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.handle, &temp, &self.handle, &self.name)?));
        if let Err(error) = written {
            let _ = rustix::fs::unlinkat(&self.handle, &temp, AtFlags::empty());
            return Err(fail(error));
        }
        // some file systems cannot flush a folder; the rename is done all the same
        let _ = self.handle.sync_all();
        Ok(())
    }

    /// Renames the mapping to a name that nothing has. Tells the new path.
    pub(in crate::store) fn move_aside(&self) -> Result<String, Error> {
        let free = |name: &String| {
            rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|errno| errno == Errno::NOENT)
        };
        let aside = super::aside_names(&self.name).find(free).expect("there are more names than files");
        rustix::fs::renameat(&self.handle, &self.name, &self.handle, &aside)
            .map_err(|errno| super::unwritable(&self.path, &errno.into()))?;
        Ok(self.path.with_file_name(aside).display().to_string())
    }

    /// Removes the mapping (a link: the link), then the folder if it is empty. Tells which of the two went.
    pub(in crate::store) fn remove(&self) -> Result<(bool, bool), Error> {
        if !self.checked {
            return self.remove_as_named();
        }
        match rustix::fs::unlinkat(&self.handle, &self.name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok((false, false)),
            Err(errno) => return Err(super::unwritable(&self.path, &errno.into())),
        }
        self.remove_leftovers();
        Ok((true, self.path.parent().is_some_and(|folder| fs::remove_dir(folder).is_ok())))
    }

    /// What the caller named goes, not what it points to.
    fn remove_as_named(&self) -> Result<(bool, bool), Error> {
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, false)),
            Err(error) => return Err(super::unwritable(&self.path, &error)),
        }
        self.remove_leftovers();
        Ok((true, self.path.parent().is_some_and(|folder| fs::remove_dir(folder).is_ok())))
    }

    /// Removes temp files of ours that crashed writers left beside the mapping.
    fn remove_leftovers(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.handle) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Some(owner) = super::temp_owner(name, &self.name) else {
                continue;
            };
            let Ok(stat) = rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let modified = u64::try_from(stat.st_mtime)
                .ok()
                .map(|seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
            if stat.st_uid == me() && super::is_leftover(owner, modified) {
                let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
            }
        }
    }
}

fn write_flushed(mut file: File, mode: Mode, bytes: &[u8]) -> io::Result<()> {
    rustix::fs::fchmod(&file, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn file_name(path: &Path) -> String {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned()
}

/// Whether there is nothing where the folder of `place` should be.
fn is_absent(place: &Place) -> bool {
    let folder = match place {
        Place::Default { file, .. } => file.parent(),
        Place::Explicit { resolved, .. } => resolved.parent(),
    };
    folder
        .map(fs::symlink_metadata)
        .is_some_and(|found| found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
}

/// Opens, and with `create` makes, a folder inside another. A link in its place is refused.
fn subfolder(
    parent: &impl AsFd,
    name: &str,
    create: Option<u32>,
    path: &Path,
    fail: impl Fn(io::Error) -> Error,
) -> Result<File, Error> {
    let open = || rustix::fs::openat(parent, name, OPEN_FOLDER | OFlags::NOFOLLOW, Mode::empty());
    let opened = match (open(), create) {
        (Err(Errno::NOENT), Some(mode)) => match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {
                let folder = open().map_err(|errno| fail(errno.into()))?;
                // the umask took bits away that a shared folder needs
                rustix::fs::fchmod(&folder, Mode::from_raw_mode(mode as _)).map_err(|errno| fail(errno.into()))?;
                Ok(folder)
            }
            Err(Errno::EXIST) => open(), // somebody else made it meanwhile
            Err(errno) => Err(errno),
        },
        (opened, _) => opened,
    };
    match opened {
        Ok(folder) => Ok(folder.into()),
        Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR) => {
            let link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink);
            let what = if link { "a link" } else { "no folder" };
            Err(super::is_unsafe(path, format_args!("'{}' is {what}", path.display())))
        }
        Err(errno) => Err(fail(errno.into())),
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
    if metadata.mode() & EVERYONE_WRITES != 0 && !sticky {
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
    check_owner(&metadata, path, &format!("the folder '{}'", path.display()))?;
    Ok(metadata.mode())
}

fn check_owner(metadata: &fs::Metadata, path: &Path, what: &str) -> Result<(), Error> {
    if metadata.uid() != me() {
        return Err(super::is_unsafe(path, format_args!("{what} belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & EVERYONE_WRITES != 0 {
        return Err(super::is_unsafe(path, format_args!("everyone may write to {what}")));
    }
    Ok(())
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

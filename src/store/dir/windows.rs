//! On Windows the temp directory is the user's own, so there is nobody to guard against: plain paths.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::super::location::{DIR, MappingLocation, Root};
use super::{Error, LARGEST};

/// How long a file may be refused because somebody has it open: a reader of ours, a virus scanner, an indexer.
const LONGEST_REFUSAL: Duration = Duration::from_secs(2);

/// The directory of a mapping.
#[derive(Debug)]
pub(in crate::store) struct Dir {
    dir: PathBuf,
    /// The mapping itself, links resolved.
    file: PathBuf,
    /// The mapping's path, for messages and to remove what the caller named.
    path: PathBuf,
}

impl Dir {
    /// The directory as it is; `None` where there is none.
    pub(in crate::store) fn open(place: &MappingLocation) -> Result<Option<Self>, Error> {
        let dir = Self::of(place);
        Ok(dir.dir.is_dir().then_some(dir))
    }

    /// The directory, made where there is none.
    pub(in crate::store) fn create(place: &MappingLocation) -> Result<Self, Error> {
        let dir = Self::of(place);
        fs::create_dir_all(&dir.dir).map_err(|error| super::unwritable(&dir.path, &error))?;
        Ok(dir)
    }

    /// The keys of all workspaces that have a directory below `root`.
    pub(in crate::store) fn keys(root: &Root) -> Result<Vec<String>, Error> {
        let shared = root.dir.join(DIR);
        let entries = match fs::read_dir(&shared) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(super::unreadable(&shared, &error)),
        };
        let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
        Ok(dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn of(place: &MappingLocation) -> Self {
        let file = match place {
            MappingLocation::Default { file, .. } => file,
            MappingLocation::Explicit { resolved, .. } => resolved,
        };
        let dir = file.parent().unwrap_or(Path::new(".")).to_owned();
        Self { dir, file: file.clone(), path: place.file().to_owned() }
    }

    fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The mapping's bytes; `None` where there is no file.
    pub(in crate::store) fn read(&self) -> Result<Option<Vec<u8>>, Error> {
        let fail = |error: io::Error| super::unreadable(&self.path, &error);
        match fs::metadata(&self.file) {
            Ok(metadata) if !metadata.is_file() => {
                let why = "it is no regular file".to_owned();
                return Err(Error::Unreadable { path: self.path.clone(), why });
            }
            Ok(metadata) if metadata.len() > LARGEST => return Err(super::too_large(&self.path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        }
        let mut bytes = Vec::new();
        match patiently(|| File::open(&self.file)) {
            Ok(file) => file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        if bytes.len() as u64 > LARGEST { Err(super::too_large(&self.path)) } else { Ok(Some(bytes)) }
    }

    /// Permissions tell too little here; the write itself will.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    #[expect(clippy::unused_self, reason = "on Unix there is something to ask")]
    pub(in crate::store) fn check_writable(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Puts `bytes` in the mapping's place: written beside it, flushed to disk, renamed over it.
    pub(in crate::store) fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        self.remove_leftovers();
        let temp = self.dir.join(super::temp_name(&self.name()));
        let written = OpenOptions::new().write(true).create_new(true).open(&temp).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            drop(file);
            patiently(|| fs::rename(&temp, &self.file))
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&temp);
            super::unwritable(&self.path, &error)
        })
    }

    /// Renames the mapping to a name that nothing has. Tells the new path.
    pub(in crate::store) fn quarantine(&self) -> Result<String, Error> {
        let free = |name: &String| fs::symlink_metadata(self.dir.join(name)).is_err();
        let aside = super::aside_names(&self.name()).find(free).expect("there are more names than files");
        let aside = self.dir.join(aside);
        patiently(|| fs::rename(&self.file, &aside)).map_err(|error| super::unwritable(&self.path, &error))?;
        Ok(aside.display().to_string())
    }

    /// A link is removed as any other file here.
    #[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
    pub(in crate::store) fn remove_link(_place: &MappingLocation) -> Result<Option<(bool, bool)>, Error> {
        Ok(None)
    }

    /// Removes what the caller named, then its directory if it is empty. Tells which of the two went.
    pub(in crate::store) fn remove(&self) -> Result<(bool, bool), Error> {
        match patiently(|| fs::remove_file(&self.path)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, false)),
            Err(error) => return Err(super::unwritable(&self.path, &error)),
        }
        self.remove_leftovers();
        Ok((true, self.path.parent().is_some_and(|dir| fs::remove_dir(dir).is_ok())))
    }

    /// Removes temp files of ours that crashed writers left beside the mapping.
    fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            if super::is_temp_name(&name, &self.name()) && super::is_old(modified) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Does it, again and again while the system refuses it as it does for a file that is open elsewhere. It gives the same
/// answer where the user lacks the right to it, so there is an end.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    /// `ERROR_SHARING_VIOLATION`, which the standard library has no name for.
    const OPEN_ELSEWHERE: i32 = 32;
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error)
                if (error.kind() == io::ErrorKind::PermissionDenied
                    || error.raw_os_error() == Some(OPEN_ELSEWHERE))
                    && started.elapsed() < LONGEST_REFUSAL =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

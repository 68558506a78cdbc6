//! Locks between processes of ours, each a file in a folder of ours that no variable moves, so that all processes of a
//! user meet there whatever their environment. A lock is the system's: it goes with its holder, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::digest;

/// After this long the waiting is told.
const SILENCE: Duration = Duration::from_secs(1);
/// One process in so many looks for what killed ones left.
const SWEEP_EVERY: u32 = 16;
/// A lock file that old belongs to a killed process, or to one that would not mind making it anew.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// The process that holds a lock, where it said so.
pub(crate) type Holder = Option<u32>;

impl Lock {
    /// Takes the lock `key`, or tells who has it.
    pub(crate) fn try_take(key: &str) -> io::Result<Result<Self, Holder>> {
        let path = folder()?.join(key);
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            private(&mut options);
            let mut file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(read_holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // the holder before us may have removed the file between our opening and locking it
            if is_at(&file, &path)? {
                if std::process::id().is_multiple_of(SWEEP_EVERY) {
                    sweep(path.parent());
                }
                file.set_len(0)?;
                write!(file, "{}", std::process::id())?;
                return Ok(Ok(Self { file, path }));
            }
        }
    }

    /// Takes the lock `key`, waiting for it until `limit`. Calls `waiting` once, after a second. `Err` inside tells who
    /// had it at the limit.
    pub(crate) fn wait(
        key: &str,
        limit: Option<Instant>,
        waiting: impl FnOnce(Holder),
    ) -> io::Result<Result<Self, Holder>> {
        let started = Instant::now();
        let mut waiting = Some(waiting);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let holder = match Self::try_take(key)? {
                Ok(lock) => return Ok(Ok(lock)),
                Err(holder) => holder,
            };
            let now = Instant::now();
            if limit.is_some_and(|limit| now >= limit) {
                return Ok(Err(holder));
            }
            if now >= started + SILENCE
                && let Some(waiting) = waiting.take()
            {
                waiting(holder);
            }
            let pause_now = shorten(pause);
            thread::sleep(limit.map_or(pause_now, |limit| pause_now.min(limit - now)));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether some process holds the lock `key`.
    pub(crate) fn is_held(key: &str) -> bool {
        matches!(Self::try_take(key), Ok(Err(_)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // removed while it is still ours, so that whoever opens it next makes a new one
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// A pause up to a half shorter, by chance: many who began together would otherwise all look at the same moments, when
/// one of them gets the lock, and none in between, when it is free.
fn shorten(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    pause / 2 + pause * u32::try_from(chance).unwrap_or_default() / 2048
}

/// Removes lock files of killed processes: old, and held by nobody. A lock that somebody takes in just this moment is
/// taken again, since its file is then not where it was.
fn sweep(folder: Option<&Path>) {
    for entry in folder.map(std::fs::read_dir).into_iter().flatten().flatten().flatten() {
        let old = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_lock = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_lock || old.is_none_or(|age| age < LEFTOVER_AFTER) {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// One key for a list of parts, fit for a file name.
pub(crate) fn key(parts: &[&[u8]]) -> String {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_le_bytes()).collect();
    digest::md5(lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]))
}

/// The holder in words.
pub(crate) fn name_of(holder: Holder) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// The note of a call that waits.
pub(crate) fn waiting_for(what: &str, holder: Holder) -> String {
    format!("waiting for {what}, which {} holds", name_of(holder))
}

fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The folder that holds the locks: made if it is not there, refused if it is not ours alone.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let path = folder_path()?;
    make_private_folder(&path)?;
    Ok(path)
}

#[cfg(target_os = "macos")]
fn folder_path() -> io::Result<PathBuf> {
    // the user's own temp folder, as the system and not the environment has it
    let answer = std::process::Command::new("/usr/bin/getconf").arg("DARWIN_USER_TEMP_DIR").output()?;
    let folder = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    let folder = if folder.is_empty() { "/tmp".to_owned() } else { folder };
    Ok(Path::new(&folder).join(format!("invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(all(unix, not(target_os = "macos")))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the system has to be asked")]
fn folder_path() -> io::Result<PathBuf> {
    Ok(PathBuf::from(format!("/tmp/invoke-persist-{}", rustix::process::geteuid().as_raw())))
}

#[cfg(windows)]
fn folder_path() -> io::Result<PathBuf> {
    let local = crate::env::raw("LOCALAPPDATA")
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the variable LOCALAPPDATA is not set"))?;
    Ok(PathBuf::from(local).join("invoke-persist"))
}

#[cfg(unix)]
fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(
                error.kind(),
                format!("the folder '{}' cannot be made: {error}", path.display()),
            ));
        }
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(path)?;
    let ours =
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if ours {
        return Ok(());
    }
    let why = format!("'{}' is no folder that only you can write to; remove it", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

#[cfg(windows)]
fn make_private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
}

#[cfg(windows)]
fn private(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Windows keeps the name of an open file taken, so what is there is what we hold.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}

/// Whether there is a process with this number.
#[cfg(unix)]
pub(crate) fn process_exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Unknown without more calls than it is worth: leftovers go when they are an hour old.
#[cfg(windows)]
pub(crate) fn process_exists(_pid: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let key = key(&[b"test", format!("{:?}", Instant::now()).as_bytes()]);
        let first = Lock::try_take(&key).unwrap().unwrap();
        assert_eq!(Lock::try_take(&key).unwrap().unwrap_err(), Some(std::process::id()));
        assert!(Lock::is_held(&key));
        let path = first.path.clone();
        drop(first);
        assert!(!path.exists());
        assert!(!Lock::is_held(&key));
        let limit = Some(Instant::now() + Duration::from_secs(30));
        drop(Lock::wait(&key, limit, |_| panic!("nobody holds it")).unwrap().unwrap());
    }

    #[test]
    fn what_killed_processes_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, hours: u64| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600 + 60)).unwrap();
            file
        };
        drop((make("old", 1), make("young", 0))); // Windows keeps the name of a file that is open
        let held = make("held", 5);
        held.try_lock().unwrap();
        sweep(Some(folder.path()));
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["held", "young"]);
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    }
}

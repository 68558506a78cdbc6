//! Locks between processes of ours. Each is a file, and the system's: it goes with its holder, however that ends.
//!
//! [`dirs`] says where these files are, [`waits`] which calls wait for each other.

mod dirs;
mod waits;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::digest;
use crate::error::io_message;
use crate::random;
use dirs::{Dir, candidates};
pub(crate) use dirs::{dir, make_shared};
use waits::Waits;

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
    /// One file in every directory that can be used, so that all meet who share one of these.
    files: Vec<Locked>,
}

/// What a lock is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// In a directory of the user's.
    own: String,
    /// In a directory that machines or containers share, which may have it at different paths.
    shared: String,
}

impl Key {
    /// The key for a list of parts, fit for a file name.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let name = name(parts);
        Self { own: name.clone(), shared: name }
    }

    /// The same key, made of other parts where the directory is shared.
    pub(crate) fn shared_as(self, parts: &[&[u8]]) -> Self {
        Self { shared: name(parts), ..self }
    }

    /// What agents are told of a lock that this process holds, to be handed to [`Lock::wait_in_turn`].
    pub(crate) fn handed_down(&self) -> String {
        format!("{}:{}", self.own, random::token())
    }

    fn name_in(&self, dir: &Dir) -> &str {
        if dir.shared { &self.shared } else { &self.own }
    }
}

fn name(parts: &[&[u8]]) -> String {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_le_bytes()).collect();
    digest::md5(lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]))
}

/// The process that holds a lock, as far as it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: Option<u32>,
    /// Its [`random::token`].
    token: Option<String>,
    /// Its [`waits::pid_namespace`]: where its number means something.
    namespace: Option<String>,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum Busy {
    Held(Holder),
    /// A call above this one holds it, so waiting would never end.
    Inside,
    /// Its holder waits for a call above this one, so waiting would never end.
    Circle(Holder),
}

impl Lock {
    /// Takes the lock `key`, or tells who has it.
    ///
    /// # Errors
    ///
    /// No directory for locks can be used.
    pub(crate) fn try_take(key: &Key) -> io::Result<Result<Self, Holder>> {
        let mut files: Vec<Locked> = Vec::new();
        let mut unusable = Vec::new();
        for candidate in candidates() {
            let taken = match candidate.open(files.is_empty()) {
                Ok(Some(dir)) => Locked::try_take(dir.path.join(key.name_in(&dir)))
                    .map_err(|error| dirs::cannot_be_used(&dir.path, &error)),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match taken {
                Ok(Ok(file)) => files.push(file),
                Ok(Err(holder)) => return Ok(Err(holder)),
                Err(error) => unusable.push(error),
            }
        }
        if files.is_empty() {
            return Err(dirs::join(&unusable));
        }
        files.iter_mut().for_each(Locked::sign);
        Ok(Ok(Self { files }))
    }

    /// Takes the lock `key`, waiting for it until `limit`. Calls `waiting` once, after a second. `Err` inside tells who
    /// had it at the limit.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_take`].
    pub(crate) fn wait(
        key: &Key,
        limit: Option<Instant>,
        waiting: impl FnOnce(&Holder),
    ) -> io::Result<Result<Self, Holder>> {
        let taken = poll(key, limit, waiting, |_, _| None)?;
        Ok(taken.map_err(|busy| match busy {
            Busy::Held(holder) | Busy::Circle(holder) => holder,
            Busy::Inside => Holder::default(),
        }))
    }

    /// Takes the lock `key` as [`Lock::wait`] does, but does not wait for what can never be. `above`: what the calls
    /// above this one handed down ([`Key::handed_down`]), separated by commas.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_take`].
    pub(crate) fn wait_in_turn(
        key: &Key,
        limit: Option<Instant>,
        above: &str,
        waiting: impl FnOnce(&Holder),
    ) -> io::Result<Result<Self, Busy>> {
        let mut waits = None;
        poll(key, limit, waiting, |holder, last| waits.get_or_insert_with(|| Waits::new(key, above)).look(holder, last))
    }

    /// The directories that it was taken in.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter_map(|file| file.path.parent())
    }
}

/// Tries to take a lock until `limit`. `hopeless` sees who holds it, and whether that was the last try.
fn poll(
    key: &Key,
    limit: Option<Instant>,
    waiting: impl FnOnce(&Holder),
    mut hopeless: impl FnMut(&Holder, bool) -> Option<Busy>,
) -> io::Result<Result<Lock, Busy>> {
    let started = Instant::now();
    let mut waiting = Some(waiting);
    let mut pause = SHORTEST_PAUSE;
    loop {
        let holder = match Lock::try_take(key)? {
            Ok(lock) => return Ok(Ok(lock)),
            Err(holder) => holder,
        };
        let now = Instant::now();
        let last = limit.is_some_and(|limit| now >= limit);
        if let Some(busy) = hopeless(&holder, last) {
            return Ok(Err(busy));
        }
        if last {
            return Ok(Err(Busy::Held(holder)));
        }
        if now >= started + SILENCE
            && let Some(waiting) = waiting.take()
        {
            waiting(&holder);
        }
        let pause_now = shorten(pause);
        thread::sleep(limit.map_or(pause_now, |limit| pause_now.min(limit.saturating_duration_since(now))));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A file of a lock that this process holds.
#[derive(Debug)]
struct Locked {
    file: File,
    path: PathBuf,
}

impl Locked {
    /// Takes the lock at `path`, or tells who has it.
    fn try_take(path: PathBuf) -> io::Result<Result<Self, Holder>> {
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
                return Ok(Ok(Self { file, path }));
            }
        }
    }

    /// Says whose it is. That is a courtesy: where it cannot be written, as on a full disk, the lock is held all the same.
    fn sign(&mut self) {
        let namespace = waits::pid_namespace().unwrap_or_default();
        let text = format!("{}\n{}\n{namespace}\n", std::process::id(), random::token());
        let _ = self.file.set_len(0).and_then(|()| self.file.write_all(text.as_bytes()));
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // removed while it is still ours, so that whoever opens it next makes a new one
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// A pause up to a half shorter, by chance: many who began together would otherwise all look at the same moments, when
/// one of them gets the lock, and none in between, when it is free.
fn shorten(pause: Duration) -> Duration {
    let chance = random::number() % 1024;
    pause / 2 + pause * u32::try_from(chance).unwrap_or_default() / 2048
}

/// Removes lock files of killed processes: old, and held by nobody. A lock that somebody takes in just this moment is
/// taken again, since its file is then not where it was.
fn sweep(dir: Option<&Path>) {
    for entry in dir.map(std::fs::read_dir).into_iter().flatten().flatten().flatten() {
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

/// The holder in words.
pub(crate) fn name_of(holder: &Holder) -> String {
    let Some(pid) = holder.pid else { return "another process".to_owned() };
    let elsewhere = holder.namespace.is_some() && holder.namespace.as_deref() != waits::pid_namespace();
    if elsewhere { format!("process {pid} in another container") } else { format!("process {pid}") }
}

/// The note of a call that waits.
pub(crate) fn waiting_for(what: &str, holder: &Holder) -> String {
    format!("waiting for {what}, which {} holds", name_of(holder))
}

fn read_holder(file: &mut File) -> Holder {
    /// Longer than what [`Locked::sign`] writes.
    const LONGEST: u64 = 1000;
    let mut text = String::new();
    if file.take(LONGEST).read_to_string(&mut text).is_err() {
        return Holder::default();
    }
    let mut lines = text.lines();
    let mut line = || lines.next().filter(|line| !line.is_empty());
    let (pid, token, namespace) = (line(), line(), line());
    Holder {
        pid: pid.and_then(|pid| pid.parse().ok()),
        token: token.map(str::to_owned),
        namespace: namespace.map(str::to_owned),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_it_is_dropped() {
        let key = Key::new(&[b"test", format!("{:?}", Instant::now()).as_bytes()]);
        let first = Lock::try_take(&key).unwrap().unwrap();
        let holder = Lock::try_take(&key).unwrap().unwrap_err();
        assert_eq!((holder.pid, holder.token.as_deref()), (Some(std::process::id()), Some(random::token())));
        let path = first.files[0].path.clone();
        drop(first);
        assert!(!path.exists());
        let limit = Some(Instant::now() + Duration::from_secs(30));
        drop(Lock::wait(&key, limit, |_| panic!("nobody holds it")).unwrap().unwrap());
    }

    #[test]
    fn what_killed_processes_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, hours: u64| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600 + 60)).unwrap();
            file
        };
        drop((make("old", 1), make("young", 0))); // Windows keeps the name of a file that is open
        let held = make("held", 5);
        held.try_lock().unwrap();
        sweep(Some(dir.path()));
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["held", "young"]);
    }

    #[test]
    fn keys_tell_their_parts_apart() {
        assert_ne!(Key::new(&[b"ab", b"c"]), Key::new(&[b"a", b"bc"]));
    }
}

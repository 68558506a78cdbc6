//! Locks between processes of this program.
//!
//! Each lock is a locked file, so the system releases it when its holder ends for any reason. [`dirs`] chooses the
//! directories of these files, [`queue`] orders the calls that wait for one lock, [`waits`] detects calls that wait for
//! each other, and [`probe`] reports which locks are held.

mod dirs;
mod notice;
mod probe;
mod queue;
mod waits;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::digest;
use crate::error::io_message;
use crate::late_signal;
use crate::random;
use dirs::{Dir, candidates};
pub(crate) use dirs::{check_private, dir, make_private, make_shared};
pub(crate) use probe::is_held;
pub(crate) use queue::Place;
pub(crate) use waits::ancestors;
#[cfg(unix)]
pub(crate) use waits::is_detached;
pub(crate) use waits::pid_namespace;

/// How long a wait continues after a signal.
const SIGNAL_WAIT: Duration = Duration::from_secs(1);
/// The time after which a call reports that it waits.
const QUIET_WAIT: Duration = Duration::from_secs(1);
/// One process in 16 removes the files that killed processes left.
const SWEEP_EVERY: u32 = 16;
/// The age at which a lock file counts as left by a killed process. If it was not, its next holder creates it again.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// One file in every usable directory, so that any two processes that share a directory exclude each other.
    files: Vec<LockFile>,
}

/// The name of a lock, made of file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The file name in a directory of the user.
    own: String,
    /// The file name in a directory that machines or containers share, perhaps under different paths.
    shared: String,
}

impl Key {
    /// Creates the key for a list of parts.
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        let name = file_name(parts);
        Self { own: name.clone(), shared: name }
    }

    /// Returns this key with other parts for shared directories.
    pub(crate) fn shared_as(self, parts: &[&[u8]]) -> Self {
        Self { shared: file_name(parts), ..self }
    }

    /// Returns the text that identifies this lock and its holder, this process, to inner calls. They pass it to
    /// [`Place::wait`].
    pub(crate) fn handed_down(&self) -> String {
        format!("{}:{}", self.own, random::token())
    }

    fn name_in(&self, dir: &Dir) -> &str {
        if dir.shared { &self.shared } else { &self.own }
    }
}

fn file_name(parts: &[&[u8]]) -> String {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_le_bytes()).collect();
    digest::md5(lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]))
}

/// The process that holds a lock, as far as the lock file records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pid: Option<u32>,
    /// Its [`random::token`].
    token: Option<String>,
    /// The [`waits::pid_namespace`] in which `pid` is valid.
    namespace: Option<String>,
    /// Whether no process holds the lock, and this one is the first that waits for it.
    is_next: bool,
}

/// Why a try to take a lock failed.
struct Obstacle {
    holder: Holder,
    /// The longest useful pause until the next try.
    longest_pause: Duration,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum Busy {
    Held(Holder),
    /// An outer call holds it, so the wait would never end.
    Inside,
    /// Its holder waits for an outer call, so the wait would never end.
    Cycle(Holder),
}

impl Lock {
    /// Takes the lock `key`, or returns its holder.
    ///
    /// # Errors
    ///
    /// Fails if no lock directory can be used.
    pub(crate) fn try_take(key: &Key) -> io::Result<Result<Self, Holder>> {
        let mut files: Vec<LockFile> = Vec::new();
        let mut errors = Vec::new();
        for candidate in candidates() {
            let taken = match candidate.open(files.is_empty()) {
                Ok(Some(dir)) => LockFile::try_take(dir.path.join(key.name_in(&dir)))
                    .map_err(|error| dirs::unusable(&dir.path, &error)),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match taken {
                Ok(Ok(file)) => files.push(file),
                Ok(Err(holder)) => return Ok(Err(holder)),
                Err(error) => errors.push(error),
            }
        }
        if files.is_empty() {
            return Err(dirs::join(&errors));
        }
        files.iter_mut().for_each(LockFile::write_holder);
        Ok(Ok(Self { files }))
    }

    /// Takes the lock `key`, waiting for it until `limit`. Calls `report_wait` once, after a second. The inner `Err`
    /// is the holder at the limit.
    ///
    /// # Errors
    ///
    /// Fails like [`Lock::try_take`].
    pub(crate) fn wait(
        key: &Key,
        limit: Option<Instant>,
        report_wait: impl FnOnce(&Holder),
    ) -> io::Result<Result<Self, Holder>> {
        let mut try_take =
            || Ok(Self::try_take(key)?.map_err(|holder| Obstacle { holder, longest_pause: LONGEST_PAUSE }));
        let taken = poll(limit, SIGNAL_WAIT, report_wait, &mut try_take, &mut |_, _| None)?;
        Ok(taken.map_err(|busy| match busy {
            Busy::Held(holder) | Busy::Cycle(holder) => holder,
            Busy::Inside => Holder::default(),
        }))
    }

    /// Lets programs that are executed from now on hold the lock, too. If this process is killed, they keep it.
    #[cfg(unix)]
    pub(crate) fn share_with_children(&self) {
        for held in &self.files {
            let _ = rustix::io::fcntl_setfd(&held.file, rustix::io::FdFlags::empty()); // the lock is held anyway
        }
    }

    /// Does nothing, because a lock belongs to one process on Windows.
    #[cfg(windows)]
    #[expect(clippy::unused_self, reason = "the Unix twin needs it")]
    pub(crate) fn share_with_children(&self) {}

    /// Returns the directories of its files.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter_map(|file| file.path.parent())
    }
}

/// Repeats `try_take` until `limit`, or for `signal_wait` after a signal that is kept ([`late_signal`]).
///
/// `deadlock` gets the holder and whether this is the last try.
fn poll(
    limit: Option<Instant>,
    signal_wait: Duration,
    report_wait: impl FnOnce(&Holder),
    try_take: &mut dyn FnMut() -> io::Result<Result<Lock, Obstacle>>,
    deadlock: &mut dyn FnMut(&Holder, bool) -> Option<Busy>,
) -> io::Result<Result<Lock, Busy>> {
    let started = Instant::now();
    let mut report_wait = Some(report_wait);
    let mut pause = SHORTEST_PAUSE;
    let mut signal_limit = None;
    loop {
        let Obstacle { holder, longest_pause } = match try_take()? {
            Ok(lock) => return Ok(Ok(lock)),
            Err(obstacle) => obstacle,
        };
        let now = Instant::now();
        if late_signal::get().is_some() {
            signal_limit.get_or_insert(now + signal_wait);
        }
        let limit = [limit, signal_limit].into_iter().flatten().min();
        let last = limit.is_some_and(|limit| now >= limit);
        if let Some(busy) = deadlock(&holder, last) {
            return Ok(Err(busy));
        }
        if last {
            return Ok(Err(Busy::Held(holder)));
        }
        if now >= started + QUIET_WAIT
            && let Some(report_wait) = report_wait.take()
        {
            report_wait(&holder);
        }
        pause = pause.min(longest_pause);
        let pause_now = with_jitter(pause);
        late_signal::pause(limit.map_or(pause_now, |limit| pause_now.min(limit.saturating_duration_since(now))));
        pause *= 2;
    }
}

/// A locked file of a lock that this process holds.
#[derive(Debug)]
struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock at `path`, or returns its holder.
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
            // the previous holder may have removed the file after it was opened here and before it was locked
            if is_at(&file, &path)? {
                if std::process::id().is_multiple_of(SWEEP_EVERY) {
                    sweep(path.parent());
                }
                return Ok(Ok(Self { file, path }));
            }
        }
    }

    /// Records the holder in the file. This is optional: if it fails, for example on a full disk, the lock is held
    /// anyway.
    fn write_holder(&mut self) {
        let _ = self.file.set_len(0).and_then(|()| self.file.write_all(holder_text().as_bytes()));
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // removed while it is locked, so that the next holder creates a new file
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Shortens `pause` randomly by up to a half, so that waiters that started together do not poll in lockstep.
fn with_jitter(pause: Duration) -> Duration {
    let chance = random::number() % 1024;
    pause / 2 + pause * u32::try_from(chance).unwrap_or_default() / 2048
}

/// Removes the lock files of killed processes: old files that no process holds.
///
/// A process that takes such a lock at this moment takes it again, because its file is no longer at its path.
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

/// Describes the holder for messages.
pub(crate) fn name_of(holder: &Holder) -> String {
    let Some(pid) = holder.pid else { return "another process".to_owned() };
    let other_container = holder.namespace.is_some() && holder.namespace.as_deref() != pid_namespace();
    if other_container { format!("process {pid} in another container") } else { format!("process {pid}") }
}

/// Describes a lock that is not free.
pub(crate) fn state(holder: &Holder) -> String {
    let state = if holder.is_next { "reserved for" } else { "locked by" };
    format!("{state} {}", name_of(holder))
}

/// Returns the note that a call waits.
pub(crate) fn waiting_for(what: &str, holder: &Holder) -> String {
    format!("waiting for {what}, {}", state(holder))
}

/// Returns what a file records of this process, for [`read_holder`].
fn holder_text() -> String {
    format!("{}\n{}\n{}\n", std::process::id(), random::token(), pid_namespace().unwrap_or_default())
}

fn read_holder(file: &mut File) -> Holder {
    /// The limit on the bytes that are read. [`holder_text`] has fewer.
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
        is_next: false,
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

/// On Windows an open file keeps its name, so a file at `path` is the locked one.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_held_until_it_is_dropped() {
        let key = Key::new(&[b"test", format!("{:?}", Instant::now()).as_bytes()]);
        let first = Lock::try_take(&key).unwrap().unwrap();
        let holder = Lock::try_take(&key).unwrap().unwrap_err();
        assert_eq!((holder.pid, holder.token.as_deref()), (Some(std::process::id()), Some(random::token())));
        let path = first.files[0].path.clone();
        drop(first);
        assert!(!path.exists());
        let limit = Some(Instant::now() + Duration::from_secs(30));
        drop(Lock::wait(&key, limit, |_| panic!("the lock is not held")).unwrap().unwrap());
    }

    #[test]
    fn removes_old_lock_files_that_no_process_holds() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, hours: u64| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(hours * 3600 + 60)).unwrap();
            file
        };
        drop((make("old", 1), make("young", 0))); // on Windows an open file keeps its name
        let held = make("held", 5);
        held.try_lock().unwrap();
        sweep(Some(dir.path()));
        let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["held", "young"]);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_a_half() {
        let pause = Duration::from_millis(50);
        let pauses: Vec<Duration> = (0..100).map(|_| with_jitter(pause)).collect();
        assert!(pauses.iter().all(|shorter| (pause / 2..pause).contains(shorter)), "{pauses:?}");
        assert!(pauses.iter().any(|shorter| *shorter != pauses[0]));
    }

    #[test]
    fn parts_of_a_key_are_separate() {
        assert_ne!(Key::new(&[b"ab", b"c"]), Key::new(&[b"a", b"bc"]));
    }
}

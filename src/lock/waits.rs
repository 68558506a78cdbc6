//! Which calls wait for each other. A call that runs inside of another's turn must not wait for a lock which that turn
//! holds, nor for one whose holder waits, over any number of turns between, for a lock which that turn holds.
//!
//! A holder is known by its token, which its lock file tells. The calls above this one are known by the variable that
//! was handed down, and where that was lost on the way by the numbers of the processes above this one. A call inside of
//! another that waits says so in a record beside the locks: since when, for which lock, and inside of which holders. The
//! record is locked as long as its call waits, so what a killed call left counts for nothing.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dirs::candidates;
use super::{Busy, Dir, Holder, Key, private, read_holder};
use crate::random;

/// Between two looks at the other calls that wait.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// What looks hopeless for so long is: no lock is just being taken, signed or given up.
const CERTAIN: Duration = Duration::from_millis(100);
/// In a circle the call that came last gives up. If it cannot see the circle, the others do so after this long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The ending of a record's name.
const ENDING: &str = ".waits";
/// A record larger than this is not one.
const LARGEST: u64 = 64 << 10;

/// The calls that the wait for one lock has to do with.
pub(super) struct Waits {
    directories: Vec<PathBuf>,
    /// Tokens of the holder of this very lock, by the variable; an empty one for any holder.
    told: Vec<String>,
    /// Tokens of the calls above this one that hold a lock, and of this one if it does.
    inside: HashSet<String>,
    began: Began,
    /// What others can read of this wait, as long as it lasts.
    _records: Vec<Record>,
    next_look: Instant,
    /// Since when it looks hopeless.
    hopeless_since: Option<Instant>,
}

/// Orders waits by their age: nanoseconds since 1970, then the token.
type Began = (u128, String);

impl Waits {
    /// The wait for `key`, which begins now. `above`: the value of the variable that was handed down.
    pub(super) fn new(key: &Key, above: &str) -> Self {
        let dirs: Vec<Dir> = candidates().filter_map(|dir| dir.open(false).ok().flatten()).collect();
        let above: Vec<(&str, &str)> =
            above.split(',').map(|held| held.split_once(':').unwrap_or((held, ""))).collect();
        let told = above.iter().filter(|(held, _)| *held == key.own).map(|(_, token)| (*token).to_owned()).collect();
        let tokens: HashSet<&str> = above.iter().map(|(_, token)| *token).chain([random::token()]).collect();
        let ancestors = ancestors();
        let is_above = |holder: &Holder| {
            holder.token.as_deref().is_some_and(|token| tokens.contains(token))
                || (pid_namespace().is_some()
                    && holder.namespace.as_deref() == pid_namespace()
                    && holder.pid.is_some_and(|pid| ancestors.contains(&pid)))
        };
        let holders = dirs.iter().flat_map(|dir| holders(&dir.path));
        let inside: HashSet<String> = holders.filter(is_above).filter_map(|holder| holder.token).collect();
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let began = (nanoseconds, random::token().to_owned());
        // without anything above it this wait cannot be a part of a circle
        let record = |dir: &Dir| Record::write(dir, key.name_in(dir), &began, &inside);
        let records = if inside.is_empty() { Vec::new() } else { dirs.iter().filter_map(record).collect() };
        Self {
            directories: dirs.into_iter().map(|dir| dir.path).collect(),
            told,
            inside,
            began,
            _records: records,
            next_look: Instant::now(),
            hopeless_since: None,
        }
    }

    /// Whether it is no use to wait for `holder`. Takes its time to be sure, unless this is the `last` look.
    pub(super) fn look(&mut self, holder: &Holder, last: bool) -> Option<Busy> {
        let now = Instant::now();
        if now < self.next_look && !last {
            return None;
        }
        self.next_look = now + BETWEEN_LOOKS;
        let (busy, sure_after) = if self.is_inside(holder) {
            (Busy::Inside, CERTAIN)
        } else if let Some(youngest) = self.circle(holder) {
            (Busy::Circle(holder.clone()), if youngest { CERTAIN } else { PATIENCE })
        } else {
            self.hopeless_since = None;
            return None;
        };
        let since = *self.hopeless_since.get_or_insert(now);
        (last || now >= since + sure_after).then_some(busy)
    }

    fn is_inside(&self, holder: &Holder) -> bool {
        match &holder.token {
            Some(token) => self.inside.contains(token) || self.told.contains(token),
            // it has not signed, or nobody can read what it signed: what was handed down decides
            None => !self.told.is_empty(),
        }
    }

    /// Whether `holder` waits, over any number of turns, for a call above this one. The answer inside: whether this wait
    /// is the youngest of such a circle.
    fn circle(&self, holder: &Holder) -> Option<bool> {
        let holder = holder.token.as_deref().filter(|_| !self.inside.is_empty())?;
        let waits: Vec<Wait> = self.directories.iter().flat_map(|directory| waits(directory)).collect();
        let closes = |counts: &dyn Fn(&Wait) -> bool| {
            let mut reached: HashSet<&str> = [holder].into();
            loop {
                let next = |wait: &&Wait| {
                    counts(wait)
                        && !reached.contains(&*wait.holder)
                        && wait.inside.iter().any(|token| reached.contains(&**token))
                };
                let found: Vec<&str> = waits.iter().filter(next).map(|wait| &*wait.holder).collect();
                if found.is_empty() {
                    return reached.iter().any(|token| self.inside.contains(*token));
                }
                reached.extend(found);
            }
        };
        closes(&|_| true).then(|| closes(&|wait| wait.began < self.began))
    }
}

/// The wait of a call, as its record and the lock's file have it.
struct Wait {
    began: Began,
    inside: Vec<String>,
    /// The token of who holds what it waits for.
    holder: String,
}

/// A record of this process, until it is dropped.
struct Record {
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Record {
    /// `None`: it cannot be written, so others do not see this wait.
    fn write(dir: &Dir, name: &str, began: &Began, inside: &HashSet<String>) -> Option<Self> {
        let unique = random::digits();
        let (unseen, path) = (dir.path.join(&unique), dir.path.join(unique + ENDING));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        private(&mut options);
        let mut file = options.open(&unseen).ok()?;
        let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
        let text = format!("{}\n{}\n{name}\n{}\n", began.0, began.1, inside.join(","));
        // locked and whole before anybody can see it
        let written = file.lock().and_then(|()| file.write_all(text.as_bytes()));
        if written.and_then(|()| fs::rename(&unseen, &path)).is_err() {
            let _ = fs::remove_file(&unseen);
            return None;
        }
        Some(Self { path, _file: file })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The files in `directory` that `is_ours` chooses by name.
fn files(directory: &Path, is_ours: impl Fn(&str) -> bool) -> impl Iterator<Item = (PathBuf, File)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(move |entry| entry.file_name().to_str().is_some_and(&is_ours));
    ours.filter_map(|entry| {
        let mut options = OpenOptions::new();
        options.read(true);
        private(&mut options);
        let path = entry.path();
        let file = options.open(&path).ok()?;
        Some((path, file))
    })
}

/// All who hold a lock in `directory`, and some who did before they were killed: nobody waits for these.
fn holders(directory: &Path) -> impl Iterator<Item = Holder> {
    let is_lock = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    files(directory, is_lock).map(|(_, mut file)| read_holder(&mut file))
}

/// All waits in `directory` whose calls live and whose locks are held by somebody known.
fn waits(directory: &Path) -> impl Iterator<Item = Wait> {
    files(directory, |name| name.ends_with(ENDING)).filter_map(move |(path, file)| {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) => {
                let _ = fs::remove_file(path); // its call was killed; no other record gets this name
                return None;
            }
            Err(TryLockError::Error(_)) => return None,
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let began = (lines.next()?.parse().ok()?, lines.next()?.to_owned());
        let name = lines.next().filter(|name| !name.contains(['/', '\\']))?;
        let inside = lines.next()?.split(',').map(str::to_owned).collect();
        let holder = read_holder(&mut File::open(directory.join(name)).ok()?).token?;
        Some(Wait { began, inside, holder })
    })
}

/// Where the numbers of processes that this one sees are known: this boot of this machine, and this container. `None`:
/// the system does not say.
#[cfg(target_os = "linux")]
pub(super) fn pid_namespace() -> Option<&'static str> {
    use std::sync::OnceLock;
    static NAMESPACE: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    };
    NAMESPACE.get_or_init(read).as_deref()
}

/// Other systems have one for all.
#[cfg(not(target_os = "linux"))]
pub(super) fn pid_namespace() -> Option<&'static str> {
    None
}

/// The processes above this one, as far as they can be seen.
#[cfg(target_os = "linux")]
fn ancestors() -> HashSet<u32> {
    let mut ancestors = HashSet::new();
    let mut next = parent("self");
    while let Some(pid) = next.filter(|&pid| pid != 0 && ancestors.insert(pid)) {
        next = parent(&pid.to_string());
    }
    ancestors
}

/// The parent of a process (`proc_pid_stat(5)`).
#[cfg(target_os = "linux")]
fn parent(pid: &str) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything, parentheses too; then come the state and the parent
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Other systems tell the processes above only in ways of their own; there the variable alone decides.
#[cfg(not(target_os = "linux"))]
fn ancestors() -> HashSet<u32> {
    HashSet::new()
}

//! Detects calls that wait for each other.
//!
//! An agent can run this program during its turn. Such an inner call must not wait for a lock that an outer call holds.
//! Nor must it wait for a lock whose holder waits, directly or through other turns, for a lock that an outer call holds.
//!
//! A holder is identified by its token, which its lock file records. The outer calls are identified by an environment
//! variable or, if that was lost, by the process IDs of this process's ancestors.
//!
//! While an inner call waits, a record beside the locks states since when it waits, for which lock, and inside which
//! holders. The record is locked during the wait, so the record of a killed call is ignored.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dirs::candidates;
use super::notice::{self, Notice};
use super::{Busy, Dir, Holder, Key, read_holder};
#[cfg(unix)]
use crate::env;
use crate::random;

/// The interval between checks of the other waits.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The time for which a deadlock must be observed. It excludes locks whose holder is just changing.
const CONFIRM_AFTER: Duration = Duration::from_millis(100);
/// The youngest wait of a cycle fails first. If it cannot see the cycle, the others fail after this long.
const CYCLE_TIMEOUT: Duration = Duration::from_secs(3);
/// The suffix of a record's name.
const SUFFIX: &str = ".waits";
/// The limit on the bytes that are read of a record.
const LARGEST: u64 = 64 << 10;

/// The wait for one lock, and the calls that are relevant to it.
pub(super) struct Waits {
    dirs: Vec<PathBuf>,
    /// The tokens that the environment variable lists for this lock. An empty one stands for any holder.
    inherited: Vec<String>,
    /// The tokens of all outer calls that hold a lock, and of this call if it does.
    inside: HashSet<String>,
    started: Started,
    /// Publish this wait to other calls until they are dropped.
    _records: Vec<Notice>,
    next_check: Instant,
    /// When the deadlock was first observed.
    deadlock_since: Option<Instant>,
}

/// Orders waits by age: nanoseconds since 1970, then the token.
type Started = (u128, String);

impl Waits {
    /// Starts the wait for `key`. `outer` is the value of the inherited environment variable.
    pub(super) fn new(key: &Key, outer: &str) -> Self {
        let dirs: Vec<Dir> = candidates().filter_map(|dir| dir.open(false).ok().flatten()).collect();
        let outer: Vec<(&str, &str)> =
            outer.split(',').map(|held| held.split_once(':').unwrap_or((held, ""))).collect();
        let inherited =
            outer.iter().filter(|(held, _)| *held == key.own).map(|(_, token)| (*token).to_owned()).collect();
        let tokens: HashSet<&str> = outer.iter().map(|(_, token)| *token).chain([random::token()]).collect();
        let ancestors = ancestors();
        let is_outer = |holder: &Holder| {
            holder.token.as_deref().is_some_and(|token| tokens.contains(token))
                || (pid_namespace().is_some()
                    && holder.namespace.as_deref() == pid_namespace()
                    && holder.pid.is_some_and(|pid| ancestors.contains(&pid)))
        };
        let holders = dirs.iter().flat_map(|dir| holders(&dir.path));
        let inside: HashSet<String> = holders.filter(is_outer).filter_map(|holder| holder.token).collect();
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let started = (nanoseconds, random::token().to_owned());
        // the wait of an outermost call cannot be part of a cycle
        let record = |dir: &Dir| {
            let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
            let text = format!("{}\n{}\n{}\n{}\n", started.0, started.1, key.name_in(dir), inside.join(","));
            Notice::publish(&dir.path, &(random::digits() + SUFFIX), &text).ok() // without it, others miss this wait
        };
        let records = if inside.is_empty() { Vec::new() } else { dirs.iter().filter_map(record).collect() };
        Self {
            dirs: dirs.into_iter().map(|dir| dir.path).collect(),
            inherited,
            inside,
            started,
            _records: records,
            next_check: Instant::now(),
            deadlock_since: None,
        }
    }

    /// Returns the deadlock if waiting for `holder` would never end. A deadlock must be observed for a while, except
    /// in the `last` check.
    pub(super) fn check(&mut self, holder: &Holder, last: bool) -> Option<Busy> {
        let now = Instant::now();
        if holder.is_next {
            self.deadlock_since = None; // it takes the lock soon, and waits for nothing else
            return None;
        }
        if now < self.next_check && !last {
            return None;
        }
        self.next_check = now + CHECK_INTERVAL;
        let (busy, confirm_after) = if self.is_inside(holder) {
            (Busy::Inside, CONFIRM_AFTER)
        } else if let Some(youngest) = self.cycle(holder) {
            (Busy::Cycle(holder.clone()), if youngest { CONFIRM_AFTER } else { CYCLE_TIMEOUT })
        } else {
            self.deadlock_since = None;
            return None;
        };
        let since = *self.deadlock_since.get_or_insert(now);
        (last || now >= since + confirm_after).then_some(busy)
    }

    fn is_inside(&self, holder: &Holder) -> bool {
        match &holder.token {
            Some(token) => self.inside.contains(token) || self.inherited.contains(token),
            // unsigned or unreadable: only the environment variable can decide
            None => !self.inherited.is_empty(),
        }
    }

    /// Returns whether this wait is the youngest of a cycle, if `holder` waits, directly or through other turns, for
    /// an outer call.
    fn cycle(&self, holder: &Holder) -> Option<bool> {
        let holder = holder.token.as_deref().filter(|_| !self.inside.is_empty())?;
        let waits: Vec<Wait> = self.dirs.iter().flat_map(|dir| waits(dir)).collect();
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
        closes(&|_| true).then(|| closes(&|wait| wait.started < self.started))
    }
}

/// The wait of a call, from its record and the lock file.
struct Wait {
    started: Started,
    inside: Vec<String>,
    /// The token of the holder it waits for.
    holder: String,
}

/// Returns the holders of all locks in `directory`. Some may have been killed, which is harmless: no call waits for
/// them.
fn holders(directory: &Path) -> impl Iterator<Item = Holder> {
    let is_lock = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    notice::files(directory, is_lock).filter_map(|path| Some(read_holder(&mut notice::open(&path)?)))
}

/// Returns the waits in `directory` whose calls are alive and whose locks have a known holder.
fn waits(directory: &Path) -> impl Iterator<Item = Wait> {
    notice::files(directory, |name| name.ends_with(SUFFIX)).filter_map(move |path| {
        let file = notice::open_of_living(&path)?;
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let started = (lines.next()?.parse().ok()?, lines.next()?.to_owned());
        let name = lines.next().filter(|name| !name.contains(['/', '\\']))?;
        let inside = lines.next()?.split(',').map(str::to_owned).collect();
        let holder = read_holder(&mut File::open(directory.join(name)).ok()?).token?;
        Some(Wait { started, inside, holder })
    })
}

/// Returns what identifies the process IDs that this process sees: the boot of the machine, and the container. Returns
/// `None` if the system does not report it.
#[cfg(target_os = "linux")]
pub(crate) fn pid_namespace() -> Option<&'static str> {
    use std::fs;
    use std::sync::OnceLock;
    static NAMESPACE: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    };
    NAMESPACE.get_or_init(read).as_deref()
}

/// Returns `None`: on other systems there is only one namespace.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pid_namespace() -> Option<&'static str> {
    None
}

/// Returns the ancestors of this process that may wait for it, as far as they are visible. Nothing waits for a detached
/// turn, although its process can become a child of the turn that started it.
#[cfg(target_os = "linux")]
pub(crate) fn ancestors() -> HashSet<u32> {
    let mut ancestors = HashSet::new();
    let mut process = "self".to_owned();
    while !is_detached(&process)
        && let Some(pid) = parent(&process).filter(|&pid| pid != 0 && ancestors.insert(pid))
    {
        process = pid.to_string();
    }
    ancestors
}

/// Returns whether the process `pid` runs a detached turn, as far as that is visible.
#[cfg(unix)]
pub(crate) fn is_detached(pid: &str) -> bool {
    let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let name = |variable: &[u8]| variable.split(|&byte| byte == b'=').next().map(<[u8]>::to_vec);
    variables.split(|&byte| byte == 0).any(|variable| name(variable).as_deref() == Some(env::DETACHED.as_bytes()))
}

/// Returns the parent of a process (`proc_pid_stat(5)`).
#[cfg(target_os = "linux")]
fn parent(pid: &str) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may contain anything, even parentheses; the state and the parent follow
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Returns nothing: other systems have no common interface for this, so only the environment variable decides.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ancestors() -> HashSet<u32> {
    HashSet::new()
}

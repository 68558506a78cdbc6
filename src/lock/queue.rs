//! The order of the calls that wait for one lock.
//!
//! Each waiter has a place in the queue of the lock: a [`Notice`] beside it, whose name has the waiter's rank. A waiter
//! tries to take the lock only if no living waiter has an earlier place. The lock alone decides who holds it. So a
//! place that is not seen affects the order, but never the exclusion: on a full disk, in a directory that the others
//! cannot use, or next to a release that has no queues.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dirs::candidates;
use super::notice::{self, Notice};
use super::waits::Waits;
use super::{Busy, Dir, Holder, Key, LONGEST_PAUSE, Lock, Obstacle, holder_text, poll, read_holder};
use crate::random;

/// The suffix of the file of a place.
const SUFFIX: &str = ".place";
/// The interval at which a waiter updates the file of its place.
const BEAT: Duration = Duration::from_secs(1);
/// A waiter that did not update its place for this many beats of another is stopped, and the other one passes it.
const STOPPED_AFTER: u32 = 10;
/// The pause of a waiter for each one before it.
const PAUSE_BEHIND: Duration = Duration::from_millis(25);
const LONGEST_PAUSE_BEHIND: Duration = Duration::from_millis(500);
/// The longest pause of the first waiter is divided by the length of the queue, but at most by this.
const MOST_TRIES: u32 = 10;

/// A place in the queue of a lock. It is given up when it is dropped or when this process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Place {
    key: Key,
    /// `None` comes after all places.
    rank: Option<Rank>,
    /// One in every usable directory, as for the lock itself.
    notices: Vec<Notice>,
    next_beat: Instant,
    /// The modification times of earlier places, and the number of beats for which they did not change.
    unchanged: HashMap<Rank, (SystemTime, u32)>,
}

/// Sorts the places of a queue in all directories.
///
/// A waiter chooses a number above all that it finds, so nothing needs to be locked while it joins. Waiters that join
/// concurrently may find the same numbers. Either order is right for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rank {
    /// Nanoseconds since 1970, unless the clock was set back. So the order survives the loss of all files.
    number: u64,
    /// Random.
    digits: String,
}

impl Rank {
    fn after(last: Option<u64>) -> Self {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let next = last.map_or(0, |last| last.saturating_add(1));
        Self { number: next.max(u64::try_from(nanoseconds).unwrap_or_default()), digits: random::digits() }
    }

    fn file_name(&self, lock: &str) -> String {
        format!("{lock}.{:020}.{}{SUFFIX}", self.number, self.digits)
    }

    /// Parses the name of a file in the queue of `lock`.
    fn parse(name: &str, lock: &str) -> Option<Self> {
        let rank = name.strip_prefix(lock)?.strip_prefix('.')?.strip_suffix(SUFFIX)?;
        let (number, digits) = rank.split_once('.')?;
        Some(Self { number: number.parse().ok()?, digits: digits.to_owned() })
    }
}

/// Where a waiter is in the queue.
#[derive(Debug)]
enum Position {
    /// The number of places in the queue.
    First(usize),
    /// The first waiter, and the number of places before this one.
    Behind(Holder, usize),
}

impl Place {
    /// Joins the queue of the lock `key`. All waiters that join later come after it.
    pub(crate) fn join(key: &Key) -> Self {
        let dirs = candidates().filter_map(|dir| dir.open(false).ok().flatten());
        let numbers =
            dirs.flat_map(|dir| places(&dir.path, key.name_in(&dir)).map(|(rank, _)| rank.number).collect::<Vec<_>>());
        let mut place = Self { rank: Some(Rank::after(numbers.max())), ..Self::after_all(key) };
        place.queue();
        place
    }

    /// Returns the place after all waiters, also after those that join later. It is not visible to others.
    pub(crate) fn after_all(key: &Key) -> Self {
        Self { key: key.clone(), rank: None, notices: Vec::new(), next_beat: Instant::now(), unchanged: HashMap::new() }
    }

    /// Waits for the turn of this place until `limit`, and takes the lock. Calls `report_wait` once, after a second.
    /// Does not wait if the wait would never end. `outer` lists the locks of the outer calls ([`Key::handed_down`]),
    /// separated by commas.
    ///
    /// The wait ends with a signal, if signals are kept ([`crate::late_signal`]).
    ///
    /// The place is given up if the lock is taken, and kept if not.
    ///
    /// # Errors
    ///
    /// Fails like [`Lock::try_take`].
    pub(crate) fn wait(
        &mut self,
        limit: Option<Instant>,
        outer: &str,
        report_wait: impl FnOnce(&Holder),
    ) -> io::Result<Result<Lock, Busy>> {
        let key = self.key.clone();
        let mut waits = None;
        let check = |holder: &Holder, last| waits.get_or_insert_with(|| Waits::new(&key, outer)).check(holder, last);
        let taken = poll(limit, Duration::ZERO, report_wait, || self.try_take(), check)?;
        if taken.is_ok() {
            self.notices.clear();
        }
        Ok(taken)
    }

    /// Takes the lock if no other waiter comes before.
    fn try_take(&mut self) -> io::Result<Result<Lock, Obstacle>> {
        Ok(match self.position() {
            Position::First(length) => {
                let tries = u32::try_from(length).unwrap_or(MOST_TRIES).clamp(1, MOST_TRIES);
                Lock::try_take(&self.key)?.map_err(|holder| Obstacle { holder, longest_pause: LONGEST_PAUSE / tries })
            }
            Position::Behind(first, count) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                let longest_pause = PAUSE_BEHIND.saturating_mul(count).min(LONGEST_PAUSE_BEHIND);
                let holder = recorded_holder(&self.key).unwrap_or(Holder { is_next: true, ..first });
                Err(Obstacle { holder, longest_pause })
            }
        })
    }

    fn position(&mut self) -> Position {
        let now = Instant::now();
        let beats = now >= self.next_beat;
        if beats {
            self.next_beat = now + BEAT;
            self.notices.iter().for_each(Notice::touch);
        }
        let queue = self.queue();
        let before = |rank: &&Rank| self.rank.as_ref().is_none_or(|own| *rank < own);
        let count = queue.keys().take_while(before).count();
        for (rank, paths) in queue.iter().take(count) {
            let Some((holder, modified)) = paths.iter().find_map(|path| waiter(path)) else { continue };
            let (last, unchanged) = self.unchanged.entry(rank.clone()).or_insert((modified, 0));
            if *last != modified {
                (*last, *unchanged) = (modified, 0);
            } else if beats {
                *unchanged += 1;
            }
            if *unchanged < STOPPED_AFTER {
                return Position::Behind(holder, count);
            }
        }
        Position::First(queue.len() + 1)
    }

    /// Returns the files of the other places by their ranks. Creates the files of this place where they are missing,
    /// for example because the directory was cleaned.
    fn queue(&mut self) -> BTreeMap<Rank, Vec<PathBuf>> {
        let mut queue: BTreeMap<Rank, Vec<PathBuf>> = BTreeMap::new();
        let mut is_visible = self.rank.is_none();
        for candidate in candidates() {
            let Ok(Some(dir)) = candidate.open(!is_visible) else { continue };
            let mut is_listed = false;
            for (rank, path) in places(&dir.path, self.key.name_in(&dir)) {
                if self.rank.as_ref() == Some(&rank) {
                    is_listed = true;
                } else {
                    queue.entry(rank).or_default().push(path);
                }
            }
            is_visible |= is_listed || self.publish(&dir);
        }
        queue
    }

    /// Publishes the place in `dir`, and returns whether that succeeded.
    fn publish(&mut self, dir: &Dir) -> bool {
        let Some(rank) = &self.rank else { return false };
        self.notices.retain(|notice| !notice.is_in(&dir.path));
        let name = rank.file_name(self.key.name_in(dir));
        let publish = |text: &str| Notice::publish(&dir.path, &name, text);
        // a full disk may have room for an empty file
        let notice = publish(&holder_text()).or_else(|_| publish("")).ok();
        let is_published = notice.is_some();
        self.notices.extend(notice);
        is_published
    }
}

/// Returns the places in the queue of `lock`, a file name, in `directory`.
pub(super) fn files(directory: &Path, lock: &str) -> impl Iterator<Item = PathBuf> {
    places(directory, lock).map(|(_, path)| path)
}

fn places(directory: &Path, lock: &str) -> impl Iterator<Item = (Rank, PathBuf)> {
    let rank = |path: PathBuf| Some((Rank::parse(path.file_name()?.to_str()?, lock)?, path));
    notice::files(directory, |name| name.ends_with(SUFFIX)).filter_map(rank)
}

/// Returns the process that has the place at `path`, and when it last updated the file, if it is alive.
fn waiter(path: &Path) -> Option<(Holder, SystemTime)> {
    let mut file = notice::open_of_living(path)?;
    let modified = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    Some((read_holder(&mut file), modified))
}

/// Returns the process that the lock file names. Returns `None` if there is no such file.
fn recorded_holder(key: &Key) -> Option<Holder> {
    candidates().filter_map(|candidate| candidate.existing()).find_map(|dir| {
        let mut file = notice::open(&dir.path.join(key.name_in(&dir)))?;
        Some(read_holder(&mut file))
    })
}

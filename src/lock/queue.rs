//! The order of the calls that wait for one lock.
//!
//! Each waiter has a place in the queue of the lock: a [`Notice`] beside it, whose name has the waiter's rank. A waiter
//! tries to take the lock only if no living waiter has an earlier place. The lock alone decides who holds it. So a
//! place that is not seen affects the order, but never the exclusion: on a full disk, in a directory that the others
//! cannot use, or next to a release that has no queues.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::dirs::candidates;
use super::notice::{self, Notice};
use super::waits::Waits;
use super::{Busy, Dir, Holder, Key, LONGEST_PAUSE, Lock, Obstacle, holder_text, poll, read_holder};
use crate::random;
use crate::sort::sort;

/// The suffix of the file of a place.
const SUFFIX: &str = ".place";
/// The interval at which a waiter reads the queue, and updates the file of its place. In between, it only checks whether
/// the first waiter is still there.
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
    /// Set if the lock was free and the queue was empty.
    taken: Option<Lock>,
    position: Position,
    next_beat: Instant,
    /// Earlier places, their modification times, and the number of beats for which these did not change.
    unchanged: Vec<(Rank, SystemTime, u32)>,
}

/// Sorts the places of a queue in all directories.
///
/// A waiter chooses a number above all that it finds, so nothing needs to be locked while it joins. Waiters that join
/// concurrently may find the same numbers. Either order is right for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Where a waiter was in the queue when it read it.
#[derive(Debug)]
enum Position {
    Unknown,
    /// The number of places in the queue.
    First(usize),
    /// The first waiter, the file of its place, and the number of places before this one.
    Behind(Holder, File, usize),
}

impl Place {
    /// Joins the queue of the lock `key`, or takes the lock if that is possible. All waiters that join later come after
    /// this one.
    pub(crate) fn join(key: &Key) -> Self {
        let dirs = candidates().filter_map(|dir| dir.open(false).ok().flatten());
        let numbers =
            dirs.flat_map(|dir| places(&dir.path, key.name_in(&dir)).map(|(rank, _)| rank.number).collect::<Vec<_>>());
        let last = numbers.max();
        let mut place = Self { rank: Some(Rank::after(last)), ..Self::after_all(key) };
        if last.is_none() {
            place.taken = Lock::try_take(key).ok().and_then(Result::ok); // an error is reported by the wait
        }
        if place.taken.is_none() {
            place.queue();
        }
        place
    }

    /// Returns the place after all waiters, also after those that join later. It is not visible to others.
    pub(crate) fn after_all(key: &Key) -> Self {
        Self {
            key: key.clone(),
            rank: None,
            notices: Vec::new(),
            taken: None,
            position: Position::Unknown,
            next_beat: Instant::now(),
            unchanged: Vec::new(),
        }
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
        if let Some(lock) = self.taken.take() {
            return Ok(Ok(lock));
        }
        let key = self.key.clone();
        let mut waits = None;
        let mut check =
            |holder: &Holder, last| waits.get_or_insert_with(|| Waits::new(&key, outer)).check(holder, last);
        let taken = poll(limit, Duration::ZERO, report_wait, &mut || self.try_take(), &mut check)?;
        if taken.is_ok() {
            self.notices.clear();
            self.position = Position::Unknown;
        }
        Ok(taken)
    }

    /// Takes the lock if no other waiter comes before.
    fn try_take(&mut self) -> io::Result<Result<Lock, Obstacle>> {
        self.update_position();
        Ok(match &self.position {
            Position::Behind(first, _, count) => {
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                let longest_pause = PAUSE_BEHIND.saturating_mul(count).min(LONGEST_PAUSE_BEHIND);
                let holder = recorded_holder(&self.key).unwrap_or_else(|| Holder { is_next: true, ..first.clone() });
                Err(Obstacle { holder, longest_pause })
            }
            Position::First(length) => {
                let tries = u32::try_from(*length).unwrap_or(MOST_TRIES).clamp(1, MOST_TRIES);
                Lock::try_take(&self.key)?.map_err(|holder| Obstacle { holder, longest_pause: LONGEST_PAUSE / tries })
            }
            Position::Unknown => unreachable!("it was just updated"),
        })
    }

    /// Reads the queue, unless it was read recently and the first waiter is still there.
    fn update_position(&mut self) {
        let now = Instant::now();
        let beats = now >= self.next_beat;
        let is_current = match &self.position {
            Position::Unknown => false,
            Position::First(_) => true,
            Position::Behind(_, first, _) => matches!(first.try_lock_shared(), Err(TryLockError::WouldBlock)),
        };
        if is_current && !beats {
            return;
        }
        if beats {
            self.next_beat = now + BEAT;
            self.notices.iter().for_each(Notice::touch);
        }
        let mut queue = self.queue();
        let length = by_rank(&queue).count() + 1;
        queue.retain(|(rank, _)| self.rank.as_ref().is_none_or(|own| rank < own));
        let count = by_rank(&queue).count();
        self.position = Position::First(length);
        for files in by_rank(&queue) {
            let Some(mut file) = files.iter().find_map(|(_, path)| notice::open_of_living(path)) else { continue };
            if !self.is_stopped(&files[0].0, &file, beats) {
                self.position = Position::Behind(read_holder(&mut file), file, count);
                return;
            }
        }
    }

    /// Returns whether the waiter with the place `rank` does not update its file. `beats` is whether the file is
    /// compared now. Beats count the time in which this process runs, so clocks and its own stops do not matter.
    fn is_stopped(&mut self, rank: &Rank, file: &File, beats: bool) -> bool {
        let modified = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
        let Some((_, last, unchanged)) = self.unchanged.iter_mut().find(|(other, ..)| other == rank) else {
            self.unchanged.push((rank.clone(), modified, 0));
            return false;
        };
        if *last != modified {
            (*last, *unchanged) = (modified, 0);
        } else if beats {
            *unchanged += 1;
        }
        *unchanged >= STOPPED_AFTER
    }

    /// Returns the files of the other places, sorted by their ranks. Creates the files of this place where they are
    /// missing, for example because the directory was cleaned.
    fn queue(&mut self) -> Vec<(Rank, PathBuf)> {
        let mut queue = Vec::new();
        let mut is_visible = self.rank.is_none();
        for candidate in candidates() {
            let Ok(Some(dir)) = candidate.open(!is_visible) else { continue };
            let begin = queue.len();
            queue.extend(places(&dir.path, self.key.name_in(&dir)));
            let is_own = |(rank, _): &(Rank, PathBuf)| self.rank.as_ref() == Some(rank);
            if let Some(own) = queue[begin..].iter().position(is_own) {
                queue.swap_remove(begin + own);
                is_visible = true;
            } else {
                is_visible |= self.publish(&dir);
            }
        }
        sort(&mut queue);
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

/// Splits a sorted queue into places. One can have a file in each directory.
fn by_rank(queue: &[(Rank, PathBuf)]) -> impl Iterator<Item = &[(Rank, PathBuf)]> {
    queue.chunk_by(|(rank, _), (next, _)| rank == next)
}

/// Returns the process that the lock file names. Returns `None` if that file is missing.
fn recorded_holder(key: &Key) -> Option<Holder> {
    candidates().filter_map(|candidate| candidate.existing()).find_map(|dir| {
        let mut file = notice::open(&dir.path.join(key.name_in(&dir)))?;
        Some(read_holder(&mut file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new(&[b"queue", random::digits().as_bytes()])
    }

    /// Returns two places in the queue of a lock that is free now.
    fn two_places() -> (Place, Place) {
        let key = key();
        let _lock = Lock::try_take(&key).unwrap().unwrap();
        (Place::join(&key), Place::join(&key))
    }

    fn try_take(place: &mut Place) -> Result<Lock, Busy> {
        place.wait(Some(Instant::now()), "", |_| panic!("it does not wait")).unwrap()
    }

    /// Returns whether `place` cannot take the lock because of a waiter.
    fn is_behind_a_waiter(place: &mut Place) -> bool {
        matches!(try_take(place), Err(Busy::Held(holder)) if holder.is_next)
    }

    #[test]
    fn places_get_the_lock_in_their_order() {
        let key = key();
        let mut free = Place::join(&key);
        assert!(free.notices.is_empty());
        let lock = try_take(&mut free).unwrap();
        let mut places: Vec<Place> = (0..3).map(|_| Place::join(&key)).collect();
        drop(lock);
        let mut last = Place::after_all(&key);
        assert!(is_behind_a_waiter(&mut places[2]) && is_behind_a_waiter(&mut places[1]));
        drop(places.remove(1));
        assert!(is_behind_a_waiter(&mut places[1]) && is_behind_a_waiter(&mut last));
        let lock = try_take(&mut places[0]).unwrap();
        assert!(matches!(try_take(&mut places[1]), Err(Busy::Inside)), "this process holds the lock");
        let mut later = Place::join(&key);
        drop(lock);
        assert!(is_behind_a_waiter(&mut later) && is_behind_a_waiter(&mut last));
        drop(try_take(&mut places[1]).unwrap());
        assert!(is_behind_a_waiter(&mut last));
        drop(try_take(&mut later).unwrap());
        drop(try_take(&mut last).unwrap());
    }

    #[test]
    fn place_of_an_ended_process_is_removed() {
        let (mut place, mut later) = two_places();
        place.notices.iter_mut().for_each(Notice::end_process);
        assert!(try_take(&mut later).is_ok());
        assert!(place.notices.iter().all(|notice| !notice.exists()));
        assert!(try_take(&mut place).is_ok());
    }

    #[test]
    fn later_places_come_after_all_earlier_ones() {
        let mut ranks = vec![Rank::after(Some(u64::MAX - 5))]; // the clock was set back
        for _ in 0..4 {
            ranks.push(Rank::after(ranks.last().map(|rank| rank.number)));
        }
        assert!(ranks.is_sorted() && ranks[0].number > Rank::after(None).number);
        let names: Vec<String> = ranks.iter().map(|rank| rank.file_name("lock")).collect();
        assert!(names.is_sorted());
        for (rank, name) in ranks.iter().zip(&names) {
            assert_eq!(Rank::parse(name, "lock").as_ref(), Some(rank));
            assert_eq!(Rank::parse(name, "loc"), None);
        }
        for name in ["lock", "lock.place", "lock.1.place", "lock.-1.0.place", "lock.18446744073709551616.0.place"] {
            assert_eq!(Rank::parse(name, "lock"), None, "{name}");
        }
    }

    #[test]
    fn stopped_waiter_keeps_its_place_but_is_passed() {
        let (stopped, mut place) = two_places();
        let mut beat = |touched: bool| {
            if touched {
                let other = SystemTime::UNIX_EPOCH + Duration::from_secs(random::number() % 1_000_000);
                stopped.notices.iter().for_each(|notice| notice.set_modified(other));
            }
            place.next_beat = Instant::now();
            place.update_position();
            matches!(place.position, Position::First(_))
        };
        let beats = |count: u32, beat: &mut dyn FnMut(bool) -> bool| (0..count).filter(|_| beat(false)).count();
        assert_eq!(beats(STOPPED_AFTER, &mut beat), 0);
        assert!(!beat(true), "it updated its file");
        assert_eq!(beats(STOPPED_AFTER - 1, &mut beat), 0);
        assert!(beat(false));
        assert!(!beat(true), "it continues");
    }
}

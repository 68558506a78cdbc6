//! The record of a turn that this process runs, and whether the process of another record is alive.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
#[cfg(windows)]
use std::path::PathBuf;

use jiff::Timestamp;

use super::dir::RecordDir;
use super::record::Record;
use crate::lock::pid_namespace;
use crate::random;
use crate::sys::retry_while_open;
use crate::time::digits;

/// How many IDs are tried. Only turns that begin within two milliseconds can have the same.
const MOST_TRIES: usize = 100;

/// The record of a turn that this process runs. Its lock is held until this is dropped.
#[derive(Debug)]
pub(super) struct LiveRecord {
    pub(super) dir: RecordDir,
    pub(super) id: String,
    lock: File,
}

impl LiveRecord {
    /// Creates the record with a new ID.
    ///
    /// # Errors
    ///
    /// The errors of the directory and of the files in it.
    pub(super) fn create(dir: RecordDir) -> io::Result<Self> {
        dir.create()?;
        for _ in 0..MOST_TRIES {
            let id = new_id();
            let path = dir.file(&id, "lock");
            match private_file().create_new(true).open(&path) {
                Ok(mut lock) => {
                    lock.try_lock().map_err(io::Error::from)?;
                    lock.write_all(pid_namespace().unwrap_or_default().as_bytes())?;
                    #[cfg(windows)]
                    watch_for_stop(dir.file(&id, "stop"), path);
                    return Ok(Self { dir, id, lock });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Replaces the stored record.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let (temp, target) = (self.dir.file(&self.id, "tmp"), self.dir.file(&self.id, "record"));
        let text = serde_json::to_vec(record)?;
        let create = || private_file().create_new(true).open(&temp); // never through a symlink
        let created = create().or_else(|_| fs::remove_file(&temp).and_then(|()| create()));
        // not synced: after a crash of the system the turn is lost anyway
        let written = created.and_then(|mut file| file.write_all(&text));
        let written = written.and_then(|()| retry_while_open(|| fs::rename(&temp, &target)));
        written.or_else(|error| {
            let _ = fs::remove_file(&temp);
            self.overwrite(text).map_err(|_| error)
        })
    }

    /// Writes over the stored record. A full disk has no room for another file, but hardly ever none for this one.
    fn overwrite(&self, mut text: Vec<u8>) -> io::Result<()> {
        self.dir.open(&self.id, "record")?; // only a regular file
        let mut file = private_file().open(self.dir.file(&self.id, "record"))?;
        let stored = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // one write, so that others read the old record or the new one
        text.resize(text.len().max(stored), b' ');
        file.write_all(&text)
    }

    /// Creates the files for the output of the turn. `stderr` is what it has written to standard error so far.
    pub(super) fn create_outputs(&self, stderr: &[u8]) -> io::Result<(File, File)> {
        let create = |extension| private_file().append(true).create_new(true).open(self.dir.file(&self.id, extension));
        let (output, mut errors) = (create("out")?, create("err")?);
        errors.write_all(stderr)?;
        Ok((output, errors))
    }

    /// Writes the last state of the record and releases it. If it cannot be written, a record that is `needed` counts as
    /// lost, because its other files are still there. Any other one is removed.
    pub(super) fn end(self, record: &Record, needed: bool) {
        match self.write(record) {
            Ok(()) => ["stop", "lock"].iter().for_each(|file| drop(fs::remove_file(self.dir.file(&self.id, file)))),
            Err(_) if needed => {}
            Err(_) => self.dir.remove(&self.id),
        }
        drop(self.lock);
    }

    /// Removes the record.
    pub(super) fn discard(self) {
        self.dir.remove(&self.id);
    }
}

/// Returns whether a process holds the lock of the turn `id`.
pub(super) fn is_alive(dir: &RecordDir, id: &str) -> bool {
    let Ok(lock) = OpenOptions::new().read(true).open(dir.file(id, "lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Interrupts this process if the file `request` appears, until its lock file is gone.
#[cfg(windows)]
fn watch_for_stop(request: PathBuf, lock: PathBuf) {
    const INTERVAL: std::time::Duration = std::time::Duration::from_millis(200);
    std::thread::spawn(move || {
        while lock.exists() {
            if request.exists() {
                let _ = fs::remove_file(&request);
                crate::process::interrupt();
            }
            std::thread::sleep(INTERVAL);
        }
    });
}

/// Returns options for a file that only this user can read.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Without vowels, which could form words, and without characters that look like others. In the order of ASCII.
const CHARACTERS: &[u8; 24] = b"23456789bcdfghjkmnpqrtwx";

/// Returns an ID that sorts by time and is easy to type, such as `20261121-105533-k3f9`.
fn new_id() -> String {
    id_at(Timestamp::now(), random::number())
}

/// Returns the ID of a turn that begins at `now`. Its last part is a fraction of the second, and two random characters.
fn id_at(now: Timestamp, random: u64) -> String {
    let ticks = u64::from(now.subsec_nanosecond().unsigned_abs()) * 24 * 24 / 1_000_000_000;
    let suffix = [ticks / 24, ticks % 24, random % 24, random / 24 % 24].map(|digit| {
        let digit = usize::try_from(digit).unwrap_or_default();
        char::from(CHARACTERS[digit])
    });
    format!("{}-{}", digits(now), String::from_iter(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let at = |time: &str| id_at(time.parse().unwrap(), 24 * 5 + 1);
        let times = ["2026-11-21T10:55:33Z", "2026-11-21T10:55:33.002Z", "2026-11-21T10:55:33.999999999Z"];
        let ids = times.map(at);
        assert_eq!(ids, ["20261121-105533-2237", "20261121-105533-2337", "20261121-105533-xx37"]);
        assert!(ids.is_sorted());
    }
}

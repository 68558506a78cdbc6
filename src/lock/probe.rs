//! Whether a lock is held, for commands that only read.
//!
//! A process that tried the lock to learn that would hold it for a moment, and a call that does not wait would find it
//! busy. Each system has another way that takes nothing.

use std::fs::{File, OpenOptions};
use std::io;

use super::dirs::candidates;
use super::{Key, private, queue};

/// Returns whether a process holds the lock `key` or waits for it; `None` if that cannot be known. Takes no lock and
/// creates nothing.
pub(crate) fn is_held(key: &Key) -> Option<bool> {
    let mut held = Some(false);
    for dir in candidates().filter_map(|candidate| candidate.existing()) {
        let name = key.name_in(&dir);
        for path in [dir.path.join(name)].into_iter().chain(queue::files(&dir.path, name)) {
            let mut options = OpenOptions::new();
            options.read(true);
            private(&mut options);
            let is_locked = match options.open(path) {
                Ok(file) => is_locked(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
                Err(_) => None,
            };
            match is_locked {
                Some(false) => {}
                Some(true) => return Some(true),
                None => held = None,
            }
        }
    }
    held
}

/// Looks for the file in the system's list of locks.
///
/// The list has the locks of the processes that this one can see. It may name another device than `stat` does, as on
/// btrfs, so the recorded holder decides too.
#[cfg(target_os = "linux")]
fn is_locked(mut file: File) -> Option<bool> {
    use super::{read_holder, waits};
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().ok()?;
    let list = std::fs::read_to_string("/proc/locks").ok()?;
    let holder = read_holder(&mut file);
    let is_visible = holder.namespace.is_none() || holder.namespace.as_deref() == waits::pid_namespace();
    let device = metadata.dev();
    let device = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    let is_listed = list.lines().any(|line| {
        // 1: FLOCK  ADVISORY  WRITE 6078 fe:00:6766610 0 EOF (`proc_locks(5)`); "->" precedes the kind of one that waits
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, place, ..] = fields[..] else { return false };
        let Some((on, inode)) = place.rsplit_once(':') else { return false };
        let is_holder = is_visible && holder.pid.is_some_and(|holder| pid == holder.to_string());
        inode == metadata.ino().to_string() && (on == device || is_holder)
    });
    if is_listed { Some(true) } else { is_visible.then_some(false) }
}

#[cfg(all(unix, not(target_os = "linux")))]
#[expect(clippy::needless_pass_by_value, reason = "as on Linux")]
fn is_locked(file: File) -> Option<bool> {
    crate::sys::is_locked(&file).ok()
}

/// On Windows, a locked file cannot be read. Wine reads it nevertheless, so a file that can be read may be locked.
#[cfg(windows)]
fn is_locked(mut file: File) -> Option<bool> {
    use std::io::Read;
    /// `ERROR_LOCK_VIOLATION`, which the standard library has no name for.
    const LOCKED: i32 = 33;
    match file.read(&mut [0]) {
        Err(error) if error.raw_os_error() == Some(LOCKED) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Lock;
    use super::*;

    #[test]
    fn lock_is_held_until_it_is_dropped() {
        let free = if cfg!(windows) { None } else { Some(false) }; // of an existing file
        let key = Key::new(&[b"probe", format!("{:?}", Instant::now()).as_bytes()]);
        assert_eq!(is_held(&key), Some(false));
        let lock = Lock::try_take(&key).unwrap().unwrap();
        let held = is_held(&key);
        assert!(held == Some(true) || cfg!(windows) && held.is_none(), "{held:?}");
        let path = lock.files[0].path.clone();
        drop(lock);
        assert_eq!(is_held(&key), Some(false));
        // left by a killed process
        std::fs::write(&path, "").unwrap();
        assert_eq!(is_held(&key), free);
        std::fs::remove_file(path).unwrap();
    }
}

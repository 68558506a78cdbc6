//! The directory of a mapping, opened once and worked in through that handle, so that nothing can be swapped in between.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::Dir;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(super) use windows::Dir;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Error;
use crate::error::io_message;
use crate::random;

/// A mapping larger than this is not one: 100,000 names take 18 MiB.
pub(super) const LARGEST: u64 = 64 << 20;

/// A temp file this old is a leftover, whatever its name is.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);

/// A name for a temp file beside `file` that no other process comes to, on whatever machine.
fn temp_name(file: &str) -> String {
    format!("{file}.tmp.{}", random::digits())
}

/// Whether this is the name of a temp file beside `file`. Until 0.1 it ended in the process's number.
fn is_temp_name(name: &str, file: &str) -> bool {
    let unique = name.strip_prefix(file).and_then(|rest| rest.strip_prefix(".tmp."));
    unique.is_some_and(|unique| {
        let number = unique.bytes().all(|byte| byte.is_ascii_digit());
        !unique.is_empty() && (number || has_own_digits(unique))
    })
}

/// Whether the name of a temp file is from [`temp_name`], whose files are locked as long as they are written.
fn has_own_digits(name: &str) -> bool {
    let unique = name.rsplit('.').next().unwrap_or_default();
    unique.len() == random::digits().len() && unique.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file that was changed then has been left.
fn is_old(modified: Option<SystemTime>) -> bool {
    modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > LEFTOVER_AFTER)
}

/// Names for a file moved aside, the first that is free to be taken.
fn aside_names(file: &str) -> impl Iterator<Item = String> {
    let first = format!("{file}.bad.{}", std::process::id());
    std::iter::once(first.clone()).chain((1..).map(move |n| format!("{first}.{n}")))
}

/// Whether both paths lead to one file, however they are spelt: through mounts, or in capitals.
#[cfg(unix)]
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// StoredSession, a path that exists is spelt in one way only.
#[cfg(windows)]
pub(super) fn is_same(_one: &Path, _other: &Path) -> bool {
    false
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), why: io_message(error) }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::Unwritable { path: path.to_owned(), why: io_message(error) }
}

#[cfg(unix)]
fn is_unsafe(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Unsafe { path: path.to_owned(), why: why.to_string() }
}

fn too_large(path: &Path) -> Error {
    Error::Unreadable { path: path.to_owned(), why: format!("it is larger than {} MiB", LARGEST >> 20) }
}

pub(super) fn too_large_to_write(path: &Path) -> Error {
    Error::Unwritable { path: path.to_owned(), why: format!("it would be larger than {} MiB", LARGEST >> 20) }
}

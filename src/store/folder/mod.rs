//! The folder of a mapping, opened once and worked in through that handle, so that nothing can be swapped in between.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::Folder;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(super) use windows::Folder;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Error;
use crate::error::reason;

/// A mapping larger than this is not one: 100,000 names take 18 MiB.
pub(super) const LARGEST: u64 = 64 << 20;

/// A temp file this old is a leftover even if some process has the number in its name.
const LEFTOVER_AFTER: Duration = Duration::from_secs(3600);

/// The name of the temp file beside `file` that this process writes.
fn temp_name(file: &str) -> String {
    format!("{file}.tmp.{}", std::process::id())
}

/// The process whose temp file beside `file` this name is, if it is one.
fn temp_owner(name: &str, file: &str) -> Option<u32> {
    name.strip_prefix(file)?.strip_prefix(".tmp.")?.parse().ok()
}

/// Whether a temp file may go: its process is gone, is this one (which writes none yet), or it is an hour old.
fn is_leftover(owner: u32, modified: Option<SystemTime>) -> bool {
    let old = modified.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > LEFTOVER_AFTER);
    owner == std::process::id() || old || !crate::lock::process_exists(owner)
}

/// Names for a file moved aside, the first that is free to be taken.
fn aside_names(file: &str) -> impl Iterator<Item = String> {
    let first = format!("{file}.bad.{}", std::process::id());
    std::iter::once(first.clone()).chain((1..).map(move |n| format!("{first}.{n}")))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), why: reason(error) }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::Unwritable { path: path.to_owned(), why: reason(error) }
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

//! Adds to the record.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use crate::record::{Entry, Event, entries};

/// Adds the entry that `make` builds from the number of calls so far.
///
/// The lock makes counting and adding atomic, so that concurrent calls get different numbers.
pub(crate) fn append(file: &Path, make: impl FnOnce(usize) -> Entry) -> io::Result<Entry> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(file)?;
    file.lock()?;
    let calls = entries(&mut file)?.iter().filter(|entry| matches!(entry.event, Event::Began(_))).count();
    let entry = make(calls);
    let mut line = serde_json::to_vec(&entry)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(entry)
}

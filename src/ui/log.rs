//! `INVOKE_PERSIST_LOG`: a log for bug reports.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::stderr::Stderr;
use super::terminal::escape_control;
use crate::env;
use crate::error::{Error, Result};
use crate::paths;
use crate::sys;

/// The value that selects standard error instead of a file.
const STANDARD_ERROR: &str = "-";

/// The beginning of each line.
const LINE_START: &str = "invoke-persist[";

/// The destination of log lines.
#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    /// The file, or `None` for standard error.
    file: Option<Mutex<File>>,
}

impl Log {
    /// Opens the log that `INVOKE_PERSIST_LOG` selects: a file to append to, or `-`. Returns `None` if it is unset.
    ///
    /// # Errors
    ///
    /// A usage error if the file cannot be opened or is not a log. Without the error, the user would notice only later
    /// that the log is missing.
    pub(super) fn open(started: Instant) -> Result<Option<Self>> {
        let Some(path) = env::var_os(env::LOG) else { return Ok(None) };
        if path == STANDARD_ERROR {
            return Ok(Some(Self { started, file: None }));
        }
        let file = open_file(Path::new(&path)).map_err(|error| {
            Error::usage(format!("cannot write the log {}", path.display()))
                .with_io_cause(&error)
                .with_hint(format!("set {} to a new file, or to - for standard error, or unset it", env::LOG))
        })?;
        Ok(Some(Self { started, file: Some(Mutex::new(file)) }))
    }

    /// Writes one line with the process ID and the seconds since the program started.
    pub(super) fn line(&self, stderr: &Stderr, text: &str) {
        let (pid, seconds) = (std::process::id(), self.started.elapsed().as_secs_f64());
        let line = format!("{LINE_START}{pid}] {seconds:.3} {}\n", escape_control(text));
        match &self.file {
            None => stderr.write(&line),
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = file.write_all(line.as_bytes()); // a log must not fail a turn
            }
        }
    }
}

/// Opens a file to append to. Refuses pipes and devices, which could block the call. Also refuses files that are not
/// logs, such as a mapping or a prompt, because log lines would damage them.
fn open_file(path: &Path) -> io::Result<File> {
    let refused = |why: &str| Err(io::Error::other(why));
    let path = paths::resolve_unplanted(path)?;
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true);
    sys::without_blocking(&mut options);
    let file = options.open(&path)?;
    if !file.metadata()?.is_file() {
        return refused("it is not a regular file");
    }
    let mut start = Vec::new();
    (&file).take(LINE_START.len() as u64).read_to_end(&mut start)?;
    if start.is_empty() || start == LINE_START.as_bytes() {
        Ok(file)
    } else {
        refused("it is not a log of invoke-persist")
    }
}

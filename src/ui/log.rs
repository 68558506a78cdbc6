//! `INVOKE_PERSIST_LOG`: what a bug report needs, line by line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::stderr::Stderr;
use super::terminal::escape_control;
use crate::env;
use crate::error::{Error, Result};

/// What stands for standard error in the place of a file.
const STANDARD_ERROR: &str = "-";

/// Where log lines go.
#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    /// `None`: standard error.
    file: Option<Mutex<File>>,
}

impl Log {
    /// Opens what `INVOKE_PERSIST_LOG` names, a file to append to or `-`. Returns `None` if it is unset.
    ///
    /// # Errors
    ///
    /// A usage error if the file cannot be opened: a log that is missing is noticed only when it is needed.
    pub(super) fn open(started: Instant) -> Result<Option<Self>> {
        let Some(path) = env::var_os(env::LOG) else { return Ok(None) };
        if path == STANDARD_ERROR {
            return Ok(Some(Self { started, file: None }));
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| {
            Error::usage(format!("cannot write the log {}", path.display()))
                .with_io_cause(&error)
                .with_hint(format!("set {} to a file that can be written, or unset it", env::LOG))
        })?;
        Ok(Some(Self { started, file: Some(Mutex::new(file)) }))
    }

    /// Writes one line with the process ID and the seconds since the program started.
    pub(super) fn line(&self, stderr: &Stderr, text: &str) {
        let (pid, seconds) = (std::process::id(), self.started.elapsed().as_secs_f64());
        let line = format!("invoke-persist[{pid}] {seconds:.3} {}\n", escape_control(text));
        match &self.file {
            None => stderr.write(&line),
            Some(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = file.write_all(line.as_bytes()); // a log must not fail a turn
            }
        }
    }
}

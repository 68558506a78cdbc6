//! What people and programs read of this program: standard output, notes and warnings, tables, progress.

pub(crate) mod json;
pub(crate) mod output_file;
pub(crate) mod report;
pub(crate) mod spinner;
pub(crate) mod stdio;
pub(crate) mod table;
pub(crate) mod terminal;

use crate::error::{Error, ErrorKind, Result};
use json::JsonObject;
use terminal::escape_control;

/// Where notes and warnings go: standard error, or nowhere with `--quiet`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    pub quiet: bool,
}

impl Notes {
    /// Something worth knowing that is no fault.
    pub(crate) fn note(self, text: &str) {
        self.say("note", text);
    }

    /// Something that went wrong without failing the call.
    pub(crate) fn warning(self, text: &str) {
        self.say("warning", text);
    }

    /// Something that the caller loses without it. Said with `--quiet` too.
    pub(crate) fn warn_always(text: &str) {
        Self { quiet: false }.say("warning", text);
    }

    fn say(self, what: &str, text: &str) {
        if !self.quiet {
            stdio::write_stderr(&format!("{what}: {}\n", escape_control(text)));
        }
    }
}

pub(crate) fn print_object(object: &JsonObject) -> Result<()> {
    print(&(object.to_line() + "\n"))
}

pub(crate) fn print(text: &str) -> Result<()> {
    stdio::print(text.as_bytes()).map_err(|error| stdout_error(&error))
}

pub(crate) fn stdout_error(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return Error::new(
            ErrorKind::Deadline,
            "the deadline passed before standard output was read; the turn itself is done",
        );
    }
    Error::new(ErrorKind::Io, "standard output cannot be written").with_io_cause(error)
}

//! The output of this program: standard output, notes and warnings, tables, progress, and a log.

pub(crate) mod color;
pub(crate) mod json;
mod log;
pub(crate) mod output_file;
mod report;
pub(crate) mod shell;
pub(crate) mod spinner;
mod stderr;
pub(crate) mod stdio;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod tsv;

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorFormat, ErrorKind, Result};
use crate::late_signal;
use color::Style;
use json::JsonObject;
use log::Log;
use output_file::PendingFile;
use spinner::SpinnerHandle;
use stderr::Stderr;
use table::Column;
use terminal::escape_control;

/// The time that output may take after the deadline.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time that the reader of standard error may take at the end of a call without a deadline.
const FINAL_STDERR_TIMEOUT: Duration = Duration::from_secs(30);

/// The interval at which a slow write to standard output checks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

/// The output streams of a call. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    quiet: bool,
    output: Output,
    stderr: Arc<Stderr>,
    /// The time at which writing has to end.
    deadline: Arc<OnceLock<Instant>>,
    log: Option<Arc<Log>>,
}

/// The destination of standard output.
#[derive(Clone, Debug)]
enum Output {
    Stdout,
    /// `--output-file`.
    File(Arc<PendingFile>),
}

/// Standard output, or the file that replaces it, without a buffer. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum OutputStream {
    /// Standard output, and the line that is cleared before the first byte.
    Stdout(Arc<File>, Option<SpinnerHandle>),
    /// `--output-file`.
    File(Arc<PendingFile>),
}

impl OutputStream {
    /// Clears the line of `spinner` before the first byte, unless no terminal shows this stream.
    #[must_use]
    pub(crate) fn clearing(self, spinner: SpinnerHandle) -> Self {
        match self {
            Self::Stdout(stdout, _) => Self::Stdout(stdout, Some(spinner)),
            Self::File(file) => Self::File(file),
        }
    }

    /// Writes all of `bytes`, waiting while the reader is not ready.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout, spinner) => {
                spinner.iter().for_each(SpinnerHandle::clear_before_text);
                stdio::write_all(stdout, bytes)
            }
            Self::File(file) => file.append(bytes),
        }
    }
}

impl Ui {
    /// Creates an output to the standard streams of this program.
    pub(crate) fn new() -> Self {
        let (stderr, deadline) = (Arc::new(Stderr::default()), Arc::new(OnceLock::new()));
        Self { quiet: false, output: Output::Stdout, stderr, deadline, log: None }
    }

    /// Returns the same output. With `quiet`, it omits notes and warnings.
    #[must_use]
    pub(crate) fn with_quiet(&self, quiet: bool) -> Self {
        Self { quiet, ..self.clone() }
    }

    /// Returns the same output, with the log that the environment selects.
    ///
    /// # Errors
    ///
    /// A usage error if the log cannot be written.
    pub(crate) fn with_log(self, started: Instant) -> Result<Self> {
        Ok(Self { log: Log::open(started)?.map(Arc::new), ..self })
    }

    /// Returns the same output, with `file` instead of standard output.
    fn with_output(&self, file: Arc<PendingFile>) -> Self {
        Self { output: Output::File(file), ..self.clone() }
    }

    /// Keeps a copy of everything that is written to standard error from now on.
    pub(crate) fn start_stderr_copy(&self) {
        self.stderr.start_copy();
    }

    /// Ends the copy of standard error and returns it.
    pub(crate) fn take_stderr_copy(&self) -> Vec<u8> {
        self.stderr.take_copy()
    }

    /// Limits the wait for readers to `deadline`.
    pub(crate) fn set_deadline(&self, deadline: Instant) {
        let _ = self.deadline.set(deadline);
    }

    /// Prints `text` on standard output.
    ///
    /// # Errors
    ///
    /// See [`print_bytes`](Self::print_bytes).
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints `object` on a line of standard output.
    ///
    /// # Errors
    ///
    /// See [`print_bytes`](Self::print_bytes).
    pub(crate) fn print_json(&self, object: &JsonObject) -> Result<()> {
        self.print(&(object.to_line() + "\n"))
    }

    /// Prints `bytes` on standard output. A reader that closed the pipe is not an error, because it needs no more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Deadline`] if the reader has not read everything at the deadline, or a second after a signal that
    /// arrived since the turn ended. [`ErrorKind::Io`] if standard output cannot be written.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.write_stdout(bytes).map_err(|error| stdout_error(&error))
    }

    fn write_stdout(&self, bytes: &[u8]) -> io::Result<()> {
        let stdout = self.stdout()?;
        if self.deadline.get().is_none() && !late_signal::is_held() {
            return ignore_broken_pipe(stdout.write_all(bytes));
        }
        let (sender, receiver) = mpsc::channel();
        let bytes = bytes.to_owned();
        thread::Builder::new().spawn(move || drop(sender.send(stdout.write_all(&bytes))))?;
        let mut limit = self.deadline.get().map(|&deadline| deadline.max(Instant::now() + FINAL_WRITE_TIMEOUT));
        let mut signalled = false;
        loop {
            let now = Instant::now();
            if !signalled && late_signal::get().is_some() {
                signalled = true;
                limit = Some(limit.map_or(now + FINAL_WRITE_TIMEOUT, |limit| limit.min(now + FINAL_WRITE_TIMEOUT)));
            }
            let left = limit.map_or(SIGNAL_POLL, |limit| limit.saturating_duration_since(now));
            match receiver.recv_timeout(left.min(SIGNAL_POLL)) {
                Ok(written) => return ignore_broken_pipe(written),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    /// Returns standard output or the file that replaces it, for output that is passed through.
    pub(crate) fn stdout(&self) -> io::Result<OutputStream> {
        Ok(match &self.output {
            Output::Stdout => OutputStream::Stdout(Arc::new(stdio::stdout()?), None),
            Output::File(file) => OutputStream::File(Arc::clone(file)),
        })
    }

    /// Writes bytes of another process to standard error, unchanged. An error cannot be reported anywhere.
    pub(crate) fn copy_to_stderr(bytes: &[u8]) {
        if let Ok(stderr) = stdio::stderr() {
            let _ = stdio::write_all(&stderr, bytes);
        }
    }

    /// Returns the width of the terminal on standard output in columns, or `None` if it is not a terminal.
    pub(crate) fn terminal_width(&self) -> Option<usize> {
        let terminal = console::Term::stdout();
        (self.is_stdout() && terminal.is_term()).then(|| usize::from(terminal.size().1))
    }

    /// Returns whether standard output is colored.
    pub(crate) fn shows_colors(&self) -> bool {
        self.is_stdout() && color::is_colored(&console::Term::stdout())
    }

    /// Prints columns side by side, so that they fit the terminal.
    ///
    /// # Errors
    ///
    /// See [`print_bytes`](Self::print_bytes).
    pub(crate) fn print_table(&self, columns: Vec<Column>) -> Result<()> {
        self.print(&table::render(columns, self.terminal_width(), self.shows_colors()))
    }

    fn is_stdout(&self) -> bool {
        matches!(self.output, Output::Stdout)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a note, which does not report a problem.
    pub(crate) fn note(&self, text: &str) {
        self.message("note:", Style::Green, text);
    }

    /// Prints a warning about a problem that does not fail the call.
    pub(crate) fn warn(&self, text: &str) {
        self.message("warning:", Style::Yellow, text);
    }

    /// Prints a warning even with `--quiet`, because the caller would lose data without it.
    pub(crate) fn warn_always(&self, text: &str) {
        self.with_quiet(false).warn(text);
    }

    fn message(&self, label: &str, style: Style, text: &str) {
        if !self.quiet {
            let label = color::label(style, label, color::is_colored(&console::Term::stderr()));
            self.stderr.write(&format!("{label} {}\n", escape_control(text)));
        }
    }

    /// Writes a line to the log, if there is one.
    pub(crate) fn log(&self, text: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log.line(&self.stderr, &text());
        }
    }

    /// Prints `error` on standard error (contract section 7), before [`finish`](Self::finish).
    pub(crate) fn report(&self, error: &Error, format: ErrorFormat) {
        self.stderr.write_last(&report::render(error, format, color::is_colored(&console::Term::stderr())));
    }

    /// Waits at the end of the program until everything is written to standard error. The wait ends at the deadline if
    /// there is one, but not before a second has passed. If the call was `interrupted`, it ends after a second.
    pub(crate) fn finish(&self, interrupted: bool) {
        self.stderr.finish(match self.deadline.get() {
            _ if interrupted => FINAL_WRITE_TIMEOUT,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()).max(FINAL_WRITE_TIMEOUT),
            None => FINAL_STDERR_TIMEOUT,
        });
    }
}

fn ignore_broken_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if stdio::is_reader_gone(&error) => Ok(()),
        written => written,
    }
}

/// Returns the error for standard output that cannot be written.
pub(crate) fn stdout_error(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::new(
            ErrorKind::Deadline,
            "the deadline passed before standard output was read; the turn itself is complete",
        );
    }
    Error::new(ErrorKind::Io, "cannot write standard output").with_io_cause(error)
}

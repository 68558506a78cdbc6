//! Runs other programs briefly, with a timeout: for their version, or to look up a program in a login shell.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::process::{Command, End, OutputSink, Passthrough, Runner};

/// How long a program may run before it is stopped.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The limit on the output that is kept.
const MAX_OUTPUT: usize = 1 << 20;

/// The name of this program.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// The exit status and the output of a program.
pub(crate) struct Response {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Response {
    /// Returns the first line that is not blank.
    pub(crate) fn first_line(&self) -> Option<&str> {
        self.stdout.lines().chain(self.stderr.lines()).map(str::trim).find(|line| !line.is_empty())
    }

    /// Returns the reason if the program failed.
    pub(crate) fn failure(&self) -> Option<String> {
        let why = match self.end {
            End::Exited(0) => return None,
            End::Exited(status) => format!("exit status {status}"),
            End::Killed(signal) => format!("killed by signal {signal}"),
            End::Deadline | End::Stalled | End::Interrupted(_) => {
                return Some(format!("no answer within {} s", TIMEOUT.as_secs()));
            }
        };
        let last_line = self.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
        Some(last_line.map_or_else(|| why.clone(), |line| format!("{why}: {line}")))
    }
}

#[derive(Default)]
struct Collector(Vec<u8>);

impl OutputSink for Collector {
    fn write(&mut self, chunk: &[u8]) {
        let room = MAX_OUTPUT.saturating_sub(self.0.len());
        self.0.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

/// Runs `program` with empty standard input until it exits or [`TIMEOUT`] passes.
///
/// # Errors
///
/// Fails if the program cannot be started, or if this process receives a signal.
pub(crate) fn run(
    program: &Path,
    arguments: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
) -> Result<Response> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot start '{}'", program.display())).with_io_cause(&error)
    };
    let runner = Runner::new(Some(Instant::now() + TIMEOUT)).map_err(failed)?;
    let program = program.to_owned();
    let command = Command { program, arguments, set, unset, dir: None, stdin: None, output: None, stall: None };
    let mut stdout = Vec::new();
    let collect = |collector: Collector| {
        stdout = collector.0;
        true
    };
    let run = runner.run(command, Collector::default(), Passthrough::Off, collect).map_err(failed)?;
    if let End::Interrupted(signal) = run.end {
        return Err(Error::new(ErrorKind::Interrupted(signal), format!("interrupted by signal {signal}")));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Response { end: run.end, stdout: text(&stdout), stderr: text(&run.stderr) })
}

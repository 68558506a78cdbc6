//! Short questions to other programs, each with a bound: what is its version, does a login shell find us.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::process::{Command, End, OutputSink, Passthrough, Runner};

/// How long a program may take to answer; then it is ended, if need be killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// As much of an answer is read.
const LONGEST_ANSWER: usize = 1 << 20;

/// The name under which this program is called.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// What a program said.
pub(crate) struct Response {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Response {
    /// The first line of it that says something.
    pub(crate) fn first_line(&self) -> Option<&str> {
        self.stdout.lines().chain(self.stderr.lines()).map(str::trim).find(|line| !line.is_empty())
    }

    /// Why there is no answer in it, where there is none.
    pub(crate) fn failure(&self) -> Option<String> {
        let why = match self.end {
            End::Exited(0) => return None,
            End::Exited(status) => format!("exit status {status}"),
            End::Killed(signal) => format!("killed by signal {signal}"),
            End::Deadline | End::Stalled | End::Interrupted(_) => {
                return Some(format!("no answer within {} s", PATIENCE.as_secs()));
            }
        };
        let words = self.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
        Some(words.map_or_else(|| why.clone(), |words| format!("{why}: {words}")))
    }
}

#[derive(Default)]
struct Collector(Vec<u8>);

impl OutputSink for Collector {
    fn write(&mut self, chunk: &[u8]) {
        let room = LONGEST_ANSWER.saturating_sub(self.0.len());
        self.0.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

/// Runs `program` with nothing to read and waits a bounded time. An error means that it could not be started, or that
/// a signal to us ended the asking.
pub(crate) fn ask(
    program: &Path,
    arguments: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
) -> Result<Response> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("'{}' cannot be started", program.display())).with_io_cause(&error)
    };
    let runner = Runner::new(Some(Instant::now() + PATIENCE)).map_err(failed)?;
    let program = program.to_owned();
    let command = Command { program, arguments, set, unset, dir: None, stdin: None, output: None, stall: None };
    let mut heard = Vec::new();
    let collect = |collector: Collector| {
        heard = collector.0;
        true
    };
    let run = runner.run(command, Collector::default(), Passthrough::Off, collect).map_err(failed)?;
    if let End::Interrupted(signal) = run.end {
        return Err(Error::new(ErrorKind::Interrupted(signal), format!("interrupted by signal {signal}")));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Response { end: run.end, stdout: text(&heard), stderr: text(&run.stderr) })
}

//! Short questions to other programs, each with a bound: what is its version, does a login shell find us.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::process::{Command, End, Listener, Passing, Runner};

/// How long a program may take to answer; then it is ended, if need be killed.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// As much of an answer is read.
const LONGEST_ANSWER: usize = 1 << 20;

/// The name under which this program is called.
pub(super) const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// What a program said.
pub(super) struct Answer {
    pub(super) end: End,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Answer {
    /// The first line of it that says something.
    pub(super) fn first_line(&self) -> Option<&str> {
        self.stdout.lines().chain(self.stderr.lines()).map(str::trim).find(|line| !line.is_empty())
    }

    /// Why there is no answer in it, where there is none.
    pub(super) fn failure(&self) -> Option<String> {
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

impl Listener for Collector {
    fn hear(&mut self, chunk: &[u8]) {
        let room = LONGEST_ANSWER.saturating_sub(self.0.len());
        self.0.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

/// Runs `program` with nothing to read and waits a bounded time. An error means that it could not be started, or that
/// a signal to us ended the asking.
pub(super) fn ask(
    program: &Path,
    arguments: Vec<OsString>,
    set: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
) -> Result<Answer> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Io, format!("'{}' cannot be started", program.display())).because(&error)
    };
    let runner = Runner::new(Some(Instant::now() + PATIENCE)).map_err(failed)?;
    let program = program.to_owned();
    let command = Command { program, arguments, set, unset, folder: None, stdin: None, stall: None };
    let mut heard = Vec::new();
    let collect = |collector: Collector| {
        heard = collector.0;
        true
    };
    let run = runner.run(command, Collector::default(), Passing::Nothing, collect).map_err(failed)?;
    if let End::Interrupted(signal) = run.end {
        return Err(Error::new(Kind::Interrupted(signal), format!("interrupted by signal {signal}")));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Answer { end: run.end, stdout: text(&heard), stderr: text(&run.stderr) })
}

/// What somebody finds who calls this program by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This very program.
    Us(PathBuf),
    /// Another file of that name.
    Another(PathBuf),
    Nothing,
    /// The shell could not be asked.
    #[cfg_attr(windows, expect(dead_code, reason = "there is no shell to be asked"))]
    Unknown(String),
}

impl Found {
    /// What a login shell does, in words; if that is not good, with what to do.
    pub(super) fn tell(&self) -> (String, Option<&'static str>) {
        match self {
            Self::Us(path) => (format!("finds {PROGRAM}: {}", path.display()), None),
            Self::Another(path) => (
                format!("finds another {PROGRAM}: {}", path.display()),
                Some("codex calls that one: remove it, or put this one first on the PATH of your profile"),
            ),
            Self::Nothing => (
                format!("does not find {PROGRAM}"),
                Some("nor will codex: put it into a folder that is on PATH in your profile, as /usr/local/bin is"),
            ),
            Self::Unknown(why) => (
                format!("cannot be asked: {why}"),
                Some("see whether bash is on PATH and reads its profile: bash -lc true"),
            ),
        }
    }
}

/// What a login shell finds under our name: codex runs its commands in one (`bash -lc`), and the profile that it reads
/// may set PATH anew.
#[cfg(unix)]
pub(super) fn login_shell() -> Result<Found> {
    let path = std::env::var_os("PATH");
    let Ok(bash) = crate::launcher::find("bash", path.as_deref(), Path::new("/")) else {
        return Ok(Found::Unknown("there is no bash on PATH".to_owned()));
    };
    let question = format!("command -v {PROGRAM}");
    let answer = match ask(&bash, vec!["-lc".into(), question.into()], Vec::new(), Vec::new()) {
        Err(error) if matches!(error.kind, Kind::Interrupted(_)) => return Err(error),
        Err(error) => return Ok(Found::Unknown(error.to_sentence())),
        Ok(answer) => answer,
    };
    Ok(match (answer.end, answer.stdout.lines().last().map(str::trim)) {
        (End::Exited(0), Some(path)) if !path.is_empty() => same_or_another(PathBuf::from(path)),
        (End::Exited(_), _) => Found::Nothing,
        _ => Found::Unknown(answer.failure().unwrap_or_default()),
    })
}

/// Windows has no login shells: PATH is all there is.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix a shell is asked")]
pub(super) fn login_shell() -> Result<Found> {
    let path = std::env::var_os("PATH");
    Ok(crate::launcher::find(PROGRAM, path.as_deref(), Path::new(".")).map_or(Found::Nothing, same_or_another))
}

fn same_or_another(path: PathBuf) -> Found {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let us = std::env::current_exe().ok().and_then(|us| real(&us));
    if us.is_some() && real(&path) == us { Found::Us(path) } else { Found::Another(path) }
}

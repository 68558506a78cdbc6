//! Whether a run of the agent was a successful turn; if not, why, in the agent's words.

use std::io;

use super::recovery_hint::adopt_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use crate::backend::{Backend, SessionMode, StderrLine, TurnReport};
use crate::error::{Error, ErrorKind, Result};
use crate::late_signal;
use crate::process::End;
use crate::session::AgentSessionId;

/// What the system says of a file that is no program (`ENOEXEC`; on Windows `ERROR_BAD_EXE_FORMAT`).
const EXEC_FORMAT: i32 = if cfg!(windows) { 193 } else { 8 };

/// How much of an agent's standard error an error tells.
const MOST_WORDS: usize = 2000;

/// A successful turn.
pub(crate) struct TurnOutput {
    pub(crate) account: TurnReport,
    /// Whether a stream could be passed on. The turn is paid for either way.
    pub(crate) copied: io::Result<()>,
}

/// A run that is over, understood.
pub(crate) struct CompletedRun {
    pub(crate) end: End,
    pub(crate) started: bool,
    /// See [`process::Run::survivors`].
    pub(crate) survivors: Option<Vec<i32>>,
    pub(crate) account: TurnReport,
    pub(crate) stderr: Vec<u8>,
    pub(crate) copied: io::Result<()>,
}

impl CompletedRun {
    /// What became of an agent that had to be stopped.
    fn fate(&self) -> String {
        match &self.survivors {
            None => "was stopped".to_owned(),
            Some(pids) => format!("could not be stopped: {}", still_running(pids)),
        }
    }
}

/// A session that a program which is not ours has open.
pub(crate) fn busy_elsewhere(backend: Backend, id: &AgentSessionId, stderr: &[u8]) -> Error {
    Error::new(ErrorKind::SessionBusy, format!("another program has the session {id} open"))
        .caused_by(last_words(backend, stderr))
        .with_agent_exit_status(Some(1))
        .with_session_id(Some(id.clone()))
        .with_hint("try again later, or wait for it with --if-busy wait")
}

fn stopped(backend: Backend, done: &CompletedRun) -> String {
    if done.started { format!("; {backend} {}", done.fate()) } else { format!(" before {backend} was called") }
}

/// Says that these processes of an agent are still there; of none, that nobody knows which.
pub(crate) fn still_running(pids: &[i32]) -> String {
    const MOST: usize = 5;
    let named: Vec<String> = pids.iter().take(MOST).map(i32::to_string).collect();
    match (named.join(", "), pids.len()) {
        (_, 0) => "some of its processes may still be running".to_owned(),
        (pid, 1) => format!("process {pid} is still running"),
        (named, 2..=MOST) => format!("processes {named} are still running"),
        (named, all) => format!("processes {named} and {} more are still running", all - MOST),
    }
}

/// The end of an agent's standard error, without blank lines and what explains nothing.
fn last_words(backend: Backend, stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let kind = |line: &str| (backend.spec().stderr_line)(line);
    let all: Vec<&str> = text.lines().map(str::trim_end).collect();
    let all = all.into_iter().filter(|line| !line.is_empty() && kind(line) != StderrLine::Noise);
    let (messages, log): (Vec<&str>, Vec<&str>) = all.partition(|line| kind(line) == StderrLine::Message);
    let lines = if messages.is_empty() { log } else { messages };
    let from = lines.len().saturating_sub(8);
    shorten(&lines[from..].join("\n"))
}

/// `words`, or their end where they are long.
fn shorten(words: &str) -> String {
    let words = words.trim();
    if words.len() <= MOST_WORDS {
        return words.to_owned();
    }
    let mut from = words.len() - MOST_WORDS;
    while !words.is_char_boundary(from) {
        from += 1;
    }
    format!("… {}", &words[from..])
}

impl TurnRunner<'_> {
    /// Whether a run was a successful turn; if not, why, in the agent's words.
    pub(crate) fn classify(&self, ask: &TurnRequest<'_>, done: CompletedRun) -> Result<TurnOutput> {
        let backend = self.call.agent.backend;
        let failed = match done.end {
            End::Exited(0) => match &done.account {
                TurnReport { failure: Some(_), .. } => {
                    Error::new(ErrorKind::AgentFailed, format!("{backend}'s turn failed"))
                }
                TurnReport { malformed: Some(why), .. } => {
                    Error::new(ErrorKind::AgentOutputInvalid, format!("{backend} ended well, but {why}"))
                        .with_hint(format!("is '{}' really {backend}?", self.call.agent.launcher.name()))
                }
                _ => return Ok(TurnOutput { account: done.account, copied: done.copied }),
            },
            End::Exited(status @ (126 | 127)) if self.could_not_run_command(&done) => {
                let shell = self.call.agent.launcher.name();
                let told = match status {
                    126 => {
                        Error::new(ErrorKind::AgentNotExecutable, format!("{shell} cannot execute the agent's command"))
                    }
                    _ => Error::new(ErrorKind::AgentNotFound, format!("{shell} did not find the agent's command"))
                        .with_hint("define it with --codex-shell-init, or in a file that the shell reads"),
                };
                // a shell ran, and what its initialization did with the prompt cannot be known
                let told = told
                    .caused_by(last_words(backend, &done.stderr))
                    .with_agent_exit_status(Some(status))
                    .with_turn_started();
                return Err(told.with_session_id(ask.session.known().cloned()));
            }
            End::Exited(status) => {
                Error::new(ErrorKind::AgentFailed, format!("{backend} ended with exit status {status}"))
            }
            End::Killed(signal) => {
                Error::new(ErrorKind::AgentFailed, format!("{backend} was killed by signal {signal}"))
            }
            End::Deadline => Error::new(ErrorKind::Deadline, format!("the deadline passed{}", stopped(backend, &done)))
                .with_hint(format!("allow more time with --deadline-seconds{}", ask.resumable())),
            End::Stalled => {
                let limit = self.call.stall.unwrap_or_default().as_secs_f64();
                Error::new(ErrorKind::Stalled, format!("{backend} said nothing for {limit} s and {}", done.fate()))
                    .with_hint(format!("allow more with --stall-seconds{}", ask.resumable()))
            }
            End::Interrupted(signal) => {
                Error::new(ErrorKind::Interrupted(signal), format!("signal {signal} came{}", stopped(backend, &done)))
            }
        };
        Err(self.with_agent_details(ask, done, failed))
    }

    /// Adds to an error what the agent told: its reason, its verdict, its session.
    fn with_agent_details(&self, ask: &TurnRequest<'_>, done: CompletedRun, error: Error) -> Error {
        let backend = self.call.agent.backend;
        let account = done.account;
        // what an agent says when it is stopped is no reason of its own
        let stopped = matches!(done.end, End::Deadline | End::Stalled | End::Interrupted(_));
        let reason = account.failure.and_then(|failure| failure.reason).or(account.last_words);
        let reason = reason.unwrap_or_else(|| last_words(backend, &done.stderr));
        let mut error = match shorten(&reason) {
            _ if stopped => error,
            reason if !reason.is_empty() => error.caused_by(reason),
            _ if error.kind == ErrorKind::AgentFailed => error.caused_by("it gave no reason"),
            _ => error,
        };
        let told = account.reported_id.and_then(|id| AgentSessionId::new(&id).ok());
        // a fork that failed may have told the session that it was to be of
        let told = told.filter(|told| !matches!(ask.session, SessionMode::Fork(id) if id.matches(told.as_str())));
        // what the turn did is in the session that the agent reported, which need not be the one asked for
        let told = told.filter(|told| !ask.session.known().is_some_and(|known| known.matches(told.as_str())));
        if let Some(id) = &told {
            error = error.with_hint(adopt_hint(self.call, ask.name, id));
        }
        if done.started {
            error = error.with_turn_started();
        }
        let status = if let End::Exited(status) = done.end { Some(status) } else { None };
        error
            .with_agent_exit_status(status)
            .with_session_id(told.or_else(|| ask.session.known().cloned()))
            .with_verdict(account.verdict)
    }

    pub(crate) fn not_started(&self, error: &io::Error) -> Error {
        let program = self.program.display();
        // the file's own faults, and everything else: no memory, no processes, no descriptors left
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ExecutableFileBusy => {
                ErrorKind::AgentNotExecutable
            }
            _ if error.raw_os_error() == Some(EXEC_FORMAT) => ErrorKind::AgentNotExecutable,
            _ => ErrorKind::Io,
        };
        let told = Error::new(kind, format!("'{program}' cannot be started"));
        match error.kind() {
            io::ErrorKind::NotFound => told.caused_by("the interpreter that its first line names is not there"),
            io::ErrorKind::ArgumentListTooLong => {
                told.with_io_cause(error).with_hint("the arguments and variables are too large together")
            }
            io::ErrorKind::InvalidInput => {
                told.with_io_cause(error).with_hint("an argument holds what cannot be handed to a program")
            }
            _ => told.with_io_cause(error),
        }
    }
}

/// The end of a call whose turn in the session `id` is done: what printing gave, unless a signal came meanwhile.
pub(crate) fn finished(printed: Result<()>, id: &AgentSessionId) -> Result<()> {
    let Some(signal) = late_signal::get() else { return printed.map_err(|error| error.after_turn(id)) };
    let answer = if printed.is_ok() { "its answer is printed" } else { "its answer was not read" };
    Err(Error::new(ErrorKind::Interrupted(signal), format!("signal {signal} came after the turn was done; {answer}"))
        .with_hint("do not send the prompt again: the session has it in its history")
        .after_turn(id))
}

//! Decides whether a run of the agent was a successful turn. If it was not, reports the agent's reason.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::recovery_hint::adopt_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use crate::backend::{Backend, Cause, Diagnosis, Evidence, StderrLine, TurnReport};
use crate::error::{Error, ErrorKind, FailureCause, Result};
use crate::late_signal;
use crate::process::{End, RECONNECT_LIMIT};
use crate::session::AgentSessionId;

/// The system's error for a file that is not a program: `ENOEXEC`, on Windows `ERROR_BAD_EXE_FORMAT`.
const EXEC_FORMAT: i32 = if cfg!(windows) { 193 } else { 8 };

/// The limit on the bytes of an agent's standard error in an error.
const MOST_WORDS: usize = 2000;

/// A successful turn.
pub(crate) struct TurnOutput {
    pub(crate) report: TurnReport,
    /// Whether the stream could be written to stdout. The turn is complete either way.
    pub(crate) copied: io::Result<()>,
    /// Whether the agent ignored the reasoning effort.
    pub(crate) effort_ignored: bool,
    /// Set if the answer does not match `--schema`, or if `--fail-on` does not accept the turn.
    pub(crate) rejected: Option<Error>,
}

/// A run of the agent that has ended.
pub(crate) struct CompletedRun {
    pub(crate) end: End,
    pub(crate) started: bool,
    /// The time before the agent was started.
    pub(crate) began: Timestamp,
    /// See [`crate::process::Run::survivors`].
    pub(crate) survivors: Option<Vec<i32>>,
    /// See [`crate::process::Run::activity`].
    pub(crate) activity: Option<String>,
    pub(crate) report: TurnReport,
    pub(crate) stderr: Vec<u8>,
    pub(crate) copied: io::Result<()>,
}

impl CompletedRun {
    /// Describes the state of an agent that had to be stopped.
    fn fate(&self) -> String {
        match (&self.survivors, &self.activity) {
            (None, None) => "was stopped".to_owned(),
            (None, Some(activity)) => format!("was stopped while {activity}"),
            (Some(pids), _) => format!("could not be stopped: {}", still_running(pids)),
        }
    }
}

/// The error for a session that another program has open.
pub(crate) fn session_in_use(backend: Backend, request: &TurnRequest<'_>, id: &AgentSessionId, stderr: &[u8]) -> Error {
    Error::new(ErrorKind::SessionBusy, format!("another program has {} open", request.session_label(id)))
        .caused_by(last_words(backend, stderr))
        .with_agent_exit_status(Some(1))
        .with_session_id(Some(id.clone()))
        .with_hint("try again later, or wait for it with --if-busy wait")
}

/// Describes the state of the agent, for the end of a message about a stopped turn.
fn stopped(backend: Backend, run: &CompletedRun) -> String {
    if run.started { format!("; {backend} {}", run.fate()) } else { format!(" before {backend} was started") }
}

/// Describes processes of an agent that are still running. `pids` is empty if the system does not report them.
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

/// Returns the hint for a failure whose end the agent has reported.
fn retry_hint(diagnosis: &Diagnosis) -> Option<String> {
    diagnosis.retry_at.map(|at| format!("try again after {at}"))
}

/// Returns the end of an agent's standard error, without blank lines and lines that explain nothing.
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

/// Returns `words`, or only their end if they are too long.
pub(super) fn shorten(words: &str) -> String {
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
    /// Returns the output of a successful turn, or the error.
    pub(super) fn classify(&self, request: &TurnRequest<'_>, run: CompletedRun) -> Result<TurnOutput> {
        let backend = self.options.agent.backend;
        let failed = match run.end {
            // the turn is complete, and only its answer is missing
            End::Exited(status) if self.options.schema.is_some() && run.report.unmet_schema => {
                return Ok(self.review(request, run, status));
            }
            End::Exited(0) => match &run.report {
                TurnReport { failure: Some(_), .. } => {
                    Error::new(ErrorKind::AgentFailed, format!("{backend}'s turn failed"))
                }
                TurnReport { malformed: Some(why), .. } => {
                    Error::new(ErrorKind::AgentOutputInvalid, format!("{backend} exited successfully, but {why}"))
                        .with_hint(format!("check that '{}' is {backend}", self.options.agent.launcher.name()))
                }
                report if request.is_continued() && !request.is_answered_by(backend, report) => Error::new(
                    ErrorKind::SessionLost,
                    format!("{backend} cannot find the session of the failed try and answered from a new one"),
                ),
                _ => return Ok(self.review(request, run, 0)),
            },
            End::Exited(status @ (126 | 127)) if self.could_not_run_command(&run) => {
                let shell = self.options.agent.launcher.name();
                let error = match status {
                    126 => {
                        Error::new(ErrorKind::AgentNotExecutable, format!("{shell} cannot execute the agent's command"))
                    }
                    _ => Error::new(ErrorKind::AgentNotFound, format!("{shell} cannot find the agent's command"))
                        .with_hint("define it with --codex-shell-init, or in a file that the shell reads"),
                };
                // the shell ran, and its initialization may have used the prompt
                let error = error
                    .caused_by(last_words(backend, &run.stderr))
                    .with_agent_exit_status(Some(status))
                    .with_turn_started();
                return Err(error.with_session_id(request.session.known().cloned()));
            }
            End::Exited(status) => Error::new(ErrorKind::AgentFailed, format!("{backend} exited with status {status}")),
            End::Killed(signal) => {
                Error::new(ErrorKind::AgentFailed, format!("{backend} was killed by signal {signal}"))
            }
            End::Deadline => {
                let limit = self.options.deadline_limit.unwrap_or_default().as_secs_f64();
                Error::new(ErrorKind::Deadline, format!("the deadline of {limit} s passed{}", stopped(backend, &run)))
                    .with_hint(request.stopped_hint("allow more time with --deadline-seconds"))
            }
            End::Stalled if self.options.stall.is_none() => {
                let (limit, run) = (RECONNECT_LIMIT.as_secs(), CompletedRun { activity: None, ..run });
                let message = format!("{backend} did nothing but reconnect for {limit} s and {}", run.fate());
                return Err(self.with_agent_details(request, run, Error::new(ErrorKind::AgentFailed, message)));
            }
            End::Stalled => {
                let limit = self.options.stall.unwrap_or_default().as_secs_f64();
                Error::new(ErrorKind::Stalled, format!("{backend} printed nothing for {limit} s and {}", run.fate()))
                    .with_hint(request.stopped_hint("allow more time with --stall-seconds"))
            }
            End::Interrupted(signal) => {
                let message = format!("interrupted by signal {signal}{}", stopped(backend, &run));
                let error = Error::new(ErrorKind::Interrupted(signal), message);
                match request.saved {
                    _ if !run.started => error.with_hint("call again to send the prompt"),
                    Some(id) => error.with_hint(format!("resume {} to continue", request.session_label(id))),
                    None => error,
                }
            }
        };
        Err(self.with_agent_details(request, run, failed))
    }

    /// Adds the agent's reason, verdict and session to an error.
    fn with_agent_details(&self, request: &TurnRequest<'_>, run: CompletedRun, error: Error) -> Error {
        let backend = self.options.agent.backend;
        let reported = request.answering_session(&run.report);
        let report = run.report;
        // the reason of a stopped agent is only that it was stopped
        let stopped = matches!(run.end, End::Deadline | End::Stalled | End::Interrupted(_));
        let reason = report.failure.and_then(|failure| failure.reason).or(report.last_words);
        let reason = reason.unwrap_or_else(|| last_words(backend, &run.stderr));
        let code = |id: &String| (backend.spec().failure_code)(&self.options.agent_home(), id, run.began);
        let ended_by_itself = matches!(run.end, End::Exited(_)) && report.verdict.is_some();
        let code = report.reported_id.as_ref().filter(|_| ended_by_itself).and_then(code);
        let diagnose = |exit_status| {
            (backend.spec().diagnose)(&Evidence {
                verdict: report.verdict.as_deref(),
                code: code.as_deref(),
                reason: &reason,
                retry_at: report.limit_ends,
                stderr: &run.stderr,
                exit_status,
                lines: report.lines,
                now: Timestamp::now(),
                session: request.session,
                extra: &self.options.extra,
            })
        };
        // if the output is not valid, the turn may have been in another session
        let is_known = report.prompt_stored && error.kind != ErrorKind::AgentOutputInvalid;
        let stored = is_known.then_some(true);
        let diagnosis = match run.end {
            End::Exited(exit_status) if error.kind == ErrorKind::AgentFailed => Some(diagnose(Some(exit_status))),
            // what kept the agent busy until then
            End::Deadline | End::Stalled if report.verdict.is_some() => {
                Some(Diagnosis { in_history: stored, ..diagnose(None) }).filter(|it| it.cause != Cause::Other)
            }
            _ => None,
        };
        let in_history = diagnosis.as_ref().and_then(|diagnosis| diagnosis.in_history).or(stored);
        // a shell may have done more with the prompt than to start the agent
        let is_sent = self.options.agent.launcher.is_shell() || diagnosis.as_ref().is_none_or(|it| it.reached_model);
        let reason = diagnosis.as_ref().and_then(|diagnosis| diagnosis.reason.as_ref()).unwrap_or(&reason);
        let mut error = match shorten(reason) {
            _ if stopped => error,
            reason if !reason.is_empty() => error.caused_by(reason),
            _ if error.kind == ErrorKind::AgentFailed => error.caused_by("the agent printed no reason"),
            _ => error,
        };
        if run.started && is_sent {
            error = error.with_turn_started();
        }
        // the turn is in the session that the agent reported, which may differ from the requested one
        let known = request.session.known();
        let new = reported.filter(|reported| !known.is_some_and(|known| known.is_reported_as(reported.as_str())));
        let began = error.is_stopped_turn();
        let given = request.new_id.filter(|_| began && known.is_none());
        let session_id = new.or_else(|| known.or(given).cloned());
        let is_unsaved = |id: &&AgentSessionId| !request.saved.is_some_and(|saved| saved.is_reported_as(id.as_str()));
        // the session of a first turn that was stopped is saved later
        let unsaved = session_id.as_ref().filter(is_unsaved).filter(|_| !(began && request.is_first()));
        let mut hints: Vec<String> = Vec::new();
        if let Some(diagnosis) = &diagnosis {
            let hint = || (backend.spec().cause_hint)(diagnosis.cause).map(str::to_owned);
            let schema_hint = self.options.schema.as_ref().and_then(|_| (backend.spec().schema_hint)(reason.trim()));
            let specific = schema_hint.map(str::to_owned).or_else(|| diagnosis.hint.clone());
            hints.extend(specific.or_else(|| retry_hint(diagnosis)).or_else(hint));
            if diagnosis.cause == Cause::RefusedArguments && self.options.stored_settings.is_some() {
                hints.push("to remove a stored argument, use set-session --unset arguments,config".to_owned());
            }
        }
        if let Some(id) = unsaved {
            hints.push(adopt_hint(self.options, request.name, id));
        }
        if !hints.is_empty() {
            error = error.with_hint(hints.join("; "));
        }
        let status = if let End::Exited(status) = run.end { Some(status) } else { None };
        error
            .with_agent_exit_status(status)
            .with_session_id(session_id)
            .with_verdict(report.verdict)
            .with_prompt_in_history(in_history)
            .with_session_unknown(diagnosis.as_ref().is_some_and(|diagnosis| diagnosis.session_unknown))
            .with_cause(diagnosis.map(|diagnosis| FailureCause {
                name: diagnosis.cause.name(),
                retryable: diagnosis.is_retryable(),
                retry_at: diagnosis.retry_at,
            }))
    }
}

/// Returns the error for an agent that could not be started.
pub(crate) fn not_started(program: &Path, error: &io::Error) -> Error {
    let program = program.display();
    // other errors, such as a lack of memory, are not a fault of the file
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ExecutableFileBusy => {
            ErrorKind::AgentNotExecutable
        }
        _ if error.raw_os_error() == Some(EXEC_FORMAT) => ErrorKind::AgentNotExecutable,
        _ => ErrorKind::Io,
    };
    let cannot = Error::new(kind, format!("cannot start '{program}'"));
    match error.kind() {
        io::ErrorKind::NotFound => cannot.caused_by("the interpreter that its first line names does not exist"),
        io::ErrorKind::ArgumentListTooLong => {
            cannot.with_io_cause(error).with_hint("shorten the arguments or the variables of the agent")
        }
        io::ErrorKind::InvalidInput => {
            cannot.with_io_cause(error).with_hint("an argument contains a byte that no program can receive")
        }
        _ => cannot.with_io_cause(error),
    }
}

/// Returns the result of a call after a complete turn in session `id`. A signal that arrived since the turn ended is an
/// error. Otherwise this is the result of printing, and then that of `--fail-on`.
pub(crate) fn finish_call(printed: Result<()>, rejected: Option<Error>, id: &AgentSessionId) -> Result<()> {
    let Some(signal) = late_signal::get() else {
        return printed.and(rejected.map_or(Ok(()), Err)).map_err(|error| error.after_turn(id));
    };
    let answer = if printed.is_ok() { "the answer is printed" } else { "the answer was not read" };
    Err(Error::new(
        ErrorKind::Interrupted(signal),
        format!("interrupted by signal {signal} after the turn was complete; {answer}"),
    )
    .with_hint("do not send the prompt again; the session has it in its history")
    .after_turn(id))
}

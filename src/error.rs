//! The error that `main` reports: a kind with an exit status, a message, its causes, and a hint.

use std::fmt;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::session::AgentSessionId;

/// The format of errors on standard error (`--error-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ErrorFormat {
    /// Lines that begin with error, caused by, hint
    #[default]
    Text,
    /// One JSON object on the last line of standard error
    Json,
}

/// The kinds of failure of contract section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The agent's exit status or result shows that the turn failed.
    AgentFailed,
    /// codex answered in another session than the requested one.
    SessionLost,
    /// Any other failure.
    Io,
    /// The command line, the environment, or a file that they name cannot be used.
    Usage,
    /// The name is not in the mapping.
    SessionNotFound,
    /// No turn has that ID, or is of that session.
    TurnNotFound,
    /// The turn did not end within the limit of the wait.
    TurnRunning,
    /// The turn's process ended without a result.
    TurnLost,
    /// The name is taken (`--if-exists fail`, rename without `--force`).
    SessionExists,
    /// Another call has the session locked, and this one does not wait.
    SessionBusy,
    /// The mapping is not a JSON object.
    MappingInvalid,
    /// The mapping cannot be read, or contains something unsupported.
    MappingUnreadable,
    /// The mapping cannot be written.
    MappingUnwritable,
    /// Another user may be able to change the mapping or its directory.
    MappingUnsafe,
    /// The agent exited successfully, but its output cannot be used.
    AgentOutputInvalid,
    /// The turn is complete, but the agent was not allowed to use a tool (`--fail-on denied`).
    PermissionDenied,
    /// The turn is complete, but its answer has no text (`--fail-on empty`).
    EmptyAnswer,
    /// The turn is complete, but its answer does not match `--schema`.
    AnswerInvalid,
    /// `--deadline-seconds` passed.
    Deadline,
    /// The agent printed nothing for `--stall-seconds`.
    Stalled,
    /// The agent's program exists, but cannot be executed.
    AgentNotExecutable,
    /// The agent's program cannot be found.
    AgentNotFound,
    /// A signal with this number ended the call.
    Interrupted(i32),
}

impl ErrorKind {
    /// Returns the value of `kind` in `--error-format json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AgentFailed => "agent_failed",
            Self::SessionLost => "session_lost",
            Self::Io => "io",
            Self::Usage => "usage",
            Self::SessionNotFound => "session_not_found",
            Self::TurnNotFound => "turn_not_found",
            Self::TurnRunning => "turn_running",
            Self::TurnLost => "turn_lost",
            Self::SessionExists => "session_exists",
            Self::SessionBusy => "session_busy",
            Self::MappingInvalid => "mapping_invalid",
            Self::MappingUnreadable => "mapping_unreadable",
            Self::MappingUnwritable => "mapping_unwritable",
            Self::MappingUnsafe => "mapping_unsafe",
            Self::AgentOutputInvalid => "agent_output_invalid",
            Self::PermissionDenied => "permission_denied",
            Self::EmptyAnswer => "empty_answer",
            Self::AnswerInvalid => "answer_invalid",
            Self::Deadline => "deadline",
            Self::Stalled => "stalled",
            Self::AgentNotExecutable => "agent_not_executable",
            Self::AgentNotFound => "agent_not_found",
            Self::Interrupted(_) => "interrupted",
        }
    }

    /// Returns whether the call fails although its output is complete.
    pub(crate) fn keeps_output(self) -> bool {
        matches!(self, Self::PermissionDenied | Self::EmptyAnswer)
    }

    /// Returns the exit status (contract section 7). `timeout` and shells also use 124, 126, 127 and 128+N.
    fn exit_status(self) -> i32 {
        match self {
            Self::AgentFailed | Self::SessionLost | Self::TurnLost | Self::Io => 1,
            Self::Usage => 2,
            Self::SessionNotFound | Self::TurnNotFound => 3,
            Self::SessionExists => 4,
            Self::SessionBusy => 5,
            Self::MappingInvalid | Self::MappingUnreadable | Self::MappingUnwritable | Self::MappingUnsafe => 6,
            Self::AgentOutputInvalid | Self::AnswerInvalid => 7,
            Self::TurnRunning => TRY_AGAIN_LATER,
            Self::PermissionDenied | Self::EmptyAnswer => 8,
            Self::Deadline | Self::Stalled => 124,
            Self::AgentNotExecutable => 126,
            Self::AgentNotFound => 127,
            Self::Interrupted(signal) => 128 + signal,
        }
    }
}

/// An error that ends a call.
#[derive(Debug)]
pub(crate) struct Error {
    pub kind: ErrorKind,
    pub message: String,
    pub causes: Vec<String>,
    pub hint: Option<String>,
    pub turn: Box<FailedTurn>,
}

/// The state of the turn when the call failed.
#[derive(Debug, Default)]
pub(crate) struct FailedTurn {
    /// Whether the prompt may have reached the agent.
    pub started: bool,
    pub agent_exit_status: Option<i32>,
    pub session_id: Option<AgentSessionId>,
    /// The agent's result, as it printed it.
    pub verdict: Option<Box<RawValue>>,
    /// Whether the session's history has the prompt, if that is known.
    pub prompt_in_history: Option<bool>,
    /// Whether the agent does not have the session.
    pub session_unknown: bool,
    /// Why the turn failed, if the agent was able to report it.
    pub cause: Option<FailureCause>,
}

/// Why a turn failed, as a program reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailureCause {
    /// The value of `cause` in `--error-format json`.
    pub name: &'static str,
    /// Whether the same request can succeed later without any change.
    pub retryable: bool,
    /// When it can succeed, if the agent reported that.
    pub retry_at: Option<Timestamp>,
}

/// The exit status of a turn that failed for a temporary reason, or that is not over: `EX_TEMPFAIL` of sysexits.h.
const TRY_AGAIN_LATER: i32 = 75;

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, turn: Box::default() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Adds a cause after the others.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds the system's message as a cause.
    #[must_use]
    pub(crate) fn with_io_cause(self, error: &std::io::Error) -> Self {
        self.caused_by(io_message(error))
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Records that the prompt may have reached the agent.
    #[must_use]
    pub(crate) fn with_turn_started(mut self) -> Self {
        self.turn.started = true;
        self
    }

    #[must_use]
    pub(crate) fn with_agent_exit_status(mut self, status: Option<i32>) -> Self {
        self.turn.agent_exit_status = status;
        self
    }

    #[must_use]
    pub(crate) fn with_session_id(mut self, id: Option<AgentSessionId>) -> Self {
        self.turn.session_id = id;
        self
    }

    #[must_use]
    pub(crate) fn with_verdict(mut self, verdict: Option<Box<RawValue>>) -> Self {
        self.turn.verdict = verdict;
        self
    }

    #[must_use]
    pub(crate) fn with_session_unknown(mut self, unknown: bool) -> Self {
        self.turn.session_unknown = unknown;
        self
    }

    #[must_use]
    pub(crate) fn with_cause(mut self, cause: Option<FailureCause>) -> Self {
        self.turn.cause = cause;
        self
    }

    #[must_use]
    pub(crate) fn with_prompt_in_history(mut self, in_history: Option<bool>) -> Self {
        self.turn.prompt_in_history = in_history;
        self
    }

    /// Returns whether the turn was stopped after it began, by a limit or a signal.
    pub(crate) fn is_stopped_turn(&self) -> bool {
        let stopped = matches!(self.kind, ErrorKind::Deadline | ErrorKind::Stalled | ErrorKind::Interrupted(_));
        stopped && self.turn.started
    }

    /// Returns the exit status: that of the kind, or 75 if the turn can succeed later without any change.
    pub(crate) fn exit_status(&self) -> i32 {
        match (&self.kind, &self.turn.cause) {
            (ErrorKind::AgentFailed, Some(cause)) if cause.retryable => TRY_AGAIN_LATER,
            _ => self.kind.exit_status(),
        }
    }

    /// Records that a turn in session `id` completed, so that a caller does not send its prompt again.
    #[must_use]
    pub(crate) fn after_turn(self, id: &AgentSessionId) -> Self {
        let exit_status = self.turn.agent_exit_status.or(Some(0));
        let error = self.with_turn_started().with_agent_exit_status(exit_status).with_session_id(Some(id.clone()));
        error.with_prompt_in_history(Some(true))
    }

    /// Returns the message and its causes on one line.
    pub(crate) fn to_single_line(&self) -> String {
        let mut line = self.message.clone();
        for cause in &self.causes {
            line.push_str(": ");
            line.push_str(cause);
        }
        line
    }
}

/// Returns the system's message for an error, without its number.
pub(crate) fn io_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

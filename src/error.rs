//! What can go wrong, as the caller sees it: a kind with an exit status, the message, its causes, a way out.
//!
//! Each layer has its own error type, with what it knows; here they become the one that `main` reports.

use std::fmt;

use serde_json::value::RawValue;

use crate::session::AgentSessionId;

/// Whether errors are told to people or to programs (`--error-format`).
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
    /// The agent's exit status or its own verdict says that the turn failed.
    AgentFailed,
    /// codex answered from another conversation than the one asked for.
    SessionLost,
    /// Anything else that failed.
    Io,
    /// The command line, the environment, or a file it names cannot be used.
    Usage,
    /// The name is not in the mapping.
    SessionNotFound,
    /// The name is taken (`--if-exists fail`, rename without `--force`).
    SessionExists,
    /// Another call holds the session, and this one was not to wait.
    SessionBusy,
    /// The mapping file is no JSON object.
    MappingInvalid,
    /// The mapping file cannot be read, or holds what we cannot hold.
    MappingUnreadable,
    /// The mapping file cannot be written.
    MappingUnwritable,
    /// Somebody else could change the mapping file or its directory.
    MappingUnsafe,
    /// The agent ended well but said nothing we could use.
    AgentOutputInvalid,
    /// `--deadline-seconds` passed.
    Deadline,
    /// The agent said nothing for `--stall-seconds`.
    Stalled,
    /// The agent's file is there but cannot be run.
    AgentNotExecutable,
    /// The agent's program is not there.
    AgentNotFound,
    /// This signal ended the call.
    Interrupted(i32),
}

impl ErrorKind {
    /// The word for it in `--error-format json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AgentFailed => "agent_failed",
            Self::SessionLost => "session_lost",
            Self::Io => "io",
            Self::Usage => "usage",
            Self::SessionNotFound => "session_not_found",
            Self::SessionExists => "session_exists",
            Self::SessionBusy => "session_busy",
            Self::MappingInvalid => "mapping_invalid",
            Self::MappingUnreadable => "mapping_unreadable",
            Self::MappingUnwritable => "mapping_unwritable",
            Self::MappingUnsafe => "mapping_unsafe",
            Self::AgentOutputInvalid => "agent_output_invalid",
            Self::Deadline => "deadline",
            Self::Stalled => "stalled",
            Self::AgentNotExecutable => "agent_not_executable",
            Self::AgentNotFound => "agent_not_found",
            Self::Interrupted(_) => "interrupted",
        }
    }

    /// The exit status of this program (contract section 7; 124, 126, 127 and 128+N as `timeout` and shells have it).
    pub(crate) fn exit_status(self) -> i32 {
        match self {
            Self::AgentFailed | Self::SessionLost | Self::Io => 1,
            Self::Usage => 2,
            Self::SessionNotFound => 3,
            Self::SessionExists => 4,
            Self::SessionBusy => 5,
            Self::MappingInvalid | Self::MappingUnreadable | Self::MappingUnwritable | Self::MappingUnsafe => 6,
            Self::AgentOutputInvalid => 7,
            Self::Deadline | Self::Stalled => 124,
            Self::AgentNotExecutable => 126,
            Self::AgentNotFound => 127,
            Self::Interrupted(signal) => 128 + signal,
        }
    }
}

/// A failure, ready to be told.
#[derive(Debug)]
pub(crate) struct Error {
    pub kind: ErrorKind,
    pub message: String,
    pub causes: Vec<String>,
    pub hint: Option<String>,
    pub turn: Box<FailedTurn>,
}

/// What is known of the turn that failed.
#[derive(Debug, Default)]
pub(crate) struct FailedTurn {
    pub started: bool,
    pub agent_exit_status: Option<i32>,
    pub session_id: Option<AgentSessionId>,
    pub verdict: Option<Box<RawValue>>,
}

/// The result of everything that can end a call.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hint: None, turn: Box::default() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// One more cause, told behind those already there.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// The system's words as a cause.
    #[must_use]
    pub(crate) fn with_io_cause(self, error: &std::io::Error) -> Self {
        self.caused_by(io_message(error))
    }

    /// The way out.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that the prompt may have reached the agent.
    #[must_use]
    pub(crate) fn turn_started(mut self) -> Self {
        self.turn.started = true;
        self
    }

    #[must_use]
    pub(crate) fn agent_exit_status(mut self, status: Option<i32>) -> Self {
        self.turn.agent_exit_status = status;
        self
    }

    #[must_use]
    pub(crate) fn session_id(mut self, id: Option<AgentSessionId>) -> Self {
        self.turn.session_id = id;
        self
    }

    /// The agent's own last word, as it wrote it.
    #[must_use]
    pub(crate) fn with_verdict(mut self, verdict: Option<Box<RawValue>>) -> Self {
        self.turn.verdict = verdict;
        self
    }

    /// The same error, after a turn in session `id` completed: a caller must not send its prompt again.
    #[must_use]
    pub(crate) fn after_turn(self, id: &AgentSessionId) -> Self {
        self.turn_started().agent_exit_status(Some(0)).session_id(Some(id.clone()))
    }

    /// The message and its causes on one line.
    pub(crate) fn to_single_line(&self) -> String {
        let mut sentence = self.message.clone();
        for cause in &self.causes {
            sentence.push_str(": ");
            sentence.push_str(cause);
        }
        sentence
    }
}

/// An input or output error in the words of the system, without its number.
pub(crate) fn io_message(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

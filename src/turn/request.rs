//! The request for one turn.

use super::options::ModelAndEffort;
use super::prompt::Prompt;
use crate::backend::{Backend, OnNewId, OutputMode, SessionMode, TurnReport};
use crate::error::{Error, ErrorKind};
use crate::session::{AgentSessionId, SessionName};

/// The request for one turn.
#[derive(Clone, Copy)]
pub(crate) struct TurnRequest<'a> {
    pub(crate) session: SessionMode<'a>,
    /// The ID that the mapping or the caller already has for the session. `None` for the first turn of a session.
    pub(crate) saved: Option<&'a AgentSessionId>,
    /// The ID that a new session gets, if the agent accepts one.
    pub(crate) new_id: Option<&'a AgentSessionId>,
    /// Whether the session is started anew if the agent does not have it, because its first turn was stopped.
    pub(crate) may_be_missing: bool,
    /// The name that the session has or will have, for hints.
    pub(crate) name: Option<&'a SessionName>,
    pub(crate) mode: OutputMode,
    pub(crate) prompt: &'a Prompt,
    pub(crate) role: Option<&'a str>,
    pub(crate) model_and_effort: ModelAndEffort<'a>,
    /// The locks that this turn holds, in the form in which the agent inherits them.
    pub(crate) locks: &'a [String],
    /// Whether to wait for a session that another program has open.
    pub(crate) wait: bool,
}

impl TurnRequest<'_> {
    /// Returns whether `report` describes a successful turn in the requested session.
    pub(crate) fn is_answered_by(&self, backend: Backend, report: &TurnReport) -> bool {
        let reported = report.reported_id.as_deref();
        let new = reported.and_then(|reported| AgentSessionId::new(reported).ok());
        let is_in_session = match self.session {
            SessionMode::New => new.is_some(),
            SessionMode::Fork(history) => new.is_some_and(|new| !history.is_reported_as(new.as_str())),
            SessionMode::Resume(id) => {
                self.may_be_missing
                    || backend.capabilities().on_new_id == OnNewId::Follow
                    || reported.is_none_or(|reported| id.is_reported_as(reported))
            }
        };
        report.failure.is_none() && report.malformed.is_none() && is_in_session
    }

    /// Returns the session that answered, as far as `report` names it. A failed fork may name the original session.
    pub(crate) fn answering_session(&self, report: &TurnReport) -> Option<AgentSessionId> {
        let reported = AgentSessionId::new(report.reported_id.as_deref()?).ok()?;
        let is_original = matches!(self.session, SessionMode::Fork(id) if id.is_reported_as(reported.as_str()));
        (!is_original).then_some(reported)
    }

    /// Returns the session `id` of this turn as messages name it.
    pub(crate) fn session_label(&self, id: &AgentSessionId) -> String {
        match self.name {
            Some(name) => format!("the session '{name}' ({id})"),
            None => format!("the session {id}"),
        }
    }

    /// Returns whether this may be the first turn of a session. If it is stopped, its session is saved.
    pub(crate) fn is_first(&self) -> bool {
        self.saved.is_none() || self.may_be_missing
    }

    /// Returns whether this is another try of a first turn, in the session that the failed one started.
    pub(crate) fn is_continued(&self) -> bool {
        self.saved.is_none() && self.session.known().is_some()
    }

    /// Adds the hint for a call that a signal ended between two tries in a session that existed before.
    pub(crate) fn with_continuation(&self, error: Error) -> Error {
        match (error.kind, self.saved) {
            (ErrorKind::Interrupted(_), Some(id)) => {
                error.with_hint(format!("resume {} to continue", self.session_label(id)))
            }
            _ => error,
        }
    }

    /// Returns the hint for a turn that was stopped: `advice`, and the session to resume if it existed before.
    pub(crate) fn stopped_hint(&self, advice: &str) -> String {
        match self.saved {
            Some(id) => format!("{advice}, and resume {}", self.session_label(id)),
            None => advice.to_owned(),
        }
    }
}

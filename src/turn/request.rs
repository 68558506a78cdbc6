//! The request for one turn.

use super::options::Settings;
use super::prompt::Prompt;
use crate::backend::{Backend, OnNewId, OutputMode, SessionMode, TurnReport};
use crate::session::{AgentSessionId, SessionName};

/// The request for one turn.
#[derive(Clone, Copy)]
pub(crate) struct TurnRequest<'a> {
    pub(crate) session: SessionMode<'a>,
    /// The name that the session has or will have, for hints.
    pub(crate) name: Option<&'a SessionName>,
    pub(crate) mode: OutputMode,
    pub(crate) prompt: &'a Prompt,
    pub(crate) role: Option<&'a str>,
    pub(crate) settings: Settings<'a>,
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
                backend.capabilities().on_new_id == OnNewId::Follow
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

    /// Returns the hint for a turn that was stopped: `advice`, and the session to resume if it existed before.
    pub(crate) fn stopped_hint(&self, advice: &str) -> String {
        match self.session.known() {
            Some(id) => format!("{advice}, and resume {}", self.session_label(id)),
            None => advice.to_owned(),
        }
    }
}

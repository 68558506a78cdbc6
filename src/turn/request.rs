//! What is asked of the agent in one turn.

use super::prompt::Prompt;
use crate::backend::{Backend, Model, OnNewId, OutputMode, SessionMode, TurnReport};
use crate::session::{AgentSessionId, SessionName};

/// What is asked of the agent in one turn.
pub(crate) struct TurnRequest<'a> {
    pub(crate) session: SessionMode<'a>,
    /// The name it has or will have, for advice.
    pub(crate) name: Option<&'a SessionName>,
    pub(crate) form: OutputMode,
    pub(crate) request: &'a Prompt,
    pub(crate) role: Option<&'a str>,
    pub(crate) model: Option<Model<'a>>,
    pub(crate) effort: Option<&'a str>,
    /// Locks that this turn holds, as they are handed down.
    pub(crate) held: &'a [String],
    /// Whether to wait for a session that a process which is not ours has open.
    pub(crate) wait: bool,
}

impl TurnRequest<'_> {
    /// Whether `account` is that of a successful turn in the session that was asked for.
    pub(crate) fn is_answered_by(&self, backend: Backend, account: &TurnReport) -> bool {
        let told = account.reported_id.as_deref();
        let new = told.and_then(|told| AgentSessionId::new(told).ok());
        let in_its_session = match self.session {
            SessionMode::New => new.is_some(),
            SessionMode::Fork(history) => new.is_some_and(|new| !history.matches(new.as_str())),
            SessionMode::Resume(id) => {
                backend.capabilities().on_new_id == OnNewId::Follow || told.is_none_or(|told| id.matches(told))
            }
        };
        account.failure.is_none() && account.malformed.is_none() && in_its_session
    }

    /// What a hint adds where there is a session to go on with.
    pub(crate) fn resumable(&self) -> &'static str {
        if self.session.known().is_some() { "; the session itself can be resumed" } else { "" }
    }
}

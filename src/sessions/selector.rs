//! The session that a command line refers to: a name, an ID, or both.

use crate::cli;
use crate::error::{Error, Result};
use crate::session::{AgentSessionId, SessionName};

/// The name and the ID that select a session. Either may be missing.
pub(crate) struct SessionSelector {
    pub(crate) name: Option<SessionName>,
    pub(crate) id: Option<AgentSessionId>,
}

impl SessionSelector {
    pub(crate) fn of(selector: &cli::SessionArgs) -> Result<Self> {
        let id = selector.session_id.as_deref().map(session_id).transpose()?.flatten();
        Ok(Self { name: name(&selector.name), id })
    }

    /// Fails if there is neither a name nor an ID.
    pub(crate) fn required(self) -> Result<Self> {
        if self.name.is_none() && self.id.is_none() {
            return Err(Error::usage("the session is missing").with_hint("add --session-name NAME or --session-id ID"));
        }
        Ok(self)
    }
}

/// Returns the name in the options. A blank one counts as missing.
pub(crate) fn name(options: &cli::NameArgs) -> Option<SessionName> {
    options.session_name.as_deref().and_then(SessionName::new)
}

pub(crate) fn required_name(options: &cli::NameArgs) -> Result<SessionName> {
    name(options).ok_or_else(|| Error::usage("the session name is missing").with_hint("add --session-name NAME"))
}

/// Returns an ID from the command line. A blank one counts as missing.
pub(crate) fn session_id(text: &str) -> Result<Option<AgentSessionId>> {
    use crate::session::UnusableId;
    match AgentSessionId::new(text) {
        Ok(id) => Ok(Some(id)),
        Err(UnusableId::Blank) => Ok(None),
        Err(why) => Err(Error::usage(format!("'{text}' cannot be a session ID: it {why}"))),
    }
}

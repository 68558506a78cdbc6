//! The error for a name that is taken.

use crate::backend::Backend;
use crate::error::{Error, ErrorKind};
use crate::session::{AgentSessionId, SessionName};

/// Returns the error for a name that is taken by the session `id`, or by an entry that `backend` cannot use. The caller
/// adds the hint how to replace it.
pub(crate) fn name_taken(backend: Backend, name: &SessionName, id: Option<AgentSessionId>) -> Error {
    let message = match &id {
        Some(id) => format!("a {backend} session named '{name}' already exists: {id}"),
        None => format!("the name '{name}' is taken by an entry that is not a {backend} session"),
    };
    Error::new(ErrorKind::SessionExists, message).with_session_id(id)
}

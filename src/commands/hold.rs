//! One turn at a time: a turn holds its session, and a name that is being created is held too. A call that would wait
//! for itself is refused: one from inside of the turn, or of one that waits for it.

use std::time::Instant;

use super::Subject;
use super::call::AgentCall;
use super::resolve::{Resolved, look_up};
use crate::env;
use crate::error::{Error, Kind, Result};
use crate::lock::{self, Busy, Key, Lock};
use crate::output::Notes;
use crate::session::SessionName;
use crate::store::Store;

/// Holds a name while it is being created, so that several calls that want it make one session.
pub(super) fn hold_name(store: &Store, name: &SessionName, call: &AgentCall, wait: bool) -> Result<Lock> {
    let key = store.name_key(name);
    let what = format!("the name '{name}'");
    hold(&key, &what, call, store.notes, wait)
}

/// The session that `subject` means, held. While we waited for it another turn may have changed what the name means.
pub(super) fn hold_session(
    store: &Store,
    subject: &Subject,
    call: &AgentCall,
    notes: Notes,
    wait: bool,
) -> Result<(Resolved, Lock)> {
    // what is to be said of the mapping was said when it was first looked at
    let quiet = store.with_notes(Notes { quiet: true });
    loop {
        let resolved = look_up(&quiet, subject)?;
        let key = call.session_key(&resolved.id);
        let what = format!("the session {}", resolved.id);
        let held = hold(&key, &what, call, notes, wait);
        let held = held.map_err(|error| error.session_id(Some(resolved.id.clone())))?;
        let again = look_up(&quiet, subject)?;
        if again.id == resolved.id {
            return Ok((again, held));
        }
    }
}

/// Takes a lock, waiting for it unless `wait` is false, or waiting would never end.
fn hold(key: &Key, what: &str, call: &AgentCall, notes: Notes, wait: bool) -> Result<Lock> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Io, format!("{what} cannot be locked"))
            .because(&error)
            .hint(format!("set {} to a directory that you can write to", env::FOLDER))
    };
    let limit = if wait { call.deadline } else { Some(Instant::now()) };
    let above = env::text(env::HELD)?.unwrap_or_default();
    lock::make_shared();
    let waited = Lock::wait_in_turn(key, limit, &above, |holder| notes.note(&lock::waiting_for(what, holder)));
    let busy = match waited.map_err(failed)? {
        Ok(lock) => return Ok(lock),
        Err(busy) => busy,
    };
    Err(match busy {
        Busy::Inside => Error::new(Kind::SessionBusy, format!("{what} is held by a call that this one runs inside of"))
            .hint("end that turn first, or use another session"),
        Busy::Circle(holder) => Error::new(Kind::SessionBusy, format!("{what} is held by {}", lock::name_of(&holder)))
            .caused_by("its turn waits for a call that this one runs inside of")
            .hint("end this turn first, or use another session"),
        Busy::Held(holder) if wait => {
            Error::new(Kind::Deadline, format!("the deadline passed while {} held {what}", lock::name_of(&holder)))
                .hint("allow more time with --deadline-seconds")
        }
        Busy::Held(holder) => Error::new(Kind::SessionBusy, format!("{what} is held by {}", lock::name_of(&holder)))
            .hint("try again later, or wait for it with --if-busy wait"),
    })
}

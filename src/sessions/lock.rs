//! One turn at a time: a turn holds its session, and a name that is being created is held too. A call that would wait
//! for itself is refused: one from inside of the turn, or of one that waits for it.

use std::time::Instant;

use super::lookup::{Resolved, look_up};
use super::selector::SessionSelector;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Busy, Key, Lock};
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::ui::Notes;

/// Holds a name while it is being created, so that several calls that want it make one session.
pub(crate) fn lock_name(store: &Store, name: &SessionName, wait: bool) -> Result<Lock> {
    let key = store.name_key(name);
    let what = format!("the name '{name}'");
    hold(&key, &what, store.deadline, store.notes, wait)
}

/// The session that `subject` means, held. While we waited for it another turn may have changed what the name means.
pub(crate) fn lock_session(
    store: &Store,
    subject: &SessionSelector,
    session_key: impl Fn(&AgentSessionId) -> Key,
    notes: Notes,
    wait: bool,
) -> Result<(Resolved, Lock)> {
    // what is to be said of the mapping was said when it was first looked at
    let quiet = store.with_notes(Notes { quiet: true });
    loop {
        let resolved = look_up(&quiet, subject)?;
        let key = session_key(&resolved.id);
        let what = format!("the session {}", resolved.id);
        let held = hold(&key, &what, store.deadline, notes, wait);
        let held = held.map_err(|error| error.with_session_id(Some(resolved.id.clone())))?;
        let again = look_up(&quiet, subject)?;
        if again.id == resolved.id {
            return Ok((again, held));
        }
    }
}

/// Takes a lock, waiting for it unless `wait` is false, or waiting would never end.
fn hold(key: &Key, what: &str, deadline: Option<Instant>, notes: Notes, wait: bool) -> Result<Lock> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("{what} cannot be locked"))
            .with_io_cause(&error)
            .with_hint(format!("set {} to a directory that you can write to", env::DIR))
    };
    let limit = if wait { deadline } else { Some(Instant::now()) };
    let above = env::var(env::HELD_LOCKS)?.unwrap_or_default();
    lock::make_shared();
    let waited = Lock::wait_in_turn(key, limit, &above, |holder| notes.note(&lock::waiting_for(what, holder)));
    let busy = match waited.map_err(failed)? {
        Ok(lock) => return Ok(lock),
        Err(busy) => busy,
    };
    Err(match busy {
        Busy::Inside => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is held by a call that this one runs inside of"))
                .with_hint("end that turn first, or use another session")
        }
        Busy::Circle(holder) => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is held by {}", lock::name_of(&holder)))
                .caused_by("its turn waits for a call that this one runs inside of")
                .with_hint("end this turn first, or use another session")
        }
        Busy::Held(holder) if wait => {
            Error::new(ErrorKind::Deadline, format!("the deadline passed while {} held {what}", lock::name_of(&holder)))
                .with_hint("allow more time with --deadline-seconds")
        }
        Busy::Held(holder) => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is held by {}", lock::name_of(&holder)))
                .with_hint("try again later, or wait for it with --if-busy wait")
        }
    })
}

//! Locks a session for one turn, and a name while it is created.
//!
//! A call that would wait for itself fails. Such a call runs inside the turn that holds the lock, or inside a turn that
//! the holder waits for.

use std::time::Instant;

use super::lookup::{StoredSession, find_session};
use super::selector::SessionSelector;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Busy, Key, Lock};
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::ui::Ui;

/// Locks a name while its session is created, so that concurrent calls for the name start only one session.
///
/// # Errors
///
/// [`ErrorKind::SessionBusy`] if it is locked and `wait` is false, or if the wait would never end.
/// [`ErrorKind::Deadline`] if the deadline passes during the wait.
pub(crate) fn lock_name(store: &Store, name: &SessionName, wait: bool) -> Result<Lock> {
    let key = store.name_key(name);
    let what = format!("the name '{name}'");
    lock_key(&key, &what, store.deadline, &store.ui, wait)
}

/// Finds and locks the session that `selector` refers to. If the name refers to another session after the wait, that
/// session is locked instead.
///
/// # Errors
///
/// Those of [`find_session`] and [`lock_name`].
pub(crate) fn lock_session(
    store: &Store,
    selector: &SessionSelector,
    session_key: impl Fn(&AgentSessionId) -> Key,
    ui: &Ui,
    wait: bool,
) -> Result<(StoredSession, Lock)> {
    // warnings about the mapping were already printed at the first read
    let quiet = store.silenced();
    loop {
        let session = find_session(&quiet, selector)?;
        let key = session_key(&session.id);
        let what = format!("the session {}", session.id);
        let locked = lock_key(&key, &what, store.deadline, ui, wait);
        let locked = locked.map_err(|error| error.with_session_id(Some(session.id.clone())))?;
        let again = find_session(&quiet, selector)?;
        if again.id == session.id {
            return Ok((again, locked));
        }
    }
}

/// Takes a lock. Waits for it unless `wait` is false or the wait would never end.
fn lock_key(key: &Key, what: &str, deadline: Option<Instant>, ui: &Ui, wait: bool) -> Result<Lock> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot lock {what}"))
            .with_io_cause(&error)
            .with_hint(format!("set {} to a directory that you can write to", env::DIR))
    };
    let limit = if wait { deadline } else { Some(Instant::now()) };
    let above = env::var(env::HELD_LOCKS)?.unwrap_or_default();
    lock::make_shared();
    let started = Instant::now();
    let waited = Lock::wait_in_turn(key, limit, &above, |holder| ui.note(&lock::waiting_for(what, holder)));
    let busy = match waited.map_err(failed)? {
        Ok(lock) => {
            ui.log(|| format!("locked {what} after {:.3} s", started.elapsed().as_secs_f64()));
            return Ok(lock);
        }
        Err(busy) => busy,
    };
    Err(match busy {
        Busy::Inside => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is locked by the call that this one runs inside"))
                .with_hint("end that turn first, or use another session")
        }
        Busy::Cycle(holder) => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is locked by {}", lock::name_of(&holder)))
                .caused_by("its turn waits for the call that this one runs inside")
                .with_hint("end this turn first, or use another session")
        }
        Busy::Held(holder) if wait => Error::new(
            ErrorKind::Deadline,
            format!("the deadline passed while {} locked {what}", lock::name_of(&holder)),
        )
        .with_hint("allow more time with --deadline-seconds"),
        Busy::Held(holder) => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is locked by {}", lock::name_of(&holder)))
                .with_hint("try again later, or wait for it with --if-busy wait")
        }
    })
}

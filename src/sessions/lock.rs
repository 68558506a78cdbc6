//! One turn at a time: a turn holds its session, and a name that is being created is held too. A call that would wait
//! for itself is refused: one from inside of the turn, or of one that waits for it.

use std::time::Instant;

use super::lookup::{StoredSession, find_session};
use super::selector::SessionSelector;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::{self, Busy, Key, Lock};
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::ui::Ui;

/// Holds a name while it is being created, so that several calls that want it make one session.
pub(crate) fn lock_name(store: &Store, name: &SessionName, wait: bool) -> Result<Lock> {
    let key = store.name_key(name);
    let what = format!("the name '{name}'");
    hold(&key, &what, store.deadline, &store.ui, wait)
}

/// The session that `subject` means, held. While we waited for it another turn may have changed what the name means.
pub(crate) fn lock_session(
    store: &Store,
    subject: &SessionSelector,
    session_key: impl Fn(&AgentSessionId) -> Key,
    ui: &Ui,
    wait: bool,
) -> Result<(StoredSession, Lock)> {
    // what is to be said of the mapping was said when it was first looked at
    let quiet = store.silenced();
    loop {
        let resolved = find_session(&quiet, subject)?;
        let key = session_key(&resolved.id);
        let what = format!("the session {}", resolved.id);
        let held = hold(&key, &what, store.deadline, ui, wait);
        let held = held.map_err(|error| error.session_id(Some(resolved.id.clone())))?;
        let again = find_session(&quiet, subject)?;
        if again.id == resolved.id {
            return Ok((again, held));
        }
    }
}

/// Takes a lock, waiting for it unless `wait` is false, or waiting would never end.
fn hold(key: &Key, what: &str, deadline: Option<Instant>, ui: &Ui, wait: bool) -> Result<Lock> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("{what} cannot be locked"))
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
            Error::new(ErrorKind::SessionBusy, format!("{what} is held by a call that this one runs inside of"))
                .with_hint("end that turn first, or use another session")
        }
        Busy::Cycle(holder) => {
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

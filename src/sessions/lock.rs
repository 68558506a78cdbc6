//! Locks a session for one turn, and a name while it is created.
//!
//! A call that would wait for itself fails. Such a call runs inside the turn that holds the lock, or inside a turn that
//! the holder waits for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::lookup::{StoredSession, find_session};
use super::selector::SessionSelector;
use crate::backend::Backend;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::late_signal;
use crate::lock::{self, Busy, Key, Lock, Place};
use crate::paths;
use crate::records::recorder::TurnRecorder;
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::ui::Ui;

/// Returns where `backend` keeps its sessions if it runs in `dir` with these variables. Without a home directory, the
/// path is empty.
pub(crate) fn agent_home(backend: Backend, variable: impl Fn(&str) -> Option<OsString>, dir: Option<&Path>) -> PathBuf {
    let home = backend.spec().home.find(variable, env::account_home).unwrap_or_default();
    let home = dir.map_or(home.clone(), |dir| dir.join(home));
    paths::resolve(&home).unwrap_or(home)
}

/// Returns the key of the lock for a session. The same ID in another home of the agent is another session.
pub(crate) fn session_key(backend: Backend, agent_home: &Path, id: &AgentSessionId) -> Key {
    let id = id.as_str().to_ascii_lowercase(); // a UUID in upper case is the same session
    Key::new(&[b"session", backend.name().as_bytes(), agent_home.as_os_str().as_encoded_bytes(), id.as_bytes()])
}

/// Locks a name while it is created, so that several calls for it start one session. Those that wait take it in the
/// order in which they began to wait.
///
/// # Errors
///
/// [`ErrorKind::SessionBusy`] if it is locked and `wait` is false, or if the wait would never end.
/// [`ErrorKind::Deadline`] if the deadline passes during the wait.
///
/// `accept` is called once the lock is certain: when the call has its place in the queue, or has the lock if `wait` is
/// false.
pub(crate) fn lock_name(
    store: &Store,
    name: &SessionName,
    wait: bool,
    recorder: &TurnRecorder,
    accept: impl FnOnce() -> Result<()>,
) -> Result<Lock> {
    let what = format!("the name '{name}'");
    let mut place = join(&store.name_key(name), wait);
    accepted(wait, accept, || wait_for(&mut place, &what, store.deadline, &store.ui, wait, recorder))
}

/// Calls `accept` before `lock` if that `waits`, and otherwise after it.
fn accepted<T>(waits: bool, accept: impl FnOnce() -> Result<()>, lock: impl FnOnce() -> Result<T>) -> Result<T> {
    if waits {
        accept()?;
        return lock();
    }
    let locked = lock()?;
    accept()?;
    Ok(locked)
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
    recorder: &TurnRecorder,
    accept: impl FnOnce() -> Result<()>,
) -> Result<(StoredSession, Lock)> {
    let place = SessionPlace::join(store, selector, &session_key, wait)?;
    accepted(wait, accept, || place.wait(ui, recorder))
}

/// A call's place in the queue of a session. Turns run in the order of their places. The place is given up when it is
/// dropped or when this process ends.
pub(crate) struct SessionPlace<'a> {
    /// Prints no warnings about the mapping, because the first read printed them.
    store: Store,
    selector: &'a SessionSelector,
    session_key: &'a dyn Fn(&AgentSessionId) -> Key,
    wait: bool,
    session: StoredSession,
    place: Place,
}

impl<'a> SessionPlace<'a> {
    /// Finds the session that `selector` refers to and joins its queue, without waiting. If `wait` is false, all
    /// other waiters come before this call.
    ///
    /// # Errors
    ///
    /// Those of [`find_session`].
    pub(crate) fn join(
        store: &Store,
        selector: &'a SessionSelector,
        session_key: &'a dyn Fn(&AgentSessionId) -> Key,
        wait: bool,
    ) -> Result<Self> {
        let store = store.silenced();
        let session = find_session(&store, selector)?;
        let place = join(&session_key(&session.id), wait);
        Ok(Self { store, selector, session_key, wait, session, place })
    }

    /// Waits for the turn of this place, and locks the session. If the name refers to another session after the wait,
    /// the place is given up, and the call joins the end of that session's queue.
    ///
    /// # Errors
    ///
    /// Those of [`find_session`] and [`lock_name`].
    pub(crate) fn wait(mut self, ui: &Ui, recorder: &TurnRecorder) -> Result<(StoredSession, Lock)> {
        loop {
            let what = self.session.label();
            let locked = wait_for(&mut self.place, &what, self.store.deadline, ui, self.wait, recorder);
            let locked = locked.map_err(|error| error.with_session_id(Some(self.session.id.clone())))?;
            let again = find_session(&self.store, self.selector)?;
            if again.id == self.session.id {
                return Ok((again, locked));
            }
            drop(locked);
            self.place = join(&(self.session_key)(&again.id), self.wait);
            self.session = again;
        }
    }
}

/// Returns the error for a signal that arrived before the agent was started.
pub(crate) fn interrupted(signal: i32, when: &str) -> Error {
    Error::new(ErrorKind::Interrupted(signal), format!("interrupted by signal {signal} {when}"))
        .with_hint("nothing was sent; repeat the call to continue")
}

/// Joins the queue of a lock. A call that does not wait gets the place after all others.
fn join(key: &Key, wait: bool) -> Place {
    lock::make_shared();
    if wait { Place::join(key) } else { Place::after_all(key) }
}

/// Takes the lock of `place`. Waits for it unless `wait` is false or the wait would never end.
fn wait_for(
    place: &mut Place,
    what: &str,
    deadline: Option<Instant>,
    ui: &Ui,
    wait: bool,
    recorder: &TurnRecorder,
) -> Result<Lock> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot lock {what}"))
            .with_io_cause(&error)
            .with_hint(format!("set {} to a directory that you can write to", env::DIR))
    };
    let limit = if wait { deadline } else { Some(Instant::now()) };
    let above = env::var(env::HELD_LOCKS)?.unwrap_or_default();
    let started = Instant::now();
    let waited = place.wait(limit, &above, |holder| {
        recorder.create(); // others can see that the turn waits
        ui.note(&lock::waiting_for(what, holder));
    });
    let busy = match waited.map_err(failed)? {
        Ok(lock) => {
            ui.log(|| format!("locked {what} after {:.3} s", started.elapsed().as_secs_f64()));
            return Ok(lock);
        }
        Err(busy) => busy,
    };
    if let Some(signal) = late_signal::get() {
        return Err(interrupted(signal, &format!("while waiting for {what}")));
    }
    Err(match busy {
        Busy::Inside => {
            Error::new(ErrorKind::SessionBusy, format!("{what} is locked by the call that this one runs inside"))
                .with_hint("end that turn first, or use another session")
        }
        Busy::Cycle(holder) => Error::new(ErrorKind::SessionBusy, format!("{what} is {}", lock::state(&holder)))
            .caused_by("its turn waits for the call that this one runs inside")
            .with_hint("end this turn first, or use another session"),
        Busy::Held(holder) if wait => {
            Error::new(ErrorKind::Deadline, format!("the deadline passed while {what} was {}", lock::state(&holder)))
                .with_hint("allow more time with --deadline-seconds")
        }
        Busy::Held(holder) => Error::new(ErrorKind::SessionBusy, format!("{what} is {}", lock::state(&holder)))
            .with_hint("try again later, or wait for it with --if-busy wait"),
    })
}

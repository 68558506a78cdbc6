//! Refuses a wait for a turn that cannot end before the waiting call, because the call runs inside of it.

use super::selector::RecordedTurn;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::ancestors;
use crate::records::record::{Record, State};

/// Fails if `turn` runs this call, or waits for a session whose turn runs this call. Only Linux shows which processes
/// those are.
///
/// # Errors
///
/// [`ErrorKind::SessionBusy`].
pub(crate) fn refuse_endless_wait(turn: &RecordedTurn) -> Result<()> {
    let ancestors = ancestors();
    let runs_this_call = |id: &str, record: &Record| {
        record.pid.is_some_and(|pid| ancestors.contains(&pid)) && turn.dir.is_in_own_namespace(id)
    };
    let refuse = |why: String| {
        Err(Error::new(ErrorKind::SessionBusy, format!("the turn {} cannot end before this call", turn.id))
            .caused_by(why)
            .with_hint(format!("end this turn first; after it, run: {}", turn.command("wait-turn"))))
    };
    if turn.record.state.is_final() || ancestors.is_empty() {
        return Ok(());
    }
    if runs_this_call(&turn.id, &turn.record) {
        return refuse("this call runs inside that turn".to_owned());
    }
    if turn.record.state != State::Queued {
        return Ok(());
    }
    let holds_session = |other: &Record| {
        let (one, other) = (&turn.record, other);
        let is_same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        other.state == State::Running
            && one.backend == other.backend
            && (is_same(&one.session_id, &other.session_id) || is_same(&one.alias, &other.alias))
    };
    let own = turn
        .dir
        .ids()
        .into_iter()
        .find(|id| turn.dir.read(id).is_some_and(|record| holds_session(&record) && runs_this_call(id, &record)));
    own.map_or(Ok(()), |own| refuse(format!("it waits for the turn {own}, in which this call runs")))
}

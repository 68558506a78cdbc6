//! The first turn of a session, and its name saved. `create-session`, `fork-session` and `--if-missing create` meet here.

use super::outcome::TurnOutput;
use super::prompt::Prompt;
use super::recovery_hint::adopt_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use crate::backend::{Backend, Model, OutputMode, SessionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::lookup::Resolved;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::ui::Notes;

/// A session that was just started.
pub(crate) struct StartedSession {
    pub(crate) entry: Entry,
    /// What the name meant before.
    pub(crate) replaced: Option<String>,
    pub(crate) written: bool,
    pub(crate) answer: TurnOutput,
}

/// A session that is to be started.
pub(crate) struct NewSession<'a> {
    pub(crate) name: &'a SessionName,
    pub(crate) form: OutputMode,
    /// Its first turn.
    pub(crate) request: &'a Prompt,
    pub(crate) role: Option<&'a str>,
    /// The session whose history it begins with.
    pub(crate) history: Option<&'a Resolved>,
}

/// Starts a session and saves it. What was paid for is told even where it cannot be saved.
pub(crate) fn start_session(
    caller: &TurnRunner<'_>,
    store: &Store,
    beginning: &NewSession<'_>,
) -> Result<StartedSession> {
    let call = caller.call;
    let &NewSession { name, history, .. } = beginning;
    let remembered = history.and_then(Resolved::model).filter(|_| call.model.is_none());
    let model = call.model.as_deref().or(remembered);
    let effort = call.effort.as_deref().or(history.and_then(Resolved::effort));
    let held = [store.name_key(name)].into_iter().chain(history.map(|history| call.session_key(&history.id)));
    let held: Vec<String> = held.map(|key| key.handed_down()).collect();
    let ask = TurnRequest {
        session: history.map_or(SessionMode::New, |history| SessionMode::Fork(&history.id)),
        name: Some(name),
        form: beginning.form,
        request: beginning.request,
        role: beginning.role,
        model: model.map(|name| Model { name, remembered: remembered.is_some() }),
        effort,
        held: &held,
        wait: true,
    };
    let answer = caller.ask(&ask)?;
    let account = &answer.account;
    let backend = call.agent.backend;
    let told = account.reported_id.as_deref().unwrap_or_default();
    let id = AgentSessionId::new(told).map_err(|why| {
        let what =
            if told.is_empty() { "told no session id".to_owned() } else { format!("told a session id that {why}") };
        Error::new(ErrorKind::AgentOutputInvalid, format!("{backend} ended well, but {what}"))
            .with_hint(format!("is '{}' really {backend}?", call.agent.launcher.name()))
            .with_turn_started()
            .with_agent_exit_status(Some(0))
            .with_verdict(account.verdict.clone())
    })?;
    if let Some(history) = history.filter(|history| history.id.matches(id.as_str())) {
        return Err(Error::new(
            ErrorKind::AgentOutputInvalid,
            format!("{backend} answered in the session {} itself", history.id),
        )
        .caused_by("it did not fork it, so the turn is in its history now")
        .with_turn_started()
        .with_agent_exit_status(Some(0))
        .with_session_id(Some(id)));
    }
    let (model, effort) = (model.map(str::to_owned), effort.map(str::to_owned));
    let entry = Entry { id, created_at: Some(now()), model, effort };
    let saved = store.update(true, |mapping, _| (save(mapping, name, &entry, &store.workspace), true));
    let (replaced, written) = match saved {
        Ok(updated) => (updated.value, true),
        Err(error) => {
            let error = Error::from(error).to_single_line();
            let advice = adopt_hint(call, Some(name), &entry.id);
            Notes::warn_always(&format!("the session was started, but its name was not saved: {error}; {advice}"));
            (None, false)
        }
    };
    Ok(StartedSession { entry, replaced, written, answer })
}

/// Saves an entry and tells what the name meant before, to whichever agent it belonged.
pub(crate) fn save(mapping: &mut Mapping, name: &SessionName, entry: &Entry, workspace: &str) -> Option<String> {
    let others =
        Backend::ALL.into_iter().find_map(|backend| Some(format!("{} ({backend})", mapping.id_of(name, backend)?)));
    let old = mapping.get(name).map(|old| old.id.to_string()).or(others);
    mapping.insert(name, entry);
    mapping.set_workspace(workspace);
    old.filter(|old| old != entry.id.as_str())
}

/// The time as Python's `datetime.now(timezone.utc).isoformat()` writes it.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

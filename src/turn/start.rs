//! Starts a session with its first turn and saves its name, for `create-session`, `fork-session` and
//! `--if-missing create`.

use super::options::TurnOptions;
use super::outcome::TurnOutput;
use super::prompt::Prompt;
use super::recovery_hint::{adopt_hint, saved_hint};
use super::request::TurnRequest;
use super::runner::TurnRunner;
use crate::backend::{Backend, OutputMode, SessionMode};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::lookup::StoredSession;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::time::now;
use crate::ui::Ui;

/// The request for a new session.
pub(crate) struct NewSession<'a> {
    pub(crate) name: &'a SessionName,
    pub(crate) mode: OutputMode,
    /// The prompt of its first turn.
    pub(crate) prompt: &'a Prompt,
    /// The role that the session begins with, which is kept with it.
    pub(crate) role: Option<&'a str>,
    /// The session to fork.
    pub(crate) history: Option<&'a StoredSession>,
    /// Whether it may replace another session with that name.
    pub(crate) overwrites: bool,
}

/// A session that was started.
pub(crate) struct StartedSession {
    pub(crate) entry: Entry,
    /// The ID that the name referred to before.
    pub(crate) replaced: Option<String>,
    /// Whether the name was saved.
    pub(crate) written: bool,
    pub(crate) output: TurnOutput,
    /// Whether a schema was given.
    pub(crate) structured: bool,
}

impl StartedSession {
    /// Prints a note if `name` referred to another session before.
    pub(crate) fn note_replaced(&self, ui: &Ui, name: &SessionName) {
        note_replaced(ui, name, self.replaced.as_deref());
    }
}

/// Prints a note if `name` referred to the session `replaced` before.
pub(crate) fn note_replaced(ui: &Ui, name: &SessionName, replaced: Option<&str>) {
    if let Some(replaced) = replaced {
        ui.note(&format!("'{name}' previously referred to {replaced}"));
    }
}

/// Starts a session and saves its name.
///
/// Prints a warning if the name cannot be saved, or if another call took it during the turn. The warning contains the
/// command that saves the session. A turn that is stopped after it began is an error, but its session is saved.
///
/// # Errors
///
/// The errors of the turn. [`ErrorKind::AgentOutputInvalid`] if the agent reports no usable ID, or the ID of the session
/// to fork.
pub(crate) fn start_session(runner: TurnRunner<'_>, store: &Store, new: &NewSession<'_>) -> Result<StartedSession> {
    let (options, ui) = (runner.options, runner.ui);
    let &NewSession { name, history, .. } = new;
    let locks = [store.name_key(name)].into_iter().chain(history.map(|history| options.session_key(&history.id)));
    let locks: Vec<String> = locks.map(|key| key.handed_down()).collect();
    let model_and_effort = options.model_and_effort(history);
    let source = if history.is_some() { "forked" } else { "created" };
    options.recorder.update(|turn| turn.source = Some(source.to_owned()));
    let outcome = runner.run(&TurnRequest {
        session: history.map_or(SessionMode::New, |history| SessionMode::Fork(&history.id)),
        saved: None,
        new_id: None,
        may_be_missing: false,
        name: Some(name),
        mode: new.mode,
        prompt: new.prompt,
        role: new.role,
        model_and_effort,
        locks: &locks,
        wait: true,
    });
    drop(runner); // from now on, a second signal ends the program
    let kept = history.and_then(StoredSession::settings).filter(|_| !options.forgets).map(str::to_owned);
    let entry = |id, (model, effort), first_turn_stopped| Entry {
        id,
        created_at: Some(now()),
        model,
        effort,
        first_turn_stopped,
        settings: options.settings_after(kept.as_deref()),
    };
    let output = match outcome {
        Ok(output) => output,
        Err(error) => {
            let Some(id) = error.turn.session_id.clone().filter(|_| error.is_stopped_turn()) else { return Err(error) };
            // without its history, a fork cannot be started anew
            let (replaced, written) =
                save_started(options, ui, store, new, &entry(id, model_and_effort.names(), history.is_none()));
            note_replaced(ui, name, replaced.as_deref());
            return Err(stopped(options, name, error, written));
        }
    };
    let entry = entry(new_id(options, history, &output)?, model_and_effort.in_force(&output), false);
    let (replaced, written) = save_started(options, ui, store, new, &entry);
    Ok(StartedSession { entry, replaced, written, output, structured: options.schema.is_some() })
}

/// Adds the hint for a first turn that was stopped. `written` means that its session is saved.
fn stopped(options: &TurnOptions, name: &SessionName, error: Error, written: bool) -> Error {
    let Some(id) = error.turn.session_id.clone() else { return error };
    let advice = error.hint.clone().filter(|_| !matches!(error.kind, ErrorKind::Interrupted(_)));
    let keep = if written { saved_hint(options, name, &id) } else { adopt_hint(options, Some(name), &id) };
    error.with_hint(advice.into_iter().chain([keep]).collect::<Vec<_>>().join("; "))
}

/// Saves the name of a session that was started. Returns the ID that the name referred to before, and whether the name
/// was saved. Prints a warning if it was not.
fn save_started(
    options: &TurnOptions,
    ui: &Ui,
    store: &Store,
    new: &NewSession<'_>,
    entry: &Entry,
) -> (Option<String>, bool) {
    let name = new.name;
    let saved = store.update(true, |mapping, _| {
        if !new.overwrites && mapping.contains(name) {
            let id = mapping.get(name).map(|other| other.id.to_string());
            let why = format!("'{name}' was given to {} during the turn", id.as_deref().unwrap_or("another session"));
            return (Err((None, why)), false);
        }
        mapping.keep_role(&entry.id, new.role.unwrap_or_default());
        (Ok(save(mapping, name, entry, &store.workspace)), true)
    });
    let saved = match saved {
        Ok(updated) => updated.value,
        Err(error) => Err((Some(name), Error::from(error).to_single_line())),
    };
    match saved {
        Ok(replaced) => (replaced, true),
        Err((name, why)) => {
            let hint = adopt_hint(options, name, &entry.id);
            ui.warn_always(&format!("the session was started, but its name was not saved: {why}; {hint}"));
            (None, false)
        }
    }
}

/// Returns the ID of the new session.
fn new_id(options: &TurnOptions, history: Option<&StoredSession>, output: &TurnOutput) -> Result<AgentSessionId> {
    let backend = options.agent.backend;
    let invalid = |message: String| {
        Error::new(ErrorKind::AgentOutputInvalid, message)
            .with_turn_started()
            .with_prompt_in_history(Some(true))
            .with_agent_exit_status(Some(0))
    };
    let reported = output.report.reported_id.as_deref().unwrap_or_default();
    let id = AgentSessionId::new(reported).map_err(|why| {
        let what = if reported.is_empty() {
            "reported no session ID".to_owned()
        } else {
            format!("reported a session ID that {why}")
        };
        invalid(format!("{backend} exited successfully, but {what}"))
            .with_hint(format!("check that '{}' is {backend}", options.agent.launcher.name()))
            .with_verdict(output.report.verdict.clone())
    })?;
    match history.filter(|history| history.id.is_reported_as(id.as_str())) {
        Some(history) => Err(invalid(format!("{backend} answered in the session {} itself", history.id))
            .caused_by("it did not fork the session, so the turn is in its history")
            .with_session_id(Some(id))),
        None => Ok(id),
    }
}

/// Adds an entry. Returns the ID of either agent that the name referred to before.
pub(crate) fn save(mapping: &mut Mapping, name: &SessionName, entry: &Entry, workspace: &str) -> Option<String> {
    let others =
        Backend::ALL.into_iter().find_map(|backend| Some(format!("{} ({backend})", mapping.id_of(name, backend)?)));
    let old = mapping.get(name).map(|old| old.id.to_string()).or(others);
    mapping.insert(name, entry);
    mapping.set_workspace(workspace);
    old.filter(|old| old != entry.id.as_str())
}

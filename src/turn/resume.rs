//! One more turn in a session, and what the mapping keeps of it.

use super::options::TurnOptions;
use super::outcome::TurnOutput;
use super::prompt::{self, Prompt, PromptSource};
use super::recovery_hint::adopt_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use super::start::{NewSession, StartedSession, start_session};
use crate::backend::{JsonOutput, Model, OnNewId, OutputMode, SessionMode, TurnReport};
use crate::cli::{self, IfBusy, IfMissing};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::render::RenderOptions;
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::sessions::lock::{lock_name, lock_session};
use crate::sessions::lookup::{Resolved, look_up, look_up_name};
use crate::sessions::selector::SessionSelector;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};
use crate::ui::{Notes, print, print_object, stdio, stdout_error};

/// A turn that was paid for.
pub(crate) struct CompletedTurn {
    pub(crate) resolved: Resolved,
    pub(crate) account: TurnReport,
    /// Whether a stream could be passed on.
    pub(crate) copied: std::io::Result<()>,
    /// What was in force.
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<String>,
    /// codex answered from another thread.
    pub(crate) lost: Option<Error>,
}

impl CompletedTurn {
    /// The first turn of a session. `source`: how it came to be.
    pub(crate) fn created(name: &SessionName, created: StartedSession, source: &str) -> Self {
        let StartedSession { entry, answer: TurnOutput { account, copied }, .. } = created;
        let (model, effort) = (entry.model.clone(), entry.effort.clone());
        let resolved = Resolved::created(name.clone(), entry, source);
        Self { resolved, account, copied, model, effort, lost: None }
    }
}

pub(crate) struct Resuming {
    pub(crate) subject: SessionSelector,
    pub(crate) store: Store,
    pub(crate) call: TurnOptions,
    pub(crate) wait: bool,
    pub(crate) notes: Notes,
    /// Whether standard output gives the id of the session that answered.
    pub(crate) prints_id: bool,
}

/// What is asked, whichever session answers.
struct ResumeRequest<'a> {
    form: OutputMode,
    request: &'a Prompt,
    role: Option<&'a str>,
    create_missing: bool,
}

pub(crate) fn resume(
    context: &Context,
    options: &cli::ResumeArgs,
    form: OutputMode,
    look: Option<RenderOptions>,
    prints_id: bool,
) -> Result<(Resuming, CompletedTurn)> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = TurnOptions { look, ..TurnOptions::new(context, &store, &workspace, &options.call, form)? };
    store.deadline = call.deadline;
    if let Some(file) = options.output_file.as_deref().filter(|file| store.would_be_replaced_by(file)) {
        return Err(Error::usage(format!("--output-file {} is where the mapping is", file.display()))
            .with_hint("name another file, such as --output-file answer.txt"));
    }
    let source = PromptSource::of(&options.prompt, options.call.stdin)?;
    let create_missing = options.if_missing == IfMissing::Create;
    if create_missing && subject.name.is_none() {
        return Err(Error::usage("--if-missing create wants a name").with_hint("add --session-name NAME"));
    }
    let wait = options.if_busy == IfBusy::Wait;
    let resuming = Resuming { subject, store, call, wait, notes: context.notes, prints_id };
    if !(create_missing && resuming.subject.id.is_none()) {
        look_up(&resuming.store, &resuming.subject)?; // what is not there is told before the prompt is read
    }
    let role = prompt::role(options.role_definition_md.as_deref(), resuming.call.deadline)?;
    let request = source.read(resuming.call.deadline)?;
    let request = if resuming.call.stdin { request.with_stdin(resuming.call.deadline)? } else { request };
    let turn = ResumeRequest { form, request: &request, role: role.as_deref(), create_missing };
    let done = resuming.take(&turn)?;
    Ok((resuming, done))
}

impl Resuming {
    /// Finds the session, holds it, and has the turn.
    fn take(&self, turn: &ResumeRequest<'_>) -> Result<CompletedTurn> {
        let missing = self.subject.name.as_ref().filter(|_| turn.create_missing && self.subject.id.is_none());
        let (resolved, _held) = loop {
            if let Some(name) = missing
                && let Some(created) = self.create_if_missing(name, turn)?
            {
                return Ok(created);
            }
            match lock_session(&self.store, &self.subject, |id| self.call.session_key(id), self.notes, self.wait) {
                // the name went while this call waited
                Err(error) if error.kind == ErrorKind::SessionNotFound && missing.is_some() => {}
                held => break held?,
            }
        };
        let caller = TurnRunner::new(&self.call, self.notes)?;
        let remembered = resolved.model().filter(|_| self.call.model.is_none());
        let model = self.call.model.as_deref().or(remembered);
        let effort = self.call.effort.as_deref().or(resolved.effort());
        let TurnOutput { account, copied } = caller.ask(&TurnRequest {
            session: SessionMode::Resume(&resolved.id),
            name: resolved.saved.as_ref().map(|(name, _)| name),
            form: turn.form,
            request: turn.request,
            role: turn.role,
            model: model.map(|name| Model { name, remembered: remembered.is_some() }),
            effort,
            held: &[self.call.session_key(&resolved.id).handed_down()],
            wait: self.wait,
        })?;
        let (model, effort) = (model.map(str::to_owned), effort.map(str::to_owned));
        let told = account.reported_id.as_deref().filter(|told| !is_blank(told));
        let as_told = told.and_then(|told| AgentSessionId::new(told).ok()); // printed, also if only its spelling differs
        let told = told.filter(|told| !resolved.id.matches(told));
        if let (Some(told), OnNewId::Lost) = (told, self.call.agent.backend.capabilities().on_new_id) {
            let lost = Some(self.lost(&resolved, told, account.verdict.clone()));
            return Ok(CompletedTurn { resolved: resolved.answered_as(as_told), account, copied, model, effort, lost });
        }
        let new_id = match told.map(AgentSessionId::new).transpose() {
            Ok(id) => id,
            Err(why) => {
                let told = told.unwrap_or_default();
                Notes::warn_always(&format!("claude reported a session ID that {why} and is not followed: {told}"));
                None
            }
        };
        self.remember(&MappingUpdate {
            call: &self.call,
            resolved: &resolved,
            new_id,
            model: model.as_deref(),
            effort: effort.as_deref(),
        });
        Ok(CompletedTurn { resolved: resolved.answered_as(as_told), account, copied, model, effort, lost: None })
    }

    /// Starts the session where there is none of that name. Of several calls at once one does; the others wait here and
    /// then find it.
    fn create_if_missing(&self, name: &SessionName, turn: &ResumeRequest<'_>) -> Result<Option<CompletedTurn>> {
        if look_up_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        let _name = lock_name(&self.store, name, self.wait)?;
        if look_up_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        self.store.prepare()?;
        let caller = TurnRunner::new(&self.call, self.notes)?;
        let &ResumeRequest { form, request, role, .. } = turn;
        let created = start_session(&caller, &self.store, &NewSession { name, form, request, role, history: None })?;
        if let Some(replaced) = &created.replaced {
            self.notes.note(&format!("'{name}' was the name of {replaced} before"));
        }
        Ok(Some(CompletedTurn::created(name, created, "created")))
    }

    fn lost(&self, resolved: &Resolved, told: &str, verdict: Option<Box<serde_json::value::RawValue>>) -> Error {
        let backend = self.call.agent.backend;
        let reported_id = AgentSessionId::new(told).ok();
        let name = resolved.saved.as_ref().map(|(name, _)| name);
        let error = Error::new(
            ErrorKind::SessionLost,
            format!("{backend} does not know the session {} and answered from a new one, {told}", resolved.id),
        )
        .with_turn_started()
        .with_agent_exit_status(Some(0))
        .with_session_id(reported_id.clone())
        .with_verdict(verdict);
        match reported_id {
            Some(id) => error.with_hint(adopt_hint(&self.call, name, &id)),
            None => error,
        }
    }

    /// Saves what a successful turn changed. The turn is paid for, so nothing here fails the call.
    fn remember(&self, turn: &MappingUpdate<'_>) {
        if turn.resolved.saved.is_none() {
            if let Some(id) = &turn.new_id {
                self.say(turn, false, &format!("{} goes on as {id}", turn.resolved.id));
            }
            return;
        }
        let updated = self.store.update(true, |mapping, recreated| {
            let lost = turn.entry().filter(|_| recreated);
            if let Some((name, entry)) = lost {
                mapping.insert(name, &entry);
                mapping.set_workspace(&self.store.workspace);
                return ((Vec::new(), true), true);
            }
            let (notes, changed) = turn.apply(mapping, &self.store.workspace);
            ((notes, changed), changed)
        });
        match updated {
            Ok(updated) => {
                let (notes, saved) = updated.value;
                for note in &notes {
                    self.say(turn, saved, note);
                }
            }
            Err(error) => {
                let id = turn.new_id.as_ref().unwrap_or(&turn.resolved.id);
                let error = Error::from(error).to_single_line();
                let warning = format!("the turn in session {id} is done, but it was not noted in the mapping: {error}");
                if turn.new_id.is_some() { Notes::warn_always(&warning) } else { self.notes.warning(&warning) }
            }
        }
    }

    /// Prints a note on the session that answered. `--quiet` does not suppress it if the new ID would be found nowhere
    /// else. `saved`: whether the mapping holds that ID.
    fn say(&self, turn: &MappingUpdate<'_>, saved: bool, note: &str) {
        if turn.new_id.is_some() && !saved && !self.prints_id {
            Notes::warn_always(note);
        } else {
            self.notes.note(note);
        }
    }
}

/// A turn that ended well, and what the mapping is to know of it.
struct MappingUpdate<'a> {
    call: &'a TurnOptions,
    resolved: &'a Resolved,
    new_id: Option<AgentSessionId>,
    model: Option<&'a str>,
    effort: Option<&'a str>,
}

impl MappingUpdate<'_> {
    /// Changes `mapping` as the turn demands, and tells what people should know, and whether anything changed. The entry
    /// may have been renamed, given to another session or deleted while the turn ran.
    fn apply(&self, mapping: &mut Mapping, workspace: &str) -> (Vec<String>, bool) {
        let Some((name, began_with)) = &self.resolved.saved else {
            return (Vec::new(), false);
        };
        let (old, new) = (&self.resolved.id, self.new_id.as_ref().unwrap_or(&self.resolved.id));
        let mut notes = Vec::new();
        let now = mapping.get(name).map(|entry| entry.id);
        let known = self.resolved.names();
        let renamed = mapping.names_of(old).into_iter().find(|name| !known.contains(name));
        let target = match now {
            Some(id) if id == *old => Some(name.as_str().to_owned()),
            Some(id) => {
                notes.push(format!("'{name}' was given to {id} during the turn and keeps it; this turn was in {new}"));
                renamed
            }
            None => renamed.or_else(|| {
                let advice = adopt_hint(self.call, Some(name), new);
                notes.push(format!("'{name}' was deleted during the turn and stays deleted; {advice}"));
                None
            }),
        };
        let followers = if new == old { Vec::new() } else { mapping.names_of(old) };
        let changed = target.is_some() || !followers.is_empty();
        if new != old {
            notes.push(format!("{old} goes on as {new}"));
            for name in followers {
                if let Some(entry) = mapping.get(&SessionName::verbatim(&name)) {
                    mapping.amend(&name, &Entry { id: new.clone(), ..entry });
                }
            }
        }
        if let Some(name) = target {
            let entry = mapping.get(&SessionName::verbatim(&name)).unwrap_or_else(|| began_with.clone());
            let model = self.model.map(str::to_owned).or(entry.model.clone());
            let effort = self.effort.map(str::to_owned).or(entry.effort.clone());
            mapping.amend(&name, &Entry { id: new.clone(), model, effort, ..entry });
        }
        if changed {
            mapping.set_workspace_if_empty(workspace);
        }
        (notes, changed)
    }

    /// The entry for a mapping that was lost during the turn.
    fn entry(&self) -> Option<(&SessionName, Entry)> {
        let (name, began_with) = self.resolved.saved.as_ref()?;
        let id = self.new_id.as_ref().unwrap_or(&self.resolved.id).clone();
        let (model, effort) = (self.model.map(str::to_owned), self.effort.map(str::to_owned));
        Some((name, Entry { id, model, effort, ..began_with.clone() }))
    }
}

/// Prints one answer: as the agent gave it, or its text and the session's id alone.
pub(crate) fn print_answer(store: &Store, done: &CompletedTurn, result: bool, session_id: bool) -> Result<()> {
    let CompletedTurn { resolved, account, model, effort, .. } = done;
    let answer = account.answer.as_deref().unwrap_or_default();
    if result || session_id {
        let answer = result.then(|| (store.backend.spec().printed_answer)(answer));
        let id = session_id.then(|| format!("{}\n", resolved.id));
        print(&[answer, id].into_iter().flatten().collect::<String>())
    } else if store.backend.capabilities().json_output == JsonOutput::PassThrough {
        stdio::print(&account.whole).map_err(|error| stdout_error(&error))
    } else {
        let described = resolved.describe(store, model.as_deref(), effort.as_deref());
        print_object(&described.with("event_count", account.lines).with("final_message", answer))
    }
}

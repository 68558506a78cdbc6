//! `resume-json` and `resume-stream`: one more turn in a session, one turn at a time.

use super::call::AgentCall;
use super::create_session::{create, hold, hold_name, refuse_own};
use super::resolve::{Resolved, look_up, look_up_name};
use super::turn::{self, Ask, Caller, Request, Source};
use super::{Context, Subject, print, print_object, stdout_error};
use crate::backend::{Account, Backend, Form, Model};
use crate::cli::{self, IfBusy, IfMissing};
use crate::error::{Error, Kind, Result};
use crate::lock::Lock;
use crate::output::{self, Notes};
use crate::session::{AgentSessionId, SessionName};
use crate::store::Store;
use crate::store::format::{Entry, Mapping};

pub(super) fn json(context: &Context, options: &cli::ResumeJson) -> Result<()> {
    let (resuming, done) = resume(context, &options.resume, Form::Json)?;
    let Done { resolved, account, model, effort, lost } = done;
    let printed = if options.print_result || options.print_session_id {
        let answer = options.print_result.then(|| output::print_line(account.answer.as_deref().unwrap_or_default()));
        answer
            .unwrap_or(Ok(()))
            .map_err(|error| stdout_error(&error))
            .and_then(|()| if options.print_session_id { print(&format!("{}\n", resolved.id)) } else { Ok(()) })
    } else if resuming.store.backend == Backend::Claude {
        output::print(&account.whole).map_err(|error| stdout_error(&error))
    } else {
        let described = resolved.describe(&resuming.store, model.as_deref(), effort.as_deref());
        let answer = account.answer.unwrap_or_default();
        print_object(&described.with("event_count", account.lines).with("final_message", answer))
    };
    lost.map_or(printed, Err)
}

pub(super) fn stream(context: &Context, options: &cli::ResumeStream) -> Result<()> {
    let (_, done) = resume(context, &options.resume, Form::Stream { partials: options.include_partials })?;
    done.lost.map_or(Ok(()), Err)
}

/// A turn that was paid for.
struct Done {
    resolved: Resolved,
    account: Account,
    /// What was in force.
    model: Option<String>,
    effort: Option<String>,
    /// codex answered from another thread.
    lost: Option<Error>,
}

struct Resuming {
    subject: Subject,
    store: Store,
    call: AgentCall,
    wait: bool,
    notes: Notes,
}

fn resume(context: &Context, options: &cli::Resume, form: Form) -> Result<(Resuming, Done)> {
    let subject = Subject::of(&options.selector)?.required()?;
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = AgentCall::new(context, backend, &workspace, &options.call, form)?;
    store.deadline = call.deadline;
    let source = Source::of(options)?;
    let create_missing = options.if_missing == IfMissing::Create;
    if create_missing && subject.name.is_none() {
        return Err(Error::usage("--if-missing create wants a name").hint("add --session-name NAME"));
    }
    let wait = options.if_busy == IfBusy::Wait;
    let resuming = Resuming { subject, store, call, wait, notes: context.notes };
    if !(create_missing && resuming.subject.id.is_none()) {
        look_up(&resuming.store, &resuming.subject)?; // what is not there is told before the prompt is read
    }
    let role = turn::role(options.role_definition_md.as_deref(), resuming.call.deadline)?;
    let request = source.read(resuming.call.deadline)?;
    let request = if resuming.call.stdin { request.with_stdin(resuming.call.deadline)? } else { request };
    let turn = Turn { form, request: &request, role: role.as_deref(), create_missing };
    let done = resuming.take(&turn)?;
    Ok((resuming, done))
}

/// What is asked, whichever session answers.
struct Turn<'a> {
    form: Form,
    request: &'a Request,
    role: Option<&'a str>,
    create_missing: bool,
}

impl Resuming {
    /// Finds the session, holds it, and has the turn.
    fn take(&self, turn: &Turn<'_>) -> Result<Done> {
        if turn.create_missing
            && let (None, Some(name)) = (&self.subject.id, &self.subject.name)
            && let Some(created) = self.create_if_missing(name, turn)?
        {
            return Ok(created);
        }
        let (resolved, _held) = self.hold()?;
        let names = self.store.read().ok().flatten().map(|mapping| mapping.names_of(&resolved.id)).unwrap_or_default();
        let caller = Caller::new(&self.call, self.notes)?;
        let remembered = resolved.model().filter(|_| self.call.model.is_none());
        let model = self.call.model.as_deref().or(remembered);
        let effort = self.call.effort.as_deref().or(resolved.effort());
        let account = caller.ask(&Ask {
            session: Some(&resolved.id),
            name: resolved.saved.as_ref().map(|(name, _)| name),
            form: turn.form,
            request: turn.request,
            role: turn.role,
            model: model.map(|name| Model { name, remembered: remembered.is_some() }),
            effort,
            held: &[self.call.session_key(&resolved.id)],
            wait: self.wait,
        })?;
        let (model, effort) = (model.map(str::to_owned), effort.map(str::to_owned));
        let told = account.told_id.as_deref().and_then(|id| AgentSessionId::new(id).ok());
        let other = told.filter(|told| !resolved.id.is_same_session(told));
        let lost = match (other, self.call.backend) {
            (Some(told), Backend::Codex) => Some(self.lost(&resolved, &told, account.verdict.clone())),
            (other, _) => {
                let turn = Finished {
                    backend: self.call.backend,
                    resolved: &resolved,
                    names,
                    new_id: other,
                    model: model.as_deref(),
                    effort: effort.as_deref(),
                };
                self.remember(&turn);
                None
            }
        };
        Ok(Done { resolved, account, model, effort, lost })
    }

    /// Starts the session where there is none of that name. Of several calls at once one does; the others wait here and
    /// then find it.
    fn create_if_missing(&self, name: &SessionName, turn: &Turn<'_>) -> Result<Option<Done>> {
        if look_up_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        let _name = hold_name(&self.store, name, &self.call)?;
        if look_up_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        self.store.prepare()?;
        let caller = Caller::new(&self.call, self.notes)?;
        let created = create(&caller, &self.store, name, turn.form, turn.request, turn.role)?;
        let (model, effort) = (created.entry.model.clone(), created.entry.effort.clone());
        let resolved = Resolved::created(name.clone(), created.entry);
        Ok(Some(Done { resolved, account: created.account, model, effort, lost: None }))
    }

    /// The session, held. While we waited for it another turn may have changed what the name means.
    fn hold(&self) -> Result<(Resolved, Lock)> {
        loop {
            let resolved = look_up(&self.store, &self.subject)?;
            let key = self.call.session_key(&resolved.id);
            let what = format!("the session {}", resolved.id);
            refuse_own(&key, &what).map_err(|error| error.session_id(Some(resolved.id.clone())))?;
            let held = hold(&key, &what, &self.call, self.notes, self.wait);
            let held = held.map_err(|error| error.session_id(Some(resolved.id.clone())))?;
            let again = look_up(&self.store, &self.subject)?;
            if again.id == resolved.id {
                return Ok((again, held));
            }
        }
    }

    fn lost(
        &self,
        resolved: &Resolved,
        told: &AgentSessionId,
        verdict: Option<Box<serde_json::value::RawValue>>,
    ) -> Error {
        let backend = self.call.backend;
        Error::new(
            Kind::SessionLost,
            format!("{backend} does not know the session {} and answered from a new one, {told}", resolved.id),
        )
        .turn_started()
        .agent_exit_status(Some(0))
        .session_id(Some(told.clone()))
        .verdict(verdict)
        .hint(turn::adopt_hint(backend, resolved.saved.as_ref().map(|(name, _)| name), told))
    }

    /// Saves what a successful turn changed. The turn is paid for, so nothing here fails the call.
    fn remember(&self, turn: &Finished<'_>) {
        if turn.resolved.saved.is_none() {
            if let Some(id) = &turn.new_id {
                self.notes.note(&format!("{} goes on as {id}", turn.resolved.id));
            }
            return;
        }
        let updated = self.store.update(true, |mapping, recreated| {
            let lost = turn.entry().filter(|_| recreated);
            if let Some((name, entry)) = lost {
                mapping.insert(name, &entry);
                mapping.set_workspace(&self.store.workspace);
                return (Vec::new(), true);
            }
            (turn.apply(mapping, &self.store.workspace), true)
        });
        match updated {
            Ok(updated) => updated.value.iter().for_each(|note| self.notes.note(note)),
            Err(error) => {
                let id = turn.new_id.as_ref().unwrap_or(&turn.resolved.id);
                let error = Error::from(error).to_sentence();
                self.notes.warning(&format!(
                    "the turn in session {id} is done, but it was not noted in the mapping: {error}"
                ));
            }
        }
    }
}

/// A turn that ended well, and what the mapping is to know of it.
struct Finished<'a> {
    backend: Backend,
    resolved: &'a Resolved,
    /// All names of the session when the turn began.
    names: Vec<String>,
    new_id: Option<AgentSessionId>,
    model: Option<&'a str>,
    effort: Option<&'a str>,
}

impl Finished<'_> {
    /// Changes `mapping` as the turn demands, and tells what people should know. The entry may have been renamed, given
    /// to another session or deleted while the turn ran.
    fn apply(&self, mapping: &mut Mapping, workspace: &str) -> Vec<String> {
        let Some((name, began_with)) = &self.resolved.saved else {
            return Vec::new();
        };
        let (old, new) = (&self.resolved.id, self.new_id.as_ref().unwrap_or(&self.resolved.id));
        let mut notes = Vec::new();
        mapping.set_workspace_if_empty(workspace);
        let now = mapping.get(name).map(|entry| entry.id);
        let target = match now {
            Some(id) if id == *old => Some(name.as_str().to_owned()),
            Some(id) => {
                notes.push(format!("'{name}' was given to {id} during the turn and keeps it; this turn was in {new}"));
                None
            }
            None => {
                let renamed = mapping.names_of(old).into_iter().find(|name| !self.names.contains(name));
                if renamed.is_none() {
                    let advice = turn::adopt_hint(self.backend, Some(name), new);
                    notes.push(format!("'{name}' was deleted during the turn and stays deleted; {advice}"));
                }
                renamed
            }
        };
        if new != old {
            notes.push(format!("{old} goes on as {new}"));
            for name in mapping.names_of(old) {
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
        notes
    }

    /// The entry for a mapping that was lost during the turn.
    fn entry(&self) -> Option<(&SessionName, Entry)> {
        let (name, began_with) = self.resolved.saved.as_ref()?;
        let id = self.new_id.as_ref().unwrap_or(&self.resolved.id).clone();
        let (model, effort) = (self.model.map(str::to_owned), self.effort.map(str::to_owned));
        Some((name, Entry { id, model, effort, ..began_with.clone() }))
    }
}

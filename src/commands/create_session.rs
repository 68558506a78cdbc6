//! `create-session`: starts a session, or takes one that is there, and saves it under a name.

use super::call::AgentCall;
use super::hold::hold_name;
use super::resolve::Resolved;
use super::turn::{self, Answer, Ask, Caller, Request};
use super::{Context, Subject, Workspace, finished, print, print_object, required_name, session_id};
use crate::backend::{Backend, Form, Model, Session};
use crate::cli::{self, IfExists};
use crate::error::{Error, Kind, Result};
use crate::output::{Notes, Object};
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::store::Store;
use crate::store::format::Entry;

pub(super) fn run(context: &Context, options: &cli::CreateSession) -> Result<()> {
    let name = required_name(&options.name)?;
    let subject = Subject { name: Some(name.clone()), id: None };
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = AgentCall::new(context, &store, &workspace, &options.call, Form::Json)?;
    store.deadline = call.deadline;
    if options.session_id.is_some() {
        context
            .notes
            .warning("create-session starts a new session and ignores an id; to save one you have, use --adopt ID");
    }
    let creation = Creation { context, options, name, store, workspace, call };
    let adopted = match options.fake_session_id.as_deref() {
        Some(text) => {
            let id = session_id(text)?.ok_or_else(|| Error::usage("the id to adopt is blank"))?;
            Some(id)
        }
        None => None,
    };
    match adopted {
        Some(id) => creation.adopt(id),
        None => creation.start(),
    }
}

struct Creation<'a> {
    context: &'a Context,
    options: &'a cli::CreateSession,
    name: SessionName,
    store: Store,
    workspace: Workspace,
    call: AgentCall,
}

impl Creation<'_> {
    /// Saves an id. Nothing is paid, so a mapping that cannot be written is an error.
    fn adopt(&self, id: AgentSessionId) -> Result<()> {
        turn::role(self.options.role_definition_md.as_deref(), self.call.deadline)?; // a wrong one is told all the same
        let entry = self.entry(id);
        let if_exists = self.options.if_exists;
        let saved = self.store.update(true, |mapping, _| match mapping.get(&self.name) {
            old if if_exists != IfExists::Overwrite && mapping.contains(&self.name) => (Err(old), false),
            _ => (Ok(save(mapping, &self.name, &entry, &self.store.workspace)), true),
        })?;
        match saved.value {
            Ok(old) => {
                self.tell_old(old);
                self.print(&entry, true)
            }
            Err(Some(old)) if if_exists == IfExists::Reuse => self.print(&old, false),
            Err(old) => Err(self.exists(old.as_ref())),
        }
    }

    fn start(&self) -> Result<()> {
        let role = turn::role(self.options.role_definition_md.as_deref(), self.call.deadline)?;
        let _name = hold_name(&self.store, &self.name, &self.call, true)?;
        self.store.prepare()?;
        let mapping =
            if self.options.if_exists == IfExists::Overwrite { None } else { self.store.read().ok().flatten() };
        if let Some(mapping) = mapping.filter(|mapping| mapping.contains(&self.name)) {
            return match mapping.get(&self.name) {
                Some(old) if self.options.if_exists == IfExists::Reuse => self.print(&old, false),
                old => Err(self.exists(old.as_ref())),
            };
        }
        let prompt = self.options.init_prompt.as_deref().filter(|prompt| !is_blank(prompt));
        let request =
            Request::text(prompt.map_or_else(|| self.call.agent.backend.default_prompt(&self.name), str::to_owned));
        let request = if self.call.stdin { request.with_stdin(self.call.deadline)? } else { request };
        let caller = Caller::new(&self.call, self.context.notes)?;
        let beginning =
            Beginning { name: &self.name, form: Form::Json, request: &request, role: role.as_deref(), history: None };
        let created = create(&caller, &self.store, &beginning)?;
        drop(caller);
        self.tell_old(created.replaced);
        finished(self.print(&created.entry, created.written), &created.entry.id)
    }

    fn entry(&self, id: AgentSessionId) -> Entry {
        Entry { id, created_at: Some(now()), model: self.call.model.clone(), effort: self.call.effort.clone() }
    }

    /// The name is taken; `old`: by an entry that we can use.
    fn exists(&self, old: Option<&Entry>) -> Error {
        let (name, backend) = (&self.name, self.call.agent.backend);
        let told = match old {
            Some(old) => format!("a {backend} session named '{name}' exists, {}", old.id),
            None => format!("the name '{name}' is taken by an entry that is none of {backend}'s"),
        };
        Error::new(Kind::SessionExists, told)
            .session_id(old.map(|old| old.id.clone()))
            .hint("use another name, or overwrite this one with --if-exists overwrite")
    }

    fn tell_old(&self, old: Option<String>) {
        if let Some(old) = old {
            self.context.notes.note(&format!("'{}' was the name of {old} before", self.name));
        }
    }

    fn print(&self, entry: &Entry, written: bool) -> Result<()> {
        let id = format!("{}\n", entry.id);
        if !self.options.print_mapping_json {
            return print(&id);
        }
        if self.options.print_session_id {
            print(&id)?;
        }
        let backend = self.call.agent.backend;
        let object = Object::new()
            .with("alias", self.name.as_str())
            .with(backend.id_key(), entry.id.as_str())
            .with("workspace_dir", self.workspace.text())
            .with("created_at", entry.created_at.as_deref())
            .with("last_model", entry.model.as_deref());
        let object =
            if backend.has_effort() { object.with("last_reasoning_effort", entry.effort.as_deref()) } else { object };
        print_object(
            &object.with("mapping_file", self.store.path().display().to_string()).with("mapping_file_written", written),
        )
    }
}

/// A session that was just started.
pub(super) struct Created {
    pub(super) entry: Entry,
    /// What the name meant before.
    pub(super) replaced: Option<String>,
    pub(super) written: bool,
    pub(super) answer: Answer,
}

/// A session that is to be started.
pub(super) struct Beginning<'a> {
    pub(super) name: &'a SessionName,
    pub(super) form: Form,
    /// Its first turn.
    pub(super) request: &'a Request,
    pub(super) role: Option<&'a str>,
    /// The session whose history it begins with.
    pub(super) history: Option<&'a Resolved>,
}

/// Starts a session and saves it. What was paid for is told even where it cannot be saved.
pub(super) fn create(caller: &Caller<'_>, store: &Store, beginning: &Beginning<'_>) -> Result<Created> {
    let call = caller.call;
    let &Beginning { name, history, .. } = beginning;
    let remembered = history.and_then(Resolved::model).filter(|_| call.model.is_none());
    let model = call.model.as_deref().or(remembered);
    let effort = call.effort.as_deref().or(history.and_then(Resolved::effort));
    let held = [store.name_key(name)].into_iter().chain(history.map(|history| call.session_key(&history.id)));
    let held: Vec<String> = held.map(|key| key.handed_down()).collect();
    let ask = Ask {
        session: history.map_or(Session::New, |history| Session::ForkOf(&history.id)),
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
    let told = account.told_id.as_deref().unwrap_or_default();
    let id = AgentSessionId::new(told).map_err(|why| {
        let what =
            if told.is_empty() { "told no session id".to_owned() } else { format!("told a session id that {why}") };
        Error::new(Kind::AgentOutputInvalid, format!("{backend} ended well, but {what}"))
            .hint(format!("is '{}' really {backend}?", call.agent.launcher.name()))
            .turn_started()
            .agent_exit_status(Some(0))
            .verdict(account.verdict.clone())
    })?;
    if let Some(history) = history.filter(|history| history.id.is_told_as(id.as_str())) {
        return Err(Error::new(
            Kind::AgentOutputInvalid,
            format!("{backend} answered in the session {} itself", history.id),
        )
        .caused_by("it did not fork it, so the turn is in its history now")
        .turn_started()
        .agent_exit_status(Some(0))
        .session_id(Some(id)));
    }
    let (model, effort) = (model.map(str::to_owned), effort.map(str::to_owned));
    let entry = Entry { id, created_at: Some(now()), model, effort };
    let saved = store.update(true, |mapping, _| (save(mapping, name, &entry, &store.workspace), true));
    let (replaced, written) = match saved {
        Ok(updated) => (updated.value, true),
        Err(error) => {
            let error = Error::from(error).to_sentence();
            let advice = turn::adopt_hint(call, Some(name), &entry.id);
            Notes::loss(&format!("the session was started, but its name was not saved: {error}; {advice}"));
            (None, false)
        }
    };
    Ok(Created { entry, replaced, written, answer })
}

/// Saves an entry and tells what the name meant before, to whichever agent it belonged.
fn save(
    mapping: &mut crate::store::format::Mapping,
    name: &SessionName,
    entry: &Entry,
    workspace: &str,
) -> Option<String> {
    let others =
        Backend::ALL.into_iter().find_map(|backend| Some(format!("{} ({backend})", mapping.id_of(name, backend)?)));
    let old = mapping.get(name).map(|old| old.id.to_string()).or(others);
    mapping.insert(name, entry);
    mapping.set_workspace(workspace);
    old.filter(|old| old != entry.id.as_str())
}

/// The time as Python's `datetime.now(timezone.utc).isoformat()` writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

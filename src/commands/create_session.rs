//! `create-session`: starts a session, or takes one that is there, and saves it under a name.

use crate::backend::OutputMode;
use crate::cli::{self, IfExists};
use crate::context::{Context, Workspace};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::sessions::lock::lock_name;
use crate::sessions::selector::{SessionSelector, required_name, session_id};
use crate::store::Store;
use crate::store::format::Entry;
use crate::turn::options::TurnOptions;
use crate::turn::outcome::finished;
use crate::turn::prompt::{self, Prompt};
use crate::turn::runner::TurnRunner;
use crate::turn::start::{NewSession, now, save, start_session};
use crate::ui::json::JsonObject;
use crate::ui::{print, print_object};

pub(super) fn run(context: &Context, options: &cli::CreateSession) -> Result<()> {
    let name = required_name(&options.name)?;
    let subject = SessionSelector { name: Some(name.clone()), id: None };
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = TurnOptions::new(context, &store, &workspace, &options.call, OutputMode::Json)?;
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
    call: TurnOptions,
}

impl Creation<'_> {
    /// Saves an id. Nothing is paid, so a mapping that cannot be written is an error.
    fn adopt(&self, id: AgentSessionId) -> Result<()> {
        prompt::role(self.options.role_definition_md.as_deref(), self.call.deadline)?; // a wrong one is told all the same
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
        let role = prompt::role(self.options.role_definition_md.as_deref(), self.call.deadline)?;
        let _name = lock_name(&self.store, &self.name, true)?;
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
        let request = Prompt::text(
            prompt.map_or_else(|| (self.call.agent.backend.spec().default_prompt)(&self.name), str::to_owned),
        );
        let request = if self.call.stdin { request.with_stdin(self.call.deadline)? } else { request };
        let caller = TurnRunner::new(&self.call, self.context.notes)?;
        let beginning = NewSession {
            name: &self.name,
            form: OutputMode::Json,
            request: &request,
            role: role.as_deref(),
            history: None,
        };
        let created = start_session(&caller, &self.store, &beginning)?;
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
        Error::new(ErrorKind::SessionExists, told)
            .with_session_id(old.map(|old| old.id.clone()))
            .with_hint("use another name, or overwrite this one with --if-exists overwrite")
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
        let object = JsonObject::new()
            .with("alias", self.name.as_str())
            .with(backend.id_key(), entry.id.as_str())
            .with("workspace_dir", self.workspace.text())
            .with("created_at", entry.created_at.as_deref())
            .with("last_model", entry.model.as_deref());
        let object = if backend.capabilities().effort {
            object.with("last_reasoning_effort", entry.effort.as_deref())
        } else {
            object
        };
        print_object(
            &object.with("mapping_file", self.store.path().display().to_string()).with("mapping_file_written", written),
        )
    }
}

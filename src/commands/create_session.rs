//! `create-session`: starts a session, or adopts an existing one, and saves it under a name.

use crate::backend::OutputMode;
use crate::cli::{self, IfExists};
use crate::context::{Context, Workspace};
use crate::error::{Error, Result};
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::sessions::conflict::name_taken;
use crate::sessions::lock::lock_name;
use crate::sessions::selector::{SessionSelector, required_name, session_id};
use crate::store::Store;
use crate::store::format::Entry;
use crate::time::now;
use crate::turn::files_in_use::FilesInUse;
use crate::turn::options::TurnOptions;
use crate::turn::outcome::finish_call;
use crate::turn::prompt::{self, Prompt};
use crate::turn::resume::CompletedTurn;
use crate::turn::runner::TurnRunner;
use crate::turn::start::{NewSession, note_replaced, save, start_session};
use crate::ui::json::JsonObject;

pub(super) fn run(context: &Context, options: &cli::CreateSession) -> Result<()> {
    let name = required_name(&options.name)?;
    if options.print_result && options.if_exists == IfExists::Reuse {
        return Err(Error::usage("--print-result cannot be used with --if-exists reuse, which may start no turn")
            .with_hint("use resume-json --if-missing create --print-result"));
    }
    if options.detach.detach && (options.adopt.is_some() || options.if_exists == IfExists::Reuse) {
        let other = if options.adopt.is_some() { "--adopt" } else { "--if-exists reuse" };
        return Err(Error::usage(format!("--detach cannot be used with {other}, which may start no turn"))
            .with_hint("use resume-json --if-missing create --detach"));
    }
    if options.call.schema.is_some() {
        if options.adopt.is_some() || options.init_prompt.as_deref().is_none_or(is_blank) {
            return Err(Error::usage("--schema needs --init-prompt, because it is for the first answer")
                .with_hint("add --init-prompt TEXT, or give --schema to a later turn"));
        }
        if options.if_exists == IfExists::Reuse {
            return Err(Error::usage("--schema cannot be used with --if-exists reuse, which may start no turn")
                .with_hint("use resume-json --if-missing create --schema"));
        }
    }
    let subject = SessionSelector { name: Some(name.clone()), id: None };
    let backend = context.backend_to_create(&options.place, &subject)?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = TurnOptions::new(context, &store, &workspace, &options.call, OutputMode::Json, None, false)?;
    store.deadline = call.deadline;
    let role_file = ("the file of --role-definition-md", options.role_definition_md.as_deref());
    FilesInUse::of(&call, &[role_file]).refuse_summary(&options.call, &store)?;
    if options.session_id.is_some() {
        context.ui.warn("--session-id is ignored here; use --adopt ID to save an existing session");
    }
    if options.adopt.is_some() && options.init_prompt.is_some() {
        context.ui.warn("--init-prompt is ignored here, because --adopt calls no agent");
    }
    if options.adopt.is_some() && options.role_definition_md.is_some() && backend.capabilities().system_prompt {
        context.ui.warn("--role-definition-md is ignored here, because --adopt calls no agent");
    }
    let creation = Creation { context, options, name, store, workspace, call };
    let adopted = match options.adopt.as_deref() {
        Some(text) => {
            let id = session_id(text)?.ok_or_else(|| Error::usage("--adopt is blank"))?;
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
    /// Saves an existing ID. There was no turn to lose, so an unwritable mapping is an error.
    fn adopt(&self, id: AgentSessionId) -> Result<()> {
        prompt::read_role(self.options.role_definition_md.as_deref(), self.call.deadline)?; // only to report an unreadable file
        let entry = self.entry(id);
        let if_exists = self.options.if_exists;
        let saved = self.store.update(true, |mapping, _| match mapping.get(&self.name) {
            old if if_exists != IfExists::Overwrite && mapping.contains(&self.name) => (Err(old), false),
            _ => (Ok(save(mapping, &self.name, &entry, &self.store.workspace)), true),
        })?;
        match saved.value {
            Ok(old) => {
                note_replaced(&self.context.ui, &self.name, old.as_deref());
                self.print(&entry, true)
            }
            Err(Some(old)) if if_exists == IfExists::Reuse => self.keep(&old),
            Err(old) => Err(self.name_taken(old.as_ref())),
        }
    }

    fn start(&self) -> Result<()> {
        let role = prompt::read_role(self.options.role_definition_md.as_deref(), self.call.deadline)?;
        let mut prompt = None;
        if self.existing()?.is_none() {
            self.call.check_agent(&self.context.ui)?;
            self.store.prepare()?; // before a wait, and again after it
            let prompt = prompt.insert(self.prompt()?);
            self.call.recorder.update(|turn| turn.set_session(Some(&self.name), None));
            self.call.open_record(&self.workspace.resolved, &prompt.bytes, &self.context.ui)?;
        }
        let _name =
            lock_name(&self.store, &self.name, true, &self.call.recorder, || self.call.accept(&self.context.ui))?;
        self.store.prepare()?;
        if let Some(old) = self.existing()? {
            return self.keep(&old);
        }
        let prompt = prompt.map_or_else(|| self.prompt(), Ok)?; // the name may have been removed during the wait
        let caller = TurnRunner::new(&self.call, &self.context.ui)?;
        let beginning = NewSession {
            name: &self.name,
            mode: OutputMode::Json,
            prompt: &prompt,
            role: role.as_deref(),
            history: None,
            overwrites: self.options.if_exists == IfExists::Overwrite,
        };
        let created = start_session(caller, &self.store, &beginning)?;
        created.note_replaced(&self.context.ui, &self.name);
        if !self.options.print_result {
            let printed = self.print(&created.entry, created.written);
            return finish_call(printed, created.output.rejected, &created.entry.id);
        }
        let done = CompletedTurn::created(&self.name, created, "created");
        let printed = done.print(&self.context.ui, &self.store, true, self.options.print_session_id);
        finish_call(printed, done.output.rejected, &done.session.id)
    }

    /// Returns the prompt of the first turn.
    fn prompt(&self) -> Result<Prompt> {
        let prompt = self.options.init_prompt.as_deref().filter(|prompt| !is_blank(prompt));
        let prompt = Prompt::text(
            prompt.map_or_else(|| (self.call.agent.backend.spec().default_prompt)(&self.name), str::to_owned),
        );
        if self.call.stdin { prompt.with_stdin(self.call.deadline) } else { Ok(prompt) }
    }

    /// Returns the session of that name if it is to be kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SessionExists`](crate::error::ErrorKind) if the name is taken and may not be replaced.
    fn existing(&self) -> Result<Option<Entry>> {
        let if_exists = self.options.if_exists;
        // an unreadable mapping counts as empty; writing to it reports the error
        let mapping = if if_exists == IfExists::Overwrite { None } else { self.store.read().ok().flatten() };
        let Some(mapping) = mapping.filter(|mapping| mapping.contains(&self.name)) else { return Ok(None) };
        match mapping.get(&self.name) {
            Some(old) if if_exists == IfExists::Reuse => Ok(Some(old)),
            old => Err(self.name_taken(old.as_ref())),
        }
    }

    fn entry(&self, id: AgentSessionId) -> Entry {
        let (model, effort) = (self.call.model.clone(), self.call.effort.clone());
        Entry {
            id,
            created_at: Some(now()),
            model,
            effort,
            first_turn_stopped: false,
            settings: self.call.settings_after(None),
        }
    }

    fn name_taken(&self, old: Option<&Entry>) -> Error {
        name_taken(self.call.agent.backend, &self.name, old.map(|old| old.id.clone()))
            .with_hint("choose another name, or replace the session with --if-exists overwrite")
    }

    /// Prints the session that exists, and stays as it is.
    fn keep(&self, entry: &Entry) -> Result<()> {
        if self.options.call.remember {
            let name = &self.name;
            self.context.ui.warn(&format!(
                "--remember has no effect, because the session '{name}' exists; to change its settings, use set-session"
            ));
        }
        self.print(entry, false)
    }

    fn print(&self, entry: &Entry, written: bool) -> Result<()> {
        let id = format!("{}\n", entry.id);
        let ui = &self.context.ui;
        if !self.options.print_mapping_json {
            return ui.print(&id);
        }
        if self.options.print_session_id {
            ui.print(&id)?;
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
        let object = object.with_stored_settings(entry.settings.as_deref());
        ui.print_json(
            &object.with("mapping_file", self.store.path().display().to_string()).with("mapping_file_written", written),
        )
    }
}

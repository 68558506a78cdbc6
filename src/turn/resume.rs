//! A turn that resumes a session, and the update of the mapping after it.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::files_in_use::FilesInUse;
use super::options::TurnOptions;
use super::outcome::{TurnOutput, finish_call};
use super::prompt::{Prompt, PromptSource, read_role};
use super::recovery_hint::adopt_hint;
use super::request::TurnRequest;
use super::runner::TurnRunner;
use super::start::{NewSession, StartedSession, start_session};
use super::update::SessionUpdate;
use crate::backend::{JsonOutput, OnNewId, OutputMode, SessionMode};
use crate::cli::{self, IfBusy, IfMissing};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::render::RenderOptions;
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::sessions::history::last_used;
use crate::sessions::lock::{lock_name, lock_session};
use crate::sessions::lookup::{StoredSession, find_by_name, find_session};
use crate::sessions::selector::SessionSelector;
use crate::sessions::suggest::found_above;
use crate::store::Store;
use crate::ui::Ui;
use crate::ui::output_file::{partial_path, with_output_file};

/// A completed turn, and the session that answered.
pub(crate) struct CompletedTurn {
    pub(crate) session: StoredSession,
    pub(crate) output: TurnOutput,
    /// The model and effort of the turn.
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<String>,
    /// Whether a schema was given.
    pub(crate) structured: bool,
    /// Set if the agent answered from another session ([`OnNewId::Lost`]).
    pub(crate) lost: Option<Error>,
}

impl CompletedTurn {
    /// Returns the first turn of a session. `source` is how the session was created.
    pub(crate) fn created(name: &SessionName, started: StartedSession, source: &str) -> Self {
        let StartedSession { entry, output, structured, .. } = started;
        let (model, effort) = (entry.model.clone(), entry.effort.clone());
        let session = StoredSession::created(name.clone(), entry, source);
        Self { session, output, model, effort, structured, lost: None }
    }

    /// Prints the complete answer, only its text or its JSON, or only the session ID.
    pub(crate) fn print(&self, ui: &Ui, store: &Store, result: bool, session_id: bool) -> Result<()> {
        let Self { session, output: TurnOutput { report, .. }, model, effort, structured, .. } = self;
        let answer = report.answer.as_deref().unwrap_or_default();
        if result || session_id {
            let answer = result.then(|| match &report.structured {
                Some(json) if *structured => format!("{json}\n"),
                _ if *structured && report.answer.is_none() => String::new(),
                _ => (store.backend.spec().printed_answer)(answer),
            });
            let id = session_id.then(|| format!("{}\n", session.id));
            ui.print(&[answer, id].into_iter().flatten().collect::<String>())
        } else if store.backend.capabilities().json_output == JsonOutput::PassThrough {
            ui.print_bytes(&report.whole)
        } else {
            let described = session.describe(store, model.as_deref(), effort.as_deref());
            ui.print_json(&described.with("event_count", report.lines).with("final_message", answer))
        }
    }
}

/// What the command line of a call that resumes a session asks for.
pub(crate) struct ResumeRequest<'a> {
    pub(crate) selector: SessionSelector,
    pub(crate) prompt: &'a cli::PromptArgs,
    pub(crate) options: &'a cli::ResumeOptions,
    /// Whether to start the session if its name cannot be found.
    pub(crate) create_missing: bool,
    pub(crate) mode: OutputMode,
    pub(crate) render: Option<RenderOptions>,
    /// Whether standard output has the ID of the session that answered.
    pub(crate) prints_id: bool,
}

impl<'a> ResumeRequest<'a> {
    /// Returns the request of a command that has all `args`.
    ///
    /// # Errors
    ///
    /// A usage error if they select no session.
    pub(crate) fn of(args: &'a cli::ResumeArgs, mode: OutputMode) -> Result<Self> {
        Ok(Self {
            selector: SessionSelector::of(&args.selector)?.required()?,
            prompt: &args.prompt,
            options: &args.options,
            create_missing: args.options.if_missing == IfMissing::Create,
            mode,
            render: None,
            prints_id: true,
        })
    }
}

/// A call that resumes a session.
pub(crate) struct ResumeCall {
    selector: SessionSelector,
    pub(crate) store: Store,
    /// The workspace's path, as resolved.
    workspace: PathBuf,
    options: TurnOptions,
    mode: OutputMode,
    prompt: Prompt,
    role: Option<String>,
    create_missing: bool,
    wait: bool,
    ui: Ui,
    /// Whether standard output contains the ID of the session that answered.
    prints_id: bool,
}

impl ResumeCall {
    /// Checks the options of a call and reads its prompt.
    ///
    /// # Errors
    ///
    /// A usage error for the options. [`ErrorKind::SessionNotFound`] for a missing name, before the prompt is read.
    pub(crate) fn new(context: &Context, ui: &Ui, request: ResumeRequest<'_>) -> Result<Self> {
        let ResumeRequest { selector, options: args, create_missing, mode, render, prints_id, .. } = request;
        if create_missing && selector.name.is_none() {
            return Err(Error::usage("--if-missing create needs a name").with_hint("add --session-name NAME"));
        }
        let creates = create_missing && selector.id.is_none();
        let backend = if creates {
            context.backend_to_create(&args.place, &selector)?
        } else {
            context.backend(&args.place, &selector)?
        };
        let (mut store, workspace) = context.store(backend, &args.place)?;
        // a missing session and an unreadable mapping are reported later
        let found = find_session(&store.silenced(), &selector).ok();
        let forgets = args.forget.forget_settings;
        let options = TurnOptions::new(context, &store, &workspace, &args.call, mode, found.as_ref(), forgets)?;
        let options = TurnOptions { render, ..options };
        let deadline = options.deadline;
        store.deadline = deadline;
        let output_file = args.output_file.as_deref().filter(|file| *file != Path::new("-"));
        let partial_file = output_file.map(partial_path);
        let mut inputs = vec![
            ("the prompt file", request.prompt.prompt_file.as_deref()),
            ("the file of --role-definition-md", args.role_definition_md.as_deref()),
            ("the file of --schema", args.call.schema.as_deref()),
        ];
        for file in output_file.into_iter().chain(partial_file.as_deref()) {
            FilesInUse::of(&options, &inputs).refuse("--output-file", file, &store)?;
        }
        inputs.extend([
            ("the file of --output-file", output_file),
            ("the file of --output-file", partial_file.as_deref()),
        ]);
        FilesInUse::of(&options, &inputs).refuse_summary(&args.call, &store)?;
        let source = PromptSource::of(request.prompt, options.stdin)?;
        if !creates {
            let session = find_session(&store, &selector)?;
            if args.call.remember && session.saved.is_none() {
                return Err(Error::usage(format!("--remember needs a name, and the session {} has none", session.id))
                    .with_hint("save it under a name with create-session --adopt, or remove --remember"));
            }
        }
        let role = read_role(args.role_definition_md.as_deref(), deadline)?;
        options.check_agent(ui)?;
        let prompt = source.read(deadline)?;
        let prompt = if options.stdin { prompt.with_stdin(deadline)? } else { prompt };
        let (wait, ui) = (args.if_busy == IfBusy::Wait, ui.clone());
        let workspace = workspace.resolved;
        Ok(Self { selector, store, workspace, options, mode, prompt, role, create_missing, wait, ui, prints_id })
    }

    /// Finds the session, locks it and runs the turn.
    pub(crate) fn run(&self) -> Result<CompletedTurn> {
        let recorder = &self.options.recorder;
        recorder.update(|turn| turn.set_session(self.selector.name.as_ref(), self.selector.id.as_ref()));
        self.options.open_record(&self.workspace, &self.prompt.bytes, &self.ui)?;
        let missing = self.selector.name.as_ref().filter(|_| self.create_missing && self.selector.id.is_none());
        let (session, _lock) = loop {
            if let Some(name) = missing
                && let Some(created) = self.create_if_missing(name)?
            {
                return Ok(created);
            }
            let session_key = |id: &AgentSessionId| self.options.session_key(id);
            let accept = || self.options.accept(&self.ui);
            match lock_session(&self.store, &self.selector, session_key, &self.ui, self.wait, recorder, accept) {
                // the name was removed while this call waited
                Err(error) if error.kind == ErrorKind::SessionNotFound && missing.is_some() => {}
                locked => break locked?,
            }
        };
        self.options.recorder.update(|turn| turn.source = Some(session.source().to_owned()));
        if !self.options.forgets && session.settings() != self.options.stored_settings.as_deref() {
            self.ui.note("the stored settings were changed while this call waited; it uses those from before");
        }
        let model_and_effort = self.options.model_and_effort(Some(&session));
        let kept_role = session.role(&self.store)?;
        let outcome = TurnRunner::new(&self.options, &self.ui)?.run(&TurnRequest {
            session: SessionMode::Resume(&session.id),
            saved: Some(&session.id),
            new_id: None,
            may_be_missing: session.may_be_missing(),
            name: session.saved.as_ref().map(|(name, _)| name),
            mode: self.mode,
            prompt: &self.prompt,
            role: self.role.as_deref().or(kept_role.as_deref()),
            model_and_effort,
            locks: &[self.options.session_key(&session.id).handed_down()],
            wait: self.wait,
        });
        let update = |new_id, (model, effort), stopped| SessionUpdate {
            options: &self.options,
            session: &session,
            new_id,
            model,
            effort,
            stopped,
            prints_id: self.prints_id,
        };
        let output = match outcome {
            Ok(output) => output,
            Err(error) => {
                let started = error.turn.session_id.as_ref().filter(|id| !session.id.is_reported_as(id.as_str()));
                if let Some(id) = started.filter(|_| session.may_be_missing() && error.is_stopped_turn()) {
                    update(Some(id.clone()), model_and_effort.names(), true).save(&self.store, &self.ui);
                }
                return Err(error);
            }
        };
        let (model, effort) = model_and_effort.in_force(&output);
        let reported = output.report.reported_id.as_deref().filter(|reported| !is_blank(reported));
        // printed even if it differs only in case
        let printed_id = reported.and_then(|reported| AgentSessionId::new(reported).ok());
        let other = reported.filter(|reported| !session.id.is_reported_as(reported));
        let lost = other.filter(|_| self.options.agent.backend.capabilities().on_new_id == OnNewId::Lost);
        let lost = lost.filter(|_| !session.may_be_missing());
        let lost = lost.map(|reported| self.session_lost(&session, reported, output.report.verdict.clone()));
        if lost.is_none() {
            let new_id = other.and_then(|reported| self.usable_id(reported));
            update(new_id, (model.clone(), effort.clone()), false).save(&self.store, &self.ui);
        }
        let structured = self.options.schema.is_some();
        Ok(CompletedTurn { session: session.answered_as(printed_id), output, model, effort, structured, lost })
    }

    /// Starts the session if none has the name. One of several concurrent calls starts it. The others wait here, and then
    /// find it.
    fn create_if_missing(&self, name: &SessionName) -> Result<Option<CompletedTurn>> {
        if find_by_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        self.store.prepare()?; // before a wait, and again after it
        let _lock = lock_name(&self.store, name, self.wait, &self.options.recorder, || self.options.accept(&self.ui))?;
        if find_by_name(&self.store, name)?.is_ok() {
            return Ok(None);
        }
        self.store.prepare()?;
        let runner = TurnRunner::new(&self.options, &self.ui)?;
        // a caller that expected the session may have another workspace or TMPDIR
        let (backend, file) = (self.store.backend, self.store.path().display());
        self.ui.note(&format!("no {backend} session is named '{name}' in {file}; starting a new session"));
        let workspace = Path::new(&self.store.workspace);
        if let Some(hint) = last_used(&[backend], &self.store.location, workspace, name) {
            self.ui.note(&hint);
        } else if let Some(above) = found_above(&[backend], workspace, name, &self.ui) {
            self.ui.note(&format!("to resume an existing session instead, {above}"));
        }
        let (prompt, role) = (&self.prompt, self.role.as_deref());
        let new = NewSession { name, mode: self.mode, prompt, role, history: None, overwrites: false };
        let started = start_session(runner, &self.store, &new)?;
        started.note_replaced(&self.ui, name);
        Ok(Some(CompletedTurn::created(name, started, "created")))
    }

    fn session_lost(&self, session: &StoredSession, reported: &str, verdict: Option<Box<RawValue>>) -> Error {
        let backend = self.options.agent.backend;
        let id = AgentSessionId::new(reported).ok();
        let name = session.saved.as_ref().map(|(name, _)| name);
        let error = Error::new(
            ErrorKind::SessionLost,
            format!("{backend} cannot find the session {} and answered from a new one, {reported}", session.id),
        )
        .with_turn_started()
        .with_prompt_in_history(Some(true)) // of the session that answered
        .with_agent_exit_status(Some(0))
        .with_session_id(id.clone())
        .with_verdict(verdict);
        match id {
            Some(id) => error.with_hint(adopt_hint(&self.options, name, &id)),
            None => error,
        }
    }

    /// Returns a new ID that the agent reported, unless it cannot be used.
    fn usable_id(&self, reported: &str) -> Option<AgentSessionId> {
        AgentSessionId::new(reported)
            .map_err(|why| {
                let backend = self.options.agent.backend;
                let warning = format!("{backend} reported a session ID that {why}; it is not saved: {reported}");
                self.ui.warn_always(&warning);
            })
            .ok()
    }
}

/// Runs the turn of `request`, and prints the answer as [`CompletedTurn::print`] does.
///
/// # Errors
///
/// Those of [`ResumeCall::new`], of the turn, and of printing.
pub(crate) fn resume_and_print(
    context: &Context,
    request: ResumeRequest<'_>,
    result: bool,
    session_id: bool,
) -> Result<()> {
    with_output_file(&context.ui, request.options.output_file.as_deref(), |ui| {
        let call = ResumeCall::new(context, ui, request)?;
        let turn = call.run()?;
        let printed = turn.print(ui, &call.store, result, session_id);
        turn.lost.map_or_else(|| finish_call(printed, turn.output.rejected, &turn.session.id), Err)
    })
}

//! The options of a turn. They are checked first, so that a mistake in them does not cost a turn.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::duration::duration;
use super::outcome::TurnOutput;
use super::runner::fits_argument;
use super::structured::AnswerSchema;
use crate::agent::command::AgentCommand;
use crate::backend::{Backend, BackendArgs, Model, OutputMode, SchemaChannel};
use crate::cli::{self, FailOn};
use crate::context::{Context, Workspace};
use crate::env;
use crate::error::{Error, ErrorKind, Result, io_message};
use crate::late_signal;
use crate::lock::Key;
use crate::paths;
use crate::process;
use crate::records::recorder::TurnRecorder;
use crate::render::RenderOptions;
use crate::session::{AgentSessionId, trim};
use crate::sessions::lock::{agent_home, interrupted, session_key};
use crate::sessions::lookup::StoredSession;
use crate::sessions::settings::{self, Remembered};
use crate::store::Store;
use crate::store::location::MappingLocation;
use crate::store::settings::StoredSettings;
use crate::ui::Ui;

/// The checked options of a turn.
pub(crate) struct TurnOptions {
    pub(crate) agent: AgentCommand,
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<String>,
    pub(crate) args: BackendArgs,
    pub(crate) extra: Vec<OsString>,
    pub(crate) deadline: Option<Instant>,
    /// The time from the start of the call to the deadline, for messages.
    pub(crate) deadline_limit: Option<Duration>,
    /// The stall timeout.
    pub(crate) stall: Option<Duration>,
    /// The number of retries after temporary failures.
    pub(crate) retries: u32,
    /// What the call does not accept of a complete turn.
    pub(crate) fail_on: Vec<FailOn>,
    /// Whether standard input is added to the prompt.
    pub(crate) stdin: bool,
    /// The schema of the answer.
    pub(crate) schema: Option<AnswerSchema>,
    /// The directory that the agent runs in. `None` means the current directory.
    pub(crate) dir: Option<PathBuf>,
    /// The options that select the mapping from any directory, for hints.
    pub(crate) location_args: Vec<String>,
    /// How the turn is rendered while it runs. `None` means that it is not rendered.
    pub(crate) render: Option<RenderOptions>,
    /// Whether the answer is needed even if the output is only passed through.
    pub(crate) keeps_answer: bool,
    pub(crate) recorder: TurnRecorder,
    /// Whether the model, the effort and the settings that the name keeps are ignored.
    pub(crate) forgets: bool,
    /// The settings in force, stored and given.
    pub(crate) in_force: StoredSettings,
    /// The stored settings that are used, as JSON.
    pub(crate) stored_settings: Option<String>,
    /// What the turn adds to them.
    pub(crate) remembered: Option<Remembered>,
}

/// The model and effort of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelAndEffort<'a> {
    pub(crate) model: Option<Model<'a>>,
    pub(crate) effort: Option<&'a str>,
}

impl ModelAndEffort<'_> {
    /// Returns the names of the model and the effort.
    pub(crate) fn names(self) -> (Option<String>, Option<String>) {
        (self.model.map(|model| model.name.to_owned()), self.effort.map(str::to_owned))
    }

    /// Returns the names of the model and the effort that the agent used for `output`.
    pub(super) fn in_force(self, output: &TurnOutput) -> (Option<String>, Option<String>) {
        let effort = self.effort.filter(|_| !output.effort_ignored);
        (self.model.map(|model| model.name.to_owned()), effort.map(str::to_owned))
    }
}

impl TurnOptions {
    /// Checks the options, and reads the environment file if there is one. `session` is the session to resume or fork,
    /// if it was found. Its stored settings are used, unless the call `forgets` them.
    ///
    /// # Errors
    ///
    /// A usage error that names the option. [`ErrorKind::MappingUnsafe`] or [`ErrorKind::MappingInvalid`] if the stored
    /// settings cannot be used.
    pub(crate) fn new(
        context: &Context,
        store: &Store,
        workspace: &Workspace,
        options: &cli::CallArgs,
        mode: OutputMode,
        session: Option<&StoredSession>,
        forgets: bool,
    ) -> Result<Self> {
        let backend = store.backend;
        context.turn.update(|turn| {
            turn.record.backend = Some(backend.name().to_owned());
            turn.record.workspace_dir = Some(workspace.text().to_owned());
            turn.record.mapping_file = Some(store.path().display().to_string());
        });
        let deadline =
            options.deadline_seconds.as_deref().map(|text| duration("--deadline-seconds", text)).transpose()?;
        let stall = options.stall_seconds.as_deref().map(|text| duration("--stall-seconds", text)).transpose()?;
        if stall.is_some() && mode == OutputMode::Json && !backend.capabilities().events_in_json_mode {
            return Err(Error::usage(format!(
                "--stall-seconds cannot be used here: {backend} prints nothing before its answer"
            ))
            .with_hint("use resume-stream, or --deadline-seconds"));
        }
        let deadline_limit = deadline;
        let deadline = deadline.and_then(|limit| context.started.checked_add(limit)); // ignored if it overflows the clock
        if let Some(deadline) = deadline {
            context.ui.set_deadline(deadline);
        }
        let session = session.filter(|_| !forgets);
        let stored = session.map(|session| settings::stored(store, session)).transpose()?.flatten();
        let unlimited = Self::without_limits(store, workspace, &options.settings, stored.as_ref(), deadline)?;
        let in_force = Some(&unlimited.in_force).filter(|settings| !settings.is_empty());
        context.turn.update(|turn| turn.record.settings = in_force.and_then(|it| serde_json::to_value(it).ok()));
        let remembered =
            options.remember.then(|| settings::remembered(store, &options.settings, forgets)).transpose()?;
        let schema = AnswerSchema::read(options.schema.as_deref(), deadline)?;
        if schema.is_some() {
            refuse_with_schema(backend, mode, &options.settings.extra)?;
        }
        Ok(Self {
            deadline,
            deadline_limit,
            stall,
            retries: options.retry.unwrap_or_default(),
            fail_on: options.fail_on.clone(),
            stdin: options.stdin,
            schema,
            keeps_answer: options.summary_file.is_some(),
            recorder: context.turn.clone(),
            forgets,
            stored_settings: session.and_then(StoredSession::settings).map(str::to_owned),
            remembered,
            ..unlimited
        })
    }

    /// Checks the options that also an interactive session has, with the settings that are `stored`. The environment file
    /// is read until `deadline`.
    ///
    /// # Errors
    ///
    /// A usage error that names the option.
    pub(crate) fn without_limits(
        store: &Store,
        workspace: &Workspace,
        given: &cli::SettingsArgs,
        stored: Option<&StoredSettings>,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let backend = store.backend;
        if let Some(stored) = stored {
            let arguments: Vec<OsString> = stored.arguments.iter().map(OsString::from).collect();
            // another release may have allowed them
            refuse_arguments(backend, &arguments).map_err(|error| settings::unusable(&error.message))?;
        }
        let merged = stored.map(|stored| settings::apply(&store.ui, backend, stored, given)).transpose()?;
        let options = merged.as_ref().unwrap_or(given);
        let model = not_blank("--model", options.model.as_deref())?;
        let effort = not_blank("--reasoning-effort", options.reasoning_effort.as_deref())?;
        refuse_arguments(backend, &options.extra)?;
        if workspace.given && !workspace.resolved.is_dir() {
            return Err(Error::usage(format!("--workspace-dir {} is not a directory", workspace.shown)));
        }
        let in_force = settings::in_force(backend, options);
        let mut args = options.backend.clone();
        if workspace.given {
            args.make_absolute(&paths::current_dir()?); // because the agent runs in another directory
        }
        Ok(Self {
            agent: AgentCommand::new(backend, &options.agent, deadline).map_err(|error| {
                // only the file can be wrong with the stored settings alone
                if given.agent.env_file.is_none() && error.hint.is_none() && in_force.env_file.is_some() {
                    error.with_hint("the path is a stored setting; to change it, use set-session --env-file FILE, or --unset env-file")
                } else {
                    error
                }
            })?,
            model,
            effort,
            args,
            extra: options.extra.clone(),
            deadline: None,
            deadline_limit: None,
            stall: None,
            retries: 0,
            fail_on: Vec::new(),
            stdin: false,
            schema: None,
            dir: workspace.given.then(|| workspace.resolved.clone()),
            location_args: location_args(store, workspace),
            render: None,
            keeps_answer: false,
            recorder: TurnRecorder::default(),
            forgets: false,
            in_force,
            stored_settings: None,
            remembered: None,
        })
    }

    /// Makes every check of the agent that needs no lock, so that a call does not wait in vain.
    ///
    /// # Errors
    ///
    /// Those of finding the program; a usage error for arguments that a shell cannot pass.
    pub(crate) fn check_agent(&self, ui: &Ui) -> Result<()> {
        let program = self.agent.program(self.dir.as_deref())?;
        if let (Some(schema), SchemaChannel::Argument) = (&self.schema, self.agent.backend.capabilities().schema)
            && !fits_argument(&self.agent, &program, &schema.text)
        {
            let (length, backend) = (schema.text.len(), self.agent.backend);
            return Err(Error::usage(format!(
                "the schema is too long for {backend}, which receives it as an argument"
            ))
            .caused_by(format!("it has {length} bytes, or characters that a batch file cannot receive"))
            .with_hint("remove descriptions, and use $ref for what is repeated"));
        }
        self.agent.launcher.arguments(self.extra.clone())?;
        for (option, file) in self.args.files() {
            // only a warning, because the agent may run where other files are
            if let Err(error) = std::fs::metadata(file) {
                let why = io_message(&error);
                ui.warn(&format!("cannot read {option} {}: {why}; the agent may answer without it", file.display()));
            }
        }
        Ok(())
    }

    /// Creates the record of the turn. A signal is kept from now on, until the agent runs, so that it leaves a verdict.
    ///
    /// # Errors
    ///
    /// See [`TurnRecorder::open`].
    pub(crate) fn open_record(&self, workspace: &Path, prompt: &[u8], ui: &Ui) -> Result<()> {
        process::keep_next_signal()
            .map_err(|error| Error::new(ErrorKind::Io, "cannot handle signals").with_io_cause(&error))?;
        self.recorder.open(workspace, prompt, ui)
    }

    /// Accepts the turn, which has its place in the queue of its session: the caller of a detached turn continues.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`] if a signal was kept. Otherwise see [`TurnRecorder::accept`].
    pub(crate) fn accept(&self, ui: &Ui) -> Result<()> {
        if let Some(signal) = late_signal::get() {
            return Err(interrupted(signal, &format!("before {} was started", self.agent.backend)));
        }
        self.recorder.accept(ui)
    }

    /// Returns the variables to set for the agent. `locks`: what this call holds ([`Key::handed_down`]).
    pub(crate) fn variables(&self, locks: &[String]) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> =
            self.agent.variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
        if !locks.is_empty() {
            let above = env::var(env::HELD_LOCKS).ok().flatten();
            let all: Vec<String> = above.into_iter().chain(locks.iter().cloned()).collect();
            variables.push((env::HELD_LOCKS.into(), all.join(",").into()));
        }
        variables
    }

    /// Returns the model and effort of a turn in `stored`: those of the options, else those used last. `None` if the
    /// agent's own options select one.
    pub(crate) fn model_and_effort<'a>(&'a self, stored: Option<&'a StoredSession>) -> ModelAndEffort<'a> {
        let stored = stored.filter(|_| !self.forgets);
        let (model_selected, effort_selected) = settings::select_model_and_effort(self.agent.backend, &self.in_force);
        let remembered = stored.and_then(StoredSession::model).filter(|_| self.model.is_none() && !model_selected);
        let model = self.model.as_deref().or(remembered);
        ModelAndEffort {
            model: model.map(|name| Model { name, remembered: remembered.is_some() }),
            effort: self.effort.as_deref().or(stored.and_then(StoredSession::effort).filter(|_| !effort_selected)),
        }
    }

    /// Returns the settings to store in an entry that has `stored`.
    pub(crate) fn settings_after(&self, stored: Option<&str>) -> Option<String> {
        match &self.remembered {
            Some(remembered) => remembered.added_to(self.agent.backend, stored),
            None => stored.map(str::to_owned),
        }
    }

    /// Returns the key of the lock for a session.
    pub(crate) fn session_key(&self, id: &AgentSessionId) -> Key {
        session_key(self.agent.backend, &self.agent_home(), id)
    }

    /// Returns where the agent keeps its sessions.
    pub(crate) fn agent_home(&self) -> PathBuf {
        agent_home(self.agent.backend, |name| self.agent.variable(name), self.dir.as_deref())
    }
}

/// Returns the options that select the mapping from any directory.
fn location_args(store: &Store, workspace: &Workspace) -> Vec<String> {
    let file = match &store.location {
        MappingLocation::Explicit { resolved, .. } => Some(format!("--mapping-file={}", resolved.display())),
        MappingLocation::Default { .. } => None,
    };
    let dir = workspace.given.then(|| format!("--workspace-dir={}", workspace.text()));
    file.into_iter().chain(dir).collect()
}

/// Returns the trimmed value of an option that must not be blank.
fn not_blank(option: &str, value: Option<&str>) -> Result<Option<String>> {
    match value.map(trim) {
        Some("") => Err(Error::usage(format!("{option} is blank")).with_hint("pass a value, or remove the option")),
        value => Ok(value.map(str::to_owned)),
    }
}

/// Fails if a call with a schema has no single answer, or passes another schema.
fn refuse_with_schema(backend: Backend, mode: OutputMode, extra: &[OsString]) -> Result<()> {
    if matches!(mode, OutputMode::Stream { .. }) {
        return Err(Error::usage("--schema cannot be used with events").with_hint("add --print-result"));
    }
    let own = backend.spec().schema_option;
    let is_own = |argument: &&OsString| argument.to_str().and_then(|text| text.split('=').next()) == Some(own);
    match extra.iter().find(is_own) {
        Some(_) => Err(Error::usage(format!("--schema and {own} are both given")).with_hint("remove one of them")),
        None => Ok(()),
    }
}

fn refuse_arguments(backend: Backend, extra: &[OsString]) -> Result<()> {
    let words: Vec<Option<&str>> = extra.iter().map(|argument| argument.to_str()).collect();
    let previous = std::iter::once(None).chain(words.iter().copied());
    let refused = words
        .iter()
        .zip(previous)
        .find(|(word, previous)| word.is_some_and(|word| backend.is_reserved_arg(*previous, word)));
    match refused.and_then(|(word, _)| *word) {
        Some(argument) => Err(Error::usage(format!("{argument} cannot be passed to {backend} after '--'"))
            .caused_by("it would change the session or the output format")
            .with_hint("remove it; this program passes it when it is needed")),
        None => Ok(()),
    }
}

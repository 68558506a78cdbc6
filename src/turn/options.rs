//! The options of a turn, checked before anything is done: a mistake in them costs no turn.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::agent::command::AgentCommand;
use crate::backend::{Backend, BackendArgs, Model, OutputMode};
use crate::cli;
use crate::context::{Context, Workspace};
use crate::env;
use crate::error::{Error, Result};
use crate::lock::Key;
use crate::paths;
use crate::render::RenderOptions;
use crate::session::{AgentSessionId, trim};
use crate::sessions::lookup::StoredSession;
use crate::store::Store;
use crate::store::location::MappingLocation;

/// How an agent is called for a turn.
pub(crate) struct TurnOptions {
    pub(crate) agent: AgentCommand,
    pub(crate) model: Option<String>,
    pub(crate) effort: Option<String>,
    pub(crate) args: BackendArgs,
    pub(crate) extra: Vec<OsString>,
    pub(crate) deadline: Option<Instant>,
    /// How long the agent may print nothing.
    pub(crate) stall: Option<Duration>,
    /// Whether standard input is added to the prompt.
    pub(crate) stdin: bool,
    /// The directory in which the agent runs; `None`: the current one.
    pub(crate) dir: Option<PathBuf>,
    /// The options that name the mapping from any directory, for hints.
    pub(crate) location_args: Vec<String>,
    /// How the turn is rendered while it runs; `None`: it is not.
    pub(crate) render: Option<RenderOptions>,
}

/// The model and effort of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) model: Option<Model<'a>>,
    pub(crate) effort: Option<&'a str>,
}

impl Settings<'_> {
    /// Returns the names of the model and the effort.
    pub(crate) fn to_owned(self) -> (Option<String>, Option<String>) {
        (self.model.map(|model| model.name.to_owned()), self.effort.map(str::to_owned))
    }
}

impl TurnOptions {
    /// Checks the options, and reads the environment file if there is one.
    ///
    /// # Errors
    ///
    /// A usage error that names the option.
    pub(crate) fn new(
        context: &Context,
        store: &Store,
        workspace: &Workspace,
        options: &cli::CallArgs,
        mode: OutputMode,
    ) -> Result<Self> {
        let backend = store.backend;
        let deadline =
            options.deadline_seconds.as_deref().map(|text| seconds("--deadline-seconds", text)).transpose()?;
        let stall = options.stall_seconds.as_deref().map(|text| seconds("--stall-seconds", text)).transpose()?;
        if stall.is_some() && mode == OutputMode::Json && !backend.capabilities().events_in_json_mode {
            return Err(Error::usage(format!(
                "--stall-seconds cannot be used here: {backend} prints nothing before its answer"
            ))
            .with_hint("use resume-stream, or --deadline-seconds"));
        }
        let deadline = deadline.and_then(|limit| context.started.checked_add(limit)); // one that is too far off never comes
        if let Some(deadline) = deadline {
            context.ui.set_deadline(deadline);
        }
        let unlimited = Self::without_limits(store, workspace, &options.settings, deadline)?;
        Ok(Self { deadline, stall, stdin: options.stdin, ..unlimited })
    }

    /// Checks the options that also an interactive session has. The environment file is read until `deadline`.
    ///
    /// # Errors
    ///
    /// A usage error that names the option.
    pub(crate) fn without_limits(
        store: &Store,
        workspace: &Workspace,
        options: &cli::SettingsArgs,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let backend = store.backend;
        let model = not_blank("--model", options.model.as_deref())?;
        let effort = not_blank("--reasoning-effort", options.reasoning_effort.as_deref())?;
        refuse_arguments(backend, &options.extra)?;
        if workspace.given && !workspace.resolved.is_dir() {
            return Err(Error::usage(format!("--workspace-dir {} is not a directory", workspace.shown)));
        }
        let mut args = options.backend.clone();
        if workspace.given {
            args.make_absolute(&paths::current_dir()?); // the caller's paths, while the agent runs elsewhere
        }
        Ok(Self {
            agent: AgentCommand::new(backend, &options.agent, deadline)?,
            model,
            effort,
            args,
            extra: options.extra.clone(),
            deadline: None,
            stall: None,
            stdin: false,
            dir: workspace.given.then(|| workspace.resolved.clone()),
            location_args: location_args(store, workspace),
            render: None,
        })
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

    /// Returns the model and effort of a turn in `stored`: those of the options, else those used last.
    pub(crate) fn settings<'a>(&'a self, stored: Option<&'a StoredSession>) -> Settings<'a> {
        let remembered = stored.and_then(StoredSession::model).filter(|_| self.model.is_none());
        let model = self.model.as_deref().or(remembered);
        Settings {
            model: model.map(|name| Model { name, remembered: remembered.is_some() }),
            effort: self.effort.as_deref().or(stored.and_then(StoredSession::effort)),
        }
    }

    /// Returns the key of the lock for a session. The same ID in another home of the agent is another session.
    pub(crate) fn session_key(&self, id: &AgentSessionId) -> Key {
        let backend = self.agent.backend;
        let home = backend.spec().home.find(|name| self.agent.variable(name), env::account_home).unwrap_or_default();
        let home = self.dir.as_deref().map_or(home.clone(), |dir| dir.join(home));
        let home = paths::resolve(&home).unwrap_or(home);
        let id = id.as_str().to_ascii_lowercase(); // a UUID in upper case is the same session
        Key::new(&[b"session", backend.name().as_bytes(), home.as_os_str().as_encoded_bytes(), id.as_bytes()])
    }
}

/// Returns the options that name the mapping from any directory.
fn location_args(store: &Store, workspace: &Workspace) -> Vec<String> {
    let file = match &store.location {
        MappingLocation::Explicit { resolved, .. } => Some(format!("--mapping-file={}", resolved.display())),
        MappingLocation::Default { .. } => None,
    };
    let dir = workspace.given.then(|| format!("--workspace-dir={}", workspace.text()));
    file.into_iter().chain(dir).collect()
}

/// Parses seconds as the original did: anything that Python's `float` reads, finite and above 0.
fn seconds(option: &str, text: &str) -> Result<Duration> {
    // Python takes single underscores between digits
    let digits = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| at > 0 && digits(at - 1) && digits(at + 1);
    let plain: String = text.char_indices().filter(|&(at, c)| c != '_' || !separates(at)).map(|(_, c)| c).collect();
    let number: Option<f64> = trim(&plain).parse().ok();
    match number {
        Some(seconds) if seconds.is_finite() && seconds > 0.0 => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        _ => Err(Error::usage(format!("{option} {text} is not a number of seconds above 0"))),
    }
}

/// Returns the trimmed value of an option that must not be blank.
fn not_blank(option: &str, value: Option<&str>) -> Result<Option<String>> {
    match value.map(trim) {
        Some("") => Err(Error::usage(format!("{option} is blank")).with_hint("give a value, or leave the option out")),
        value => Ok(value.map(str::to_owned)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_finite_and_above_zero() {
        assert_eq!(seconds("--x", " 1.5 ").unwrap(), Duration::from_millis(1500));
        assert_eq!(seconds("--x", "1_0.5").unwrap(), Duration::from_millis(10_500));
        assert_eq!(seconds("--x", "1e300").unwrap(), Duration::MAX);
        for bad in ["0", "-1", "nan", "inf", "x", "", "-0", "_1", "1__0", "1_"] {
            assert!(seconds("--x", bad).is_err(), "{bad}");
        }
    }
}

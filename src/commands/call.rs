//! The options of a call, checked before anything is done: what is wrong with them costs no turn.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Context, Workspace};
use crate::backend::codex::{ExecOptions, FullAuto};
use crate::backend::{Backend, Form};
use crate::cli;
use crate::env as environment;
use crate::error::{Error, Kind, Result};
use crate::input;
use crate::launcher::{self, Launcher, ShellKind};
use crate::lock;
use crate::session::{AgentSessionId, is_blank, trim};
use crate::stdio;
use crate::store::Store;
use crate::store::location::{self, Place};

/// Where programs are looked for when there is no PATH (Python's `os.defpath`).
const DEFAULT_PATH: &str = if cfg!(windows) { r".;C:\bin" } else { "/bin:/usr/bin" };

/// How an agent is to be called.
pub(super) struct AgentCall {
    pub(super) backend: Backend,
    pub(super) launcher: Launcher,
    /// Variables for the agent, from `--env-file`.
    pub(super) variables: Vec<(String, String)>,
    pub(super) model: Option<String>,
    pub(super) effort: Option<String>,
    pub(super) exec: ExecOptions,
    pub(super) extra: Vec<OsString>,
    pub(super) deadline: Option<Instant>,
    /// How long the agent may be silent.
    pub(super) stall: Option<Duration>,
    /// Whether our standard input is added to the prompt.
    pub(super) stdin: bool,
    /// Where the agent is sent; `None`: it runs where we do.
    pub(super) folder: Option<PathBuf>,
    /// The options that say where the mapping is, absolute, for advice.
    pub(super) place: Vec<String>,
}

impl AgentCall {
    pub(super) fn new(
        context: &Context,
        store: &Store,
        workspace: &Workspace,
        options: &cli::Call,
        form: Form,
    ) -> Result<Self> {
        let backend = store.backend;
        let deadline =
            options.deadline_seconds.as_deref().map(|text| seconds("--deadline-seconds", text)).transpose()?;
        let stall = options.stall_seconds.as_deref().map(|text| seconds("--stall-seconds", text)).transpose()?;
        if stall.is_some() && form == Form::Json && !backend.tells_events_of_json() {
            return Err(Error::usage(format!(
                "--stall-seconds has no meaning here: {backend} says nothing before its answer"
            ))
            .hint("use resume-stream, or --deadline-seconds"));
        }
        let deadline = deadline.and_then(|limit| context.started.checked_add(limit)); // too far off to matter
        if let Some(deadline) = deadline {
            stdio::set_deadline(deadline);
        }
        let model = not_blank("--model", options.model.as_deref())?;
        let effort = not_blank("--reasoning-effort", options.reasoning_effort.as_deref())?;
        let launcher = launcher(backend, options)?;
        refuse_arguments(backend, &options.extra)?;
        if workspace.given && !workspace.resolved.is_dir() {
            return Err(Error::usage(format!("--workspace-dir {} is no folder", workspace.shown)));
        }
        let variables = match &options.env_file {
            Some(path) => variables(&input::text_file(path, "--env-file", deadline)?)?,
            None => Vec::new(),
        };
        Ok(Self {
            backend,
            launcher,
            variables,
            model,
            effort,
            exec: exec_options(&options.codex, workspace.given)?,
            extra: options.extra.clone(),
            deadline,
            stall,
            stdin: options.stdin,
            folder: workspace.given.then(|| workspace.resolved.clone()),
            place: place_options(store, workspace),
        })
    }

    /// A variable as the agent will see it.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let set = self.variables.iter().rev().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value));
        set.or_else(|| env::var_os(name)).filter(|value| !value.is_empty())
    }

    /// The agent's program.
    pub(super) fn program(&self) -> Result<PathBuf> {
        let name = self.launcher.name();
        let folder = location::current_folder().or_else(|error| self.folder.clone().ok_or(error))?;
        launcher::find(name, Some(&self.variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into())), &folder).map_err(
            |error| {
                if error.kind == Kind::AgentNotExecutable {
                    return error; // it says what to do
                }
                if self.launcher.is_shell() {
                    return error.hint("name another shell with --codex-shell-cmd");
                }
                error.hint(match self.backend {
                Backend::Claude => {
                    "install it, or name a command with --claude-cmd; aliases and functions of a shell are no programs"
                }
                Backend::Codex => {
                    "install it, or name a command with --codex-cmd; for an alias or function add --codex-shell posix"
                }
            })
            },
        )
    }

    /// The key of the lock for a session: the same id in another home of the agent's is another session.
    pub(super) fn session_key(&self, id: &AgentSessionId) -> String {
        let home = self.backend.home_variables().iter().find_map(|name| self.variable(name)).unwrap_or_default();
        let home = location::resolve(home.as_ref()).unwrap_or_else(|_| home.into());
        let id = id.as_str().to_ascii_lowercase(); // a UUID in capitals is the same session
        lock::key(&[b"session", self.backend.name().as_bytes(), home.as_os_str().as_encoded_bytes(), id.as_bytes()])
    }
}

/// Where the mapping is, in options that mean the same from any folder.
fn place_options(store: &Store, workspace: &Workspace) -> Vec<String> {
    let file = match &store.place {
        Place::Explicit { resolved, .. } => Some(format!("--mapping-file={}", resolved.display())),
        Place::Default { .. } => None,
    };
    let folder = workspace.given.then(|| format!("--workspace-dir={}", workspace.text()));
    file.into_iter().chain(folder).collect()
}

/// Seconds as the original took them: anything that Python's `float` reads, finite and above 0.
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
        _ => Err(Error::usage(format!("{option} {text} is no number of seconds above 0"))),
    }
}

/// The trimmed value of an option that means nothing when blank.
fn not_blank(option: &str, value: Option<&str>) -> Result<Option<String>> {
    match value.map(trim) {
        Some("") => Err(Error::usage(format!("{option} is blank")).hint("give a value, or leave the option out")),
        value => Ok(value.map(str::to_owned)),
    }
}

/// The option's value, else the variable's, and which of both it is; blank is absent.
fn option_or_variable(option: &str, value: Option<&str>, variable: &str) -> Result<Option<(String, String)>> {
    if let Some(value) = value.filter(|value| !is_blank(value)) {
        return Ok(Some((value.to_owned(), option.to_owned())));
    }
    Ok(environment::text(variable)?.map(|value| (value, variable.to_owned())))
}

fn launcher(backend: Backend, options: &cli::Call) -> Result<Launcher> {
    let (option, value) = match backend {
        Backend::Claude => ("--claude-cmd", &options.claude_cmd),
        Backend::Codex => ("--codex-cmd", &options.codex.codex_cmd),
    };
    let command = option_or_variable(option, value.as_deref(), backend.command_variable())?;
    let (command, source) = command.unwrap_or_else(|| (backend.name().to_owned(), option.to_owned()));
    if backend == Backend::Codex {
        let codex = &options.codex;
        let kind = option_or_variable("--codex-shell", codex.codex_shell.as_deref(), environment::CODEX_SHELL)?;
        if let Some((kind, source)) = kind {
            let kind = ShellKind::parse(&kind).ok_or_else(|| {
                Error::usage(format!("{source} {} is no shell we know", trim(&kind))).hint("use posix or powershell")
            })?;
            let shell = option_or_variable(
                "--codex-shell-cmd",
                codex.codex_shell_cmd.as_deref(),
                environment::CODEX_SHELL_CMD,
            )?;
            let init = option_or_variable(
                "--codex-shell-init",
                codex.codex_shell_init.as_deref(),
                environment::CODEX_SHELL_INIT,
            )?;
            return Launcher::shell(
                kind,
                shell.map(|(shell, _)| shell).as_deref(),
                init.map(|(init, _)| init),
                &command,
            );
        }
    }
    Launcher::program(&command, &source)
}

fn refuse_arguments(backend: Backend, extra: &[OsString]) -> Result<()> {
    let words: Vec<Option<&str>> = extra.iter().map(|argument| argument.to_str()).collect();
    let previous = std::iter::once(None).chain(words.iter().copied());
    let refused = words
        .iter()
        .zip(previous)
        .find(|(word, previous)| word.is_some_and(|word| backend.refuses_argument(*previous, word)));
    match refused.and_then(|(word, _)| *word) {
        Some(argument) => Err(Error::usage(format!("{argument} cannot be handed to {backend} behind '--'"))
            .caused_by("it would change which session answers, or in what form")
            .hint("leave it out; this program says it for you where it is needed")),
        None => Ok(()),
    }
}

/// What `codex exec` takes. Relative images are the caller's, so they become absolute where codex runs elsewhere.
fn exec_options(options: &cli::CodexCall, elsewhere: bool) -> Result<ExecOptions> {
    let mut image = options.image.clone();
    if elsewhere && image.iter().any(|path| path.is_relative()) {
        let here = location::current_folder()?;
        image = image.into_iter().map(|path| here.join(path)).collect();
    }
    Ok(ExecOptions {
        config: options.config.clone(),
        enable: options.enable.clone(),
        disable: options.disable.clone(),
        image,
        full_auto: if options.full_auto { FullAuto::Flag } else { FullAuto::No },
        bypass_approvals_and_sandbox: options.dangerously_bypass_approvals_and_sandbox,
        skip_git_repo_check: options.skip_git_repo_check,
    })
}

/// The variables in an environment file (contract section 5), in its order: of two with one name the last counts.
fn variables(text: &str) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for line in text.lines().map(trim) {
        if line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(line, trim);
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (trim(key), unquote(trim(value)));
        if key.is_empty() {
            continue;
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(Error::usage(format!("--env-file: the variable '{key}' holds a zero byte")));
        }
        variables.push((key.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

/// `value` without one pair of quotes around it.
fn unquote(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_files_are_read_as_the_original_read_them() {
        let text = "# c\n\nA=1\n B = two words \nC='single'\nD=\"dou ble\"\nE=a=b\nnothing\n=x\nF=\nG=x#y $A\r\n\
                    export H=1\nexport\tI='\nexported=2\nK=\"a'\nL=''\nA=2\n";
        let want = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "single"),
            ("D", "dou ble"),
            ("E", "a=b"),
            ("F", ""),
            ("G", "x#y $A"),
            ("H", "1"),
            ("I", "'"),
            ("exported", "2"),
            ("K", "\"a'"),
            ("L", ""),
            ("A", "2"),
        ];
        let got = variables(text).unwrap();
        assert_eq!(got.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>(), want);
        assert!(variables("A=a\0b").is_err());
    }

    #[test]
    fn a_deadline_is_a_finite_number_above_zero() {
        assert_eq!(seconds("--x", " 1.5 ").unwrap(), Duration::from_millis(1500));
        assert_eq!(seconds("--x", "1_0.5").unwrap(), Duration::from_millis(10_500));
        assert_eq!(seconds("--x", "1e300").unwrap(), Duration::MAX);
        for bad in ["0", "-1", "nan", "inf", "x", "", "-0", "_1", "1__0", "1_"] {
            assert!(seconds("--x", bad).is_err(), "{bad}");
        }
    }
}

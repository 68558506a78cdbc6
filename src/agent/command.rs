//! The command, the shell and the environment of the agent, from options and environment variables.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::env_file;
use super::launcher::{Launcher, ShellKind};
use crate::backend::{Backend, LaunchArgs, Setting};
use crate::cli;
use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::paths;
use crate::session::{is_blank, trim};

/// The search path if PATH is not set (Python's `os.defpath`).
const DEFAULT_PATH: &str = if cfg!(windows) { r".;C:\bin" } else { "/bin:/usr/bin" };

/// The command and the environment of an agent.
pub(crate) struct AgentCommand {
    pub(crate) backend: Backend,
    pub(crate) launcher: Launcher,
    /// The variables from `--env-file`.
    pub(crate) variables: Vec<(String, String)>,
    /// The hint if the program is missing.
    missing_hint: String,
}

impl AgentCommand {
    /// Reads the options, and the environment file until `deadline`.
    pub(crate) fn new(backend: Backend, options: &cli::AgentArgs, deadline: Option<Instant>) -> Result<Self> {
        let (launcher, missing_hint) = launcher(backend, &options.launch)?;
        let variables = match &options.env_file {
            Some(path) => env_file::parse(&input::text_file(path, "--env-file", deadline)?)?,
            None => Vec::new(),
        };
        Ok(Self { backend, launcher, variables, missing_hint })
    }

    /// Returns the value of a variable in the agent's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        let set = self.variables.iter().rev().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value));
        set.or_else(|| env::var_os(name)).filter(|value| !value.is_empty())
    }

    /// Finds the agent's program. `agent_dir` is the agent's directory, if it is not the current one.
    pub(crate) fn program(&self, agent_dir: Option<&Path>) -> Result<PathBuf> {
        let name = self.launcher.name();
        let dir = paths::current_dir().or_else(|error| agent_dir.map(Path::to_owned).ok_or(error))?;
        let path = self.variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        paths::find_program(name, Some(&path), &dir).map_err(|error| match error.kind {
            ErrorKind::AgentNotExecutable => error, // has a hint
            _ => error.with_hint(self.missing_hint.as_str()),
        })
    }
}

/// Returns the value of a setting, and the name of the option or variable that provides it. A blank value counts as
/// missing.
fn value_of(setting: Setting<'_>) -> Result<Option<(String, &'static str)>> {
    if let Some(value) = setting.value.filter(|value| !is_blank(value)) {
        return Ok(Some((value.to_owned(), setting.option)));
    }
    Ok(environment::var(setting.variable)?.map(|value| (value, setting.variable)))
}

/// Returns the launcher that the options select, and a hint if its program is missing.
fn launcher(backend: Backend, args: &LaunchArgs) -> Result<(Launcher, String)> {
    let launch = (backend.spec().launch)(args);
    let (command, source) =
        value_of(launch.command)?.unwrap_or_else(|| (backend.name().to_owned(), launch.command.option));
    if let Some(shell) = launch.shell
        && let Some((kind, source)) = value_of(shell.kind)?
    {
        let kind = ShellKind::parse(&kind).ok_or_else(|| {
            Error::usage(format!("{source} {} is not a supported shell", trim(&kind)))
                .with_hint("use posix or powershell")
        })?;
        let option = shell.command.option;
        let shell_command = value_of(shell.command)?.map(|(command, _)| command);
        let init = value_of(shell.init)?.map(|(init, _)| init);
        let launcher = Launcher::shell(kind, shell_command.as_deref(), option, init, &command)?;
        return Ok((launcher, format!("install it, or pass another shell with {option}")));
    }
    Ok((Launcher::program(&command, source)?, backend.spec().missing_hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_file_is_parsed_as_by_the_original() {
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
        let parsed = env_file::parse(text).unwrap();
        assert_eq!(parsed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>(), want);
        assert!(env_file::parse("A=a\0b").is_err());
    }
}

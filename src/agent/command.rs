//! The agent as the caller names it: its command, the shell around it, its variables. From options, then the
//! environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::env_file::variables;
use super::launcher::{Launcher, ShellKind};
use crate::backend::{Backend, LaunchArgs, Setting};
use crate::cli;
use crate::env as environment;
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::paths;
use crate::session::{is_blank, trim};

/// Where programs are looked for when there is no PATH (Python's `os.defpath`).
const DEFAULT_PATH: &str = if cfg!(windows) { r".;C:\bin" } else { "/bin:/usr/bin" };

/// Which program the agent is, and what it finds in its environment.
pub(crate) struct AgentCommand {
    pub(crate) backend: Backend,
    pub(crate) launcher: Launcher,
    /// From `--env-file`.
    pub(crate) variables: Vec<(String, String)>,
    /// What to do if the program is missing.
    missing_hint: String,
}

impl AgentCommand {
    /// Reads the environment file, if there is one, until `deadline`.
    pub(crate) fn new(backend: Backend, options: &cli::AgentArgs, deadline: Option<Instant>) -> Result<Self> {
        let (launcher, missing_hint) = launcher(backend, &options.launch)?;
        let variables = match &options.env_file {
            Some(path) => variables(&input::text_file(path, "--env-file", deadline)?)?,
            None => Vec::new(),
        };
        Ok(Self { backend, launcher, variables, missing_hint })
    }

    /// A variable as the agent will see it.
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        let set = self.variables.iter().rev().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value));
        set.or_else(|| env::var_os(name)).filter(|value| !value.is_empty())
    }

    /// The agent's program. `elsewhere`: the directory it will run in where that is not ours.
    pub(crate) fn program(&self, elsewhere: Option<&Path>) -> Result<PathBuf> {
        let name = self.launcher.name();
        let dir = paths::current_dir().or_else(|error| elsewhere.map(Path::to_owned).ok_or(error))?;
        paths::find_program(name, Some(&self.variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into())), &dir).map_err(
            |error| {
                if error.kind == ErrorKind::AgentNotExecutable {
                    return error; // it says what to do
                }
                error.with_hint(self.missing_hint.as_str())
            },
        )
    }
}

/// The setting's value, from the option or the variable, and which of both it is; blank is absent.
fn value_of(setting: Setting<'_>) -> Result<Option<(String, &'static str)>> {
    if let Some(value) = setting.value.filter(|value| !is_blank(value)) {
        return Ok(Some((value.to_owned(), setting.option)));
    }
    Ok(environment::var(setting.variable)?.map(|value| (value, setting.variable)))
}

/// The launcher that the options of `backend` name, and what to do if its program is missing.
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
        return Ok((launcher, format!("name another shell with {option}")));
    }
    Ok((Launcher::program(&command, source)?, backend.spec().missing_hint.to_owned()))
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
}

//! The agent as the caller names it: its command, the shell around it, its variables. From options, then the
//! environment.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::env_file::variables;
use super::launcher::{self, Launcher, ShellKind};
use crate::backend::Backend;
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
}

impl AgentCommand {
    /// Reads the environment file, if there is one, until `deadline`.
    pub(crate) fn new(backend: Backend, options: &cli::AgentArgs, deadline: Option<Instant>) -> Result<Self> {
        let launcher = launcher(backend, options)?;
        let variables = match &options.env_file {
            Some(path) => variables(&input::text_file(path, "--env-file", deadline)?)?,
            None => Vec::new(),
        };
        Ok(Self { backend, launcher, variables })
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
        launcher::find(name, Some(&self.variable("PATH").unwrap_or_else(|| DEFAULT_PATH.into())), &dir).map_err(
            |error| {
                if error.kind == ErrorKind::AgentNotExecutable {
                    return error; // it says what to do
                }
                if self.launcher.is_shell() {
                    return error.with_hint("name another shell with --codex-shell-cmd");
                }
                error.with_hint(match self.backend {
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
}

/// The option's value, else the variable's, and which of both it is; blank is absent.
fn option_or_variable(option: &str, value: Option<&str>, variable: &str) -> Result<Option<(String, String)>> {
    if let Some(value) = value.filter(|value| !is_blank(value)) {
        return Ok(Some((value.to_owned(), option.to_owned())));
    }
    Ok(environment::var(variable)?.map(|value| (value, variable.to_owned())))
}

fn launcher(backend: Backend, options: &cli::AgentArgs) -> Result<Launcher> {
    let (option, value) = match backend {
        Backend::Claude => ("--claude-cmd", &options.claude_cmd),
        Backend::Codex => ("--codex-cmd", &options.codex_cmd),
    };
    let command = option_or_variable(option, value.as_deref(), backend.command_variable())?;
    let (command, source) = command.unwrap_or_else(|| (backend.name().to_owned(), option.to_owned()));
    if backend == Backend::Codex {
        let kind = option_or_variable("--codex-shell", options.codex_shell.as_deref(), environment::CODEX_SHELL)?;
        if let Some((kind, source)) = kind {
            let kind = ShellKind::parse(&kind).ok_or_else(|| {
                Error::usage(format!("{source} {} is no shell we know", trim(&kind)))
                    .with_hint("use posix or powershell")
            })?;
            let shell = option_or_variable(
                "--codex-shell-cmd",
                options.codex_shell_cmd.as_deref(),
                environment::CODEX_SHELL_CMD,
            )?;
            let init = option_or_variable(
                "--codex-shell-init",
                options.codex_shell_init.as_deref(),
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

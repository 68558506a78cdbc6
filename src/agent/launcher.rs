//! Resolves the agent command (a program, a wrapper with arguments, a shell function) to a program and its arguments.
//! Spawns nothing.

use std::ffi::OsString;
use std::path::Path;

use super::shlex::split;
use crate::error::{Error, Result};

/// How the agent is spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Launcher {
    /// A program and its first arguments.
    Program { words: Vec<String> },
    /// A command in a POSIX shell, which may be a function or an alias from `init`.
    Posix { shell: Vec<String>, init: Option<String>, command: String },
    /// A command in PowerShell.
    PowerShell { shell: Vec<String>, init: Option<String>, command: String },
}

/// The kind of shell in `--codex-shell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShellKind {
    Posix,
    PowerShell,
}

const POSIX_SHELL: &str = "bash -lc";
const POWERSHELL: &str = "pwsh -NoLogo -Command";

/// The value of `$0` in the script. `"$@"` begins with the next argument.
const SCRIPT_NAME: &str = "__codex_wrapper__";

impl ShellKind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "posix" => Some(Self::Posix),
            "powershell" => Some(Self::PowerShell),
            _ => None,
        }
    }
}

impl Launcher {
    /// Returns a launcher for a program with its first arguments. `source` is the option or variable, for errors.
    pub(crate) fn program(command: &str, source: &str) -> Result<Self> {
        let words = split(command)
            .map_err(|why| Error::usage(format!("cannot split {source} into words: {why}: {command}")))?;
        match words.first() {
            Some(first) if !first.is_empty() => Ok(Self::Program { words }),
            _ => Err(Error::usage(format!("{source} has no program: {command}"))),
        }
    }

    /// Returns a launcher for a command in a shell. `shell_command` is the shell with its options.
    pub(crate) fn shell(
        kind: ShellKind,
        shell_command: Option<&str>,
        shell_option: &str,
        init: Option<String>,
        command: &str,
    ) -> Result<Self> {
        let default = match kind {
            ShellKind::Posix => POSIX_SHELL,
            ShellKind::PowerShell => POWERSHELL,
        };
        let Self::Program { words: shell } = Self::program(shell_command.unwrap_or(default), shell_option)? else {
            unreachable!("Self::program returns Self::Program");
        };
        Ok(match kind {
            ShellKind::Posix => Self::Posix { shell, init, command: command.to_owned() },
            ShellKind::PowerShell => Self::PowerShell { shell, init, command: command.to_owned() },
        })
    }

    /// Returns the name of the program, as the caller passed it.
    pub(crate) fn name(&self) -> &str {
        let (Self::Program { words } | Self::Posix { shell: words, .. } | Self::PowerShell { shell: words, .. }) = self;
        &words[0]
    }

    /// Returns whether a shell runs the agent.
    pub(crate) fn is_shell(&self) -> bool {
        !matches!(self, Self::Program { .. })
    }

    /// Returns whether `stderr` shows that the shell could not run the agent's command. The exit statuses 126 and 127 do not
    /// show that, because a command that ran after the agent may have caused them.
    pub(crate) fn could_not_run_command(&self, stderr: &str) -> bool {
        let is_in_name = |c: char| c.is_alphanumeric() || "-_./\\".contains(c);
        let words = |command: &str| -> Vec<String> {
            let words = command.split(|c: char| c.is_whitespace() || c == '\'' || c == '"');
            words.filter(|word| word.starts_with(is_in_name) && !word.starts_with('-')).map(str::to_owned).collect()
        };
        match self {
            Self::Program { .. } => false,
            // the last line names the command that the shell could not run, after its location
            Self::Posix { command, .. } => {
                let last = stderr.lines().rfind(|line| !line.trim().is_empty());
                let (_, reason) = last.and_then(|line| line.split_once(':')).unwrap_or_default();
                words(command).iter().any(|word| reason.split(|c| !is_in_name(c)).any(|name| name == word))
            }
            Self::PowerShell { command, .. } => {
                words(command).iter().any(|word| stderr.contains(&format!("The term '{word}'")))
            }
        }
    }

    /// Returns the length of the argument that contains `text`. For PowerShell, one script contains all arguments, and
    /// quotes are doubled.
    pub(crate) fn length_of(&self, text: &str) -> usize {
        /// An upper limit for the length of the agent's other arguments.
        const OTHER_ARGUMENTS: usize = 2 << 10;
        match self {
            Self::Program { .. } | Self::Posix { .. } => text.len(),
            Self::PowerShell { init, command, .. } => {
                let rest = init.as_ref().map_or(0, String::len) + command.len() + OTHER_ARGUMENTS;
                let quotes = text.chars().filter(|&c| is_powershell_quote(c)).map(char::len_utf8).sum::<usize>();
                text.len() + quotes + rest
            }
        }
    }

    /// Returns all arguments of the program, including the agent's `arguments`.
    pub(crate) fn arguments(&self, arguments: Vec<OsString>) -> Result<Vec<OsString>> {
        let (Self::Program { words } | Self::Posix { shell: words, .. } | Self::PowerShell { shell: words, .. }) = self;
        let mut all: Vec<OsString> = words[1..].iter().map(OsString::from).collect();
        match self {
            Self::Program { .. } => all.extend(arguments),
            Self::Posix { init, command, .. } => {
                let init = init.as_ref().map(|init| format!("{init}\n")).unwrap_or_default();
                all.extend([format!("{init}{command} \"$@\"").into(), SCRIPT_NAME.into()]);
                all.extend(arguments);
            }
            Self::PowerShell { init, command, .. } => {
                all.push(powershell_script(init.as_deref(), command, &arguments)?.into());
            }
        }
        Ok(all)
    }
}

/// Returns a script in which each argument is a literal, so that none is run as code.
///
/// The last line exits with the agent's status. Without it, PowerShell exits with 0 or 1.
fn powershell_script(init: Option<&str>, command: &str, arguments: &[OsString]) -> Result<String> {
    let mut script = init.map(|init| format!("{init}\n")).unwrap_or_default();
    script.push_str(command);
    for argument in arguments {
        let argument = argument.to_str().ok_or_else(|| {
            Error::usage(format!("cannot pass {} to PowerShell: it is not UTF-8", argument.display()))
        })?;
        script.push(' ');
        script.push_str(&powershell_literal(argument));
    }
    script.push_str("\n$ok = $?; if ($null -ne $LASTEXITCODE) { exit $LASTEXITCODE }; if (-not $ok) { exit 127 }");
    Ok(script)
}

/// Quotes `text` as a single-quoted literal.
///
/// The typographic quotes U+2018 to U+201B are doubled too, because PowerShell treats them like the plain one (help topic
/// "about Quoting Rules").
pub(crate) fn powershell_literal(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        if is_powershell_quote(c) {
            literal.push(c);
        }
        literal.push(c);
    }
    literal.push('\'');
    literal
}

fn is_powershell_quote(c: char) -> bool {
    matches!(c, '\'' | '\u{2018}'..='\u{201b}')
}

/// Returns whether `text` can be an argument of `program`.
///
/// Windows runs batch files, such as npm's launchers, with its command interpreter. That interpreter does not support
/// line breaks in arguments, and interprets some characters even in quotes.
pub(crate) fn accepts_argument(program: &Path, text: &str) -> bool {
    let extension = program.extension().unwrap_or_default();
    let is_batch = cfg!(windows) && ["cmd", "bat"].iter().any(|batch| extension.eq_ignore_ascii_case(batch));
    let refused: &[char] = if is_batch { &['\0', '\r', '\n', '"', '%', '!', '^'] } else { &['\0'] };
    !text.contains(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// Pairs recorded from Python 3.11's `shlex.split`.
    #[test]
    #[cfg(unix)] // on Windows a backslash is literal
    fn words_are_split_as_in_python() {
        let table: &[(&str, &[&str])] = &[
            ("claude", &["claude"]),
            ("  a\tb\n c ", &["a", "b", "c"]),
            ("my-wrapper --profile 'two words'", &["my-wrapper", "--profile", "two words"]),
            ("a #b c", &["a", "#b", "c"]),
            (r#"a "x\"y\\z\$w\n""#, &["a", r#"x"y\z\$w\n"#]),
            (r"a\ b c\'d", &["a b", "c'd"]),
            ("''", &[""]),
            ("a'' b\"\"c", &["a", "bc"]),
            (r"'a\'b", &["a\\b"]),
            ("a\u{a0}b", &["a\u{a0}b"]),
            ("", &[]),
        ];
        for (command, words) in table {
            assert_eq!(split(command).unwrap(), *words, "{command}");
        }
        for bad in ["'", "\"a", "a\\", "\"\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn posix_shell_gets_separate_arguments() {
        let launcher =
            Launcher::shell(ShellKind::Posix, None, "--shell", Some("work() { codex \"$@\"; }".into()), "work")
                .unwrap();
        assert_eq!(
            launcher.arguments(vec!["exec".into(), "$(id)".into()]).unwrap(),
            ["-lc", "work() { codex \"$@\"; }\nwork \"$@\"", "__codex_wrapper__", "exec", "$(id)"]
        );
    }

    #[test]
    fn only_errors_about_the_command_mean_that_a_shell_could_not_run_it() {
        let posix = |command: &str| Launcher::shell(ShellKind::Posix, None, "--shell", None, command).unwrap();
        // from bash, dash, zsh, ksh and env
        for stderr in [
            "__codex_wrapper__: line 1: work: command not found\n",
            "some noise of a profile\nsh: 1: work: not found\n\n",
            "zsh:1: command not found: work",
            "ksh: work: not found",
            "env: ‘work’: No such file or directory",
            "zsh:1: permission denied: work",
        ] {
            assert!(posix("work").could_not_run_command(stderr), "{stderr}");
            assert!(posix("exec 'work' --profile p").could_not_run_command(stderr), "{stderr}");
        }
        for stderr in [
            "",
            "work: rate limit\nenvironment: line 2: no-such-notifier: command not found",
            "environment: line 2: not-work: command not found",
            "environment: line 2: /opt/work: No such file or directory",
            "environment: line 2: --profile: command not found",
            "work:1: command not found: no-such-notifier",
            "work",
        ] {
            assert!(!posix("work --profile p").could_not_run_command(stderr), "{stderr}");
        }
        assert!(posix("/opt/my-codex").could_not_run_command("sh: 1: /opt/my-codex: not found"));
        let powershell = Launcher::shell(ShellKind::PowerShell, None, "--shell", None, "work").unwrap();
        let stderr = "work: \nLine |\n   1 |  work 'exec'\n     | The term 'work' is not recognized as a name of a cmdlet.\n     | Check.";
        assert!(powershell.could_not_run_command(stderr));
        let stderr = stderr.replace("term 'work'", "term 'no-such'");
        assert!(!powershell.could_not_run_command(&stderr));
        let program = Launcher::program("work", "--codex-cmd").unwrap();
        assert!(!program.could_not_run_command("work: command not found"));
    }

    #[test]
    fn powershell_arguments_are_literals() {
        let launcher = Launcher::shell(ShellKind::PowerShell, None, "--shell", None, "codex").unwrap();
        let all = launcher.arguments(vec!["it's ‘$(x)’ ‚ ‛ \"q\"".into()]).unwrap();
        let script = all.last().unwrap().to_str().unwrap();
        assert_eq!(script.lines().next().unwrap(), "codex 'it''s ‘‘$(x)’’ ‚‚ ‛‛ \"q\"'");
        assert_eq!(launcher.name(), "pwsh");
    }

    #[test]
    fn command_without_a_program_is_refused() {
        for command in ["''", " '' x", "'"] {
            assert_eq!(Launcher::program(command, "--claude-cmd").unwrap_err().kind, ErrorKind::Usage, "{command}");
        }
    }
}

//! The shells' side of completion: their scripts, requests and responses. Independent of commands, options and sessions.
//!
//! The scripts of `clap_complete` are not used, because they do not quote names with spaces in bash and PowerShell. They
//! also let bash expand a `*` in a name, and let PowerShell run code on the line.

mod bash;
pub(crate) mod candidates;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ValueEnum;

use crate::agent::launcher::powershell_literal;
use crate::cli::Shell;

/// A shell's request to complete the word at the cursor.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    shell: Shell,
    /// The words before the cursor's word, without quotes. The first is the program.
    pub words: Vec<OsString>,
    /// The word at the cursor up to the cursor, without quotes.
    pub current: String,
    /// The part of that word that bash does not replace.
    readline: Option<bash::ReadlineContext>,
}

/// The possible completions of a word.
#[derive(Debug)]
pub(crate) enum CompletionResponse {
    Candidates(Vec<Candidate>),
    /// Any path. Shells complete paths themselves.
    Files,
    Dirs,
}

/// A possible completion.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub value: String,
    /// A short description on one line.
    pub help: String,
}

impl Shell {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    /// Returns the script that completes the command `name` by running `program`.
    pub(crate) fn script(self, name: &str, program: &str) -> String {
        let template = match self {
            Self::Bash => include_str!("script.bash"),
            Self::Zsh => include_str!("script.zsh"),
            Self::Fish => include_str!("script.fish"),
            Self::Powershell => include_str!("script.ps1"),
            Self::Elvish => include_str!("script.elv"),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let function: String = name.chars().map(plain).collect();
        let with_function = template.replace("@FUNCTION@", &format!("_{function}"));
        with_function.replace("@NAME@", &self.quote(name)).replace("@PROGRAM@", &self.quote(program))
    }

    /// Quotes `text` as one word.
    fn quote(self, text: &str) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        match self {
            Self::Bash | Self::Zsh | Self::Fish if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
            Self::Bash | Self::Zsh => format!("'{}'", text.replace('\'', r"'\''")),
            Self::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
            Self::Powershell => powershell_literal(text),
            Self::Elvish => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// Parses the arguments from the shell's script. Returns `None` if they are not valid.
    pub(crate) fn parse_request(self, mut arguments: Vec<OsString>) -> Option<CompletionRequest> {
        let mut readline = None;
        let current = match self {
            Self::Bash => {
                let [line, replaced] = <[OsString; 2]>::try_from(arguments).ok()?;
                let (words, context) = bash::split(line.to_str()?, replaced.to_str()?);
                readline = context;
                arguments = words.into_iter().map(OsString::from).collect();
                arguments.pop()?
            }
            Self::Powershell => {
                let before: usize = arguments.first()?.to_str()?.parse().ok()?;
                arguments.remove(0);
                let current = arguments.get(before).cloned().unwrap_or_default();
                arguments.truncate(before);
                current
            }
            Self::Zsh | Self::Fish | Self::Elvish => arguments.pop()?,
        };
        let current = current.into_string().ok()?;
        (!arguments.is_empty()).then_some(CompletionRequest { shell: self, words: arguments, current, readline })
    }
}

impl CompletionRequest {
    /// Returns the text that the shell's script reads: the kind on the first line, then one candidate on each line.
    pub(crate) fn format(&self, response: &CompletionResponse) -> String {
        let candidates = match response {
            CompletionResponse::Files => return "files\n".to_owned(),
            CompletionResponse::Dirs => return "directories\n".to_owned(),
            CompletionResponse::Candidates(candidates) => candidates,
        };
        let mut text = "words\n".to_owned();
        for Candidate { value, help } in candidates {
            let line = match self.shell {
                Shell::Bash => self.readline.as_ref().and_then(|context| context.insert(value)).unwrap_or_default(),
                Shell::Fish if value.starts_with('~') => String::new(), // would be expanded to a home directory
                Shell::Zsh | Shell::Fish | Shell::Elvish => format!("{value}\t{help}"),
                Shell::Powershell => format!("{}\t{value}\t{help}", powershell_word(value)),
            };
            // empty in bash if the word is complete
            if !line.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

/// Quotes `value` for PowerShell, which splits a word that begins with one dash at dots and colons.
fn powershell_word(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=".contains(c);
    let is_parameter = value.starts_with('-') && !value.starts_with("--") && value.len() > 2;
    if value.chars().all(is_plain) && !is_parameter { value.to_owned() } else { powershell_literal(value) }
}

/// Returns the name of the command from the path of the program.
pub(crate) fn command_name(program: &OsStr) -> Option<&str> {
    let name = Path::new(program).file_name()?.to_str()?;
    Some(name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_set_the_variable_that_this_program_reads() {
        for shell in Shell::value_variants() {
            let name = shell.to_possible_value().unwrap();
            let script = shell.script("invoke-persist", "/a b/it's");
            let sets = script.lines().any(|line| line.contains(crate::env::COMPLETE) && line.contains(name.get_name()));
            assert!(sets, "{script}");
            assert!(!script.contains('@') || !["@NAME", "@FUNCTION", "@PROGRAM"].iter().any(|it| script.contains(it)));
        }
    }

    #[test]
    fn program_is_quoted_as_one_word() {
        for (shell, want) in [
            (Shell::Bash, r"'/a b/it'\''s'"),
            (Shell::Zsh, r"'/a b/it'\''s'"),
            (Shell::Fish, r"'/a b/it\'s'"),
            (Shell::Powershell, "'/a b/it''s'"),
            (Shell::Elvish, "'/a b/it''s'"),
        ] {
            assert!(shell.script("x", "/a b/it's").contains(want), "{shell:?}");
        }
    }

    #[test]
    fn powershell_word_stays_one_word() {
        for (value, want) in [
            ("review-src", "review-src"),
            ("--session-name", "--session-name"),
            ("it's mine", "'it''s mine'"),
            ("$(rm)", "'$(rm)'"),
            ("a’b", "'a’’b'"),
            ("-a.b", "'-a.b'"),
            ("-h", "-h"),
        ] {
            assert_eq!(powershell_word(value), want);
        }
    }
}

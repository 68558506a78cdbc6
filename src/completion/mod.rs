//! The shells: the script that teaches one to ask this program when Tab is pressed, what it then says, and how it wants
//! its answer. Knows no command, no option and no session.
//!
//! The scripts are ours and not those of `clap_complete`: those leave names with spaces unquoted in bash and PowerShell,
//! let bash take a `*` in a name for files, and let PowerShell run what stands on the line.

mod bash;
pub(crate) mod candidates;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::ValueEnum;

use crate::agent::launcher::powershell_literal;
use crate::cli::Shell;

/// What a shell wants to know: what the last word on a line may become.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    shell: Shell,
    /// The words before the last, without quotes; the first is the program.
    pub words: Vec<OsString>,
    /// The last word as far as the cursor, without quotes.
    pub current: String,
    /// What of that word bash keeps.
    kept: Option<bash::ReadlineContext>,
}

/// What the word may become.
#[derive(Debug)]
pub(crate) enum Completion {
    Words(Vec<Word>),
    /// A path, which shells complete better than we could.
    Files,
    Dirs,
}

/// One thing that the word may become.
#[derive(Debug)]
pub(crate) struct Word {
    pub value: String,
    /// A few words on it, on one line.
    pub help: String,
}

impl Shell {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }

    /// What the shell reads to complete the command `name` by running `program`.
    pub(crate) fn script(self, name: &str, program: &str) -> String {
        let script = match self {
            Self::Bash => include_str!("script.bash"),
            Self::Zsh => include_str!("script.zsh"),
            Self::Fish => include_str!("script.fish"),
            Self::Powershell => include_str!("script.ps1"),
            Self::Elvish => include_str!("script.elv"),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let function: String = name.chars().map(plain).collect();
        let script = script.replace("@FUNCTION@", &format!("_{function}"));
        script.replace("@NAME@", &self.quote(name)).replace("@PROGRAM@", &self.quote(program))
    }

    /// `text` as one word of the shell's.
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

    /// What the script's call of this program asks, if it makes sense.
    pub(crate) fn question(self, mut arguments: Vec<OsString>) -> Option<CompletionRequest> {
        let mut kept = None;
        let current = match self {
            Self::Bash => {
                let [line, replaced] = <[OsString; 2]>::try_from(arguments).ok()?;
                let (words, before) = bash::cut(line.to_str()?, replaced.to_str()?);
                kept = before;
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
        (!arguments.is_empty()).then_some(CompletionRequest { shell: self, words: arguments, current, kept })
    }
}

impl CompletionRequest {
    /// The answer as the shell's script reads it: what is told on the first line, then one thing a line.
    pub(crate) fn write(&self, answer: &Completion) -> String {
        let words = match answer {
            Completion::Files => return "files\n".to_owned(),
            Completion::Dirs => return "directories\n".to_owned(),
            Completion::Words(words) => words,
        };
        let mut text = "words\n".to_owned();
        for Word { value, help } in words {
            let line = match self.shell {
                Shell::Bash => self.kept.as_ref().and_then(|kept| kept.insert(value)).unwrap_or_default(),
                Shell::Fish if value.starts_with('~') => String::new(), // it would become a home directory
                Shell::Zsh | Shell::Fish | Shell::Elvish => format!("{value}\t{help}"),
                Shell::Powershell => format!("{}\t{value}\t{help}", powershell_word(value)),
            };
            // in bash a word may be there already
            if !line.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }
}

/// `value` as PowerShell hands it to a program. A word with one dash before it is taken apart at dots and colons.
fn powershell_word(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=".contains(c);
    let is_parameter = value.starts_with('-') && !value.starts_with("--") && value.len() > 2;
    if value.chars().all(is_plain) && !is_parameter { value.to_owned() } else { powershell_literal(value) }
}

/// The command that a program is called by, from the name it was started under.
pub(crate) fn command_name(program: &OsStr) -> Option<&str> {
    let name = Path::new(program).file_name()?.to_str()?;
    Some(name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_sets_the_variable_that_this_program_reads() {
        for shell in Shell::value_variants() {
            let name = shell.to_possible_value().unwrap();
            let script = shell.script("invoke-persist", "/a b/it's");
            let sets = script.lines().any(|line| line.contains(crate::env::COMPLETE) && line.contains(name.get_name()));
            assert!(sets, "{script}");
            assert!(!script.contains('@') || !["@NAME", "@FUNCTION", "@PROGRAM"].iter().any(|it| script.contains(it)));
        }
    }

    #[test]
    fn the_program_is_one_word_of_the_shell() {
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
    fn powershell_gets_words_that_it_takes_for_one() {
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

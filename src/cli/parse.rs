//! From the command line as it was typed to its types, and clap's errors as ours.

use std::ffi::OsString;

use clap::FromArgMatches;
use clap::error::ErrorKind;

use super::{Cli, NormalizedArgs};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ui::{stdio, stdout_error};

/// The command line as types; `None` where it asked for help, which is printed.
pub(crate) fn parse(mut line: clap::Command, program: &OsString, normalized: &NormalizedArgs) -> Result<Option<Cli>> {
    let matches = line.try_get_matches_from_mut(std::iter::once(program).chain(&normalized.arguments));
    let error =
        match matches.and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut line))) {
            Ok(cli) => return Ok(Some(cli)),
            Err(error) => error,
        };
    if !error.use_stderr() {
        let shown = error.print();
        return shown.or_else(forgive_broken_pipe).map_err(|error| stdout_error(&error)).map(|()| None);
    }
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        let command = normalized.command.as_deref().map(|command| format!("{command} ")).unwrap_or_default();
        return Err(Error::usage("a command is missing").with_hint(format!("see invoke-persist {command}--help")));
    }
    if error.kind() == ErrorKind::InvalidUtf8 {
        return Err(not_unicode(&normalized.arguments));
    }
    let words = error.to_string();
    Err(blank_value(&words, &normalized.arguments)
        .unwrap_or_else(|| usage_error(&words, normalized.command.as_deref())))
}

fn forgive_broken_pipe(error: std::io::Error) -> std::io::Result<()> {
    if stdio::is_reader_gone(&error) { Ok(()) } else { Err(error) }
}

/// The argument that is no text; clap does not name it.
fn not_unicode(arguments: &[OsString]) -> Error {
    let bad = arguments.iter().find(|argument| argument.to_str().is_none()).map(|bad| bad.display().to_string());
    let bad = bad.unwrap_or_default();
    Error::usage(format!("{} is not UTF-8", bad.split_once('=').map_or("an argument", |(option, _)| option)))
        .caused_by(format!("it is '{}'", bad.split_once('=').map_or(&*bad, |(_, value)| value)))
}

/// Returns the error for an option with an empty value, of which clap says that there is none.
fn blank_value(words: &str, arguments: &[OsString]) -> Option<Error> {
    let mut blank = arguments.iter().filter_map(|argument| argument.to_str()?.strip_suffix('='));
    let option = blank.find(|option| words.contains(&format!("a value is required for '{option} <")))?;
    Some(Error::usage(format!("{option} is blank")).with_hint("give a value, or leave the option out"))
}

/// clap's words on one line: what is wrong, and its tip as the hint.
fn usage_error(words: &str, command: Option<&str>) -> Error {
    let paragraphs: Vec<&str> = words.trim().split("\n\n").collect();
    let message = paragraphs[0].trim_start_matches("error: ");
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tip = words.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    // what stands behind '--' is the agent's, so that is no way to give a value to us
    let unknown = message.starts_with("unexpected argument");
    let tip = tip.filter(|tip| !(unknown && tip.contains("use '-- "))).map(|tip| {
        if tip.contains("use '-- ") { "a value that begins with a dash is written --option=-value" } else { tip }
    });
    let help =
        command.map_or_else(|| "invoke-persist --help".to_owned(), |name| format!("invoke-persist {name} --help"));
    let hint = tip.map_or_else(|| format!("see {help}"), |tip| format!("{tip}; see {help}"));
    Error::usage(message).with_hint(hint)
}

/// claude's delete commands always took the options of a call and never used them; codex's did not take them.
pub(crate) fn refuse_call_options(backend: Backend, ignored: &super::Ignored) -> Result<()> {
    let given = [
        ("--env-file", ignored.env_file.is_some()),
        ("--model", ignored.model.is_some()),
        ("--deadline-seconds", ignored.deadline_seconds.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if !backend.capabilities().delete_ignores_call_options => {
            Err(Error::usage(format!("{option} has no meaning here: {backend} is not called to forget a name"))
                .with_hint("leave it out"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;

    use super::super::normalize;
    use super::*;

    /// Fails for a command line, as one would type it, that is none of ours.
    #[track_caller]
    pub(crate) fn assert_understood(command: &str) {
        let words: Vec<OsString> = shell_words::split(command).unwrap().into_iter().map(OsString::from).collect();
        let line = Cli::command();
        let normalized = normalize(&line, &words[1..], None).0.unwrap_or_else(|error| panic!("{command}: {error:?}"));
        parse(line, &words[0], &normalized).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }

    #[test]
    fn every_command_has_examples_and_they_are_understood() {
        let mut line = Cli::command();
        let names: Vec<String> = line.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "echo-agent") {
            let help = line.find_subcommand_mut(name).unwrap().clone().render_long_help().to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has none:\n{help}"));
            for example in examples.lines().map(str::trim).filter(|example| !example.is_empty()) {
                let (_, command) = example.rsplit_once("| ").unwrap_or(("", example));
                assert!(command.contains(name.as_str()), "{command}");
                assert!(example.len() <= 78, "it would be broken at 80 columns: {example}");
                assert_understood(command);
            }
        }
    }
}

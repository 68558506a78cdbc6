//! Parses the command line and converts clap's errors.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, FromArgMatches};
use console::Term;

use super::correction::{Correction, correct};
use super::{Cli, NormalizedArgs};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ui::color::is_colored;
use crate::ui::{stdio, stdout_error};

/// Parses the command line; `None` if it asked for help, which is printed.
pub(crate) fn parse(line: clap::Command, program: &OsString, normalized: &NormalizedArgs) -> Result<Option<Cli>> {
    let color = if is_colored(&Term::stdout()) { ColorChoice::Always } else { ColorChoice::Never };
    let mut line = line.color(color); // clap's own rule differs in details
    let matches = line.try_get_matches_from_mut(std::iter::once(program).chain(&normalized.arguments));
    let error =
        match matches.and_then(|matches| Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut line))) {
            Ok(cli) => {
                std::mem::forget(line); // freeing it piece by piece is a part of the start-up time
                return Ok(Some(cli));
            }
            Err(error) => error,
        };
    if !error.use_stderr() {
        let printed = error.print();
        return printed.or_else(ignore_broken_pipe).map_err(|error| stdout_error(&error)).map(|()| None);
    }
    Err(usage_error(&error, normalized))
}

fn ignore_broken_pipe(error: std::io::Error) -> std::io::Result<()> {
    if stdio::is_reader_gone(&error) { Ok(()) } else { Err(error) }
}

/// Converts clap's error: its facts on one line, and a suggestion as the hint.
fn usage_error(error: &clap::Error, normalized: &NormalizedArgs) -> Error {
    let help = match &normalized.command {
        Some(command) => format!("invoke-persist {command} --help"),
        None => "invoke-persist --help".to_owned(),
    };
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let list = |kind| match error.get(kind) {
        Some(ContextValue::Strings(list)) => list.join(", "),
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "a command is missing".to_owned()
        }
        ErrorKind::InvalidUtf8 => return not_utf8(&normalized.arguments),
        ErrorKind::UnknownArgument => format!("unexpected argument '{argument}'"),
        ErrorKind::InvalidSubcommand => format!("unknown command '{}'", text(ContextKind::InvalidSubcommand)),
        ErrorKind::MissingRequiredArgument => format!("{} is missing", list(ContextKind::InvalidArg)),
        ErrorKind::ArgumentConflict => {
            format!("'{argument}' cannot be used with '{}'", list(ContextKind::PriorArg))
        }
        ErrorKind::TooManyValues => format!("'{argument}' takes no value, but got '{value}'"),
        ErrorKind::InvalidValue if value.is_empty() => {
            if let Some(option) = blank_option(argument, &normalized.arguments) {
                return Error::usage(format!("{option} is blank")).with_hint("give it a value, or remove it");
            }
            format!("'{argument}' requires a value")
        }
        ErrorKind::InvalidValue => format!("invalid value '{value}' for '{argument}'"),
        // no option of this program causes the other kinds
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let valid = list(ContextKind::ValidValue);
    let message = if valid.is_empty() { message } else { format!("{message} [possible values: {valid}]") };
    Error::usage(message).with_hint(match correct(error, &normalized.arguments) {
        Some(Correction { advice, line: Some(line) }) => format!("{advice}: {line}"),
        Some(Correction { advice, line: None }) => format!("{advice}; see {help}"),
        None => format!("see {help}"),
    })
}

/// Returns the error for an argument that is not UTF-8. clap does not name the argument.
fn not_utf8(arguments: &[OsString]) -> Error {
    let invalid = arguments.iter().find(|argument| argument.to_str().is_none());
    let invalid = invalid.map(|argument| argument.display().to_string()).unwrap_or_default();
    let (option, value) = invalid.split_once('=').unwrap_or(("an argument", &invalid));
    Error::usage(format!("{option} is not UTF-8")).caused_by(format!("it is '{value}'"))
}

/// Returns the option of `argument` (`--option <VALUE>`) if its value is empty. clap reports an empty value as missing.
fn blank_option<'a>(argument: &'a str, arguments: &[OsString]) -> Option<&'a str> {
    let option = argument.split(' ').next()?;
    let blank = format!("{option}=");
    arguments.iter().any(|argument| *argument == *blank).then_some(option)
}

/// Refuses options of a turn on the delete commands, except for a backend whose original ignored them.
pub(crate) fn refuse_call_options(backend: Backend, ignored: &super::Ignored) -> Result<()> {
    let given = [
        ("--env-file", ignored.env_file.is_some()),
        ("--model", ignored.model.is_some()),
        ("--deadline-seconds", ignored.deadline_seconds.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if !backend.capabilities().delete_ignores_call_options => {
            Err(Error::usage(format!("{option} has no effect here: {backend} is not called to remove a name"))
                .with_hint(format!("remove {option}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::CommandFactory;

    use super::super::normalize;
    use super::*;

    /// Fails if the command line, as typed in a shell, cannot be parsed.
    #[track_caller]
    pub(crate) fn assert_parses(command: &str) {
        let words: Vec<OsString> = shell_words::split(command).unwrap().into_iter().map(OsString::from).collect();
        let line = Cli::command();
        let normalized = normalize(&line, &words[1..], None).0.unwrap_or_else(|error| panic!("{command}: {error:?}"));
        parse(line, &words[0], &normalized).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }

    #[test]
    fn every_command_has_examples_that_parse() {
        let mut line = Cli::command();
        let names: Vec<String> = line.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in &names {
            let help = line.find_subcommand_mut(name).unwrap().clone().render_long_help().to_string();
            let (_, examples) =
                help.split_once("Examples:\n").unwrap_or_else(|| panic!("{name} has no examples:\n{help}"));
            for example in examples.lines().map(str::trim).filter(|example| !example.is_empty()) {
                let (_, command) = example.rsplit_once("| ").unwrap_or(("", example));
                assert!(command.contains(name.as_str()), "{command}");
                assert!(example.len() <= 78, "it would wrap at 80 columns: {example}");
                if !command.starts_with("export ") {
                    assert_parses(command);
                }
            }
        }
    }

    #[test]
    fn every_usage_parses() {
        for (command, options) in super::super::USAGES {
            let usage = options.replace("[OPTIONS]", "").replace("[-- <ARG>...]", "-- x");
            // of two that exclude each other, the first
            let (first, rest) = usage.split_once('|').map_or((usage.as_str(), ""), |(first, rest)| {
                (first.trim_start_matches('<'), rest.split_once(">>").map_or("", |(_, rest)| rest))
            });
            let line = format!("{first}{rest}").replace(['<', '>'], "");
            assert_parses(&format!("invoke-persist {command} {line}"));
        }
    }
}

//! Rewrites the original's spellings as `--option=value`. These are abbreviated options, and values that begin with a
//! dash.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction};

use crate::backend::Backend;
use crate::error::{Error, ErrorFormat, Result};

/// Options for names and IDs. Their values may begin with one dash, so that such an ID is refused with its own message.
const NAME_OPTIONS: [&str; 9] = [
    "session-name",
    "session-alias",
    "alias",
    "to",
    "session-id",
    "thread-id",
    "adopt",
    "fake-session-id",
    "fake-thread-id",
];

/// Options whose value may look like an option.
const TEXT_OPTIONS: [&str; 3] = ["prompt", "init-prompt", "codex-shell-init"];

/// A command line in which every option is spelled in full.
#[derive(Debug, Default)]
pub(crate) struct NormalizedArgs {
    pub arguments: Vec<OsString>,
    /// The names of the long options, without dashes.
    pub options: Vec<String>,
    /// The command, if there is one.
    pub command: Option<String>,
}

/// One argument of the command line as typed, with the value that follows it.
enum Token {
    /// Anything but a long option, and everything after `--`.
    Other(OsString),
    Option {
        name: String,
        value: Option<OsString>,
        raw: OsString,
    },
}

/// Returns the original's options, which may be shortened.
fn original_options(backend: Backend, command: &str) -> Vec<&'static str> {
    const EVERYWHERE: [&str; 2] = ["help", "mapping-file"];
    let own = (backend.spec().original_options)(command);
    if own.is_empty() { own } else { EVERYWHERE.into_iter().chain(own).collect() }
}

/// Normalizes `arguments`, which do not include the program's name.
///
/// `backend` is the choice of the environment or the program's name. `--backend` overrides it. `cli` is the clap command
/// of [`super::Cli`]. The error format is returned even if the arguments are invalid, because their error needs it.
pub(crate) fn normalize(
    cli: &clap::Command,
    arguments: &[OsString],
    backend: Option<Backend>,
) -> (Result<NormalizedArgs>, ErrorFormat) {
    let normalizer = Normalizer::new(cli, arguments);
    let backend_in = |tokens: &[Token]| value_of(tokens, "backend").map_or(backend, Backend::from_name);
    let backend = backend_in(&normalizer.tokenize(arguments, backend));
    let tokens = normalizer.tokenize(arguments, backend);
    let format = match value_of(&tokens, "error-format") {
        Some("json") => ErrorFormat::Json,
        _ => ErrorFormat::Text,
    };
    (normalizer.join(tokens, backend), format)
}

fn value_of<'a>(tokens: &'a [Token], option: &str) -> Option<&'a str> {
    tokens.iter().rev().find_map(|token| match token {
        Token::Option { name, value: Some(value), .. } if name == option => value.to_str(),
        _ => None,
    })
}

struct Normalizer<'a> {
    cli: &'a clap::Command,
    command: Option<String>,
    /// The command's own options.
    own: Option<clap::Command>,
}

impl<'a> Normalizer<'a> {
    fn new(cli: &'a clap::Command, arguments: &[OsString]) -> Self {
        let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        // the first word that is a command, because no value of a global option is a command
        let command = arguments.iter().filter_map(|argument| argument.to_str()).find(|word| names.contains(word));
        Self { command: command.map(str::to_owned), cli, own: command.and_then(super::options_of) }
    }

    fn argument(&self, name: &str) -> Option<&Arg> {
        let has = |arg: &&Arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        };
        let own = self.own.iter().flat_map(clap::Command::get_arguments);
        own.chain(self.cli.get_arguments()).find(has) // the latter are the global ones
    }

    /// Returns the original's options that begin with `name`.
    fn candidates(&self, name: &str, backend: Option<Backend>) -> BTreeSet<&'static str> {
        let command = self.command.as_deref().unwrap_or_default();
        let backends = Backend::ALL.into_iter().filter(|each| backend.is_none_or(|backend| backend == *each));
        let all = backends.flat_map(|backend| original_options(backend, command));
        all.filter(|option| option.starts_with(name)).collect()
    }

    /// Returns whether the option takes a value, or `None` if there is no such option.
    fn takes_value(&self, name: &str, backend: Option<Backend>) -> Option<bool> {
        let candidates = self.candidates(name, backend);
        let exact = self.argument(name);
        let argument = exact.or_else(|| candidates.iter().find_map(|option| self.argument(option)))?;
        Some(matches!(argument.get_action(), ArgAction::Set | ArgAction::Append))
    }

    fn is_text(&self, name: &str, backend: Option<Backend>) -> bool {
        self.is_one_of(name, &TEXT_OPTIONS, backend)
    }

    fn is_name(&self, name: &str, backend: Option<Backend>) -> bool {
        self.is_one_of(name, &NAME_OPTIONS, backend)
    }

    /// Returns whether `name`, or every option it may be short for, is one of `options`.
    fn is_one_of(&self, name: &str, options: &[&str], backend: Option<Backend>) -> bool {
        match self.argument(name) {
            Some(_) => options.contains(&name),
            None => self.candidates(name, backend).iter().all(|option| options.contains(option)),
        }
    }

    fn tokenize(&self, arguments: &[OsString], backend: Option<Backend>) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut rest = arguments.iter().peekable();
        if self.command.as_deref() == Some("echo-agent") {
            return arguments.iter().cloned().map(Token::Other).collect();
        }
        while let Some(argument) = rest.next() {
            if argument == "--" {
                tokens.push(Token::Other(argument.clone()));
                tokens.extend(rest.cloned().map(Token::Other));
                break;
            }
            let Some((name, inline)) = long_option(argument) else {
                tokens.push(Token::Other(argument.clone()));
                continue;
            };
            let wants = inline.is_none() && self.takes_value(&name, backend) == Some(true);
            let is_value = |value: &OsStr| {
                let one_dash = self.is_name(&name, backend) && !value.as_encoded_bytes().starts_with(b"--");
                self.is_text(&name, backend) || one_dash || !looks_like_option(value)
            };
            let value = if wants { rest.next_if(|next| is_value(next)).cloned() } else { inline };
            tokens.push(Token::Option { name, value, raw: argument.clone() });
        }
        tokens
    }

    fn join(&self, tokens: Vec<Token>, backend: Option<Backend>) -> Result<NormalizedArgs> {
        let mut normalized = NormalizedArgs { command: self.command.clone(), ..NormalizedArgs::default() };
        for token in tokens {
            let (name, value, raw) = match token {
                Token::Other(argument) => {
                    normalized.arguments.push(argument);
                    continue;
                }
                Token::Option { name, value, raw } => (name, value, raw),
            };
            let full = if self.argument(&name).is_some() { None } else { self.unambiguous(&name, backend)? };
            let full = full.unwrap_or(&name);
            let takes_value = self.takes_value(full, backend) == Some(true);
            let mut argument = OsString::from(format!("--{full}"));
            match value {
                Some(value) if takes_value => {
                    argument.push("=");
                    argument.push(value);
                }
                Some(_) => argument = raw, // clap reports that the option takes no value
                None => {}
            }
            normalized.arguments.push(argument);
            normalized.options.push(full.to_owned());
        }
        Ok(normalized)
    }

    /// Returns the only option that begins with `name`, or `None` if there is none.
    fn unambiguous(&self, name: &str, backend: Option<Backend>) -> Result<Option<&'static str>> {
        let candidates = self.candidates(name, backend);
        // aliases of one option are not ambiguous
        let meanings: BTreeSet<_> =
            candidates.iter().filter_map(|option| Some(self.argument(option)?.get_id())).collect();
        if meanings.len() <= 1 {
            // until the backend is selected, prefer a spelling that does not select it
            let common =
                |option: &&&str| Backend::ALL.into_iter().all(|backend| !(backend.spec().owns_option)("", option));
            return Ok(candidates.iter().find(common).or_else(|| candidates.first()).copied());
        }
        let list = candidates.iter().map(|option| format!("--{option}")).collect::<Vec<_>>().join(", ");
        Err(Error::usage(format!("--{name} is ambiguous: it is short for {list}"))
            .with_hint("write one of them in full"))
    }
}

/// Splits a long option into its name and the value after `=`.
fn long_option(argument: &OsStr) -> Option<(String, Option<OsString>)> {
    let bytes = argument.as_encoded_bytes().strip_prefix(b"--").filter(|name| !name.is_empty())?;
    let end = bytes.iter().position(|&byte| byte == b'=').unwrap_or(bytes.len());
    let name = std::str::from_utf8(&bytes[..end]).ok()?.to_owned();
    if end == bytes.len() {
        return Some((name, None));
    }
    let value = match argument.to_str() {
        Some(text) => OsString::from(&text[2 + end + 1..]),
        None => tail(argument, 2 + end + 1)?,
    };
    Some((name, Some(value)))
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "fails on Windows")]
fn tail(argument: &OsStr, from: usize) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(&argument.as_bytes()[from..]).to_owned())
}

/// Invalid Unicode cannot be split on Windows. clap handles the argument as a whole.
#[cfg(windows)]
fn tail(_argument: &OsStr, _from: usize) -> Option<OsString> {
    None
}

/// Returns whether the original (Python's `argparse`) read `value` as an option: it begins with a dash, contains no
/// space, and is not a number.
pub(crate) fn looks_like_option(value: &OsStr) -> bool {
    let Some(text) = value.to_str() else {
        return value.as_encoded_bytes().starts_with(b"-");
    };
    text.len() > 1 && text.starts_with('-') && !text.contains(' ') && text.parse::<f64>().is_err()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    fn normalized(line: &[&str]) -> Vec<String> {
        normalized_for(line, None).unwrap()
    }

    fn normalized_for(line: &[&str], backend: Option<Backend>) -> Result<Vec<String>> {
        let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
        let arguments = normalize(&Cli::command(), &arguments, backend).0?.arguments;
        Ok(arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn options_can_be_abbreviated_as_in_the_original() {
        let claude = Some(Backend::Claude);
        assert_eq!(normalized(&["list-sessions", "--print-al"]), ["list-sessions", "--print-aliases"]);
        assert_eq!(
            normalized_for(&["create-session", "--fake", "i", "--i=x"], claude).unwrap(),
            ["create-session", "--fake-session-id=i", "--init-prompt=x"]
        );
        assert_eq!(normalized(&["resume-json", "--prom", "x", "--a", "n"]), ["resume-json", "--prompt=x", "--alias=n"]);
        // the backend decides between options of one agent
        let line = ["--backend", "claude", "resume-json", "--c", "x"];
        assert_eq!(normalized(&line), ["--backend=claude", "resume-json", "--claude-cmd=x"]);
    }

    #[test]
    fn every_command_of_the_original_can_have_shortened_options() {
        for backend in Backend::ALL {
            for (command, short, long) in [
                ("create-session", "--init", "--init-prompt"),
                ("resolve", "--session-n", "--session-name"),
                ("list-sessions", "--work", "--workspace-dir"),
                ("delete-session", "--work", "--workspace-dir"),
                ("delete-all-sessions", "--work", "--workspace-dir"),
                ("resume-json", "--prom", "--prompt"),
                ("resume-stream", "--prom", "--prompt"),
            ] {
                let normalized = normalized_for(&[command, short, "x"], Some(backend)).unwrap();
                assert_eq!(normalized, [command.to_owned(), format!("{long}=x")], "{backend}");
            }
        }
    }

    #[test]
    fn abbreviated_option_of_both_agents_does_not_select_one() {
        assert_eq!(normalized(&["create-session", "--fake", "i"]), ["create-session", "--fake-session-id=i"]);
        assert_eq!(normalized(&["create-session", "--fake-t", "i"]), ["create-session", "--fake-thread-id=i"]);
    }

    #[test]
    fn ambiguous_prefix_is_an_error() {
        for name in ["--print", "--m", "--session"] {
            assert!(normalized_for(&["resume-json", name, "x"], Some(Backend::Claude)).is_err(), "{name}");
        }
        assert!(normalized_for(&["resume-json", "--e", "x"], None).is_err());
    }

    #[test]
    fn value_may_begin_with_a_dash() {
        assert_eq!(normalized(&["resume-json", "--prompt", "--help"]), ["resume-json", "--prompt=--help"]);
        assert_eq!(normalized(&["resume-json", "--prompt", "-"]), ["resume-json", "--prompt=-"]);
        assert_eq!(normalized(&["resolve", "--session-name", "- x"]), ["resolve", "--session-name=- x"]);
        assert_eq!(normalized(&["resolve", "--session-name", "--quiet"]), ["resolve", "--session-name", "--quiet"]);
        assert_eq!(normalized(&["resume-json", "--deadline-seconds", "-5"]), ["resume-json", "--deadline-seconds=-5"]);
    }

    #[test]
    fn arguments_after_two_dashes_are_unchanged() {
        assert_eq!(normalized(&["resume-json", "--", "--prom", "x"]), ["resume-json", "--", "--prom", "x"]);
        assert_eq!(normalized(&["echo-agent", "claude", "--fake", "-p"]), ["echo-agent", "claude", "--fake", "-p"]);
    }

    #[test]
    fn error_format_is_parsed_even_if_the_arguments_are_invalid() {
        let arguments: Vec<OsString> = ["x", "--error-format", "json", "--oops"].iter().map(OsString::from).collect();
        assert_eq!(normalize(&Cli::command(), &arguments, None).1, ErrorFormat::Json);
    }
}

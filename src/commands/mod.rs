//! One file for every verb. Here: from the command line to the verb, and what all verbs are handed.

mod agent;
mod backend_choice;
mod call;
mod complete;
mod completions;
mod create_session;
mod delete_all_sessions;
mod delete_session;
mod demo;
mod doctor;
mod echo_agent;
mod fork_session;
mod hold;
mod list_sessions;
mod man;
mod output_file;
mod private_folder;
mod probe;
mod progress;
mod rename_session;
mod resolve;
mod resume;
mod skill;
mod turn;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::backend::Backend;
use crate::cli::{self, Cli, Command, Global, Spelled};
use crate::env;
use crate::error::{Error, Format, Kind, Result};
use crate::output::{Notes, Object};
use crate::process;
use crate::session::{AgentSessionId, SessionName};
use crate::stdio;
use crate::store::Store;
use crate::store::format::Mapping;
use crate::store::location::{self, Place};

/// What every verb is handed.
pub(crate) struct Context {
    /// When this program started: deadlines count from there.
    pub(crate) started: Instant,
    pub(crate) global: Global,
    pub(crate) notes: Notes,
    /// The command and the options in use, by name.
    spelled: Spelled,
    /// The name this program was started under.
    program: OsString,
}

/// Understands the command line and runs its verb. Tells with it in which format an error is to be reported.
pub(crate) fn start(started: Instant) -> (Format, Result<()>) {
    process::prepare_signals();
    process::keep_files_private();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(shell) = env::raw(env::COMPLETE) {
        return (Format::Text, complete::answer(started, &shell, arguments));
    }
    let line = Cli::command(); // built once: it is the most of what starting this program takes
    let (spelled, format) = cli::spell(&line, &arguments, backend_choice::preset(&program).ok().flatten());
    let done = spelled.and_then(|spelled| {
        let Some(Cli { global, command }) = parse(line, &program, &spelled)? else {
            return Ok(());
        };
        let notes = Notes { quiet: global.quiet };
        run(&Context { started, global, notes, spelled, program }, &command)
    });
    (format, done)
}

fn run(context: &Context, command: &Command) -> Result<()> {
    match command {
        Command::CreateSession(options) => create_session::run(context, options),
        Command::Resolve(options) => resolve::run(context, options),
        Command::ListSessions(options) => list_sessions::run(context, options),
        Command::RenameSession(options) => rename_session::run(context, options),
        Command::DeleteSession(options) => delete_session::run(context, options),
        Command::DeleteAllSessions(options) => delete_all_sessions::run(context, options),
        Command::ResumeJson(options) => resume::json(context, options),
        Command::ResumeStream(options) => resume::stream(context, options),
        Command::ForkSession(options) => fork_session::run(context, options),
        Command::Skill(options) => skill::run(context, &options.action),
        Command::Doctor(options) => doctor::run(context, options),
        Command::Demo(_) => demo::run(),
        Command::Completions(options) => completions::run(context, options),
        Command::Man(options) => man::run(options),
        Command::EchoAgent(options) => echo_agent::run(options),
    }
}

/// The command line as types; `None` where it asked for help, which is printed.
fn parse(mut line: clap::Command, program: &OsString, spelled: &Spelled) -> Result<Option<Cli>> {
    let matches = line.try_get_matches_from_mut(std::iter::once(program).chain(&spelled.arguments));
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
        let command = spelled.command.as_deref().map(|command| format!("{command} ")).unwrap_or_default();
        return Err(Error::usage("a command is missing").hint(format!("see invoke-persist {command}--help")));
    }
    if error.kind() == ErrorKind::InvalidUtf8 {
        return Err(not_unicode(&spelled.arguments));
    }
    let words = error.to_string();
    Err(blank_value(&words, &spelled.arguments).unwrap_or_else(|| usage_error(&words, spelled.command.as_deref())))
}

/// Returns the error for an option with an empty value, of which clap says that there is none.
fn blank_value(words: &str, arguments: &[OsString]) -> Option<Error> {
    let mut blank = arguments.iter().filter_map(|argument| argument.to_str()?.strip_suffix('='));
    let option = blank.find(|option| words.contains(&format!("a value is required for '{option} <")))?;
    Some(Error::usage(format!("{option} is blank")).hint("give a value, or leave the option out"))
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
    Error::usage(message).hint(hint)
}

/// A workspace as the caller named it and as it is.
pub(crate) struct Workspace {
    /// As given, or the current folder.
    pub(crate) shown: String,
    /// Absolute, without links.
    pub(crate) resolved: PathBuf,
    /// Whether the agent has to be sent there.
    pub(crate) given: bool,
}

impl Workspace {
    /// The absolute path as text.
    pub(crate) fn text(&self) -> &str {
        self.resolved.to_str().expect("checked when it was resolved")
    }

    fn of(given: Option<&Path>) -> Result<Self> {
        let (path, shown) = match given {
            Some(path) => (path.to_owned(), location::to_text(path)?.to_owned()),
            None => (location::current_folder()?, String::new()),
        };
        if given.is_some() && shown.trim().is_empty() {
            return Err(Error::usage("--workspace-dir is blank").hint("name a folder, or leave the option out"));
        }
        let resolved = location::resolve(&path).map_err(|error| {
            Error::usage(format!("the workspace {} cannot be resolved", path.display())).because(&error)
        })?;
        let text = location::to_text(&resolved)?.to_owned();
        Ok(Self { shown: if given.is_some() { shown } else { text }, resolved, given: given.is_some() })
    }
}

impl Context {
    /// The mapping of `backend` that the options of `place` mean.
    pub(crate) fn store(&self, backend: Backend, place: &cli::Place) -> Result<(Store, Workspace)> {
        let workspace = Workspace::of(place.workspace_dir.as_deref())?;
        let place = match &place.mapping_file {
            Some(file) => Place::explicit(file)?,
            None => Place::of_workspace(backend, &workspace.resolved)?,
        };
        let text = workspace.text().to_owned();
        Ok((Store { backend, place, workspace: text, notes: self.notes, deadline: None }, workspace))
    }
}

/// What a command is about: a name, an id, or both.
pub(crate) struct Subject {
    pub(crate) name: Option<SessionName>,
    pub(crate) id: Option<AgentSessionId>,
}

impl Subject {
    pub(crate) fn of(selector: &cli::Selector) -> Result<Self> {
        let id = selector.session_id.as_deref().map(session_id).transpose()?.flatten();
        Ok(Self { name: name(&selector.name), id })
    }

    /// Fails where there is neither.
    pub(crate) fn required(self) -> Result<Self> {
        if self.name.is_none() && self.id.is_none() {
            return Err(Error::usage("no session is named").hint("add --session-name NAME or --session-id ID"));
        }
        Ok(self)
    }
}

/// The name in the options; a blank one is none.
fn name(options: &cli::Name) -> Option<SessionName> {
    options.session_name.as_deref().and_then(SessionName::new)
}

fn required_name(options: &cli::Name) -> Result<SessionName> {
    name(options).ok_or_else(|| Error::usage("the session's name is missing").hint("add --session-name NAME"))
}

/// An id from the command line; a blank one is none.
fn session_id(text: &str) -> Result<Option<AgentSessionId>> {
    use crate::session::UnusableId;
    match AgentSessionId::new(text) {
        Ok(id) => Ok(Some(id)),
        Err(UnusableId::Blank) => Ok(None),
        Err(why) => Err(Error::usage(format!("'{text}' cannot be a session's id: it {why}"))),
    }
}

/// Fails for a name that is not in the mapping.
fn not_found(store: &Store, name: &SessionName, unusable: Option<crate::session::UnusableId>) -> Error {
    let backend = store.backend;
    let error = Error::new(Kind::SessionNotFound, format!("no {backend} session is named '{name}'"));
    let error = match unusable {
        Some(why) => error.caused_by(format!("its entry in '{}' has an id that {why}", store.path().display())),
        None => error.caused_by(format!("it is not in '{}'", store.path().display())),
    };
    let similar = store.read().ok().flatten().map(|mapping| similar_names(&mapping, name)).unwrap_or_default();
    let meant = did_you_mean(&similar);
    error.hint(format!(
        "{meant}names belong to a workspace: see invoke-persist --backend {backend} list-sessions; create-session starts one"
    ))
}

/// A question, with a space behind it; nothing where there is nothing to ask.
fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("did you mean {}? ", names.join(" or ")) }
}

/// The names that somebody may have meant who wrote `name`, quoted, the likeliest first.
fn similar_names(mapping: &Mapping, name: &SessionName) -> Vec<String> {
    /// As clap has it for misspelt options.
    const ALIKE: f64 = 0.7;
    const MOST: usize = 3;
    let plain = |text: &str| text.to_lowercase();
    let alike = |other: &str| strsim::jaro(&plain(name.as_str()), &plain(other));
    let mut similar: Vec<_> = mapping.entries().map(|(other, _)| (alike(other), other)).collect();
    similar.retain(|(alike, _)| *alike > ALIKE);
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    similar.iter().take(MOST).map(|(_, other)| format!("'{other}'")).collect()
}

fn print_object(object: &Object) -> Result<()> {
    print(&(object.to_line() + "\n"))
}

fn print(text: &str) -> Result<()> {
    stdio::print(text.as_bytes()).map_err(|error| stdout_error(&error))
}

/// An error that came after a turn was paid for: a caller must not think that nothing was sent.
fn paid(error: Error, id: &AgentSessionId) -> Error {
    error.turn_started().agent_exit_status(Some(0)).session_id(Some(id.clone()))
}

/// The end of a call whose turn in the session `id` is done: what printing gave, unless a signal came meanwhile.
fn finished(printed: Result<()>, id: &AgentSessionId) -> Result<()> {
    let Some(signal) = process::late_signal() else { return printed.map_err(|error| paid(error, id)) };
    let answer = if printed.is_ok() { "its answer is printed" } else { "its answer was not read" };
    Err(paid(
        Error::new(Kind::Interrupted(signal), format!("signal {signal} came after the turn was done; {answer}"))
            .hint("do not send the prompt again: the session has it in its history"),
        id,
    ))
}

fn stdout_error(error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return Error::new(
            Kind::Deadline,
            "the deadline passed before standard output was read; the turn itself is done",
        );
    }
    Error::new(Kind::Io, "standard output cannot be written").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails for a command line, as one would type it, that is none of ours.
    #[track_caller]
    pub(super) fn assert_understood(command: &str) {
        let words: Vec<OsString> = shell_words::split(command).unwrap().into_iter().map(OsString::from).collect();
        let line = Cli::command();
        let spelled = cli::spell(&line, &words[1..], None).0.unwrap_or_else(|error| panic!("{command}: {error:?}"));
        parse(line, &words[0], &spelled).unwrap_or_else(|error| panic!("{command}: {error:?}"));
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

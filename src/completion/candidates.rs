//! The completions of a word on a command line (see [`crate::completion`]).
//!
//! Shells request them with an environment variable, not with a command. Completion reads mappings and records of turns,
//! writes nothing, and takes no lock. An unreadable mapping or an invalid line gives no completions. An error would disturb the line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::StyledStr;
use clap::{Arg, CommandFactory, ValueHint};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};

use super::{Candidate, CompletionResponse};
use crate::backend::Backend;
use crate::backend_selection;
use crate::cli::{self, Cli, Global, NormalizedArgs, Shell};
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorFormat, Result};
use crate::help::TOPICS;
use crate::records::recorder::TurnRecorder;
use crate::session::{SessionName, is_blank};
use crate::store::format::Entry;
use crate::turn::selector::{RecordedTurn, Turns};
use crate::ui::Ui;
use crate::ui::terminal::is_terminal_control;

/// The ID of the candidate that represents any file.
const FILES: &str = "files";
/// The ID of the candidate that represents any directory.
const DIRS: &str = "directories";

/// Prints the completions for a shell's script, which called this program with `arguments`.
pub(crate) fn respond(started: Instant, shell: &OsStr, arguments: Vec<OsString>) -> Result<()> {
    let Some(shell) = shell.to_str().and_then(Shell::from_name) else {
        let error =
            Error::usage(format!("the variable {} is not a supported shell: '{}'", env::COMPLETE, shell.display()));
        return Err(
            error.with_hint(format!("unset {}; only the scripts of 'completions' should set it", env::COMPLETE))
        );
    };
    let Some(request) = shell.parse_request(arguments) else { return Ok(()) };
    let Some(line) = Line::parse(started, &request.words, &request.current) else { return Ok(()) };
    Ui::new().print(&request.format(&line.complete(request.current.clone())))
}

/// A command line up to the word at the cursor.
struct Line {
    context: Context,
    selected: Option<Backend>,
    location: cli::LocationArgs,
    /// Whether the word at the cursor is `--option=value`.
    is_inline: bool,
}

impl Line {
    /// Returns `None` if the line is invalid.
    fn parse(started: Instant, words: &[OsString], current: &str) -> Option<Self> {
        let (program, before) = words.split_first()?;
        let default = backend_selection::default_backend(program).ok()?;
        let normalized = cli::normalize(&Cli::command(), before, default).0.ok()?;
        let value = |option: &str| value_of(&normalized, option);
        let backend = match value("backend") {
            Some(name) => Some(Backend::from_name(name.to_str()?)?),
            None => None,
        };
        let location = cli::LocationArgs {
            mapping_file: value("mapping-file").map(expand_home),
            workspace_dir: value("workspace-dir").map(expand_home),
        };
        let global = Global { backend, error_format: ErrorFormat::Text, quiet: true };
        let ui = Ui::new().with_quiet(true);
        let turn = TurnRecorder::default();
        let context = Context { started, global, ui, turn, normalized, program: program.clone() };
        let selected = context.selected_backend().ok()?;
        Some(Self { context, selected, location, is_inline: current.starts_with("--") && current.contains('=') })
    }

    fn complete(self, current: String) -> CompletionResponse {
        let line = Arc::new(self);
        let mut cli = Cli::command();
        cli.build(); // also the options of all commands, which are deferred otherwise
        let mut cli = with_completers(cli, &line);
        let normalized = &line.context.normalized;
        let words: Vec<OsString> =
            [&line.context.program].into_iter().chain(&normalized.arguments).cloned().chain([current.into()]).collect();
        let at = words.len() - 1;
        let mut candidates = engine::complete(&mut cli, words, at, None).unwrap_or_default();
        // the engine falls back to hidden candidates if no others match
        candidates.retain(|candidate| !candidate.is_hide_set() && !line.is_of_other_backend(candidate));
        // in place of a command or a value, options are only offered after a dash
        if candidates.iter().any(|candidate| !is_option(candidate)) {
            candidates.retain(|candidate| !is_option(candidate));
        }
        match candidates.first().and_then(CompletionCandidate::get_id).map(String::as_str) {
            Some(FILES) => CompletionResponse::Files,
            Some(DIRS) => CompletionResponse::Dirs,
            _ => CompletionResponse::Candidates(candidates.iter().filter_map(to_candidate).collect()),
        }
    }

    /// Returns whether it is an option that only another backend than the selected one has.
    fn is_of_other_backend(&self, candidate: &CompletionCandidate) -> bool {
        let command = self.context.normalized.command.as_deref().unwrap_or_default();
        let option = candidate.get_value().to_str().and_then(|value| value.strip_prefix("--"));
        let (Some(selected), Some(option)) = (self.selected, option.filter(|_| is_option(candidate))) else {
            return false;
        };
        Backend::ALL.into_iter().any(|backend| backend != selected && (backend.spec().owns_option)(command, option))
    }

    /// Returns the name, backend and entry of each session that the line may refer to.
    fn sessions(&self) -> Vec<(String, Backend, Entry)> {
        let backends = self.selected.map_or_else(|| Backend::ALL.to_vec(), |backend| vec![backend]);
        let mut sessions = Vec::new();
        for backend in backends {
            let Ok((store, _)) = self.context.store(backend, &self.location) else { continue };
            let Ok(Some(mapping)) = store.read() else { continue };
            sessions.extend(mapping.entries().map(|(name, entry)| (name.to_owned(), backend, entry)));
        }
        sessions
    }

    /// Returns the names that begin with `typed`, with their backends and models.
    fn names(&self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let mut names = BTreeMap::<String, Vec<String>>::new();
        for (name, backend, entry) in self.sessions() {
            if self.is_completable(&name) {
                let model = entry.model.map(|model| format!(" {model}")).unwrap_or_default();
                names.entry(name).or_default().push(format!("{backend}{model}"));
            }
        }
        candidates(names, typed)
    }

    /// Returns the session IDs that begin with `typed`, with their names.
    fn ids(&self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let mut ids = BTreeMap::<String, Vec<String>>::new();
        for (name, backend, entry) in self.sessions() {
            ids.entry(entry.id.to_string()).or_default().push(format!("{name} ({backend})"));
        }
        candidates(ids, typed)
    }

    /// Returns the IDs of turns that begin with `typed`, with what was asked.
    fn turns(&self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let place = cli::WorkspaceArgs { workspace_dir: self.location.workspace_dir.clone() };
        let Ok(turns) = Turns::of_workspace(&self.context, &place) else { return Vec::new() };
        let is_stop = self.context.normalized.command.as_deref() == Some("stop-turn");
        let turns = turns.all().0.into_iter().filter(|turn| !is_stop || !turn.record.state.is_final());
        let described = turns.map(|RecordedTurn { id, record, .. }| {
            let texts = [record.alias, Some(record.state.name().to_owned()), record.prompt];
            (id, vec![texts.into_iter().flatten().collect::<Vec<_>>().join(" · ")])
        });
        candidates(described.collect(), typed)
    }

    /// Returns what `help` accepts next: the commands below those on the line, and first of all the topics.
    fn help_names(&self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let mut cli = Cli::command();
        cli.build();
        let words = self.context.normalized.arguments.iter().skip_while(|word| *word != "help").skip(1);
        let words: Vec<_> = words.filter(|word| !word.as_encoded_bytes().starts_with(b"-")).collect();
        let command = words.iter().try_fold(&cli, |command, word| command.find_subcommand(word));
        let Some(command) = command else { return Vec::new() };
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let about = |command: &clap::Command| command.get_about().map(StyledStr::to_string).unwrap_or_default();
        let commands = visible.map(|command| (command.get_name().to_owned(), vec![about(command)]));
        let topics = TOPICS.iter().filter(|_| words.is_empty());
        candidates(
            commands.chain(topics.map(|topic| (topic.name.to_owned(), vec![topic.title().to_owned()]))).collect(),
            typed,
        )
    }

    /// Returns whether a name can be passed at the cursor.
    ///
    /// A name that begins with two dashes can only follow a `=`, and `ask` takes none that begins with a dash. White space
    /// at its ends would be trimmed, and a terminal would interpret control characters.
    fn is_completable(&self, name: &str) -> bool {
        let trimmed = SessionName::new(name);
        let is_trimmed = trimmed.is_some_and(|trimmed| trimmed.as_str() == name);
        let is_argument = self.context.normalized.command.as_deref() == Some("ask");
        let is_option = if is_argument { name.starts_with('-') } else { !self.is_inline && name.starts_with("--") };
        is_trimmed && !name.chars().any(is_terminal_control) && !is_option
    }

    /// Returns whether `create-session` accepts an existing name here. By default it needs a new one.
    fn accepts_existing(&self) -> bool {
        value_of(&self.context.normalized, "if-exists").is_some_and(|value| value != "fail")
    }
}

/// Adds completers to the options of `command` and its subcommands.
fn with_completers(command: clap::Command, line: &Arc<Line>) -> clap::Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match completer(&name, &arg, line) {
        Some(completer) => arg.add(completer),
        None => arg,
    });
    command.mut_subcommands(|command| with_completers(command, line))
}

fn completer(command: &str, arg: &Arg, line: &Arc<Line>) -> Option<ArgValueCompleter> {
    let completed = Arc::clone(line);
    match (arg.get_id().as_str(), command) {
        ("session_name", "create-session") if !line.accepts_existing() => None,
        ("session_name", _) => Some(ArgValueCompleter::new(move |typed: &OsStr| completed.names(typed))),
        ("session_id", "create-session") => None,
        ("session_id", _) => Some(ArgValueCompleter::new(move |typed: &OsStr| completed.ids(typed))),
        ("turn_id", _) => Some(ArgValueCompleter::new(move |typed: &OsStr| completed.turns(typed))),
        ("names", "help") => Some(ArgValueCompleter::new(move |typed: &OsStr| completed.help_names(typed))),
        _ => {
            let id = match arg.get_value_hint() {
                ValueHint::AnyPath | ValueHint::FilePath => FILES,
                ValueHint::DirPath => DIRS,
                _ => return None,
            };
            let any_path = move |_: &OsStr| vec![CompletionCandidate::new("").id(Some(id.to_owned()))];
            Some(ArgValueCompleter::new(any_path))
        }
    }
}

fn candidates(values: BTreeMap<String, Vec<String>>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let matching = values.into_iter().filter(|(value, _)| value.starts_with(typed));
    matching.map(|(value, help)| CompletionCandidate::new(value).help(Some(help.join(", ").into()))).collect()
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_id().is_some_and(|id| id.starts_with("arg::"))
}

fn to_candidate(candidate: &CompletionCandidate) -> Option<Candidate> {
    let value = candidate.get_value().to_str()?.to_owned();
    let help = candidate.get_help().map(StyledStr::to_string).unwrap_or_default();
    let help = help.lines().next().unwrap_or_default();
    Some(Candidate { value, help: help.chars().map(|c| if is_terminal_control(c) { ' ' } else { c }).collect() })
}

/// Returns the value of an option on the line, if it is not blank.
fn value_of<'a>(normalized: &'a NormalizedArgs, option: &str) -> Option<&'a OsStr> {
    let value = |argument: &'a OsString| {
        let (name, value) = argument.to_str()?.strip_prefix("--")?.split_once('=')?;
        (name == option && !is_blank(value)).then_some(OsStr::new(value))
    };
    let before_dashes = normalized.arguments.iter().take_while(|argument| *argument != "--");
    before_dashes.filter_map(value).last()
}

/// Expands `~/` in a path on the line, which the shell has not expanded yet.
fn expand_home(path: &OsStr) -> PathBuf {
    let rest = path.to_str().and_then(|path| path.strip_prefix("~/"));
    match (rest, env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

//! What a word on a command line may become: a shell's Tab (see [`crate::completion`]). Not a command: shells ask by a
//! variable. Reads mappings, writes nothing, takes no lock; what cannot be read, or is wrong on the line, offers nothing
//! and says nothing, for whoever pressed Tab is in the middle of a line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::StyledStr;
use clap::{Arg, CommandFactory, ValueHint};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};

use super::{Completion, Word};
use crate::backend::Backend;
use crate::backend_selection;
use crate::cli::{self, Cli, Global, NormalizedArgs, Shell};
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorFormat, Result};
use crate::session::{SessionName, is_blank};
use crate::store::format::Entry;
use crate::ui::Ui;
use crate::ui::terminal::is_terminal_control;

/// Marks the one candidate that stands for any path.
const FILES: &str = "files";
/// The same for directories.
const DIRS: &str = "directories";

/// Answers the script of the shell that is named `shell`, which called this program with `arguments`.
pub(crate) fn answer(started: Instant, shell: &OsStr, arguments: Vec<OsString>) -> Result<()> {
    let Some(shell) = shell.to_str().and_then(Shell::from_name) else {
        let error = Error::usage(format!("{} is '{}', which is no shell we know", env::COMPLETE, shell.display()));
        return Err(
            error.with_hint(format!("unset {}: it is for the scripts of invoke-persist completions", env::COMPLETE))
        );
    };
    let Some(question) = shell.question(arguments) else { return Ok(()) };
    let Some(line) = Line::understand(started, &question.words, &question.current) else { return Ok(()) };
    Ui::new().print(&question.write(&line.complete(question.current.clone())))
}

/// A command line up to the word at the cursor.
struct Line {
    context: Context,
    /// The backend that is chosen.
    decided: Option<Backend>,
    place: cli::LocationArgs,
    /// The word at the cursor is `--option=value`.
    inline: bool,
}

impl Line {
    /// `None` where what is there is wrong already.
    fn understand(started: Instant, words: &[OsString], current: &str) -> Option<Self> {
        let (program, before) = words.split_first()?;
        let preset = backend_selection::default_backend(program).ok()?;
        let normalized = cli::normalize(&Cli::command(), before, preset).0.ok()?;
        let value = |option: &str| value_of(&normalized, option);
        let backend = match value("backend") {
            Some(name) => Some(Backend::from_name(name.to_str()?)?),
            None => None,
        };
        let place = cli::LocationArgs {
            mapping_file: value("mapping-file").map(below_home),
            workspace_dir: value("workspace-dir").map(below_home),
        };
        let global = Global { backend, error_format: ErrorFormat::Text, quiet: true };
        let ui = Ui::new().with_quiet(true);
        let context = Context { started, global, ui, normalized, program: program.clone() };
        let decided = context.selected_backend().ok()?;
        Some(Self { context, decided, place, inline: current.starts_with("--") && current.contains('=') })
    }

    fn complete(self, current: String) -> Completion {
        let line = Arc::new(self);
        let mut cli = Cli::command();
        cli.build(); // with every command's options, which are otherwise made when it is called
        let mut cli = with_values(cli, &line);
        let normalized = &line.context.normalized;
        let words: Vec<OsString> =
            [&line.context.program].into_iter().chain(&normalized.arguments).cloned().chain([current.into()]).collect();
        let at = words.len() - 1;
        let mut candidates = engine::complete(&mut cli, words, at, None).unwrap_or_default();
        // the engine falls back to what is hidden where nothing else fits
        candidates.retain(|candidate| !candidate.is_hide_set() && !line.is_of_other_backend(candidate));
        // where a command or a value belongs, options are offered when asked for
        if candidates.iter().any(|candidate| !is_option(candidate)) {
            candidates.retain(|candidate| !is_option(candidate));
        }
        match candidates.first().and_then(CompletionCandidate::get_id).map(String::as_str) {
            Some(FILES) => Completion::Files,
            Some(DIRS) => Completion::Dirs,
            _ => Completion::Words(candidates.iter().filter_map(word).collect()),
        }
    }

    /// Whether it is an option that would be an error with the backend that is chosen.
    fn is_of_other_backend(&self, candidate: &CompletionCandidate) -> bool {
        let command = self.context.normalized.command.as_deref().unwrap_or_default();
        let option = candidate.get_value().to_str().and_then(|value| value.strip_prefix("--"));
        let (Some(decided), Some(option)) = (self.decided, option.filter(|_| is_option(candidate))) else {
            return false;
        };
        Backend::ALL.into_iter().any(|backend| backend != decided && (backend.spec().owns_option)(command, option))
    }

    /// The sessions that are meant here: name, backend, entry.
    fn sessions(&self) -> Vec<(String, Backend, Entry)> {
        let backends = self.decided.map_or_else(|| Backend::ALL.to_vec(), |backend| vec![backend]);
        let mut sessions = Vec::new();
        for backend in backends {
            let Ok((store, _)) = self.context.store(backend, &self.place) else { continue };
            let Ok(Some(mapping)) = store.read() else { continue };
            sessions.extend(mapping.entries().map(|(name, entry)| (name.to_owned(), backend, entry)));
        }
        sessions
    }

    /// Names that begin with `typed`, each with its backends and models.
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

    /// Ids that begin with `typed`, each with its names.
    fn ids(&self, typed: &OsStr) -> Vec<CompletionCandidate> {
        let mut ids = BTreeMap::<String, Vec<String>>::new();
        for (name, backend, entry) in self.sessions() {
            ids.entry(entry.id.to_string()).or_default().push(format!("{name} ({backend})"));
        }
        candidates(ids, typed)
    }

    /// Whether a name can be given here: one that begins with two dashes only behind a `=`, one with control
    /// characters or white space at its ends not at all (a terminal would act on it, and it would be trimmed).
    fn is_completable(&self, name: &str) -> bool {
        let as_taken = SessionName::new(name);
        let is_kept = as_taken.is_some_and(|taken| taken.as_str() == name);
        is_kept && !name.chars().any(is_terminal_control) && (self.inline || !name.starts_with("--"))
    }

    /// Whether `create-session` is to meet a session that is there. Otherwise it wants a new name, and Tab must not
    /// lead into overwriting one.
    fn wants_existing(&self) -> bool {
        value_of(&self.context.normalized, "if-exists").is_some_and(|what| what != "fail")
    }
}

/// `command`, whose options, and those of its own commands, know what values they may have.
fn with_values(command: clap::Command, line: &Arc<Line>) -> clap::Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match completer(&name, &arg, line) {
        Some(completer) => arg.add(completer),
        None => arg,
    });
    command.mut_subcommands(|command| with_values(command, line))
}

fn completer(command: &str, arg: &Arg, line: &Arc<Line>) -> Option<ArgValueCompleter> {
    let knows = Arc::clone(line);
    match (arg.get_id().as_str(), command) {
        ("session_name", "create-session") if !line.wants_existing() => None,
        ("session_name", _) => Some(ArgValueCompleter::new(move |typed: &OsStr| knows.names(typed))),
        ("session_id", "create-session") => None,
        ("session_id", _) => Some(ArgValueCompleter::new(move |typed: &OsStr| knows.ids(typed))),
        _ => {
            let what = match arg.get_value_hint() {
                ValueHint::AnyPath | ValueHint::FilePath => FILES,
                ValueHint::DirPath => DIRS,
                _ => return None,
            };
            let any = move |_: &OsStr| vec![CompletionCandidate::new("").id(Some(what.to_owned()))];
            Some(ArgValueCompleter::new(any))
        }
    }
}

fn candidates(values: BTreeMap<String, Vec<String>>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let fitting = values.into_iter().filter(|(value, _)| value.starts_with(typed));
    fitting.map(|(value, help)| CompletionCandidate::new(value).help(Some(help.join(", ").into()))).collect()
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_id().is_some_and(|id| id.starts_with("arg::"))
}

fn word(candidate: &CompletionCandidate) -> Option<Word> {
    let value = candidate.get_value().to_str()?.to_owned();
    let help = candidate.get_help().map(StyledStr::to_string).unwrap_or_default();
    let help = help.lines().next().unwrap_or_default();
    Some(Word { value, help: help.chars().map(|c| if is_terminal_control(c) { ' ' } else { c }).collect() })
}

/// The value of an option on the line, if it is not blank.
fn value_of<'a>(normalized: &'a NormalizedArgs, option: &str) -> Option<&'a OsStr> {
    let value = |argument: &'a OsString| {
        let (name, value) = argument.to_str()?.strip_prefix("--")?.split_once('=')?;
        (name == option && !is_blank(value)).then_some(OsStr::new(value))
    };
    let before_dashes = normalized.arguments.iter().take_while(|argument| *argument != "--");
    before_dashes.filter_map(value).last()
}

/// A path as it stands on a line: the shell has not put the home directory in yet.
fn below_home(path: &OsStr) -> PathBuf {
    let rest = path.to_str().and_then(|path| path.strip_prefix("~/"));
    match (rest, env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

//! The settings that are kept with a name: which of them a call gives, and how they are combined with those of a call.
//!
//! An option of a call replaces the stored ones of the same kind. All others stay in force.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command};

use super::lookup::StoredSession;
use crate::backend::{Backend, BackendArgs, option_words};
use crate::cli::{AgentArgs, SettingsArgs};
use crate::error::{Error, ErrorKind, Result};
use crate::paths;
use crate::session::is_blank;
use crate::store::Store;
use crate::store::settings::StoredSettings;
use crate::ui::Ui;

/// The kind of an option that selects the model. `--model` replaces it.
const MODEL: &str = "model";
/// The kind of an option that selects the reasoning effort. `--reasoning-effort` replaces it.
const EFFORT: &str = "effort";

/// Returns the stored settings of `session`. `None` if it has none.
///
/// # Errors
///
/// [`ErrorKind::MappingUnsafe`] if another user could have written them, and [`ErrorKind::MappingInvalid`].
pub(crate) fn stored(store: &Store, session: &StoredSession) -> Result<Option<StoredSettings>> {
    let (Some(mapping), Some((_, entry))) = (&session.mapping, &session.saved) else { return Ok(None) };
    Ok(store.settings(mapping, entry)?)
}

/// Returns the settings without the arguments that the interactive program of the agent lacks.
pub(crate) fn for_interactive(backend: Backend, settings: StoredSettings) -> StoredSettings {
    let words: Vec<&str> = settings.arguments.iter().map(String::as_str).collect();
    let kept = groups(&words).into_iter().filter(|group| !(backend.spec().is_for_turns_only)(group));
    StoredSettings { arguments: kept.flatten().map(|word| (*word).to_owned()).collect(), ..settings }
}

/// Returns what a call with `--remember` adds to the stored settings. `replaces` is for `--forget-settings`.
///
/// # Errors
///
/// Those of [`given`], and [`ErrorKind::MappingUnsafe`] if others could write to the mapping.
pub(crate) fn remembered(store: &Store, options: &SettingsArgs, replaces: bool) -> Result<Remembered> {
    store.check_private()?;
    let given = given(store.backend, options)?;
    warn_unprotected(&store.ui, store.backend, &given.settings);
    Ok(Remembered { given, replaces })
}

/// The settings that the options of a call give.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) settings: StoredSettings,
    /// Whether the options for model and effort are given.
    model: bool,
    effort: bool,
}

impl Given {
    fn by(options: &SettingsArgs, settings: StoredSettings) -> Self {
        Self { settings, model: options.model.is_some(), effort: options.reasoning_effort.is_some() }
    }

    /// Returns whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.settings.is_empty() && !self.model && !self.effort
    }

    /// Returns `stored` with what is given.
    pub(crate) fn added_to(&self, backend: Backend, stored: &StoredSettings) -> StoredSettings {
        let (kept, given) = (Replaced::by(backend, self).removed_from(stored), &self.settings);
        let join = |kept: Vec<String>, given: &[String]| kept.into_iter().chain(given.iter().cloned()).collect();
        StoredSettings {
            arguments: join(kept.arguments, &given.arguments),
            config: join(kept.config, &given.config),
            command: join(kept.command, &given.command),
            env_file: given.env_file.clone().or(kept.env_file),
        }
    }
}

/// Returns the settings that the options of a call give.
///
/// # Errors
///
/// A usage error for a text that is not valid UTF-8, which a mapping cannot store.
pub(crate) fn given(backend: Backend, options: &SettingsArgs) -> Result<Given> {
    let unusable =
        |what: &str, text: String| Error::usage(format!("cannot store {what} '{text}', because it is not valid UTF-8"));
    let word = |argument: &OsString| {
        let text = argument.to_str().map(str::to_owned);
        text.ok_or_else(|| unusable("the argument", argument.display().to_string()))
    };
    let path_text = |path: &PathBuf| {
        if !path.is_file() {
            let error = Error::usage(format!("cannot store --env-file {}", path.display()));
            return Err(error.caused_by("it is not a regular file, which later calls could read again"));
        }
        let path = paths::absolute(path)?;
        path.to_str().map(str::to_owned).ok_or_else(|| unusable("the path", path.display().to_string()))
    };
    let arguments: Vec<String> = options.extra.iter().map(word).collect::<Result<_>>()?;
    let settings = StoredSettings {
        arguments: lasting(backend, &arguments)?,
        env_file: options.agent.env_file.as_ref().map(path_text).transpose()?,
        ..words(backend, options)
    };
    Ok(Given::by(options, settings))
}

/// Returns the agent's arguments that are for more than one turn.
///
/// # Errors
///
/// A usage error for a word that is not an option, because it would be a part of every prompt.
fn lasting(backend: Backend, arguments: &[String]) -> Result<Vec<String>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(word) = words.first().filter(|word| !is_option(word)) {
        return Err(Error::usage(format!("cannot store the argument '{word}'"))
            .caused_by("it is not an option")
            .with_hint("remove it, or pass it in a call that stores nothing"));
    }
    let kept = groups(&words).into_iter().filter(|group| !(backend.spec().is_for_one_turn)(group));
    Ok(kept.flatten().map(|word| (*word).to_owned()).collect())
}

/// Returns the first option that is for one turn, such as an image, and is therefore not stored.
pub(crate) fn for_one_turn(backend: Backend, options: &SettingsArgs) -> Option<String> {
    let file = options.backend.files().next().map(|(option, _)| option.to_owned());
    let words: Vec<_> = options.extra.iter().map(|argument| argument.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    let mut groups = groups(&words).into_iter();
    file.or_else(|| Some(option_name(groups.find(|group| (backend.spec().is_for_one_turn)(group))?[0]).to_owned()))
}

/// Returns the settings that are in force for a call with these options, for its record.
pub(crate) fn in_force(backend: Backend, options: &SettingsArgs) -> StoredSettings {
    let arguments = options.extra.iter().map(|argument| argument.display().to_string()).collect();
    let env_file = options.agent.env_file.as_deref().map(|path| path.display().to_string());
    StoredSettings { arguments, env_file, ..words(backend, options) }
}

/// Returns the settings that are options of this program.
fn words(backend: Backend, options: &SettingsArgs) -> StoredSettings {
    let spec = backend.spec();
    let launch = (spec.launch)(&options.agent.launch);
    let shell = launch.shell.map(|shell| [shell.kind, shell.command, shell.init]);
    let launch = [launch.command].into_iter().chain(shell.into_iter().flatten());
    let given = launch.filter_map(|setting| Some((setting.option, setting.value.filter(|value| !is_blank(value))?)));
    StoredSettings {
        config: (spec.config_words)(&options.backend),
        command: given.flat_map(|(option, value)| option_words(option, value)).collect(),
        ..StoredSettings::default()
    }
}

/// Returns whether the agent's own options in `settings` select the model, and the effort. They replace what the name
/// keeps: codex refuses a second `--model`.
pub(crate) fn select_model_and_effort(backend: Backend, settings: &StoredSettings) -> (bool, bool) {
    let kinds = kinds(backend, settings);
    let has = |kind| kinds.iter().any(|other| other == kind);
    (has(MODEL), has(EFFORT))
}

/// Returns the kinds of the agent's options in `settings`.
fn kinds(backend: Backend, settings: &StoredSettings) -> Vec<String> {
    let words: Vec<&str> = settings.arguments.iter().chain(&settings.config).map(String::as_str).collect();
    groups(&words).into_iter().map(backend.spec().setting_kind).collect()
}

/// What the options of a call replace.
struct Replaced {
    backend: Backend,
    kinds: Vec<String>,
    command: bool,
    env_file: bool,
}

impl Replaced {
    fn by(backend: Backend, given: &Given) -> Self {
        let mut kinds = kinds(backend, &given.settings);
        kinds.extend(given.model.then(|| MODEL.to_owned()));
        kinds.extend(given.effort.then(|| EFFORT.to_owned()));
        let Given { settings: StoredSettings { command, env_file, .. }, .. } = given;
        Self { backend, kinds, command: !command.is_empty(), env_file: env_file.is_some() }
    }

    /// Returns `stored` without what is replaced.
    fn removed_from(&self, stored: &StoredSettings) -> StoredSettings {
        let kept = |words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let kept = groups(&words).into_iter().filter(|group| {
                let kind = (self.backend.spec().setting_kind)(group);
                !self.kinds.contains(&kind)
            });
            kept.flatten().map(|word| (*word).to_owned()).collect()
        };
        StoredSettings {
            arguments: kept(&stored.arguments),
            config: kept(&stored.config),
            command: if self.command { Vec::new() } else { stored.command.clone() },
            env_file: stored.env_file.clone().filter(|_| !self.env_file),
        }
    }
}

/// Returns the options of a call with the stored settings that it does not replace. Prints a note that names those.
///
/// # Errors
///
/// [`ErrorKind::MappingInvalid`] if a stored word is not an option.
pub(crate) fn apply(
    ui: &Ui,
    backend: Backend,
    stored: &StoredSettings,
    options: &SettingsArgs,
) -> Result<SettingsArgs> {
    if stored.arguments.first().is_some_and(|word| !is_option(word)) {
        return Err(unusable("the first argument is not an option"));
    }
    let given = Given::by(options, in_force(backend, options));
    let kept = Replaced::by(backend, &given).removed_from(stored);
    if kept.is_empty() {
        return Ok(options.clone());
    }
    let given = given.settings;
    let names = names(&kept).join(", ");
    let launch = if given.command.is_empty() { parse(&kept.command)? } else { options.agent.launch.clone() };
    let env_file = options.agent.env_file.clone().or_else(|| kept.env_file.map(PathBuf::from));
    let config = kept.config.into_iter().chain(given.config).collect::<Vec<_>>();
    let backend = parse::<BackendArgs>(&config)?.with_files_of(&options.backend);
    let extra = kept.arguments.into_iter().map(OsString::from);
    ui.note(&format!("using stored settings: {names}; pass --forget-settings to ignore them"));
    Ok(SettingsArgs {
        agent: AgentArgs { env_file, launch },
        backend,
        extra: extra.chain(options.extra.iter().cloned()).collect(), // those need not be valid UTF-8
        ..options.clone()
    })
}

/// Parses stored words as options of this program.
fn parse<T: Args>(words: &[String]) -> Result<T> {
    let command = T::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true));
    command.try_get_matches_from(words).and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| {
        let text = error.to_string();
        unusable(text.lines().next().unwrap_or_default().trim_start_matches("error: "))
    })
}

/// Returns the error for stored settings that a call cannot use.
pub(crate) fn unusable(why: &str) -> Error {
    Error::new(ErrorKind::MappingInvalid, "cannot use the stored settings")
        .caused_by(why)
        .with_hint("remove them with set-session --unset all, or pass --forget-settings")
}

/// Returns the options among `settings` that switch off a protection, as they are typed.
pub(crate) fn unprotected(backend: Backend, settings: &StoredSettings) -> Vec<String> {
    let words: Vec<&str> = settings.config.iter().chain(&settings.arguments).map(String::as_str).collect();
    let found = groups(&words).into_iter().filter(|group| (backend.spec().is_unprotected)(group));
    found.map(|group| group.join(" ")).collect()
}

/// Returns the names of the options in `settings`, for a note. Values are left out, because they may be secret.
pub(crate) fn names(settings: &StoredSettings) -> Vec<String> {
    let lists = [&settings.arguments, &settings.config, &settings.command].into_iter();
    let words: Vec<&str> = lists.flatten().map(String::as_str).collect();
    let mut names: Vec<String> = Vec::new();
    let env_file = settings.env_file.iter().map(|_| "--env-file");
    for name in groups(&words).iter().map(|group| option_name(group[0])).chain(env_file) {
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Prints a warning for each option in `settings`, which are about to be stored, that switches off a protection.
pub(crate) fn warn_unprotected(ui: &Ui, backend: Backend, settings: &StoredSettings) {
    for option in unprotected(backend, settings) {
        ui.warn_always(&format!(
            "{option} is stored and switches off a protection of {backend} in all later turns; \
             to remove it, use set-session --unset arguments,config"
        ));
    }
}

/// What a call with `--remember` adds to the stored settings.
#[derive(Debug)]
pub(crate) struct Remembered {
    given: Given,
    /// Whether everything that is stored is replaced.
    pub(crate) replaces: bool,
}

impl Remembered {
    /// Returns the JSON to store in an entry that has `stored`.
    pub(crate) fn added_to(&self, backend: Backend, stored: Option<&str>) -> Option<String> {
        let stored = stored.filter(|_| !self.replaces).and_then(|json| StoredSettings::parse(json).ok());
        self.given.added_to(backend, &stored.unwrap_or_default()).to_json()
    }
}

/// Splits words into options with their values. Words before the first option are a group.
fn groups<'a>(words: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    let mut groups = Vec::new();
    let mut rest = words;
    while !rest.is_empty() {
        let length = 1 + rest[1..].iter().take_while(|word| !is_option(word)).count();
        let (group, others) = rest.split_at(length);
        groups.push(group);
        rest = others;
    }
    groups
}

/// Returns whether a word is an option, and not a value that begins with a dash.
fn is_option(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    let letters = name.strip_prefix("--").or_else(|| name.strip_prefix('-'));
    letters.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.contains(|c: char| c.is_whitespace())
    })
}

/// Returns the name of an option without a value that is joined with it.
fn option_name(word: &str) -> &str {
    let end = match word.strip_prefix('-').and_then(|rest| rest.chars().next()) {
        Some(letter) if letter.is_ascii_alphabetic() => "-".len() + letter.len_utf8(),
        _ => word.find('=').unwrap_or(word.len()),
    };
    &word[..end]
}

//! Corrects a command line that cannot be parsed into the line that was probably meant.
//!
//! Words from other programs are in the tables of `synonyms`. Other words count as misspelled only if they are close to
//! a right one.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::synonyms::{self, Synonym};
use super::{Cli, normalize, options_of};
use crate::backend::Backend;
use crate::records::dir::is_id;
use crate::sort::sort_by;

/// How to correct a command line.
#[derive(Debug)]
pub(super) struct Correction {
    /// An imperative about the first mistake.
    pub(super) advice: String,
    /// A corrected command line, if one was found.
    pub(super) line: Option<String>,
}

/// A command line after one mistake in it was corrected; no words if there is only advice.
struct Candidate {
    advice: String,
    words: Option<Vec<String>>,
}

/// A search ends after this many attempts. The longest useful one in the tests needs 12.
const MAX_ATTEMPTS: usize = 40;
/// Mistakes in one line beyond this number are not corrected.
const MAX_MISTAKES: usize = 7;
/// Values longer than this are not repeated.
const MAX_SHOWN: usize = 60;

/// Returns a correction for normalized `arguments` that clap refused with `error`; `None` if nothing is close.
pub(super) fn correct(error: &clap::Error, arguments: &[OsString]) -> Option<Correction> {
    let words: Option<Vec<String>> = arguments.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let candidates = Line::new(words?)?.candidates(error);
    let mut attempts = MAX_ATTEMPTS;
    for candidate in &candidates {
        let Some(words) = &candidate.words else {
            return Some(Correction { advice: candidate.advice.clone(), line: None });
        };
        if let Some(line) = search(words, MAX_MISTAKES - 1, &mut attempts) {
            return Some(Correction { advice: candidate.advice.clone(), line: Some(line.show()) });
        }
    }
    candidates.into_iter().next().map(|candidate| Correction { advice: candidate.advice, line: None })
}

/// Returns the first line that can be parsed, after up to `mistakes` further corrections.
fn search(words: &[String], mistakes: usize, attempts: &mut usize) -> Option<Line> {
    *attempts = attempts.checked_sub(1)?;
    let line = Line::new(words.to_vec())?;
    let Some(error) = line.error() else {
        return Some(line.completed());
    };
    if mistakes == 0 {
        return None;
    }
    let candidates = line.candidates(&error).into_iter().filter_map(|candidate| candidate.words);
    candidates.into_iter().find_map(|words| search(&words, mistakes - 1, attempts))
}

/// A command line with every option spelled out.
struct Line {
    words: Vec<String>,
    /// The command and where it is.
    command: Option<(usize, String)>,
    /// The command's options, followed by the global ones.
    options: Vec<clap::Arg>,
}

impl Line {
    /// Returns `None` if an option is short for several.
    fn new(words: Vec<String>) -> Option<Self> {
        let cli = Cli::command();
        let typed: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        let normalized = normalize(&cli, &typed, None).0.ok()?;
        let words: Vec<String> =
            normalized.arguments.into_iter().map(OsString::into_string).collect::<Result<_, _>>().ok()?;
        let at = |name: String| Some((words.iter().position(|word| *word == name)?, name));
        let command = normalized.command.and_then(at);
        let own = command.as_ref().and_then(|(_, name)| options_of(name));
        let nested = own.iter().flat_map(clap::Command::get_subcommands);
        let nested = nested.filter(|nested| words.iter().any(|word| word == nested.get_name()));
        let own = own.iter().chain(nested).flat_map(clap::Command::get_arguments).cloned();
        let options = own.chain(cli.get_arguments().cloned()).collect();
        Some(Self { words, command, options })
    }

    /// Returns the command alone, with its options.
    fn of_command(name: &str) -> Option<Self> {
        Self::new(vec![name.to_owned()])
    }

    /// Returns the error that clap has for the line; `None` if it can be parsed.
    fn error(&self) -> Option<clap::Error> {
        let words = std::iter::once("invoke-persist").chain(self.words.iter().map(String::as_str));
        // help is an error of clap's
        Cli::command().try_get_matches_from(words).err().filter(clap::Error::use_stderr)
    }

    fn candidates(&self, error: &clap::Error) -> Vec<Candidate> {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.as_str(),
            _ => "",
        };
        let (argument, value) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
        match error.kind() {
            ErrorKind::InvalidSubcommand => self.for_command(text(ContextKind::InvalidSubcommand)),
            ErrorKind::UnknownArgument if argument.len() > 1 && argument.starts_with('-') => self.for_option(argument),
            ErrorKind::UnknownArgument => self.for_stray_word(argument),
            ErrorKind::InvalidValue if !value.is_empty() => {
                let valid = match error.get(ContextKind::ValidValue) {
                    Some(ContextValue::Strings(valid)) => valid.as_slice(),
                    _ => &[],
                };
                self.for_value(argument.split(' ').next().unwrap_or_default(), value, valid)
            }
            ErrorKind::TooManyValues => {
                let Some(at) = self.words.iter().position(|word| *word == format!("{argument}={value}")) else {
                    return Vec::new();
                };
                vec![self.replaced(at, 1, &[argument], format!("use {argument} without a value"))]
            }
            _ => Vec::new(),
        }
    }

    /// Returns the number of words before `--`.
    fn end(&self) -> usize {
        self.words.iter().position(|word| word == "--").unwrap_or(self.words.len())
    }

    fn option(&self, name: &str) -> Option<&clap::Arg> {
        let name = name.strip_prefix("--")?;
        let has = |arg: &&clap::Arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        };
        self.options.iter().find(has)
    }

    fn has(&self, option: &str) -> bool {
        // clap adds both when it parses
        self.option(option).is_some() || option == "--help" || (option == "--version" && self.command.is_none())
    }

    /// Returns whether the line has one of these options, or an alias of it.
    fn gives(&self, options: &[&str]) -> bool {
        let ids: Vec<_> = options.iter().filter_map(|option| self.option(option)).map(clap::Arg::get_id).collect();
        self.words[..self.end()].iter().any(|word| {
            let name = word.split('=').next().unwrap_or(word);
            self.option(name).is_some_and(|option| ids.contains(&option.get_id()))
        })
    }

    fn replaced(&self, at: usize, count: usize, words: &[&str], advice: String) -> Candidate {
        Candidate { advice, words: Some(replaced(&self.words, at, count, words)) }
    }

    /// Returns the line with `words` in place of `count` words at `at`. A command in `words` replaces the line's.
    fn with(&self, at: usize, count: usize, words: &[&str], advice: String) -> Candidate {
        let split = words.iter().position(|word| word.starts_with('-')).unwrap_or(words.len());
        let (command, options) = words.split_at(split);
        let mut line = replaced(&self.words, at, count, options);
        if !command.is_empty() {
            let (place, count) = match &self.command {
                Some((place, _)) if *place < at => (*place, 1),
                Some((place, _)) => (place + options.len() - count, 1),
                None => (at, 0),
            };
            line = replaced(&line, place, count, command);
        }
        Candidate { advice, words: Some(line) }
    }

    fn for_command(&self, word: &str) -> Vec<Candidate> {
        let Some(at) = self.words.iter().position(|other| other == word) else {
            return Vec::new();
        };
        let mut candidates = Vec::new();
        for Synonym { typed, means, advice } in synonyms::rows(synonyms::COMMANDS) {
            let typed: Vec<&str> = typed.split(' ').collect();
            // the second word of a row may be the unknown one, after a command
            let starts = [Some(at), at.checked_sub(1)].into_iter().flatten().take(typed.len());
            let matches = |start: &usize| {
                let rest = &self.words[*start..];
                rest.len() >= typed.len() && rest.iter().zip(&typed).all(|(one, other)| one.eq_ignore_ascii_case(other))
            };
            let (Some(start), Some(means)) = (starts.into_iter().find(matches), means) else { continue };
            let words: Vec<&str> = means.split_whitespace().collect();
            candidates.push(self.replaced(start, typed.len(), &words, advice_for(advice, means)));
        }
        if let Some((_, command)) = &self.command {
            candidates.extend(options_of(command).iter().flat_map(|command| self.close_commands(at, word, command)));
            return candidates;
        }
        candidates.extend(self.for_backend(at, word));
        candidates.extend(self.close_commands(at, word, &Cli::command()));
        if has_form(word, synonyms::TEXT) {
            let words = ["resume-json", &format!("--prompt={word}")];
            candidates.push(self.replaced(at, 1, &words, "give the prompt with --prompt".to_owned()));
        }
        candidates
    }

    fn close_commands(&self, at: usize, word: &str, parent: &clap::Command) -> Vec<Candidate> {
        let known = parent.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
        let close = close_to(word, known);
        close.iter().map(|known| self.replaced(at, 1, &[known], format!("use {known}"))).collect()
    }

    /// Returns the line with `--backend`, or `--agent` where the command has that, if `word` names a backend.
    fn for_backend(&self, at: usize, word: &str) -> Option<Candidate> {
        let word = word.trim_start_matches('-').to_ascii_lowercase();
        let parts: Vec<&str> = word.split(['-', '_']).collect();
        let backend = Backend::ALL.into_iter().find(|backend| parts.contains(&backend.name()))?;
        let option = if self.has("--agent") { "--agent" } else { "--backend" };
        Some(self.replaced(at, 1, &[&format!("{option}={backend}")], format!("use {option} {backend}")))
    }

    fn for_option(&self, argument: &str) -> Vec<Candidate> {
        let is_it = |word: &String| {
            let rest = word.strip_prefix(argument);
            // a short option's value may be in the same word
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || !argument.starts_with("--"))
        };
        let Some(at) = self.words[..self.end()].iter().position(is_it) else {
            return Vec::new();
        };
        let attached = &self.words[at][argument.len()..];
        if !attached.is_empty() {
            // as two words, so that the value does not depend on how it was given
            let value = attached.strip_prefix('=').unwrap_or(attached);
            let words = replaced(&self.words, at, 1, &[argument, value]);
            return Self { words, command: self.moved_command(at), options: self.options.clone() }.for_option(argument);
        }
        let mut candidates = self.for_synonym(at, argument);
        match &self.command {
            None => {
                candidates.push(self.replaced(at, 0, &["resume-json"], "begin with a command".to_owned()));
            }
            Some((place, name)) if *place > at && self.has(argument) => {
                let mut words = self.words.clone();
                let option: Vec<String> = words.drain(at..(at + 2).min(*place)).collect();
                words.insert(self.end() - option.len(), option.join("="));
                candidates.push(Candidate { advice: format!("put {argument} after {name}"), words: Some(words) });
            }
            Some(_) => {
                candidates.extend(self.after_dashes(at, argument));
                candidates.extend(self.for_backend(at, argument));
                let known = self.options.iter().filter(|option| !option.is_hide_set()).filter_map(clap::Arg::get_long);
                let known: Vec<String> = known.map(|name| format!("--{name}")).collect();
                let close = close_to(argument, known.iter().map(String::as_str));
                candidates.extend(close.iter().map(|option| self.with(at, 1, &[option], format!("use {option}"))));
                candidates.extend(on_other_commands(argument));
            }
        }
        candidates
    }

    /// Returns what the table has for the option at `at`.
    fn for_synonym(&self, at: usize, argument: &str) -> Vec<Candidate> {
        let value = self.words[at + 1..self.end()].first().map(String::as_str);
        let command = self.command.as_ref().map(|(_, name)| name.as_str());
        let mut candidates = Vec::new();
        for Synonym { typed, means, advice } in synonyms::rows(synonyms::OPTIONS) {
            let mut words = typed.split(' ').peekable();
            let only_on = words.next_if(|word| !word.starts_with('-'));
            let (option, form) = (words.next(), words.next());
            let has_form = form.is_none_or(|form| value.is_some_and(|value| has_form(value, form)));
            if option != Some(argument) || (only_on.is_some() && only_on != command) || !has_form {
                continue;
            }
            let Some(means) = means else {
                candidates.push(Candidate { advice: advice.to_owned(), words: None });
                continue;
            };
            let words: Vec<&str> = means.split_whitespace().collect();
            let is_kept = |form| [synonyms::TEXT, synonyms::SETTING, synonyms::ID].contains(&form);
            let count = if form.is_none_or(is_kept) { 1 } else { 2 };
            if self.are_known(&words) {
                candidates.push(self.with(at, count, &words, advice_for(advice, means)));
            }
        }
        candidates
    }

    /// Returns where the command is after the word at `at` became two.
    fn moved_command(&self, at: usize) -> Option<(usize, String)> {
        let (place, name) = self.command.clone()?;
        Some((if place > at { place + 1 } else { place }, name))
    }

    /// Returns whether the command has all options in `words`: the one that they begin with, else the line's.
    fn are_known(&self, words: &[&str]) -> bool {
        let options = words.iter().filter(|word| word.starts_with('-'));
        let mut names = options.map(|word| word.split('=').next().unwrap_or(word));
        match words.first().filter(|word| !word.starts_with('-')) {
            Some(command) => Self::of_command(command).is_some_and(|line| names.all(|name| line.has(name))),
            None => names.all(|name| self.has(name)),
        }
    }

    /// Returns the line with an option of the agent after `--`.
    fn after_dashes(&self, at: usize, argument: &str) -> Option<Candidate> {
        let known = Backend::ALL.into_iter().flat_map(|backend| backend.spec().passed_options);
        let &(_, takes_value) = known.into_iter().find(|(option, _)| *option == argument)?;
        let mut words = self.words.clone();
        let count = if takes_value && at + 1 < self.end() { 2 } else { 1 };
        let moved: Vec<String> = words.drain(at..at + count).collect();
        if !words.iter().any(|word| word == "--") {
            words.push("--".to_owned());
        }
        words.extend(moved);
        Some(Candidate { advice: "pass options of the agent after '--'".to_owned(), words: Some(words) })
    }

    /// Returns what a word without an option can be: a name, a new name, a prompt, a directory, a skill.
    fn for_stray_word(&self, word: &str) -> Vec<Candidate> {
        let Some(at) = self.words[..self.end()].iter().rposition(|other| other == word) else {
            return Vec::new();
        };
        let option = |option: &str, advice: &str| {
            let missing = self.has(option) && !self.gives(&[option]);
            missing.then(|| self.replaced(at, 1, &[&format!("{option}={word}")], advice.to_owned()))
        };
        let selected = self.gives(&["--session-name", "--session-id", "--turn-id"]);
        // an ID of a turn begins with a date
        let is_turn = is_id(word) && word.bytes().take_while(u8::is_ascii_digit).count() == 8;
        let turn = (is_turn && !selected).then(|| option("--turn-id", "give the ID with --turn-id")).flatten();
        let id = has_form(word, synonyms::ID) && !selected;
        let id = id.then(|| option("--session-id", "give the ID with --session-id")).flatten();
        let name = (!selected).then(|| option("--session-name", "give the name with --session-name")).flatten();
        let to = option("--to", "give the new name with --to");
        let prompt = ["--prompt", "--init-prompt"].into_iter().find_map(|name| {
            let given = self.gives(&["--prompt", "--prompt-file"]);
            (!given).then(|| option(name, &format!("give the prompt with {name}"))).flatten()
        });
        let is_text = word == "-" || has_form(word, synonyms::TEXT);
        let names = [turn, id, name, to].into_iter().flatten();
        let mut candidates: Vec<Candidate> =
            if is_text { prompt.into_iter().chain(names).collect() } else { names.chain(prompt).collect() };
        if !candidates.is_empty() {
            return candidates;
        }
        if Backend::from_name(word).is_some() {
            candidates.extend(self.for_backend(at, word));
        }
        candidates.extend(option("--skill", "give the skill with --skill"));
        if word.contains(['/', '\\']) || word.starts_with('.') || word.starts_with('~') {
            candidates.extend(option("--workspace-dir", "give the workspace with --workspace-dir"));
        }
        let command = self.command.as_ref().map(|(_, name)| name.as_str());
        let nameless = synonyms::rows(synonyms::NAMELESS).find(|row| Some(row.typed) == command);
        if let Some(means) = nameless.and_then(|row| row.means) {
            let words = format!("{means}={word}");
            let words: Vec<&str> = words.splitn(2, ' ').collect();
            candidates.push(self.with(at, 1, &words, format!("use {means}")));
        }
        candidates
    }

    fn for_value(&self, argument: &str, value: &str, valid: &[String]) -> Vec<Candidate> {
        let is_option = argument.starts_with('-');
        let inline = format!("{argument}={value}");
        let starts_here = |at: &usize| match &self.words[*at..] {
            [one, ..] if *one == inline => true,
            [one, other, ..] if is_option => one == argument && other == value,
            [one, ..] => !is_option && one == value,
            [] => false,
        };
        let Some(at) = (0..self.end()).find(starts_here) else { return Vec::new() };
        let count = if is_option && self.words[at] != inline { 2 } else { 1 };
        let typed = value.to_ascii_lowercase();
        let typed_row = format!("{argument} {typed}");
        let rows = synonyms::rows(synonyms::VALUES).filter(|row| row.typed == typed_row).filter_map(|row| row.means);
        let parts: Vec<&str> = typed.split(['-', '_', ' ']).collect();
        let part = valid.iter().map(String::as_str).filter(|valid| parts.contains(valid));
        let close = close_to(value, valid.iter().map(String::as_str));
        let means = rows
            .chain(part)
            .chain(close.iter().map(String::as_str))
            .filter(|means| valid.iter().any(|valid| valid == means));
        let means = means.map(|means| {
            let (word, shown) = if is_option {
                (format!("{argument}={means}"), format!("{argument} {means}"))
            } else {
                (means.to_owned(), means.to_owned())
            };
            self.replaced(at, count, &[&word], format!("use {shown}"))
        });
        means.collect()
    }

    /// Adds placeholders for what the command needs beyond clap's rules.
    fn completed(mut self) -> Self {
        let Some((place, _)) = self.command else { return self };
        if self.words[..self.end()].iter().any(|word| word == "--help" || word == "-h") {
            return self;
        }
        let needs = [
            (&["--session-name", "--session-id", "--turn-id"][..], "--session-name=NAME"),
            (&["--to"], "--to=NEW"),
            (&["--prompt", "--prompt-file"], "--prompt=TEXT"),
        ];
        for (index, (options, placeholder)) in needs.into_iter().enumerate() {
            let is_optional = index == 0 && self.has("--all-workspaces"); // of a list
            if self.has(options[0]) && !self.gives(options) && !is_optional {
                let at = if index == 0 { place + 1 } else { self.end() };
                self.words.insert(at, placeholder.to_owned());
            }
        }
        self
    }

    /// Returns the line as it is typed in a shell.
    fn show(&self) -> String {
        let mut shown = vec!["invoke-persist".to_owned()];
        for (index, word) in self.words.iter().enumerate() {
            let option = word.split_once('=').filter(|(name, _)| index < self.end() && self.has(name));
            match option {
                Some((name, value)) if value == "-" || !(value.is_empty() || value.starts_with('-')) => {
                    shown.extend([name.to_owned(), quoted(value)]);
                }
                Some((name, value)) => shown.push(format!("{name}={}", quoted(value))),
                None => shown.push(quoted(word)),
            }
        }
        shown.join(" ")
    }
}

/// Returns `line` with `words` in place of `count` words at `at`.
fn replaced(line: &[String], at: usize, count: usize, words: &[&str]) -> Vec<String> {
    let mut new = line[..at].to_vec();
    new.extend(words.iter().map(|&word| word.to_owned()));
    new.extend_from_slice(&line[at + count..]);
    new
}

/// Returns an advice that names the commands with this very option.
fn on_other_commands(argument: &str) -> Option<Candidate> {
    let cli = Cli::command();
    let names = cli.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let has = |name: &&str| {
        let line = Line::of_command(name);
        line.is_some_and(|line| line.option(argument).is_some_and(|option| !option.is_hide_set()))
    };
    let names: Vec<&str> = names.filter(has).collect();
    let (last, others) = names.split_last()?;
    let commands = if others.is_empty() { (*last).to_owned() } else { format!("{} or {last}", others.join(", ")) };
    Some(Candidate { advice: format!("use {argument} with {commands}"), words: None })
}

/// Returns a word as it is typed in a shell. A long one, or one with control characters, is left out.
fn quoted(word: &str) -> String {
    let is_shown = word.chars().count() <= MAX_SHOWN && !word.contains(char::is_control);
    shell_words::quote(if is_shown { word } else { "…" }).into_owned()
}

/// Returns the advice of a row: its own, else its replacement.
fn advice_for(advice: &str, means: &str) -> String {
    if advice.is_empty() { format!("use {}", means.replace('=', " ")) } else { advice.to_owned() }
}

/// Returns whether a value has the form that a row of `synonyms` names, or is the value that it names.
fn has_form(value: &str, form: &str) -> bool {
    const UUID: usize = 36;
    match form {
        synonyms::TEXT => value.trim().contains(char::is_whitespace),
        synonyms::SETTING => value.contains('='),
        synonyms::ID => value.len() == UUID && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'),
        form => value == form,
    }
}

/// Returns the words that `typed` is a misspelling or a beginning of, the closest first.
fn close_to<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    /// Shorter words begin too many others.
    const MIN_PREFIX: usize = 3;
    let plain = |text: &str| text.trim_start_matches('-').to_lowercase().replace('_', "-");
    let typed = plain(typed);
    let length = typed.chars().count();
    // a short word is close to many
    let most = match length {
        0..=3 => 0,
        4..=7 => 1,
        _ => 2,
    };
    let mut close: Vec<(usize, &str)> = Vec::new();
    let mut begun: Vec<&str> = Vec::new();
    for word in known {
        let other = plain(word);
        let distance = strsim::osa_distance(&typed, &other);
        if length >= MIN_PREFIX && other.starts_with(&typed) {
            begun.push(word);
        }
        if distance <= most {
            close.push((distance, word));
        }
    }
    sort_by(&mut close, |(one, _), (other, _)| one.cmp(other));
    let begun = if begun.len() == 1 { begun } else { Vec::new() };
    let others = close.into_iter().map(|(_, word)| word).filter(|word| !begun.contains(word));
    begun.iter().copied().chain(others).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::assert_parses;
    use super::*;

    const UUID: &str = "0b5b5ad5-f9b1-4a2c-8a2f-2f8d5a3c1e77";

    fn correction(words: &[&str]) -> Option<Correction> {
        let line = Line::new(words.iter().map(|&word| word.to_owned()).collect())?;
        let error = line.error()?;
        correct(&error, &line.words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    /// Returns whether one of the lines gets this advice. Every corrected line must be one that can be parsed.
    fn is_advised(lines: &[Vec<&str>], advice: &str, has_line: bool) -> bool {
        lines.iter().filter_map(|words| correction(words)).any(|correction| {
            if let Some(line) = &correction.line {
                assert_parses(line);
            }
            correction.advice == advice && correction.line.is_some() == has_line
        })
    }

    /// Returns all commands, beginning with the one that has most options, so that most searches are short.
    fn commands() -> Vec<String> {
        let cli = Cli::command();
        let names = cli.get_subcommands().map(clap::Command::get_name).filter(|name| *name != "resume-json");
        std::iter::once("resume-json").chain(names).map(str::to_owned).collect()
    }

    #[test]
    fn every_command_synonym_leads_to_a_line_that_parses() {
        for Synonym { typed, means, advice } in synonyms::rows(synonyms::COMMANDS) {
            let words: Vec<&str> = typed.split(' ').collect();
            let with = |more: &[&'static str]| words.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
            let lines = [&[][..], &["x"], &["list"], &["claude-code-invoke-persist"], &["--turn-id", "x"]].map(with);
            assert!(is_advised(&lines, &advice_for(advice, means.unwrap()), true), "{typed}");
        }
    }

    #[test]
    fn every_option_synonym_leads_to_a_line_that_parses() {
        let (commands, mut unused) = (commands(), Vec::new());
        for Synonym { typed, means, advice } in synonyms::rows(synonyms::OPTIONS) {
            let mut words = typed.split(' ').peekable();
            let only_on = words.next_if(|word| !word.starts_with('-'));
            let option = words.next().unwrap();
            let values: &[&str] = match words.next() {
                Some(synonyms::TEXT) => &["a b"],
                Some(synonyms::SETTING) => &["a=b"],
                Some(synonyms::ID) => &[UUID],
                Some(value) => &[value],
                None if only_on == Some("list-turns") => &["5", "failed", ""],
                None => &["x", "", "json", "codex"],
            };
            let commands =
                commands.iter().map(String::as_str).filter(|command| only_on.is_none_or(|only| only == *command));
            let lines = commands.flat_map(|command| {
                let line = |value: &&'static str| [&[command, option][..], &[*value]].concat();
                values.iter().map(line).collect::<Vec<_>>()
            });
            let mut lines: Vec<Vec<&str>> = lines.collect();
            lines.extend([vec![option], vec!["skill", "list", option, values[0]]]);
            for line in &mut lines {
                line.retain(|word| !word.is_empty());
            }
            let advice = means.map_or(advice.to_owned(), |means| advice_for(advice, means));
            if !is_advised(&lines, &advice, means.is_some()) {
                unused.push(format!("{typed}: {advice}"));
            }
        }
        assert!(unused.is_empty(), "{unused:#?}");
    }

    #[test]
    fn every_value_synonym_leads_to_a_line_that_parses() {
        let commands = commands();
        for Synonym { typed, means, .. } in synonyms::rows(synonyms::VALUES) {
            let ((option, typed), means) = (typed.split_once(' ').unwrap(), means.unwrap());
            let lines = commands.iter().map(|command| vec![command.as_str(), option, typed]);
            let lines: Vec<_> = lines.chain([vec!["skill", "list", option, typed]]).collect();
            assert!(is_advised(&lines, &format!("use {option} {means}"), true), "{option} {typed}");
        }
        for Synonym { typed, means, .. } in synonyms::rows(synonyms::NAMELESS) {
            assert!(is_advised(&[vec![typed, "x"]], &format!("use {}", means.unwrap()), true), "{typed}");
        }
        for backend in Backend::ALL {
            for (option, _) in backend.spec().passed_options {
                let lines = [vec!["resume-json", option, "x"], vec!["resume-json", option]];
                assert!(is_advised(&lines, "pass options of the agent after '--'", true), "{option}");
            }
        }
    }

    #[test]
    fn any_line_can_be_corrected_without_a_panic() {
        let pool = [
            "resume-json",
            "ls",
            "--",
            "--session-name",
            "--session-name=a",
            "--name",
            "--name=",
            "-p",
            "-px",
            "-",
            "x",
            "a b",
            "--format",
            "text",
            "--quiet=1",
            "skill",
            "--format=json",
            "codex",
            "--continue",
            "--sandbox",
            "é",
            "-é",
        ];
        for seed in 0..60_usize {
            let word = |place: usize| pool[(seed * (place * 7 + 3) + place * seed * seed + place) % pool.len()];
            let words: Vec<&str> = (0..=seed % 6).map(word).collect();
            if let Some(Correction { line: Some(line), .. }) = correction(&words) {
                assert_parses(&line);
            }
        }
    }

    #[test]
    fn only_close_words_are_suggested() {
        let known = ["--session-name", "--enable", "--adopt", "--effort", "--if-missing", "--if-busy"];
        let close = |typed| close_to(typed, known.into_iter());
        assert_eq!(close("--sesion-nam"), ["--session-name"]);
        assert_eq!(close("--Session_Name"), ["--session-name"]);
        assert_eq!(close("--if-m"), ["--if-missing"]);
        for far in ["--name", "--prompt", "--format", "--if-", "--e", "--session-number", "x", ""] {
            assert!(close(far).is_empty(), "{far}");
        }
    }
}

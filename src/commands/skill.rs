//! `skill`: installs, lists, updates, removes and prints the two skills.
//!
//! There are no prompts. A change that would lose the user's files is refused, or with `--force` keeps a backup.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::agent::login_shell;
use crate::backend::Backend;
use crate::cli::{SkillAction, SkillChange, SkillHosts, SkillPlaces};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Lock;
use crate::paths;
use crate::skills::dir::{FOREIGN, SkillDir, State};
use crate::skills::host::{self, Scope};
use crate::skills::shim::{Original, SkillScript};
use crate::skills::{self, Skill};
use crate::sys;
use crate::ui::Ui;
use crate::ui::json::JsonObject;
use crate::ui::table::Column;
use crate::ui::terminal::escape_control;

pub(super) fn run(context: &Context, action: &SkillAction) -> Result<()> {
    if context.global.backend.is_some() && !matches!(action, SkillAction::Shim { .. }) {
        return Err(Error::usage("--backend cannot be used with skill")
            .with_hint("select a skill with --skill, and the program that reads it with --agent"));
    }
    match action {
        SkillAction::Install(options) => change(context, options, Operation::Install),
        SkillAction::Update(options) => change(context, options, Operation::Update),
        SkillAction::Uninstall(options) => change(context, options, Operation::Uninstall),
        SkillAction::List(options) => list(context, &options.places),
        SkillAction::Show { skill, reference } => context.ui.print(&skill.text(*reference)),
        SkillAction::Export { skill, dir, force } => export(context, *skill, dir, *force),
        SkillAction::Shim { dir, undo } => shim(context, dir, *undo),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Install,
    Update,
    Uninstall,
}

/// The location of a skill, and its state.
struct Target {
    /// The host that finds it, or `None` if the caller passed the directory.
    host: Option<(Backend, Scope)>,
    dir: SkillDir,
    state: State,
}

/// What an operation does with a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Install,
    Update,
    /// Installs the skill, and keeps a backup of the user's changes.
    Replace,
    Remove,
    /// Moves the user's changes to a backup.
    MoveAside,
    Nothing,
    /// Could not perform another action.
    Fail,
}

impl Action {
    fn of(operation: Operation, state: &State) -> Self {
        match (operation, state) {
            (Operation::Install, State::Missing) => Self::Install,
            (Operation::Install | Operation::Update, State::Outdated { .. }) => Self::Update,
            (Operation::Install, State::Modified | State::Foreign { .. }) | (Operation::Update, State::Modified) => {
                Self::Replace
            }
            (Operation::Uninstall, State::UpToDate | State::Outdated { .. }) => Self::Remove,
            (Operation::Uninstall, State::Modified | State::Foreign { .. }) => Self::MoveAside,
            (Operation::Install | Operation::Update, State::UpToDate)
            | (Operation::Update, State::Missing | State::Foreign { .. })
            | (Operation::Uninstall, State::Missing) => Self::Nothing,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Install => "installed",
            Self::Update => "updated",
            Self::Replace => "replaced",
            Self::Remove | Self::MoveAside => "removed",
            Self::Nothing => "unchanged",
            Self::Fail => "failed",
        }
    }

    /// Performs the action. Returns the path of a backup.
    fn perform(self, target: &Target) -> Result<Option<PathBuf>> {
        match self {
            Self::Install | Self::Update | Self::Replace => target.dir.install(&target.state),
            Self::Remove => target.dir.remove(false),
            Self::MoveAside => target.dir.remove(true),
            Self::Nothing | Self::Fail => Ok(None),
        }
    }
}

fn change(context: &Context, options: &SkillChange, operation: Operation) -> Result<()> {
    let current_dir = paths::current_dir()?;
    let selection = if operation == Operation::Install { Selection::Available } else { Selection::Installed };
    let dirs = skills_dirs(&options.places, &current_dir, &[Scope::User], selection)?;
    let locks = if options.dry_run { Vec::new() } else { lock(&dirs, &context.ui)? };
    let mut targets = targets(&options.places, distinct(dirs))?;
    if selection == Selection::Installed {
        targets.retain(|target| target.state != State::Missing);
    }
    if !options.force {
        refuse_losses(context, operation, &targets)?; // before any change
    }
    let mut report = Report { dry_run: options.dry_run, changes: Vec::new(), duplicates: Vec::new(), lookup: None };
    let mut errors = Vec::new();
    for target in targets {
        let action = Action::of(operation, &target.state);
        let done = if options.dry_run { Ok(None) } else { sys::with_callers_umask(|| action.perform(&target)) };
        let (action, backup) = match done {
            Ok(backup) => (action, backup),
            Err(error) => {
                errors.push(error);
                (Action::Fail, None)
            }
        };
        report.changes.push(Change { target, action, backup });
    }
    drop(locks);
    if let Some(error) = joined(errors, "change", report.changes.len()) {
        report.show(context, options.places.json)?;
        return Err(error);
    }
    if operation != Operation::Uninstall {
        report.duplicates = Duplicates::find(report.changes.iter().map(|change| &change.target), &current_dir);
    }
    if operation == Operation::Install && !options.dry_run {
        report.lookup = Some(login_shell::lookup()?.describe());
    }
    report.show(context, options.places.json)
}

/// Returns the error for several of `all` places that an operation failed to `verb`.
fn joined(mut errors: Vec<Error>, verb: &str, all: usize) -> Option<Error> {
    if errors.len() < 2 {
        return errors.pop();
    }
    let error = Error::new(ErrorKind::Io, format!("cannot {verb} {} of {all} places", errors.len()));
    let hint = errors.iter_mut().find_map(|error| error.hint.take());
    let error = errors.iter().fold(error, |error, cause| error.caused_by(cause.to_single_line()));
    Some(if let Some(hint) = hint { error.with_hint(hint) } else { error })
}

/// A change of one target, or with `--dry-run` a planned change.
struct Change {
    target: Target,
    action: Action,
    backup: Option<PathBuf>,
}

/// The result of an operation.
struct Report {
    dry_run: bool,
    changes: Vec<Change>,
    duplicates: Vec<Duplicates>,
    /// Whether a login shell finds this program, and a hint if it does not.
    lookup: Option<(String, Option<&'static str>)>,
}

impl Report {
    fn show(&self, context: &Context, json: bool) -> Result<()> {
        if json { context.ui.print_json(&self.to_json()) } else { self.print(context) }
    }

    fn to_json(&self) -> JsonObject {
        let skills = self.changes.iter().map(|Change { target, action, backup }| {
            let backup = backup.as_ref().map(|backup| backup.display().to_string());
            target.to_json().with("action", action.name()).with("kept", backup)
        });
        let object = JsonObject::new()
            .with("dry_run", self.dry_run)
            .with_list("skills", skills.collect())
            .with_list("seen_twice", self.duplicates.iter().map(Duplicates::to_json).collect());
        let Some((message, hint)) = &self.lookup else { return object };
        let shell =
            JsonObject::new().with("found", hint.is_none()).with("message", message.as_str()).with("hint", *hint);
        object.with_object("login_shell", shell)
    }

    fn print(&self, context: &Context) -> Result<()> {
        let would = if self.dry_run { "would be " } else { "" };
        let mut lines: Vec<String> = Vec::new();
        // an error has the places that failed
        for Change { target, action, backup } in self.changes.iter().filter(|change| change.action != Action::Fail) {
            let action = match action {
                Action::Nothing => format!("{}, {}", action.name(), target.state.name()),
                _ => format!("{would}{}", action.name()),
            };
            lines.push(format!("{action}: {}{}", target.dir.path().display(), backup_text(backup.as_deref())));
        }
        if let Some((message, None)) = &self.lookup {
            lines.push(login_shell(message));
        }
        context.ui.print(&lines.iter().map(|line| escape_control(line) + "\n").collect::<String>())?;
        if self.changes.is_empty() {
            context.ui.note("found no installed skills");
        }
        for duplicates in &self.duplicates {
            context.ui.warn(&duplicates.warning());
        }
        if let Some((message, Some(hint))) = &self.lookup {
            context.ui.warn(&format!("{}; {hint}", login_shell(message)));
        }
        Ok(())
    }
}

fn login_shell(message: &str) -> String {
    format!("a login shell {message}")
}

fn backup_text(backup: Option<&Path>) -> String {
    backup.map(|backup| format!(", the old one is {}", backup.display())).unwrap_or_default()
}

/// Fails if the operation would lose files of the user. Reports all places first.
fn refuse_losses(context: &Context, operation: Operation, targets: &[Target]) -> Result<()> {
    let is_loss =
        |target: &&Target| matches!(Action::of(operation, &target.state), Action::Replace | Action::MoveAside);
    let (refused, others): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_loss);
    let why = |target: &Target| match &target.state {
        State::Foreign { why } => why.clone(),
        _ => "it was edited".to_owned(),
    };
    let shown = |target: &Target| format!("'{}'", target.dir.path().display());
    let error = match refused[..] {
        [] => return Ok(()),
        [only] => Error::new(ErrorKind::Io, format!("cannot change {}", shown(only))).caused_by(why(only)),
        _ => {
            let message =
                format!("cannot change {} of {} places, so nothing was changed", refused.len(), targets.len());
            let error = Error::new(ErrorKind::Io, message);
            refused.iter().fold(error, |error, target| error.caused_by(format!("{}: {}", shown(target), why(target))))
        }
    };
    for target in others {
        let action = Action::of(operation, &target.state);
        if action != Action::Nothing {
            context.ui.note(&format!("{} would be {}", shown(target), action.name()));
        }
    }
    let original = refused.iter().find_map(|target| Original::in_dir(&target.dir.path()));
    let instead = original.filter(|original| !original.is_shimmed).map(|original| {
        let dir = original.dir.display().to_string();
        format!("; to keep an original skill, run: invoke-persist skill shim {}", shell_words::quote(&dir))
    });
    let hint = "add --force to replace what is there and keep a backup";
    Err(error.with_hint(format!("{hint}{}", instead.unwrap_or_default())))
}

fn list(context: &Context, places: &SkillPlaces) -> Result<()> {
    let current_dir = paths::current_dir()?;
    let dirs = skills_dirs(places, &current_dir, &[Scope::User, Scope::Project], Selection::All)?;
    let targets = targets(places, dirs)?;
    let duplicates = Duplicates::find(targets.iter(), &current_dir);
    let originals = originals(places, &current_dir)?;
    if places.json {
        let skills = targets.iter().map(Target::to_json).collect();
        let duplicates = duplicates.iter().map(Duplicates::to_json).collect();
        let originals = originals.iter().map(FoundOriginal::to_json).collect();
        let object = JsonObject::new().with_list("skills", skills).with_list("seen_twice", duplicates);
        return context.ui.print_json(&object.with_list("originals", originals));
    }
    let mut columns = vec![
        Column::new("SKILL").optional(1),
        Column::new("HOST").optional(3),
        Column::new("SCOPE").optional(2),
        Column::new("STATE"),
        Column::new("SCRIPT").optional(4),
        Column::new("FOLDER").with_min_width(28).keeping_end(), // shows the name of a skill
    ];
    let mut add = |cells: [Option<&str>; 6]| {
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    };
    for target in &targets {
        let (host, scope) = target.names();
        let path = target.dir.path();
        let script = originals.iter().find(|found| found.original.dir == path).map(FoundOriginal::script);
        let dir = path.display().to_string();
        add([Some(target.dir.skill.name()), host, scope, Some(target.state.name()), script, Some(&dir)]);
    }
    for found in &originals {
        let dir = &found.original.dir;
        if targets.iter().all(|target| target.dir.path() != *dir) {
            let name = dir.file_name().map(|name| name.display().to_string());
            let (host, scope) = (found.host.map(Backend::name), found.scope.map(Scope::name));
            let dir = dir.display().to_string();
            add([name.as_deref(), host, scope, Some(FOREIGN), Some(found.script()), Some(&dir)]);
        }
    }
    if originals.is_empty() {
        columns.retain(|column| column.title() != "SCRIPT");
    }
    context.ui.print_table(columns)?;
    for duplicates in &duplicates {
        context.ui.warn(&duplicates.warning());
    }
    Ok(())
}

/// An original skill, and the host that finds it.
struct FoundOriginal {
    original: Original,
    host: Option<Backend>,
    /// `None` if skills are not installed there.
    scope: Option<Scope>,
}

impl FoundOriginal {
    fn script(&self) -> &'static str {
        if self.original.is_shimmed { "shim" } else { "original" }
    }

    fn to_json(&self) -> JsonObject {
        JsonObject::new()
            .with("folder", self.original.dir.display().to_string())
            .with("backend", self.original.backend.map(Backend::name))
            .with("host", self.host.map(Backend::name))
            .with("scope", self.scope.map(Scope::name))
            .with("shimmed", self.original.is_shimmed)
    }
}

/// Returns the original skills in the selected directories, each once.
fn originals(places: &SkillPlaces, current_dir: &Path) -> Result<Vec<FoundOriginal>> {
    let selected = skills_dirs(places, current_dir, &[Scope::User, Scope::Project], Selection::All)?;
    let mut dirs: Vec<(Option<Backend>, Option<Scope>, PathBuf)> = selected
        .into_iter()
        .map(|dir| (dir.host.map(|(host, _)| host), dir.host.map(|(_, scope)| scope), dir.path))
        .collect();
    if places.dir.is_none() && places.scope.is_none() && !places.global {
        for host in hosts(places, current_dir, Selection::All)? {
            dirs.extend(host::duplicates_dirs(host, current_dir).into_iter().map(|dir| (Some(host), None, dir)));
        }
    }
    let is_selected = |original: &Original| {
        let is_for = |skill: &Skill| original.backend.is_none_or(|backend| backend == skill.backend());
        places.skill.is_empty() || places.skill.iter().any(is_for)
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (host, scope, dir) in dirs {
        for original in Original::find_in(&dir).into_iter().filter(is_selected) {
            if seen.insert(paths::resolve(&original.dir).unwrap_or_else(|_| original.dir.clone())) {
                found.push(FoundOriginal { original, host, scope });
            }
        }
    }
    Ok(found)
}

fn export(context: &Context, skill: Skill, dir: &Path, force: bool) -> Result<()> {
    let skill_dir = SkillDir { skill, skills: dir.to_owned() };
    let _lock = skills::lock(dir, &context.ui)?;
    let state = skill_dir.state()?;
    let path = skill_dir.path();
    if state != State::Missing && !force {
        return Err(Error::new(ErrorKind::Io, format!("'{}' already exists", path.display()))
            .with_hint("choose another directory, or add --force"));
    }
    let backup = sys::with_callers_umask(|| skill_dir.install(&state))?;
    let line = format!("written: {}{}", path.display(), backup_text(backup.as_deref()));
    context.ui.print(&format!("{}\n", escape_control(&line)))
}

fn shim(context: &Context, dir: &Path, undo: bool) -> Result<()> {
    let skill_script = SkillScript::open(dir, &context.ui)?;
    let (script, backup) = (skill_script.path().display(), skill_script.backup().display());
    let changed = if undo { skill_script.restore()? } else { skill_script.replace(context.global.backend)? };
    let line = match (undo, changed) {
        (false, true) => format!("'{script}' now runs this program; the original is '{backup}'"),
        (false, false) => format!("'{script}' runs this program already"),
        (true, true) => format!("'{script}' is the original again"),
        (true, false) => format!("'{script}' is the original, nothing was done"),
    };
    context.ui.print(&format!("{}\n", escape_control(&line)))
}

/// The targets that an operation selects by default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// Those of all hosts, installed or not.
    All,
    /// Those of installed hosts.
    Available,
    /// Those with an installed skill.
    Installed,
}

/// A directory for skills.
struct SkillsDir {
    /// The host that reads it, or `None` if the caller passed the directory.
    host: Option<(Backend, Scope)>,
    path: PathBuf,
}

impl SkillsDir {
    fn resolved(&self) -> PathBuf {
        paths::resolve(&self.path).unwrap_or_else(|_| self.path.clone())
    }
}

/// Returns the directories that the options select. `scopes` are the default.
fn skills_dirs(
    options: &SkillPlaces,
    current_dir: &Path,
    scopes: &[Scope],
    selection: Selection,
) -> Result<Vec<SkillsDir>> {
    if let Some(dir) = &options.dir {
        return Ok(vec![SkillsDir { host: None, path: current_dir.join(dir) }]);
    }
    let scope = options.scope.or(options.global.then_some(Scope::User));
    let scopes = scope.as_ref().map_or(scopes, std::slice::from_ref);
    let mut dirs = Vec::new();
    for host in hosts(options, current_dir, selection)? {
        for &scope in scopes {
            dirs.push(SkillsDir { host: Some((host, scope)), path: host::skills_dir(host, scope, current_dir)? });
        }
    }
    Ok(dirs)
}

fn hosts(options: &SkillPlaces, current_dir: &Path, selection: Selection) -> Result<Vec<Backend>> {
    let hosts: Vec<Backend> = match options.agent {
        Some(SkillHosts::One(host)) => vec![host],
        None if selection == Selection::Available => {
            Backend::ALL.into_iter().filter(|host| host::is_available(*host, current_dir)).collect()
        }
        Some(SkillHosts::All) | None => Backend::ALL.to_vec(),
    };
    if hosts.is_empty() {
        return Err(Error::new(ErrorKind::Io, "cannot find Claude Code or Codex CLI")
            .caused_by("neither program is on PATH, and neither has a directory in the user's home")
            .with_hint("select a host with --agent claude|codex|all, or a directory for skills with --dir"));
    }
    Ok(hosts)
}

/// Locks these directories against changes by other calls.
///
/// All calls take their locks in the same order, so that there is no deadlock.
fn lock(dirs: &[SkillsDir], ui: &Ui) -> Result<Vec<Lock>> {
    let resolved: BTreeSet<PathBuf> = dirs.iter().map(SkillsDir::resolved).collect();
    let locks = resolved.iter().map(|dir| skills::lock(dir, ui)).collect::<Result<Vec<_>>>()?;
    Ok(locks.into_iter().flatten().collect())
}

/// Returns each directory once, because one host's directory may be a symlink to another's.
fn distinct(mut dirs: Vec<SkillsDir>) -> Vec<SkillsDir> {
    let mut seen = BTreeSet::new();
    dirs.retain(|dir| seen.insert(dir.resolved()));
    dirs
}

/// Returns the selected skills in each directory.
fn targets(options: &SkillPlaces, dirs: Vec<SkillsDir>) -> Result<Vec<Target>> {
    let is_selected = |skill: &Skill| options.skill.is_empty() || options.skill.contains(skill);
    let (mut targets, mut errors) = (Vec::new(), Vec::new());
    for SkillsDir { host, path } in dirs {
        for skill in Skill::all().filter(is_selected) {
            let dir = SkillDir { skill, skills: path.clone() };
            match dir.state() {
                Ok(state) => targets.push(Target { host, dir, state }),
                Err(error) => errors.push(error),
            }
        }
    }
    let all = targets.len() + errors.len();
    joined(errors, "read", all).map_or(Ok(targets), Err)
}

impl Target {
    fn names(&self) -> (Option<&'static str>, Option<&'static str>) {
        (self.host.map(|(host, _)| host.name()), self.host.map(|(_, scope)| scope.name()))
    }

    fn to_json(&self) -> JsonObject {
        let (host, scope) = self.names();
        let version = if let State::Outdated { version } = &self.state { Some(version.as_str()) } else { None };
        JsonObject::new()
            .with("skill", self.dir.skill.name())
            .with("host", host)
            .with("scope", scope)
            .with("folder", self.dir.path().display().to_string())
            .with("state", self.state.name())
            .with("version", version)
    }
}

/// The directories in which a host finds the same skill. It uses none of them.
struct Duplicates {
    host: Backend,
    skill: Skill,
    dirs: Vec<PathBuf>,
}

impl Duplicates {
    /// Finds the duplicates of the skills in `targets`.
    fn find<'a>(targets: impl Iterator<Item = &'a Target>, current_dir: &Path) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for target in targets {
            let (Some((host, _)), skill) = (target.host, target.dir.skill) else { continue };
            if !found.iter().any(|other| (other.host, other.skill) == (host, skill)) {
                found.push(Self { host, skill, dirs: host::duplicate_skill_dirs(host, skill, current_dir) });
            }
        }
        found.retain(|duplicates| duplicates.dirs.len() > 1);
        found
    }

    fn warning(&self) -> String {
        let dirs: Vec<String> = self.dirs.iter().map(|dir| format!("'{}'", dir.display())).collect();
        let (host, name, dirs) = (self.host, self.skill.name(), dirs.join(" and "));
        format!("{host} finds {name} in several directories and therefore uses none: {dirs}; keep one")
    }

    fn to_json(&self) -> JsonObject {
        let dirs: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        JsonObject::new().with("skill", self.skill.name()).with("folders", dirs)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use crate::cli::parse::tests::assert_parses;
    use crate::cli::{self, Cli};
    use crate::skills::{Reference, Skill};

    /// Returns the commands in the `sh` blocks of a text, without redirections and other programs of a pipeline.
    fn commands(text: &str) -> Vec<String> {
        let mut commands = Vec::new();
        let (mut within, mut here_document) = (false, None);
        for line in text.lines() {
            if here_document.as_deref() == Some(line) {
                here_document = None;
            } else if line.starts_with("```") {
                within = line == "```sh";
            } else if within && here_document.is_none() {
                here_document = line.split_once("<<").map(|(_, end)| end.trim_matches('\'').to_owned());
                let command = line.split(" <").next().unwrap_or_default();
                let command = command.strip_prefix("git diff | ").unwrap_or(command);
                assert!(command.starts_with("invoke-persist "), "{line}");
                commands.push(command.to_owned());
            }
        }
        assert_eq!(here_document, None, "unterminated here-document");
        commands
    }

    fn texts() -> Vec<String> {
        use Reference::{Creation, Deletion, Invocation, Listing};
        let parts = [None, Some(Creation), Some(Invocation), Some(Listing), Some(Deletion)];
        Skill::all().flat_map(|skill| parts.map(|part| skill.text(part))).collect()
    }

    #[test]
    fn commands_in_the_texts_can_be_parsed() {
        let mut count = 0;
        for text in texts() {
            // also commands in sentences
            let spans = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("invoke-persist "));
            let spans = spans.filter(|span| !span.contains('\n')).map(str::to_owned);
            for command in commands(&text).into_iter().chain(spans) {
                assert_parses(&command);
                count += 1;
            }
        }
        assert!(count > 60, "{count}");
    }

    #[test]
    fn options_in_the_texts_exist() {
        /// Options of the agents and of the echo agent, which the texts mention.
        const AGENT_OPTIONS: [&str; 7] =
            ["--sandbox", "--cd", "--add-dir", "--profile", "--permission-mode", "--allowedTools", "--script"];
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        let known: Vec<String> = names
            .iter()
            .filter_map(|name| cli::options_of(name))
            .flat_map(|command| {
                let long = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
                long.flatten().map(|name| format!("--{name}")).collect::<Vec<_>>()
            })
            .chain(["--backend", "--error-format", "--help", "--quiet"].map(str::to_owned))
            .collect();
        for text in texts() {
            for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                if word.len() > 2
                    && word.starts_with("--")
                    && !word.starts_with("---")
                    && !AGENT_OPTIONS.contains(&word)
                {
                    assert!(known.iter().any(|option| option == word), "{word}");
                }
            }
        }
    }
}

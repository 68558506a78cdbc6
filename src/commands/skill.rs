//! `skill`: installs, lists, updates, removes and prints the two skills. Asks nothing; what would be lost is refused, and
//! with `--force` kept elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::agent::login_shell;
use crate::backend::Backend;
use crate::cli::{SkillAction, SkillChange, SkillHosts, SkillPlaces};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Lock;
use crate::paths;
use crate::skills::dir::{SkillDir, State};
use crate::skills::host::{self, Scope};
use crate::skills::shim::{Done, Original};
use crate::skills::{self, Skill};
use crate::sys;
use crate::ui::Ui;
use crate::ui::json::JsonObject;
use crate::ui::table::{self, Column};
use crate::ui::terminal::escape_control;

pub(super) fn run(context: &Context, action: &SkillAction) -> Result<()> {
    if context.global.backend.is_some() && !matches!(action, SkillAction::Shim { .. }) {
        return Err(Error::usage("--backend has no meaning here")
            .with_hint("--skill names the skill, --agent the program that is to find it"));
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

/// A place for a skill, and for whom.
struct Target {
    /// The host that looks there; `None`: the caller named the directory.
    host: Option<(Backend, Scope)>,
    place: SkillDir,
    state: State,
}

/// What is done with one target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Install,
    Update,
    /// Of what is precious.
    Replace,
    Remove,
    /// Of what is precious.
    MoveAside,
    Nothing,
}

impl Action {
    fn of(verb: Operation, state: &State) -> Self {
        match (verb, state) {
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
        }
    }

    /// Does it. Tells where something was kept.
    fn perform(self, target: &Target) -> Result<Option<PathBuf>> {
        match self {
            Self::Install | Self::Update | Self::Replace => target.place.install(&target.state),
            Self::Remove => target.place.remove(false),
            Self::MoveAside => target.place.remove(true),
            Self::Nothing => Ok(None),
        }
    }
}

fn change(context: &Context, options: &SkillChange, verb: Operation) -> Result<()> {
    let here = paths::current_dir()?;
    let of = if verb == Operation::Install { Wanted::Available } else { Wanted::Installed };
    let dirs = dirs(&options.places, &here, &[Scope::User], of)?;
    let locks = if options.dry_run { Vec::new() } else { lock(&dirs, &context.ui)? };
    let targets = targets(&options.places, dirs, of)?;
    // all are looked at before one is touched
    for target in &targets {
        if !options.force && matches!(Action::of(verb, &target.state), Action::Replace | Action::MoveAside) {
            return Err(refused(target));
        }
    }
    let mut changes = Changes { dry_run: options.dry_run, done: Vec::new(), duplicates: Vec::new(), shell: None };
    for target in targets {
        let deed = Action::of(verb, &target.state);
        let kept = if options.dry_run { None } else { sys::with_callers_umask(|| deed.perform(&target))? };
        changes.done.push(Change { target, deed, kept });
    }
    drop(locks);
    if verb != Operation::Uninstall {
        changes.duplicates = Duplicates::find(changes.done.iter().map(|change| &change.target), &here);
    }
    if verb == Operation::Install && !options.dry_run {
        changes.shell = Some(login_shell::login_shell()?.tell());
    }
    if options.places.json { context.ui.print_json(&changes.describe()) } else { changes.tell(context) }
}

/// What was done in one place, or would be.
struct Change {
    target: Target,
    deed: Action,
    /// Where what was there is kept.
    kept: Option<PathBuf>,
}

/// What was done, and what there is to say about it.
struct Changes {
    dry_run: bool,
    done: Vec<Change>,
    duplicates: Vec<Duplicates>,
    /// What a login shell finds, and if that is not good, what to do.
    shell: Option<(String, Option<&'static str>)>,
}

impl Changes {
    fn describe(&self) -> JsonObject {
        let skills = self.done.iter().map(|Change { target, deed, kept }| {
            let kept = kept.as_ref().map(|kept| kept.display().to_string());
            target.describe().with("action", deed.name()).with("kept", kept)
        });
        let object = JsonObject::new()
            .with("dry_run", self.dry_run)
            .with_list("skills", skills.collect())
            .with_list("seen_twice", self.duplicates.iter().map(Duplicates::describe).collect());
        let Some((message, hint)) = &self.shell else { return object };
        let shell =
            JsonObject::new().with("found", hint.is_none()).with("message", message.as_str()).with("hint", *hint);
        object.with_object("login_shell", shell)
    }

    fn tell(&self, context: &Context) -> Result<()> {
        let would = if self.dry_run { "would be " } else { "" };
        let mut lines: Vec<String> = Vec::new();
        for Change { target, deed, kept } in &self.done {
            let deed = match deed {
                Action::Nothing => format!("{}, {}", deed.name(), target.state.name()),
                _ => format!("{would}{}", deed.name()),
            };
            let kept = kept.as_ref().map(|kept| format!(", the old one is {}", kept.display())).unwrap_or_default();
            lines.push(format!("{deed}: {}{kept}", target.place.dir().display()));
        }
        if let Some((message, None)) = &self.shell {
            lines.push(login_shell(message));
        }
        context.ui.print(&lines.iter().map(|line| escape_control(line) + "\n").collect::<String>())?;
        if self.done.is_empty() {
            context.ui.note("no skill of this program is there");
        }
        for duplicates in &self.duplicates {
            context.ui.warn(&duplicates.warning());
        }
        if let Some((message, Some(hint))) = &self.shell {
            context.ui.warn(&format!("{}; {hint}", login_shell(message)));
        }
        Ok(())
    }
}

fn login_shell(message: &str) -> String {
    format!("a login shell {message}")
}

fn refused(target: &Target) -> Error {
    let dir = target.place.dir();
    let error = match &target.state {
        State::Foreign { why } => {
            Error::new(ErrorKind::Io, format!("'{}' is left alone", dir.display())).caused_by(why)
        }
        _ => Error::new(ErrorKind::Io, format!("'{}' is left alone", dir.display())).caused_by("it was edited"),
    };
    error.with_hint(
        "--force moves it out of the way and keeps it; an original can go on with 'invoke-persist skill shim'",
    )
}

fn list(context: &Context, places: &SkillPlaces) -> Result<()> {
    let here = paths::current_dir()?;
    let dirs = dirs(places, &here, &[Scope::User, Scope::Project], Wanted::All)?;
    let targets = targets(places, dirs, Wanted::All)?;
    let duplicates = Duplicates::find(targets.iter(), &here);
    if places.json {
        let skills = targets.iter().map(Target::describe).collect();
        let duplicates = duplicates.iter().map(Duplicates::describe).collect();
        return context
            .ui
            .print_json(&JsonObject::new().with_list("skills", skills).with_list("seen_twice", duplicates));
    }
    let mut columns: Vec<Column> = ["SKILL", "HOST", "SCOPE", "STATE"].map(Column::new).into();
    columns.push(Column::new("FOLDER").at_least(20).keeping_its_end());
    for target in &targets {
        let (host, scope) = target.names();
        let dir = target.place.dir().display().to_string();
        let cells = [Some(target.place.skill.name()), host, scope, Some(target.state.name()), Some(&dir)];
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    }
    context.ui.print(&table::draw(columns, context.ui.terminal_width()))?;
    for duplicates in &duplicates {
        context.ui.warn(&duplicates.warning());
    }
    Ok(())
}

fn export(context: &Context, which: Skill, dir: &Path, force: bool) -> Result<()> {
    let place = SkillDir { skill: which, skills: dir.to_owned() };
    let _lock = skills::lock(dir, &context.ui)?;
    let state = place.state()?;
    let dir = place.dir();
    if state != State::Missing && !force {
        return Err(Error::new(ErrorKind::Io, format!("'{}' is there already", dir.display()))
            .with_hint("choose another directory, or add --force"));
    }
    let kept = sys::with_callers_umask(|| place.install(&state))?;
    let kept = kept.map(|kept| format!(", the old one is {}", kept.display())).unwrap_or_default();
    context.ui.print(&format!("{}\n", escape_control(&format!("written: {}{kept}", dir.display()))))
}

fn shim(context: &Context, dir: &Path, undo: bool) -> Result<()> {
    let original = Original::open(dir, &context.ui)?;
    let (script, kept) = (original.script().display(), original.kept().display());
    let done = if undo { original.restore()? } else { original.replace(context.global.backend)? };
    let told = match (done, undo) {
        (Done::Changed, false) => format!("'{script}' now runs this program; the original is '{kept}'"),
        (Done::Unchanged, false) => format!("'{script}' runs this program already"),
        (Done::Changed, true) => format!("'{script}' is the original again"),
        (Done::Unchanged, true) => format!("'{script}' is the original, nothing was done"),
    };
    context.ui.print(&format!("{}\n", escape_control(&told)))
}

/// Which places are meant where the options do not say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Those of every host, there or not.
    All,
    /// Those of hosts that are there.
    Available,
    /// Those where something stands.
    Installed,
}

/// A directory for skills, and who looks there; `None`: the caller named it.
type Dir = (Option<(Backend, Scope)>, PathBuf);

/// The directories for skills that the options mean; `scopes` where they name none.
fn dirs(options: &SkillPlaces, here: &Path, scopes: &[Scope], of: Wanted) -> Result<Vec<Dir>> {
    let mut dirs = Vec::new();
    if let Some(dir) = &options.dir {
        dirs.push((None, here.join(dir)));
    } else {
        let hosts = match options.agent {
            Some(SkillHosts::One(host)) => vec![host],
            None if of == Wanted::Available => {
                Backend::ALL.into_iter().filter(|host| host::is_available(*host, here)).collect()
            }
            Some(SkillHosts::All) | None => Backend::ALL.to_vec(),
        };
        if hosts.is_empty() {
            return Err(Error::new(ErrorKind::Io, "neither Claude Code nor Codex CLI seems to be here")
                .caused_by("neither program is on PATH, and neither has a directory at home")
                .with_hint("name the host with --agent claude|codex|all, or a directory for skills with --dir"));
        }
        let scope = options.scope.or(options.global.then_some(Scope::User));
        let scopes = scope.map_or_else(|| scopes.to_vec(), |scope| vec![scope]);
        for host in hosts {
            for &scope in &scopes {
                dirs.push((Some((host, scope)), host::skills_dir(host, scope, here)?));
            }
        }
    }
    Ok(dirs)
}

/// Keeps other calls from changing any of these directories. All calls take their locks in the same order, so that no
/// two wait for each other.
fn lock(dirs: &[Dir], ui: &Ui) -> Result<Vec<Lock>> {
    let real = dirs.iter().map(|(_, dir)| paths::resolve(dir).unwrap_or_else(|_| dir.clone()));
    let real: BTreeSet<PathBuf> = real.collect();
    let locks = real.iter().map(|dir| skills::lock(dir, ui)).collect::<Result<Vec<_>>>()?;
    Ok(locks.into_iter().flatten().collect())
}

/// The places in these directories that the options mean.
fn targets(options: &SkillPlaces, dirs: Vec<Dir>, of: Wanted) -> Result<Vec<Target>> {
    let wanted = |skill: &Skill| options.skill.is_empty() || options.skill.contains(skill);
    let skills: Vec<Skill> = Skill::all().filter(wanted).collect();
    let mut targets = Vec::new();
    let mut seen = Vec::new();
    for (host, skills_dir) in dirs {
        // one host's directory may be a link to the other's; a list tells both
        let real = paths::resolve(&skills_dir).unwrap_or_else(|_| skills_dir.clone());
        if of != Wanted::All && seen.contains(&real) {
            continue;
        }
        seen.push(real);
        for &skill in &skills {
            let place = SkillDir { skill, skills: skills_dir.clone() };
            let state = place.state()?;
            if of != Wanted::Installed || state != State::Missing {
                targets.push(Target { host, place, state });
            }
        }
    }
    Ok(targets)
}

impl Target {
    fn names(&self) -> (Option<&'static str>, Option<&'static str>) {
        (self.host.map(|(host, _)| host.name()), self.host.map(|(_, scope)| scope.name()))
    }

    fn describe(&self) -> JsonObject {
        let (host, scope) = self.names();
        let version = if let State::Outdated { version } = &self.state { Some(version.as_str()) } else { None };
        JsonObject::new()
            .with("skill", self.place.skill.name())
            .with("host", host)
            .with("scope", scope)
            .with("folder", self.place.dir().display().to_string())
            .with("state", self.state.name())
            .with("version", version)
    }
}

/// A skill that a host finds in several directories, and therefore takes none of.
struct Duplicates {
    host: Backend,
    skill: Skill,
    dirs: Vec<PathBuf>,
}

impl Duplicates {
    /// Those of the skills in `targets`.
    fn find<'a>(targets: impl Iterator<Item = &'a Target>, here: &Path) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for target in targets {
            let (Some((host, _)), skill) = (target.host, target.place.skill) else { continue };
            if !found.iter().any(|other| (other.host, other.skill) == (host, skill)) {
                found.push(Self { host, skill, dirs: host::duplicate_skill_dirs(host, skill, here) });
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

    fn describe(&self) -> JsonObject {
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

    /// The commands in the `sh` blocks of a text, without what a shell does with them.
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
                assert!(command.starts_with("invoke-persist "), "{line}");
                commands.push(command.to_owned());
            }
        }
        assert_eq!(here_document, None, "a here-document that does not end");
        commands
    }

    fn texts() -> Vec<String> {
        use Reference::{Creation, Deletion, Invocation, Listing};
        let parts = [None, Some(Creation), Some(Invocation), Some(Listing), Some(Deletion)];
        Skill::all().flat_map(|skill| parts.map(|part| skill.text(part))).collect()
    }

    #[test]
    fn every_command_in_the_texts_is_one_of_ours() {
        let mut seen = 0;
        for text in texts() {
            // what stands in a sentence, too
            let spans = text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("invoke-persist "));
            let spans = spans.filter(|span| !span.contains('\n')).map(str::to_owned);
            for command in commands(&text).into_iter().chain(spans) {
                assert_parses(&command);
                seen += 1;
            }
        }
        assert!(seen > 60, "{seen}");
    }

    #[test]
    fn every_option_in_the_texts_exists() {
        /// Options of the agents, which the texts speak about.
        const THEIRS: [&str; 5] = ["--sandbox", "--cd", "--add-dir", "--profile", "--permission-mode"];
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        let known: Vec<String> = names
            .iter()
            .filter_map(|name| cli::options_of(name))
            .flat_map(|command| {
                let long = command.get_arguments().filter_map(clap::Arg::get_long_and_visible_aliases);
                long.flatten().map(|name| format!("--{name}")).collect::<Vec<_>>()
            })
            .chain(["--backend", "--error-format", "--quiet"].map(str::to_owned))
            .collect();
        for text in texts() {
            for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
                if word.len() > 2 && word.starts_with("--") && !word.starts_with("---") && !THEIRS.contains(&word) {
                    assert!(known.iter().any(|option| option == word), "{word}");
                }
            }
        }
    }
}

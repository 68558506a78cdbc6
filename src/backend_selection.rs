//! Selects the backend of a call from several sources (contract section 1).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::backend::Backend;
use crate::cli;
use crate::context::Context;
use crate::env;
use crate::error::{Error, Result};
use crate::paths;
use crate::session::{SessionName, trim};
use crate::sessions::selector::SessionSelector;
use crate::sessions::suggest::{did_you_mean, found_above, not_found_in_any, similar_in_any};
use crate::store::Store;
use crate::store::format::Mapping;
use crate::ui::shell;

/// Returns the backend in the environment. Without it, returns the one in the name of this program, which a symlink such
/// as `claude-sessions` sets.
pub(crate) fn default_backend(program: &OsStr) -> Result<Option<Backend>> {
    if let Some(backend) = backend_in_environment()? {
        return Ok(Some(backend));
    }
    let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
    Ok(Backend::ALL.into_iter().find(|backend| name.starts_with(&format!("{backend}-"))))
}

/// Returns the backend in `INVOKE_PERSIST_BACKEND`.
fn backend_in_environment() -> Result<Option<Backend>> {
    let name = env::BACKEND;
    let Some(value) = env::var(name)? else { return Ok(None) };
    Backend::from_name(trim(&value)).map(Some).ok_or_else(|| {
        Error::usage(format!("{name} is '{}', which is not a backend", trim(&value)))
            .with_hint(format!("set {name} to {}, or unset it", Backend::names()))
    })
}

impl Context {
    /// Returns the backend that `--backend`, the environment, the program's name or a backend's own option selects.
    ///
    /// # Errors
    ///
    /// A usage error for options of different backends.
    pub(crate) fn selected_backend(&self) -> Result<Option<Backend>> {
        let owners = self.backends_implied_by_options();
        match (self.named_backend()?, owners.as_slice()) {
            (Some(backend), owners) => match owners.iter().find(|(other, _)| *other != backend) {
                Some((other, option)) => {
                    Err(Error::usage(format!("--{option} is a {other} option, but the backend is {backend}"))
                        .with_hint(format!("remove it, or use --backend {other}")))
                }
                None => Ok(Some(backend)),
            },
            (None, []) => Ok(None),
            (None, [(only, _)]) => Ok(Some(*only)),
            (None, [(one, first), (other, second), ..]) => Err(Error::usage(format!(
                "--{first} is a {one} option and --{second} is a {other} option, but a call runs only one agent"
            ))),
        }
    }

    /// Returns the backends that the options select, or all backends if they select none. For commands that support
    /// several.
    pub(crate) fn requested_backends(&self) -> Result<Vec<Backend>> {
        let owners = self.backends_implied_by_options();
        Ok(match self.named_backend()? {
            Some(_) => self.selected_backend()?.into_iter().collect(),
            None if owners.is_empty() => Backend::ALL.to_vec(),
            None => owners.into_iter().map(|(backend, _)| backend).collect(),
        })
    }

    /// Returns the backend that `--backend`, the environment or the program's name selects.
    fn named_backend(&self) -> Result<Option<Backend>> {
        match self.global.backend {
            Some(backend) => Ok(Some(backend)),
            None => default_backend(&self.program),
        }
    }

    /// Returns the backends whose own options are used, each with one of these options.
    fn backends_implied_by_options(&self) -> Vec<(Backend, &str)> {
        let command = self.normalized.command.as_deref().unwrap_or_default();
        let owned = |backend: Backend| {
            let option = self.normalized.options.iter().find(|option| (backend.spec().owns_option)(command, option))?;
            Some((backend, option.as_str()))
        };
        Backend::ALL.into_iter().filter_map(owned).collect()
    }

    /// Returns the backend of a session that must exist, from every source that may name it.
    ///
    /// # Errors
    ///
    /// A usage error if several backends have the session. If no source names a backend: `SessionNotFound`, or the error
    /// of a mapping that cannot be read.
    pub(crate) fn backend(&self, place: &cli::LocationArgs, subject: &SessionSelector) -> Result<Backend> {
        self.choose(place, subject, Presence::Required)
    }

    /// Returns the backend of a session that may be created, from every source that may name it.
    ///
    /// # Errors
    ///
    /// A usage error if no source names one, or if several backends have the session. The error of a mapping that cannot
    /// be read, if only the other one has the name.
    pub(crate) fn backend_to_create(&self, place: &cli::LocationArgs, subject: &SessionSelector) -> Result<Backend> {
        self.choose(place, subject, Presence::Optional)
    }

    fn choose(&self, place: &cli::LocationArgs, subject: &SessionSelector, presence: Presence) -> Result<Backend> {
        if let Some(backend) = self.selected_backend()? {
            return Ok(backend);
        }
        let mut search = self.search(place, subject)?;
        if let Some(holder) = search.holder(subject)? {
            self.warn_of_unreadable(&search, Some(holder));
            return Ok(holder);
        }
        let undecided = match decide_by_installation() {
            Ok(backend) => {
                self.warn_of_unreadable(&search, Some(backend));
                return Ok(backend);
            }
            Err(undecided) => undecided,
        };
        if presence == Presence::Required && !search.is_of_any {
            if let Some(unreadable) = search.unreadable.into_iter().next() {
                return Err(unreadable.error);
            }
            let above = subject.name.as_ref().and_then(|name| self.found_above(place, name));
            return Err(not_found_in_any(&search.stores, subject, above));
        }
        self.warn_of_unreadable(&search, None);
        let similar = subject.name.as_ref().filter(|_| !search.is_of_any);
        let similar = similar.map(|name| similar_in_any(&search.stores, name)).unwrap_or_default();
        Err(Error::usage(format!("cannot choose between {}", Backend::ALL.map(Backend::name).join(" and ")))
            .caused_by(undecided.describe())
            .with_hint(did_you_mean(&similar) + &self.hint_to_choose(undecided)))
    }

    /// Searches the mappings of all backends for a session.
    fn search(&self, place: &cli::LocationArgs, subject: &SessionSelector) -> Result<Search> {
        let mut search = Search::default();
        for backend in Backend::ALL {
            let (store, _) = self.store(backend, place)?;
            match store.read() {
                Ok(Some(mapping)) => {
                    // the name of the caller's file does not identify the backend, but the key of the ID in an entry does
                    let is_explicit = place.mapping_file.is_some();
                    let is_there = has(&mapping, subject);
                    let holds = if is_explicit { has_of(&mapping, backend, subject) } else { is_there };
                    if holds {
                        search.holders.push(backend);
                    }
                    search.is_of_any |= is_explicit && is_there;
                }
                Ok(None) => {}
                Err(error) => {
                    search.unreadable.push(Unreadable { file: store.path().to_owned(), error: error.into() });
                }
            }
            search.stores.push(store);
        }
        Ok(search)
    }

    /// Warns of mappings that cannot be read. That of `backend` is reported by its use.
    fn warn_of_unreadable(&self, search: &Search, backend: Option<Backend>) {
        let used = search.stores.iter().find(|store| Some(store.backend) == backend).map(Store::path);
        for Unreadable { error, .. } in search.unreadable.iter().filter(|unreadable| used != Some(&unreadable.file)) {
            self.ui.warn_always(&format!("{}; it was not searched", error.to_single_line()));
        }
    }

    /// Returns a hint about a directory above the current one in which a session of any backend has this name.
    fn found_above(&self, place: &cli::LocationArgs, name: &SessionName) -> Option<String> {
        if place.mapping_file.is_some() || place.workspace_dir.is_some() {
            return None;
        }
        let workspace = paths::resolve(&paths::current_dir().ok()?).ok()?;
        found_above(&Backend::ALL, &workspace, name, &self.ui)
    }

    /// Returns the hint with the command to type next.
    fn hint_to_choose(&self, undecided: Undecided) -> String {
        let [first, ..] = Backend::ALL;
        let command = self.command_with(first);
        if undecided == Undecided::NoneInstalled {
            let names = Backend::names();
            return format!(
                "install {names}, then run: {command}; to try this program without one, run: invoke-persist demo"
            );
        }
        let others: Vec<String> = Backend::ALL[1..].iter().map(|backend| format!("--backend {backend}")).collect();
        format!("run: {command} (or {}), or set {}", others.join(" or "), env::BACKEND)
    }

    /// Returns the caller's command with `--backend`, as a shell takes it. Long arguments are left out.
    fn command_with(&self, backend: Backend) -> String {
        const LONGEST: usize = 100;
        let words = std::env::args_os().skip(1).map(|word| Some(shell::quote(word.to_str()?)));
        let typed = words.collect::<Option<Vec<_>>>().map(|words| words.join(" "));
        let typed = typed
            .filter(|typed| typed.len() <= LONGEST)
            .unwrap_or_else(|| format!("{} …", self.normalized.command.as_deref().unwrap_or_default()));
        format!("invoke-persist --backend {backend} {typed}")
    }
}

/// Whether a session must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

/// What the mappings of all backends have of a session.
#[derive(Default)]
struct Search {
    stores: Vec<Store>,
    /// The backends whose mapping has it.
    holders: Vec<Backend>,
    /// Whether an entry has the name, but no key that identifies its backend.
    is_of_any: bool,
    unreadable: Vec<Unreadable>,
}

/// A mapping that cannot be read.
struct Unreadable {
    file: PathBuf,
    error: Error,
}

impl Search {
    /// Returns the only backend that has the session.
    ///
    /// # Errors
    ///
    /// A usage error if several have it. The error of a mapping that cannot be read, if that may have the name too.
    fn holder(&mut self, subject: &SessionSelector) -> Result<Option<Backend>> {
        let [holder] = self.holders[..] else {
            let names: Vec<&str> = self.holders.iter().map(|backend| backend.name()).collect();
            return match names.as_slice() {
                [] => Ok(None),
                names => {
                    let options = Backend::ALL.map(|backend| format!("--backend {backend}")).join(" or ");
                    Err(Error::usage(format!("{} have a session of that name or ID", names.join(" and ")))
                        .with_hint(format!("add {options}, or set {}", env::BACKEND)))
                }
            };
        };
        // an ID is of one session only
        if subject.id.is_none() && !self.unreadable.is_empty() {
            let hint = format!("repair or remove the file, or add --backend {holder} to use its session");
            return Err(self.unreadable.remove(0).error.with_hint(hint));
        }
        Ok(Some(holder))
    }
}

/// Returns whether `mapping` has the session.
fn has(mapping: &Mapping, subject: &SessionSelector) -> bool {
    match (&subject.id, &subject.name) {
        (Some(id), _) => mapping.find(id).is_some(),
        (None, Some(name)) => mapping.get(name).is_some(),
        (None, None) => false,
    }
}

/// Returns whether `mapping` has the session with an ID of `backend`.
fn has_of(mapping: &Mapping, backend: Backend, subject: &SessionSelector) -> bool {
    match (&subject.id, &subject.name) {
        (Some(id), _) => {
            mapping.entries().any(|(name, _)| mapping.id_of(&SessionName::verbatim(name), backend).as_ref() == Some(id))
        }
        (None, Some(name)) => mapping.id_of(name, backend).is_some(),
        (None, None) => false,
    }
}

/// Why neither variables nor programs decide the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undecided {
    SeveralCommands,
    SeveralInstalled,
    NoneInstalled,
}

impl Undecided {
    fn describe(self) -> String {
        match self {
            Self::SeveralCommands => {
                format!("{} are set", Backend::ALL.map(|backend| backend.spec().command_variable).join(" and "))
            }
            Self::SeveralInstalled => "both are on PATH".to_owned(),
            Self::NoneInstalled => "neither is on PATH".to_owned(),
        }
    }
}

/// Returns the only backend whose command a variable names, else the only one whose program is on `PATH`.
fn decide_by_installation() -> std::result::Result<Backend, Undecided> {
    let has_command = |backend: &Backend| matches!(env::var(backend.spec().command_variable), Ok(Some(_)));
    let with_command: Vec<Backend> = Backend::ALL.into_iter().filter(has_command).collect();
    if let [only] = with_command[..] {
        return Ok(only);
    }
    let path = env::var_os("PATH");
    let dir = paths::current_dir().unwrap_or_default();
    let is_on_path = |backend: &Backend| paths::find_program(backend.name(), path.as_deref(), &dir).is_ok();
    let on_path: Vec<Backend> = Backend::ALL.into_iter().filter(is_on_path).collect();
    match on_path[..] {
        [only] => Ok(only),
        _ if !with_command.is_empty() => Err(Undecided::SeveralCommands),
        [] => Err(Undecided::NoneInstalled),
        [..] => Err(Undecided::SeveralInstalled),
    }
}

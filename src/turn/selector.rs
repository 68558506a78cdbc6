//! From the options of a command to recorded turns. Needs neither an agent nor a mapping.

use std::io;

use crate::backend::Backend;
use crate::cli::{self, LocationArgs, TurnSelectorArgs};
use crate::context::{Context, Workspace};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::records::dir::{RecordDir, is_id};
use crate::records::record::{Record, State};
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::selector::SessionSelector;
use crate::sessions::suggest::{did_you_mean, similar};
use crate::sort::{sort, sort_by};
use crate::ui::shell;

/// A recorded turn.
#[derive(Debug)]
pub(crate) struct RecordedTurn {
    pub(crate) dir: RecordDir,
    pub(crate) id: String,
    /// The record when it was last read.
    pub(crate) record: Record,
    /// The options that select the workspace and the backend from any directory, for hints.
    place_args: Vec<String>,
}

impl RecordedTurn {
    /// Reads the record again. If it is gone, because it was pruned meanwhile, the last state remains.
    pub(crate) fn refresh(&mut self) {
        if let Ok(record) = self.dir.try_read(&self.id) {
            self.record = record;
        } else if !self.record.state.is_final() && !self.dir.is_alive(&self.id) {
            self.record.state = State::Lost;
        }
    }

    pub(super) fn place_args(&self) -> &[String] {
        &self.place_args
    }

    /// Returns whether the turn still has a record. A call that did not become a turn removes it.
    pub(crate) fn has_record(&self) -> bool {
        !matches!(self.dir.open(&self.id, "record"), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Returns the line that runs `command`, which may have options, on this turn.
    pub(crate) fn command(&self, command: &str) -> String {
        with_place(&format!("{command} --turn-id {}", self.id), &self.place_args)
    }
}

/// The turns of one workspace that a call can select.
pub(crate) struct Turns {
    pub(crate) dir: Option<RecordDir>,
    pub(crate) workspace: Workspace,
    backend: Option<Backend>,
    place_args: Vec<String>,
}

impl Turns {
    /// Returns the turns of a workspace, of the selected backend or of all.
    ///
    /// # Errors
    ///
    /// A usage error for the options. [`ErrorKind::Io`] if other users could change the records.
    pub(crate) fn of_workspace(context: &Context, place: &cli::WorkspaceArgs) -> Result<Self> {
        let backend = context.selected_backend()?;
        let workspace = Workspace::of(place.workspace_dir.as_deref())?;
        let dir = RecordDir::of_workspace(&workspace.resolved)?;
        let exists = dir.as_ref().map_or(Ok(false), RecordDir::check).map_err(|error| unusable(&error))?;
        let place_args = workspace.given.then(|| format!("--workspace-dir={}", workspace.text()));
        let place_args = place_args.into_iter().collect();
        Ok(Self { dir: dir.filter(|_| exists), workspace, backend, place_args })
    }

    /// Returns the turns that `args` select: those with the IDs, or the newest one of the session.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TurnNotFound`]. A usage error if the options select no turn, or are ambiguous. [`ErrorKind::Io`] for
    /// a record that cannot be read.
    pub(crate) fn select(&self, context: &Context, args: &TurnSelectorArgs) -> Result<Vec<RecordedTurn>> {
        if !args.turn_id.is_empty() {
            let mut turns: Vec<RecordedTurn> = Vec::new();
            for given in &args.turn_id {
                let turn = self.with_id(given)?;
                if turns.iter().all(|other| other.id != turn.id) {
                    turns.push(turn);
                }
            }
            return Ok(turns);
        }
        let subject = SessionSelector::of(&args.session)?;
        if subject.name.is_none() && subject.id.is_none() {
            return Err(Error::usage("the turn is missing").with_hint("add --turn-id ID or --session-name NAME"));
        }
        Ok(vec![self.newest_of(context, &subject)?])
    }

    /// Returns all turns, newest first, and messages about the records that cannot be read.
    pub(crate) fn all(&self) -> (Vec<RecordedTurn>, Vec<String>) {
        let Some(dir) = &self.dir else { return Default::default() };
        let (mut turns, unreadable) = read_all(dir, &self.place_args);
        turns.retain(|turn| is_of_backend(&turn.record, self.backend));
        (turns, unreadable)
    }

    /// Returns the turns of all workspaces, newest first, and messages about what cannot be read.
    ///
    /// # Errors
    ///
    /// A usage error for the options.
    pub(crate) fn of_all_workspaces(context: &Context) -> Result<(Vec<RecordedTurn>, Vec<String>)> {
        let backend = context.selected_backend()?;
        let (mut turns, mut unreadable) = (Vec::new(), Vec::new());
        for dir in RecordDir::all()? {
            if let Err(error) = dir.check() {
                unreadable.push(unusable(&error).to_single_line());
                continue;
            }
            let (read, failed) = read_all(&dir, &[]);
            turns.extend(read.into_iter().filter(|turn| is_of_backend(&turn.record, backend)));
            unreadable.extend(failed);
        }
        sort_by(&mut turns, |one, other| other.id.cmp(&one.id));
        Ok((turns, unreadable))
    }

    /// Returns the filter for a session in this workspace.
    pub(crate) fn filter(&self, context: &Context, subject: &SessionSelector) -> SessionFilter {
        let name = subject.name.as_ref().filter(|_| subject.id.is_none());
        SessionFilter::new(subject, name.map(|name| self.saved_ids(context, name)).unwrap_or_default())
    }

    fn turn(&self, dir: &RecordDir, id: String, record: Record) -> RecordedTurn {
        RecordedTurn { dir: dir.clone(), id, record, place_args: self.place_args.clone() }
    }

    /// Returns the turn whose ID is `given`, or the only one whose ID begins with it.
    fn with_id(&self, given: &str) -> Result<RecordedTurn> {
        /// Further IDs are counted only.
        const MOST: usize = 5;
        let typed = given.trim().to_ascii_lowercase();
        if typed.is_empty() {
            return Err(Error::usage("--turn-id is blank").with_hint("pass an ID, or use --session-name NAME"));
        }
        if !is_id(&typed) {
            return Err(self.no_turn(given));
        }
        let Some(dir) = &self.dir else { return Err(self.no_turn(&typed)) };
        let ids: Vec<String> = dir.ids().into_iter().filter(|id| id.starts_with(&typed)).collect();
        let exact = ids.iter().find(|id| **id == typed).cloned();
        let id = match (exact, ids.as_slice()) {
            (Some(id), _) => id,
            (None, [only]) => only.clone(),
            (None, []) => return Err(self.no_turn(given)),
            (None, several) => {
                let mut shown: Vec<String> = several.iter().take(MOST).cloned().collect();
                if several.len() > MOST {
                    shown.push(format!("{} more", several.len() - MOST));
                }
                return Err(Error::usage(format!("--turn-id {given} is the beginning of {} IDs", several.len()))
                    .caused_by(format!("it is short for {}", shown.join(", ")))
                    .with_hint("add more characters of the ID"));
            }
        };
        match dir.try_read(&id) {
            Ok(record) if is_of_backend(&record, self.backend) => Ok(self.turn(dir, id, record)),
            Ok(_) => Err(self.no_turn(given)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.no_turn(given)),
            Err(error) => Err(cannot_read(dir, &id, &error)),
        }
    }

    /// Returns the newest turn of a session.
    fn newest_of(&self, context: &Context, subject: &SessionSelector) -> Result<RecordedTurn> {
        let (all, _) = self.all();
        let filter = self.filter(context, subject);
        let mut names: Vec<String> = all.iter().filter_map(|turn| turn.record.alias.clone()).collect();
        let mut turns = all.into_iter().filter(|turn| filter.matches(&turn.record));
        let Some(newest) = turns.next() else {
            sort(&mut names);
            names.dedup();
            return Err(with_workspace(self.no_turn_of(subject, &names), self.workspace_above(&filter).as_deref()));
        };
        if let Some(other) = turns.find(|turn| turn.record.backend != newest.record.backend) {
            let backends = [&newest, &other].map(|turn| turn.record.backend.clone().unwrap_or_default());
            return Err(Error::usage(format!("{} have turns of a session of that name or ID", backends.join(" and ")))
                .with_hint(format!(
                    "add --backend {}, or name the turn with --turn-id",
                    backends.join(" or --backend ")
                )));
        }
        Ok(newest)
    }

    /// Returns the IDs that are saved under `name` now. A mapping that cannot be read has none.
    fn saved_ids(&self, context: &Context, name: &SessionName) -> Vec<(Backend, AgentSessionId)> {
        let dir = self.workspace.given.then(|| self.workspace.resolved.clone());
        let place = LocationArgs { mapping_file: None, workspace_dir: dir };
        let backends = Backend::ALL.into_iter().filter(|backend| self.backend.is_none_or(|only| only == *backend));
        let id = |backend: Backend| {
            let (store, _) = context.store(backend, &place).ok()?;
            Some((backend, store.silenced().read().ok()??.get(name)?.id))
        };
        backends.filter_map(id).collect()
    }

    fn no_turn(&self, id: &str) -> Error {
        let error = self.not_found(format!("no {}turn has the ID '{id}'", self.backend_word()), "");
        let elsewhere = RecordDir::all().unwrap_or_default().into_iter().find_map(|dir| {
            let is_other = self.dir.as_ref().is_none_or(|own| own.path() != dir.path());
            let is_safe = is_other && is_id(id) && dir.check().unwrap_or_default();
            let found = dir.ids().into_iter().filter(|_| is_safe).find(|found| found.starts_with(id))?;
            dir.read(&found).filter(|record| is_of_backend(record, self.backend))?.workspace_dir
        });
        with_workspace(error, elsewhere.as_deref())
    }

    /// Returns the nearest directory above the workspace in which a session has turns, for a caller that has changed its
    /// directory.
    fn workspace_above(&self, filter: &SessionFilter) -> Option<String> {
        let mut above = self.workspace.resolved.ancestors().skip(1);
        above.find_map(|workspace| {
            let dir = RecordDir::of_workspace(workspace).ok()??;
            let is_safe = dir.check().unwrap_or_default();
            let mut records = dir.ids().into_iter().filter(|_| is_safe).filter_map(|id| dir.read(&id));
            records.find(|record| is_of_backend(record, self.backend) && filter.matches(record))?.workspace_dir
        })
    }

    fn no_turn_of(&self, subject: &SessionSelector, names: &[String]) -> Error {
        let (backend, name) = (self.backend_word(), subject.name.as_ref().filter(|_| subject.id.is_none()));
        let meant = name.map(|name| similar(names.iter().map(String::as_str), name.as_str())).unwrap_or_default();
        let message = match (&subject.id, name) {
            (Some(id), _) => format!("no {backend}turn of the session {id} is recorded"),
            (None, name) => {
                let name = name.map(SessionName::as_str).unwrap_or_default();
                format!("no {backend}turn of a session named '{name}' is recorded")
            }
        };
        self.not_found(message, &did_you_mean(&meant))
    }

    fn not_found(&self, message: String, meant: &str) -> Error {
        let error = Error::new(ErrorKind::TurnNotFound, message);
        let Some(dir) = &self.dir else {
            // the caller is probably in another directory than the one that started the turn
            return error.caused_by("this workspace has no records of turns").with_hint(
                "turns are per workspace; list those of all with invoke-persist list-turns --all-workspaces",
            );
        };
        let list = with_place("list-turns", &self.place_args);
        error
            .caused_by(format!("it is not in '{}'", dir.path().display()))
            .with_hint(format!("{meant}turns are per workspace; list them with {list}"))
    }

    /// Returns the name of the selected backend and a space, or nothing.
    fn backend_word(&self) -> String {
        self.backend.map(|backend| format!("{backend} ")).unwrap_or_default()
    }
}

/// Selects the turns of a session: by its ID, or by its name at the time of the turn or now.
pub(crate) struct SessionFilter {
    name: Option<SessionName>,
    /// The IDs, each of one backend or of any.
    ids: Vec<(Option<Backend>, AgentSessionId)>,
}

impl SessionFilter {
    /// Creates the filter for `subject`, whose name is saved for `saved_ids`. An ID takes precedence over a name.
    pub(crate) fn new(subject: &SessionSelector, saved_ids: Vec<(Backend, AgentSessionId)>) -> Self {
        if let Some(id) = &subject.id {
            return Self { name: None, ids: vec![(None, id.clone())] };
        }
        let ids = saved_ids.into_iter().map(|(backend, id)| (Some(backend), id)).collect();
        Self { name: subject.name.clone(), ids }
    }

    pub(crate) fn matches(&self, record: &Record) -> bool {
        let has_name = self.name.as_ref().is_some_and(|name| record.alias.as_deref() == Some(name.as_str()));
        let reported = record.session_id.as_deref().unwrap_or_default();
        has_name || self.ids.iter().any(|(backend, id)| is_of_backend(record, *backend) && id.is_reported_as(reported))
    }
}

fn is_of_backend(record: &Record, backend: Option<Backend>) -> bool {
    backend.is_none_or(|backend| record.backend.as_deref() == Some(backend.name()))
}

/// Reads all records of a workspace.
fn read_all(dir: &RecordDir, place_args: &[String]) -> (Vec<RecordedTurn>, Vec<String>) {
    let (mut turns, mut unreadable) = (Vec::new(), Vec::new());
    for id in dir.ids() {
        match dir.try_read(&id) {
            Ok(record) => turns.push(RecordedTurn { dir: dir.clone(), id, record, place_args: place_args.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // just removed
            Err(error) => unreadable.push(cannot_read(dir, &id, &error).to_single_line()),
        }
    }
    (turns, unreadable)
}

fn cannot_read(dir: &RecordDir, id: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read the record of the turn {id}"))
        .caused_by(format!("'{}'", dir.file(id, "record").display()))
        .with_io_cause(error)
        .with_hint("remove the file if it is not needed")
}

/// Returns the turns that `args` select.
///
/// # Errors
///
/// Those of [`Turns::of_workspace`] and [`Turns::select`].
pub(crate) fn selected_turns(context: &Context, args: &TurnSelectorArgs) -> Result<Vec<RecordedTurn>> {
    Turns::of_workspace(context, &args.place)?.select(context, args)
}

/// Returns the turn that `args` select.
///
/// # Errors
///
/// Those of [`selected_turns`]. A usage error for several turns.
pub(crate) fn selected_turn(context: &Context, args: &TurnSelectorArgs) -> Result<RecordedTurn> {
    let mut turns = selected_turns(context, args)?;
    match turns.len() {
        1 => Ok(turns.remove(0)),
        many => Err(Error::usage(format!("--turn-id selects {many} turns, but this command takes one"))
            .with_hint("call the command once for each turn")),
    }
}

/// Returns the error for records that other users could change.
pub(crate) fn unusable(error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, "the records of turns cannot be used").with_io_cause(error).with_hint(format!(
        "correct its owner and mode, or set {} to a directory that you own",
        env::variable_of_state_dir()
    ))
}

/// Replaces the hint if the turn is recorded in another workspace.
fn with_workspace(error: Error, workspace: Option<&str>) -> Error {
    match workspace {
        Some(workspace) => {
            error.with_hint(format!("add --workspace-dir {}, where such a turn is recorded", shell::quote(workspace)))
        }
        None => error,
    }
}

fn with_place(command: &str, place_args: &[String]) -> String {
    let place = place_args.iter().map(|arg| format!(" {}", shell::quote(arg)));
    format!("invoke-persist {command}{}", place.collect::<String>())
}

//! `list-sessions`: lists the sessions of one or all workspaces. It writes nothing, so it works on read-only disks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::backend::Backend;
use crate::cli::{self, ListFormat};
use crate::context::{Context, Workspace};
use crate::error::{self, Result};
use crate::records::dir::RecordDir;
use crate::records::record::{Record, State};
use crate::session::is_blank;
use crate::sessions::activity::{Activity, Subject, activities};
use crate::sessions::json::entries;
use crate::sessions::settings::names as names_of;
use crate::sort::{sort, sort_by};
use crate::store::format::{Entry, Mapping};
use crate::store::location::{MappingLocation, Root};
use crate::store::settings::StoredSettings;
use crate::store::{self, FoundMapping, Store};
use crate::time::{age, iso_format};
use crate::ui::json::JsonObject;
use crate::ui::table::Column;
use crate::ui::tsv::Tsv;

pub(super) fn run(context: &Context, options: &cli::ListSessions) -> Result<()> {
    let format = if options.print_aliases { ListFormat::Names } else { options.format };
    let decided = context.selected_backend()?;
    let backends = decided.map_or_else(|| Backend::ALL.to_vec(), |backend| vec![backend]);
    if options.all_workspaces {
        return all_workspaces(context, format, &backends);
    }
    let place = in_current_dir_if_blank(&options.place);
    let mut lists = Vec::new();
    for backend in backends {
        let (store, workspace) = context.store(backend, &place)?;
        let mapping = store.read()?;
        lists.push((store, workspace, mapping));
    }
    match format {
        ListFormat::Json => {
            if let ([(store, workspace, mapping)], Some(_)) = (lists.as_slice(), decided) {
                return context.ui.print_json(&list(store, workspace, mapping.as_ref()));
            }
            let shown = lists.last().map(|(_, workspace, _)| workspace.shown.clone());
            let backends = lists.iter().fold(JsonObject::new(), |object, (store, workspace, mapping)| {
                object.with_object(store.backend.name(), list(store, workspace, mapping.as_ref()))
            });
            context.ui.print_json(&JsonObject::new().with("workspace_dir", shown).with_object("backends", backends))
        }
        ListFormat::Names => {
            let lines = lists.iter().flat_map(|(store, _, mapping)| {
                let agent = if decided.is_none() { format!("{}\t", store.backend) } else { String::new() };
                names(mapping.iter()).into_iter().map(move |name| format!("{agent}{name}\n"))
            });
            context.ui.print(&lines.collect::<String>())
        }
        ListFormat::Table | ListFormat::Tsv => {
            let rows: Vec<Row> = lists
                .iter()
                .filter_map(|(store, workspace, mapping)| {
                    let mapping = mapping.as_ref()?;
                    let stored = mapping.workspace();
                    // a file that the caller named may be for any workspace
                    let workspace = match &store.location {
                        MappingLocation::Default { .. } => workspace.text(),
                        MappingLocation::Explicit { .. } => stored.as_str(),
                    };
                    let workspace = Some(workspace).filter(|workspace| !workspace.is_empty());
                    Some(Row::all(store.backend, mapping, workspace, store.path()))
                })
                .flatten()
                .collect();
            if format == ListFormat::Tsv { print_tsv(context, &rows) } else { print_table(context, &rows, false) }
        }
    }
}

/// Returns `place` without a blank `--workspace-dir`, which meant the current directory in the original.
///
/// Only listing accepts it. An unset variable must not let another command change the wrong workspace.
fn in_current_dir_if_blank(place: &cli::LocationArgs) -> cli::LocationArgs {
    let is_blank = |dir: &PathBuf| dir.to_str().is_some_and(is_blank);
    cli::LocationArgs { workspace_dir: place.workspace_dir.clone().filter(|dir| !is_blank(dir)), ..place.clone() }
}

/// Lists all mappings of this user.
fn all_workspaces(context: &Context, format: ListFormat, backends: &[Backend]) -> Result<()> {
    let root = Root::from_env()?;
    let mut found = store::all(&root, backends)?;
    // sorted by workspace, with mappings without one at the end
    sort_by(&mut found, |one, other| {
        let (one, other) = (workspace_of(one), workspace_of(other));
        (one.is_none(), one).cmp(&(other.is_none(), other))
    });
    if format == ListFormat::Json {
        let workspaces = found.into_iter().map(describe_found).collect();
        let root = root.dir.display().to_string();
        return context.ui.print_json(&JsonObject::new().with("root", root).with_list("workspaces", workspaces));
    }
    let mut rows = Vec::new();
    let mut lines = String::new();
    for found in found {
        let workspace = workspace_of(&found);
        let mapping = match found.mapping {
            Ok(mapping) => mapping,
            Err(error) => {
                context.ui.warn_always(&error::Error::from(error).to_single_line()); // even with --quiet, because the list is incomplete
                continue;
            }
        };
        rows.extend(Row::all(found.backend, &mapping, workspace.as_deref(), &found.file));
        let agent = if backends.len() > 1 { format!("{}\t", found.backend) } else { String::new() };
        let workspace = workspace.as_deref().unwrap_or("-");
        lines.extend(names([&mapping]).iter().map(|name| format!("{workspace}\t{agent}{name}\n")));
    }
    match format {
        ListFormat::Table => print_table(context, &rows, true),
        ListFormat::Tsv => print_tsv(context, &rows),
        ListFormat::Json | ListFormat::Names => context.ui.print(&lines),
    }
}

/// Returns the workspace that is stored in the mapping.
fn workspace_of(found: &FoundMapping) -> Option<String> {
    found.mapping.as_ref().ok().map(Mapping::workspace).filter(|workspace| !workspace.is_empty())
}

fn describe_found(found: FoundMapping) -> JsonObject {
    let workspace = workspace_of(&found);
    let object = JsonObject::new()
        .with("workspace_dir", workspace.as_deref())
        .with("exists", workspace.as_deref().map(|workspace| Path::new(workspace).is_dir()))
        .with("backend", found.backend.name())
        .with("mapping_file", found.file.display().to_string());
    match found.mapping {
        Ok(mapping) => {
            object.with_object("aliases", entries(found.backend, &mapping)).with("alias_count", mapping.len())
        }
        Err(error) => object.with("error", error::Error::from(error).to_single_line()),
    }
}

fn names<'a>(mapping: impl IntoIterator<Item = &'a Mapping>) -> Vec<&'a str> {
    let mut names: Vec<_> = mapping.into_iter().flat_map(Mapping::entries).map(|(name, _)| name).collect();
    sort(&mut names);
    names
}

/// A stored session.
struct Row {
    backend: Backend,
    name: String,
    entry: Entry,
    /// The workspace; `None` if the mapping does not name it.
    workspace: Option<String>,
    mapping_file: String,
}

impl Row {
    /// Returns the sessions of a mapping by name.
    fn all(backend: Backend, mapping: &Mapping, workspace: Option<&str>, file: &Path) -> Vec<Self> {
        let row = |(name, entry): (&str, Entry)| Self {
            backend,
            name: name.to_owned(),
            entry,
            workspace: workspace.map(str::to_owned),
            mapping_file: file.display().to_string(),
        };
        let mut rows: Vec<_> = mapping.entries().map(row).collect();
        sort_by(&mut rows, |one, other| one.name.cmp(&other.name));
        rows
    }
}

/// Returns what is known of each session beside its entry.
fn activities_of(rows: &[Row]) -> Vec<Activity> {
    let subjects = rows.iter().map(|Row { backend, entry, workspace, .. }| Subject {
        backend: *backend,
        dir: workspace.as_deref().map(Path::new),
        id: &entry.id,
    });
    activities(&subjects.collect::<Vec<_>>())
}

/// The records of turns, read once for each workspace.
#[derive(Default)]
struct RecordedTurns(BTreeMap<String, Vec<Record>>);

impl RecordedTurns {
    /// Returns how many turns of a session are recorded, and whether one is running or queued. `None` if there are none.
    fn describe(&mut self, row: &Row) -> Option<String> {
        let workspace = row.workspace.as_ref()?;
        let records = self.0.entry(workspace.clone()).or_insert_with(|| {
            let dir = RecordDir::of_workspace(Path::new(workspace)).ok().flatten();
            let dir = dir.filter(|dir| dir.check().unwrap_or_default());
            dir.map(|dir| dir.ids().iter().filter_map(|id| dir.read(id)).collect()).unwrap_or_default()
        });
        let is_of = |record: &&Record| {
            record.backend.as_deref() == Some(row.backend.name())
                && match record.session_id.as_deref() {
                    Some(id) => row.entry.id.is_reported_as(id),
                    None => record.alias.as_deref() == Some(&row.name),
                }
        };
        let count = records.iter().filter(is_of).count();
        let is_any = |state: &State| records.iter().filter(is_of).any(|record| record.state == *state);
        let state = [State::Running, State::Queued].into_iter().find(is_any);
        let state = state.map(|state| format!(", {}", state.name())).unwrap_or_default();
        (count > 0).then(|| format!("{count}{state}"))
    }
}

/// Prints the sessions of one or all workspaces as a table that fits the terminal.
fn print_table(context: &Context, rows: &[Row], all_workspaces: bool) -> Result<()> {
    if rows.is_empty() {
        let which = if all_workspaces { "any" } else { "this" };
        context.ui.note(&format!("no sessions are saved in {which} workspace"));
        return Ok(());
    }
    let mut columns = vec![
        Column::new("NAME").with_min_width(10),
        Column::new("AGENT"),
        Column::new("ID").with_min_width(8).optional(5),
        Column::new("MODEL").with_min_width(6).optional(4),
        Column::new("EFFORT").optional(2),
        Column::new("AGE").optional(1),
        Column::new("USED"),
        Column::new("BUSY").optional(6),
        Column::new("TURNS").optional(3),
    ];
    let has_settings = rows.iter().any(|row| row.entry.settings.is_some());
    if has_settings {
        columns.push(Column::new("SETTINGS").with_min_width(8).optional(7));
    }
    if all_workspaces {
        columns.push(Column::new("WORKSPACE").with_min_width(12).keeping_end());
    }
    let now = Timestamp::now();
    let mut turns = RecordedTurns::default();
    for (row, Activity { last_used, is_busy }) in rows.iter().zip(activities_of(rows)) {
        let Row { backend, name, entry, workspace, .. } = row;
        let turns = turns.describe(row);
        let created = entry.created_at.as_deref().and_then(|created| created.parse().ok());
        let created = created.map(|created| age(created, now));
        let used = last_used.and_then(|used| used.try_into().ok()).map(|used| age(used, now));
        let settings = entry.settings.as_deref().map(settings_cell);
        let cells = [
            Some(name.as_str()),
            Some(backend.name()),
            Some(entry.id.as_str()),
            entry.model.as_deref(),
            entry.effort.as_deref(),
            created.as_deref(),
            used.as_deref(),
            is_busy.map(|is_busy| if is_busy { "yes" } else { "no" }),
            turns.as_deref(),
        ];
        let settings = has_settings.then_some(settings.as_deref());
        let cells = cells.into_iter().chain(settings).chain([workspace.as_deref()]);
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
    }
    context.ui.print_table(columns)
}

/// Returns the names of the stored settings.
fn settings_cell(json: &str) -> String {
    StoredSettings::parse(json).map_or_else(|_| "invalid".to_owned(), |settings| names_of(&settings).join(" "))
}

/// Prints the sessions for a script. The columns are the same for every call. Those that always have a value come first.
fn print_tsv(context: &Context, rows: &[Row]) -> Result<()> {
    let mut tsv = Tsv::new([
        "backend",
        "name",
        "session_id",
        "mapping_file",
        "busy",
        "workspace_dir",
        "created_at",
        "last_used_at",
        "model",
        "effort",
    ]);
    for (row, Activity { last_used, is_busy }) in rows.iter().zip(activities_of(rows)) {
        let Row { backend, name, entry, workspace, mapping_file } = row;
        let used = last_used.and_then(|used| used.try_into().ok()).map(iso_format);
        tsv.push([
            Some(backend.name()),
            Some(name),
            Some(entry.id.as_str()),
            Some(mapping_file),
            is_busy.map(|is_busy| if is_busy { "true" } else { "false" }),
            workspace.as_deref(),
            entry.created_at.as_deref(),
            used.as_deref(),
            entry.model.as_deref(),
            entry.effort.as_deref(),
        ]);
    }
    context.ui.print(&tsv.into_text())
}

fn list(store: &Store, workspace: &Workspace, mapping: Option<&Mapping>) -> JsonObject {
    let aliases = mapping.map_or_else(JsonObject::new, |mapping| entries(store.backend, mapping));
    let list = JsonObject::new()
        .with("workspace_dir", workspace.shown.as_str())
        .with("mapping_file", store.path().display().to_string())
        .with_object("aliases", aliases)
        .with("alias_count", mapping.map_or(0, Mapping::len));
    match mapping {
        Some(mapping) => list.with("stored_workspace_dir", mapping.workspace()),
        None => list,
    }
}

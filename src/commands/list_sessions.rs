//! `list-sessions`: lists the sessions of one or all workspaces. It writes nothing, so it works on read-only disks.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::backend::Backend;
use crate::cli::{self, ListFormat};
use crate::context::{Context, Workspace};
use crate::error::{self, Result};
use crate::session::is_blank;
use crate::sessions::json::entries;
use crate::store::format::Mapping;
use crate::store::location::Root;
use crate::store::{self, FoundMapping, Store};
use crate::ui::json::JsonObject;
use crate::ui::table::{self, Column};

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
        ListFormat::Table => {
            let mut table = Table::new(false);
            for (store, _, mapping) in &lists {
                table.add(store.backend, mapping.iter(), None);
            }
            table.print(context, "this")
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
    found.sort_by_key(|found| {
        let workspace = workspace_of(found);
        (workspace.is_none(), workspace)
    });
    if format == ListFormat::Json {
        let workspaces = found.into_iter().map(describe_found).collect();
        let root = root.dir.display().to_string();
        return context.ui.print_json(&JsonObject::new().with("root", root).with_list("workspaces", workspaces));
    }
    let mut table = Table::new(true);
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
        table.add(found.backend, [&mapping], workspace.as_deref());
        let agent = if backends.len() > 1 { format!("{}\t", found.backend) } else { String::new() };
        let workspace = workspace.as_deref().unwrap_or("-");
        lines.extend(names([&mapping]).iter().map(|name| format!("{workspace}\t{agent}{name}\n")));
    }
    match format {
        ListFormat::Table => table.print(context, "any"),
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
    names.sort_unstable();
    names
}

/// A table of the sessions of one or all workspaces.
struct Table {
    columns: Vec<Column>,
    now: Timestamp,
    rows: usize,
}

impl Table {
    fn new(with_workspace: bool) -> Self {
        let mut columns = vec![
            Column::new("NAME").with_min_width(10),
            Column::new("AGENT"),
            Column::new("ID").with_min_width(8),
            Column::new("MODEL").with_min_width(6).optional(),
            Column::new("EFFORT").optional(),
            Column::new("AGE"),
        ];
        if with_workspace {
            columns.push(Column::new("WORKSPACE").with_min_width(12).keeping_end());
        }
        Self { columns, now: Timestamp::now(), rows: 0 }
    }

    fn add<'a>(&mut self, backend: Backend, mapping: impl IntoIterator<Item = &'a Mapping>, workspace: Option<&str>) {
        let mut sessions: Vec<_> = mapping.into_iter().flat_map(Mapping::entries).collect();
        sessions.sort_by_key(|(name, _)| *name);
        self.rows += sessions.len();
        for (name, entry) in sessions {
            let age = entry.created_at.as_deref().and_then(|created| age(created, self.now));
            let (id, model, effort) = (Some(entry.id.as_str()), entry.model.as_deref(), entry.effort.as_deref());
            let cells = [Some(name), Some(backend.name()), id, model, effort, age.as_deref(), workspace];
            self.columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell));
        }
    }

    fn print(self, context: &Context, which: &str) -> Result<()> {
        if self.rows == 0 {
            context.ui.note(&format!("no sessions are saved in {which} workspace"));
            return Ok(());
        }
        context.ui.print(&table::render(self.columns, context.ui.terminal_width()))
    }
}

/// Returns the time since `created` in the largest full unit.
fn age(created: &str, now: Timestamp) -> Option<String> {
    const UNITS: [(i64, &str); 4] = [(86400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let created: Timestamp = created.parse().ok()?;
    let seconds = now.duration_since(created).as_secs().max(0); // the clock may have been set back
    let (size, unit) = UNITS.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "s"));
    Some(format!("{}{unit}", seconds / size))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_in_their_largest_full_unit() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (created, want) in [
            ("2026-11-21T11:59:18.236249+00:00", Some("41s")),
            ("2026-11-21T11:59:00+00:00", Some("1m")),
            ("2026-11-21T13:00:00.5+02:00", Some("59m")),
            ("2026-11-20T12:00:01+00:00", Some("23h")),
            ("2025-11-21T12:00:00+00:00", Some("365d")),
            ("2030-01-01T00:00:00+00:00", Some("0s")),
            ("2026-11-21", None),
            ("", None),
        ] {
            assert_eq!(age(created, now).as_deref(), want, "{created}");
        }
    }
}

//! `list-sessions`: the names of a workspace. Writes nothing and needs nothing writable.

use super::{Context, Workspace, print, print_object};
use crate::backend::Backend;
use crate::cli::{self, ListFormat};
use crate::error::Result;
use crate::output::Object;
use crate::store::Store;
use crate::store::format::{Entry, Mapping};

pub(super) fn run(context: &Context, options: &cli::ListSessions) -> Result<()> {
    let names_only = options.print_aliases || options.format == ListFormat::Names;
    let decided = context.decided_backend()?;
    let backends = decided.map_or_else(|| Backend::ALL.to_vec(), |backend| vec![backend]);
    let mut names = String::new();
    let mut lists = Object::new();
    let mut shown = String::new();
    for backend in backends {
        let (store, workspace) = context.store(backend, &options.place)?;
        let mapping = store.read()?;
        if names_only {
            let mut sorted: Vec<_> = mapping.iter().flat_map(Mapping::entries).map(|(name, _)| name).collect();
            sorted.sort_unstable();
            let prefix = if decided.is_none() { format!("{backend}\t") } else { String::new() };
            names.extend(sorted.into_iter().map(|name| format!("{prefix}{name}\n")));
            continue;
        }
        let list = list(&store, &workspace, mapping.as_ref());
        if decided.is_some() {
            return print_object(&list);
        }
        lists = lists.with_object(backend.name(), list);
        shown = workspace.shown;
    }
    if names_only {
        return print(&names);
    }
    print_object(&Object::new().with("workspace_dir", shown).with_object("backends", lists))
}

fn list(store: &Store, workspace: &Workspace, mapping: Option<&Mapping>) -> Object {
    let aliases = mapping.map_or_else(Object::new, |mapping| entries(store.backend, mapping));
    let list = Object::new()
        .with("workspace_dir", workspace.shown.as_str())
        .with("mapping_file", store.path().display().to_string())
        .with_object("aliases", aliases)
        .with("alias_count", mapping.map_or(0, Mapping::len));
    match mapping {
        Some(mapping) => list.with("stored_workspace_dir", mapping.workspace()),
        None => list,
    }
}

/// All entries as they are printed, in the order of the file.
pub(super) fn entries(backend: Backend, mapping: &Mapping) -> Object {
    mapping.entries().fold(Object::new(), |object, (name, entry)| object.with_object(name, describe(backend, &entry)))
}

fn describe(backend: Backend, entry: &Entry) -> Object {
    Object::new()
        .with(backend.id_key(), entry.id.as_str())
        .with_some("created_at", entry.created_at.as_deref())
        .with_some("last_model", entry.model.as_deref())
        .with_some("last_reasoning_effort", entry.effort.as_deref())
}

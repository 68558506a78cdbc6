//! `delete-all-sessions`: removes the mapping files of a workspace, and their directory if it is empty.

use crate::backend::Backend;
use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::store::{self, Removed, Store};
use crate::ui::json::JsonObject;

pub(super) fn run(context: &Context, options: &cli::DeleteAllSessions) -> Result<()> {
    // a file that the caller named is removed for any backend
    let any = options.place.mapping_file.as_ref().map(|_| Backend::ALL[0]);
    let decided = context.selected_backend()?.or(any);
    let backends = decided.map_or_else(|| Backend::ALL.to_vec(), |backend| vec![backend]);
    let mut stores = Vec::new();
    let mut shown = String::new();
    for backend in backends {
        cli::parse::refuse_call_options(backend, &options.ignored)?;
        let (store, workspace) = context.store(backend, &options.place)?;
        shown = workspace.shown;
        stores.push(store);
    }
    if decided.is_some() {
        let removed = stores[0].remove()?;
        return context.ui.print_json(&describe(&stores[0], &shown, removed));
    }
    // what `list-sessions` shows without a backend
    let removed = store::remove_all(&stores)?;
    let each = stores.iter().zip(removed).fold(JsonObject::new(), |object, (store, removed)| {
        object.with_object(store.backend.name(), describe(store, &shown, removed))
    });
    context.ui.print_json(&JsonObject::new().with("workspace_dir", shown.as_str()).with_object("backends", each))
}

fn describe(store: &Store, workspace: &str, removed: Removed) -> JsonObject {
    JsonObject::new()
        .with("workspace_dir", workspace)
        .with("mapping_file", store.path().display().to_string())
        .with("mapping_file_existed", removed.file)
        .with("mapping_file_deleted", removed.file)
        .with("mapping_parent_dir_deleted_if_empty", removed.dir)
}

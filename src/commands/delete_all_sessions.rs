//! `delete-all-sessions`: removes the mapping file, and its directory if it is empty.

use crate::backend::Backend;
use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::ui::json::JsonObject;

pub(super) fn run(context: &Context, options: &cli::DeleteAllSessions) -> Result<()> {
    // a file that the caller named is removed for any backend
    let backend = match context.selected_backend()? {
        None if options.place.mapping_file.is_some() => Backend::ALL[0],
        _ => context.backend(&options.place, None)?,
    };
    cli::parse::refuse_call_options(backend, &options.ignored)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    let (file, dir) = store.remove()?;
    context.ui.print_json(
        &JsonObject::new()
            .with("workspace_dir", workspace.shown)
            .with("mapping_file", store.path().display().to_string())
            .with("mapping_file_existed", file)
            .with("mapping_file_deleted", file)
            .with("mapping_parent_dir_deleted_if_empty", dir),
    )
}

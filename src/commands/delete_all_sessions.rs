//! `delete-all-sessions`: removes the mapping file, and its folder if that is then empty.

use super::{Context, delete_session, print_object};
use crate::backend::Backend;
use crate::cli;
use crate::error::Result;
use crate::output::Object;

pub(super) fn run(context: &Context, options: &cli::DeleteAllSessions) -> Result<()> {
    // a file that the caller named is removed whichever agent's it is
    let backend = match context.decided_backend()? {
        None if options.place.mapping_file.is_some() => Backend::Claude,
        _ => context.backend(&options.place, None)?,
    };
    delete_session::refuse_call_options(backend, &options.ignored)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    let (file, folder) = store.remove()?;
    print_object(
        &Object::new()
            .with("workspace_dir", workspace.shown)
            .with("mapping_file", store.path().display().to_string())
            .with("mapping_file_existed", file)
            .with("mapping_file_deleted", file)
            .with("mapping_parent_dir_deleted_if_empty", folder),
    )
}

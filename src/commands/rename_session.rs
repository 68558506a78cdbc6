//! `rename-session`: renames an entry of the mapping.

use crate::cli;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::conflict::name_taken;
use crate::sessions::selector::{SessionSelector, required_name};
use crate::sessions::suggest::not_found;
use crate::ui::json::JsonObject;

pub(super) fn run(context: &Context, options: &cli::RenameSession) -> Result<()> {
    let from = required_name(&options.name)?;
    let to = options.to.as_deref().and_then(SessionName::new);
    let to = to.ok_or_else(|| Error::usage("the new name is missing").with_hint("add --to NEW"))?;
    if from == to {
        return Err(Error::usage(format!("the session is already named '{from}'")));
    }
    let subject = SessionSelector { name: Some(from.clone()), id: None };
    let backend = context.backend(&options.place, &subject)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    if store.read()?.is_none_or(|mapping| mapping.get(&from).is_none()) {
        return Err(not_found(&store, &from, None));
    }
    let renamed = store.update(false, |mapping, _| {
        let Some(entry) = mapping.get(&from) else {
            return (Err(not_found(&store, &from, mapping.why_unusable(&from))), false);
        };
        let replaced = mapping.get(&to).map(|entry| entry.id);
        if mapping.contains(&to) && !options.force {
            let error = name_taken(backend, &to, replaced);
            return (Err(error.with_hint("choose another name, or replace the session with --force")), false);
        }
        mapping.rename(&from, &to);
        (Ok((entry.id, replaced)), true)
    })?;
    let (id, replaced) = renamed.value?;
    context.ui.print_json(
        &JsonObject::new()
            .with("workspace_dir", workspace.shown)
            .with("mapping_file", store.path().display().to_string())
            .with("renamed_from", from.as_str())
            .with("renamed_to", to.as_str())
            .with(backend.id_key(), id.as_str())
            .with(&format!("replaced_{}", backend.id_key()), replaced.as_ref().map(AgentSessionId::as_str))
            .with("mapping_file_written", renamed.written),
    )
}

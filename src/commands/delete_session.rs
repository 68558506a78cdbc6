//! `delete-session`: removes a name, or every name of an ID. The agent is not called and keeps the session.

use crate::cli;
use crate::context::{Context, Workspace};
use crate::error::Result;
use crate::session::{AgentSessionId, SessionName};
use crate::sessions::json::entries;
use crate::sessions::selector::SessionSelector;
use crate::sessions::suggest::found_above;
use crate::store::Store;
use crate::store::format::Mapping;
use crate::ui::json::JsonObject;

pub(super) fn run(context: &Context, options: &cli::DeleteSession) -> Result<()> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    // unlike elsewhere, a name wins over an ID
    let id = subject.id.clone().filter(|_| subject.name.is_none());
    let backend = context.backend(&options.place, &SessionSelector { name: subject.name.clone(), id })?;
    cli::parse::refuse_call_options(backend, &options.ignored)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    let done = delete(&store, &workspace, &subject)?;
    if let (Some(name), [], None) = (&subject.name, done.removed.as_slice(), &options.place.mapping_file)
        && let Some(hint) = found_above(&[backend], &workspace.resolved, name, &context.ui)
    {
        context.ui.note(&format!("no {backend} session was named '{name}'; {hint}"));
    }
    let left = options.print_mapping_json.then(|| {
        JsonObject::new()
            .with("workspace_dir", done.left.workspace())
            .with_object("aliases", entries(backend, &done.left))
    });
    let object = JsonObject::new()
        .with("workspace_dir", workspace.shown)
        .with("mapping_file", store.path().display().to_string())
        .with("mapping_file_existed", done.existed)
        .with("stored_workspace_dir", done.stored_workspace)
        .with("requested_session_name", subject.name.as_ref().map(SessionName::as_str))
        .with(&format!("requested_{}", backend.id_key()), subject.id.as_ref().map(AgentSessionId::as_str))
        .with("removed_aliases", done.removed.clone())
        .with("removed_count", done.removed.len())
        .with("alias_count_before", done.before)
        .with("alias_count_after", done.left.len())
        .with("mapping_file_written", done.written)
        .with("mapping_recreated_from_invalid_json", done.recreated);
    context.ui.print_json(&match left {
        Some(left) => object.with_object("mapping", left),
        None => object.with("mapping", serde_json::Value::Null),
    })
}

/// The result of a deletion.
struct Deletion {
    existed: bool,
    stored_workspace: String,
    removed: Vec<String>,
    before: usize,
    left: Mapping,
    written: bool,
    recreated: bool,
}

fn delete(store: &Store, workspace: &Workspace, subject: &SessionSelector) -> Result<Deletion> {
    let existed = match store.read() {
        Ok(None) => {
            let mut left = Mapping::new(store.backend);
            left.set_workspace(&workspace.shown);
            let (stored_workspace, removed) = (String::new(), Vec::new());
            return Ok(Deletion {
                existed: false,
                stored_workspace,
                removed,
                before: 0,
                left,
                written: false,
                recreated: false,
            });
        }
        // the update reads the file again and reports what is wrong with it
        Ok(Some(_)) | Err(_) => true,
    };
    let updated = store.update(true, |mapping, recreated| {
        if recreated {
            mapping.set_workspace(&workspace.shown); // as the caller spelled it, like the original
        }
        let before = mapping.len();
        let stored = mapping.workspace();
        let removed = match (&subject.name, &subject.id) {
            (Some(name), _) => mapping.get(name).map(|_| vec![name.as_str().to_owned()]).unwrap_or_default(),
            (None, Some(id)) => mapping.names_of(id),
            (None, None) => Vec::new(),
        };
        for name in &removed {
            mapping.remove(name);
        }
        mapping.set_workspace_if_empty(&store.workspace);
        let changed = !removed.is_empty();
        ((before, stored, removed, mapping.clone()), changed)
    })?;
    let (before, stored_workspace, removed, left) = updated.value;
    Ok(Deletion {
        existed,
        stored_workspace,
        removed,
        before,
        left,
        written: updated.written,
        recreated: updated.replaced_invalid,
    })
}

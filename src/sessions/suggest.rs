//! Errors for names that are not in the mapping, with suggestions of similar names.

use std::path::Path;

use super::history::missing_name;
use super::selector::SessionSelector;
use crate::backend::Backend;
use crate::env;
use crate::error::{Error, ErrorKind};
use crate::paths;
use crate::session::SessionName;
use crate::sort::sort_by;
use crate::store::Store;
use crate::store::format::Mapping;
use crate::store::location::MappingLocation;
use crate::ui::Ui;

/// Returns the error for a name that is not in the mapping, with similar names.
pub(crate) fn not_found(store: &Store, name: &SessionName, unusable: Option<crate::session::UnusableId>) -> Error {
    let backend = store.backend;
    let error = Error::new(ErrorKind::SessionNotFound, format!("no {backend} session is named '{name}'"));
    let error = match unusable {
        Some(why) => error.caused_by(format!("its entry in '{}' has an ID that {why}", store.path().display())),
        None => error.caused_by(format!("it is not in '{}'", store.path().display())),
    };
    let workspace = Path::new(&store.workspace);
    if let Some(hint) = missing_name(&[backend], &store.location, workspace, name) {
        return error.with_hint(hint);
    }
    if let MappingLocation::Default { .. } = store.location
        && let Some(hint) = found_above(&[backend], workspace, name, &store.ui)
    {
        return error.with_hint(hint);
    }
    if let Some(other) = holder(store, name) {
        return error.with_hint(format!(
            "'{name}' is a {other} session: remove the options of {backend}, or add --backend {other}"
        ));
    }
    if let Some(hint) = missing_name(&Backend::ALL, &store.location, workspace, name) {
        return error.with_hint(hint);
    }
    let similar = store.read().ok().flatten().map(|mapping| similar_names(&mapping, name)).unwrap_or_default();
    let meant = did_you_mean(&similar);
    error.with_hint(format!(
        "{meant}names are per workspace; list them with invoke-persist --backend {backend} list-sessions"
    ))
}

/// Returns another backend that has a session of this name in the workspace of `store`.
fn holder(store: &Store, name: &SessionName) -> Option<Backend> {
    let MappingLocation::Default { .. } = store.location else { return None };
    let workspace = Path::new(&store.workspace);
    let mut others = Backend::ALL.into_iter().filter(|other| *other != store.backend);
    others.find(|other| has_session(*other, workspace, name, &store.ui))
}

/// Returns whether the mapping of `backend` in `dir` has a session of this name. A mapping that cannot be used has none.
fn has_session(backend: Backend, dir: &Path, name: &SessionName, ui: &Ui) -> bool {
    let Ok(location) = MappingLocation::of_workspace(backend, dir) else { return false };
    let workspace = String::new(); // for new mappings only
    let store = Store { backend, location, workspace, ui: ui.clone(), deadline: None }.silenced();
    store.read().ok().flatten().is_some_and(|mapping| mapping.get(name).is_some())
}

/// Returns the error for a session that none of `stores` has, one for each backend, with similar names.
///
/// `above` is the hint of [`found_above`].
pub(crate) fn not_found_in_any(stores: &[Store], subject: &SessionSelector, above: Option<String>) -> Error {
    let backends = Backend::names();
    let mut files: Vec<String> = stores.iter().map(|store| format!("'{}'", store.path().display())).collect();
    files.dedup(); // --mapping-file
    let message = match (&subject.id, &subject.name) {
        (Some(id), _) => format!("no {backends} session has the ID '{id}'"),
        (None, Some(name)) => format!("no {backends} session is named '{name}'"),
        (None, None) => format!("no {backends} session was found"),
    };
    let hint = if subject.id.is_some() {
        let options = Backend::ALL.map(|backend| format!("--backend {backend}")).join(" or ");
        format!("add {options} to use an ID without a name, or list the names with invoke-persist list-sessions")
    } else if let Some(hint) = subject.name.as_ref().and_then(|name| missing_in_any(stores, name)).or(above) {
        hint
    } else {
        let meant = subject.name.as_ref().map(|name| did_you_mean(&similar_in_any(stores, name))).unwrap_or_default();
        format!("{meant}names are per workspace; list them with invoke-persist list-sessions")
    };
    let unusable = stores.iter().find_map(|store| {
        let name = subject.name.as_ref().filter(|_| subject.id.is_none())?;
        let why = store.read().ok()??.why_unusable(name)?;
        Some(format!("its entry in '{}' has an ID that {why}", store.path().display()))
    });
    let cause = unusable.unwrap_or_else(|| format!("it is not in {}", files.join(" or ")));
    Error::new(ErrorKind::SessionNotFound, message).caused_by(cause).with_hint(hint)
}

/// Returns the hint of [`missing_name`] for the backends of `stores`, which are for one workspace.
fn missing_in_any(stores: &[Store], name: &SessionName) -> Option<String> {
    let store = stores.first()?;
    missing_name(&Backend::ALL, &store.location, Path::new(&store.workspace), name)
}

/// Returns the names in `stores` that are similar to `name`, each with its backend.
pub(crate) fn similar_in_any(stores: &[Store], name: &SessionName) -> Vec<String> {
    let similar = stores.iter().filter_map(|store| {
        let mapping = store.read().ok()??;
        let similar = similar_names(&mapping, name).into_iter();
        Some(similar.map(move |name| format!("{name} ({})", store.backend)))
    });
    similar.flatten().collect()
}

/// Returns a hint that names the nearest directory above the current one in which `name` is a session of one of
/// `backends`; `None` if `workspace` is not the current directory.
///
/// Only reads mappings, up to the home directory or the root. A mapping that cannot be used has no names here.
pub(crate) fn found_above(backends: &[Backend], workspace: &Path, name: &SessionName, ui: &Ui) -> Option<String> {
    let current = paths::resolve(&paths::current_dir().ok()?).ok()?;
    if current != workspace {
        return None; // the caller chose another workspace
    }
    let home = env::home().and_then(|home| paths::resolve(&home).ok());
    let holders = |dir: &Path| -> Vec<&str> {
        let holds = |backend: &&Backend| has_session(**backend, dir, name, ui);
        backends.iter().filter(holds).map(|backend| backend.name()).collect()
    };
    let is_beyond = |dir: &Path| home.as_deref().is_some_and(|home| home.starts_with(dir) && home != dir);
    let above = current.ancestors().skip(1).take_while(|dir| !is_beyond(dir));
    let (dir, holders) = above.map(|dir| (dir, holders(dir))).find(|(_, holders)| !holders.is_empty())?;
    let dir = shell_words::quote(paths::to_text(dir).ok()?).into_owned();
    Some(format!("add --workspace-dir {dir}, where a {} session has that name", holders.join(" and a ")))
}

/// Returns a question followed by a space; an empty text without names.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("did you mean {}? ", names.join(" or ")) }
}

/// Returns the names that are similar to `name`, quoted, the most similar first.
fn similar_names(mapping: &Mapping, name: &SessionName) -> Vec<String> {
    similar(mapping.entries().map(|(other, _)| other), name.as_str())
}

/// Returns the `words` that are similar to `word`, quoted, the most similar first.
pub(crate) fn similar<'a>(words: impl Iterator<Item = &'a str>, word: &str) -> Vec<String> {
    /// The threshold of clap for misspelled options.
    const ALIKE: f64 = 0.7;
    const MOST: usize = 3;
    let plain = |text: &str| text.to_lowercase();
    let mut similar: Vec<_> = words.map(|other| (strsim::jaro(&plain(word), &plain(other)), other)).collect();
    similar.retain(|(alike, _)| *alike > ALIKE);
    sort_by(&mut similar, |(one, _), (other, _)| other.total_cmp(one));
    similar.iter().take(MOST).map(|(_, other)| format!("'{other}'")).collect()
}

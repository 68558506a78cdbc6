//! Errors for names that are not in the mapping, with suggestions of similar names.

use super::selector::SessionSelector;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind};
use crate::session::SessionName;
use crate::store::Store;
use crate::store::format::Mapping;

/// Returns the error for a name that is not in the mapping, with similar names.
pub(crate) fn not_found(store: &Store, name: &SessionName, unusable: Option<crate::session::UnusableId>) -> Error {
    let backend = store.backend;
    let error = Error::new(ErrorKind::SessionNotFound, format!("no {backend} session is named '{name}'"));
    let error = match unusable {
        Some(why) => error.caused_by(format!("its entry in '{}' has an ID that {why}", store.path().display())),
        None => error.caused_by(format!("it is not in '{}'", store.path().display())),
    };
    let similar = store.read().ok().flatten().map(|mapping| similar_names(&mapping, name)).unwrap_or_default();
    let meant = did_you_mean(&similar);
    error.with_hint(format!(
        "{meant}names are per workspace; list them with invoke-persist --backend {backend} list-sessions"
    ))
}

/// Returns the error for a session that none of `stores` has, one for each backend, with similar names.
pub(crate) fn not_found_in_any(stores: &[Store], subject: &SessionSelector) -> Error {
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

/// Returns the names in `stores` that are similar to `name`, each with its backend.
pub(crate) fn similar_in_any(stores: &[Store], name: &SessionName) -> Vec<String> {
    let similar = stores.iter().filter_map(|store| {
        let mapping = store.read().ok()??;
        let similar = similar_names(&mapping, name).into_iter();
        Some(similar.map(move |name| format!("{name} ({})", store.backend)))
    });
    similar.flatten().collect()
}

/// Returns a question followed by a space; an empty text without names.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("did you mean {}? ", names.join(" or ")) }
}

/// Returns the names that are similar to `name`, quoted, the most similar first.
fn similar_names(mapping: &Mapping, name: &SessionName) -> Vec<String> {
    /// The threshold of clap for misspelled options.
    const ALIKE: f64 = 0.7;
    const MOST: usize = 3;
    let plain = |text: &str| text.to_lowercase();
    let alike = |other: &str| strsim::jaro(&plain(name.as_str()), &plain(other));
    let mut similar: Vec<_> = mapping.entries().map(|(other, _)| (alike(other), other)).collect();
    similar.retain(|(alike, _)| *alike > ALIKE);
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    similar.iter().take(MOST).map(|(_, other)| format!("'{other}'")).collect()
}

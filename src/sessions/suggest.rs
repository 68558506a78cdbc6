//! Errors for names that are not in the mapping, with suggestions of similar names.

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

/// Returns a question and a space, or an empty text if there are no names.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("did you mean {}? ", names.join(" or ")) }
}

/// Returns the names that are similar to `name`, quoted, the most similar first.
pub(crate) fn similar_names(mapping: &Mapping, name: &SessionName) -> Vec<String> {
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

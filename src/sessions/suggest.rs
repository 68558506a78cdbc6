//! Errors for names that are not in the mapping, and the names that may have been meant.

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

/// Returns a question followed by a space; an empty text without names.
pub(crate) fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("did you mean {}? ", names.join(" or ")) }
}

/// Returns the names that are similar to `name`, quoted, the most similar first.
pub(crate) fn similar_names(mapping: &Mapping, name: &SessionName) -> Vec<String> {
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
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    similar.iter().take(MOST).map(|(_, other)| format!("'{other}'")).collect()
}

//! The roles of sessions: one file for each, beside the mapping.
//!
//! The mapping itself stays as the original writes it. A file belongs to an ID and not to a name, so it can never apply
//! to another session that takes the name.

use std::path::Path;

use crate::digest;
use crate::session::AgentSessionId;

/// The extension of the files.
const EXTENSION: &str = ".md";

/// A change of roles that belongs to a change of the mapping.
#[derive(Clone, Debug)]
pub(crate) enum RoleChange {
    /// The session has this role.
    Keep(AgentSessionId, String),
    /// The session has a new ID.
    Move { from: AgentSessionId, to: AgentSessionId },
    /// A name no longer refers to the session. Its role is removed with its last name.
    Release(AgentSessionId),
}

/// Returns the name of the file with the role of session `id`, beside the mapping `mapping`.
///
/// The name does not contain `.json`, so that no program takes the file for a mapping.
pub(super) fn file_name(mapping: &str, id: &AgentSessionId) -> String {
    /// The limit on the length of an ID in a file name.
    const LONGEST: usize = 64;
    let id = id.as_str();
    let is_plain = id.len() <= LONGEST && id.bytes().all(is_plain);
    let id = if is_plain { id.to_owned() } else { digest::md5([id.as_bytes()]) };
    format!("{}{id}{EXTENSION}", prefix(mapping))
}

/// Returns whether `name` is from [`file_name`], for any session.
pub(super) fn is_file_name(name: &str, mapping: &str) -> bool {
    let id = name.strip_prefix(&prefix(mapping)).and_then(|rest| rest.strip_suffix(EXTENSION));
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(is_plain))
}

/// Returns the beginning of the names, which differs for every mapping in a directory. An ID in a name has no dot.
fn prefix(mapping: &str) -> String {
    mapping.strip_suffix(".json").map_or_else(|| format!("{mapping}.role_"), |stem| format!("{stem}.role-"))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Returns the text of a role.
pub(super) fn parse(bytes: Vec<u8>, path: &Path) -> Result<String, super::Error> {
    let unreadable = |why: String| super::Error::Unreadable { path: path.to_owned(), why };
    String::from_utf8(bytes).map_err(|error| unreadable(error.utf8_error().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_and_id_has_its_own_file() {
        let name = |mapping: &str, id: &str| file_name(mapping, &AgentSessionId::new(id).unwrap());
        assert_eq!(name("m.json", "0F12-a"), "m.role-0F12-a.md");
        assert_eq!(name("m", "i"), "m.role_i.md");
        let odd = name("m.json", "../é");
        assert_eq!((odd.len(), name("m.json", &"i".repeat(65)).len()), (42, 42), "{odd}");
        for (mapping, other) in [("m.json", "m"), ("m", "m.role"), ("m.role.json", "m")] {
            assert!(is_file_name(&name(mapping, "i"), mapping));
            assert!(!is_file_name(&name(mapping, "i"), other), "{mapping}");
        }
        for other in ["m.json", "m.role-.md", "m.role-i", "m.role-i.md.bak", "m.role-../i.md"] {
            assert!(!is_file_name(other, "m.json"), "{other}");
        }
    }
}

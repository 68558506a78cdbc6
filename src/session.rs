//! The words of the field as types: the name a caller gives a session, and the id the agent gave it.
//! No input or output here.

use std::fmt;

/// A session's name: not blank, without white space at its ends, otherwise any text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionName(String);

impl SessionName {
    /// The name in `text`, or `None` where it is blank.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = trim(text);
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The name of an entry that is there, as it stands.
    pub(crate) fn verbatim(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id an agent gave a session (claude: `session_id`, codex: `thread_id`).
///
/// It ends up among the arguments of a program, so it never begins with a dash (it would be read as an option) and
/// holds no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AgentSessionId(String);

/// Why a text cannot be a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableId {
    #[error("is blank")]
    Blank,
    #[error("begins with a dash")]
    Dash,
    #[error("holds control characters")]
    Control,
}

impl AgentSessionId {
    pub(crate) fn new(text: &str) -> Result<Self, UnusableId> {
        let text = trim(text);
        if text.is_empty() {
            return Err(UnusableId::Blank);
        }
        if text.starts_with('-') {
            return Err(UnusableId::Dash);
        }
        if text.chars().any(char::is_control) {
            return Err(UnusableId::Control);
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `told`, an id as an agent printed it, names this session. Case apart: a UUID typed in capitals comes
    /// back in small letters.
    pub(crate) fn is_reported_as(&self, told: &str) -> bool {
        self.0.eq_ignore_ascii_case(told)
    }
}

impl fmt::Display for AgentSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `text` without the white space at its ends, by the rule of Python's `str.strip`: names written by the original
/// must be found again. Beyond Unicode's white space that is the four separators U+001C to U+001F.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether there is nothing but white space in `text`.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_blank_is_none() {
        assert_eq!(SessionName::new(" a b\u{1f}\n").unwrap().as_str(), "a b");
        assert_eq!(SessionName::new(" \t\u{2003}\u{1c}"), None);
        assert_eq!(SessionName::new("tab\there").unwrap().as_str(), "tab\there");
    }

    #[test]
    fn ids_that_would_be_options_or_hold_control_characters_are_refused() {
        assert_eq!(AgentSessionId::new(" x ").unwrap().as_str(), "x");
        assert_eq!(AgentSessionId::new(" "), Err(UnusableId::Blank));
        assert_eq!(AgentSessionId::new(" --last"), Err(UnusableId::Dash));
        assert_eq!(AgentSessionId::new("a\nb"), Err(UnusableId::Control));
        assert_eq!(AgentSessionId::new("a\u{9b}b"), Err(UnusableId::Control));
    }

    #[test]
    fn a_uuid_in_capitals_is_the_same_session() {
        let id = AgentSessionId::new("0F12C83D").unwrap();
        assert!(id.is_reported_as("0f12c83d") && !id.is_reported_as("0f12c83e"));
    }
}

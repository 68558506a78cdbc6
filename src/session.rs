//! Session names and session IDs. No input or output here.

use std::fmt;

/// The name of a session: a text that is not blank, without white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionName(String);

impl SessionName {
    /// Trims `text`. Returns `None` if it is blank.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = trim(text);
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Returns the name of an existing entry, untrimmed.
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

/// The ID that an agent gives a session (claude: `session_id`, codex: `thread_id`).
///
/// It is passed to programs as an argument. So it contains no control characters, and does not begin with a dash, which
/// would make it an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AgentSessionId(String);

/// Why a text is not a session ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnusableId {
    #[error("is blank")]
    Blank,
    #[error("begins with a dash")]
    Dash,
    #[error("contains control characters")]
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

    /// Returns whether `reported`, which an agent printed, is this ID. Ignores case, because agents print UUIDs in lower
    /// case.
    pub(crate) fn is_reported_as(&self, reported: &str) -> bool {
        self.0.eq_ignore_ascii_case(reported)
    }
}

impl fmt::Display for AgentSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Trims white space by the rule of Python's `str.strip`, which the original used for names.
///
/// In addition to Unicode's white space, this trims the separators U+001C to U+001F.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Returns whether `text` is empty or only white space.
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
    fn name_is_trimmed_and_not_blank() {
        assert_eq!(SessionName::new(" a b\u{1f}\n").unwrap().as_str(), "a b");
        assert_eq!(SessionName::new(" \t\u{2003}\u{1c}"), None);
        assert_eq!(SessionName::new("tab\there").unwrap().as_str(), "tab\there");
    }

    #[test]
    fn id_with_leading_dash_or_control_character_is_refused() {
        assert_eq!(AgentSessionId::new(" x ").unwrap().as_str(), "x");
        assert_eq!(AgentSessionId::new(" "), Err(UnusableId::Blank));
        assert_eq!(AgentSessionId::new(" --last"), Err(UnusableId::Dash));
        assert_eq!(AgentSessionId::new("a\nb"), Err(UnusableId::Control));
        assert_eq!(AgentSessionId::new("a\u{9b}b"), Err(UnusableId::Control));
    }

    #[test]
    fn id_matches_regardless_of_case() {
        let id = AgentSessionId::new("0F12C83D").unwrap();
        assert!(id.is_reported_as("0f12c83d") && !id.is_reported_as("0f12c83e"));
    }
}

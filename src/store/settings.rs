//! The settings of a session that its entry keeps, besides the model and the effort.

use serde::{Deserialize, Serialize};

/// The settings of a session. Options are stored as words of a command line, each value after its option.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)] // ignoring one could switch off a protection
pub(crate) struct StoredSettings {
    /// The agent's own arguments, given after `--`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The options of this program that configure the agent, such as codex's `--config`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<String>,
    /// The options for the agent's command and its shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The absolute path of `--env-file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_file: Option<String>,
}

impl StoredSettings {
    /// Parses the JSON of an entry. The error is the reason.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the JSON for an entry. `None` without settings.
    pub(crate) fn to_json(&self) -> Option<String> {
        // lists of texts can always be written
        (!self.is_empty()).then(|| serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_is_stored() {
        assert_eq!(StoredSettings::default().to_json(), None);
        let settings = StoredSettings { env_file: Some("/e".to_owned()), ..StoredSettings::default() };
        let json = settings.to_json().unwrap();
        assert_eq!(json, r#"{"env_file":"/e"}"#);
        assert_eq!(StoredSettings::parse(&json), Ok(settings));
    }

    #[test]
    fn settings_of_another_form_are_refused() {
        for json in [r#"{"later": 1}"#, r#"{"arguments": "-s x"}"#, r#"{"config": [1]}"#, r#"{"env_file": []}"#] {
            assert!(StoredSettings::parse(json).is_err(), "{json}");
        }
    }
}

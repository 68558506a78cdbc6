//! What is known of one turn, in the form in which it is stored and printed.

use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::session::AgentSessionId;

/// The limit on the characters of a prompt in a record.
const LONGEST_PROMPT: usize = 120;

/// The state of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Waits for its session
    #[default]
    Queued,
    /// The agent runs
    Running,
    Succeeded,
    Failed,
    /// Stopped by stop-turn, a signal or a deadline
    Stopped,
    /// Its process ended without a result
    // never stored: a reader finds that no process holds the record's lock
    Lost,
}

impl State {
    /// Returns whether the turn is over.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Returns the name, as it is stored and printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }
}

/// A turn. `None` means unknown. The order of the fields is that of the printed keys (contract section 14).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub turn_id: Option<String>,
    pub backend: Option<String>,
    /// The name of the session.
    pub alias: Option<String>,
    pub session_id: Option<String>,
    pub workspace_dir: Option<String>,
    pub mapping_file: Option<String>,
    /// The command of this program.
    pub command: String,
    pub detached: bool,
    pub state: State,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub duration_seconds: Option<f64>,
    /// The process of this program that runs the turn.
    pub pid: Option<u32>,
    /// The exit status of this program.
    pub exit_code: Option<i32>,
    /// The kind of the error.
    pub kind: Option<String>,
    pub cause: Option<String>,
    pub retryable: Option<bool>,
    pub retry_at: Option<String>,
    /// The message of the error.
    pub message: Option<String>,
    pub model: Option<String>,
    pub reasoning_effort: Option<String>,
    /// The other settings in force, in the form of the mapping.
    pub settings: Option<Value>,
    /// The beginning of the prompt, on one line.
    pub prompt: Option<String>,
    /// What the agent does while the turn runs.
    pub activity: Option<String>,
    /// The tools that the agent was refused.
    pub denied: Option<Vec<String>>,
    /// The tokens and the cost of this turn, then those of the session until its end.
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
    pub session_input_tokens: Option<u64>,
    pub session_cached_input_tokens: Option<u64>,
    pub session_output_tokens: Option<u64>,
    pub session_cost_usd: Option<f64>,
    /// The number of replies of the model.
    pub agent_turns: Option<u64>,
    /// How often the agent was called for this turn.
    pub tries: u32,
    /// Whether the prompt may have reached the agent.
    pub turn_started: Option<bool>,
}

/// The fields of a [`Record`] about what the session has used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoredTotals {
    pub backend: Option<String>,
    pub session_id: Option<String>,
    pub session_input_tokens: Option<u64>,
    pub session_cached_input_tokens: Option<u64>,
    pub session_output_tokens: Option<u64>,
    pub session_cost_usd: Option<f64>,
}

impl Record {
    /// Returns the exit status of the call. A turn that left none has failed.
    pub(crate) fn exit_status(&self) -> i32 {
        self.exit_code.unwrap_or(i32::from(self.state != State::Succeeded))
    }

    /// Returns when the call began, if that is known.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        self.started_at.as_deref()?.parse().ok()
    }

    /// Returns how long the call took, or has taken until `now`. `None` if that is unknown.
    pub(crate) fn elapsed(&self, now: Timestamp) -> Option<Duration> {
        match self.duration_seconds {
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None if self.state.is_final() => None,
            None => now.duration_since(self.started()?).try_into().ok(), // none if the clock was set back
        }
    }

    /// Sets what an outcome of the call decides.
    pub(super) fn set_outcome(&mut self, outcome: Result<i32, &Error>) {
        self.activity = None;
        let error = match outcome {
            Ok(status) => {
                self.exit_code = Some(status);
                self.state = State::Succeeded;
                self.turn_started = Some(true);
                return;
            }
            Err(error) => error,
        };
        self.state = match error.kind {
            ErrorKind::Deadline | ErrorKind::Stalled | ErrorKind::Interrupted(_) => State::Stopped,
            _ => State::Failed,
        };
        self.exit_code = Some(error.exit_status());
        self.kind = Some(error.kind.name().to_owned());
        let cause = error.turn.cause.as_ref();
        self.cause = cause.map(|cause| cause.name.to_owned());
        self.retryable = Some(cause.is_some_and(|cause| cause.retryable));
        self.retry_at = cause.and_then(|cause| cause.retry_at).map(|at| at.to_string());
        self.message = Some(error.to_single_line());
        self.turn_started = Some(error.turn.started);
        if let Some(id) = error.turn.session_id.as_ref().map(AgentSessionId::as_str) {
            self.session_id = Some(id.to_owned());
        }
    }
}

/// Returns the beginning of a prompt, on one line.
pub(super) fn shortened(prompt: &[u8]) -> String {
    // a character has at most four bytes
    let beginning = String::from_utf8_lossy(&prompt[..prompt.len().min(16 * LONGEST_PROMPT)]);
    let words: Vec<&str> = beginning.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST_PROMPT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_is_shortened_to_one_line_of_120_characters() {
        assert_eq!(shortened(b" fix\n\n  the\ttests \n"), "fix the tests");
        assert_eq!(shortened(" é".repeat(500).as_bytes()).chars().count(), 120);
        assert_eq!(shortened(b"\xff!"), "\u{fffd}!");
    }

    #[test]
    fn unknown_and_missing_keys_of_a_stored_record_are_accepted() {
        let record: Record = serde_json::from_str(r#"{"turn_id": "t", "state": "running", "later": 1}"#).unwrap();
        let want = Record { turn_id: Some("t".to_owned()), state: State::Running, ..Record::default() };
        assert_eq!(record, want);
    }
}

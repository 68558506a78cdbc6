//! What the echo agent needs to imitate an agent: a parser of its arguments, and the format of its output.

use std::path::PathBuf;
use std::time::Duration;

use super::cause::Cause;
use crate::ui::json::JsonObject;

/// The arguments, parsed like the real program parses them.
#[derive(Debug, Default)]
pub(crate) struct EchoCall {
    pub session: Option<String>,
    /// The ID that the new session gets.
    pub new_id: Option<String>,
    pub fork: bool,
    /// `None` if the prompt is on standard input.
    pub prompt: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    pub role: Option<String>,
    pub answer_file: Option<PathBuf>,
    /// The schema of the answer.
    pub schema: Option<String>,
    pub stream: bool,
    /// Whether it is the agent's program for people.
    pub interactive: bool,
}

/// A turn that is played, as far as it has come.
#[derive(Debug)]
pub(crate) struct EchoTurn<'a> {
    pub call: &'a EchoCall,
    pub id: &'a str,
    /// The number of turns in the session, including this one.
    pub number: usize,
    /// How many messages and tools there were.
    pub items: usize,
    /// The calls that were refused, with the number of items before each.
    pub refused: Vec<(usize, EchoTool)>,
    /// The tokens of this turn.
    pub tokens: Option<EchoTokens>,
    /// The tokens of the session, with this turn.
    pub session_tokens: EchoTokens,
}

impl<'a> EchoTurn<'a> {
    pub(crate) fn new(call: &'a EchoCall, id: &'a str, number: usize) -> Self {
        let session_tokens = EchoTokens::default();
        Self { call, id, number, items: 0, refused: Vec::new(), tokens: None, session_tokens }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EchoTokens {
    pub input: u64,
    pub output: u64,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EchoTool {
    pub name: String,
    pub input: String,
    pub outcome: EchoOutcome,
}

/// How a call of a tool ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EchoOutcome {
    /// It succeeds with this output.
    Success(String),
    /// It fails with this output.
    Failure(String),
    /// The agent may not call it.
    Refused,
}

/// What is written for a turn that fails. The exit status is 1.
#[derive(Default)]
pub(crate) struct EchoFailure {
    pub events: Vec<JsonObject>,
    pub stderr: String,
}

/// How the echo agent plays one agent. Each object is written as a line.
pub(crate) struct EchoProtocol {
    /// Parses the arguments.
    pub parse: fn(arguments: &[String]) -> EchoCall,
    /// Returns what is written at the start of a turn.
    pub begin: fn(turn: &EchoTurn<'_>) -> Vec<JsonObject>,
    /// Returns what is written for a message of the model.
    pub message: fn(turn: &EchoTurn<'_>, text: &str) -> Vec<JsonObject>,
    /// Returns what is written for a call of a tool: when it begins, and when it ends.
    pub tool: fn(turn: &EchoTurn<'_>, tool: &EchoTool) -> [Vec<JsonObject>; 2],
    /// Returns what is written at the end of a successful turn.
    pub end: fn(turn: &EchoTurn<'_>, answer: &str) -> Vec<JsonObject>,
    /// Returns what is written at the end of a failed turn. `wait`: how long the agent asks to wait.
    pub fail: fn(turn: &EchoTurn<'_>, cause: Cause, wait: Option<Duration>) -> EchoFailure,
    /// Returns the error for a session that does not exist.
    pub unknown_session: fn(id: &str) -> String,
}

//! What the echo agent needs to imitate an agent: a parser of its arguments, and the format of its output.

use std::path::PathBuf;

use crate::ui::json::JsonObject;

/// The arguments, parsed like the real program parses them.
#[derive(Debug, Default)]
pub(crate) struct EchoCall {
    pub session: Option<String>,
    pub fork: bool,
    /// `None` if the prompt is on standard input.
    pub prompt: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    pub role: Option<String>,
    pub answer_file: Option<PathBuf>,
    pub stream: bool,
}

/// A completed turn of the echo agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoTurn<'a> {
    pub id: &'a str,
    /// The number of turns in the session, including this one.
    pub number: usize,
    pub answer: &'a str,
}

/// How the echo agent imitates one agent.
pub(crate) struct EchoProtocol {
    /// Parses the arguments.
    pub parse: fn(arguments: &[String]) -> EchoCall,
    /// Returns the output of one turn, which has one object on each line.
    pub events: fn(call: &EchoCall, turn: EchoTurn<'_>) -> Vec<JsonObject>,
    /// Returns the error for a session that does not exist.
    pub unknown_session: fn(id: &str) -> String,
}

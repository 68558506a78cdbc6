//! What the echo agent needs to play an agent: how to read its arguments, and what to write.

use std::path::PathBuf;

use crate::ui::json::JsonObject;

/// What the arguments ask for, read as the real program reads them.
#[derive(Debug, Default)]
pub(crate) struct EchoCall {
    pub session: Option<String>,
    pub fork: bool,
    /// `None`: the prompt comes on standard input.
    pub prompt: Option<String>,
    pub model: Option<String>,
    pub effort: Option<String>,
    pub role: Option<String>,
    pub answer_file: Option<PathBuf>,
    pub stream: bool,
}

/// One turn that was played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoTurn<'a> {
    pub id: &'a str,
    /// How many turns the session has had, with this one.
    pub number: usize,
    pub answer: &'a str,
}

/// How the echo agent plays one agent.
pub(crate) struct EchoProtocol {
    /// Reads the arguments.
    pub parse: fn(arguments: &[String]) -> EchoCall,
    /// Returns what is written for one turn, an object a line.
    pub events: fn(call: &EchoCall, turn: EchoTurn<'_>) -> Vec<JsonObject>,
    /// Returns the error for a session that does not exist.
    pub unknown_session: fn(id: &str) -> String,
}

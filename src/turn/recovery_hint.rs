//! The hint with the shell command that saves a session whose name was not saved.

use super::options::TurnOptions;
use crate::session::{AgentSessionId, SessionName};
use crate::ui::shell;

/// Returns the hint with the command that saves a session.
pub(crate) fn adopt_hint(options: &TurnOptions, name: Option<&SessionName>, id: &AgentSessionId) -> String {
    let name = name.map_or("NAME", SessionName::as_str);
    let args = [format!("--session-name={name}"), format!("--adopt={id}")];
    let words: Vec<String> = args.iter().chain(&options.location_args).map(|arg| shell::quote(arg)).collect();
    let backend = options.agent.backend;
    format!("to keep session {id}, run: invoke-persist --backend {backend} create-session {}", words.join(" "))
}

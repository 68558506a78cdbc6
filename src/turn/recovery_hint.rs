//! The hints with the shell commands that save a session and resume it.

use super::options::TurnOptions;
use crate::session::{AgentSessionId, SessionName};
use crate::ui::shell;

/// Returns the hint with the command that saves a session.
pub(crate) fn adopt_hint(options: &TurnOptions, name: Option<&SessionName>, id: &AgentSessionId) -> String {
    let name = name.map_or("NAME", SessionName::as_str);
    let args = [format!("--session-name={name}"), format!("--adopt={id}")];
    format!("to keep session {id}, run: {}", command(options, "create-session", &args))
}

/// Returns the hint with the command that resumes a session which was just saved.
pub(crate) fn resume_hint(options: &TurnOptions, name: &SessionName, id: &AgentSessionId) -> String {
    let args = [format!("--session-name={name}"), "--prompt=continue".to_owned()];
    format!("resume the session '{name}' ({id}), which is saved, with: {}", command(options, "resume-json", &args))
}

/// Returns the line that calls this program for the agent and mapping of `options`.
fn command(options: &TurnOptions, command: &str, args: &[String]) -> String {
    let words: Vec<String> = args.iter().chain(&options.location_args).map(|arg| shell::quote(arg)).collect();
    format!("invoke-persist --backend {} {command} {}", options.agent.backend, words.join(" "))
}

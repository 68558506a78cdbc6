//! Hints with the shell command that saves a session whose name was not saved, or resumes one.

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
pub(crate) fn saved_hint(options: &TurnOptions, name: &SessionName, id: &AgentSessionId) -> String {
    let resume = resume_hint(options, Some(name), id, "continue", &[]);
    format!("resume the session '{name}' ({id}), which is saved, with: {resume}")
}

/// Returns the line that calls this program for the agent and mapping of `options`.
fn command(options: &TurnOptions, command: &str, args: &[String]) -> String {
    let words: Vec<String> = args.iter().chain(&options.location_args).map(|arg| shell::quote(arg)).collect();
    format!("invoke-persist --backend {} {command} {}", options.agent.backend, words.join(" "))
}

/// Returns the command that resumes a session, with `extra` for the agent.
pub(crate) fn resume_hint(
    options: &TurnOptions,
    name: Option<&SessionName>,
    id: &AgentSessionId,
    prompt: &str,
    extra: &[String],
) -> String {
    let session = name.map_or_else(|| format!("--session-id={id}"), |name| format!("--session-name={name}"));
    let args = std::iter::once(&session).chain(&options.location_args).map(String::as_str).chain(["--prompt", prompt]);
    let extra = extra.iter().map(String::as_str);
    let separator = (extra.len() > 0).then_some("--");
    let words: Vec<String> = args.chain(separator).chain(extra).map(shell::quote).collect();
    let backend = options.agent.backend;
    format!("invoke-persist --backend {backend} resume-json {}", words.join(" "))
}

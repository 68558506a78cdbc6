//! The command that saves a session whose name was not saved, as a shell takes it.

use super::options::TurnOptions;
use crate::session::{AgentSessionId, SessionName};
use crate::ui::terminal::is_terminal_control;

/// Returns the hint with the command that saves a session which is not in the mapping.
pub(crate) fn adopt_hint(options: &TurnOptions, name: Option<&SessionName>, id: &AgentSessionId) -> String {
    let name = name.map_or("NAME", SessionName::as_str);
    let args = [format!("--session-name={name}"), format!("--adopt={id}")];
    let words: Vec<String> = args.iter().chain(&options.location_args).map(|arg| quote(arg)).collect();
    let backend = options.agent.backend;
    format!("to keep session {id}, run: invoke-persist --backend {backend} create-session {}", words.join(" "))
}

/// Returns `word` quoted for a shell, on one line whatever it contains.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_terminal_control) {
        return shell_words::quote(word).into_owned();
    }
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if is_terminal_control(c) => {
                c.to_string().bytes().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).map(char::from).collect()
            }
            c => c.to_string(),
        })
        .collect();
    format!("$'{escaped}'")
}

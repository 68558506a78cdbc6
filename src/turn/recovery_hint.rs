//! The command that saves a session whose name was not saved, as a shell takes it.

use super::options::TurnOptions;
use crate::session::{AgentSessionId, SessionName};
use crate::ui::terminal::is_terminal_control;

/// How to save a session that an agent started and we did not, as a command that a shell takes.
pub(crate) fn adopt_hint(call: &TurnOptions, name: Option<&SessionName>, id: &AgentSessionId) -> String {
    let name = name.map_or("NAME", SessionName::as_str);
    let options = [format!("--session-name={name}"), format!("--adopt={id}")];
    let words: Vec<String> = options.iter().chain(&call.place).map(|option| quote(option)).collect();
    let backend = call.agent.backend;
    format!("the session {id} can still be kept: invoke-persist --backend {backend} create-session {}", words.join(" "))
}

/// `word` as a shell takes it, on one line whatever is in it.
fn quote(word: &str) -> String {
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

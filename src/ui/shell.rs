//! Words as a shell takes them, for commands in hints.

use super::terminal::is_terminal_control;

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

//! When output is colored, and the sequences for it.

use console::Term;

use crate::env;

/// The codes of "select graphic rendition".
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// Returns `text` in this style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("\u{1b}[{}m{text}\u{1b}[0m", style as u8)
}

/// Returns `label`, the first word of a message, in bold and this color, or plain.
pub(super) fn label(color: Style, label: &str, colored: bool) -> String {
    if colored { paint(Style::Bold, &format!("\u{1b}[{}m{label}", color as u8)) } else { label.to_owned() }
}

/// Returns whether output to `terminal` is colored.
///
/// `NO_COLOR` switches colors off, else `CLICOLOR_FORCE` switches them on, else `CLICOLOR=0` switches them off.
/// Otherwise they are on at a terminal that shows them.
pub(crate) fn is_colored(terminal: &Term) -> bool {
    if env::var_os("NO_COLOR").is_some() {
        return false;
    }
    if env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    env::var_os("CLICOLOR").is_none_or(|value| value != "0") && terminal.features().colors_supported()
}

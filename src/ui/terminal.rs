//! Characters that a terminal interprets instead of displaying them.

/// Returns whether a terminal interprets `c`, or whether `c` changes the order of other characters.
pub(crate) fn is_terminal_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// Escapes terminal control characters as `\n`, `\t`, `\u{1b}` and so on. The result is one line.
pub(crate) fn escape_control(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_control(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_controls_are_escaped() {
        assert_eq!(escape_control("a\u{1b}[31m\nb\u{9b}é"), "a\\u{1b}[31m\\nb\\u{9b}é");
        assert_eq!(escape_control("exe.\u{202e}gnp"), "exe.\\u{202e}gnp");
        // Unicode's Bidi_Control, and the deprecated characters that change the display of others
        let bidi = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        assert!(bidi.chars().chain('\u{206a}'..='\u{206f}').all(is_terminal_control));
    }
}

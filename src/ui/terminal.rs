//! Text that a terminal shows as it is.

/// Whether a terminal does something else with it than show it, or lets it change the order of what it shows.
pub(crate) fn is_terminal_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// `text` on one line that a terminal shows as it is: what it would obey as `\n`, `\t`, `\u{1b}` and so on.
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
    fn control_characters_cannot_reach_a_terminal() {
        assert_eq!(escape_control("a\u{1b}[31m\nb\u{9b}é"), "a\\u{1b}[31m\\nb\\u{9b}é");
        assert_eq!(escape_control("exe.\u{202e}gnp"), "exe.\\u{202e}gnp");
        // all of Unicode's Bidi_Control, and the deprecated characters that change how others are shown
        let obeyed = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        assert!(obeyed.chars().chain('\u{206a}'..='\u{206f}').all(is_terminal_control));
    }
}

//! Wraps text that arrives in pieces between words, and escapes terminal control characters.

use console::measure_text_width;

use super::is_terminal_control;

/// The tab stops of terminals.
const TAB_STOP: usize = 8;

/// The limit on the columns of a word that is kept until its end, if lines have no width.
const MAX_KEPT: usize = 4 << 10;

/// An unfinished text.
///
/// Line breaks, and the last word if lines have a width, are kept until the next text arrives. So blank lines at the
/// beginning and the end are removed, and words are not split.
pub(super) struct Wrapper {
    width: Option<usize>,
    /// Begins every line.
    prefix: &'static str,
    is_started: bool,
    column: usize,
    newlines: usize,
    spaces: String,
    word: String,
    word_width: usize,
}

impl Wrapper {
    /// `width` is in columns. Without it, lines are not wrapped.
    pub(super) fn new(width: Option<usize>, prefix: &'static str) -> Self {
        Self {
            width: width.map(|width| width.max(measure_text_width(prefix) + 2)),
            prefix,
            is_started: false,
            column: 0,
            newlines: 0,
            spaces: String::new(),
            word: String::new(),
            word_width: 0,
        }
    }

    /// Adds `piece`, and writes to `out` what is complete.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) {
        for c in piece.chars() {
            match c {
                '\n' => {
                    self.flush_word(out);
                    self.spaces.clear();
                    self.newlines += 1;
                }
                '\r' => {}
                ' ' | '\t' => {
                    self.flush_word(out);
                    self.spaces.push(c);
                }
                c if is_terminal_control(c) => c.escape_unicode().for_each(|c| self.add(c, out)),
                c => self.add(c, out),
            }
        }
        if self.width.is_none() {
            self.flush_word(out);
        }
    }

    /// Writes the rest, and ends the line.
    pub(super) fn finish(mut self, out: &mut String) {
        self.flush_word(out);
        if self.is_started {
            out.push('\n');
        }
    }

    fn add(&mut self, c: char, out: &mut String) {
        let width = if c.is_ascii() { 1 } else { measure_text_width(c.encode_utf8(&mut [0; 4])) };
        let most = self.width.map_or(MAX_KEPT, |all| all - measure_text_width(self.prefix));
        let too_long = self.word_width + width > most;
        if width == 2 || too_long {
            self.flush_word(out); // lines may break between ideographs, and must break in words longer than a line
        }
        self.word.push(c);
        self.word_width += width;
        if width == 2 {
            self.flush_word(out);
        }
    }

    fn flush_word(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        if !self.is_started || self.newlines > 0 {
            let blank_lines = if self.is_started { self.newlines - 1 } else { 0 };
            if self.is_started {
                out.push('\n');
            }
            for _ in 0..blank_lines {
                out.push_str(self.prefix.trim_end());
                out.push('\n');
            }
            self.begin_line(out);
        }
        let after_spaces = self.spaces.chars().fold(self.column, |column, c| match c {
            '\t' => (column / TAB_STOP + 1) * TAB_STOP,
            _ => column + 1,
        });
        let begins_line = self.column <= measure_text_width(self.prefix);
        if self.width.is_some_and(|width| after_spaces + self.word_width > width)
            && !(begins_line && self.spaces.is_empty())
        {
            if !begins_line {
                out.push('\n');
                self.begin_line(out);
            }
        } else {
            out.push_str(&self.spaces);
            self.column = after_spaces;
        }
        out.push_str(&self.word);
        self.column += self.word_width;
        self.spaces.clear();
        self.word.clear();
        self.word_width = 0;
    }

    fn begin_line(&mut self, out: &mut String) {
        out.push_str(self.prefix);
        self.column = measure_text_width(self.prefix);
        self.newlines = 0;
        self.is_started = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn wrapped(width: Option<usize>, prefix: &'static str, pieces: &[&str]) -> String {
        let (mut wrapper, mut out) = (Wrapper::new(width, prefix), String::new());
        for piece in pieces {
            wrapper.push(piece, &mut out);
        }
        wrapper.finish(&mut out);
        out
    }

    #[test]
    fn lines_break_between_words() {
        let text = "one two three\n\n  four fivesixseveneight\n日本語の文章\n";
        let want = "one two\nthree\n\n  four\nfivesixsev\neneight\n日本語の文\n章\n";
        assert_eq!(wrapped(Some(10), "", &[text]), want);
        let cut: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(wrapped(Some(10), "", &cut.iter().map(String::as_str).collect::<Vec<_>>()), want);
    }

    #[test]
    fn tab_counts_up_to_the_next_tab_stop() {
        let widths =
            [("a\tbc", 10, "a\nbc\n"), ("1234567\tb", 9, "1234567\nb\n"), ("12345678\tb", 17, "12345678\nb\n")];
        for (text, width, narrower) in widths {
            assert_eq!(wrapped(Some(width), "", &[text]), format!("{text}\n"));
            assert_eq!(wrapped(Some(width - 1), "", &[text]), narrower);
        }
    }

    #[test]
    fn text_without_a_width_only_loses_blank_lines_around_it() {
        assert_eq!(wrapped(None, "", &["\n\na b", "c\n\n", "\td  e\n\n\n"]), "a bc\n\n\td  e\n");
        assert_eq!(wrapped(None, "", &["\n", " \n"]), "");
    }

    #[test]
    fn every_line_has_the_prefix() {
        assert_eq!(wrapped(Some(8), "| ", &["one two\n\nthree"]), "| one\n| two\n|\n| three\n");
        assert_eq!(wrapped(Some(1), "| ", &["ab"]), "| ab\n");
    }

    proptest! {
        #[test]
        fn split_of_a_text_does_not_matter_and_lines_fit(
            text in "[a-c \n日é\u{1b}\u{301}]{0,60}", at in 0..60usize, width in 6..20usize,
        ) {
            let whole = wrapped(Some(width), "| ", &[&text]);
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            prop_assert_eq!(&whole, &wrapped(Some(width), "| ", &[&text[..at], &text[at..]]));
            let widest = whole.lines().map(measure_text_width).max();
            prop_assert!(widest <= Some(width), "{}", whole);
            let has_control = whole.chars().any(|c| c != '\n' && is_terminal_control(c));
            prop_assert!(!has_control);
        }

        #[test]
        fn text_without_a_width_keeps_every_character(text in "[a-c \t\n日é]{0,60}", at in 0..60usize) {
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let wrapped = wrapped(None, "", &[&text[..at], &text[at..]]);
            let lines = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            let (wrapped, text) = (lines(&wrapped), lines(&text));
            prop_assert_eq!(wrapped, text.trim_matches('\n'));
        }
    }

    #[test]
    fn terminal_controls_are_escaped() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7}\u{8}\r\u{202e}b\u{2066}\u{85}";
        let want = "a\\u{1b}[2J\\u{9b}31m\\u{7}\\u{8}\\u{202e}b\\u{2066}\\u{85}\n";
        assert_eq!(wrapped(None, "", &[hostile]), want);
    }
}

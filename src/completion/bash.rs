//! How bash sees the line at the cursor. bash hands out a line as it was typed, quotes and all, and replaces only what
//! readline takes for the word: that begins after a quote that is still open, or after a `=` or `:`.

/// What is there before the piece of a word that a completion replaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadlineContext {
    /// What the shell makes of it.
    text: String,
    /// The quote that is open at its end.
    quote: Option<char>,
}

/// A line up to the cursor as readline reads it, which knows two kinds of quotes and nothing within them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Without their quotes. The last one is at the cursor, and may be empty.
    words: Vec<String>,
    /// The quote that is still open.
    quote: Option<char>,
    /// Whether there is anything in which the shell sees other quotes: `$'…'`, `$(…)`, `${…}` or backticks.
    has_other_quotes: bool,
    is_in_backticks: bool,
}

impl Line {
    fn read(text: &str) -> Self {
        let mut line = Self::default();
        let mut word: Option<String> = None;
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            if line.quote.is_none() && c.is_ascii_whitespace() {
                line.words.extend(word.take());
                continue;
            }
            line.has_other_quotes |= match (line.quote, c) {
                (None, '$') => rest.peek().is_some_and(|next| "'({".contains(*next)),
                (Some('"'), '$') => rest.peek().is_some_and(|next| "({".contains(*next)),
                (None | Some('"'), '`') => true,
                _ => false,
            };
            line.is_in_backticks ^= c == '`' && line.quote != Some('\'');
            let word = word.get_or_insert_default();
            match (line.quote, c) {
                (None, '\'' | '"') => line.quote = Some(c),
                (Some(open), _) if c == open => line.quote = None,
                (None, '\\') => word.extend(rest.next()),
                (Some('"'), '\\') => word.push(rest.next_if(|next| r#"\"$`"#.contains(*next)).unwrap_or('\\')),
                _ => word.push(c),
            }
        }
        line.words.push(word.unwrap_or_default());
        line
    }

    /// Whether the shell reads what is put in as one word. Without an open quote every special character gets a
    /// backslash, which is right in all quotes but backticks.
    fn is_clear(&self) -> bool {
        !self.is_in_backticks && (self.quote.is_none() || !self.has_other_quotes)
    }
}

/// Cuts up `line`, which ends at the cursor. `replaced` is the end of it that readline replaces.
///
/// Returns the words, and what readline keeps of the last one. Returns `None` for that if the shell might read more
/// than one word in what is put in.
pub(super) fn cut(line: &str, replaced: &str) -> (Vec<String>, Option<ReadlineContext>) {
    let before = line.strip_suffix(replaced).map(Line::read);
    let line = Line::read(line);
    let is_within_word = |before: &Line| before.words.len() == line.words.len() && before.quote == line.quote;
    let kept =
        before.filter(|before| line.is_clear() && is_within_word(before)).map(|Line { mut words, quote, .. }| {
            let text = words.pop().unwrap_or_default();
            ReadlineContext { text, quote }
        });
    (line.words, kept)
}

impl ReadlineContext {
    /// Returns what readline has to put there so that the shell makes `value` of the whole word. Returns `None` if
    /// that cannot be done.
    ///
    /// readline closes an open quote. If that quote is the first character of what is put in, readline drops it. If it
    /// is the last one, readline does not close the quote.
    pub(super) fn insert(&self, value: &str) -> Option<String> {
        let rest = value.strip_prefix(&self.text)?;
        let mut text = String::new();
        for c in rest.chars() {
            match (self.quote, c) {
                (Some('\''), '\'') => text.push_str(r"'\''"),
                (Some('"'), '!') => text.push_str(r#""\!""#), // the history has no escape within quotes
                (Some('"'), '"' | '\\' | '$' | '`') => text.extend(['\\', c]),
                (None, _) if c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./+,%:=@".contains(c) => {
                    text.extend(['\\', c]);
                }
                _ => text.push(c),
            }
        }
        match self.quote {
            Some(quote) if text.starts_with(quote) => return None,
            Some(quote) if text.ends_with(quote) => text.push(quote),
            _ => {}
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_as_the_shell_does() {
        for (line, want, quote) in [
            ("p", &["p"][..], None),
            ("p ", &["p", ""], None),
            (r"p  a\ b c", &["p", "a b", "c"], None),
            ("p 'a b", &["p", "a b"], Some('\'')),
            (r#"p "a\"\b$x' c"#, &["p", r#"a"\b$x' c"#], Some('"')),
            (r"p 'it'\''s'", &["p", "it's"], None),
            ("p '' --x='y z", &["p", "", "--x=y z"], Some('\'')),
            ("p a\\", &["p", "a"], None),
        ] {
            let words = want.iter().map(ToString::to_string).collect();
            assert_eq!(Line::read(line), Line { words, quote, ..Line::default() }, "{line}");
        }
    }

    #[test]
    fn what_is_put_in_makes_the_whole_value_of_the_word() {
        let name = r#"it's "a" $b:c!"#;
        for (line, replaced, want) in [
            ("p ", "", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p it\\'s", "it\\'s", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p 'it", "it", r#"it'\''s "a" $b:c!"#),
            ("p \"it", "it", r#"it's \"a\" \$b:c"\!"""#),
            // readline begins anew behind a colon
            (r#"p it\'s\ \"a\"\ \$b:"#, "", r"c\!"),
        ] {
            let kept = cut(line, replaced).1.unwrap();
            assert_eq!(kept.insert(name).as_deref(), Some(want), "{line}");
        }
        let kept = cut("p --session-name=it", "it").1.unwrap();
        assert_eq!(kept.insert("--session-name=it is").as_deref(), Some(r"it\ is"));
        assert_eq!(kept.insert("other"), None);
    }

    #[test]
    fn what_is_put_in_neither_begins_nor_ends_within_a_quote_that_readline_misreads() {
        for (quote, name, want) in [
            ('\'', "x'", Some(r"x'\'''")),
            ('\'', "'x", None),
            ('"', r#"it""#, Some(r#"it\"""#)),
            ('"', "it!", Some(r#"it"\!"""#)),
            ('"', "!ls", None),
            ('"', "it'", Some("it'")),
        ] {
            let kept = ReadlineContext { text: String::new(), quote: Some(quote) };
            assert_eq!(kept.insert(name).as_deref(), want, "{quote}{name}");
        }
    }

    #[test]
    fn nothing_is_put_in_if_the_shell_may_see_other_quotes_than_readline() {
        for line in ["p $'", r"p $'\' --x '", "p \"$(a '", r#"p `x` ""#, r"p ${x#a} '", "p `x ", "p \"`x\" "] {
            assert_eq!(cut(line, "").1, None, "{line}");
        }
        for line in ["p $'it' ", "p \"$(date)\" ", "p '$(`' \"", r#"p \$\( ""#, "p \"$x\" \"", "p `x` "] {
            assert!(cut(line, "").1.is_some(), "{line}");
        }
        for (line, replaced) in [("p it", "other"), (r"p $'\' x", r"$'\' x"), ("p 'it", "'it"), ("p a b", "a b")] {
            assert_eq!(cut(line, replaced).1, None, "readline replaces something else: {line}");
        }
    }
}

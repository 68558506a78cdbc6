//! Parses the line at the cursor in bash.
//!
//! bash passes the line as it was typed, with quotes. A completion replaces only readline's word, which begins after an
//! unclosed quote, a `=` or a `:`.

/// The part of a word before the part that a completion replaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadlineContext {
    /// Its text for the shell, without quotes.
    text: String,
    /// The quote that is open at its end.
    quote: Option<char>,
}

/// A line up to the cursor, parsed like readline: with two kinds of quotes, and nothing special within them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// The words without quotes. The last one is at the cursor, and may be empty.
    words: Vec<String>,
    /// The unclosed quote.
    quote: Option<char>,
    /// Whether it contains `$'…'`, `$(…)`, `${…}` or backticks, in which the shell may find other quotes.
    has_other_quotes: bool,
    is_in_backticks: bool,
}

impl Line {
    fn parse(text: &str) -> Self {
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

    /// Returns whether the shell reads inserted text as one word.
    ///
    /// Without an open quote, special characters get a backslash, which works everywhere except in backticks.
    fn is_unambiguous(&self) -> bool {
        !self.is_in_backticks && (self.quote.is_none() || !self.has_other_quotes)
    }
}

/// Splits `line`, which ends at the cursor. `replaced` is its end that readline replaces.
///
/// Returns the words, and the part of the last one that readline keeps. That is `None` if the shell may read the
/// inserted text as more than one word.
pub(super) fn split(line: &str, replaced: &str) -> (Vec<String>, Option<ReadlineContext>) {
    let before = line.strip_suffix(replaced).map(Line::parse);
    let line = Line::parse(line);
    let is_within_word = |before: &Line| before.words.len() == line.words.len() && before.quote == line.quote;
    let context = before.filter(|before| line.is_unambiguous() && is_within_word(before)).map(
        |Line { mut words, quote, .. }| {
            let text = words.pop().unwrap_or_default();
            ReadlineContext { text, quote }
        },
    );
    (line.words, context)
}

impl ReadlineContext {
    /// Returns the text to insert so that the whole word is `value`. Returns `None` if that is impossible.
    ///
    /// readline closes an open quote. It drops that quote at the beginning of the inserted text, and does not close it
    /// if the inserted text ends with it.
    pub(super) fn insert(&self, value: &str) -> Option<String> {
        let rest = value.strip_prefix(&self.text)?;
        let mut text = String::new();
        for c in rest.chars() {
            match (self.quote, c) {
                (Some('\''), '\'') => text.push_str(r"'\''"),
                (Some('"'), '!') => text.push_str(r#""\!""#), // history expansion has no escape within quotes
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
    fn line_is_split_like_in_the_shell() {
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
            assert_eq!(Line::parse(line), Line { words, quote, ..Line::default() }, "{line}");
        }
    }

    #[test]
    fn inserted_text_completes_the_word() {
        let name = r#"it's "a" $b:c!"#;
        for (line, replaced, want) in [
            ("p ", "", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p it\\'s", "it\\'s", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p 'it", "it", r#"it'\''s "a" $b:c!"#),
            ("p \"it", "it", r#"it's \"a\" \$b:c"\!"""#),
            // readline's word begins after the colon
            (r#"p it\'s\ \"a\"\ \$b:"#, "", r"c\!"),
        ] {
            let context = split(line, replaced).1.unwrap();
            assert_eq!(context.insert(name).as_deref(), Some(want), "{line}");
        }
        let context = split("p --session-name=it", "it").1.unwrap();
        assert_eq!(context.insert("--session-name=it is").as_deref(), Some(r"it\ is"));
        assert_eq!(context.insert("other"), None);
    }

    #[test]
    fn inserted_text_avoids_the_open_quote_at_its_ends() {
        for (quote, name, want) in [
            ('\'', "x'", Some(r"x'\'''")),
            ('\'', "'x", None),
            ('"', r#"it""#, Some(r#"it\"""#)),
            ('"', "it!", Some(r#"it"\!"""#)),
            ('"', "!ls", None),
            ('"', "it'", Some("it'")),
        ] {
            let context = ReadlineContext { text: String::new(), quote: Some(quote) };
            assert_eq!(context.insert(name).as_deref(), want, "{quote}{name}");
        }
    }

    #[test]
    fn nothing_is_inserted_if_the_shell_may_find_other_quotes_than_readline() {
        for line in ["p $'", r"p $'\' --x '", "p \"$(a '", r#"p `x` ""#, r"p ${x#a} '", "p `x ", "p \"`x\" "] {
            assert_eq!(split(line, "").1, None, "{line}");
        }
        for line in ["p $'it' ", "p \"$(date)\" ", "p '$(`' \"", r#"p \$\( ""#, "p \"$x\" \"", "p `x` "] {
            assert!(split(line, "").1.is_some(), "{line}");
        }
        for (line, replaced) in [("p it", "other"), (r"p $'\' x", r"$'\' x"), ("p 'it", "'it"), ("p a b", "a b")] {
            assert_eq!(split(line, replaced).1, None, "readline replaces something else: {line}");
        }
    }
}

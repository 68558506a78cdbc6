//! How bash sees the line at the cursor. bash hands out a line as it was typed, quotes and all, and replaces only what
//! readline takes for the word: that begins behind a quote that is still open, or behind a `=` or `:`.

/// What is there before the piece of a word that a completion replaces.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// What the shell makes of it.
    text: String,
    /// The quote that is open at its end.
    quote: Option<char>,
}

/// The words of `line`, without their quotes, the last of them (it may be empty) being the one at the cursor; and the
/// quote that is still open there.
fn words(line: &str) -> (Vec<String>, Option<char>) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if quote.is_none() && c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if c == open => quote = None,
            (None, '\\') => word.extend(rest.next()),
            (Some('"'), '\\') => word.push(rest.next_if(|next| r#"\"$`"#.contains(*next)).unwrap_or('\\')),
            _ => word.push(c),
        }
    }
    words.push(word.unwrap_or_default());
    (words, quote)
}

/// Cuts up `line`, which ends at the cursor. `replaced` is the end of it that readline replaces.
pub(super) fn cut(line: &str, replaced: &str) -> (Vec<String>, Kept) {
    let kept = line.strip_suffix(replaced).map(|before| {
        let (mut words, quote) = words(before);
        Kept { text: words.pop().unwrap_or_default(), quote }
    });
    (words(line).0, kept.unwrap_or_default())
}

impl Kept {
    /// What readline has to put there so that the shell makes `value` of the whole word. readline closes an open quote.
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
            let (got, open) = words(line);
            assert_eq!((got, open), (want.iter().map(ToString::to_string).collect(), quote), "{line}");
        }
    }

    #[test]
    fn what_is_put_in_makes_the_whole_value_of_the_word() {
        let name = r#"it's "a" $b:c!"#;
        for (line, replaced, want) in [
            ("p ", "", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p it\\'s", "it\\'s", r#"it\'s\ \"a\"\ \$b:c\!"#),
            ("p 'it", "it", r#"it'\''s "a" $b:c!"#),
            ("p \"it", "it", r#"it's \"a\" \$b:c"\!""#),
            // readline begins anew behind a colon
            (r#"p it\'s\ \"a\"\ \$b:"#, "", r"c\!"),
        ] {
            let (_, kept) = cut(line, replaced);
            assert_eq!(kept.insert(name).as_deref(), Some(want), "{line}");
        }
        let (_, kept) = cut("p --session-name=it", "it");
        assert_eq!(kept.insert("--session-name=it is").as_deref(), Some(r"it\ is"));
        assert_eq!(kept.insert("other"), None);
    }
}

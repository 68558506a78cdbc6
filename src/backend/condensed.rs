//! Condenses a JSON value of any size: long texts are truncated, and deeply nested content is omitted. The verdict
//! remains readable, however long the answer in the same value is.

use memchr::memchr2;

/// The limit on the bytes that are kept of each text.
const LONGEST_TEXT: usize = 64 << 10;

/// The limit on nested brackets whose content is kept. Verdicts and their reasons are not nested deeper.
const DEEPEST: usize = 2;

/// The limit on all bytes that are kept.
const LONGEST: usize = 16 << 20;

/// Condenses a JSON value that arrives in chunks. The result is valid if the value is. Bytes that are not UTF-8 are kept
/// unchanged.
#[derive(Default)]
pub(super) struct Condensed {
    kept: Vec<u8>,
    too_long: bool,
    depth: usize,
    text: Option<Text>,
}

/// The state of an unfinished text.
#[derive(Default)]
struct Text {
    length: usize,
    escape: Escape,
    cut: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Begun,
    /// This many digits of a `\u` are still missing.
    Digits(u8),
}

impl Condensed {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let (Some((&byte, rest)), false) = (bytes.split_first(), self.too_long) {
            bytes = rest;
            match self.text.take() {
                None => self.structure(byte),
                Some(text) => self.text = self.text(text, byte),
            }
            if let Some(Text { escape: Escape::None, cut: true, .. }) = self.text {
                bytes = memchr2(b'"', b'\\', bytes).map_or(&[], |at| &bytes[at..]);
            }
        }
    }

    /// Returns the condensed value, or `None` if it is too large.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (!self.too_long).then_some(self.kept)
    }

    /// Adds a byte that is not in a text.
    fn structure(&mut self, byte: u8) {
        if matches!(byte, b'}' | b']') {
            self.depth = self.depth.saturating_sub(1);
        }
        self.keep(&[byte]); // brackets belong to the level around them
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'"' => self.text = Some(Text { cut: !self.keeps(), ..Text::default() }),
            _ => {}
        }
    }

    /// Adds a byte of a text. Returns the text, or `None` at its end.
    fn text(&mut self, mut text: Text, byte: u8) -> Option<Text> {
        if text.escape == Escape::None && byte == b'"' {
            self.keep(b"\"");
            return None;
        }
        let is_within_character = text.escape != Escape::None || (0x80..0xc0).contains(&byte);
        if !text.cut && text.length >= LONGEST_TEXT && !is_within_character {
            text.cut = true;
            self.keep("…".as_bytes());
        }
        if !text.cut {
            self.keep(&[byte]);
        }
        text.length += 1;
        text.escape = match (text.escape, byte) {
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::Begun, b'u') => Escape::Digits(4),
            (Escape::Digits(left @ 2..), _) => Escape::Digits(left - 1),
            _ => Escape::None,
        };
        Some(text)
    }

    fn keeps(&self) -> bool {
        self.depth <= DEEPEST
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !self.keeps() {
            return;
        }
        self.too_long |= self.kept.len() + bytes.len() > LONGEST;
        if self.too_long {
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condensed(json: &[u8]) -> Option<String> {
        let mut condensed = Condensed::default();
        json.chunks(7).for_each(|chunk| condensed.feed(chunk));
        condensed.finish().map(|kept| String::from_utf8(kept).unwrap())
    }

    #[test]
    fn short_json_is_unchanged_down_to_two_levels() {
        for (json, kept) in [
            (r#"{"a": "\"}\\", "b": [1.5e3, "\u00e9"], "c": {"d": null}}"#, None),
            (r#"{"a": [[1, "]"], {"x": {"y": "\"}"}}], "b": true}"#, Some(r#"{"a": [[], {}], "b": true}"#)),
        ] {
            assert_eq!(condensed(json.as_bytes()).as_deref(), Some(kept.unwrap_or(json)));
        }
    }

    #[test]
    fn long_text_is_truncated_between_characters() {
        for piece in ["x", "é", "😀", "\\\"", "\\u00e9", "\\\\"] {
            for before in ["", "a", "ab", "abc", "abcd", "abcde"] {
                let long = piece.repeat(LONGEST_TEXT + 1);
                let kept = condensed(format!("{{\"{before}{long}\": \"{before}{long}\", \"end\": 1}}").as_bytes());
                let kept: serde_json::Value = serde_json::from_str(&kept.unwrap()).unwrap();
                let (key, text) = kept.as_object().unwrap().iter().find(|(key, _)| *key != "end").unwrap();
                let text = text.as_str().unwrap();
                assert!(text == key && text.starts_with(before) && text.ends_with('…'), "{piece}");
                assert!(text.len() < LONGEST_TEXT + 8 && !text.contains('\u{fffd}'), "{piece}");
                assert_eq!(kept["end"], 1);
            }
        }
    }

    #[test]
    fn value_that_stays_too_large_is_discarded() {
        assert_eq!(condensed(&vec![b'['; LONGEST + 1]).as_deref(), Some("[[["));
        assert_eq!(condensed(&vec![b'1'; LONGEST + 1]), None);
    }
}

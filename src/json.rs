//! JSON that is parsed one object at a time. Other parts keep their text, with numbers of any size, lone surrogates, and
//! nesting of any depth.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object: the last of each name, in the position of the first.
#[derive(Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Keeps the last of the members with one name, in the position of the first.
    pub(crate) fn new(members: Vec<(Cow<'a, str>, &'a RawValue)>) -> Self {
        // strictly sorted names, as in mappings, are unique
        if members.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Self(members);
        }
        let mut positions: HashMap<Cow<'_, str>, usize> = HashMap::new();
        let mut unique: Vec<(Cow<'_, str>, &RawValue)> = Vec::with_capacity(members.len());
        for (name, raw) in members {
            if let Some(&position) = positions.get(&name) {
                unique[position].1 = raw;
            } else {
                positions.insert(name.clone(), unique.len());
                unique.push((name, raw));
            }
        }
        Self(unique)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    /// Returns the content of a member that is a string, with lone surrogates replaced.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(self.get(name)?)
    }
}

/// Returns the content of a string, with lone surrogates replaced.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(&whole_characters(raw.get())).ok()
}

/// Returns JSON with escaped lone surrogates replaced. JavaScript writes them when it cuts an emoji in two, and many
/// parsers refuse them.
pub(crate) fn whole_characters(json: &str) -> Cow<'_, str> {
    if !json.contains("\\ud") && !json.contains("\\uD") {
        return Cow::Borrowed(json);
    }
    let mut whole = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => &rest[..12],
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            (Some(_), _) => &rest[..6],
            // a backslash and one character, which is ASCII if the JSON is well-formed
            (None, _) => rest.get(..2).unwrap_or(rest),
        };
        whole.push_str(escape);
        rest = &rest[escape.len()..];
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

/// Returns well-formed JSON without white space between its parts.
pub(crate) fn compact(json: &str) -> String {
    let (mut in_string, mut after_backslash) = (false, false);
    json.chars()
        .filter(|&c| {
            let is_kept = in_string || !matches!(c, ' ' | '\t' | '\n' | '\r');
            in_string ^= c == '"' && !after_backslash;
            after_backslash = in_string && c == '\\' && !after_backslash;
            is_kept
        })
        .collect()
}

/// Repairs an agent's JSON, so that a fault in one place does not hide the result.
///
/// Replaces bytes that are not UTF-8 and lone surrogates, escapes control characters in strings, and removes a byte order
/// mark.
pub(crate) fn readable(json: &[u8]) -> Cow<'_, str> {
    let json = json.trim_ascii();
    let text = String::from_utf8_lossy(json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json));
    let text = if text.bytes().any(|byte| byte < b' ') { Cow::Owned(escape_control(&text)) } else { text };
    match whole_characters(&text) {
        Cow::Owned(whole) => Cow::Owned(whole),
        Cow::Borrowed(_) => text,
    }
}

/// Escapes control characters in strings, and replaces others by spaces.
fn escape_control(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    let (mut in_string, mut after_backslash) = (false, false);
    for c in json.chars() {
        match c {
            '\0'..'\u{20}' if in_string => {
                write!(escaped, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            '\0'..'\u{20}' => escaped.push(' '),
            _ => escaped.push(c),
        }
        in_string ^= c == '"' && !after_backslash;
        after_backslash = in_string && c == '\\' && !after_backslash;
    }
    escaped
}

/// Returns the UTF-16 unit of the escape that `text` begins with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pairs::deserialize(deserializer).map(|Pairs(pairs)| Self::new(pairs))
    }
}

/// The keys and values of an object as they are written, including repeated keys.
pub(crate) struct Pairs<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), raw)) = map.next_entry()? {
                    members.push((key, raw));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

/// A key, borrowed from the text unless it contains escapes.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Members<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_each_name() {
        let members = members(r#"{"b": 1, "a": {"x": [1e999]}, "b": "2"}"#);
        let texts: Vec<_> = members.0.iter().map(|(key, raw)| format!("{key}={}", raw.get())).collect();
        assert_eq!(texts, ["b=\"2\"", "a={\"x\": [1e999]}"]);
    }

    #[test]
    fn faulty_json_is_repaired() {
        for (json, readable_as) in [
            (&b" {\"a\": \"\\ud83d\\ude00\"}\r\n"[..], "{\"a\": \"\\ud83d\\ude00\"}"),
            (b"\xef\xbb\xbf{}", "{}"),
            (b"{\"a\xff\":\t\"caf\xe9\"}", "{\"a\u{fffd}\": \"caf\u{fffd}\"}"),
            (b"{\"a\":\n\"\t\0\\\"\n\\\\\",\n\"b\": 1}", "{\"a\": \"\\u0009\\u0000\\\"\\u000a\\\\\", \"b\": 1}"),
            (b"{\"\\ud83d\": 1}", "{\"\\ufffd\": 1}"),
        ] {
            assert_eq!(readable(json), readable_as);
            serde_json::from_str::<Members<'_>>(readable_as).unwrap();
        }
        assert!(matches!(readable("{\"a\": \"é\"}\n".as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn lone_surrogates_are_replaced() {
        let members = members(r#"{"cut": "a\ud83d", "whole": "\ud83d\ude00\n", "number": 1}"#);
        assert_eq!(members.text("cut").as_deref(), Some("a\u{fffd}"));
        assert_eq!(members.text("whole").as_deref(), Some("😀\n"));
        assert_eq!((members.text("number"), members.text("none")), (None, None));
        for (json, whole) in [
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\ude00\ud83d\n""#, "\u{fffd}\u{fffd}\n"),
            (r#""\u00e9\uD83D!""#, "é\u{fffd}!"),
        ] {
            assert_eq!(serde_json::from_str::<String>(&whole_characters(json)).unwrap(), whole, "{json}");
        }
    }
}

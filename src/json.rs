//! JSON read lazily: [`Members`] of one object at a time, or a [`Document`] that is visited in any order. Unread parts
//! keep their text, whatever it is: numbers of any size, lone surrogates, nesting of any depth.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order; of two with one name the last counts, in the place of the first.
#[derive(Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    /// The text of a member; `None` where there is none or it is something else.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        text(self.get(name)?)
    }
}

/// The text in `raw`; halves of characters in it are replaced.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(&whole_characters(raw.get())).ok()
}

/// JSON without escapes that are half a character, which JavaScript writes where it cuts an emoji in two, and which many
/// readers refuse.
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
            // a backslash and one character, which is ASCII where the JSON is good
            (None, _) => rest.get(..2).unwrap_or(rest),
        };
        whole.push_str(escape);
        rest = &rest[escape.len()..];
    }
    whole.push_str(rest);
    Cow::Owned(whole)
}

/// The number in an escape that `text` begins with.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}

impl<'de> Deserialize<'de> for Members<'de> {
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
        let members = deserializer.deserialize_map(InOrder)?;
        Ok(Self(without_repetitions(members, |(name, _)| name)))
    }
}

/// Keeps the last member of each name, in the position of the first.
pub(crate) fn without_repetitions<T>(members: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    // sorted names, as in our own files, need no map
    if members.is_sorted_by(|a, b| name(a) < name(b)) {
        return members;
    }
    let mut positions = HashMap::new();
    let position = |member| {
        let next = positions.len();
        *positions.entry(name(member)).or_insert(next)
    };
    let positions: Vec<usize> = members.iter().map(position).collect();
    let mut unique = Vec::with_capacity(members.len());
    for (member, position) in members.into_iter().zip(positions) {
        match unique.get_mut(position) {
            Some(earlier) => *earlier = member,
            None => unique.push(member),
        }
    }
    unique
}

/// A key, borrowed from the text where it holds no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
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

/// A JSON text whose lists and objects can be skipped in one step, because it is known where they end.
///
/// Any text can be indexed. Only well-formed JSON may be visited: what an element contains is not checked.
pub(crate) struct Document<'a> {
    json: &'a str,
    /// The lists and objects in the order in which they begin.
    containers: Vec<Container>,
    depth: usize,
}

/// A list or an object.
#[derive(Clone, Copy, Default)]
struct Container {
    /// The offset after its closing bracket.
    end: u32,
    /// The index of the first container that begins after its end.
    next: u32,
}

/// A value in a [`Document`].
#[derive(Clone)]
pub(crate) struct Element<'a> {
    document: &'a Document<'a>,
    start: u32,
    end: u32,
    /// The index of the first container that begins at `start` or later.
    container: u32,
}

/// The elements of a list, or the names and values of an object in turn.
pub(crate) struct Elements<'a> {
    document: &'a Document<'a>,
    position: usize,
    container: u32,
}

impl<'a> Document<'a> {
    /// Indexes `json`, which is shorter than 4 GiB.
    pub(crate) fn new(json: &'a str) -> Self {
        Self::within(json, usize::MAX).expect("no text is deeper")
    }

    /// Indexes `json`, unless its brackets nest deeper than `deepest`.
    pub(crate) fn within(json: &'a str, deepest: usize) -> Option<Self> {
        let bytes = json.as_bytes();
        let mut containers: Vec<Container> = Vec::new();
        let mut open = Vec::new();
        let mut depth = 0;
        let mut position = 0;
        while let Some(byte) = bytes.get(position) {
            position += 1;
            match byte {
                b'"' => position = string_end(bytes, position),
                b'{' | b'[' => {
                    open.push(containers.len());
                    containers.push(Container::default());
                    depth = depth.max(open.len());
                    if depth > deepest {
                        return None;
                    }
                }
                b'}' | b']' => {
                    if let Some(index) = open.pop() {
                        containers[index] = Container { end: offset(position), next: offset(containers.len()) };
                    }
                }
                _ => {}
            }
        }
        Some(Self { json, containers, depth })
    }

    /// How deep lists and objects nest.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The whole value.
    pub(crate) fn root(&'a self) -> Element<'a> {
        Elements { document: self, position: 0, container: 0 }.next().expect("a document is well-formed JSON")
    }
}

impl<'a> Element<'a> {
    /// Its text in the document.
    pub(crate) fn text(&self) -> &'a str {
        &self.document.json[self.start as usize..self.end as usize]
    }

    /// The offsets of its text in the document.
    pub(crate) fn range(&self) -> Range<u32> {
        self.start..self.end
    }

    pub(crate) fn is_object(&self) -> bool {
        self.first_byte() == b'{'
    }

    pub(crate) fn is_list(&self) -> bool {
        self.first_byte() == b'['
    }

    pub(crate) fn is_string(&self) -> bool {
        self.first_byte() == b'"'
    }

    pub(crate) fn is_null(&self) -> bool {
        self.first_byte() == b'n'
    }

    fn first_byte(&self) -> u8 {
        self.document.json.as_bytes()[self.start as usize]
    }

    /// The elements of a list.
    pub(crate) fn elements(&self) -> Elements<'a> {
        Elements { document: self.document, position: self.start as usize + 1, container: self.container + 1 }
    }

    /// The names and values of an object, as often as they are written.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Self, Self)> + use<'a> {
        let mut elements = self.elements();
        std::iter::from_fn(move || elements.next().zip(elements.next()))
    }

    /// The members of an object: the last of each name, in the position of the first. `None` if a name contains a lone
    /// surrogate.
    pub(crate) fn members(&self) -> Option<Vec<(Cow<'a, str>, Self)>> {
        let members = self.pairs().map(|(name, value)| Some((name.decode()?, value)));
        Some(without_repetitions(members.collect::<Option<Vec<_>>>()?, |(name, _)| name))
    }

    /// The content of a string; `None` if it contains a lone surrogate.
    pub(crate) fn decode(&self) -> Option<Cow<'a, str>> {
        let text = self.text();
        if memchr::memchr(b'\\', text.as_bytes()).is_none() {
            return Some(Cow::Borrowed(&text[1..text.len() - 1]));
        }
        serde_json::from_str(text).ok().map(Cow::Owned)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let bytes = self.document.json.as_bytes();
        let separators = bytes[self.position..].iter().take_while(|byte| b" \t\r\n,:".contains(byte)).count();
        let (start, container) = (self.position + separators, self.container);
        self.position = match bytes.get(start)? {
            b'}' | b']' => return None,
            b'{' | b'[' => {
                let Container { end, next } = self.document.containers[container as usize];
                self.container = next;
                end as usize
            }
            b'"' => string_end(bytes, start + 1),
            _ => {
                let is_end = |byte: &u8| b" \t\r\n,]}".contains(byte);
                start + bytes[start..].iter().position(is_end).unwrap_or(bytes.len() - start)
            }
        };
        Some(Element { document: self.document, start: offset(start), end: offset(self.position), container })
    }
}

/// The offset after the quotation mark that ends a string whose content begins at `position`.
fn string_end(bytes: &[u8], mut position: usize) -> usize {
    while let Some(found) = bytes.get(position..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        position += found + 1;
        if bytes[position - 1] == b'"' {
            return position;
        }
        position += 1; // the escaped character
    }
    bytes.len()
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("a document is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Members<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_a_name_counts() {
        let members = members(r#"{"b": 1, "a": {"x": [1e999]}, "b": "2"}"#);
        let seen: Vec<_> = members.0.iter().map(|(key, raw)| format!("{key}={}", raw.get())).collect();
        assert_eq!(seen, ["b=\"2\"", "a={\"x\": [1e999]}"]);
    }

    #[test]
    fn half_a_character_does_not_spoil_a_text() {
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

//! JSON in the form of a mapping file: keys sorted, indented by two spaces, with as few escapes as possible. Numbers and
//! strings with lone surrogates keep their spelling.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::offset;
use crate::sort::sort_by;

/// Writes values. The time depends on the size of the text, not on its nesting.
pub(super) struct Writer {
    text: String,
    /// A line break, and the indentation of the current level.
    line_break: String,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), line_break: "\n".to_owned() }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Writes `json`, which must be well-formed, without white space at its ends.
    pub(super) fn json(&mut self, json: &str) {
        let document = Document { json, containers: OnceCell::new() };
        self.value(&Element { document: &document, text: json, start: 0, container: 0 });
    }

    pub(super) fn verbatim(&mut self, json: &str) {
        self.text.push_str(json);
    }

    fn value(&mut self, value: &Element<'_>) {
        match value.text.as_bytes()[0] {
            b'{' => match value.members() {
                Some(members) => self.object(members, |writer, member| writer.value(&member)),
                None => self.verbatim(value.text), // names with lone surrogates cannot be sorted
            },
            b'[' => self.block(['[', ']'], value.elements(), |writer, element| writer.value(&element)),
            b'"' => match value.decode() {
                Some(content) => self.string(&content),
                None => self.verbatim(value.text),
            },
            _ => self.verbatim(value.text),
        }
    }

    /// Writes an object: the last member of each name, sorted.
    pub(super) fn object<K: AsRef<str>, V>(&mut self, mut members: Vec<(K, V)>, mut value: impl FnMut(&mut Self, V)) {
        if !members.is_sorted_by(|(a, _), (b, _)| a.as_ref() < b.as_ref()) {
            members.reverse();
            sort_by(&mut members, |(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
            members.dedup_by(|(a, _), (b, _)| a.as_ref() == b.as_ref());
        }
        self.block(['{', '}'], members, |writer, (key, member)| {
            writer.string(key.as_ref());
            writer.text.push_str(": ");
            value(writer, member);
        });
    }

    /// Writes each item on a line between brackets.
    fn block<T>(
        &mut self,
        [open, close]: [char; 2],
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let outer = self.line_break.len();
        self.line_break.push_str("  ");
        self.text.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                self.text.push(',');
            }
            is_empty = false;
            self.text.push_str(&self.line_break);
            write(self, item);
        }
        self.line_break.truncate(outer);
        if !is_empty {
            self.text.push_str(&self.line_break);
        }
        self.text.push(close);
    }

    fn string(&mut self, content: &str) {
        if content.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'"' | b'\\')) {
            return self.text.push_str(&json_text(content));
        }
        self.text.push('"');
        self.text.push_str(content);
        self.text.push('"');
    }
}

pub(super) fn json_text(content: &str) -> String {
    serde_json::to_string(content).expect("a string can be written as JSON")
}

/// A well-formed JSON text whose lists and objects can be skipped in one step.
struct Document<'a> {
    json: &'a str,
    /// The lists and objects in the order in which they begin, if one had to be skipped.
    containers: OnceCell<Vec<Container>>,
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
struct Element<'a> {
    document: &'a Document<'a>,
    text: &'a str,
    start: usize,
    /// The index of the first container that begins at `start` or later.
    container: usize,
}

/// The elements of a list, or the keys and values of an object in turn.
struct Elements<'a> {
    document: &'a Document<'a>,
    position: usize,
    container: usize,
}

impl Document<'_> {
    fn container(&self, index: usize) -> Container {
        self.containers.get_or_init(|| containers(self.json.as_bytes()))[index]
    }
}

impl<'a> Element<'a> {
    fn elements(&self) -> Elements<'a> {
        Elements { document: self.document, position: self.start + 1, container: self.container + 1 }
    }

    /// Returns the members of an object, or `None` if a name contains a lone surrogate.
    fn members(&self) -> Option<Vec<(Cow<'a, str>, Self)>> {
        let mut elements = self.elements();
        let mut members = Vec::new();
        while let Some((name, value)) = elements.next().zip(elements.next()) {
            members.push((name.decode()?, value));
        }
        Some(members)
    }

    /// Returns the content of a string, or `None` if it contains a lone surrogate.
    fn decode(&self) -> Option<Cow<'a, str>> {
        if memchr::memchr(b'\\', self.text.as_bytes()).is_none() {
            return Some(Cow::Borrowed(&self.text[1..self.text.len() - 1]));
        }
        serde_json::from_str(self.text).ok().map(Cow::Owned)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let json = self.document.json.as_bytes();
        let is_separator = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':');
        let start = self.position + json[self.position..].iter().position(|byte| !is_separator(byte))?;
        let container = self.container;
        self.position = match json[start] {
            b'}' | b']' => return None,
            b'{' | b'[' => {
                let Container { end, next } = self.document.container(container);
                self.container = next as usize;
                end as usize
            }
            b'"' => string_end(json, start + 1),
            _ => {
                let is_end = |byte: &u8| is_separator(byte) || matches!(byte, b'}' | b']');
                start + json[start..].iter().position(is_end)?
            }
        };
        Some(Element { document: self.document, text: &self.document.json[start..self.position], start, container })
    }
}

/// Returns the lists and objects of a well-formed JSON text.
fn containers(json: &[u8]) -> Vec<Container> {
    let (mut containers, mut open) = (Vec::new(), Vec::new());
    let mut position = 0;
    while let Some(byte) = json.get(position) {
        position += 1;
        match byte {
            b'"' => position = string_end(json, position),
            b'{' | b'[' => {
                open.push(containers.len());
                containers.push(Container::default());
            }
            b'}' | b']' => {
                let closed = open.pop().expect("brackets are balanced");
                containers[closed] = Container { end: offset(position), next: offset(containers.len()) };
            }
            _ => {}
        }
    }
    containers
}

/// Returns the offset after the quotation mark that ends a string whose content begins at `position`.
pub(super) fn string_end(json: &[u8], mut position: usize) -> usize {
    while let Some(found) = json.get(position..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        position += found + 1;
        if json[position - 1] == b'"' {
            return position;
        }
        position += 1; // the escaped character
    }
    json.len()
}

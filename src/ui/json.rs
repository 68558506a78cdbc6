//! JSON on standard output, as the contract specifies it.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::whole_characters;

/// A JSON object whose keys keep the order in which they were added.
#[derive(Default)]
pub(crate) struct JsonObject(Vec<(String, Node)>);

enum Node {
    Value(Value),
    Object(JsonObject),
    List(Vec<JsonObject>),
    /// JSON from another program, unchanged.
    Raw(Box<RawValue>),
}

impl JsonObject {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    #[must_use]
    pub(crate) fn with(self, key: &str, value: impl Into<Value>) -> Self {
        self.with_node(key, Node::Value(value.into()))
    }

    /// Adds a key. Not inlined: the many callers would make the program larger.
    #[inline(never)]
    fn with_node(mut self, key: &str, node: Node) -> Self {
        self.0.push((key.to_owned(), node));
        self
    }

    /// Adds a key with another object.
    #[must_use]
    pub(crate) fn with_object(self, key: &str, object: Self) -> Self {
        self.with_node(key, Node::Object(object))
    }

    /// Adds a key with a list of objects.
    #[must_use]
    pub(crate) fn with_list(self, key: &str, objects: Vec<Self>) -> Self {
        self.with_node(key, Node::List(objects))
    }

    /// Adds a key with JSON from another program. Only line breaks and lone surrogates are replaced.
    #[must_use]
    pub(crate) fn with_raw(mut self, key: &str, raw: Option<&RawValue>) -> Self {
        let text = whole_characters(raw.map_or("null", RawValue::get)).replace(['\n', '\r'], " ");
        let raw = RawValue::from_string(text).expect("line breaks in JSON are only white space");
        self.0.push((key.to_owned(), Node::Raw(raw)));
        self
    }

    /// Adds a key if there is a value for it.
    #[must_use]
    pub(crate) fn with_some(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Adds the key `settings` with the settings that an entry of the mapping has, if it has any.
    #[must_use]
    pub(crate) fn with_stored_settings(self, json: Option<&str>) -> Self {
        match json.and_then(|json| serde_json::from_str::<Value>(json).ok()) {
            Some(settings) => self.with("settings", settings),
            None => self,
        }
    }

    /// Returns the object on one line, byte for byte as Python's `json.dumps(…, ensure_ascii=False)` prints it.
    ///
    /// The separators are `", "` and `": "`, and non-ASCII characters are not escaped. Callers of the original may
    /// compare bytes.
    pub(crate) fn to_line(&self) -> String {
        to_line(self)
    }
}

impl Serialize for JsonObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, node) in &self.0 {
            match node {
                Node::Value(value) => map.serialize_entry(key, value)?,
                Node::Object(object) => map.serialize_entry(key, object)?,
                Node::List(objects) => map.serialize_entry(key, objects)?,
                Node::Raw(raw) => map.serialize_entry(key, raw)?,
            }
        }
        map.end()
    }
}

/// Returns `value` as JSON on one line, in the format of [`JsonObject::to_line`].
pub(crate) fn to_line(value: &impl Serialize) -> String {
    let mut line = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, PythonJsonFormatter);
    value.serialize(&mut serializer).expect("keys are strings, and writing to memory cannot fail");
    String::from_utf8(line).expect("JSON is UTF-8")
}

struct PythonJsonFormatter;

impl serde_json::ser::Formatter for PythonJsonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_spaces_that_python_prints() {
        let object = JsonObject::new()
            .with("b", "é\n\u{1}\u{7f}")
            .with("a", Value::Null)
            .with("list", vec!["x", "y"])
            .with_object("empty", JsonObject::new())
            .with_list("objects", vec![JsonObject::new().with("c", 1), JsonObject::new()])
            .with_raw("theirs", serde_json::from_str("{\"b\":\n1e999, \"a\": \"\\ud83d\"}").ok())
            .with_some("absent", None);
        assert_eq!(
            object.to_line(),
            "{\"b\": \"é\\n\\u0001\u{7f}\", \"a\": null, \"list\": [\"x\", \"y\"], \"empty\": {}, \
             \"objects\": [{\"c\": 1}, {}], \"theirs\": {\"b\": 1e999, \"a\": \"\\ufffd\"}}"
        );
    }
}

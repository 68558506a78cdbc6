//! JSON Schema: the part that the agents accept, and the check of an answer.
//!
//! The keywords are those of draft-07 and their successors in draft 2020-12, without `$dynamicRef`, `unevaluatedItems`,
//! `unevaluatedProperties` and references to other documents. No crate is used, because those that are maintained
//! contain two engines for regular expressions or Unicode tables for URLs: `boon` would make the program 1.7 MB larger,
//! and `jsonschema` 2.9 MB. `boon` is the oracle of the tests instead. `regex-lite` needs 70 KB, and its time is linear
//! in the length of the text.

mod check;
mod json;
mod sample;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use regex_lite::Regex;
use serde_json::Value;

use self::json::Json;

/// A schema whose keywords, patterns and references were checked.
#[derive(Debug)]
pub(crate) struct Schema {
    root: Json,
    patterns: Patterns,
    anchors: Anchors,
}

/// The keys and indexes from the root to a place in a document.
type Path = Vec<String>;

/// The compiled patterns.
type Patterns = HashMap<String, Regex>;

/// The path of each `$anchor`.
type Anchors = BTreeMap<String, Path>;

/// What is wrong in a place of a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A JSON pointer. The root is the empty string.
    pub(crate) place: String,
    pub(crate) reason: String,
}

impl Fault {
    fn new(path: &[String], reason: impl Into<String>) -> Self {
        Self { place: pointer(path), reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.place, self.reason) }
    }
}

impl Schema {
    /// Parses and checks a schema.
    ///
    /// # Errors
    ///
    /// The first fault.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let root = parse(text)?;
        let (patterns, anchors) = check::check(&root)?;
        Ok(Self { root, patterns, anchors })
    }

    /// Returns whether an object can match, as far as the types of the schema show. Agents take no schema that is not an object itself.
    pub(crate) fn allows_an_object(&self) -> bool {
        matches!(self.root, Json::Object(_)) && self.may_be_object(&self.root, &mut 0)
    }

    /// Checks a document, and returns its first faults.
    pub(crate) fn faults(&self, document: &str) -> Vec<Fault> {
        match parse(document) {
            Ok(document) => validate::faults(self, &document),
            Err(fault) => vec![fault],
        }
    }

    /// Returns a small document that usually matches.
    pub(crate) fn sample(&self) -> Value {
        sample::sample(self, &self.root, 0, &mut 0)
    }

    /// Returns the schema that a checked `$ref` refers to.
    fn target(&self, reference: &str) -> &Json {
        find(&self.root, &self.anchors, reference).unwrap_or(&Json::Null)
    }

    /// `steps` counts the schemas that were visited, because branches can multiply with each level.
    fn may_be_object(&self, schema: &Json, steps: &mut u32) -> bool {
        const MOST_STEPS: u32 = 10_000;
        let Json::Object(members) = schema else { return *schema == Json::Bool(true) };
        *steps += 1;
        if *steps > MOST_STEPS {
            return true;
        }
        let mut allows = |schema: &Json| self.may_be_object(schema, steps);
        members.iter().all(|(keyword, argument)| match (keyword.as_str(), argument) {
            ("type", Json::String(name)) => name == "object",
            ("type", Json::Array(names)) => names.iter().any(|name| name.text() == Some("object")),
            ("const", value) => matches!(value, Json::Object(_)),
            ("enum", Json::Array(values)) => values.iter().any(|value| matches!(value, Json::Object(_))),
            ("$ref", Json::String(reference)) => allows(self.target(reference)),
            ("allOf", Json::Array(schemas)) => schemas.iter().all(&mut allows),
            ("anyOf" | "oneOf", Json::Array(schemas)) => schemas.iter().any(&mut allows),
            _ => true,
        })
    }
}

/// Parses a document.
fn parse(text: &str) -> Result<Json, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::new(&[], error.to_string()))
}

/// Returns the place that a reference within the document refers to.
fn find<'a>(root: &'a Json, anchors: &Anchors, reference: &str) -> Option<&'a Json> {
    let fragment = percent_decoded(reference.strip_prefix('#')?)?;
    if fragment.is_empty() {
        return Some(root);
    }
    match fragment.strip_prefix('/') {
        Some(keys) => {
            let mut keys = keys.split('/').map(|key| key.replace("~1", "/").replace("~0", "~"));
            keys.try_fold(root, |place, key| place.member(&key))
        }
        None => anchors.get(&fragment)?.iter().try_fold(root, |place, key| place.member(key)),
    }
}

fn pointer(path: &[String]) -> String {
    path.iter().flat_map(|key| ["/".to_owned(), key.replace('~', "~0").replace('/', "~1")]).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

//! Checks a schema: its keywords, patterns and references.

use std::collections::{HashMap, HashSet};
use std::ptr;

use regex_lite::RegexBuilder;

use super::json::{Json, Number};
use super::{Anchors, Fault, Path, Patterns, find};

/// The limit on the memory of a compiled pattern.
const LARGEST_PATTERN: usize = 1 << 20;

/// The limit on the schemas that one value can be checked against through references alone.
const LONGEST_CHAIN: usize = 64;

/// What a check finds.
#[derive(Default)]
struct Checked<'a> {
    patterns: Patterns,
    anchors: Anchors,
    /// References, and where they are.
    references: Vec<(&'a str, Path)>,
    /// Every schema, and where it is.
    schemas: Vec<(&'a Json, Path)>,
    /// Their addresses.
    visited: HashSet<*const Json>,
}

/// Where the schemas of a keyword are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subschemas {
    One,
    List,
    /// One schema, or a list (`items`).
    OneOrList,
    Members,
    /// Members that are schemas or lists of names (`dependencies`).
    MembersOrNames,
}

/// Returns where the schemas of a keyword are, and whether they apply to the same value.
fn subschemas(keyword: &str) -> Option<(Subschemas, bool)> {
    Some(match keyword {
        "not" | "if" | "then" | "else" => (Subschemas::One, true),
        "allOf" | "anyOf" | "oneOf" => (Subschemas::List, true),
        "dependentSchemas" => (Subschemas::Members, true),
        "dependencies" => (Subschemas::MembersOrNames, true),
        "additionalItems" | "additionalProperties" | "contains" | "propertyNames" => (Subschemas::One, false),
        "items" => (Subschemas::OneOrList, false),
        "prefixItems" => (Subschemas::List, false),
        "$defs" | "definitions" | "patternProperties" | "properties" => (Subschemas::Members, false),
        _ => return None,
    })
}

/// Returns the compiled patterns of a schema, and the path of each `$anchor`.
pub(super) fn check(root: &Json) -> Result<(Patterns, Anchors), Fault> {
    let mut checked = Checked::default();
    checked.schema(root, &mut Vec::new())?;
    while let Some((reference, path)) = checked.references.pop() {
        if !reference.starts_with('#') {
            let reason =
                format!("{} is in another document, and only places in this one can be used", quoted(reference));
            return Err(Fault::new(&path, reason));
        }
        let missing = || Fault::new(&path, format!("{} refers to nothing", quoted(reference)));
        let target = find(root, &checked.anchors, reference).ok_or_else(missing)?;
        checked.schema(target, &mut path.clone())?; // it may be in a place that no keyword describes
    }
    let mut lengths = HashMap::new();
    for (schema, path) in &checked.schemas {
        checked.chain(root, schema, path, 0, &mut lengths)?;
    }
    Ok((checked.patterns, checked.anchors))
}

impl<'a> Checked<'a> {
    /// Checks the schema at `path` and those in it.
    fn schema(&mut self, schema: &'a Json, path: &mut Path) -> Result<(), Fault> {
        let members = match schema {
            Json::Object(members) => members,
            Json::Bool(_) => return Ok(()),
            other => return Err(Fault::new(path, format!("{other} is not a schema"))),
        };
        if !self.visited.insert(ptr::from_ref(schema)) {
            return Ok(());
        }
        self.schemas.push((schema, path.clone()));
        for (keyword, argument) in members {
            path.push(keyword.clone());
            self.keyword(keyword, argument, path)?;
            path.pop();
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, argument: &'a Json, path: &mut Path) -> Result<(), Fault> {
        let expects = |what: &str, is_met: bool, path: &Path| {
            if is_met { Ok(()) } else { Err(Fault::new(path, format!("{argument} is not {what}"))) }
        };
        if let Some((place, _)) = subschemas(keyword) {
            return self.subschemas(place, argument, path);
        }
        match (keyword, argument) {
            ("type", Json::Array(names)) => {
                expects("a list of types", !names.is_empty() && names.iter().all(is_type), path)
            }
            ("type", name) => expects("a type", is_type(name), path),
            ("enum", values) => expects("a list", matches!(values, Json::Array(_)), path),
            ("required", names) => expects("a list of names", is_list_of_names(names), path),
            ("dependentRequired", Json::Object(members)) => {
                expects("a list of names for each name", members.values().all(is_list_of_names), path)
            }
            ("dependentRequired", _) => expects("an object", false, path),
            ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", number) => {
                expects("a number", matches!(number, Json::Number(_)), path)
            }
            ("multipleOf", number) => {
                let zero = Json::Number(Number::Integer(0));
                expects("a number above 0", matches!(number, Json::Number(_)) && *number > zero, path)
            }
            (
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minContains" | "maxContains" | "minProperties"
                | "maxProperties",
                number,
            ) => expects("a whole number of at least 0", number.count().is_some(), path),
            ("uniqueItems", flag) => expects("true or false", matches!(flag, Json::Bool(_)), path),
            ("pattern", Json::String(pattern)) => self.pattern(pattern, path),
            ("pattern" | "$ref" | "$anchor" | "$schema" | "$id", other) if other.text().is_none() => {
                expects("a string", false, path)
            }
            ("$ref", Json::String(reference)) => {
                self.references.push((reference, path.clone()));
                Ok(())
            }
            ("$anchor", Json::String(name)) => {
                self.anchors.insert(name.clone(), path[..path.len() - 1].to_vec());
                Ok(())
            }
            ("$id", _) if path.len() > 1 => Err(Fault::new(path, "$id is supported at the top level only")),
            ("$dynamicRef" | "$recursiveRef" | "unevaluatedItems" | "unevaluatedProperties", _) => {
                Err(Fault::new(path, format!("{keyword} is not supported")))
            }
            _ => Ok(()),
        }
    }

    fn subschemas(&mut self, place: Subschemas, argument: &'a Json, path: &mut Path) -> Result<(), Fault> {
        match (place, argument) {
            (Subschemas::List | Subschemas::OneOrList, Json::Array(schemas)) => {
                schemas.iter().enumerate().try_for_each(|(index, schema)| self.nested(&index.to_string(), schema, path))
            }
            (Subschemas::Members | Subschemas::MembersOrNames, Json::Object(members)) => {
                let in_pattern = path.last().is_some_and(|keyword| keyword == "patternProperties");
                members.iter().try_for_each(|(key, schema)| {
                    if in_pattern {
                        self.pattern(key, path)?;
                    }
                    let are_names = place == Subschemas::MembersOrNames && matches!(schema, Json::Array(_));
                    if are_names && is_list_of_names(schema) { Ok(()) } else { self.nested(key, schema, path) }
                })
            }
            (Subschemas::One | Subschemas::OneOrList, schema) => self.schema(schema, path),
            (Subschemas::List, other) => Err(Fault::new(path, format!("{other} is not a list of schemas"))),
            (_, other) => Err(Fault::new(path, format!("{other} is not an object"))),
        }
    }

    fn nested(&mut self, key: &str, schema: &'a Json, path: &mut Path) -> Result<(), Fault> {
        path.push(key.to_owned());
        self.schema(schema, path)?;
        path.pop();
        Ok(())
    }

    fn pattern(&mut self, pattern: &str, path: &Path) -> Result<(), Fault> {
        let regex = RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build();
        let regex =
            regex.map_err(|why| Fault::new(path, format!("cannot use the pattern {}: {why}", quoted(pattern))))?;
        self.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }

    /// Returns how many schemas, one in another or by reference, apply to one value.
    ///
    /// # Errors
    ///
    /// A fault if they are too many, or if they refer to each other without an end.
    fn chain(
        &self,
        root: &'a Json,
        schema: &'a Json,
        path: &Path,
        depth: usize,
        lengths: &mut HashMap<*const Json, usize>,
    ) -> Result<usize, Fault> {
        let Json::Object(members) = schema else { return Ok(0) };
        let known = lengths.get(&ptr::from_ref(schema)).copied();
        if depth + known.unwrap_or_default() > LONGEST_CHAIN {
            let reason =
                format!("more than {LONGEST_CHAIN} schemas refer to each other here, or they do so without an end");
            return Err(Fault::new(path, reason));
        }
        if let Some(known) = known {
            return Ok(known);
        }
        let mut longest = 0;
        for (keyword, argument) in members {
            let next: Vec<&Json> = match (keyword.as_str(), argument) {
                ("$ref", Json::String(reference)) => find(root, &self.anchors, reference).into_iter().collect(),
                _ => match (subschemas(keyword), argument) {
                    (Some((Subschemas::Members | Subschemas::MembersOrNames, true)), Json::Object(members)) => {
                        members.values().collect()
                    }
                    (Some((_, true)), Json::Array(schemas)) => schemas.iter().collect(),
                    (Some((_, true)), schema) => vec![schema],
                    _ => Vec::new(),
                },
            };
            for schema in next {
                longest = longest.max(1 + self.chain(root, schema, path, depth + 1, lengths)?);
            }
        }
        lengths.insert(ptr::from_ref(schema), longest);
        Ok(longest)
    }
}

fn is_type(name: &Json) -> bool {
    const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    name.text().is_some_and(|name| TYPES.contains(&name))
}

fn is_list_of_names(names: &Json) -> bool {
    matches!(names, Json::Array(names) if names.iter().all(|name| name.text().is_some()))
}

/// Returns a text as messages show it.
fn quoted(text: &str) -> Json {
    Json::String(text.to_owned())
}

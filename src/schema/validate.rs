//! Checks a document against a schema, with a bound on the time and on the stack.

use std::collections::BTreeMap;

use super::json::{Json, Number};
use super::{Fault, Path, Schema};
use crate::sort::sort;

/// The limit on the faults that are returned.
const MOST_FAULTS: usize = 5;

/// The limit on the schemas that are applied, one in another. A document is at most 128 levels deep.
const DEEPEST: usize = 400;

/// The limit on the schemas that are applied. Branches can multiply with each level.
const MOST_STEPS: u64 = 3_000_000;

/// Returns the first faults of `document`.
pub(super) fn faults(schema: &Schema, document: &Json) -> Vec<Fault> {
    let mut run =
        Run { schema, path: Path::new(), faults: Vec::new(), failures: 0, depth: 0, steps: MOST_STEPS, gave_up: None };
    run.check(&schema.root, document);
    match run.gave_up {
        Some(why) => vec![Fault::new(&[], why)],
        None => run.faults,
    }
}

struct Run<'a> {
    schema: &'a Schema,
    /// The place in the document.
    path: Path,
    faults: Vec<Fault>,
    /// The number of faults, including those that are not kept.
    failures: u64,
    depth: usize,
    steps: u64,
    gave_up: Option<&'static str>,
}

impl<'a> Run<'a> {
    fn fail(&mut self, reason: impl FnOnce() -> String) {
        self.failures += 1;
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault::new(&self.path, reason()));
        }
    }

    /// Returns whether `value` matches, without keeping its faults.
    fn matches(&mut self, schema: &'a Json, value: &Json) -> bool {
        let (kept, failures) = (self.faults.len(), self.failures);
        self.check(schema, value);
        let matches = self.failures == failures;
        self.faults.truncate(kept);
        self.failures = failures;
        matches
    }

    fn check_member(&mut self, key: String, schema: &'a Json, value: &Json) {
        self.path.push(key);
        self.check(schema, value);
        self.path.pop();
    }

    fn check(&mut self, schema: &'a Json, value: &Json) {
        if self.gave_up.is_some() {
            return;
        }
        let Json::Object(keywords) = schema else {
            if *schema == Json::Bool(false) {
                self.fail(|| "nothing is allowed here".to_owned());
            }
            return;
        };
        self.steps = self.steps.saturating_sub(1);
        if self.steps == 0 {
            self.gave_up = Some("the check takes too many steps; write a simpler schema");
        } else if self.depth == DEEPEST {
            self.gave_up = Some("the answer and the schema are nested too deeply");
        } else {
            self.depth += 1;
            for (keyword, argument) in keywords {
                self.keyword(keywords, keyword, argument, value);
            }
            self.depth -= 1;
        }
    }

    #[inline(never)]
    fn keyword(&mut self, all: &'a BTreeMap<String, Json>, keyword: &str, argument: &'a Json, value: &Json) {
        match (keyword, argument, value) {
            ("type", types, _) => self.kind(types, value),
            ("const", wanted, _) if wanted != value => self.fail(|| format!("{value} is not {wanted}")),
            ("enum", Json::Array(values), _) if !values.contains(value) => {
                self.fail(|| {
                    let all: Vec<String> = values.iter().take(10).map(Json::to_string).collect();
                    format!("{value} is not one of {}", all.join(", "))
                });
            }
            ("$ref", Json::String(reference), _) => self.check(self.schema.target(reference), value),
            ("allOf", Json::Array(schemas), _) => schemas.iter().for_each(|schema| self.check(schema, value)),
            ("anyOf", Json::Array(schemas), _) if !schemas.iter().any(|schema| self.matches(schema, value)) => {
                self.fail(|| format!("{value} matches none of the {} schemas of anyOf", schemas.len()));
            }
            ("oneOf", Json::Array(schemas), _) => {
                let matching = schemas.iter().filter(|schema| self.matches(schema, value)).take(2).count();
                if matching != 1 {
                    let some = if matching == 0 { "none" } else { "several" };
                    self.fail(|| format!("{value} matches {some} of the {} schemas of oneOf", schemas.len()));
                }
            }
            ("not", schema, _) if self.matches(schema, value) => {
                self.fail(|| format!("{value} matches a schema that it must not match"));
            }
            ("if", schema, _) => {
                let branch = if self.matches(schema, value) { "then" } else { "else" };
                if let Some(schema) = all.get(branch) {
                    self.check(schema, value);
                }
            }
            (
                "dependencies" | "dependentRequired" | "dependentSchemas",
                Json::Object(dependencies),
                Json::Object(members),
            ) => {
                for (_, dependency) in dependencies.iter().filter(|(key, _)| members.contains_key(*key)) {
                    match dependency {
                        Json::Array(names) => self.require(names, members),
                        schema => self.check(schema, value),
                    }
                }
            }
            (_, _, Json::Number(number)) => self.number(keyword, argument, *number),
            (_, _, Json::String(text)) => self.text(keyword, argument, text),
            (_, _, Json::Array(elements)) => self.array(all, keyword, argument, elements),
            (_, _, Json::Object(members)) => self.object(all, keyword, argument, members),
            _ => {}
        }
    }

    fn kind(&mut self, types: &Json, value: &Json) {
        let kind = value.kind();
        let is = |name: &Json| name.text().is_some_and(|name| name == kind || (name == "number" && kind == "integer"));
        match types {
            Json::Array(names) if names.iter().any(is) => {}
            Json::Array(names) => {
                let names: Vec<&str> = names.iter().filter_map(Json::text).collect();
                self.fail(|| format!("{value} is not of the types {}", names.join(", ")));
            }
            name if is(name) => {}
            name => self.fail(|| format!("{value} is not of the type {}", name.text().unwrap_or_default())),
        }
    }

    fn number(&mut self, keyword: &str, argument: &Json, number: Number) {
        let Json::Number(limit) = *argument else { return };
        let (is_met, rule) = match keyword {
            "minimum" => (number >= limit, "at least"),
            "maximum" => (number <= limit, "at most"),
            "exclusiveMinimum" => (number > limit, "above"),
            "exclusiveMaximum" => (number < limit, "below"),
            "multipleOf" => (number.is_multiple_of(limit), "a multiple of"),
            _ => return,
        };
        if !is_met {
            self.fail(|| format!("{} is not {rule} {argument}", Json::Number(number)));
        }
    }

    /// Checks a number of `what` against `argument`.
    fn count(&mut self, is_least: bool, argument: &Json, count: usize, what: &str) {
        let limit = argument.count().unwrap_or_default();
        if (is_least && count < limit) || (!is_least && count > limit) {
            let rule = if is_least { "at least" } else { "at most" };
            self.fail(|| format!("there are {count} {what}, and not {rule} {limit}"));
        }
    }

    fn text(&mut self, keyword: &str, argument: &Json, text: &str) {
        match (keyword, argument) {
            ("minLength" | "maxLength", _) => {
                self.count(keyword == "minLength", argument, text.chars().count(), "characters");
            }
            ("pattern", Json::String(pattern)) if !self.schema.patterns[pattern].is_match(text) => {
                self.fail(|| format!("{} does not match the pattern {pattern}", Json::String(text.to_owned())));
            }
            _ => {}
        }
    }

    fn array(&mut self, all: &'a BTreeMap<String, Json>, keyword: &str, argument: &'a Json, elements: &[Json]) {
        match (keyword, argument) {
            ("minItems" | "maxItems", _) => self.count(keyword == "minItems", argument, elements.len(), "elements"),
            ("uniqueItems", Json::Bool(true)) => {
                let mut sorted: Vec<&Json> = elements.iter().collect();
                sort(&mut sorted);
                if let Some((repeated, _)) = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
                    self.fail(|| format!("{repeated} is repeated"));
                }
            }
            ("prefixItems" | "items", Json::Array(schemas)) => {
                for (index, (schema, element)) in schemas.iter().zip(elements).enumerate() {
                    self.check_member(index.to_string(), schema, element);
                }
            }
            ("items" | "additionalItems", schema) => {
                let list = if keyword == "items" { "prefixItems" } else { "items" };
                let first = match all.get(list) {
                    Some(Json::Array(schemas)) => schemas.len(),
                    _ if keyword == "items" => 0,
                    _ => return, // only after a list
                };
                for (index, element) in elements.iter().enumerate().skip(first) {
                    self.check_member(index.to_string(), schema, element);
                }
            }
            ("contains", schema) => {
                let count = elements.iter().filter(|element| self.matches(schema, element)).count();
                let limit = |name| all.get(name).and_then(Json::count);
                let (least, most) = (limit("minContains").unwrap_or(1), limit("maxContains"));
                if count < least || most.is_some_and(|most| count > most) {
                    self.fail(|| format!("{count} elements match the schema of contains"));
                }
            }
            _ => {}
        }
    }

    fn object(
        &mut self,
        all: &'a BTreeMap<String, Json>,
        keyword: &str,
        argument: &'a Json,
        members: &BTreeMap<String, Json>,
    ) {
        match (keyword, argument) {
            ("minProperties" | "maxProperties", _) => {
                self.count(keyword == "minProperties", argument, members.len(), "keys");
            }
            ("required", Json::Array(names)) => self.require(names, members),
            ("properties", Json::Object(schemas)) => {
                for (key, schema) in schemas {
                    if let Some(value) = members.get(key) {
                        self.check_member(key.clone(), schema, value);
                    }
                }
            }
            ("patternProperties", Json::Object(schemas)) => {
                for (pattern, schema) in schemas {
                    let regex = &self.schema.patterns[pattern];
                    for (key, value) in members.iter().filter(|(key, _)| regex.is_match(key)) {
                        self.check_member(key.clone(), schema, value);
                    }
                }
            }
            ("additionalProperties", schema) => {
                let patterns = self.patterns_of(all);
                let is_known = |key: &String| {
                    all.get("properties").and_then(|properties| properties.member(key)).is_some()
                        || patterns.iter().any(|regex| regex.is_match(key))
                };
                for (key, value) in members.iter().filter(|(key, _)| !is_known(key)) {
                    if *schema == Json::Bool(false) {
                        self.fail(|| format!("the key {} is not allowed", Json::String(key.clone())));
                    } else {
                        self.check_member(key.clone(), schema, value);
                    }
                }
            }
            ("propertyNames", schema) => {
                for key in members.keys() {
                    self.check_member(key.clone(), schema, &Json::String(key.clone()));
                }
            }
            _ => {}
        }
    }

    fn patterns_of(&self, keywords: &BTreeMap<String, Json>) -> Vec<&'a regex_lite::Regex> {
        match keywords.get("patternProperties") {
            Some(Json::Object(schemas)) => schemas.keys().map(|pattern| &self.schema.patterns[pattern]).collect(),
            _ => Vec::new(),
        }
    }

    fn require(&mut self, names: &[Json], members: &BTreeMap<String, Json>) {
        for name in names.iter().filter(|name| name.text().is_some_and(|name| !members.contains_key(name))) {
            self.fail(|| format!("the key {name} is missing"));
        }
    }
}

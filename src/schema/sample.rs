//! Makes a document for a schema, for the echo agent.

use serde_json::{Map, Value};

use super::Schema;
use super::json::{Json, Number};

/// The levels after which optional parts are left out.
const DEEPEST: usize = 20;

/// The limit on the parts. They can multiply with each level.
const MOST_STEPS: u32 = 10_000;

/// Returns a small document that matches a schema without conditions, patterns and bounds above the numbers.
pub(super) fn sample(schema: &Schema, part: &Json, depth: usize, steps: &mut u32) -> Value {
    let Json::Object(keywords) = part else { return Value::Null };
    let get = |keyword: &str| keywords.get(keyword);
    *steps += 1;
    let is_long = *steps > MOST_STEPS;
    let mut made = |part: &Json| sample(schema, part, depth + 1, steps);
    if depth > DEEPEST || is_long {
        return Value::Null;
    }
    let first = |list: Option<&'_ Json>| match list {
        Some(Json::Array(values)) => values.first().cloned(),
        _ => None,
    };
    if let Some(value) = get("const").cloned().or_else(|| first(get("enum"))).or_else(|| get("default").cloned()) {
        return to_value(&value);
    }
    if let Some(Json::String(reference)) = get("$ref") {
        return made(schema.target(reference));
    }
    if let Some(part) = first(get("anyOf")).or_else(|| first(get("oneOf"))).or_else(|| first(get("allOf"))) {
        return made(&part);
    }
    let least = |keyword| get(keyword).and_then(Json::count).unwrap_or_default().min(1000);
    let kind = match get("type") {
        Some(Json::Array(names)) => names.first().and_then(Json::text),
        kind => kind.and_then(Json::text),
    };
    match kind {
        Some("boolean") => Value::from(true),
        Some("integer" | "number") => match get("minimum") {
            Some(minimum) => to_value(minimum),
            None => Value::from(1),
        },
        Some("string") => Value::from("echo".repeat(least("minLength").div_ceil(4).max(1))),
        Some("array") => match get("items") {
            Some(items) => (0..least("minItems")).map(|_| made(items)).collect(),
            None => Value::Array(Vec::new()),
        },
        Some("null") => Value::Null,
        _ => {
            let names = if let Some(Json::Array(names)) = get("required") { names.as_slice() } else { &[] };
            let mut value = |name| get("properties").and_then(|all| all.member(name)).map_or(Value::Null, &mut made);
            let members = names.iter().filter_map(Json::text).map(|name| (name.to_owned(), value(name)));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::from(*value),
        Json::Number(Number::Integer(value)) => i64::try_from(*value).map_or(Value::Null, Value::from),
        Json::Number(Number::Float(value)) => Value::from(*value),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(elements) => elements.iter().map(to_value).collect(),
        Json::Object(members) => members.iter().map(|(key, value)| (key.clone(), to_value(value))).collect(),
    }
}

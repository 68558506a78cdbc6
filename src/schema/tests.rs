//! The check against an oracle, and what the oracle does not know.

use boon::{Compiler, Schemas};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Returns whether the oracle accepts a document.
fn is_valid(schema: &Value, document: &Value) -> bool {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema.clone()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{schema}: {error:#}"));
    schemas.validate(document, index).is_ok()
}

fn faults(schema: &Value, document: &Value) -> Vec<Fault> {
    let schema = Schema::parse(&schema.to_string()).unwrap_or_else(|fault| panic!("{schema}: {fault}"));
    schema.faults(&document.to_string())
}

/// Checks the documents against the oracle.
fn compare<'a>(schema: &Value, documents: impl IntoIterator<Item = &'a Value>) {
    for document in documents {
        let faults = faults(schema, document);
        assert_eq!(faults.is_empty(), is_valid(schema, document), "{schema}\n{document}\n{faults:?}");
    }
}

fn documents() -> Vec<Value> {
    let scalars = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-7),
        json!(3),
        json!(1e30),
        json!(9_007_199_254_740_994_u64), // the oracle rounds odd ones
        json!(u64::MAX - 1),
        json!(""),
        json!("a"),
        json!("ab1"),
        json!("äöü"),
        json!("😀😀"),
    ];
    let lists =
        [json!([]), json!([1, 1.0]), json!([1, "a"]), json!(["a", "b", "a"]), json!([[1], [1.0]]), json!([{}, {}, 3])];
    let objects = [
        json!({}),
        json!({"a": 1}),
        json!({"a": "x", "b": 2}),
        json!({"b": 2, "a1": 1, "c": null}),
        json!({"a": {"a": {"a": 1}}}),
        json!({"a": {"a": {"b": 1}}}),
        json!({"a": [1, {"a": "x"}], "ä": 1}),
        json!({"a/b": 1, "c~d": 1, "e%f": "x"}),
    ];
    scalars.into_iter().chain(lists).chain(objects).collect()
}

#[test]
fn each_keyword_agrees_with_the_oracle() {
    let documents = documents();
    for schema in [
        json!({"type": "integer"}),
        json!({"type": "number"}),
        json!({"type": ["string", "null"]}),
        json!({"enum": [1, "a", [1, 1], {"a": 1}, null]}),
        json!({"const": 1.0}),
        json!({"const": {"a": [1]}}),
        json!({"minimum": 1, "maximum": 1.5}),
        json!({"exclusiveMinimum": 1, "exclusiveMaximum": 9_007_199_254_740_993_u64}),
        json!({"maximum": 1e20}),
        json!({"multipleOf": 1.5}),
        json!({"multipleOf": 0.1}),
        json!({"multipleOf": 2}),
        json!({"minLength": 1, "maxLength": 2}),
        json!({"pattern": "^[a-z]+\\d?$"}),
        json!({"items": {"type": "integer"}}),
        json!({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false}),
        json!({"prefixItems": [{"const": 1}]}),
        json!({"minItems": 1, "maxItems": 2}),
        json!({"uniqueItems": true}),
        json!({"contains": {"const": 1}}),
        json!({"contains": {"type": "string"}, "minContains": 2}),
        json!({"contains": {"type": "string"}, "minContains": 0, "maxContains": 1}),
        json!({"maxContains": 0, "minContains": 9}),
        json!({"required": ["a", "b"]}),
        json!({"properties": {"a": {"type": "integer"}, "b": false}}),
        json!({"properties": {"a": true}, "additionalProperties": false}),
        json!({"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "null"}}),
        json!({"propertyNames": {"maxLength": 1}}),
        json!({"minProperties": 1, "maxProperties": 2}),
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({"dependentSchemas": {"a": {"required": ["b"]}, "b": true}}),
        json!({"allOf": [{"type": "object"}, {"required": ["a"]}]}),
        json!({"anyOf": [{"type": "object"}, {"minimum": 1}]}),
        json!({"oneOf": [{"type": "integer"}, {"minimum": 1}]}),
        json!({"not": {"type": ["object", "array"]}}),
        json!({"if": {"type": "object"}, "then": {"required": ["a"]}, "else": {"type": "string"}}),
        json!({"then": false, "else": false}),
        json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}),
        json!({"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "object"}}}),
        json!({"$ref": "#x", "minProperties": 1, "$defs": {"a": {"$anchor": "x", "type": "object"}}}),
        json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"const": 1}]}}, "required": ["a"], "type": "object"}),
        json!({"allOf": [{"properties": {"a": {}}}], "additionalProperties": false}),
        json!({"properties": {"a/b": {"const": 2}, "c~d": true, "e%f": {"type": "string"}}}),
        json!({"title": "x", "description": "y", "format": "email", "examples": [1], "unknown": [{"type": 3}]}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"const": 1}], "additionalItems": {"const": "a"}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"], "b": {"required": ["c"]}}}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": {"type": "integer"}, "additionalItems": false}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"n": {"type": "integer"}}, "additionalProperties": {"$ref": "#/definitions/n"}}),
    ] {
        compare(&schema, &documents);
    }
}

fn document() -> impl Strategy<Value = Value> {
    prop::sample::select(documents()).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "ab"]), inner, 0..3)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop::sample::select(vec![
        json!(true),
        json!(false),
        json!({"type": "object"}),
        json!({"type": ["array", "integer"]}),
        json!({"minimum": 1}),
        json!({"maxLength": 1}),
        json!({"const": 1}),
        json!({"enum": ["a", 1, null, {}]}),
        json!({"required": ["a"]}),
        json!({"uniqueItems": true}),
        json!({"maxProperties": 1}),
    ]);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let part = (
            prop::sample::select(vec![
                "not",
                "if",
                "then",
                "else",
                "allOf",
                "anyOf",
                "oneOf",
                "items",
                "prefixItems",
                "contains",
                "properties",
                "patternProperties",
                "additionalProperties",
                "propertyNames",
                "dependentSchemas",
            ]),
            prop::collection::vec(inner, 1..3),
        );
        prop::collection::vec(part, 1..4).prop_map(|parts| {
            parts
                .into_iter()
                .map(|(keyword, schemas)| {
                    let argument = match keyword {
                        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Value::from(schemas),
                        "properties" | "patternProperties" | "dependentSchemas" => {
                            ["a", "b"].into_iter().map(str::to_owned).zip(schemas).collect()
                        }
                        _ => schemas.into_iter().next().unwrap(),
                    };
                    (keyword.to_owned(), argument)
                })
                .collect()
        })
    })
}

proptest! {
    #[test]
    fn any_schema_agrees_with_the_oracle(schema in schema(), documents in prop::collection::vec(document(), 8)) {
        compare(&schema, &documents);
    }

    #[test]
    fn any_text_is_refused_or_checked(schema in "\\PC{0,40}", document in "\\PC{0,40}") {
        if let Ok(schema) = Schema::parse(&schema) {
            schema.faults(&document);
        }
    }
}

#[test]
fn faults_have_places_and_are_few() {
    let schema = json!({"items": {"type": "object", "properties": {"a/b": {"maxLength": 1}, "~": {"items": false}}}});
    let document = json!([{"a/b": "ok"}, {"a/b": ""}, {"~": [1]}, 1, 2, 3, 4, 5]);
    let found = faults(&schema, &document);
    let places: Vec<&str> = found.iter().map(|fault| fault.place.as_str()).collect();
    assert_eq!(places, ["/0/a~1b", "/2/~0/0", "/3", "/4", "/5"]);
    assert_eq!(found[0].reason, "there are 2 characters, and not at most 1");
}

#[test]
fn sample_of_a_usual_schema_matches() {
    for schema in [
        json!({"type": "object"}),
        json!({
            "type": "object",
            "properties": {
                "s": {"type": "string", "minLength": 9}, "n": {"type": "number", "minimum": 2.5}, "b": {"type": "boolean"},
                "l": {"type": "array", "items": {"$ref": "#/$defs/e"}, "minItems": 2}, "o": {"type": ["null", "string"]},
                "c": {"const": [1, {"x": 1e300}]}, "any": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "left out": {},
            },
            "required": ["s", "n", "b", "l", "o", "c", "any", "free"],
            "$defs": {"e": {"enum": ["x", "y"]}},
        }),
    ] {
        let checked = Schema::parse(&schema.to_string()).unwrap();
        let sample = checked.sample();
        assert_eq!(checked.faults(&sample.to_string()), [], "{sample}");
        assert!(sample.get("left out").is_none());
    }
    let branches = r##"{"required": ["a", "b", "c"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}, "c": {"$ref": "#"}}}"##;
    assert!(Schema::parse(branches).unwrap().sample().is_object());
    let endless = r##"{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}"##;
    assert!(Schema::parse(endless).unwrap().sample().is_object());
}

//! `--schema` with the published agents. They pass the schema on, and do not all check the answer.

use serde_json::{Value, json};

use crate::{
    model_api::Refusal,
    world::{SESSION, World},
};

real_agent_tests! { both:
    answer_that_matches_is_printed,
    answer_that_does_not_match_fails,
    model_without_json_fails,
    schema_holds_for_one_turn,
}
real_agent_tests! { claude:
    claude_refuses_a_keyword_that_it_does_not_know,
}
real_agent_tests! { codex:
    api_refuses_a_schema_that_is_not_strict,
}

fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"verdict": {"enum": ["pass", "fail"]}, "score": {"type": "integer"}},
        "required": ["verdict", "score"],
        "additionalProperties": false,
    })
}

/// Returns each way to a turn with a schema, the first turn first.
fn calls(file: &str) -> Vec<(&'static str, Vec<&str>)> {
    let session = ["--session-name", SESSION, "--schema", file];
    let with = |options: &[&'static str]| [&session[..], options].concat();
    vec![
        ("create-session", with(&["--init-prompt", "p", "--print-result"])),
        ("resume-json", with(&["--prompt", "p", "--print-result"])),
        ("resume-stream", with(&["--prompt", "p", "--print-result"])),
        ("fork-session", with(&["--to", "b", "--prompt", "p", "--print-result"])),
        ("resume-json", with(&["--prompt", "p", "--if-missing", "create", "--print-result"])),
    ]
}

fn answer_that_matches_is_printed(world: &World) {
    let file = world.file("schema.json", schema().to_string());
    let answer = json!({"verdict": "pass", "score": 7});
    world.api.answer_structured(&answer);
    for (verb, arguments) in calls(&file) {
        let outcome = world.call(verb, &arguments).run().success();
        assert_eq!(serde_json::from_str::<Value>(outcome.line()).ok().as_ref(), Some(&answer), "{verb}: {outcome}");
        let request = world.api.last_request();
        let sent = request.schema().unwrap_or_else(|| panic!("{verb}: no schema was sent: {}", request.body));
        assert_eq!(sent["properties"], schema()["properties"], "{verb}");
    }
}

fn answer_that_does_not_match_fails(world: &World) {
    let file = world.file("schema.json", schema().to_string());
    world.api.answer_structured(&json!({"verdict": "maybe", "score": 7}));
    let mut id = None;
    for (verb, arguments) in calls(&file) {
        let outcome = world.call(verb, &[&arguments[..], &["--error-format", "json"]].concat()).run().exit(7);
        let error = outcome.error();
        let got = (&error["kind"], &error["turn_started"], &error["prompt_in_history"]);
        assert_eq!(got, (&"answer_invalid".into(), &true.into(), &true.into()), "{verb}: {outcome}");
        if verb == "create-session" {
            id = error["session_id"].as_str().map(str::to_owned);
            assert_eq!(world.stored()[world.agent.id_key()], error["session_id"], "{outcome}");
        } else if verb != "fork-session" {
            assert_eq!(error["session_id"].as_str(), id.as_deref(), "{outcome}");
        }
    }
    // the session is whole
    world.resume("the end", &[]).run().success();
    assert!(world.api.last_request().turns().contains(&"the end"));
}

/// claude asks once more, and then ends as if nothing were wrong. codex never notices.
fn model_without_json_fails(world: &World) {
    let file = world.file("schema.json", schema().to_string());
    world.create(&[]);
    for verb in ["resume-json", "resume-stream"] {
        let arguments = ["--session-name", SESSION, "--prompt", "p", "--schema", &file, "--print-result"];
        let outcome = world.call(verb, &[&arguments[..], &["--error-format", "json"]].concat()).run().exit(7);
        assert_eq!(outcome.error()["kind"], "answer_invalid", "{outcome}");
        assert!(outcome.stdout.starts_with("REPLY"), "the answer is printed\n{outcome}");
    }
}

fn schema_holds_for_one_turn(world: &World) {
    let file = world.file("schema.json", schema().to_string());
    world.api.answer_structured(&json!({"verdict": "pass", "score": 7}));
    world.create(&["--init-prompt", "p", "--schema", &file]);
    assert!(world.api.last_request().schema().is_some());
    world.resume("p", &[]).run().success();
    assert!(world.api.last_request().schema().is_none());
}

fn claude_refuses_a_keyword_that_it_does_not_know(world: &World) {
    world.create(&[]);
    let requests = world.api.requests().len();
    let file = world.file("schema.json", r#"{"type": "object", "prefixItems": [{}]}"#);
    let outcome = world.resume("p", &["--schema", &file, "--error-format", "json"]).run().exit(1);
    let error = outcome.error();
    let got = (&error["cause"], &error["turn_started"], &error["prompt_in_history"]);
    assert_eq!(got, (&"refused_arguments".into(), &false.into(), &false.into()), "{outcome}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("draft-07")), "{outcome}");
    assert_eq!(world.api.requests().len(), requests, "the model was not called");
}

fn api_refuses_a_schema_that_is_not_strict(world: &World) {
    world.create(&[]);
    let message = "Invalid schema for response_format 'codex_output_schema': 'additionalProperties' is required.";
    let body = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": "text.format.schema", "code": "invalid_json_schema",
    }});
    world.api.refuse_as(&Refusal { status: 400, headers: &[], body });
    let file = world.file("schema.json", r#"{"type": "object"}"#);
    let outcome = world.resume("p", &["--schema", &file, "--error-format", "json"]).run().exit(1);
    let error = outcome.error();
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("strict")), "{outcome}");
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
}

//! `--schema`: answers that a program can read (contract section 5).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "properties": {"verdict": {"enum": ["pass", "fail"]}, "notes": {"type": "array", "items": {"type": "string"}}},
  "required": ["verdict"],
  "additionalProperties": false
}"#;

/// What the agents receive of it: on one line, for claude without the dialect.
const SENT: &str = r#"{"type":"object","properties":{"verdict":{"enum":["pass","fail"]},"notes":{"type":"array","items":{"type":"string"}}},"required":["verdict"],"additionalProperties":false}"#;

/// Returns definitions, each of which refers to the next.
fn chained(count: usize, definition: impl Fn(usize) -> Value) -> Value {
    let all = (0..count).map(|n| (format!("d{n}"), definition(n + 1)));
    let all: serde_json::Map<_, _> = all.chain([(format!("d{count}"), json!({}))]).collect();
    json!({"$ref": "#/$defs/d0", "$defs": all})
}

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.write(sandbox.workspace().join("schema.json"), SCHEMA);
    sandbox
}

/// Returns a turn that ends with this structured answer.
fn answers(backend: Backend, id: &str, answer: &str) -> Turn {
    let turn = backend.answers(id, answer);
    if backend == Backend::Codex {
        return turn;
    }
    let add = |text: String| {
        text.replace("\"type\":\"result\"", &format!("\"structured_output\":{answer},\"type\":\"result\""))
    };
    Turn { stdout: add(turn.stdout), stream: turn.stream.map(add), ..turn }
}

fn resume(backend: Backend) -> Vec<&'static str> {
    vec!["--backend", backend.name(), "resume-json", "--session-name", "a", "--prompt", "p", "--schema", "schema.json"]
}

fn printing(backend: Backend) -> Vec<&'static str> {
    [&resume(backend)[..], &["--print-result"]].concat()
}

#[test]
fn answer_that_matches_is_printed_on_one_line() {
    const ANSWER: &str = "{ \"verdict\" : \"pass\",\n \"notes\": [ \"a  b\", \"\\\" { \\u00e9\" ] }";
    const LINE: &str = "{\"verdict\":\"pass\",\"notes\":[\"a  b\",\"\\\" { \\u00e9\"]}\n";
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.agent(answers(backend, "@ID@", &ANSWER.replace('\n', " ")));
        let backend_name = ["--backend", backend.name()];
        let call = |rest: &[&'static str]| [&backend_name[..], rest, &["--schema", "schema.json"]].concat();
        sandbox.succeeds(&printing(backend)).stdout(LINE);
        sandbox.succeeds(&call(&["ask", "a", "p"])).stdout(LINE);
        let stream = ["resume-stream", "--session-name", "a", "--prompt", "p", "--print-result"];
        sandbox.succeeds(&call(&stream)).stdout(LINE);
        let create = ["create-session", "--session-name", "new", "--init-prompt", "p", "--print-result"];
        sandbox.succeeds(&call(&create)).stdout(LINE);
        let fork = ["fork-session", "--session-name", "a", "--to", "b", "--prompt", "p", "--print-result"];
        sandbox.agent(answers(backend, "forked", &ANSWER.replace('\n', " ")));
        sandbox.succeeds(&call(&fork)).stdout(LINE);
        // without --print-result, the output is as always
        sandbox.agent(answers(backend, "i", &ANSWER.replace('\n', " ")));
        let with = sandbox.succeeds(&resume(backend)).stdout_text();
        sandbox
            .succeeds(&[&backend_name[..], &["resume-json", "--session-name", "a", "--prompt", "p"]].concat())
            .stdout(with);
        let create = ["create-session", "--session-name", "other", "--init-prompt", "p"];
        sandbox.succeeds(&call(&create)).stdout("i\n");
    }
}

#[test]
fn schema_is_passed_on_each_turn_and_not_remembered() {
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(answers(Backend::Claude, "i", r#"{"verdict": "pass"}"#));
    sandbox.succeeds(&resume(Backend::Claude));
    assert_eq!(sandbox.last_call().value_of("--json-schema"), Some(SENT));
    sandbox.succeeds(&["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"]);
    assert!(!sandbox.last_call().has("--json-schema"));

    let sandbox = with_session(Backend::Codex);
    sandbox.agent(answers(Backend::Codex, "i", r#"{"verdict": "pass"}"#));
    sandbox.succeeds(&resume(Backend::Codex));
    let call = sandbox.last_call();
    let file = call.value_of("--output-schema").expect("codex gets a file");
    assert!(std::path::Path::new(file).is_absolute() && !std::path::Path::new(file).exists(), "{file}");
    sandbox.succeeds(&["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"]);
    assert!(!sandbox.last_call().has("--output-schema"));
}

#[test]
fn answer_that_does_not_match_is_printed_and_fails() {
    for backend in Backend::BOTH {
        for (answer, place) in [
            (r#"{"verdict": "maybe"}"#, "/verdict: \"maybe\" is not one of \"pass\", \"fail\""),
            (r#"{"verdict": "pass", "notes": ["x", 1]}"#, "/notes/1: 1 is not of the type string"),
            ("{}", "the key \"verdict\" is missing"),
            (r#"{"verdict": "pass", "more": 1}"#, "the key \"more\" is not allowed"),
            (r#"{"verdict": "pass", "verdict": "fail"}"#, "the key \"verdict\" is repeated at line 1"),
        ] {
            let sandbox = with_session(backend);
            sandbox.agent(answers(backend, "i", answer));
            let failure =
                sandbox.fails(&printing(backend), 7, "answer_invalid").message(contains(place)).after_the_turn();
            assert_eq!(failure.prompt_in_history, Some(true), "{answer}");
            assert_eq!(failure.session_id.as_deref(), Some("i"));
            assert_eq!((failure.agent_exit_code, failure.cause), (Some(0), None));
            let compact = answer.replace(": ", ":").replace(", ", ",");
            sandbox
                .run(&printing(backend))
                .code(7)
                .stdout(format!("{compact}\n"))
                .stderr(contains("\ncaused by: ").and(contains(place)));
        }
    }
}

#[test]
fn answer_without_json_is_printed_as_it_is() {
    let sandbox = with_session(Backend::Codex);
    for answer in ["I cannot do that", "```json\n{\"verdict\": \"pass\"}\n```", "{\"verdict\": \"pass\"} done"] {
        sandbox.agent(Backend::Codex.answers("i", answer));
        sandbox.fails(&printing(Backend::Codex), 7, "answer_invalid").message(contains("is not JSON"));
        sandbox.run(&printing(Backend::Codex)).code(7).stdout(format!("{answer}\n"));
    }
    let sandbox = with_session(Backend::Claude);
    for answer in ["I cannot do that", "{\"verdict\": \"pass\"}"] {
        sandbox.agent(Backend::Claude.answers("i", answer));
        sandbox.fails(&printing(Backend::Claude), 7, "answer_invalid").message(contains("no structured answer"));
        sandbox.run(&printing(Backend::Claude)).code(7).stdout(format!("{answer}\n"));
    }
}

/// claude reports the mistakes to the model, and stops after several tries.
#[test]
fn claude_that_stops_trying_has_no_answer() {
    let result = json!({
        "type": "result", "subtype": "error_max_structured_output_retries", "is_error": true, "session_id": "@ID@",
        "errors": ["Failed to provide valid structured output after 5 attempts"],
    });
    let turn = Turn { stream: Some(format!("{result}\n")), ..Turn::default() };
    for exit in [1, 0] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(turn.clone().stdout(&format!("{result}\n")).exit(exit));
        let failure =
            sandbox.fails(&printing(Backend::Claude), 7, "answer_invalid").message(contains("after 5 attempts"));
        assert_eq!((failure.turn_started, failure.prompt_in_history), (Some(true), Some(true)));
        assert_eq!((failure.agent_exit_code, failure.session_id.as_deref()), (Some(exit), Some("i")));
        sandbox.run(&printing(Backend::Claude)).code(7).stdout("");
        // the session exists
        let create = ["create-session", "--session-name", "b", "--init-prompt", "p", "--schema", "schema.json"];
        sandbox.run(&[&["--backend", "claude"], &create[..]].concat()).code(7).stdout("id-new-2\n");
        sandbox.succeeds(&["resolve", "--session-name", "b", "--print-session-id"]).stdout("id-new-2\n");
        // without --schema it is a failed turn
        sandbox.fails(&["resume-json", "--session-name", "a", "--prompt", "p"], 1, "agent_failed");
    }
}

#[test]
fn mapping_is_updated_after_an_answer_that_does_not_match() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.agent(answers(backend, "@ID@", "{}"));
        let call = [&resume(backend)[..], &["--model", "m"]].concat();
        sandbox
            .fails(&call, 7, "answer_invalid")
            .hint(contains("--session-name a").and(contains("--schema schema.json")));
        assert!(sandbox.mapping(backend).contains("\"last_model\": \"m\""));
        for (name, verb) in [("b", "resume-json"), ("c", "create-session"), ("d", "fork-session")] {
            sandbox.agent(answers(backend, &format!("new-{name}"), "{}"));
            let schema = ["--schema", "schema.json"];
            let options = match verb {
                "resume-json" => vec!["--session-name", name, "--if-missing", "create", "--prompt", "p"],
                "create-session" => vec!["--session-name", name, "--init-prompt", "p"],
                _ => vec!["--session-name", "a", "--to", name, "--prompt", "p"],
            };
            let failure = sandbox.fails(
                &[&["--backend", backend.name(), verb], &options[..], &schema].concat(),
                7,
                "answer_invalid",
            );
            assert_eq!(failure.session_id, Some(format!("new-{name}")));
            assert!(sandbox.mapping(backend).contains(&format!("new-{name}")), "{verb}");
        }
    }
}

#[test]
fn answer_that_does_not_match_is_written_beside_the_output_file() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(answers(Backend::Codex, "i", "{}"));
    sandbox.fails(&[&printing(Backend::Codex)[..], &["--output-file", "out"]].concat(), 7, "answer_invalid");
    assert!(!sandbox.workspace().join("out").exists());
    assert_eq!(std::fs::read_to_string(sandbox.workspace().join("out.partial")).unwrap(), "{}\n");
    let same = [&printing(Backend::Codex)[..], &["--output-file", "schema.json"]].concat();
    sandbox.fails(&same, 2, "usage").message(contains("is the file of --schema"));
}

#[test]
fn schema_that_cannot_be_used_is_a_usage_error() {
    let deep = format!("{}true{}", "{\"not\":".repeat(200), "}".repeat(200));
    let chain = chained(200, |next| json!({"$ref": format!("#/$defs/d{next}")})).to_string();
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        for (schema, place) in [
            ("", "EOF while parsing a value at line 1"),
            ("{\"type\": \"object\"", "at line 1 column 17"),
            ("{\"type\": \"object\",\n \"type\": \"object\"}", "the key \"type\" is repeated at line 2"),
            ("[]", "an array is not a schema"),
            ("3", "3 is not a schema"),
            ("{\"type\": \"objec\"}", "/type: \"objec\" is not a type"),
            ("{\"properties\": {\"a/b\": {\"type\": []}}}", "/properties/a~1b/type: an array is not a list of types"),
            (
                "{\"properties\": {\"a\": {\"required\": [1]}}}",
                "/properties/a/required: an array is not a list of names",
            ),
            ("{\"properties\": []}", "/properties: an array is not an object"),
            ("{\"anyOf\": [{}, 1]}", "/anyOf/1: 1 is not a schema"),
            ("{\"minProperties\": -1}", "/minProperties: -1 is not a whole number of at least 0"),
            ("{\"properties\": {\"a\": {\"pattern\": \"(\"}}}", "/properties/a/pattern: cannot use the pattern \"(\""),
            ("{\"patternProperties\": {\"(?=a)\": {}}}", "/patternProperties: cannot use the pattern \"(?=a)\""),
            ("{\"properties\": {\"a\": {\"pattern\": \"(a{1000}){1000}\"}}}", "/properties/a/pattern: cannot use"),
            (
                "{\"properties\": {\"a\": {\"$ref\": \"#/$defs/b\"}}}",
                "/properties/a/$ref: \"#/$defs/b\" refers to nothing",
            ),
            (
                "{\"$ref\": \"http://127.0.0.1:9/s.json\"}",
                "/$ref: \"http://127.0.0.1:9/s.json\" is in another document",
            ),
            ("{\"$ref\": \"other.json\"}", "/$ref: \"other.json\" is in another document"),
            ("{\"$ref\": \"#\"}", "without an end"),
            (
                "{\"anyOf\": [{\"$ref\": \"#/$defs/a\"}], \"$defs\": {\"a\": {\"not\": {\"$ref\": \"#\"}}}}",
                "without an end",
            ),
            (&chain, "more than 64 schemas"),
            (&deep, "recursion limit exceeded"),
            ("{\"maximum\": 1e999}", "number out of range"),
            ("{\"unevaluatedProperties\": false}", "/unevaluatedProperties: unevaluatedProperties is not supported"),
            ("{\"type\": \"array\"}", "only an object can be delivered"),
            (
                "{\"$ref\": \"#/$defs/a\", \"$defs\": {\"a\": {\"type\": \"string\"}}}",
                "only an object can be delivered",
            ),
            ("{\"enum\": [\"a\", \"b\"]}", "only an object can be delivered"),
            ("true", "only an object can be delivered"),
        ] {
            sandbox.write(sandbox.workspace().join("schema.json"), schema);
            let failure = sandbox.fails(&resume(backend), 2, "usage").message(contains(place)).before_the_turn();
            assert!(failure.message.contains("--schema schema.json"), "{}", failure.message);
        }
        sandbox.write(sandbox.workspace().join("schema.json"), "{\"type\": \"array\"}");
        sandbox.fails(&resume(backend), 2, "usage").hint(contains("\"properties\""));
        for missing in ["none.json", "."] {
            let mut call = resume(backend);
            *call.last_mut().unwrap() = missing;
            sandbox.fails(&call, 2, "usage").message(contains(format!("cannot read --schema {missing}")));
        }
        assert!(sandbox.calls().is_empty(), "nothing was sent");
    }
}

#[test]
fn schema_needs_a_turn_whose_answer_is_whole() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let call =
            |options: &[&'static str]| [&["--backend", backend.name()], options, &["--schema", "schema.json"]].concat();
        let create = ["create-session", "--session-name", "b"];
        sandbox.fails(&call(&create), 2, "usage").message(contains("--schema needs --init-prompt"));
        sandbox.fails(&call(&[&create[..], &["--adopt", "x"]].concat()), 2, "usage");
        let reuse = [&create[..], &["--init-prompt", "p", "--if-exists", "reuse"]].concat();
        sandbox.fails(&call(&reuse), 2, "usage");
        let stream = ["resume-stream", "--session-name", "a", "--prompt", "p"];
        sandbox.fails(&call(&stream), 2, "usage").hint(contains("--print-result"));
        assert!(sandbox.calls().is_empty());
        let option = if backend == Backend::Claude { "--json-schema" } else { "--output-schema=x" };
        let twice = [&resume(backend)[..], &["--", option, "{}"]].concat();
        sandbox.fails(&twice, 2, "usage").message(contains("--schema"));
    }
}

#[test]
fn schema_that_is_too_long_for_an_argument_is_refused() {
    let long = json!({"type": "object", "description": "x".repeat(200_000)}).to_string();
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.write(sandbox.workspace().join("schema.json"), &long);
        sandbox.agent(answers(backend, "i", "{}"));
        match backend {
            Backend::Claude => {
                sandbox
                    .fails(&resume(backend), 2, "usage")
                    .message(contains("is too long for claude"))
                    .before_the_turn();
                assert!(sandbox.calls().is_empty());
            }
            Backend::Codex => drop(sandbox.succeeds(&printing(backend)).stdout("{}\n")),
        }
    }
}

/// The answer is the agent's, and the schema may be anybody's.
#[test]
fn check_of_a_hostile_answer_is_bounded() {
    const LIMIT: Duration = Duration::from_secs(60); // exponential time is far above it
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let nested = format!("{}{}", "{\"a\":".repeat(100) + "1", "}".repeat(100));
    let next = |next| json!({"$ref": format!("#/$defs/d{next}")});
    let doubling = chained(30, |n| json!({"allOf": [next(n), next(n)]})).to_string();
    let text = format!("{{\"s\":\"{}!\"}}", "a".repeat(50_000));
    for (schema, answer, reason) in [
        ("{}", deep.as_str(), Some("recursion limit exceeded")),
        (r##"{"properties":{"a":{"$ref":"#"}},"type":"object"}"##, &nested, Some("is not of the type object")),
        (
            r##"{"properties":{"a":{"allOf":[{"allOf":[{"allOf":[{"$ref":"#"}]}]}]}}}"##,
            &nested,
            Some("nested too deeply"),
        ),
        (&doubling, "{}", Some("too many steps")),
        (r#"{"properties":{"s":{"pattern":"^(a+)+$"}}}"#, &text, Some("/s: ")),
        (r#"{"properties":{"n":{"type":"integer","minimum":0}}}"#, r#"{"n":123456789012345678901234567890}"#, None),
        (r#"{"properties":{"n":{"type":"integer"}}}"#, r#"{"n":1e400}"#, Some("number out of range")),
        (r#"{"properties":{"n":{"type":"integer"}}}"#, r#"{"n":-1.50}"#, Some("/n: -1.5 is not of the type integer")),
    ] {
        let sandbox = with_session(Backend::Codex);
        sandbox.write(sandbox.workspace().join("schema.json"), schema);
        sandbox.agent(answers(Backend::Codex, "i", answer));
        let started = Instant::now();
        let run = sandbox.run(&printing(Backend::Codex)).code(if reason.is_some() { 7 } else { 0 });
        assert!(started.elapsed() < LIMIT, "{reason:?}");
        run.stdout(format!("{answer}\n")).stderr(contains(reason.unwrap_or_default()));
    }
}

#[test]
fn refusals_of_a_schema_have_a_hint() {
    let refusal = json!({"error": {
        "message": "Invalid schema for response_format 'codex_output_schema': 'additionalProperties' is required.",
        "type": "invalid_request_error", "param": "text.format.schema", "code": "invalid_json_schema",
    }});
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.fails("i", &serde_json::to_string_pretty(&refusal).unwrap()));
    let strict = contains("additionalProperties").and(contains("required"));
    sandbox.fails(&resume(Backend::Codex), 1, "agent_failed").hint(strict);
    let without = sandbox.fails(
        &["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"],
        1,
        "agent_failed",
    );
    assert_eq!(without.hint, None);

    let sandbox = with_session(Backend::Claude);
    let stderr = "Error: --json-schema is not a valid JSON Schema: strict mode: unknown keyword: \"x\"\n";
    sandbox.agent(Turn::default().stderr(stderr).exit(1));
    let failure =
        sandbox.fails(&resume(Backend::Claude), 1, "agent_failed").before_the_turn().hint(contains("draft-07"));
    assert_eq!(failure.cause.as_deref(), Some("refused_arguments"));
}

#[test]
fn echo_agent_answers_with_a_match() {
    for backend in Backend::BOTH {
        let mut sandbox = with_session(backend);
        sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
        let command = format!("'{}' echo-agent {}", env!("CARGO_BIN_EXE_invoke-persist"), backend.name());
        let variable = format!("{}_CMD", backend.name().to_uppercase());
        sandbox.env(&variable, &command);
        let ask = ["--backend", backend.name(), "ask", "new", "Hi", "--create", "--schema", "schema.json"];
        sandbox.run(&ask).success().stdout("{\"verdict\":\"pass\"}\n");
        sandbox.write(
            sandbox.workspace().join("script"),
            "say Hm\nsay '{\"verdict\": \"fail\"}'\nturn 3\nsay '{}'\nturn 4\nsay no\n",
        );
        sandbox.env(&variable, format!("{command} --script script"));
        sandbox.run(&ask).success().stdout("{\"verdict\":\"fail\"}\n");
        sandbox.run(&ask).code(7).stdout("{}\n");
        sandbox.run(&ask).code(7).stdout("no\n");
        sandbox.run(&ask[..6]).success().stdout("{\"verdict\": \"fail\"}\n");
    }
}

#[test]
fn option_of_an_agent_leads_to_the_option_here() {
    let sandbox = with_session(Backend::Codex);
    let call = ["resume-json", "--session-name", "a", "--prompt", "p", "--output-schema", "schema.json"];
    sandbox.fails(&call, 2, "usage").hint(contains("--schema"));
    let call: Vec<&str> =
        call.iter().map(|word| if *word == "--output-schema" { "--json-schema" } else { word }).collect();
    sandbox.fails(&call, 2, "usage").hint(contains("--schema"));
}

#[test]
fn error_of_an_invalid_answer_has_the_agents_result() {
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(answers(Backend::Claude, "i", "{}"));
    let failure = sandbox.fails(&resume(Backend::Claude), 7, "answer_invalid");
    assert_eq!(
        failure.agent.map(|agent| agent["structured_output"].clone()),
        Some(Value::Object(serde_json::Map::new()))
    );
}

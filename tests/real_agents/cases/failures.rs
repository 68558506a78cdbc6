//! A failed turn prints the agent's reason, and changes nothing.

use serde_json::Value;

use crate::{
    agents::Agent,
    model_api::REFUSAL,
    world::{SESSION, World},
};

real_agent_tests! { every_release both:
    refusing_api_is_reported,
    refusing_api_is_reported_in_a_stream,
    refused_creation_saves_nothing,
    unknown_id_is_reported,
}
real_agent_tests! { both:
    echo_agent_fails_in_the_same_shape,
}
real_agent_tests! { codex:
    name_for_which_codex_starts_a_new_thread_is_reported,
}

/// A valid ID that does not exist.
const UNKNOWN: &str = "5f3c1b52-9d64-4c0e-8f0a-7d1e55c0a9b1";

/// Returns a part of the agent's error for a refusing API. Releases of codex before 0.101.0 report only the status.
fn reason(world: &World) -> &'static str {
    let is_older = world.agent == Agent::Codex && world.release() < (0, 101, 0);
    if is_older { "last status: 401 Unauthorized" } else { REFUSAL }
}

fn refusing_api_is_reported(world: &World) {
    let reason = reason(world);
    world.create(&["--model", "model-of-creation"]);
    let before = world.mapping();
    world.api.refuse_with(401);

    let outcome = world.resume("second", &["--model", "other"]).run().exit(1);
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert!(outcome.stderr.contains("error: ") && outcome.stderr.contains(reason), "{outcome}");

    let reported = world.resume("second", &["--error-format", "json"]).run().exit(1);
    assert_eq!(reported.stdout, "", "{reported}");
    let error = reported.error();
    assert_eq!(error["kind"], "agent_failed", "{reported}");
    assert_eq!(error["exit_code"], 1, "{reported}");
    assert_eq!(error["agent_exit_code"], 1, "{reported}");
    assert_eq!(error["turn_started"], true, "{reported}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(reason)), "{reported}");
    assert!(error["agent"].to_string().contains(reason), "the agent's own verdict\n{reported}");

    assert_eq!(world.mapping(), before, "a failed turn stores nothing");
    world.api.accept();
    world.resume("third", &[]).run().success();
}

/// The stream contains the failure too, in addition to the exit status and standard error.
fn refusing_api_is_reported_in_a_stream(world: &World) {
    let reason = reason(world);
    world.create(&[]);
    let before = world.mapping();
    world.api.refuse_with(401);

    let arguments = ["--session-name", SESSION, "--prompt", "second", "--error-format", "json"];
    let outcome = world.call("resume-stream", &arguments).run().exit(1);
    assert!(outcome.json_lines().last().is_some_and(|event| event.to_string().contains(reason)), "{outcome}");
    let error = outcome.error();
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(reason)), "{outcome}");
    assert_eq!(world.mapping(), before, "a failed turn stores nothing");
}

/// The session may exist although its creation failed. The error contains its ID, so that it can be resumed.
fn refused_creation_saves_nothing(world: &World) {
    world.api.refuse_with(401);
    let arguments = ["--session-name", SESSION, "--error-format", "json"];
    let outcome = world.call("create-session", &arguments).run().exit(1);
    assert_eq!(outcome.stdout, "", "{outcome}");
    let error = outcome.error();
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
    let names = world.call("list-sessions", &["--print-aliases"]).run().success();
    assert_eq!(names.stdout, "", "{names}");

    world.api.accept();
    let id = error["session_id"].as_str().unwrap_or_else(|| panic!("no ID, although the agent reported it\n{outcome}"));
    world.create(&["--adopt", id]);
    world.resume("second", &[]).run().success();
}

fn unknown_id_is_reported(world: &World) {
    let arguments = [world.agent.id_option(), UNKNOWN, "--prompt", "anyone?", "--error-format", "json"];
    let outcome = world.call("resume-json", &arguments).run().exit(1);
    let error = outcome.error();
    // codex 0.116.0 and older start a new thread, so the program reports two different IDs
    if world.agent == Agent::Codex && world.release() < (0, 117, 0) {
        let message = error["message"].as_str().unwrap_or_default();
        assert!(error["kind"] == "session_lost" && message.contains(UNKNOWN), "{outcome}");
        return;
    }
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
    assert_eq!(error["agent_exit_code"], 1, "{outcome}");
    assert_eq!((&error["turn_started"], &error["prompt_in_history"]), (&false.into(), &false.into()), "{outcome}");
    let words = match world.agent {
        Agent::Claude => "No conversation found with session ID",
        Agent::Codex => "no rollout found for thread id",
    };
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(words) && message.contains(UNKNOWN), "{outcome}");
    assert!(world.api.requests().is_empty(), "no model was called\n{outcome}");
}

/// codex starts a new conversation without notice, so the answer is not from the requested session.
fn name_for_which_codex_starts_a_new_thread_is_reported(world: &World) {
    world.create(&["--adopt", "no-such-thread"]);
    let before = world.mapping();
    let outcome = world.resume("still there?", &["--error-format", "json"]).run().exit(1);
    assert_eq!(world.answer(&outcome), "REPLY n=1 last=still there?", "{outcome}");
    let error = outcome.error();
    assert_eq!(error["kind"], "session_lost", "{outcome}");
    assert_eq!(error["exit_code"], 1, "{outcome}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("no-such-thread")), "{outcome}");
    assert_eq!(world.mapping(), before, "the mapping is unchanged");
}

/// A script of the echo agent prints what the agent itself prints: the same events with the same codes.
fn echo_agent_fails_in_the_same_shape(world: &World) {
    let causes: &[(u16, &str)] = match world.agent {
        Agent::Claude => &[
            (401, "authentication"),
            (404, "model_unknown"),
            (429, "rate_limited"),
            (529, "overloaded"),
            (400, "other"),
        ],
        // the codes of the other causes are in the body of the answer
        Agent::Codex => &[(401, "authentication"), (429, "rate_limited"), (400, "other")],
    };
    world.create(&[]);
    let variables = world.file("vars", format!("INVOKE_PERSIST_ECHO_DIR={}\n", world.path("echo").display()));
    for (status, cause) in causes {
        world.api.refuse_with(*status);
        let exit = if matches!(*cause, "rate_limited" | "overloaded") { 75 } else { 1 };
        let real = world.call("resume-stream", &["--session-name", SESSION, "--prompt", "p"]).run().exit(exit);
        let script = world.file("script", format!("fail {cause}\n"));
        let (program, name) = (env!("CARGO_BIN_EXE_invoke-persist"), world.agent.name());
        let command = format!("'{program}' echo-agent {name} --script '{script}'");
        let (option, session) = (format!("--{name}-cmd"), format!("echo-{cause}"));
        let arguments = ["--session-name", &session, "--prompt", "p", "--if-missing", "create"];
        let echo = [&arguments[..], &[option.as_str(), command.as_str(), "--env-file", variables.as_str()]].concat();
        let echo = world.call("resume-stream", &echo).run().exit(exit);
        assert_eq!(shape(world, &echo.json_lines()), shape(world, &real.json_lines()), "{cause}\n{echo}\n{real}");
    }
}

/// Returns the parts of the events that distinguish causes, without texts and IDs.
fn shape(world: &World, events: &[Value]) -> Vec<Value> {
    /// Members whose values are the same for every model and session.
    const CODES: [&str; 14] = [
        "type",
        "subtype",
        "is_error",
        "api_error_status",
        "api_error",
        "terminal_reason",
        "stop_reason",
        "is_api_error_message",
        "attempt",
        "max_retries",
        "error_status",
        "permission_denials",
        "num_turns",
        "error",
    ];
    let is_chatter = |event: &&Value| event["subtype"] == "status" || event["type"] == "item.completed";
    let events = events.iter().filter(|event| !is_chatter(event));
    let of = |event: &Value| {
        let members = event.as_object().expect("an event is an object").iter();
        let codes = members.filter(|(name, value)| CODES.contains(&name.as_str()) && !value.is_object());
        let mut codes: serde_json::Map<_, _> = codes.map(|(name, value)| (name.clone(), value.clone())).collect();
        if world.agent == Agent::Codex {
            let message = event["message"].as_str().or(event["error"]["message"].as_str());
            // the beginning is codex's, the rest is the API's
            let beginning = message.map(|message| message.split([':', ')']).next().unwrap_or_default());
            codes.insert("beginning".to_owned(), beginning.into());
        } else {
            codes.insert("has_type".to_owned(), event.get("api_error_type").is_some().into());
            codes.insert("model".to_owned(), event["message"]["model"].clone());
        }
        Value::Object(codes)
    };
    events.map(of).collect()
}

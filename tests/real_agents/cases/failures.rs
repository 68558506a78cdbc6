//! A failed turn prints the agent's reason, and changes nothing.

use crate::{
    agents::Agent,
    model_api::REFUSAL,
    world::{SESSION, World},
};

real_agent_tests! { both:
    refusing_api_is_reported,
    refusing_api_is_reported_in_a_stream,
    refused_creation_saves_nothing,
    unknown_id_is_reported,
}
real_agent_tests! { codex:
    name_for_which_codex_starts_a_new_thread_is_reported,
}

/// A valid ID that does not exist.
const UNKNOWN: &str = "5f3c1b52-9d64-4c0e-8f0a-7d1e55c0a9b1";

fn refusing_api_is_reported(world: &World) {
    world.create(&["--model", "model-of-creation"]);
    let before = world.mapping();
    world.api.refuse_with(401);

    let outcome = world.resume("second", &["--model", "other"]).run().exit(1);
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert!(outcome.stderr.contains("error: ") && outcome.stderr.contains(REFUSAL), "{outcome}");

    let reported = world.resume("second", &["--error-format", "json"]).run().exit(1);
    assert_eq!(reported.stdout, "", "{reported}");
    let error = reported.error();
    assert_eq!(error["kind"], "agent_failed", "{reported}");
    assert_eq!(error["exit_code"], 1, "{reported}");
    assert_eq!(error["agent_exit_code"], 1, "{reported}");
    assert_eq!(error["turn_started"], true, "{reported}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(REFUSAL)), "{reported}");
    assert!(error["agent"].to_string().contains(REFUSAL), "the agent's own verdict\n{reported}");

    assert_eq!(world.mapping(), before, "a failed turn stores nothing");
    world.api.accept();
    world.resume("third", &[]).run().success();
}

/// The stream contains the failure too, in addition to the exit status and standard error.
fn refusing_api_is_reported_in_a_stream(world: &World) {
    world.create(&[]);
    let before = world.mapping();
    world.api.refuse_with(401);

    let arguments = ["--session-name", SESSION, "--prompt", "second", "--error-format", "json"];
    let outcome = world.call("resume-stream", &arguments).run().exit(1);
    assert!(outcome.json_lines().last().is_some_and(|event| event.to_string().contains(REFUSAL)), "{outcome}");
    let error = outcome.error();
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(REFUSAL)), "{outcome}");
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
    assert_eq!(outcome.stdout, "", "{outcome}");
    let error = outcome.error();
    assert_eq!(error["kind"], "agent_failed", "{outcome}");
    assert_eq!(error["agent_exit_code"], 1, "{outcome}");
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

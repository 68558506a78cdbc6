//! The causes of failed turns. The model fails in the ways that the vendors have published.

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    model_api::Refusal,
    world::{SESSION, World},
};

real_agent_tests! { claude: claude_without_a_key_is_not_logged_in }
real_agent_tests! { codex:
    codex_without_a_network_is_stopped,
    code_of_a_first_turn_decides_before_its_sentence,
}
real_agent_tests! { every_release both:
    failures_of_the_model_have_causes,
    refused_arguments_start_no_turn,
    unreachable_model_is_a_network_failure,
    retry_shows_the_prompt_to_the_model_once,
}

/// A status of the model, its headers, its body, and the expected cause, `retryable`, and whether `retry_at` is set.
type Row = (u16, &'static [(&'static str, &'static str)], Value, &'static str, bool, bool);

/// Checks the error of a turn that the model refused, for a single answer and a stream.
#[track_caller]
fn check(world: &World, rows: impl IntoIterator<Item = Row>) {
    world.create(&[]);
    for (status, headers, body, cause, retryable, has_time) in rows {
        world.api.refuse_as(&Refusal { status, headers, body });
        for verb in ["resume-json", "resume-stream"] {
            let arguments = ["--session-name", SESSION, "--prompt", "p", "--error-format", "json"];
            let outcome = world.call(verb, &arguments).run().exit(if retryable { 75 } else { 1 });
            let error = outcome.error();
            let got = (&error["cause"], &error["retryable"], &error["prompt_in_history"]);
            assert_eq!(got, (&cause.into(), &retryable.into(), &true.into()), "{status}: {outcome}");
            assert_eq!(error["retry_at"].is_string(), has_time, "{status}: {outcome}");
            assert_eq!((&error["turn_started"], &error["kind"]), (&true.into(), &"agent_failed".into()), "{outcome}");
        }
    }
    // every prompt of a failed turn is in the history
    world.api.accept();
    world.resume("the end", &[]).run().success();
}

fn failures_of_the_model_have_causes(world: &World) {
    match world.agent {
        Agent::Claude => failures_of_claudes_model(world),
        Agent::Codex => failures_of_codexs_model(world),
    }
}

fn failures_of_claudes_model(world: &World) {
    let error = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    check(
        world,
        [
            (401, &[][..], error("authentication_error", "invalid x-api-key"), "authentication", false, false),
            (403, &[], error("permission_error", "not allowed"), "authentication", false, false),
            (404, &[], error("not_found_error", "model: m"), "model_unknown", false, false),
            (402, &[], error("billing_error", "no credit"), "usage_limit", false, false),
            (
                400,
                &[],
                error("invalid_request_error", "Your credit balance is too low to access the API."),
                "usage_limit",
                false,
                false,
            ),
            (400, &[], error("invalid_request_error", "port 429: bad field"), "other", false, false),
            (429, &[], error("rate_limit_error", "too many requests"), "rate_limited", true, false),
            (500, &[], error("api_error", "internal"), "overloaded", true, false),
            (529, &[], error("overloaded_error", "overloaded"), "overloaded", true, false),
        ],
    );
}

fn failures_of_codexs_model(world: &World) {
    let error = |code: &str, message: &str| json!({"error": {"type": code, "code": code, "message": message}});
    let in_stream = |code: &str, message: &str| json!({"type": "response.failed", "response": {"id": "r", "error": {"code": code, "message": message}}});
    // not every release reports these codes
    let reports_quota = !((0, 101, 0)..(0, 169, 0)).contains(&world.release());
    let quota = if reports_quota { "usage_limit" } else { "rate_limited" };
    let reports_limit = world.release() >= (0, 169, 0);
    let limit = if reports_limit { "rate_limited" } else { "network" };
    let overload = if world.release() >= (0, 101, 0) { "overloaded" } else { "network" };
    check(
        world,
        [
            (401, &[][..], error("invalid_api_key", "no"), "authentication", false, false),
            (403, &[], error("forbidden", "no"), "authentication", false, false),
            (
                404,
                &[],
                error("model_not_found", "The model `m` does not exist or you do not have access to it."),
                "model_unknown",
                false,
                false,
            ),
            (400, &[], error("bad_request", "port 429: bad field"), "other", false, false),
            // only codex's record of the thread has the code; the sentence is the vendor's
            (400, &[], error("cyber_policy", "no"), "safety", false, false),
            (
                400,
                &[],
                error("cyber_policy", "Quota exceeded. Check your plan and billing details."),
                "safety",
                false,
                false,
            ),
            (429, &[], error("rate_limited", "slow down"), "rate_limited", true, false),
            (429, &[], error("insufficient_quota", "no quota"), quota, !reports_quota, false),
            (503, &[], error("unavailable", "no"), "overloaded", true, false),
            (500, &[], error("internal", "no"), "overloaded", true, false),
            (200, &[], in_stream("rate_limit_exceeded", "Please try again in 0.1s."), limit, true, reports_limit),
            (200, &[], in_stream("server_is_overloaded", "busy"), overload, true, false),
            (200, &[], in_stream("context_length_exceeded", "too long"), "context_full", false, false),
        ],
    );
}

fn code_of_a_first_turn_decides_before_its_sentence(world: &World) {
    let body =
        json!({"error": {"code": "cyber_policy", "message": "Quota exceeded. Check your plan and billing details."}});
    world.api.refuse_as(&Refusal { status: 400, headers: &[], body });
    for verb in ["create-session", "resume-stream"] {
        let prompt: &[&str] = if verb == "resume-stream" { &["--prompt", "p", "--if-missing", "create"] } else { &[] };
        let arguments = [&["--session-name", SESSION, "--error-format", "json"], prompt].concat();
        let outcome = world.call(verb, &arguments).run().exit(1);
        let error = outcome.error();
        assert_eq!((&error["cause"], &error["prompt_in_history"]), (&"safety".into(), &true.into()), "{outcome}");
    }
}

fn claude_without_a_key_is_not_logged_in(world: &World) {
    world.create(&[]);
    let requests = world.api.requests().len();
    let arguments = ["--session-name", SESSION, "--prompt", "p", "--error-format", "json"];
    let call = world.call("resume-json", &arguments).env_remove("ANTHROPIC_API_KEY");
    let outcome = call.run().exit(1);
    let error = outcome.error();
    assert_eq!((&error["cause"], &error["turn_started"]), (&"authentication".into(), &false.into()), "{outcome}");
    assert_eq!(world.api.requests().len(), requests, "the model was not called\n{outcome}");
}

fn refused_arguments_start_no_turn(world: &World) {
    world.create(&[]);
    let requests = world.api.requests().len();
    for verb in ["resume-json", "resume-stream"] {
        let arguments =
            ["--session-name", SESSION, "--prompt", "p", "--error-format", "json", "--", "--no-such-option"];
        let outcome = world.call(verb, &arguments).run().exit(1);
        let error = outcome.error();
        let got = (&error["cause"], &error["turn_started"], &error["prompt_in_history"]);
        assert_eq!(got, (&"refused_arguments".into(), &false.into(), &false.into()), "{outcome}");
    }
    assert_eq!(world.api.requests().len(), requests, "the model was not called");
}

fn unreachable_model_is_a_network_failure(world: &World) {
    world.create(&[]);
    world.api.hang_up();
    for verb in ["resume-json", "resume-stream"] {
        let arguments = ["--session-name", SESSION, "--prompt", "p", "--error-format", "json"];
        let outcome = world.call(verb, &arguments).run().exit(75);
        let error = outcome.error();
        assert_eq!((&error["cause"], &error["retryable"]), (&"network".into(), &true.into()), "{outcome}");
    }
}

fn retry_shows_the_prompt_to_the_model_once(world: &World) {
    const PROMPT: &str = "count the apples";
    world.create(&[]);
    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "too many requests"}});
    world.api.refuse_as(&Refusal { status: 429, headers: &[], body });
    let call = world.resume(PROMPT, &["--retry", "9"]).start();
    call.wait_for_stderr("(retry 2 of 9)");
    world.api.accept();
    let outcome = call.wait().success();
    let request = world.api.last_request().body.to_string();
    assert_eq!(request.matches(PROMPT).count(), 1, "{outcome}\n{request}");
    assert!(world.answer(&outcome).contains("Answer it now."), "{outcome}");
    let next = world.resume("next", &[]).run().success();
    assert_eq!(world.api.last_request().body.to_string().matches(PROMPT).count(), 1, "{next}");
}

/// codex 0.169.0 reconnects without an end, and prints a line each time.
fn codex_without_a_network_is_stopped(world: &World) {
    world.create(&[]);
    let nowhere = "model_providers.loopback.base_url=\"http://127.0.0.1:9/v1\"";
    let arguments = ["--session-name", SESSION, "--prompt", "p", "--error-format", "json", "--config", nowhere];
    let outcome = world.call("resume-stream", &[&arguments[..], &["--stall-seconds", "8"]].concat()).run().exit(124);
    let error = outcome.error();
    assert_eq!((&error["kind"], &error["cause"]), (&"stalled".into(), &"network".into()), "{outcome}");
    assert_eq!((&error["retryable"], &error["prompt_in_history"]), (&true.into(), &true.into()), "{outcome}");
    assert!(outcome.stdout.matches("Reconnecting...").count() > 1, "{outcome}");
}

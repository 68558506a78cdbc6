//! Why a turn failed, as a program reads it: `cause`, `retryable`, `retry_at`, `prompt_in_history` and status 75.
//!
//! The unit tests of each agent have the complete tables. These tests show that they reach the caller.

#[cfg(unix)]
use std::time::Duration;

use serde_json::json;

use crate::support::*;

const VERBS: [&str; 2] = ["resume-json", "resume-stream"];

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox
}

fn resume(verb: &str) -> [&str; 5] {
    [verb, "--session-name", "a", "--prompt", "p"]
}

/// Returns claude's turn for a response of its API with this status.
fn claude_fails(status: Option<u16>, kind: &str, error: &str, text: &str) -> Turn {
    let result = json!({
        "type": "result", "subtype": "success", "is_error": true, "session_id": "i", "result": text,
        "api_error_status": status, "api_error_type": kind, "api_error": error, "terminal_reason": "api_error",
    });
    Turn { exit: 1, ..Turn::default().stdout(&format!("{result}\n")) }
}

#[test]
fn temporary_failure_exits_with_75() {
    let overloaded = "Selected model is at capacity. Please try a different model.";
    for (backend, turn, cause) in [
        (Backend::Claude, claude_fails(Some(429), "rate_limit_error", "", "API Error: 429"), "rate_limited"),
        (Backend::Claude, claude_fails(Some(529), "overloaded_error", "", "API Error: 529"), "overloaded"),
        (Backend::Claude, claude_fails(None, "", "connection_failed", "API Error: refused"), "network"),
        (Backend::Codex, Backend::Codex.fails("i", overloaded), "overloaded"),
        (Backend::Codex, Backend::Codex.fails("i", "Connection failed: error sending request"), "network"),
    ] {
        for verb in VERBS {
            let sandbox = with_session(backend);
            sandbox.agent(turn.clone());
            let failure = sandbox.fails(&resume(verb), 75, "agent_failed").after_the_turn();
            assert_eq!((failure.cause.as_deref(), failure.retryable), (Some(cause), true));
            assert_eq!((failure.retry_at, failure.prompt_in_history), (None, Some(true)));
            assert_eq!(failure.agent_exit_code, Some(1));
            assert!(failure.hint.is_some_and(|hint| hint.contains("try again")), "{cause}");
        }
    }
}

#[test]
fn permanent_failure_exits_with_1() {
    for (backend, turn, cause, hint) in [
        (Backend::Claude, claude_fails(Some(401), "authentication_error", "", "no"), "authentication", "claude /login"),
        (Backend::Claude, claude_fails(Some(404), "not_found_error", "", "no"), "model_unknown", "--model"),
        (Backend::Codex, Backend::Codex.fails("i", "Quota exceeded. Check your plan."), "usage_limit", "credit"),
        (
            Backend::Codex,
            Backend::Codex.fails("i", "unexpected status 401 Unauthorized: no"),
            "authentication",
            "codex login",
        ),
    ] {
        for verb in VERBS {
            let sandbox = with_session(backend);
            sandbox.agent(turn.clone());
            let failure = sandbox.fails(&resume(verb), 1, "agent_failed").after_the_turn().hint(contains(hint));
            assert_eq!((failure.cause.as_deref(), failure.retryable), (Some(cause), false));
        }
    }
}

/// A thread of 2026-11-21 at 19:43 UTC: codex's IDs begin with their time.
const THREAD: &str = "01a1ffa2-2adf-78c2-9502-ed55ca6a452f";

/// A time after every run of these tests.
const LATER: &str = "2099-01-01T00:00:00.000Z";

/// Returns the line with which codex records the end of a failed turn.
fn recorded(time: &str, code: &serde_json::Value) -> String {
    let error = json!({"message": "as in the events", "codex_error_info": code});
    let payload = json!({"type": "task_complete", "turn_id": "t", "last_agent_message": null, "error": error});
    format!("{}\n", json!({"timestamp": time, "ordinal": 10, "type": "event_msg", "payload": payload}))
}

fn codex_records(sandbox: &Sandbox, home: &str, day: &str, text: &str) {
    let file = format!("{home}/sessions/2026/11/{day}/rollout-2026-11-{day}T19-43-00-{THREAD}.jsonl");
    sandbox.write(sandbox.root().join(file), text);
}

/// codex's events have only a sentence. The code is in its own record of the thread.
#[test]
fn code_that_codex_records_decides_before_its_sentence() {
    let plain_429 = "exceeded retry limit, last status: 429 Too Many Requests";
    let quota = json!("usage_limit_exceeded");
    let chatter = json!({"timestamp": LATER, "type": "response_item", "payload": {"text": "\"task_complete\""}});
    for (record, sentence, cause) in [
        (recorded(LATER, &quota), plain_429, "usage_limit"),
        (recorded(LATER, &quota) + &format!("{chatter}\n{{\"cut"), plain_429, "usage_limit"),
        ("x".repeat(3 << 20) + "\n" + &recorded(LATER, &quota), plain_429, "usage_limit"),
        (recorded(LATER, &json!({"http_connection_failed": {"http_status_code": 401}})), "new", "authentication"),
        (recorded(LATER, &json!("cyber_policy")), "no", "safety"),
        // nothing that is known
        (recorded(LATER, &json!("other")), plain_429, "rate_limited"),
        (recorded(LATER, &json!(["usage_limit_exceeded"])), plain_429, "rate_limited"),
        (recorded(LATER, &quota) + &recorded(LATER, &json!(null)), plain_429, "rate_limited"),
        (String::new(), plain_429, "rate_limited"),
        // of an earlier turn
        (recorded("2026-11-21T19:43:00.000Z", &quota), plain_429, "rate_limited"),
    ] {
        for verb in VERBS {
            let sandbox = Sandbox::new();
            sandbox.save(Backend::Codex, "a", THREAD);
            sandbox.agent(Backend::Codex.fails("@ID@", sentence));
            codex_records(&sandbox, "home/.codex", "21", &record);
            let exit = if cause == "rate_limited" { 75 } else { 1 };
            let failure = sandbox.fails(&resume(verb), exit, "agent_failed");
            assert_eq!(failure.cause.as_deref(), Some(cause), "{record:.200}");
        }
    }
}

#[test]
fn record_of_codex_is_found_in_its_home_on_the_days_of_the_thread() {
    let record = recorded(LATER, &json!("usage_limit_exceeded"));
    for (day, found) in [("20", true), ("21", true), ("22", true), ("19", false), ("23", false)] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Codex, "a", THREAD);
        sandbox.agent(Backend::Codex.fails("@ID@", "rate limit exceeded: x"));
        codex_records(&sandbox, "other", day, &record);
        sandbox.write("vars", format!("CODEX_HOME={}\n", sandbox.root().join("other").display()));
        let call = [&resume("resume-json")[..], &["--env-file", "vars"]].concat();
        let failure = sandbox.fails(&call, if found { 1 } else { 75 }, "agent_failed");
        assert_eq!(failure.cause.as_deref(), Some(if found { "usage_limit" } else { "rate_limited" }), "{day}");
        // another home has nothing of this thread
        sandbox.fails(&resume("resume-json"), 75, "agent_failed");
    }
}

/// Nothing in the agent's home can stop a call.
#[cfg(unix)]
#[test]
fn odd_records_of_codex_are_ignored() {
    for what in ["mkfifo", "mkdir"] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Codex, "a", THREAD);
        sandbox.agent(Backend::Codex.fails("@ID@", "rate limit exceeded: x"));
        codex_records(&sandbox, "home/.codex", "21", "");
        let days = sandbox.home().join(".codex/sessions/2026/11/21");
        let file = days.join(format!("rollout-2026-11-21T19-43-00-{THREAD}.jsonl"));
        std::fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new(what).arg(&file).status().unwrap().success());
        let failure = sandbox.fails(&resume("resume-json"), 75, "agent_failed");
        assert_eq!(failure.cause.as_deref(), Some("rate_limited"));
    }
}

#[test]
fn text_that_matches_nothing_is_other() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.agent(backend.fails("i", "the server at port 4290 sent 401 words about rate limits"));
        let failure = sandbox.fails(&resume("resume-json"), 1, "agent_failed");
        assert_eq!((failure.cause.as_deref(), failure.retryable, failure.hint), (Some("other"), false, None));
    }
}

#[test]
fn end_of_a_usage_limit_is_reported() {
    let limit = claude_fails(Some(429), "rate_limit_error", "usage_limit_reached", "You've hit your limit");
    let event = json!({"type": "rate_limit_event", "session_id": "i",
        "rate_limit_info": {"status": "rejected", "resetsAt": 1_900_000_000, "rateLimitType": "five_hour"}});
    let allowed = json!({"type": "rate_limit_event", "session_id": "i",
        "rate_limit_info": {"status": "allowed", "resetsAt": 1_800_000_000}});
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Turn { stdout: format!("{allowed}\n{event}\n{allowed}\n{}", limit.stdout), ..limit.clone() });
    let failure = sandbox.fails(&resume("resume-stream"), 75, "agent_failed");
    assert_eq!(failure.retry_at.as_deref(), Some("2030-03-17T17:46:40Z"));
    assert_eq!(failure.hint.as_deref(), Some("try again after 2030-03-17T17:46:40Z"));
    assert_eq!((failure.cause.as_deref(), failure.retryable), (Some("usage_limit"), true));
    // without the time, it is unknown when to try again
    sandbox.agent(limit);
    let failure = sandbox.fails(&resume("resume-json"), 1, "agent_failed");
    assert_eq!((failure.cause.as_deref(), failure.retryable, failure.retry_at), (Some("usage_limit"), false, None));
}

#[test]
fn refused_arguments_do_not_start_a_turn() {
    for (backend, stderr, exit) in [
        (Backend::Claude, "error: unknown option '--effort'\n", 1),
        (Backend::Codex, "error: unexpected argument '--sandbox' found\n", 2),
    ] {
        for verb in VERBS {
            let sandbox = with_session(backend);
            sandbox.agent(Turn::default().stderr(stderr).exit(exit));
            let failure = sandbox.fails(&resume(verb), 1, "agent_failed").before_the_turn().hint(contains("doctor"));
            assert_eq!(failure.cause.as_deref(), Some("refused_arguments"));
            assert_eq!((failure.prompt_in_history, failure.agent_exit_code), (Some(false), Some(exit)));
        }
    }
}

#[test]
fn stopped_turn_reports_whether_the_prompt_is_stored() {
    let sandbox = with_session(Backend::Codex);
    let started = "{\"type\":\"thread.started\",\"thread_id\":\"i\"}\n";
    for (printed, stored) in
        [("", None), (started, None), (&*format!("{started}{{\"type\":\"turn.started\"}}\n"), Some(true))]
    {
        sandbox.agent(Turn::doing([Step::stdout(printed), Step::wait_for("never")]));
        let call = [&resume("resume-json")[..], &["--stall-seconds", "0.5"]].concat();
        let failure = sandbox.fails(&call, 124, "stalled").after_the_turn();
        assert_eq!((failure.prompt_in_history, failure.cause), (stored, None), "{printed}");
    }
    let missing = sandbox.fails(
        &["--backend", "codex", "resume-json", "--session-name", "b", "--prompt", "p"],
        3,
        "session_not_found",
    );
    assert_eq!(missing.prompt_in_history, Some(false));
}

/// codex reconnects without an end if the network is missing.
#[test]
fn cause_of_a_timeout_is_reported_if_it_is_known() {
    let sandbox = with_session(Backend::Codex);
    for (message, cause) in [
        ("Reconnecting... waiting for network", Some("network")),
        ("Reconnecting... 2/5 (exceeded retry limit, last status: 429 Too Many Requests)", Some("rate_limited")),
        ("Reconnecting... 2/5 (something new)", None),
    ] {
        let events = [json!({"type": "turn.started"}), json!({"type": "error", "message": message})];
        let printed = events.map(|event| format!("{event}\n")).concat();
        sandbox.agent(Turn::doing([Step::stdout(&printed), Step::wait_for("never")]));
        let call = [&resume("resume-stream")[..], &["--stall-seconds", "0.5"]].concat();
        let failure = sandbox.fails(&call, 124, "stalled").after_the_turn();
        assert_eq!((failure.cause.as_deref(), failure.retryable), (cause, cause.is_some()), "{message}");
        assert_eq!(failure.prompt_in_history, Some(true));
    }
}

/// Lines that only report reconnections are silence.
#[test]
fn reconnections_do_not_prevent_a_stall() {
    let sandbox = with_session(Backend::Codex);
    let line = json!({"type": "error", "message": "Reconnecting... waiting for network"}).to_string() + "\n";
    let mut steps = Vec::new();
    for _ in 0..200 {
        steps.extend([Step::stdout(&line), Step::SleepMs(100)]);
    }
    sandbox.agent(Turn::doing(steps));
    let call = [&resume("resume-stream")[..], &["--stall-seconds", "1"]].concat();
    let failure = sandbox.fails(&call, 124, "stalled");
    assert_eq!(failure.cause.as_deref(), Some("network"));
}

#[test]
fn stopped_turn_names_its_limit_and_its_session() {
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Turn::doing([Step::create("up"), Step::wait_for("never")]));
    let call = [&resume("resume-json")[..], &["--deadline-seconds", "0.5"]].concat();
    let failure =
        sandbox.fails(&call, 124, "deadline").message(starts_with("the deadline of 0.5 s passed; claude was stopped"));
    let hint = "allow more time with --deadline-seconds, and resume the session 'a' (i)";
    assert_eq!(failure.hint.as_deref(), Some(hint));
    let first = ["--backend", "claude", "create-session", "--session-name", "n", "--deadline-seconds", "2"];
    let hint = starts_with("allow more time with --deadline-seconds; resume the session 'n' (");
    sandbox.fails(&first, 124, "deadline").hint(hint);
}

#[cfg(unix)]
#[test]
fn interrupted_turn_names_its_session() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Turn::doing([Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&[&["--error-format", "json"], &resume("resume-json")[..]].concat());
    wait_until(Duration::from_secs(30), || sandbox.has_reached("up"));
    running.signal(rustix::process::Signal::TERM);
    let failure = running.wait(Duration::from_secs(30)).assert.failed(143, "interrupted").after_the_turn();
    assert_eq!(failure.hint.as_deref(), Some("resume the session 'a' (i) to continue"));
    assert_eq!(failure.session_id.as_deref(), Some("i"));
}

#[test]
fn hint_of_a_first_turn_has_the_cause_and_the_id() {
    let sandbox = Sandbox::new();
    sandbox.agent(claude_fails(Some(401), "authentication_error", "", "no"));
    sandbox
        .fails(&["--backend", "claude", "create-session", "--session-name", "n"], 1, "agent_failed")
        .hint(contains("claude /login").and(contains("; to keep session i, run: ")));
}

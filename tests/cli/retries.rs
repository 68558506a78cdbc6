//! `--retry`: a temporary failure is retried, and the model sees the prompt once.

#[cfg(unix)]
use std::time::Duration;

use serde_json::json;

use crate::support::*;

#[cfg(unix)]
const LIMIT: Duration = Duration::from_secs(60);
const FOLLOW_UP: &str = "The previous request failed before you could answer it. Answer it now.";

fn with_session(backend: Backend, turns: impl Into<Plan>) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(turns);
    sandbox
}

/// Returns a turn that fails for a temporary reason.
fn overloaded(backend: Backend) -> Turn {
    match backend {
        Backend::Claude => {
            let result = json!({
                "type": "result", "subtype": "success", "is_error": true, "session_id": "i", "result": "overloaded",
                "api_error_status": 529, "api_error_type": "overloaded_error", "terminal_reason": "api_error",
            });
            Turn { exit: 1, ..Turn::default().stdout(&format!("{result}\n")) }
        }
        Backend::Codex => backend.fails("i", "Selected model is at capacity. Please try a different model."),
    }
}

fn resume<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["resume-json", "--session-name", "a", "--prompt", "the prompt"], options].concat()
}

/// Returns the prompt of each call.
fn prompts(sandbox: &Sandbox) -> Vec<String> {
    let is_prompt = |argument: &&String| argument.contains("he pr");
    sandbox.calls().iter().map(|call| call.argv.iter().find(is_prompt).cloned().unwrap_or_default()).collect()
}

#[test]
fn retry_of_a_resumed_turn_does_not_repeat_the_prompt() {
    for backend in Backend::BOTH {
        for verb in ["resume-json", "resume-stream"] {
            let sandbox = with_session(backend, [overloaded(backend), backend.answers("i", "the answer")]);
            let call = [verb, "--session-name", "a", "--prompt", "the prompt", "--retry", "2"];
            let output = sandbox.run(&call).success().stdout(contains("the answer"));
            output.stderr(contains("warning: ").and(contains("trying again in ")).and(contains("retry 1 of 2")));
            assert_eq!(prompts(&sandbox), ["the prompt", FOLLOW_UP]);
            assert!(sandbox.calls().iter().all(|call| call.has("i")), "both are in the session");
        }
    }
}

#[test]
fn retry_of_a_first_turn_resumes_its_session() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.write("role.md", "Be brief.");
        sandbox.agent([overloaded(backend), overloaded(backend), backend.answers("i", "OK")]);
        let call =
            ["--backend", backend.name(), "create-session", "--session-name", "n", "--init-prompt", "the prompt"];
        let options = ["--retry", "2", "--role-definition-md", "role.md"];
        sandbox.succeeds(&[&call[..], &options].concat()).stdout("i\n");
        let calls = sandbox.calls();
        assert!(calls[0].argv.iter().any(|argument| argument.ends_with("the prompt")), "{:?}", calls[0].argv);
        assert!(!calls[0].has("i") && !calls[0].has("resume"), "{:?}", calls[0].argv);
        for call in &calls[1..] {
            assert!(call.has("i") && call.has(FOLLOW_UP) && !call.has("--session-id"), "{:?}", call.argv);
            // the role of codex is in the history
            assert_eq!(call.value_of("--append-system-prompt").is_some(), backend == Backend::Claude);
        }
        assert!(sandbox.mapping(backend).contains("\"i\""));
        assert!(!sandbox.mapping(backend).contains("first_turn"));
    }
}

#[test]
fn answer_from_another_thread_than_the_failed_try_is_a_failure() {
    let sandbox = Sandbox::new();
    sandbox.agent([overloaded(Backend::Codex), Backend::Codex.answers("else", "OK")]);
    let call = ["--backend", "codex", "create-session", "--session-name", "n", "--retry", "1"];
    let failure = sandbox.fails(&call, 1, "session_lost").hint(contains("--adopt=else"));
    assert_eq!(failure.session_id.as_deref(), Some("else"));
    assert!(!sandbox.mapping_path(Backend::Codex).exists());
}

/// The role is in the history together with the prompt.
#[test]
fn retry_does_not_repeat_a_role() {
    let sandbox = with_session(Backend::Codex, [overloaded(Backend::Codex), Backend::Codex.answers("i", "OK")]);
    sandbox.write("role.md", "Be brief.");
    sandbox.succeeds(&resume(&["--role-definition-md", "role.md", "--retry", "1"]));
    let calls = sandbox.calls();
    assert!(calls[0].argv.last().unwrap().contains("Be brief."));
    assert_eq!(calls[1].argv.last().unwrap(), FOLLOW_UP);
}

#[test]
fn only_a_temporary_failure_is_retried_and_only_as_often_as_requested() {
    for backend in Backend::BOTH {
        let answer = || backend.answers("i", "OK");
        for (turns, options, exit_status, calls) in [
            ([backend.fails("i", "no"), answer(), answer()], &["--retry", "3"][..], 1, 1),
            ([overloaded(backend), overloaded(backend), answer()], &["--retry", "1"], 75, 2),
            ([overloaded(backend), answer(), answer()], &[], 75, 1),
        ] {
            let sandbox = with_session(backend, turns);
            sandbox.fails(&resume(options), exit_status, "agent_failed");
            assert_eq!(sandbox.calls().len(), calls, "{options:?}");
        }
    }
}

#[test]
fn retry_that_the_deadline_would_prevent_is_not_waited_for() {
    let limit = json!({"type": "rate_limit_event", "session_id": "i",
        "rate_limit_info": {"status": "rejected", "resetsAt": 4_000_000_000_u64}});
    let result = json!({
        "type": "result", "subtype": "success", "is_error": true, "session_id": "i", "result": "limit",
        "api_error_status": 429, "api_error": "usage_limit_reached", "terminal_reason": "api_error",
    });
    let turn = Turn { exit: 1, ..Turn::default().stdout(&format!("{limit}\n{result}\n")) };
    let sandbox = with_session(Backend::Claude, turn);
    let call = ["resume-stream", "--session-name", "a", "--prompt", "p", "--retry", "5", "--deadline-seconds", "3600"];
    let output = sandbox.run(&[&["--error-format", "json"], &call[..]].concat());
    let output =
        output.stderr(contains("not trying again: the next try would be at 2096-10-02T07:06:40Z, after the deadline"));
    assert_eq!(output.failed(75, "agent_failed").retry_at.as_deref(), Some("2096-10-02T07:06:40Z"));
    assert_eq!(sandbox.calls().len(), 1);
}

#[cfg(unix)]
#[test]
fn signal_ends_the_wait_for_a_retry() {
    let sandbox = with_session(Backend::Claude, [overloaded(Backend::Claude), overloaded(Backend::Claude)]);
    let running = sandbox.start(&[&["--error-format", "json"], &resume(&["--retry", "9"])[..]].concat());
    wait_until(LIMIT, || running.stderr_so_far().contains("trying again in "));
    running.signal(rustix::process::Signal::TERM);
    let failure = running.wait(LIMIT).assert.failed(143, "interrupted").after_the_turn();
    assert_eq!((failure.prompt_in_history, failure.session_id.as_deref()), (Some(true), Some("i")));
    assert!(failure.message.contains("before the retry"), "{}", failure.message);
    failure.hint(contains("resume the session 'a' (i) to continue"));
}

#[test]
fn number_of_retries_is_checked() {
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    for number in ["-1", "x", "1.5", ""] {
        sandbox.fails(&resume(&["--retry", number]), 2, "usage").message(contains("--retry"));
    }
    sandbox.succeeds(&resume(&["--retry", "0"]));
}

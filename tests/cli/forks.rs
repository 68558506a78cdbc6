//! `fork-session`: creates a session with the history of another session, and does not change that session.

use serde_json::json;

use crate::support::*;

/// Returns a sandbox with a session `a` that has a model, and an agent that answers from a new session.
fn with_session(backend: Backend, answers_from: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let create =
        ["--backend", backend.name(), "create-session", "--session-name", "a", "--adopt", "old", "--model", "m"];
    sandbox.succeeds(&create);
    sandbox.agent(backend.answers(answers_from, "forked"));
    sandbox
}

fn fork<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["fork-session", "--session-name", "a", "--to", "b", "--prompt", "Try it"][..], options].concat()
}

#[test]
fn fork_saves_the_new_name_and_keeps_the_old_one() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend, "new");
        let before: serde_json::Value = serde_json::from_str(&sandbox.mapping(backend)).unwrap();
        let output = sandbox.succeeds(&fork(&[])).json();
        let call = sandbox.only_call();
        match backend {
            Backend::Claude => {
                assert_eq!((&output["session_id"], &output["result"]), (&json!("new"), &json!("forked")));
                let want =
                    ["-p", "Try it", "--resume", "old", "--output-format", "json", "--fork-session", "--model", "m"];
                assert_eq!(call.argv_without_new_id(), want);
            }
            Backend::Codex => {
                let want = json!({"thread_id": "new", "alias": "b", "mapping_file": sandbox.mapping_path(backend),
                    "last_model": "m", "source": "forked", "event_count": output["event_count"], "final_message": "forked"});
                assert_eq!(output, want);
                assert_eq!(call.argv[..5], ["exec", "fork", "--model", "m", "old"]);
            }
        }
        let after: serde_json::Value = serde_json::from_str(&sandbox.mapping(backend)).unwrap();
        assert_eq!(after["aliases"]["a"], before["aliases"]["a"]);
        let saved = &after["aliases"]["b"];
        assert_eq!((&saved[backend.id_key()], &saved["last_model"]), (&json!("new"), &json!("m")));
        assert!(saved["created_at"].is_string());
    }
}

#[test]
fn fork_accepts_the_same_options_as_resume() {
    let sandbox = with_session(Backend::Claude, "new");
    let options = ["--model", "other", "--reasoning-effort", "low", "--print-result", "--print-session-id"];
    sandbox.agent(Backend::Claude.answers("new", "forked").after([Step::ReadStdin]));
    let line = [&["fork-session", "--session-id", "old", "--to", "b", "--prompt", "-"][..], &options].concat();
    sandbox.run_with_input(&line, "by pipe").success().stdout("forked\nnew\n");
    let call = sandbox.only_call();
    assert_eq!((call.stdin_text(), call.value_of("--model")), ("by pipe", Some("other")));
    let saved = sandbox.succeeds(&["resolve", "--session-name", "b"]).json();
    assert_eq!((&saved["last_model"], &saved["last_reasoning_effort"]), (&json!("other"), &json!("low")));
    let old = sandbox.succeeds(&["resolve", "--session-name", "a"]).json();
    assert_eq!((&old["last_model"], &old["last_reasoning_effort"]), (&json!("m"), &json!(null)));
}

#[test]
fn taken_name_is_overwritten_only_with_force() {
    let sandbox = with_session(Backend::Claude, "new");
    sandbox.save(Backend::Claude, "b", "precious");
    let failure = sandbox.fails(&fork(&[]), 4, "session_exists");
    assert_eq!((failure.session_id.as_deref(), failure.turn_started), (Some("precious"), Some(false)));
    assert!(sandbox.calls().is_empty());
    sandbox.run(&fork(&["--force"])).success().stderr("note: 'b' previously referred to precious\n");
    sandbox.succeeds(&["resolve", "--session-name", "b", "--print-session-id"]).stdout("new\n");
}

#[test]
fn invalid_forks_are_refused_before_the_agent_runs() {
    let sandbox = with_session(Backend::Claude, "new");
    for (line, exit_code, kind) in [
        (&["fork-session", "--session-name", "a", "--prompt", "p"][..], 2, "usage"),
        (&["fork-session", "--session-name", "a", "--to", "a", "--prompt", "p"], 2, "usage"),
        (&["fork-session", "--to", "b", "--prompt", "p"], 2, "usage"),
        (&["fork-session", "--session-name", "a", "--to", "b"], 2, "usage"),
        (
            &["--backend", "claude", "fork-session", "--session-name", "no", "--to", "b", "--prompt", "p"],
            3,
            "session_not_found",
        ),
    ] {
        sandbox.fails(line, exit_code, kind);
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn reports_an_agent_that_does_not_fork() {
    let sandbox = with_session(Backend::Claude, "old");
    sandbox
        .fails(&fork(&[]), 7, "agent_output_invalid")
        .message(contains("answered in the session old itself"))
        .after_the_turn();
    assert!(!sandbox.mapping(Backend::Claude).contains("\"b\""));
}

#[test]
fn failed_fork_saves_nothing_and_prints_how_to_adopt_the_new_session() {
    let sandbox = with_session(Backend::Codex, "new");
    let before = sandbox.mapping(Backend::Codex);
    sandbox.agent(Backend::Codex.fails("begun", "no money"));
    let failure = sandbox.fails(&fork(&[]), 1, "agent_failed");
    assert_eq!(failure.session_id.as_deref(), Some("begun"));
    let hint = failure.hint.unwrap();
    assert!(hint.contains("--session-name=b --adopt=begun"), "{hint}");
    assert_eq!(sandbox.mapping(Backend::Codex), before);
}

#[test]
fn failed_fork_does_not_offer_to_adopt_its_source() {
    let sandbox = with_session(Backend::Claude, "old");
    sandbox.agent(Backend::Claude.fails("old", "no money"));
    let failure = sandbox.fails(&fork(&[]), 1, "agent_failed");
    assert_eq!((failure.session_id, failure.hint), (None, None));
}

#[test]
fn fork_is_busy_while_a_turn_runs() {
    let sandbox = with_session(Backend::Claude, "old");
    sandbox.agent(Backend::Claude.answers("old", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let running = sandbox.start(&["resume-json", "--session-name", "a", "--prompt", "p"]);
    wait_until(std::time::Duration::from_secs(30), || sandbox.has_reached("up"));
    sandbox.fails(&fork(&["--if-busy", "fail"]), 5, "session_busy").message(contains(running.pid().to_string()));
    sandbox.allow("go");
    running.wait(std::time::Duration::from_secs(30)).assert.success();
}

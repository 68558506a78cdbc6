//! The session ID of a turn is the one that the agent reports. No call loses a new ID.

use serde_json::json;

use crate::support::*;

const QUIET: [&str; 3] = ["--quiet", "--error-format", "json"];

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "old");
    sandbox
}

/// Returns a turn of claude that fails in another session than the requested one.
fn fails_as(id: &str) -> Turn {
    Backend::Claude.fails(id, "no")
}

#[test]
fn new_id_is_printed_for_a_name_and_for_an_id() {
    for backend in Backend::BOTH {
        let print = if backend == Backend::Claude { "--print-session-id" } else { "--print-thread-id" };
        for selector in ["--session-name=a", "--session-id=old", "--session-id=unsaved"] {
            let sandbox = with_session(backend);
            sandbox.agent(backend.answers("new", "OK"));
            let call = ["--backend", backend.name(), "resume-json", selector, "--prompt", "p"];
            let id = sandbox.run(&[&QUIET[..], &call, &[print]].concat()).stdout("new\n");
            sandbox.run(&[&QUIET[..], &call, &[print, "--print-result"]].concat()).stdout("OK\nnew\n");
            if backend == Backend::Codex {
                id.failed(1, "session_lost");
                let json = sandbox.run(&[&QUIET[..], &call].concat());
                assert_eq!(json.failed(1, "session_lost").session_id.as_deref(), Some("new"));
                assert_eq!(json.json()["thread_id"], "new");
                assert_eq!(json.json()["final_message"], "OK");
            } else {
                id.success().stderr("");
            }
        }
    }
}

#[test]
fn id_is_printed_as_the_agent_spells_it() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "ABC-def");
        sandbox.agent(backend.answers("abc-def", "OK"));
        for selector in ["--session-name=a", "--session-id=ABC-DEF"] {
            let call = ["--backend", backend.name(), "resume-json", selector, "--prompt", "p", "--print-session-id"];
            sandbox.succeeds(&call).stdout("abc-def\n").stderr("");
        }
        assert!(sandbox.mapping(backend).contains("\"ABC-def\""), "it is the same session");
    }
}

#[test]
fn new_id_that_is_neither_saved_nor_printed_is_reported_by_quiet_calls_too() {
    let unsaved = ["--quiet", "--backend", "claude"];
    let call = ["--session-id", "unsaved", "--prompt", "p"];
    for (verb, options, is_printed) in [
        ("resume-json", &["--print-result"][..], false),
        ("resume-stream", &["--format", "text"], false),
        ("resume-json", &[], true),
        ("resume-json", &["--print-session-id"], true),
        ("resume-stream", &[], true),
    ] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(Backend::Claude.answers("new", "OK"));
        let output = sandbox.succeeds(&[&unsaved[..], &[verb], &call, options].concat());
        assert_eq!(output.stdout_text().contains("new"), is_printed, "{verb} {options:?}: {}", output.stdout_text());
        assert_eq!(output.stderr_text().contains("new"), !is_printed, "{verb} {options:?}: {}", output.stderr_text());
    }
    // a name saves it
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Backend::Claude.answers("new", "OK"));
    sandbox.succeeds(&[&unsaved[..], &["resume-json", "--session-name=a", "--prompt=p"]].concat()).stderr("");
    assert!(sandbox.mapping(Backend::Claude).contains("\"new\""));
}

#[test]
fn new_id_of_a_name_deleted_during_the_turn_is_reported_by_quiet_calls_too() {
    for change in [&["delete-session", "--session-name=a"][..], &["create-session", "--session-name=a", "--adopt=x"]] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(Backend::Claude.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let resume = ["--quiet", "--backend=claude", "resume-json", "--session-name=a", "--prompt=p", "--print-result"];
        let running = sandbox.start(&resume);
        wait_until(std::time::Duration::from_secs(60), || sandbox.has_reached("up"));
        sandbox.succeeds(&[&["--backend", "claude"], change].concat());
        sandbox.allow("go");
        running
            .wait(std::time::Duration::from_secs(60))
            .assert
            .success()
            .stderr(starts_with("warning: ").and(contains("new")));
    }
}

#[test]
fn new_id_that_cannot_be_saved_is_reported_by_quiet_calls_too() {
    let sandbox = Sandbox::new();
    let place = ["--mapping-file", "deep/m.json"];
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--adopt", "old"];
    sandbox.succeeds(&[&create[..], &place].concat());
    sandbox.agent(Backend::Claude.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let resume = ["--quiet", "--backend=claude", "resume-json", "--session-name=a", "--prompt=p", "--print-result"];
    let running = sandbox.start(&[&resume[..], &place].concat());
    wait_until(std::time::Duration::from_secs(60), || sandbox.has_reached("up"));
    std::fs::remove_dir_all(sandbox.workspace().join("deep")).unwrap();
    sandbox.write("deep", "in the way");
    sandbox.allow("go");
    running
        .wait(std::time::Duration::from_secs(60))
        .assert
        .success()
        .stderr(starts_with("warning: ").and(contains("new")));
}

#[test]
fn known_id_is_printed_if_claude_reports_none() {
    let sandbox = with_session(Backend::Claude);
    for id in [None, Some(json!(null)), Some(json!("")), Some(json!(" \t")), Some(json!(7))] {
        let mut answer = json!({"result": "OK"});
        answer.as_object_mut().unwrap().extend(id.map(|id| ("session_id".to_owned(), id)));
        sandbox.agent(Turn::default().stdout(&answer.to_string()));
        let resume = ["--backend=claude", "resume-json", "--session-name=a", "--prompt=p", "--print-session-id"];
        sandbox.succeeds(&resume).stdout("old\n").stderr("");
    }
    // an unusable ID is reported and not saved
    sandbox.agent(Backend::Claude.answers("--last", "OK"));
    let resume = ["--quiet", "--backend=claude", "resume-json", "--session-name=a", "--prompt=p", "--print-session-id"];
    sandbox.succeeds(&resume).stdout("old\n").stderr(contains("--last"));
}

#[test]
fn new_id_is_reported_by_a_turn_that_fails() {
    for verb in ["resume-json", "resume-stream"] {
        for (selector, option) in [("--session-name=a", "--session-name=a"), ("--session-id=x", "--session-name=NAME")]
        {
            let sandbox = with_session(Backend::Claude);
            let before = sandbox.mapping(Backend::Claude);
            sandbox.agent(fails_as("new"));
            let call = ["--backend", "claude", verb, selector, "--prompt", "p"];
            let failure = sandbox.fails(&call, 1, "agent_failed");
            assert_eq!(failure.session_id.as_deref(), Some("new"), "{verb} {selector}");
            let words = sandbox.run(&[&["--quiet"], &call[..]].concat()).stderr_text();
            let command = format!("create-session {option} --adopt=new");
            assert!(words.contains(&command), "{words}");
            assert_eq!(sandbox.mapping(Backend::Claude), before, "a failed turn saves nothing");
        }
    }
    // another spelling means the same session
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(fails_as("OLD"));
    let call = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"];
    let failure = sandbox.fails(&call, 1, "agent_failed");
    assert_eq!((failure.session_id.as_deref(), failure.hint), (Some("old"), None));
}

#[test]
fn new_thread_is_reported_by_a_turn_that_fails() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.fails("new", "no"));
    let call = ["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"];
    let failure = sandbox.fails(&call, 1, "agent_failed");
    assert_eq!(failure.session_id.as_deref(), Some("new"));
    assert!(failure.hint.unwrap().contains("--adopt=new"));
}

#[test]
#[cfg(unix)] // TERM is a Unix signal
fn new_id_is_reported_by_a_turn_that_is_stopped() {
    let sandbox = with_session(Backend::Claude);
    let begun = "{\"type\": \"system\", \"session_id\": \"new\"}\n";
    sandbox.agent(Turn::doing([Step::stdout(begun), Step::wait_for("never")]));
    let call = ["--error-format=json", "--backend=claude", "resume-stream", "--session-name=a", "--prompt=p"];
    let running = sandbox.start(&call);
    wait_until(std::time::Duration::from_secs(60), || running.stdout_so_far() == begun);
    running.signal(rustix::process::Signal::TERM);
    let failure = running.wait(std::time::Duration::from_secs(60)).assert.failed(128 + 15, "interrupted");
    assert_eq!(failure.session_id.as_deref(), Some("new"));
    assert!(failure.hint.unwrap().contains("--adopt=new"));
}

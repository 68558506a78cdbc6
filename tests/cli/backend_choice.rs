//! Which agent a call is for: the first of many places that says something (contract section 1).

use crate::support::*;

/// What `resolve` prints for an id that is in no mapping tells which agent the call was for.
fn resolves_for(sandbox: &Sandbox, args: &[&str]) -> &'static str {
    let answer = sandbox.succeeds(&[&["resolve", "--session-id", "unknown"], args].concat()).json();
    if answer.get("session_id").is_some() { "claude" } else { "codex" }
}

#[test]
fn the_flag_stands_before_or_behind_the_command() {
    let sandbox = Sandbox::new();
    assert_eq!(resolves_for(&sandbox, &["--backend", "codex"]), "codex");
    sandbox.succeeds(&["--backend=claude", "resolve", "--session-id", "x"]);
}

#[test]
fn each_place_goes_before_the_next() {
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&["claude"]);
    assert_eq!(resolves_for(&sandbox, &[]), "claude", "the only one on PATH");
    sandbox.env("CODEX_CMD", "whatever");
    assert_eq!(resolves_for(&sandbox, &[]), "codex", "the only variable");
    sandbox.save(Backend::Claude, "a", "unknown");
    assert_eq!(resolves_for(&sandbox, &[]), "claude", "the only mapping that holds it");
    let by_option = sandbox.cmd(&["resolve", "--thread-id", "unknown"]).run().succeeded().json();
    assert_eq!(by_option["thread_id"], "unknown", "an option of codex alone");
    let link = sandbox.program_named("claude-sessions");
    let by_link = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().succeeded().json();
    assert_eq!(by_link["session_id"], "x", "the program's name");
    sandbox.env("INVOKE_PERSIST_BACKEND", "codex");
    let by_variable = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().succeeded().json();
    assert_eq!(by_variable["thread_id"], "x", "our own variable");
    assert_eq!(resolves_for(&sandbox, &["--backend", "claude"]), "claude", "the flag");
}

#[test]
fn a_call_that_nothing_decides_says_what_to_add() {
    let sandbox = Sandbox::new(); // both agents are on PATH
    let failure = sandbox.fails(&["resolve", "--session-name", "a"], 2, "usage");
    assert!(failure.hint.unwrap().contains("--backend claude"));
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.save(Backend::Codex, "a", "j");
    let failure = sandbox.fails(&["resolve", "--session-name", "a"], 2, "usage");
    assert!(failure.message.contains("both"), "{}", failure.message);
}

#[test]
fn an_option_of_the_other_backend_is_named() {
    let sandbox = Sandbox::new();
    for (backend, args, option) in [
        ("claude", &["create-session", "--session-name", "a", "--codex-cmd", "x"][..], "--codex-cmd"),
        ("claude", &["resolve", "--thread-id", "x"], "--thread-id"),
        ("claude", &["resume-json", "--session-id", "x", "--prompt", "p", "--full-auto"], "--full-auto"),
        (
            "claude",
            &["resume-json", "--session-id", "x", "--prompt", "p", "--role-definition-md", "r.md"],
            "--role-definition-md",
        ),
        ("codex", &["create-session", "--session-name", "a", "--reasoning-effort", "low"], "--reasoning-effort"),
        ("codex", &["resume-stream", "--thread-id", "x", "--prompt", "p", "--verbose"], "--verbose"),
        ("codex", &["delete-session", "--thread-id", "x", "--model", "m"], "--model"),
    ] {
        let failure = sandbox.fails(&[&["--backend", backend], args].concat(), 2, "usage");
        assert!(failure.message.contains(option), "{}", failure.message);
    }
    let failure =
        sandbox.fails(&["create-session", "--session-name", "a", "--claude-cmd", "x", "--codex-cmd", "y"], 2, "usage");
    assert!(failure.message.contains("--claude-cmd") && failure.message.contains("--codex-cmd"), "{}", failure.message);
}

#[test]
fn a_variable_that_names_no_backend_is_named() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_BACKEND", "gpt");
    let failure = sandbox.fails(&["list-sessions"], 2, "usage");
    assert!(failure.message.contains("INVOKE_PERSIST_BACKEND"), "{}", failure.message);
    sandbox.env("INVOKE_PERSIST_BACKEND", " ");
    sandbox.succeeds(&["list-sessions"]);
}

#[test]
fn in_a_file_of_the_callers_the_key_of_the_id_tells() {
    let sandbox = Sandbox::new();
    sandbox.write("m.json", r#"{"aliases": {"a": {"thread_id": "t"}, "b": {"session_id": "s"}, "c": "bare"}}"#);
    let resolve = |name| sandbox.run(&["resolve", "--session-name", name, "--mapping-file", "m.json"]);
    assert_eq!(resolve("a").succeeded().json()["thread_id"], "t");
    assert_eq!(resolve("b").succeeded().json()["session_id"], "s");
    // one that is just an id does not say whose it is
    sandbox.fails(&["resolve", "--session-name", "c", "--mapping-file", "m.json"], 2, "usage");
}

#[test]
fn a_list_for_no_agent_in_particular_shows_both() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "x", "i");
    sandbox.save(Backend::Codex, "y", "j");
    let both = sandbox.succeeds(&["list-sessions"]).json();
    assert_eq!(both["backends"]["claude"], sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json());
    assert_eq!(both["backends"]["codex"], sandbox.succeeds(&["--backend", "codex", "list-sessions"]).json());
    assert_eq!(both["workspace_dir"], both["backends"]["codex"]["workspace_dir"]);
    assert_eq!(sandbox.succeeds(&["list-sessions", "--print-aliases"]).stdout, "claude\tx\ncodex\ty\n");
    assert_eq!(sandbox.succeeds(&["list-sessions", "--format", "names"]).stdout, "claude\tx\ncodex\ty\n");
}

#[test]
fn the_flag_goes_before_a_variable_that_makes_no_sense() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_BACKEND", "gpt");
    sandbox.succeeds(&["--backend", "claude", "resolve", "--session-id", "x"]);
    sandbox.succeeds(&["demo"]);
}

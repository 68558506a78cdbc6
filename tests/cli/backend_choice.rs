//! How the backend of a call is selected: the first source that names one wins (contract section 1).

use crate::support::*;

/// Returns the backend of a call, as `resolve` prints it for an ID that is not in a mapping.
fn resolves_for(sandbox: &Sandbox, args: &[&str]) -> &'static str {
    let answer = sandbox.succeeds(&[&["resolve", "--session-id", "unknown"], args].concat()).json();
    if answer.get("session_id").is_some() { "claude" } else { "codex" }
}

#[test]
fn backend_option_works_before_and_after_the_command() {
    let sandbox = Sandbox::new();
    assert_eq!(resolves_for(&sandbox, &["--backend", "codex"]), "codex");
    sandbox.succeeds(&["--backend=claude", "resolve", "--session-id", "x"]);
}

#[test]
fn backend_sources_have_a_precedence() {
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&["claude"]);
    assert_eq!(resolves_for(&sandbox, &[]), "claude", "the only one on PATH");
    sandbox.env("CODEX_CMD", "whatever");
    assert_eq!(resolves_for(&sandbox, &[]), "codex", "the only variable");
    sandbox.save(Backend::Claude, "a", "unknown");
    assert_eq!(resolves_for(&sandbox, &[]), "claude", "the only mapping that holds it");
    let by_option = sandbox.cmd(&["resolve", "--thread-id", "unknown"]).run().success().json();
    assert_eq!(by_option["thread_id"], "unknown", "an option of codex alone");
    let link = sandbox.program_named("claude-sessions");
    let by_link = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().success().json();
    assert_eq!(by_link["session_id"], "x", "the program's name");
    sandbox.env("INVOKE_PERSIST_BACKEND", "codex");
    let by_variable = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().success().json();
    assert_eq!(by_variable["thread_id"], "x", "our own variable");
    assert_eq!(resolves_for(&sandbox, &["--backend", "claude"]), "claude", "the flag");
}

#[test]
fn undecided_backend_is_a_usage_error_with_a_hint() {
    let sandbox = Sandbox::new(); // both agents are on PATH
    sandbox
        .fails(&["resolve", "--session-name", "a"], 2, "usage")
        .message(contains("claude or codex"))
        .hint(contains("--backend claude"));
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.save(Backend::Codex, "a", "j");
    sandbox.fails(&["resolve", "--session-name", "a"], 2, "usage").message(contains("claude and codex"));
}

#[test]
fn error_names_an_option_of_the_other_backend() {
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
        sandbox.fails(&[&["--backend", backend], args].concat(), 2, "usage").message(contains(option));
    }
    let failure =
        sandbox.fails(&["create-session", "--session-name", "a", "--claude-cmd", "x", "--codex-cmd", "y"], 2, "usage");
    assert!(failure.message.contains("--claude-cmd") && failure.message.contains("--codex-cmd"), "{}", failure.message);
}

#[test]
fn error_names_the_variable_with_an_unknown_backend() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_BACKEND", "gpt");
    sandbox
        .fails(&["list-sessions"], 2, "usage")
        .message(contains("INVOKE_PERSIST_BACKEND"))
        .hint(contains("claude or codex"));
    sandbox.env("INVOKE_PERSIST_BACKEND", " ");
    sandbox.succeeds(&["list-sessions"]);
}

#[test]
fn id_key_selects_the_backend_in_an_explicit_mapping_file() {
    let sandbox = Sandbox::new();
    sandbox.write("m.json", r#"{"aliases": {"a": {"thread_id": "t"}, "b": {"session_id": "s"}, "c": "bare"}}"#);
    let resolve = |name| sandbox.run(&["resolve", "--session-name", name, "--mapping-file", "m.json"]);
    assert_eq!(resolve("a").success().json()["thread_id"], "t");
    assert_eq!(resolve("b").success().json()["session_id"], "s");
    // a bare ID belongs to either backend
    sandbox.fails(&["resolve", "--session-name", "c", "--mapping-file", "m.json"], 2, "usage");
}

#[test]
fn list_without_a_backend_shows_both() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "x", "i");
    sandbox.save(Backend::Codex, "y", "j");
    let both = sandbox.succeeds(&["list-sessions"]).json();
    assert_eq!(both["backends"]["claude"], sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json());
    assert_eq!(both["backends"]["codex"], sandbox.succeeds(&["--backend", "codex", "list-sessions"]).json());
    assert_eq!(both["workspace_dir"], both["backends"]["codex"]["workspace_dir"]);
    sandbox.succeeds(&["list-sessions", "--print-aliases"]).stdout("claude\tx\ncodex\ty\n");
    sandbox.succeeds(&["list-sessions", "--format", "names"]).stdout("claude\tx\ncodex\ty\n");
}

#[test]
fn backend_option_overrides_an_invalid_variable() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_BACKEND", "gpt");
    sandbox.succeeds(&["--backend", "claude", "resolve", "--session-id", "x"]);
    sandbox.succeeds(&["demo"]);
}

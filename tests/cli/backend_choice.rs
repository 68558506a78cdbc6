//! The selection of the backend: the first source that names one takes precedence (contract section 1).

use crate::support::*;

/// Returns the backend of a call, from the output of `resolve` for an ID that is not in a mapping.
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
    assert_eq!(resolves_for(&sandbox, &[]), "claude", "the only mapping that contains it");
    let by_option = sandbox.cmd(&["resolve", "--thread-id", "unknown"]).run().success().json();
    assert_eq!(by_option["thread_id"], "unknown", "an option that only codex has");
    let link = sandbox.program_named("claude-sessions");
    let by_link = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().success().json();
    assert_eq!(by_link["session_id"], "x", "the program's name");
    sandbox.env("INVOKE_PERSIST_BACKEND", "codex");
    let by_variable = sandbox.cmd_of(&link, &["resolve", "--session-id", "x"]).run().success().json();
    assert_eq!(by_variable["thread_id"], "x", "the variable of this program");
    assert_eq!(resolves_for(&sandbox, &["--backend", "claude"]), "claude", "the option");
}

#[test]
fn name_of_both_backends_is_a_usage_error() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.save(Backend::Codex, "a", "j");
    for decides_later in [false, true] {
        if decides_later {
            sandbox.env("CLAUDE_CMD", "claude");
        }
        for call in calls_about(&["--session-name", "a"]).iter().map(Vec::as_slice).chain([CREATE]) {
            let failure = sandbox.fails(call, 2, "usage").message(contains("claude and codex")).before_the_turn();
            assert!(failure.hint.unwrap().contains("--backend claude or --backend codex"), "{call:?}");
        }
    }
    assert!(sandbox.calls().is_empty());
}

const CREATE: &[&str] = &["create-session", "--session-name", "a"];

/// Returns a call of each command about an existing session.
fn calls_about<'a>(session: &[&'a str]) -> Vec<Vec<&'a str>> {
    let by_name = session[0] == "--session-name";
    let calls: &[&[&str]] = &[
        &["resolve"],
        &["resume-json", "--prompt", "p"],
        &["resume-stream", "--prompt", "p"],
        &["fork-session", "--to", "new", "--prompt", "p"],
        &["delete-session"],
        &["rename-session", "--to", "new"],
    ];
    let calls = &calls[..if by_name { 6 } else { 5 }]; // rename-session takes a name
    calls.iter().map(|call| [*call, session].concat()).collect()
}

#[test]
fn session_that_no_backend_has_is_not_found() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "review", "i");
    sandbox.save(Backend::Codex, "nightly", "j");
    for agents in [&["claude", "codex"][..], &[]] {
        if agents.is_empty() {
            sandbox.only_agents(agents);
        }
        for call in calls_about(&["--session-name", "nightli"]) {
            let failure = sandbox.fails(&call, 3, "session_not_found").before_the_turn();
            let message = "no claude or codex session is named 'nightli': it is not in ";
            assert!(failure.message.starts_with(message), "{call:?}: {}", failure.message);
            let hint = failure.hint.unwrap();
            assert!(hint.starts_with("did you mean 'nightly' (codex)? "), "{hint}");
            assert!(hint.ends_with("invoke-persist list-sessions"), "{hint}");
        }
        for call in calls_about(&["--session-id", "x"]) {
            let failure = sandbox.fails(&call, 3, "session_not_found").before_the_turn();
            let message = "no claude or codex session has the ID 'x': it is not in ";
            assert!(failure.message.starts_with(message), "{call:?}: {}", failure.message);
            assert!(failure.hint.unwrap().starts_with("add --backend claude or --backend codex to use an ID "));
        }
    }
    let shown = sandbox.run(&["resolve", "--session-name", "none"]).failure().stderr_text();
    for backend in Backend::BOTH {
        assert!(shown.contains(sandbox.mapping_path(backend).to_str().unwrap()), "{shown}");
    }
    // one file for both
    sandbox.write("m.json", r#"{"aliases": {"bad": "-x"}}"#);
    let shown = sandbox.run(&["resolve", "--session-name", "bad", "--mapping-file", "m.json"]).code(3).stderr_text();
    assert!(shown.contains("caused by: its entry in 'm.json' has an ID that begins with a dash\n"), "{shown}");
    let shown = sandbox.run(&["resolve", "--session-name", "none", "--mapping-file", "m.json"]).failure().stderr_text();
    assert!(shown.contains("caused by: it is not in 'm.json'\n"), "{shown}");
    assert!(sandbox.calls().is_empty());
}

#[test]
fn error_without_an_agent_has_the_command_to_type_next() {
    let mut sandbox = Sandbox::new();
    let resume = ["resume-json", "--session-name", "review src", "--if-missing", "create", "--prompt", "p"];
    let typed = "--error-format json create-session --session-name a";
    let failure = sandbox.fails(CREATE, 2, "usage").before_the_turn();
    assert_eq!(failure.message, "cannot choose between claude and codex: both are on PATH");
    let hint =
        format!("run: invoke-persist --backend claude {typed} (or --backend codex), or set INVOKE_PERSIST_BACKEND");
    assert_eq!(failure.hint.unwrap(), hint);
    sandbox.run(CREATE).failure().stderr(contains("caused by: both are on PATH\n"));
    let words =
        "invoke-persist --backend claude --error-format json resume-json --session-name 'review src' --if-missing";
    sandbox.fails(&resume, 2, "usage").hint(contains(words));
    // not a page of a prompt
    let long = "x".repeat(1000);
    let line = ["resume-stream", "--session-name", "a", "--if-missing", "create", "--prompt", &long];
    sandbox.fails(&line, 2, "usage").hint(contains("run: invoke-persist --backend claude resume-stream … (or"));

    sandbox.save(Backend::Codex, "review-src", "i");
    sandbox.fails(&resume, 2, "usage").hint(starts_with("did you mean 'review-src' (codex)? run: invoke-persist "));

    sandbox.env("CLAUDE_CMD", "claude");
    sandbox.env("CODEX_CMD", "codex");
    sandbox.run(CREATE).failure().stderr(contains("caused by: CLAUDE_CMD and CODEX_CMD are set\n"));

    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&[]);
    sandbox.run(CREATE).failure().stderr(contains("caused by: neither is on PATH\n"));
    let hint = format!(
        "install claude or codex, then run: invoke-persist --backend claude {typed}; to try this program without one, \
         run: invoke-persist demo"
    );
    assert_eq!(sandbox.fails(CREATE, 2, "usage").hint.unwrap(), hint);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn mapping_that_cannot_be_read_is_never_ignored() {
    let mut sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("@ID@", "OK"));
    sandbox.save(Backend::Claude, "a", "i");
    let broken = sandbox.write_mapping(Backend::Codex, "{oops");
    let broken = broken.to_str().unwrap();
    // the broken one may have the name too
    for call in calls_about(&["--session-name", "a"]).iter().map(Vec::as_slice).chain([CREATE]) {
        let failure = sandbox.fails(call, 6, "mapping_invalid").message(contains(broken)).before_the_turn();
        assert!(failure.hint.unwrap().contains("--backend claude"), "{call:?}");
    }
    for call in calls_about(&["--session-name", "none"]) {
        sandbox.fails(&call, 6, "mapping_invalid").message(contains(broken));
    }
    sandbox.fails(&["resolve", "--session-id", "none"], 6, "mapping_invalid").message(contains(broken));
    assert!(sandbox.calls().is_empty());
    let warns = || starts_with("warning: the mapping '").and(contains(broken)).and(contains("it was not searched"));
    // an ID is of one session only
    let by_id = ["--quiet", "resume-json", "--session-id", "i", "--prompt", "p"];
    sandbox.succeeds(&by_id).stderr(warns());
    let create = ["create-session", "--session-name", "new"];
    sandbox.run(&create).code(2).stderr(warns());
    sandbox.env("CLAUDE_CMD", "claude");
    sandbox.succeeds(&create).stderr(warns());
    sandbox.run(&["resolve", "--session-name", "none"]).code(3).stderr(warns());
    // the mapping in use is reported once
    sandbox.env("CODEX_CMD", "codex");
    sandbox.env("CLAUDE_CMD", "");
    let stderr = sandbox.run(&["resolve", "--session-name", "none"]).code(6).stderr_text();
    assert!(stderr.starts_with("error: "), "{stderr}");
}

#[test]
fn deletion_decides_by_the_name_that_it_removes() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "other", "i");
    sandbox.save(Backend::Codex, "a", "j");
    let removed = sandbox.succeeds(&["delete-session", "--session-name", "a", "--session-id", "i"]).json();
    assert_eq!(removed["removed_aliases"], serde_json::json!(["a"]));
    sandbox.succeeds(&["resolve", "--session-name", "other"]);
}

#[test]
fn all_sessions_are_those_of_the_list() {
    for variable in [None, Some("CLAUDE_CMD"), Some("CODEX_CMD")] {
        let mut sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        sandbox.save(Backend::Codex, "b", "j");
        if let Some(variable) = variable {
            sandbox.env(variable, "whatever");
        }
        let removed = sandbox.succeeds(&["delete-all-sessions"]).json();
        for (backend, last) in [(Backend::Claude, false), (Backend::Codex, true)] {
            let path = sandbox.mapping_path(backend);
            let want = serde_json::json!({"workspace_dir": sandbox.workspace(), "mapping_file": path,
                "mapping_file_existed": true, "mapping_file_deleted": true, "mapping_parent_dir_deleted_if_empty": last});
            assert_eq!(removed["backends"][backend.name()], want);
            assert!(!path.exists());
        }
        assert_eq!(removed["workspace_dir"], sandbox.workspace().to_str().unwrap());
        assert!(!sandbox.mapping_path(Backend::Claude).parent().unwrap().exists());
        // there is nothing left
        let removed = sandbox.succeeds(&["delete-all-sessions"]).json();
        for backend in Backend::BOTH {
            assert_eq!(removed["backends"][backend.name()]["mapping_file_existed"], false);
        }
    }
}

#[test]
fn all_sessions_of_a_selected_backend_are_removed_alone() {
    let select = |sandbox: &mut Sandbox, how: &str| match how {
        "variable" => {
            sandbox.env("INVOKE_PERSIST_BACKEND", "codex");
            sandbox.cmd(&["delete-all-sessions"])
        }
        "link" => sandbox.cmd_of(&sandbox.program_named("codex-sessions"), &["delete-all-sessions"]),
        _ => sandbox.cmd(&["--backend", "codex", "delete-all-sessions"]),
    };
    for how in ["variable", "link", "option"] {
        let mut sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        sandbox.save(Backend::Codex, "b", "j");
        let removed = select(&mut sandbox, how).run().success().json();
        assert_eq!(removed["mapping_file"], sandbox.mapping_path(Backend::Codex).to_str().unwrap());
        assert!(sandbox.mapping(Backend::Claude).contains("\"a\""));
    }
}

#[test]
fn all_sessions_are_removed_together_or_not_at_all() {
    for (good, bad) in [(Backend::Claude, Backend::Codex), (Backend::Codex, Backend::Claude)] {
        let sandbox = Sandbox::new();
        sandbox.save(good, "a", "i");
        std::fs::create_dir(sandbox.mapping_path(bad)).unwrap(); // cannot be removed as a file
        let before = sandbox.mapping(good);
        sandbox.run(&["delete-all-sessions"]).code(6).stderr(contains(sandbox.mapping_path(bad).to_str().unwrap()));
        assert_eq!(sandbox.mapping(good), before);
        let left = std::fs::read_dir(sandbox.mapping_path(good).parent().unwrap()).unwrap().count();
        assert_eq!(left, 2);
    }
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

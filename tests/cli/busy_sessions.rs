//! Turns in one session wait for each other, because concurrent ones would damage it (contract section 8).

use std::time::Duration;

use crate::support::*;

const SOON: Duration = Duration::from_secs(60);

fn resume(backend: Backend) -> Vec<&'static str> {
    vec!["--backend", backend.name(), "resume-json", "--session-name", "a", "--prompt", "p"]
}

#[test]
fn second_turn_waits_for_the_first() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent([
            backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]),
            backend.answers("i", "OK"),
        ]);
        let first = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        let failure = sandbox
            .fails(&[&resume(backend)[..], &["--if-busy", "fail"]].concat(), 5, "session_busy")
            .message(starts_with(format!("the session 'a' (i) is locked by process {}", first.pid())));
        assert_eq!((failure.turn_started, failure.session_id.as_deref()), (Some(false), Some("i")));
        // the same session by another name, and by its ID
        sandbox.save(backend, "b", "i");
        let by_name =
            ["--backend", backend.name(), "resume-json", "--session-name", "b", "--prompt", "p", "--if-busy", "fail"];
        sandbox
            .fails(&by_name, 5, "session_busy")
            .message(starts_with("the session 'b', also named 'a' (i) is locked by process"));
        for (id, shown) in [("i", "the session 'a', also named 'b' (i)"), ("I", "the session I")] {
            let by_id =
                ["--backend", backend.name(), "resume-json", "--session-id", id, "--prompt", "p", "--if-busy", "fail"];
            let failure = sandbox.fails(&by_id, 5, "session_busy");
            failure.message(starts_with(format!("{shown} is locked by process")));
        }
        sandbox
            .fails(&[&resume(backend)[..], &["--deadline-seconds", "0.2"]].concat(), 124, "deadline")
            .before_the_turn();
        let second = sandbox.start(&resume(backend));
        wait_until(SOON, || second.stderr_so_far().starts_with("note: waiting for the session 'a'"));
        assert_eq!(sandbox.calls().len(), 1, "the second one has not begun");
        sandbox.allow("go");
        first.wait(SOON).assert.success();
        second.wait(SOON).assert.success();
        assert_eq!(sandbox.calls().len(), 2);
    }
}

/// Returns options that are in vain, with the exit status and the kind of their error.
fn bad_options(backend: Backend) -> Vec<(Vec<&'static str>, i32, &'static str)> {
    let command = if backend == Backend::Claude { "--claude-cmd" } else { "--codex-cmd" };
    let mut bad = vec![
        (vec![command, "nowhere"], 127, "agent_not_found"),
        (vec!["--env-file", "nowhere"], 2, "usage"),
        (vec!["--workspace-dir", "text"], 2, "usage"),
    ];
    if cfg!(unix) {
        bad.push((vec![command, "./text"], 126, "agent_not_executable"));
    }
    bad
}

/// Runs `call` with the option, which must fail although another call has what it would wait for.
#[track_caller]
fn fails_without_waiting(sandbox: &Sandbox, call: &[&str], exit_code: i32, kind: &str) {
    let call = [call, &["--deadline-seconds", "20"]].concat();
    let failure = sandbox.fails(&call, exit_code, kind);
    assert_eq!(failure.turn_started, Some(false), "{call:?}");
}

#[test]
fn faults_of_a_call_are_reported_before_it_waits_for_a_session() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.write("text", "");
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let first = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        let file = sandbox.workspace().join("m.json");
        std::fs::copy(sandbox.mapping_path(backend), &file).unwrap();
        let session = ["--session-name", "a", "--mapping-file", file.to_str().unwrap()];
        let name = ["--backend", backend.name()];
        for verb in [&["resume-json"][..], &["resume-stream"], &["fork-session", "--to", "b"]] {
            let call = [&name[..], verb, &session].concat();
            for (options, exit_code, kind) in bad_options(backend) {
                fails_without_waiting(&sandbox, &[&call[..], &["--prompt", "p"], &options].concat(), exit_code, kind);
            }
            fails_without_waiting(&sandbox, &[&call[..], &["--prompt-file", "nowhere"]].concat(), 2, "usage");
            let call = [&call[..], &["--prompt", "p"]].concat();
            if verb[0] != "fork-session" {
                fails_without_waiting(&sandbox, &[&call[..], &["--output-file", "."]].concat(), 2, "usage");
                if backend == Backend::Codex {
                    let role = ["--role-definition-md", "nowhere.md"];
                    fails_without_waiting(&sandbox, &[&call[..], &role].concat(), 2, "usage");
                }
            }
            // nothing else would have kept the calls from waiting
            fails_without_waiting(&sandbox, &[&call[..], &["--if-busy", "fail"]].concat(), 5, "session_busy");
        }
        sandbox.allow("go");
        first.wait(SOON).assert.success();
        assert_eq!(sandbox.calls().len(), 1);
    }
}

#[test]
fn faults_of_a_call_are_reported_before_it_waits_for_a_name() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.write("text", "");
        sandbox.save(backend, "origin", "i");
        sandbox.agent(backend.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let file = sandbox.workspace().join("m.json");
        std::fs::copy(sandbox.mapping_path(backend), &file).unwrap();
        let place = ["--mapping-file", file.to_str().unwrap()];
        let name = ["--backend", backend.name()];
        let create = ["--session-name", "a", "--if-missing", "create", "--prompt", "p"];
        let first = sandbox.start(&[&name[..], &["resume-json"], &create, &place].concat());
        wait_until(SOON, || sandbox.has_reached("up"));
        for call in [
            &[&["resume-json"], &create[..]].concat()[..],
            &[&["resume-stream"], &create[..]].concat(),
            &["create-session", "--session-name", "a"],
            &["create-session", "--session-name", "a", "--if-exists", "reuse"],
            &["fork-session", "--session-name", "origin", "--to", "a", "--prompt", "p"],
        ] {
            let call = [&name[..], call, &place].concat();
            for (options, exit_code, kind) in bad_options(backend) {
                fails_without_waiting(&sandbox, &[&call[..], &options].concat(), exit_code, kind);
            }
            if call.contains(&"create-session") {
                let role = ["--role-definition-md", "nowhere.md"];
                fails_without_waiting(&sandbox, &[&call[..], &role].concat(), 2, "usage");
            }
            // nothing else would have kept the calls from waiting
            sandbox.fails(&[&call[..], &["--deadline-seconds", "0.3"]].concat(), 124, "deadline").before_the_turn();
        }
        sandbox.allow("go");
        first.wait(SOON).assert.success();
        // the agent is not needed for a session that is there
        let reuse = ["create-session", "--session-name", "a", "--if-exists", "reuse"];
        let command = if backend == Backend::Claude { "--claude-cmd" } else { "--codex-cmd" };
        sandbox.succeeds(&[&name[..], &reuse, &place, &[command, "nowhere"]].concat()).stdout("new\n");
        assert_eq!(sandbox.calls().len(), 1);
    }
}

#[test]
fn taken_name_is_reported_before_a_call_waits_for_it() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let create = ["--backend", "claude", "create-session", "--session-name", "a"];
    let first = sandbox.start(&create);
    wait_until(SOON, || sandbox.has_reached("up"));
    fails_without_waiting(&sandbox, &[&create[..], &["--if-exists", "fail"]].concat(), 4, "session_exists");
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

#[test]
#[cfg(unix)] // permission bits
fn mapping_that_cannot_be_written_is_reported_before_a_call_waits_for_a_name() {
    use std::os::unix::fs::PermissionsExt as _;
    bound_by_permissions(|| {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "origin", "i");
        sandbox.agent(Backend::Claude.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let create = ["--backend", "claude", "create-session", "--session-name", "a"];
        let first = sandbox.start(&create);
        wait_until(SOON, || sandbox.has_reached("up"));
        let path = sandbox.mapping_path(Backend::Claude);
        let set_mode =
            |mode| std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o500);
        let resume = ["--backend", "claude", "resume-json", "--session-name", "a", "--if-missing", "create"];
        let fork = ["--backend", "claude", "fork-session", "--session-name", "origin", "--to", "a"];
        for call in
            [&create[..], &[&resume[..], &["--prompt", "p"]].concat(), &[&fork[..], &["--prompt", "p"]].concat()]
        {
            fails_without_waiting(&sandbox, call, 6, "mapping_unwritable");
        }
        set_mode(0o700);
        sandbox.allow("go");
        first.wait(SOON).assert.success();
    });
}

#[test]
fn missing_image_is_a_warning_before_a_call_waits() {
    let sandbox = Sandbox::new();
    sandbox.write("there.png", "");
    sandbox.save(Backend::Codex, "a", "i");
    let answer = Backend::Codex.answers("i", "OK");
    sandbox.agent([answer.clone().after([Step::create("up"), Step::wait_for("go")]), answer]);
    let first = sandbox.start(&resume(Backend::Codex));
    wait_until(SOON, || sandbox.has_reached("up"));
    let images = ["--image", "there.png", "--image", "nowhere.png"];
    let second = sandbox.start(&[&resume(Backend::Codex)[..], &images].concat());
    wait_until(SOON, || second.stderr_so_far().contains("note: waiting for the session 'a'"));
    let stderr = second.stderr_so_far();
    assert!(stderr.starts_with("warning: cannot read --image nowhere.png: "), "{stderr}");
    assert!(!stderr.contains("there.png:"), "{stderr}");
    sandbox.allow("go");
    first.wait(SOON).assert.success();
    second.wait(SOON).assert.success();
    assert_eq!(sandbox.last_call().value_of("--image"), Some("there.png"));
}

#[test]
fn same_id_in_another_agent_home_is_another_session() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent([
        Backend::Codex.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]),
        Backend::Codex.answers("i", "OK"),
    ]);
    let first = sandbox.start(&resume(Backend::Codex));
    wait_until(SOON, || sandbox.has_reached("up"));
    sandbox.write("vars", format!("CODEX_HOME={}", sandbox.root().display()));
    sandbox.succeeds(&[&resume(Backend::Codex)[..], &["--if-busy", "fail", "--env-file", "vars"]].concat());
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

#[test]
fn default_home_of_an_agent_is_the_same_with_and_without_its_variable() {
    for (backend, variable, dir) in
        [(Backend::Claude, "CLAUDE_CONFIG_DIR", ".claude"), (Backend::Codex, "CODEX_HOME", ".codex")]
    {
        let mut sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let first = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        sandbox.env(variable, sandbox.home().join(dir));
        sandbox.fails(&[&resume(backend)[..], &["--if-busy", "fail"]].concat(), 5, "session_busy");
        sandbox.allow("go");
        first.wait(SOON).assert.success();
    }
}

#[test]
#[cfg(unix)] // on Windows the home directory is only in a variable
fn agent_without_a_home_variable_uses_the_home_directory_of_the_account() {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("m.json");
    let file = ["--mapping-file", file.to_str().unwrap()];
    sandbox.succeeds(
        &[&["--backend", "claude", "create-session", "--session-name", "a", "--adopt", "i"][..], &file].concat(),
    );
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let call = [&resume(Backend::Claude)[..], &file].concat();
    let first = sandbox.cmd(&call).env_remove("HOME").start();
    wait_until(SOON, || sandbox.has_reached("up"));
    let call = [&["--error-format", "json"][..], &call, &["--if-busy", "fail"]].concat();
    let mut elsewhere = sandbox.cmd(&call);
    elsewhere.env_remove("HOME").current_dir(sandbox.root()).run().failed(5, "session_busy");
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

#[test]
#[cfg(unix)] // on Windows a locked file cannot be read, so only the variable decides
fn program_left_by_an_ended_turn_waits_for_later_turns() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        let answer = backend.answers("i", "OK").watching(&["INVOKE_PERSIST_HELD"]);
        sandbox.agent([answer.clone(), answer.clone().after([Step::create("up"), Step::wait_for("go")]), answer]);
        sandbox.succeeds(&resume(backend));
        let held =
            sandbox.only_call().env["INVOKE_PERSIST_HELD"].clone().expect("the agent gets the list of locked sessions");
        let later = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        let left = sandbox.cmd(&resume(backend)).env("INVOKE_PERSIST_HELD", held).start();
        wait_until(SOON, || left.stderr_so_far().starts_with("note: waiting for the session 'a'"));
        sandbox.allow("go");
        later.wait(SOON).assert.success();
        left.wait(SOON).assert.success();
        assert_eq!(sandbox.calls().len(), 3);
    }
}

#[test]
fn name_deleted_while_a_call_waits_is_created_again() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent([
            backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]),
            backend.answers("new", "OK"),
        ]);
        let first = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        let second = sandbox.start(&[&resume(backend)[..], &["--if-missing", "create"]].concat());
        wait_until(SOON, || second.stderr_so_far().starts_with("note: waiting for the session 'a'"));
        sandbox.succeeds(&["--backend", backend.name(), "delete-session", "--session-name", "a"]);
        sandbox.allow("go");
        first.wait(SOON).assert.success();
        second.wait(SOON).assert.success();
        let list = sandbox.succeeds(&["--backend", backend.name(), "list-sessions"]).json();
        assert_eq!(list["aliases"]["a"][backend.id_key()], "new");
    }
}

#[test]
fn concurrent_calls_for_a_missing_name_create_one_session() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent([
            backend.answers("first", "OK").after([Step::create("up"), Step::wait_for("go")]),
            backend.answers("@ID@", "OK"),
        ]);
        let args = [&resume(backend)[..], &["--if-missing", "create"]].concat();
        let running: Vec<_> = (0..5).map(|_| sandbox.start(&args)).collect();
        wait_until(SOON, || sandbox.has_reached("up"));
        sandbox.allow("go");
        for run in running {
            run.wait(SOON).assert.success();
        }
        let calls = sandbox.calls();
        assert_eq!(calls.len(), 5);
        assert_eq!(calls.iter().filter(|call| call.has("first")).count(), 4, "the others resume it");
    }
}

#[test]
fn call_from_inside_its_own_session_is_refused() {
    for backend in Backend::BOTH {
        let mut sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(
            backend
                .answers("i", "OK")
                .after([Step::create("up"), Step::wait_for("go")])
                .watching(&["INVOKE_PERSIST_HELD"]),
        );
        let outer = sandbox.start(&resume(backend));
        wait_until(SOON, || sandbox.has_reached("up"));
        let held =
            sandbox.only_call().env["INVOKE_PERSIST_HELD"].clone().expect("the agent gets the list of locked sessions");
        // a call from a shell inside the agent, even with other sessions in between
        sandbox.env("INVOKE_PERSIST_HELD", format!("0123,{held}"));
        let refused = sandbox.fails(&resume(backend), 5, "session_busy");
        refused.message(contains("locked by the call that this one runs inside"));
        sandbox.allow("go");
        outer.wait(SOON).assert.success();
        // the variable counts only while the session is locked
        sandbox.agent(backend.answers("i", "OK").watching(&["INVOKE_PERSIST_HELD"]));
        sandbox.succeeds(&resume(backend));
        let down = sandbox.last_call().env["INVOKE_PERSIST_HELD"].clone().unwrap();
        assert!(down.starts_with("0123,"), "the locks of outer calls are passed on: {down}");
    }
}

#[test]
fn waits_for_or_reports_a_thread_that_another_program_has_open() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    let open = Turn::default().stderr("Error: thread i already has an active writer (code -32600)\n").exit(1);
    sandbox.agent([open.clone(), Backend::Codex.answers("i", "OK")]);
    sandbox
        .succeeds(&resume(Backend::Codex))
        .stderr(starts_with("note: waiting for the session 'a' (i), which another program has open"));
    assert_eq!(sandbox.calls().len(), 2);
    sandbox.agent(open);
    sandbox
        .fails(&[&resume(Backend::Codex)[..], &["--if-busy", "fail"]].concat(), 5, "session_busy")
        .message(contains("already has an active writer"));
    let failure =
        sandbox.fails(&[&resume(Backend::Codex)[..], &["--deadline-seconds", "1.5"]].concat(), 124, "deadline");
    assert_eq!(failure.session_id.as_deref(), Some("i"));
}

#[test]
fn name_changes_during_a_turn_are_kept() {
    for backend in Backend::BOTH {
        let turn = |change: &dyn Fn(&Sandbox)| {
            let sandbox = Sandbox::new();
            sandbox.save(backend, "a", "i");
            sandbox.agent(backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
            let running = sandbox.start(&[&resume(backend)[..], &["--model", "m"]].concat());
            wait_until(SOON, || sandbox.has_reached("up"));
            change(&sandbox);
            sandbox.allow("go");
            let output = running.wait(SOON).assert.success();
            let list = sandbox.succeeds(&["--backend", backend.name(), "list-sessions"]).json();
            (list["aliases"].clone(), output.stderr_text())
        };
        let (aliases, stderr) = turn(&|sandbox| {
            sandbox.succeeds(&["--backend", backend.name(), "rename-session", "--session-name", "a", "--to", "b"]);
        });
        assert_eq!((&aliases["b"]["last_model"], aliases.get("a")), (&"m".into(), None), "{stderr}");
        let (aliases, stderr) = turn(&|sandbox| sandbox.save(backend, "a", "other"));
        assert_eq!((&aliases["a"][backend.id_key()], aliases["a"].get("last_model")), (&"other".into(), None));
        assert!(stderr.contains("note: 'a' was given to other"), "{stderr}");
        let (aliases, stderr) = turn(&|sandbox| {
            sandbox.succeeds(&["--backend", backend.name(), "delete-session", "--session-name", "a"]);
        });
        assert_eq!(aliases, serde_json::json!({}));
        assert!(stderr.contains("deleted") && stderr.contains("--adopt=i"), "{stderr}");
        let (aliases, stderr) = turn(&|sandbox| {
            sandbox.succeeds(&["--backend", backend.name(), "delete-all-sessions"]);
        });
        assert_eq!(aliases, serde_json::json!({}));
        assert!(stderr.contains("--adopt=i"), "{stderr}");
        let (aliases, stderr) = turn(&|sandbox| drop(sandbox.write_mapping(backend, "{oops")));
        assert_eq!(aliases["a"]["last_model"], "m", "{stderr}");
        assert!(stderr.starts_with("warning: "), "{stderr}");
    }
}

#[test]
fn started_turn_is_not_retried() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    // a failure of a sub-agent, not of this session
    let turn = Backend::Codex.answers("i", "OK");
    sandbox.agent(turn.stderr("sub-agent: thread x already has an active writer\n").exit(1));
    sandbox.fails(&resume(Backend::Codex), 1, "agent_failed");
    assert_eq!(sandbox.calls().len(), 1);
}

#[test]
fn name_is_busy_while_its_session_is_created() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let args = [&resume(Backend::Claude)[..], &["--if-missing", "create"]].concat();
    let first = sandbox.start(&args);
    wait_until(SOON, || sandbox.has_reached("up"));
    sandbox
        .fails(&[&args[..], &["--if-busy", "fail"]].concat(), 5, "session_busy")
        .message(contains(format!("process {}", first.pid())));
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

#[test]
fn renamed_name_is_updated_after_the_turn() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let running = sandbox.start(&[&resume(Backend::Claude)[..], &["--model", "m"]].concat());
    wait_until(SOON, || sandbox.has_reached("up"));
    sandbox.succeeds(&["--backend", "claude", "rename-session", "--session-name", "a", "--to", "b"]);
    sandbox.save(Backend::Claude, "a", "other");
    sandbox.allow("go");
    running.wait(SOON).assert.success();
    let aliases = sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json()["aliases"].clone();
    assert_eq!((&aliases["b"]["last_model"], aliases["a"].get("last_model")), (&"m".into(), None));
}

#[test]
fn mapping_deleted_during_a_turn_stays_deleted() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let running = sandbox.start(&resume(Backend::Claude));
    wait_until(SOON, || sandbox.has_reached("up"));
    sandbox.succeeds(&["--backend", "claude", "delete-all-sessions"]);
    sandbox.allow("go");
    running.wait(SOON).assert.success();
    assert!(!sandbox.mapping_path(Backend::Claude).exists());
}

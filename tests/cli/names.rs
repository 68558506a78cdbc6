//! Names: created, reused, overwritten, renamed, deleted, listed (contract sections 2 and 4).

use serde_json::json;

use crate::support::*;

#[test]
fn overwriting_a_name_prints_its_former_id() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox
        .succeeds(&["--backend", "claude", "create-session", "--session-name", "a", "--adopt", "j"])
        .stdout("j\n")
        .stderr(starts_with("note: ").and(contains('i')));
    let quiet = ["--quiet", "--backend", "claude", "create-session", "--session-name", "a", "--adopt", "k"];
    sandbox.succeeds(&quiet).stderr("");
}

#[test]
fn existing_name_can_be_kept() {
    let sandbox = Sandbox::new();
    for backend in Backend::BOTH {
        sandbox.agent(backend.answers("new", "OK"));
        sandbox.save(backend, "a", "old");
        let create = ["--backend", backend.name(), "create-session", "--session-name", "a", "--if-exists"];
        let failure = sandbox.fails(&[&create[..], &["fail"]].concat(), 4, "session_exists");
        assert_eq!((failure.session_id.as_deref(), failure.turn_started), (Some("old"), Some(false)));
        sandbox.fails(&[&create[..], &["fail", "--adopt", "x"]].concat(), 4, "session_exists");
        let reused = sandbox.succeeds(&[&create[..], &["reuse", "--print-mapping-json"]].concat()).json();
        assert_eq!(reused[backend.id_key()], "old");
        assert_eq!(reused["mapping_file_written"], false);
        sandbox.succeeds(&[&create[..], &["reuse", "--adopt", "x"]].concat()).stdout("old\n");
        assert!(sandbox.calls().is_empty());
        sandbox.succeeds(&[&create[..], &["overwrite"]].concat()).stdout("new\n");
        std::fs::remove_file(sandbox.bin().join("calls.jsonl")).unwrap();
        // an unused name is created with any --if-exists
        let free = ["--backend", backend.name(), "create-session", "--session-name", "free", "--if-exists", "fail"];
        sandbox.succeeds(&free).stdout("new\n");
        std::fs::remove_file(sandbox.bin().join("calls.jsonl")).unwrap();
    }
}

#[test]
fn session_id_at_creation_is_ignored_with_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("new", "OK"));
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--session-id", "mine"];
    sandbox.succeeds(&create).stdout("new\n").stderr(starts_with("warning: ").and(contains("--adopt")));
}

#[test]
fn rename_keeps_the_whole_entry() {
    let sandbox = Sandbox::new();
    for backend in Backend::BOTH {
        let entry = json!({backend.id_key(): "i", "last_model": "m", "mine": [1.0]});
        sandbox.write_mapping(backend, json!({"aliases": {"a": entry, "b": "j"}}).to_string());
        let rename = ["--backend", backend.name(), "rename-session", "--session-name"];
        sandbox.fails(&[&rename[..], &["none", "--to", "x"]].concat(), 3, "session_not_found");
        let before = sandbox.mapping(backend);
        sandbox.fails(&[&rename[..], &["a", "--to", "b"]].concat(), 4, "session_exists").hint(contains("--force"));
        assert_eq!(sandbox.mapping(backend), before);
        let output = sandbox.succeeds(&[&rename[..], &["a", "--to", "c"]].concat());
        let file = sandbox.mapping_path(backend);
        let printed = format!(
            "{{\"workspace_dir\": {}, \"mapping_file\": {}, \"renamed_from\": \"a\", \"renamed_to\": \"c\", \
             \"{key}\": \"i\", \"replaced_{key}\": null, \"mapping_file_written\": true}}\n",
            json!(sandbox.workspace()),
            json!(file),
            key = backend.id_key()
        );
        output.stdout(printed);
        let output = sandbox.succeeds(&[&rename[..], &["c", "--to", "b", "--force"]].concat()).json();
        assert_eq!(output[format!("replaced_{}", backend.id_key())], "j");
        let mapping: serde_json::Value = serde_json::from_str(&sandbox.mapping(backend)).unwrap();
        assert_eq!(mapping["aliases"], json!({"b": entry}));
    }
}

#[test]
fn renaming_to_the_same_name_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let before = sandbox.mapping(Backend::Claude);
    sandbox.fails(&["--backend", "claude", "rename-session", "--session-name", "a", "--to", "a"], 2, "usage");
    assert_eq!(sandbox.mapping(Backend::Claude), before);
}

#[test]
fn unusable_id_of_a_name_is_reported() {
    let sandbox = Sandbox::new();
    sandbox
        .write_mapping(Backend::Claude, r#"{"aliases": {"a": {"session_id": "--last"}, "b": {"session_id": "x\ny"}}}"#);
    for (name, why) in [("a", "dash"), ("b", "control")] {
        let resolve = ["--backend", "claude", "resolve", "--session-name", name];
        sandbox.fails(&resolve, 3, "session_not_found").message(contains(why));
    }
    assert_eq!(sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json()["alias_count"], 0);
    assert!(sandbox.calls().is_empty());
}

#[test]
fn misspelt_name_gets_suggestions() {
    let sandbox = Sandbox::new();
    for name in ["review-src", "Review-Docs", "tests", "quoted'name"] {
        sandbox.save(Backend::Claude, name, name);
    }
    for (typed, meant) in [
        ("reveiw-src", "did you mean 'review-src' or 'Review-Docs'? names are per"),
        ("TESTS", "did you mean 'tests'? names are per"),
        ("entirely else", "names are per"),
    ] {
        for verb in ["resolve", "rename-session", "resume-json"] {
            let more: &[&str] = match verb {
                "rename-session" => &["--to", "new"],
                "resume-json" => &["--prompt", "p"],
                _ => &[],
            };
            let line = [&["--backend", "claude", verb, "--session-name", typed][..], more].concat();
            let output = sandbox.run(&[&["--error-format", "json"], &line[..]].concat());
            let hint = output.failed(3, "session_not_found").hint.unwrap();
            assert!(hint.starts_with(meant), "{verb} {typed}: {hint}");
        }
    }
}

#[test]
fn misspelt_name_without_a_backend_gets_suggestions() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "review-src", "i");
    let failure = sandbox.fails(&["resolve", "--session-name", "revew-src"], 3, "session_not_found");
    let hint = failure.hint.unwrap();
    assert!(hint.starts_with("did you mean 'review-src' (codex)? names are per workspace"), "{hint}");
    // a name that may be created still needs an agent
    let create = ["resume-json", "--session-name", "revew-src", "--if-missing", "create", "--prompt", "p"];
    let hint = sandbox.fails(&create, 2, "usage").hint.unwrap();
    assert!(hint.starts_with("did you mean 'review-src' (codex)? run: invoke-persist --backend claude "), "{hint}");
}

#[test]
fn prompt_of_an_adopted_session_is_ignored_with_a_warning() {
    let sandbox = Sandbox::new();
    let adopt = ["--backend", "claude", "create-session", "--session-name", "a", "--adopt", "i", "--init-prompt", "hi"];
    let output = sandbox.run(&adopt).success().stdout("i\n");
    output.stderr("warning: --init-prompt is ignored here, because --adopt calls no agent\n");
    assert!(sandbox.calls().is_empty());
}

#[test]
fn hint_for_a_name_of_the_other_agent_does_not_start_a_second_session() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    for call in [&["ask", "a", "hi", "--full-auto"][..], &["--backend", "codex", "resolve", "--session-name", "a"]] {
        let hint = "'a' is a claude session: remove the options of codex, or add --backend claude";
        let failure = sandbox.fails(call, 3, "session_not_found").before_the_turn();
        assert_eq!(failure.hint.as_deref(), Some(hint), "{call:?}");
    }
}

#[test]
fn new_session_of_a_name_that_exists_above_is_noted() {
    let sandbox = Sandbox::new();
    sandbox.write("below/x", "");
    sandbox.save(Backend::Claude, "nightly", "i");
    sandbox.agent(Backend::Claude.answers("new", "OK"));
    let call = ["--backend", "claude", "resume-json", "--session-name", "nightly", "--prompt", "p"];
    let mut command = sandbox.cmd(&[&call[..], &["--if-missing", "create"]].concat());
    let output = command.current_dir(sandbox.workspace().join("below")).run().success();
    let above = shell_words::quote(sandbox.workspace().to_str().unwrap()).into_owned();
    let note = format!("note: to resume an existing session instead, add --workspace-dir {above}, where");
    output.stderr(contains("; starting a new session\n").and(contains(note)));
}

#[test]
fn name_of_a_directory_above_is_found_by_its_hint() {
    let mut sandbox = Sandbox::new();
    sandbox.write("a/b c/x", "");
    sandbox.save(Backend::Claude, "nightly", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    let above = sandbox.workspace().to_owned();
    let below = above.join("a/b c");
    let verbs: [&[&str]; 5] = [
        &["resolve"],
        &["resume-json", "--prompt", "p"],
        &["resume-stream", "--prompt", "p"],
        &["fork-session", "--to", "new", "--prompt", "p"],
        &["rename-session", "--to", "new"],
    ];
    let quoted = shell_words::quote(above.to_str().unwrap()).into_owned();
    let hint = format!("add --workspace-dir {quoted}, where a claude session has that name");
    let call = |dir: &std::path::Path, start: &[&str], verb: &[&str], name: &str| {
        let args = [&["--error-format", "json"], verb, start, &["--session-name", name]].concat();
        sandbox.cmd(&args).current_dir(dir).run()
    };
    for verb in verbs {
        let failure = call(&below, &["--backend", "claude"], verb, "nightly").failed(3, "session_not_found");
        assert_eq!(failure.hint.as_deref(), Some(hint.as_str()), "{verb:?}");
        // without a backend, the mappings of both are read
        assert_eq!(call(&below, &[], verb, "nightly").error().hint.as_deref(), Some(hint.as_str()), "{verb:?}");
        let others: [(&std::path::Path, &[&str], &str); 3] = [
            (&below, &["--backend", "claude"], "other"),
            (&below, &["--backend", "codex"], "nightly"),
            (&below, &["--backend", "claude", "--workspace-dir", ".."], "nightly"),
        ];
        for (dir, start, name) in others {
            let hint = call(dir, start, verb, name).failed(3, "session_not_found").hint.unwrap();
            assert!(!hint.contains("where a"), "{verb:?} {start:?} {name}: {hint}");
        }
    }
    let output = call(&below, &["--backend", "claude"], &["delete-session"], "nightly");
    assert_eq!((output.exit_code(), &output.json()["removed_count"]), (Some(0), &json!(0)));
    output.stderr(contains(format!("note: no claude session was named 'nightly'; {hint}")));
    // the command in the hint works
    let add = ["--backend", "claude", "--workspace-dir", above.to_str().unwrap()];
    call(&below, &add, &["resolve"], "nightly").success();
    // nothing was written below
    assert!(!sandbox.temp().join("agent-sessions").join(sandbox.key_of(&below)).exists());

    // a mapping that cannot be used is ignored
    let saved = sandbox.mapping(Backend::Claude);
    sandbox.write_mapping(Backend::Claude, "{broken");
    let failure = call(&below, &["--backend", "claude"], &["resolve"], "nightly").failed(3, "session_not_found");
    assert!(failure.hint.unwrap().starts_with("names are per workspace"));
    sandbox.write_mapping(Backend::Claude, saved);

    // the home directory is the last one that is read
    for (home, is_found) in [(above.clone(), true), (above.join("a"), false), (below.clone(), false)] {
        sandbox.env(if cfg!(windows) { "USERPROFILE" } else { "HOME" }, &home);
        let args = ["--error-format", "json", "--backend", "claude", "resolve", "--session-name", "nightly"];
        let hint = sandbox.cmd(&args).current_dir(&below).run().failed(3, "session_not_found").hint.unwrap();
        assert_eq!(hint.contains("where a"), is_found, "{}: {hint}", home.display());
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn workspace_dir_option_selects_the_workspace() {
    let sandbox = Sandbox::new();
    sandbox.write("other/x", "");
    for backend in Backend::BOTH {
        sandbox.agent(backend.answers("i", "OK"));
        let there = ["--backend", backend.name(), "--quiet"];
        let create = ["create-session", "--session-name", "a", "--workspace-dir", "other", "--print-mapping-json"];
        let created = sandbox.succeeds(&[&there[..], &create].concat()).json();
        let other = sandbox.workspace().join("other");
        assert_eq!(created["workspace_dir"], json!(other));
        assert_eq!(sandbox.last_call().cwd, other.to_str().unwrap());
        let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--workspace-dir", "other"];
        sandbox.succeeds(&[&there[..], &resume].concat());
        assert_eq!(sandbox.last_call().cwd, other.to_str().unwrap());
        let resolve = ["resolve", "--session-name", "a", "--workspace-dir", "./other/../other"];
        sandbox.succeeds(&[&there[..], &resolve].concat());
        let rename = ["rename-session", "--session-name", "a", "--to", "b", "--workspace-dir", "other"];
        assert_eq!(sandbox.succeeds(&[&there[..], &rename].concat()).json()["workspace_dir"], "other");
        sandbox.fails(&[&there[..], &["resolve", "--session-name", "b"]].concat(), 3, "session_not_found");
    }
}

#[test]
fn reading_creates_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.env("TMPDIR", sandbox.temp().join("none"));
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.temp().join("mine"));
    sandbox.succeeds(&["list-sessions"]);
    sandbox.fails(&["--backend", "claude", "resolve", "--session-name", "a"], 3, "session_not_found");
    sandbox.fails(
        &["--backend", "claude", "rename-session", "--session-name", "a", "--to", "b"],
        3,
        "session_not_found",
    );
    sandbox.succeeds(&["--backend", "claude", "delete-session", "--session-name", "a"]);
    sandbox.succeeds(&["--backend", "claude", "delete-all-sessions"]);
    assert_eq!(std::fs::read_dir(sandbox.temp()).unwrap().count(), 0);
}

#[test]
fn custom_directory_contains_the_mapping() {
    let mut sandbox = Sandbox::new();
    let mine = sandbox.root().join("mine/deep");
    sandbox.env("INVOKE_PERSIST_DIR", &mine);
    sandbox.save(Backend::Claude, "a", "i");
    let file = sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json()["mapping_file"].clone();
    assert!(std::path::Path::new(file.as_str().unwrap()).starts_with(&mine), "{file}");
    assert_eq!(std::fs::read_dir(sandbox.temp()).unwrap().count(), 0);
}

#[test]
fn entry_of_the_other_agent_is_overwritten_only_on_request() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("new", "OK"));
    let place = ["--backend", "claude", "--error-format", "json"];
    let write = || sandbox.write("m.json", r#"{"aliases": {"a": {"session_id": "i"}, "b": {"thread_id": "t"}}}"#);
    for args in [
        &["rename-session", "--session-name", "a", "--to", "b"][..],
        &["create-session", "--session-name", "b", "--adopt", "n", "--if-exists", "fail"],
        &["create-session", "--session-name", "b", "--if-exists", "fail"],
        &["create-session", "--session-name", "b", "--if-exists", "reuse"],
    ] {
        let file = write();
        let before = std::fs::read(&file).unwrap();
        sandbox.fails(&[&place[..2], args, &["--mapping-file", "m.json"]].concat(), 4, "session_exists");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    assert!(sandbox.calls().is_empty());
    write();
    let create = ["create-session", "--session-name", "b", "--mapping-file", "m.json"];
    sandbox.succeeds(&[&place[..2], &create].concat()).stderr(contains("t (codex)"));
}

#[test]
#[cfg(unix)] // Windows has neither in the file system
fn only_files_and_symlinks_are_removed() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.workspace().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let delete = ["--backend", "claude", "delete-all-sessions", "--mapping-file"];
    sandbox.fails(&[&delete[..], &["pipe"]].concat(), 6, "mapping_unreadable");
    assert!(pipe.exists());
    std::os::unix::fs::symlink("nowhere/x", sandbox.workspace().join("dangling")).unwrap();
    let removed = sandbox.succeeds(&[&delete[..], &["dangling"]].concat()).json();
    assert_eq!(removed["mapping_file_deleted"], true);
    assert!(!sandbox.workspace().join("dangling").is_symlink());
}

#[cfg(unix)]
#[test]
fn adopt_hint_contains_the_exact_name() {
    for name in ["exe.\u{202e}gnp", "it's\\\u{61c} \u{206a}!x", "a\nb\u{2028}'c", "größe 1"] {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Codex.fails("begun", "no money"));
        let create = ["--backend", "codex", "create-session", "--session-name", name];
        let hint = sandbox.fails(&create, 1, "agent_failed").hint.unwrap();
        let (_, command) = hint.split_once(", run: ").unwrap();
        let program = sandbox.program_named("invoke-persist");
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &format!("PATH=$1:$PATH; {command}"), "bash"]).arg(program.parent().unwrap());
        shell.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables()).run().success();
        let mapping: serde_json::Value = serde_json::from_str(&sandbox.mapping(Backend::Codex)).unwrap();
        assert_eq!(mapping["aliases"][name]["thread_id"], "begun", "{command}");
    }
}

#[test]
fn name_that_another_call_takes_during_a_first_turn_is_not_replaced() {
    let prompt = ["--prompt", "p"];
    for (call, options) in [
        (&["create-session", "--session-name", "n", "--if-exists", "fail"][..], &[][..]),
        (&["create-session", "--session-name", "n", "--if-exists", "reuse"], &[]),
        (&["fork-session", "--session-name", "origin", "--to", "n"], &prompt),
        (&["resume-json", "--session-name", "n", "--if-missing", "create"], &prompt),
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.env("INVOKE_PERSIST_BACKEND", "claude");
        sandbox.save(Backend::Claude, "origin", "o");
        let turn = Backend::Claude.answers("new", "OK").after([Step::create("up"), Step::wait_for("go")]);
        sandbox.agent(turn);
        let running = sandbox.start(&[&["--quiet"], call, options].concat());
        wait_until(std::time::Duration::from_secs(30), || sandbox.has_reached("up"));
        sandbox.succeeds(&["create-session", "--session-name", "n", "--adopt", "other"]);
        sandbox.allow("go");
        let output = running.wait(std::time::Duration::from_secs(30)).assert.success();
        let warning = "warning: the session was started, but its name was not saved: 'n' was given to other during the \
            turn; to keep session new, run: invoke-persist --backend claude create-session --session-name=NAME --adopt=new\n";
        output.stderr(warning).stdout(contains(if call[0] == "create-session" { "new" } else { "OK" }));
        let resolve = ["resolve", "--session-name", "n", "--print-session-id"];
        sandbox.succeeds(&resolve).stdout("other\n");
        if call[0] == "create-session" {
            // by default, the last call to save the name keeps it
            sandbox.agent(Backend::Claude.answers("newer", "OK"));
            sandbox
                .succeeds(&["create-session", "--session-name", "n"])
                .stderr(contains("previously referred to other"));
            sandbox.succeeds(&resolve).stdout("newer\n");
        }
    }
}

#[test]
fn resolve_reports_the_other_names_of_a_session() {
    let sandbox = Sandbox::new();
    for name in ["b", "a", "c", "d", "e"] {
        sandbox.save(Backend::Claude, name, "i");
    }
    sandbox.save(Backend::Claude, "only", "other");
    let resolve = |selector: [&str; 2], options: &[&str]| {
        sandbox.run(&[&["--backend", "claude", "resolve"], &selector[..], options].concat()).success()
    };
    let by_name = resolve(["--session-name", "b"], &[]);
    by_name.stderr("note: several names are for the session 'b', also named 'a', 'c', 'd', 1 more (i)\n");
    let by_id = resolve(["--session-id", "i"], &[]);
    by_id.stderr("note: several names are for the session 'a', also named 'b', 'c', 'd', 1 more (i)\n");
    resolve(["--session-name", "b"], &["--print-session-id"]).stdout("i\n").stderr("");
    resolve(["--session-name", "b"], &["--quiet"]).stderr("");
    resolve(["--session-name", "only"], &[]).stderr("");
    resolve(["--session-id", "unknown"], &[]).stderr("");
}

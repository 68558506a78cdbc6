//! Calls that the original scripts accept, in addition to the recorded cases.

use serde_json::json;

use crate::support::*;

#[test]
fn deletion_prints_the_workspace_as_passed() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        let file = sandbox.write("m.json", "{broken");
        let delete = ["--quiet", "--backend", backend.name(), "delete-session", "--session-name", "a"];
        let place = ["--workspace-dir", "./sub", "--mapping-file", "m.json", "--print-mapping-json"];
        let printed = sandbox.succeeds(&[&delete[..], &place].concat()).json();
        assert_eq!((&printed["workspace_dir"], &printed["stored_workspace_dir"]), (&json!("./sub"), &json!("./sub")));
        assert_eq!(printed["mapping"], json!({"workspace_dir": "./sub", "aliases": {}}));
        let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(stored, printed["mapping"]);
        // the workspace in a valid file is kept, and is printed unchanged
        let good = json!({"workspace_dir": "/else", "aliases": {}});
        sandbox.write("m.json", good.to_string());
        let printed = sandbox.succeeds(&[&delete[..], &place].concat()).json();
        assert_eq!((&printed["stored_workspace_dir"], &printed["mapping"]), (&json!("/else"), &good));
    }
}

#[test]
fn blank_workspace_lists_the_current_one_and_changes_nothing() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("new", "OK"));
        let before = sandbox.mapping(backend);
        let list = ["--backend", backend.name(), "list-sessions"];
        let want = sandbox.succeeds(&list).stdout_text();
        for blank in [&["--workspace-dir", ""][..], &["--workspace-dir="], &["--workspace-dir", " \t"], &["--work", ""]]
        {
            assert_eq!(sandbox.succeeds(&[&list[..], blank].concat()).stdout_text(), want);
            for verb in [
                &["delete-session", "--session-name", "a"][..],
                &["delete-session", "--session-id", "i"],
                &["delete-all-sessions"],
            ] {
                let failure = sandbox.fails(&[&list[..2], verb, blank].concat(), 2, "usage");
                assert_eq!(failure.message, "--workspace-dir is blank", "{verb:?} {blank:?}");
            }
        }
        for verb in [
            &["rename-session", "--session-name", "a", "--to", "b"][..],
            &["create-session", "--session-name", "a"],
            &["resolve", "--session-name", "a"],
            &["resume-json", "--session-name", "a", "--prompt", "p"],
        ] {
            let failure = sandbox.fails(&[&list[..2], verb, &["--workspace-dir", ""]].concat(), 2, "usage");
            assert_eq!(failure.message, "--workspace-dir is blank", "{verb:?}");
        }
        assert_eq!(sandbox.mapping(backend), before);
        assert!(sandbox.calls().is_empty());
    }
    // also if no source selects a backend
    let sandbox = Sandbox::new();
    let want = sandbox.succeeds(&["list-sessions"]).stdout_text();
    assert_eq!(sandbox.succeeds(&["list-sessions", "--workspace-dir", ""]).stdout_text(), want);
}

#[test]
fn empty_value_is_reported_as_blank_and_not_as_missing() {
    let sandbox = Sandbox::new();
    for option in ["--mapping-file", "--env-file", "--role-definition-md"] {
        for value in [&[option, ""][..], &[&format!("{option}=")]] {
            let create = ["--backend", "codex", "create-session", "--session-name", "a"];
            let failure = sandbox.fails(&[&create[..], value].concat(), 2, "usage");
            assert_eq!(failure.message, format!("{option} is blank"));
        }
    }
    sandbox
        .fails(&["--backend", "claude", "list-sessions", "--mapping-file"], 2, "usage")
        .message(contains("requires a value"));
}

#[test]
fn abbreviated_options_have_the_meaning_of_the_original() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("@ID@", "OK"));
        let call = ["--backend", backend.name(), "resume-json", "--session-id", "i", "--prompt", "p"];
        let claude = backend == Backend::Claude;
        for (options, is_understood) in [
            (&["--d=10"][..], claude), // codex has more options that begin with d
            (&["--d", "10"], claude),
            (&["--d= 10"], claude),
            (&["--dead=10"], true),
            (&["--de", "10"], true),
            (&["--da"], !claude),
            (&["--print-s"], true),
            (&["--f"], !claude),
        ] {
            let output = sandbox.run(&[&call[..], options].concat());
            assert_eq!(
                output.exit_code() == Some(0),
                is_understood,
                "{backend:?} {options:?}: {}",
                output.stderr_text()
            );
        }
        for (options, is_understood) in [
            (&["--session-i", "x"][..], true),
            (&["--session-i=x"], true),
            (&["--session-", "x"], false),
            (&["--th", "x"], !claude),
            (&["--thread-=x"], !claude),
        ] {
            let create = ["--backend", backend.name(), "create-session", "--session-name", "a", "--adopt", "i"];
            let output = sandbox.run(&[&create[..], options].concat());
            assert_eq!(
                output.exit_code() == Some(0),
                is_understood,
                "{backend:?} {options:?}: {}",
                output.stderr_text()
            );
            assert!(!is_understood || output.stdout_text() == "i\n");
        }
    }
}

#[test]
fn id_with_several_names_uses_the_alphabetically_first() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("i", "OK"));
        let entry = |model: &str| json!({backend.id_key(): "i", "last_model": model});
        let names = ["é", "b", "Z", "a", "😀", "\u{ffff}"];
        let entries: Vec<_> = names.iter().map(|name| format!("{}: {}", json!(name), entry(name))).collect();
        sandbox.write_mapping(backend, format!("{{\"aliases\": {{{}}}}}", entries.join(", ")));
        let by_id = ["--backend", backend.name(), "resolve", "--session-id", "i"];
        let resolved = sandbox.succeeds(&by_id).json();
        assert_eq!((&resolved["alias"], &resolved["last_model"]), (&json!("Z"), &json!("Z")));
        // a turn uses the model of the same entry
        sandbox.succeeds(&["--backend", backend.name(), "resume-json", "--session-id", "i", "--prompt", "p"]);
        assert_eq!(sandbox.last_call().value_of("--model"), Some("Z"));
        sandbox.write_mapping(backend, format!("{{\"aliases\": {{{}}}}}", entries.join(", ")));
        let delete = ["--backend", backend.name(), "delete-session", "--session-id", "i"];
        let removed = sandbox.succeeds(&delete).json()["removed_aliases"].clone();
        assert_eq!(removed, json!(["Z", "a", "b", "é", "\u{ffff}", "😀"]), "in Python's order");
    }
}

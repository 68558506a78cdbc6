//! The role that a session began with is kept, and passed again on each later turn (contract sections 2 and 5).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::*;

const ROLE: &str = "\n# Reviewer\n\n-- \"Be strict.\" ✓ $HOME\n\n";
const OPTION: &str = "--append-system-prompt";

/// Returns a sandbox with a session `a` that began with [`ROLE`]. The role's file has changed since.
fn with_role() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    sandbox.agent(Backend::Claude.answers("id-1", "OK"));
    sandbox.succeeds(&create("a"));
    sandbox.write("role.md", "another role");
    assert_eq!(role_files(&sandbox).len(), 1);
    sandbox.agent(Backend::Claude.answers("@ID@", "OK"));
    sandbox
}

/// Sets the turns after those that were already played.
fn plays(sandbox: &Sandbox, turns: impl IntoIterator<Item = Turn>) {
    let played = sandbox.calls().iter().map(|_| Turn::default()).collect::<Vec<_>>();
    sandbox.agent(played.into_iter().chain(turns).collect::<Vec<_>>());
}

fn create(name: &str) -> [&str; 7] {
    ["--backend", "claude", "create-session", "--session-name", name, "--role-definition-md", "role.md"]
}

fn resume<'a>(verb: &'a str, name: &'a str) -> [&'a str; 5] {
    [verb, "--session-name", name, "--prompt", "go"]
}

/// Returns the role of the last call.
fn last_role(sandbox: &Sandbox) -> Option<String> {
    sandbox.last_call().value_of(OPTION).map(str::to_owned)
}

/// Returns the files with roles, which are beside the mapping.
fn role_files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let dir = sandbox.mapping_path(Backend::Claude).parent().unwrap().to_owned();
    files_in(&dir).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn role_of_creation_is_passed_on_every_later_turn() {
    let sandbox = with_role();
    let by_id = ["--backend", "claude", "resume-json", "--session-id", "id-1", "--prompt", "go"];
    for call in [
        &resume("resume-json", "a")[..],
        &resume("resume-json", "a"),
        &resume("resume-stream", "a"),
        &[&resume("resume-stream", "a")[..], &["--print-result"]].concat(),
        &["ask", "a", "go on"],
        &["resume-json", "--if-missing", "create", "--session-name", "a", "--prompt", "go"],
        &by_id,
    ] {
        sandbox.succeeds(call);
        assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "{call:?}");
    }
    sandbox.succeeds(&[&resume("resume-json", "a")[..], &["--model", "m", "--reasoning-effort", "low"]].concat());
    let want = ["-p", "go", "--resume", "id-1", "--output-format", "json", OPTION, ROLE, "--model", "m"];
    assert_eq!(sandbox.last_call().argv, [&want[..], &["--effort", "low"]].concat());
}

#[test]
fn role_is_not_in_the_mapping_and_private() {
    let sandbox = with_role();
    let mapping: Value = serde_json::from_str(&sandbox.mapping(Backend::Claude)).unwrap();
    let entry = mapping["aliases"]["a"].as_object().unwrap();
    assert_eq!(entry.keys().collect::<Vec<_>>(), ["created_at", "session_id"]);
    let [file] = <[PathBuf; 1]>::try_from(role_files(&sandbox)).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), ROLE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let resolved = sandbox.succeeds(&["resolve", "--session-name", "a"]).json();
    assert_eq!(resolved["role_file"], json!(file));
    let list = sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json();
    assert_eq!(list["aliases"]["a"], Value::Object(entry.clone()));
}

#[test]
fn session_without_a_role_gets_none() {
    let sandbox = Sandbox::new();
    sandbox.write("empty.md", "");
    for (options, before) in [(&[][..], &[][..]), (&["--role-definition-md", "empty.md"], &[])] {
        sandbox.agent(Backend::Claude.answers("id-1", "OK"));
        let create = ["--backend", "claude", "create-session", "--session-name", "a"];
        sandbox.succeeds(&[&create[..], options].concat());
        sandbox.succeeds(&resume("resume-json", "a"));
        assert_eq!(sandbox.last_call().argv, ["-p", "go", "--resume", "id-1", "--output-format", "json"]);
        assert_eq!(role_files(&sandbox), before as &[PathBuf]);
        let resolved = sandbox.succeeds(&["resolve", "--session-name", "a"]).json();
        assert!(resolved.get("role_file").is_none());
    }
}

#[test]
fn role_follows_a_rename_and_a_fork() {
    let sandbox = with_role();
    sandbox.succeeds(&["rename-session", "--session-name", "a", "--to", "b"]);
    sandbox.succeeds(&resume("resume-json", "b"));
    assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE));

    plays(&sandbox, [Backend::Claude.answers("id-2", "OK"), Backend::Claude.answers("@ID@", "OK")]);
    sandbox.succeeds(&["fork-session", "--session-name", "b", "--to", "c", "--prompt", "go"]);
    let want = ["-p", "go", "--resume", "id-1", "--output-format", "json", "--fork-session", OPTION, ROLE];
    assert_eq!(sandbox.last_call().argv_without_new_id(), want);
    for name in ["b", "c"] {
        sandbox.succeeds(&resume("resume-stream", name));
        assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "{name}");
    }
    sandbox.succeeds(&["delete-session", "--session-name", "b"]);
    sandbox.succeeds(&resume("resume-json", "c"));
    assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "the fork has its own");
}

#[test]
fn role_follows_a_new_id() {
    let sandbox = with_role();
    for id in ["id-2", "id-3"] {
        sandbox.agent(Backend::Claude.answers(id, "OK"));
        sandbox.succeeds(&resume("resume-json", "a"));
        assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "{id}");
    }
    assert_eq!(role_files(&sandbox).len(), 1);
}

#[test]
fn role_is_removed_with_the_name_of_its_session() {
    let delete: &[&str] = &["delete-session", "--session-name", "a"];
    let by_id: &[&str] = &["--backend", "claude", "delete-session", "--session-id", "id-1"];
    for removal in [delete, by_id, &["delete-all-sessions"]] {
        let sandbox = with_role();
        sandbox.succeeds(removal);
        assert!(role_files(&sandbox).is_empty(), "{removal:?}");
        sandbox.save(Backend::Claude, "a", "id-1");
        sandbox.succeeds(&resume("resume-json", "a"));
        assert_eq!(last_role(&sandbox), None, "{removal:?}");
    }
    let sandbox = with_role();
    let removed = sandbox.succeeds(&["--backend", "claude", "delete-all-sessions"]).json();
    assert_eq!(removed["mapping_parent_dir_deleted_if_empty"], true);
}

#[test]
fn role_stays_while_its_session_has_another_name() {
    let sandbox = with_role();
    sandbox.save(Backend::Claude, "b", "id-1");
    sandbox.succeeds(&["delete-session", "--session-name", "a"]);
    sandbox.succeeds(&resume("resume-json", "b"));
    assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE));
}

#[test]
fn new_session_under_the_name_replaces_or_removes_the_role() {
    let sandbox = with_role();
    plays(&sandbox, [Backend::Claude.answers("id-2", "OK"), Backend::Claude.answers("@ID@", "OK")]);
    sandbox.succeeds(&create("a"));
    sandbox.succeeds(&resume("resume-json", "a"));
    assert_eq!((last_role(&sandbox).as_deref(), role_files(&sandbox).len()), (Some("another role"), 1));

    plays(&sandbox, [Backend::Claude.answers("id-3", "OK"), Backend::Claude.answers("@ID@", "OK")]);
    sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "a"]);
    sandbox.succeeds(&resume("resume-json", "a"));
    assert_eq!((last_role(&sandbox), role_files(&sandbox).len()), (None, 0));

    sandbox.agent(Backend::Claude.answers("id-4", "OK"));
    sandbox.succeeds(&create("b"));
    sandbox.succeeds(&["rename-session", "--session-name", "a", "--to", "b", "--force"]);
    assert_eq!(role_files(&sandbox).len(), 0);
}

#[test]
fn reused_session_keeps_its_role() {
    let sandbox = with_role();
    sandbox.succeeds(&[&create("a")[..], &["--if-exists", "reuse"]].concat());
    sandbox.succeeds(&resume("resume-json", "a"));
    assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE));
}

#[test]
fn adopted_session_has_no_role() {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    sandbox
        .run(&[&create("a")[..], &["--adopt", "id-1"]].concat())
        .success()
        .stderr("warning: --role-definition-md is ignored here, because --adopt calls no agent\n");
    assert!(role_files(&sandbox).is_empty());
}

#[test]
fn retry_passes_the_role_again() {
    let sandbox = with_role();
    let result = json!({
        "type": "result", "subtype": "success", "is_error": true, "session_id": "id-1", "result": "overloaded",
        "api_error_status": 529, "api_error_type": "overloaded_error", "terminal_reason": "api_error",
    });
    let overloaded = Turn { exit: 1, ..Turn::default().stdout(&format!("{result}\n")) };
    let before = sandbox.calls().len();
    plays(&sandbox, [overloaded, Backend::Claude.answers("@ID@", "OK")]);
    sandbox.succeeds(&[&resume("resume-json", "a")[..], &["--retry", "1"]].concat());
    let calls = sandbox.calls().split_off(before);
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].argv[1], "The previous request failed before you could answer it. Answer it now.");
    assert!(calls.iter().all(|call| call.value_of(OPTION) == Some(ROLE)), "{calls:#?}");
}

#[test]
fn long_role_is_passed_as_a_file_on_every_turn() {
    let sandbox = Sandbox::new();
    let role = "Be strict. ".repeat(LONG_ARGUMENT / 5);
    sandbox.write("role.md", &role);
    sandbox.agent([Backend::Claude.answers("id-1", "OK"), Backend::Claude.answers("@ID@", "OK")]);
    sandbox.succeeds(&create("a"));
    for verb in ["resume-json", "resume-stream"] {
        sandbox.succeeds(&resume(verb, "a"));
        let call = sandbox.last_call();
        assert!(call.value_of("--append-system-prompt-file").is_some() && !call.has(OPTION), "{:?}", call.argv);
    }
    assert_eq!(fs::read_to_string(&role_files(&sandbox)[0]).unwrap(), role);
}

#[test]
fn callers_own_system_prompt_wins() {
    let sandbox = with_role();
    for own in [&[OPTION, "mine"][..], &["--append-system-prompt=mine"], &["--append-system-prompt-file", "f"]] {
        sandbox.succeeds(&[&resume("resume-json", "a")[..], &["--"], own].concat());
        let call = sandbox.last_call();
        assert!(!call.argv.iter().any(|argument| argument == ROLE), "{:?}", call.argv);
    }
}

#[test]
fn mapping_file_of_the_caller_has_its_roles_beside_it() {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    for file in ["d/names.json", "d/names"] {
        let mapping = ["--mapping-file", file];
        let id = file.replace('/', "-");
        plays(&sandbox, [Backend::Claude.answers(&id, "OK"), Backend::Claude.answers("@ID@", "OK")]);
        sandbox.succeeds(&[&create("a")[..], &mapping].concat());
        sandbox.succeeds(&[&resume("resume-json", "a")[..], &mapping].concat());
        assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "{file}");
    }
    let dir = sandbox.workspace().join("d");
    assert_eq!(files_in(&dir).len(), 4);
    sandbox.succeeds(&["delete-all-sessions", "--mapping-file", "d/names"]);
    sandbox.succeeds(&[&resume("resume-json", "a")[..], &["--mapping-file", "d/names.json"]].concat());
    assert_eq!(last_role(&sandbox).as_deref(), Some(ROLE), "the other mapping's role stays");
    sandbox.succeeds(&["delete-all-sessions", "--mapping-file", "d/names.json"]);
    assert!(!dir.exists());
}

#[test]
fn odd_id_has_a_role_too() {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    let id = "../a/b\\c: \"é\"";
    sandbox.agent(Backend::Claude.answers(id, "OK"));
    sandbox.succeeds(&create("a"));
    sandbox.succeeds(&resume("resume-json", "a"));
    assert_eq!((last_role(&sandbox).as_deref(), role_files(&sandbox).len()), (Some(ROLE), 1));
}

#[test]
fn codex_keeps_its_role_in_the_history() {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    sandbox.agent([Backend::Codex.answers("t-1", "OK"), Backend::Codex.answers("t-1", "OK")]);
    let create = ["create-session", "--session-name", "a", "--role-definition-md", "role.md"];
    sandbox.succeeds(&[&["--backend", "codex"], &create[..]].concat());
    sandbox.succeeds(&resume("resume-json", "a"));
    assert_eq!(sandbox.last_call().argv.last().unwrap(), "go");
    assert!(role_files(&sandbox).is_empty());
}

#[test]
fn role_that_cannot_be_used_fails_before_the_turn() {
    let sandbox = with_role();
    let before = sandbox.calls().len();
    fs::write(&role_files(&sandbox)[0], b"\xff").unwrap();
    for call in
        [&resume("resume-json", "a")[..], &["fork-session", "--session-name", "a", "--to", "b", "--prompt", "go"]]
    {
        let failure = sandbox.fails(call, 6, "mapping_unreadable").before_the_turn();
        failure.message(contains("cannot use the role '")).hint(contains("remove it"));
    }
    assert_eq!(sandbox.calls().len(), before);
}

#[cfg(unix)]
#[test]
fn role_that_others_could_change_is_refused_also_beside_an_explicit_mapping() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    for mapping in [&[][..], &["--mapping-file", "d/names.json"]] {
        let sandbox = Sandbox::new();
        sandbox.write("role.md", ROLE);
        sandbox.agent([Backend::Claude.answers("id-1", "OK"), Backend::Claude.answers("@ID@", "OK")]);
        sandbox.succeeds(&[&create("a")[..], mapping].concat());
        let resume = [&resume("resume-json", "a")[..], mapping].concat();
        let resolved = sandbox.succeeds(&[&["resolve", "--session-name", "a"][..], mapping].concat()).json();
        let file = PathBuf::from(resolved["role_file"].as_str().unwrap());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        sandbox.fails(&resume, 6, "mapping_unsafe").before_the_turn();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        sandbox.succeeds(&resume);
        let elsewhere = sandbox.write("elsewhere.md", "planted");
        fs::remove_file(&file).unwrap();
        symlink(&elsewhere, &file).unwrap();
        sandbox.fails(&resume, 6, "mapping_unsafe").before_the_turn();
        assert_eq!(sandbox.calls().len(), 2);
        sandbox
            .run(&[&["--backend", "claude", "delete-session", "--session-name", "a"][..], mapping].concat())
            .success();
        assert!(!file.is_symlink() && elsewhere.exists(), "only the link is removed");
    }
}

#[test]
fn role_that_cannot_be_saved_is_reported_and_the_name_is_saved() {
    let sandbox = Sandbox::new();
    sandbox.write("role.md", ROLE);
    sandbox.agent(Backend::Claude.answers("id-1", "OK"));
    // a directory in the place of the file
    sandbox.save(Backend::Claude, "b", "i");
    let file = sandbox.mapping_path(Backend::Claude).with_file_name("claude-code-alias-mapping.role-id-1.md");
    fs::create_dir(&file).unwrap();
    let created = sandbox.run(&[&["--quiet"], &create("a")[..]].concat()).success().stdout("id-1\n");
    created.stderr(contains("warning: cannot keep the role of the session id-1: ").and(contains("without it")));
    sandbox.succeeds(&["resolve", "--session-name", "a", "--print-session-id"]).stdout("id-1\n");
}

#[cfg(target_os = "linux")]
#[test]
fn open_session_passes_the_role() {
    use std::time::Duration;
    for role in [format!("{ROLE}{}", "end ".repeat(100)), "long ".repeat(LONG_ARGUMENT / 3)] {
        let mut sandbox = Sandbox::new();
        sandbox.env("INVOKE_PERSIST_LOG", sandbox.root().join("log"));
        sandbox.write("role.md", &role);
        sandbox.agent([Backend::Claude.answers("id-1", "OK"), Turn::default()]);
        sandbox.succeeds(&create("a"));
        let open = sandbox.cmd(&["open-session", "--session-name", "a", "--model", "m"]);
        let _dialogue = Terminal::of_width(100).starts(&open);
        wait_until(Duration::from_secs(30), || sandbox.calls().len() == 2 && sandbox.last_call().ended.is_some());
        let call = sandbox.last_call();
        let log = fs::read_to_string(sandbox.root().join("log")).unwrap();
        assert!(log.contains("at the terminal") && !log.contains(&"end ".repeat(100)), "arguments are cut: {log}");
        if role.starts_with(ROLE) {
            assert_eq!(call.argv, ["--resume", "id-1", OPTION, &role, "--model", "m"]);
        } else {
            assert!(call.value_of("--append-system-prompt-file").is_some(), "{:?}", call.argv);
        }
    }
}

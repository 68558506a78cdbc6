//! `list-sessions` with `--all-workspaces` and `--format table`.

use serde_json::{Value, json};

use crate::support::*;

/// Creates a mapping of `backend` for another workspace of the sandbox, with the program itself.
fn save_elsewhere(sandbox: &Sandbox, dir: &str, backend: Backend, name: &str, id: &str) -> String {
    let workspace = sandbox.root().join(dir);
    std::fs::create_dir_all(&workspace).unwrap();
    let workspace = workspace.display().to_string();
    let (backend, adopt) = (backend.name(), ["--adopt", id, "--workspace-dir", &workspace]);
    let create = [&["--backend", backend, "create-session", "--session-name", name][..], &adopt].concat();
    sandbox.succeeds(&create);
    workspace
}

fn all(sandbox: &Sandbox, options: &[&str]) -> Value {
    sandbox.succeeds(&[&["list-sessions", "--all-workspaces"][..], options].concat()).json()
}

#[test]
fn all_mappings_of_the_user_are_listed_with_their_workspace() {
    let sandbox = Sandbox::new();
    assert_eq!(all(&sandbox, &[]), json!({"root": sandbox.temp(), "workspaces": []}));
    let gone = save_elsewhere(&sandbox, "gone", Backend::Codex, "old", "t");
    std::fs::remove_dir(&gone).unwrap();
    save_elsewhere(&sandbox, "ws", Backend::Codex, "tests", "t2");
    sandbox.save(Backend::Claude, "review", "i");
    let listed = all(&sandbox, &[]);
    assert_eq!(listed["root"], sandbox.temp().to_str().unwrap());
    let entries: Vec<_> = listed["workspaces"].as_array().unwrap().iter().collect();
    let file = |workspace: &str, backend: Backend| {
        let dir = sandbox.temp().join("agent-sessions").join(sandbox.key_of(workspace));
        json!(dir.join(backend.mapping_file_name()))
    };
    let here = sandbox.workspace().to_str().unwrap();
    for (entry, workspace, exists, backend, name, id) in [
        (entries[0], gone.as_str(), false, Backend::Codex, "old", "t"),
        (entries[1], here, true, Backend::Claude, "review", "i"),
        (entries[2], here, true, Backend::Codex, "tests", "t2"),
    ] {
        let keys: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        let mut want = ["workspace_dir", "exists", "backend", "mapping_file", "aliases", "alias_count"];
        want.sort_unstable(); // `keys` are sorted too
        assert_eq!(keys, want);
        assert_eq!(entry["workspace_dir"], workspace);
        assert_eq!((&entry["exists"], &entry["backend"]), (&exists.into(), &backend.name().into()));
        assert_eq!((&entry["mapping_file"], &entry["alias_count"]), (&file(workspace, backend), &1.into()));
        assert_eq!(entry["aliases"][name][backend.id_key()], id);
    }
    assert_eq!(entries.len(), 3);
    let codex = all(&sandbox, &["--backend", "codex"]);
    assert_eq!(codex["workspaces"], json!([entries[0], entries[2]]));
}

#[test]
fn unreadable_mapping_is_listed_among_the_others() {
    let sandbox = Sandbox::new();
    let broken = save_elsewhere(&sandbox, "broken", Backend::Claude, "lost", "i");
    sandbox.save(Backend::Claude, "kept", "i");
    let dir = sandbox.temp().join("agent-sessions").join(sandbox.key_of(&broken));
    let file = sandbox.write(dir.join(Backend::Claude.mapping_file_name()), "{");
    // not mappings: a file, and a directory without one
    sandbox.write(sandbox.temp().join("agent-sessions/file"), "");
    std::fs::create_dir(sandbox.temp().join("agent-sessions/empty")).unwrap();
    let listed = all(&sandbox, &[]);
    let entries = listed["workspaces"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["aliases"]["kept"]["session_id"], "i");
    let error = entries[1]["error"].as_str().unwrap();
    assert!(error.contains("is not a JSON object"), "{error}");
    let want =
        json!({"workspace_dir": null, "exists": null, "backend": "claude", "mapping_file": file, "error": error});
    assert_eq!(entries[1], want);
    for format in ["names", "table"] {
        sandbox
            .run(&["list-sessions", "--all-workspaces", "--format", format])
            .success()
            .stdout(contains("kept").and(contains("lost").not()))
            .stderr(starts_with("warning: the mapping '"));
    }
}

#[cfg(unix)]
#[test]
fn symlinks_in_the_shared_directory_are_reported_and_not_followed() {
    use std::os::unix::fs::symlink;
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "kept", "i");
    let shared = sandbox.temp().join("agent-sessions");
    symlink(shared.join(sandbox.key_of(sandbox.workspace())), shared.join("link")).unwrap();
    let listed = all(&sandbox, &["--backend", "claude"]);
    assert_eq!(listed["workspaces"][0]["alias_count"], 1);
    let error = listed["workspaces"][1]["error"].as_str().unwrap();
    assert!(error.ends_with("agent-sessions/link' is a symlink"), "{error}");
    std::fs::rename(&shared, sandbox.temp().join("elsewhere")).unwrap();
    symlink("elsewhere", &shared).unwrap();
    sandbox.fails(&["list-sessions", "--all-workspaces"], 6, "mapping_unsafe");
}

#[test]
fn listing_a_custom_root_creates_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "in-temp", "i");
    let own = sandbox.home().join("names");
    sandbox.env("INVOKE_PERSIST_DIR", &own);
    assert_eq!(all(&sandbox, &[]), json!({"root": own, "workspaces": []}));
    assert!(!own.exists());
    sandbox.save(Backend::Claude, "in-own", "i");
    assert_eq!(all(&sandbox, &[])["workspaces"][0]["aliases"]["in-own"]["session_id"], "i");
}

#[test]
fn all_workspaces_conflicts_with_one_workspace() {
    let sandbox = Sandbox::new();
    for option in ["--workspace-dir=.", "--mapping-file=m.json"] {
        sandbox.fails(&["list-sessions", "--all-workspaces", option], 2, "usage").message(contains("--all-workspaces"));
    }
}

#[test]
fn names_of_all_workspaces_include_the_workspace() {
    let sandbox = Sandbox::new();
    let other = save_elsewhere(&sandbox, "other", Backend::Codex, "tests", "t");
    sandbox.save(Backend::Claude, "review", "i");
    let here = sandbox.workspace().display();
    let all = ["list-sessions", "--all-workspaces", "--format", "names"];
    sandbox.succeeds(&all).stdout(format!("{other}\tcodex\ttests\n{here}\tclaude\treview\n"));
    let claude = [&["--backend", "claude"], &all[..]].concat();
    sandbox.succeeds(&claude).stdout(format!("{here}\treview\n"));
}

/// A mapping whose entries have a known age, or none.
fn write_aged(sandbox: &Sandbox) {
    let ago = |seconds: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        jiff::Timestamp::try_from(time).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
    };
    let id = "0f12c83d-d554-4369-b6d8-9fed035c432c";
    let claude = json!({"aliases": {
        "review-src": {"session_id": id, "created_at": ago(3 * 3600 + 60), "last_model": "sonnet", "last_reasoning_effort": "low"},
        "日本語の名前": {"session_id": id, "created_at": "yesterday"},
        "bad\u{1b}[31m": {"session_id": id, "created_at": ago(90)},
    }, "workspace_dir": sandbox.workspace()});
    sandbox.write_mapping(Backend::Claude, claude.to_string());
    let codex = json!({"aliases": {"tests": {"thread_id": "01a1fbcf-26f1-7251-a3d0-b644aaf2dc59", "created_at": ago(9 * 86400), "last_model": "gpt-5"}}});
    sandbox.write_mapping(Backend::Codex, codex.to_string());
}

#[test]
fn piped_table_is_not_truncated() {
    let sandbox = Sandbox::new();
    write_aged(&sandbox);
    let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
    let want = "\
NAME           AGENT   ID                                    MODEL   EFFORT  AGE
bad\\u{1b}[31m  claude  0f12c83d-d554-4369-b6d8-9fed035c432c  -       -       1m
review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h
日本語の名前   claude  0f12c83d-d554-4369-b6d8-9fed035c432c  -       -       -
tests          codex   01a1fbcf-26f1-7251-a3d0-b644aaf2dc59  gpt-5   -       9d
";
    assert_eq!(table, want);
    let all = sandbox.succeeds(&["list-sessions", "--all-workspaces", "--format", "table"]).stdout_text();
    assert!(
        all.starts_with(
            "NAME           AGENT   ID                                    MODEL   EFFORT  AGE  WORKSPACE\n"
        )
    );
    assert!(all.contains(&format!(
        "review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h   {}\n",
        sandbox.workspace().display()
    )));
    // codex's file does not name its workspace
    assert!(all.ends_with("gpt-5   -       9d   -\n"), "{all}");
}

#[test]
fn empty_table_prints_a_note_on_stderr() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["list-sessions", "--format", "table"])
        .success()
        .stdout("")
        .stderr("note: no sessions are saved in this workspace\n");
    sandbox
        .run(&["list-sessions", "--all-workspaces", "--format", "table"])
        .success()
        .stdout("")
        .stderr("note: no sessions are saved in any workspace\n");
}

#[cfg(target_os = "linux")]
#[test]
fn table_fits_the_terminal() {
    let sandbox = Sandbox::new();
    write_aged(&sandbox);
    for (width, want) in [
        (100, "review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h"),
        (60, "review-src     claude  0f12c83d-d554-4…  sonnet  low     3h"),
        (40, "review-src     claude  0f12c83d-d5…  3h"),
        (8, "review-s"),
    ] {
        let shown = Terminal::of_width(width).shows(sandbox.cmd(&["list-sessions", "--format", "table"]));
        assert!(shown.lines().any(|line| line == want), "{width}:\n{shown}");
        let widest = shown.lines().map(console::measure_text_width).max();
        assert!(widest <= Some(usize::from(width)), "{shown}");
    }
}

//! `list-sessions` beyond one workspace's JSON: every workspace of the user, a table for people, and TSV for scripts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::*;

/// Creates a mapping of `backend` for another workspace of the sandbox, with the program itself.
fn save_elsewhere(sandbox: &Sandbox, dir: &str, backend: Backend, name: &str, id: &str) -> String {
    let workspace = sandbox.root().join(dir);
    fs::create_dir_all(&workspace).unwrap();
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
    fs::remove_dir(&gone).unwrap();
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
    fs::create_dir(sandbox.temp().join("agent-sessions/empty")).unwrap();
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
    fs::rename(&shared, sandbox.temp().join("elsewhere")).unwrap();
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
        let time = SystemTime::now() - Duration::from_secs(seconds);
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
NAME           AGENT   ID                                    MODEL   EFFORT  AGE  USED  BUSY  TURNS
bad\\u{1b}[31m  claude  0f12c83d-d554-4369-b6d8-9fed035c432c  -       -       1m   -     no    -
review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h   -     no    -
日本語の名前   claude  0f12c83d-d554-4369-b6d8-9fed035c432c  -       -       -    -     no    -
tests          codex   01a1fbcf-26f1-7251-a3d0-b644aaf2dc59  gpt-5   -       9d   -     no    -
";
    assert_eq!(table, want);
    let all = sandbox.succeeds(&["list-sessions", "--all-workspaces", "--format", "table"]).stdout_text();
    assert!(all.starts_with(
        "NAME           AGENT   ID                                    MODEL   EFFORT  AGE  USED  BUSY  TURNS  WORKSPACE\n"
    ));
    assert!(all.contains(&format!(
        "review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h   -     no    -      {}\n",
        sandbox.workspace().display()
    )));
    // codex's file does not name its workspace
    assert!(all.ends_with("gpt-5   -       9d   -     no    -      -\n"), "{all}");
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
        (120, "review-src     claude  0f12c83d-d554-4369-b6d8-9fed035c432c  sonnet  low     3h   -     no    -"),
        (80, "review-src     claude  0f12c83d-d554-43…  sonnet  low     3h   -     no    -"),
        (60, "review-src    claude  0f12c83d-d…  sonnet  -     no    -"),
        (40, "review-src  claude  0f12c83…  -     no"),
        (8, "review-s"),
    ] {
        let shown = Terminal::of_width(width).shows(sandbox.cmd(&["list-sessions", "--format", "table"]));
        assert!(shown.lines().any(|line| line == want), "{width}:\n{shown}");
        let widest = shown.lines().map(console::measure_text_width).max();
        assert!(widest <= Some(usize::from(width)), "{shown}");
    }
}

/// Creates an agent's session file whose last write was this long ago.
fn write_session(sandbox: &Sandbox, backend: Backend, id: &str, age: Duration) -> PathBuf {
    let path = sandbox.home().join(match backend {
        Backend::Claude => format!(".claude/projects/-home-me-project/{id}.jsonl"),
        Backend::Codex => format!(".codex/sessions/2026/11/21/rollout-2026-11-21T10-55-33-{id}.jsonl"),
    });
    let file = sandbox.write(&path, "{}\n");
    fs::File::options().append(true).open(file).unwrap().set_modified(SystemTime::now() - age).unwrap();
    path
}

const HEADER: &str =
    "backend\tname\tsession_id\tmapping_file\tbusy\tworkspace_dir\tcreated_at\tlast_used_at\tmodel\teffort";

/// Runs `list-sessions --format tsv` and returns each row as a map from column to field.
#[track_caller]
fn rows(sandbox: &Sandbox, options: &[&str]) -> Vec<BTreeMap<String, String>> {
    let text = sandbox.succeeds(&[&["list-sessions", "--format", "tsv"][..], options].concat()).stdout_text();
    let (header, rows) = text.split_once('\n').unwrap();
    assert_eq!(header, HEADER);
    let columns: Vec<&str> = header.split('\t').collect();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), columns.len(), "{line}");
        columns.iter().zip(fields).map(|(column, field)| ((*column).to_owned(), field.to_owned())).collect()
    };
    rows.lines().map(row).collect()
}

#[test]
fn tsv_has_the_same_columns_whatever_the_options() {
    let sandbox = Sandbox::new();
    assert!(rows(&sandbox, &[]).is_empty());
    write_aged(&sandbox);
    let id = "0f12c83d-d554-4369-b6d8-9fed035c432c";
    write_session(&sandbox, Backend::Claude, id, Duration::from_secs(60));
    let all = rows(&sandbox, &[]);
    let names: Vec<&str> = all.iter().map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["bad\\0033[31m", "review-src", "日本語の名前", "tests"]);
    let review = &all[1];
    let workspace = sandbox.workspace().to_str().unwrap().replace('\\', "\\\\");
    let file = sandbox.mapping_path(Backend::Claude).to_str().unwrap().replace('\\', "\\\\");
    for (column, want) in [
        ("backend", "claude"),
        ("session_id", id),
        ("model", "sonnet"),
        ("effort", "low"),
        ("busy", "false"),
        ("workspace_dir", &workspace),
        ("mapping_file", &file),
    ] {
        assert_eq!(review[column], want, "{column}");
    }
    let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let age = jiff::Timestamp::now().duration_since(time(&review["last_used_at"]));
    assert!((60..3600).contains(&age.as_secs()), "{age:?}");
    assert_eq!(review["last_used_at"].len(), review["created_at"].len());
    assert!(time(&review["created_at"]) < time(&review["last_used_at"]));
    let tests = &all[3];
    assert_eq!((&*tests["backend"], &*tests["effort"], &*tests["last_used_at"]), ("codex", "", ""));
    assert_eq!(rows(&sandbox, &["--backend", "claude"]), all[..3]);
    assert_eq!(rows(&sandbox, &["--backend", "codex"]), all[3..]);
    let everywhere = rows(&sandbox, &["--all-workspaces"]);
    assert_eq!(everywhere[..3], all[..3]);
    assert_eq!(everywhere[3]["workspace_dir"], "", "codex's file does not name its workspace");
    let file = sandbox.mapping_path(Backend::Codex);
    let explicit = rows(&sandbox, &["--backend", "codex", "--mapping-file", file.to_str().unwrap()]);
    assert_eq!(explicit, everywhere[3..]);
}

#[test]
fn tsv_fields_are_escaped_reversibly() {
    let sandbox = Sandbox::new();
    let names = ["a\tb", "a\\tb", "line\nline\r", "\u{1b}[2J1", "\u{9b}é\u{202e}", "\\", "c:\\new\\0101"];
    let aliases: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"session_id": "i", "last_model": name}))).collect();
    sandbox.write_mapping(Backend::Claude, json!({"aliases": aliases, "workspace_dir": "/w"}).to_string());
    let rows = rows(&sandbox, &["--backend", "claude"]);
    assert_eq!(rows.len(), names.len());
    for row in &rows {
        assert!(!row["name"].chars().any(char::is_control), "{row:?}");
        let name = unescape(&row["name"]);
        assert!(names.contains(&name.as_str()) && unescape(&row["model"]) == name, "{row:?}");
    }
}

/// Reverses the escapes as the contract specifies them.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = field.as_bytes();
    while let [byte, tail @ ..] = rest {
        (bytes, rest) = match (byte, tail) {
            (b'\\', [b'0', octal @ ..]) => {
                let value = u8::from_str_radix(str::from_utf8(&octal[..3]).unwrap(), 8).unwrap();
                ([&bytes[..], &[value]].concat(), &octal[3..])
            }
            (b'\\', [escaped, tail @ ..]) => {
                let at = b"tnr\\".iter().position(|known| known == escaped).unwrap();
                ([&bytes[..], &b"\t\n\r\\"[at..=at]].concat(), tail)
            }
            (byte, tail) => ([&bytes[..], &[*byte]].concat(), tail),
        };
    }
    String::from_utf8(bytes).unwrap()
}

#[cfg(unix)]
#[test]
fn printf_of_a_posix_shell_reverses_the_escapes() {
    let sandbox = Sandbox::new();
    let name = "tab\there \u{1b}[31m1 \u{9b}é C:\\new\\0101";
    sandbox.save(Backend::Claude, name, "i");
    let row = &rows(&sandbox, &["--backend", "claude"])[0];
    let output =
        std::process::Command::new("sh").args(["-c", "printf %b \"$1\"", "sh", &row["name"]]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), name);
}

#[test]
fn last_use_is_that_of_the_agents_own_session_file() {
    let mut sandbox = Sandbox::new();
    let id = "0f12c83d-d554-4369-b6d8-9fed035c432c";
    for backend in Backend::BOTH {
        sandbox.save(backend, "a", &id.to_uppercase());
        sandbox.save(backend, "outside", "../../../secret");
        write_session(&sandbox, backend, id, Duration::from_secs(2 * 3600 + 60));
    }
    sandbox.write(sandbox.home().join("secret.jsonl"), "");
    let used = |sandbox: &Sandbox| -> Vec<String> {
        let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
        table.lines().map(|line| line.split_whitespace().nth(6).unwrap().to_owned()).collect()
    };
    assert_eq!(used(&sandbox), ["USED", "2h", "-", "2h", "-"]);
    // in another home of the agent
    let elsewhere = sandbox.root().to_owned();
    sandbox.env("CLAUDE_CONFIG_DIR", elsewhere);
    assert_eq!(used(&sandbox), ["USED", "-", "-", "2h", "-"]);
}

#[cfg(not(windows))] // Wine reads locked files, so the state is unknown there
#[test]
fn busy_session_is_listed_as_busy_without_a_lock() {
    for backend in Backend::BOTH {
        let mut sandbox = Sandbox::new();
        let own = sandbox.root().join("own");
        sandbox.env("INVOKE_PERSIST_DIR", &own);
        sandbox.save(backend, "a", "i");
        sandbox.save(backend, "b", "other");
        let locks = sandbox.root().join("own/locks");
        let names = || fs::read_dir(&locks).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let busy = || {
            let rows = rows(&sandbox, &["--all-workspaces"]);
            rows.iter().map(|row| row["busy"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(busy(), ["false", "false"]);
        assert!(names().is_empty());
        sandbox.agent(backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let turn = sandbox.start(&["--backend", backend.name(), "resume-json", "--session-name", "a", "--prompt", "p"]);
        wait_until(Duration::from_secs(60), || sandbox.has_reached("up"));
        let before = names();
        assert_eq!(busy(), ["true", "false"]);
        let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
        let ends: Vec<&str> = table.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends, ["TURNS", "running", "-"]);
        assert!(table.lines().nth(1).unwrap().ends_with("  yes   1, running"), "{table}");
        assert_eq!(names(), before);
        sandbox.allow("go");
        turn.wait(Duration::from_secs(60)).assert.success();
        assert_eq!(busy(), ["false", "false"]);
    }
}

#[test]
#[cfg(unix)] // STOP is a Unix signal
fn session_with_only_waiters_is_listed_as_busy() {
    use rustix::process::Signal;
    for backend in Backend::BOTH {
        let mut sandbox = Sandbox::new();
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("own"));
        sandbox.save(backend, "a", "i");
        sandbox.save(backend, "b", "other");
        let answer = backend.answers("i", "OK");
        sandbox.agent([answer.clone().after([Step::create("up"), Step::wait_for("go")]), answer]);
        let resume = ["--backend", backend.name(), "resume-json", "--session-name", "a", "--prompt", "p"];
        let first = sandbox.start(&resume);
        wait_until(Duration::from_secs(60), || sandbox.has_reached("up"));
        let waiter = sandbox.start(&resume);
        wait_until(Duration::from_secs(60), || waiter.stderr_so_far().contains("note: waiting"));
        waiter.signal(Signal::STOP);
        sandbox.allow("go");
        first.wait(Duration::from_secs(60)).assert.success();
        let busy = || rows(&sandbox, &["--all-workspaces"]).iter().map(|row| row["busy"].clone()).collect::<Vec<_>>();
        assert_eq!(busy(), ["true", "false"]);
        waiter.signal(Signal::CONT);
        waiter.wait(Duration::from_secs(60)).assert.success();
        assert_eq!(busy(), ["false", "false"]);
    }
}

#[cfg(unix)]
#[test]
fn listing_works_in_directories_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let mut sandbox = Sandbox::new();
    let own = sandbox.root().join("own");
    sandbox.env("INVOKE_PERSIST_DIR", &own);
    sandbox.save(Backend::Claude, "a", "i");
    fs::remove_dir_all(own.join("locks")).unwrap();
    let set = |mode| fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
    set(0o500);
    let listed = rows(&sandbox, &["--all-workspaces"]);
    set(0o700);
    assert_eq!(listed[0]["busy"], "false");
    assert!(!own.join("locks").exists());
}

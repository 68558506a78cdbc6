//! Recorded turns: `wait-turn`, `show-turn` and `list-turns`, and where else records are used.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(30);

/// The keys of a printed record, in their order.
const KEYS: &[&str] = &[
    "turn_id",
    "backend",
    "alias",
    "session_id",
    "workspace_dir",
    "mapping_file",
    "command",
    "detached",
    "state",
    "started_at",
    "ended_at",
    "duration_seconds",
    "pid",
    "exit_code",
    "kind",
    "cause",
    "retryable",
    "retry_at",
    "message",
    "model",
    "reasoning_effort",
    "settings",
    "prompt",
    "activity",
    "denied",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_usd",
    "session_input_tokens",
    "session_cached_input_tokens",
    "session_output_tokens",
    "session_cost_usd",
    "agent_turns",
    "tries",
    "turn_started",
];

/// Returns the directory of the records of a workspace. A relative path starts at the sandbox's workspace.
fn dir_of(sandbox: &Sandbox, workspace: impl AsRef<Path>) -> PathBuf {
    sandbox.state_dir().join("turns").join(sandbox.key_of(workspace))
}

/// Creates the directory of the records, readable by this user only, as the program itself does.
fn make_dir(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    #[cfg(unix)]
    for dir in [dir, dir.parent().unwrap()] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

/// The files of a detached turn, written by hand. This process holds its lock while it runs.
struct Detached {
    dir: PathBuf,
    id: String,
    record: Value,
    lock: Option<File>,
}

impl Detached {
    /// Returns a turn that runs. `members` replace those of its record.
    fn running(sandbox: &Sandbox, id: &str, members: &Value) -> Self {
        Self::in_dir(dir_of(sandbox, sandbox.workspace()), sandbox.workspace(), id, members)
    }

    fn in_dir(dir: PathBuf, workspace: &Path, id: &str, members: &Value) -> Self {
        make_dir(&dir);
        let mut record = json!({
            "turn_id": id, "backend": "claude", "alias": "a", "session_id": "i", "workspace_dir": workspace,
            "command": "resume-json", "detached": true, "state": "running", "pid": 1,
            "started_at": "2026-11-21T10:55:33.000000+00:00", "prompt": "fix it",
        });
        record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let lock = File::create(dir.join(format!("{id}.lock"))).unwrap();
        lock.lock().unwrap();
        let turn = Self { dir, id: id.to_owned(), record, lock: Some(lock) };
        turn.write_record();
        for extension in ["out", "err"] {
            File::create(turn.file(extension)).unwrap();
        }
        turn
    }

    /// Returns a turn that has ended with this exit status and these outputs.
    fn ended(sandbox: &Sandbox, id: &str, status: i32, out: &[u8], err: &[u8]) -> Self {
        let mut turn = Self::running(sandbox, id, &json!({}));
        turn.prints("out", out);
        turn.prints("err", err);
        turn.ends(status);
        turn
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.id))
    }

    /// Replaces the record atomically.
    fn write_record(&self) {
        fs::write(self.file("tmp"), self.record.to_string()).unwrap();
        fs::rename(self.file("tmp"), self.file("record")).unwrap();
    }

    fn prints(&self, extension: &str, bytes: impl AsRef<[u8]>) {
        let mut file = File::options().append(true).open(self.file(extension)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn ends(&mut self, status: i32) {
        let state = match status {
            0 => "succeeded",
            124.. => "stopped",
            _ => "failed",
        };
        let members = json!({"state": state, "exit_code": status, "duration_seconds": 2.5, "turn_started": true,
            "ended_at": "2026-11-21T10:55:35.500000+00:00"});
        self.record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.write_record();
        fs::remove_file(self.file("lock")).unwrap();
        self.dies();
    }

    /// Releases the lock, as the system does after the process was killed.
    fn dies(&mut self) {
        let unlocked = self.lock.take().unwrap().unlock();
        assert!(unlocked.is_ok() || cfg!(windows)); // Wine releases the lock and reports an error
    }
}

fn wait(id: &str) -> [&str; 3] {
    ["wait-turn", "--turn-id", id]
}

#[test]
fn waiting_prints_the_bytes_of_a_detached_turn_and_exits_with_its_status() {
    let sandbox = Sandbox::new();
    for (id, status) in [("20261121-105533-2222", 0), ("20261121-105533-2223", 1), ("20261121-105533-2224", 75)] {
        let turn = Detached::ended(&sandbox, id, status, b"an answer\xff without an end", b"note: n\nerror: e\n");
        for _ in 0..2 {
            let run = sandbox.run(&wait(id)).code(status).stderr("note: n\nerror: e\n");
            assert_eq!(run.get_output().stdout, b"an answer\xff without an end");
            assert!(turn.file("fetched").exists());
        }
    }
    for (id, status) in [("20261121-105533-2225", 124), ("20261121-105533-2226", 130), ("20261121-105533-2227", 143)] {
        Detached::ended(&sandbox, id, status, b"", b"error: stopped\n");
        sandbox.run(&wait(id)).code(status).stdout("").stderr("error: stopped\n");
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn wait_ends_with_the_turn_for_any_number_of_callers() {
    let sandbox = Sandbox::new();
    let mut turn = Detached::running(&sandbox, "20261121-105533-2222", &json!({}));
    let mut callers: Vec<Running> = (0..3).map(|_| sandbox.start(&wait(&turn.id))).collect();
    turn.prints("out", "the answer\n");
    std::thread::sleep(Duration::from_millis(300));
    assert!(callers.iter_mut().all(|caller| !caller.has_ended() && caller.stdout_so_far().is_empty()));
    assert!(!turn.file("fetched").exists());
    turn.ends(0);
    for caller in callers {
        caller.wait(LIMIT).assert.success().stdout("the answer\n").stderr("");
    }
}

#[test]
fn followed_output_is_printed_as_it_comes() {
    let sandbox = Sandbox::new();
    for (command, status) in [("wait-turn", 1), ("show-turn", 0)] {
        let mut turn = Detached::running(&sandbox, "20261121-105533-2222", &json!({}));
        turn.prints("out", "one\n");
        let caller = sandbox.start(&[command, "--session-name", "a", "--follow"]);
        wait_until(LIMIT, || caller.stdout_so_far() == "one\n");
        turn.prints("err", "a note\n");
        turn.prints("out", "two");
        wait_until(LIMIT, || caller.stdout_so_far() == "one\ntwo" && caller.stderr_so_far() == "a note\n");
        turn.prints("out", "\nthree");
        turn.ends(1);
        caller.wait(LIMIT).assert.code(status).stdout("one\ntwo\nthree").stderr("a note\n");
        assert!(turn.file("fetched").exists());
        fs::remove_file(turn.file("fetched")).unwrap();
    }
}

#[test]
fn limit_of_the_wait_changes_nothing_for_the_turn() {
    let sandbox = Sandbox::new();
    let members = json!({"pid": std::process::id(), "activity": "running `cargo test`"});
    let mut turn = Detached::running(&sandbox, "20261121-105533-2222", &members);
    turn.prints("out", "one");
    let files = || {
        let mut names: Vec<_> = fs::read_dir(&turn.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    for (options, state) in [(&[][..], "running"), (&["--follow"], "running")] {
        let call = [&wait(&turn.id)[..], &["--timeout-seconds", "0.05"], options].concat();
        let failure = sandbox.fails(&call, 75, "turn_running").after_the_turn();
        assert_eq!(failure.session_id.as_deref(), Some("i"));
        failure
            .message(contains(format!("the turn {} is still {state}", turn.id)))
            .message(ends_with(": its agent is running `cargo test`"))
            .hint(contains(format!("stop it with invoke-persist stop-turn --turn-id {}", turn.id)));
    }
    assert_eq!(files(), before);
    assert!(File::open(turn.file("lock")).unwrap().try_lock().is_err(), "this process still holds it");
    for bad in ["0", "x", "-1"] {
        let call = [&wait(&turn.id)[..], &["--timeout-seconds", bad]].concat();
        sandbox.fails(&call, 2, "usage").message(contains("--timeout-seconds"));
    }
    turn.ends(0);
    sandbox.run(&[&wait(&turn.id)[..], &["--timeout-seconds", "0.001"]].concat()).success().stdout("one");
}

#[test]
fn several_turns_are_reported_as_they_end() {
    let sandbox = Sandbox::new();
    let ids = ["20261121-105533-2222", "20261121-105533-2223", "20261121-105533-2224"];
    let [mut one, mut two, mut three] = ids.map(|id| Detached::running(&sandbox, id, &json!({})));
    let arguments: Vec<&str> = ids.iter().flat_map(|id| ["--turn-id", id]).collect();
    // an ID that is given twice is reported once
    let call = [&["wait-turn"][..], &arguments, &["--turn-id", ids[0]]].concat();
    let timed = [&call[..], &["--timeout-seconds", "0.05"]].concat();
    let caller = sandbox.start(&call);
    let lines = |caller: &Running| -> Vec<(Value, Value)> {
        let lines = caller.stdout_so_far();
        let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.map(|record| (record["turn_id"].clone(), record["exit_code"].clone())).collect()
    };
    three.ends(7);
    wait_until(LIMIT, || lines(&caller) == [(json!(ids[2]), json!(7))]);
    one.ends(0);
    wait_until(LIMIT, || lines(&caller).len() == 2);
    let limited = sandbox.fails(&timed, 75, "turn_running");
    limited.message(contains(ids[1]).and(contains(ids[0]).not()));
    two.ends(1);
    let end = caller.wait(LIMIT).assert.code(7).stderr("");
    let last = end.stdout_text().lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()).unwrap();
    assert_eq!((&last["turn_id"], &last["exit_code"]), (&json!(ids[1]), &json!(1)));
    sandbox.run(&["wait-turn", "--turn-id", ids[0], "--turn-id", ids[0]]).success();
    sandbox.fails(&[&call[..], &["--follow"]].concat(), 2, "usage").message(contains("--follow"));
}

#[test]
fn turn_whose_process_is_gone_is_lost() {
    let sandbox = Sandbox::new();
    let mut turn =
        Detached::running(&sandbox, "20261121-105533-2222", &json!({"session_id": "it's", "activity": "runs"}));
    turn.prints("out", "partial");
    let caller = sandbox.start(&["--error-format", "json", "wait-turn", "--session-name", "a"]);
    turn.dies();
    let end = caller.wait(LIMIT).assert.stdout("partial");
    end.failed(1, "turn_lost")
        .after_the_turn()
        .hint(contains("run: invoke-persist --backend=claude resume-json '--session-id=it'\\''s' --prompt=Continue"));
    let shown = sandbox.succeeds(&["show-turn", "--session-name", "a"]).json();
    assert_eq!(
        (&shown["state"], &shown["activity"], &shown["exit_code"]),
        (&json!("lost"), &json!(null), &json!(null))
    );
    sandbox.run(&["wait-turn", "--turn-id", &turn.id, "--turn-id", &turn.id]).code(1).stdout(contains("\"lost\""));
    sandbox
        .run(&["show-turn", "--session-name", "a", "--output"])
        .success()
        .stdout("partial")
        .stderr(contains("is lost"));
    sandbox.run(&["doctor", "--json"]).stdout(contains("one turn was lost, the last one 20261121-105533-2222"));
    // without a lock file too
    fs::remove_file(turn.file("lock")).unwrap();
    sandbox.fails(&wait(&turn.id), 1, "turn_lost");
    // a call that did not become a turn removes its record
    let mut refused = Detached::running(&sandbox, "20261121-105534-2222", &json!({"detached": false}));
    let caller = sandbox.start(&["--error-format", "json", "wait-turn", "--turn-id", &refused.id]);
    std::thread::sleep(Duration::from_millis(300));
    fs::remove_file(refused.file("lock")).unwrap();
    fs::remove_file(refused.file("record")).unwrap();
    refused.dies();
    caller.wait(LIMIT).assert.failed(3, "turn_not_found").before_the_turn().message(contains("has no record any more"));
}

#[test]
fn turn_that_was_not_detached_has_no_stored_output() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        let name = backend.name();
        sandbox.save(backend, name, "i");
        let go = format!("go-{name}");
        sandbox.agent([backend.answers("i", "OK").after([Step::wait_for(&go)]), backend.fails("i", "no way")]);
        let resume = ["resume-json", "--session-name", name, "--prompt", "p"];
        let turn = sandbox.start(&resume);
        let state = || sandbox.run(&["show-turn", "--session-name", name]).json()["state"].clone();
        wait_until(LIMIT, || sandbox.run(&["show-turn", "--session-name", name]).exit_code() == Some(0));
        wait_until(LIMIT, || state() == "running");
        let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
        assert!(table.lines().any(|line| line.starts_with(name) && line.ends_with("  1, running")), "{table}");
        let caller = sandbox.start(&["wait-turn", "--session-name", name]);
        sandbox.allow(&go);
        turn.wait(LIMIT).assert.success();
        let end = caller.wait(LIMIT).assert.success().stdout("");
        assert!(end.stderr_text().ends_with(" has succeeded; its output went to its caller\n"), "{end}");
        sandbox.run(&resume).code(1);
        let wait = ["wait-turn", "--session-name", name];
        sandbox.run(&wait).code(1).stderr(contains("no way").and(contains("its output went to its caller")));
        sandbox.run(&[&["--quiet"], &wait[..]].concat()).code(1).stderr("");
        for option in ["--output", "--follow", "--format=text"] {
            let show = ["show-turn", "--session-name", name, option];
            sandbox.fails(&show, 2, "usage").hint(contains("invoke-persist show-turn --turn-id 20"));
        }
        let table = sandbox.succeeds(&["list-sessions", "--format", "table"]).stdout_text();
        assert!(table.lines().any(|line| line.starts_with(name) && line.ends_with("  2")), "{table}");
    }
}

#[cfg(unix)]
#[test]
fn killed_call_is_lost_and_ctrl_c_ends_only_the_wait() {
    use rustix::process::Signal;
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("began"), Step::wait_for("never")]));
    let turn = sandbox.start(&["resume-json", "--session-name", "a", "--prompt", "p"]);
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let state = || sandbox.run(&["show-turn", "--session-name", "a"]).json()["state"].clone();
    let caller = sandbox.start(&["wait-turn", "--session-name", "a"]);
    std::thread::sleep(Duration::from_millis(300));
    caller.signal(Signal::INT);
    let end = caller.wait(LIMIT).assert;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end.get_output().status), Some(2));
    assert_eq!(state(), "running");
    turn.signal(Signal::KILL);
    turn.wait(LIMIT);
    assert_eq!(state(), "lost");
    sandbox.fails(&["wait-turn", "--session-name", "a"], 1, "turn_lost");
}

#[cfg(unix)]
#[test]
fn closed_stdout_is_not_an_error_and_the_output_is_kept() {
    let sandbox = Sandbox::new();
    let turn = Detached::ended(&sandbox, "20261121-105533-2222", 7, &vec![b'x'; 1 << 20], b"note\n");
    let mut shell = std::process::Command::new("bash");
    let line = format!(
        "'{}' wait-turn --session-name a | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_invoke-persist")
    );
    shell.args(["-c", &line]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().code(7).stderr("note\n");
    assert!(!turn.file("fetched").exists());
    // a followed turn that is still running does not keep the reader's end waiting
    let running = Detached::running(&sandbox, "20261121-105534-2222", &json!({}));
    running.prints("out", vec![b'x'; 1 << 20]);
    let line = format!("'{}' show-turn --session-name a --follow | true", env!("CARGO_BIN_EXE_invoke-persist"));
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &line]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().success();
}

#[cfg(target_os = "linux")]
#[test]
fn large_output_needs_little_memory() {
    let sandbox = Sandbox::new();
    let turn = Detached::ended(&sandbox, "20261121-105533-2222", 0, b"", b"");
    File::options().write(true).open(turn.file("out")).unwrap().set_len(300 << 20).unwrap();
    let mut shell = std::process::Command::new("bash");
    let line =
        format!("ulimit -v 120000; '{}' wait-turn --session-name a | wc -c", env!("CARGO_BIN_EXE_invoke-persist"));
    shell.args(["-c", &line]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().success().stdout(format!("{}\n", 300 << 20)).stderr("");
    assert!(turn.file("fetched").exists());
}

#[test]
fn missing_output_is_an_error() {
    let sandbox = Sandbox::new();
    let turn = Detached::ended(&sandbox, "20261121-105533-2222", 0, b"answer", b"");
    fs::remove_file(turn.file("out")).unwrap();
    sandbox
        .fails(&wait(&turn.id), 1, "io")
        .message(contains("cannot read the output of the turn 20261121-105533-2222"));
}

#[test]
fn turn_is_selected_by_a_unique_beginning_of_its_id() {
    let sandbox = Sandbox::new();
    sandbox.fails(&wait("2026"), 3, "turn_not_found").hint(ends_with("invoke-persist list-turns --all-workspaces"));
    for id in ["20261121-105533-2222", "20261121-105533-2223", "20261122-000000-2222"] {
        Detached::ended(&sandbox, id, 0, id.as_bytes(), b"");
    }
    for (given, id) in [
        ("20261122", "20261122-000000-2222"),
        ("20261121-105533-2223", "20261121-105533-2223"),
        (" 20261122-000000-2222 ", "20261122-000000-2222"),
    ] {
        sandbox.run(&wait(given)).success().stdout(id);
    }
    let ambiguous = sandbox.fails(&wait("20261121"), 2, "usage").before_the_turn();
    ambiguous.message(contains("20261121-105533-2222").and(contains("20261121-105533-2223")));
    for missing in ["2027", "x", "../20261122-000000-2222", "20261122-000000-2222.record", "é"] {
        let failure = sandbox.fails(&wait(missing), 3, "turn_not_found");
        failure
            .before_the_turn()
            .message(contains(missing))
            .hint(ends_with("list them with invoke-persist list-turns"));
    }
    sandbox.fails(&wait(" "), 2, "usage");
    sandbox.fails(&["wait-turn"], 2, "usage").hint(contains("--turn-id ID"));
    sandbox.fails(&["show-turn", "--turn-id", "20261122", "--session-name", "a"], 2, "usage");
    sandbox.fails(&["show-turn", "--turn-id", "20261122", "--turn-id", "20261121-105533-2222"], 2, "usage");
}

#[test]
fn newest_turn_of_a_session_is_selected_by_name_or_id() {
    let mut sandbox = Sandbox::new();
    let turn = |id: &str, members: Value| {
        let mut turn = Detached::running(&sandbox, id, &members);
        turn.prints("out", id);
        turn.ends(0);
    };
    turn("20261121-105533-2222", json!({"alias": "a", "session_id": "one"}));
    turn("20261121-105533-2223", json!({"alias": "a", "session_id": "two"}));
    turn("20261121-105533-2224", json!({"alias": "b", "session_id": "three"}));
    turn("20261121-105533-2225", json!({"alias": "c", "session_id": "four", "backend": "codex"}));
    turn("20261121-105533-2226", json!({"alias": "c", "session_id": "five"}));
    turn("20261121-105533-2227", json!({"alias": null, "session_id": "SIX", "backend": "codex"}));
    // needs no agent
    sandbox.only_agents(&[]);
    for (options, id) in [
        (&["--session-name", "a"][..], "20261121-105533-2223"),
        (&["--session-id", "one"], "20261121-105533-2222"),
        (&["--session-id", "one", "--session-name", "b"], "20261121-105533-2222"),
        (&["--session-name", "c", "--backend", "codex"], "20261121-105533-2225"),
        (&["--session-name", "c", "--backend", "claude"], "20261121-105533-2226"),
        (&["--thread-id", "six"], "20261121-105533-2227"),
    ] {
        sandbox.run(&[&["wait-turn"], options].concat()).success().stdout(id);
    }
    let both = sandbox.fails(&["wait-turn", "--session-name", "c"], 2, "usage");
    both.hint(contains("--backend claude or --backend codex"));
    let similar = sandbox.fails(&["wait-turn", "--session-name", "aa"], 3, "turn_not_found");
    similar.message(contains("no turn of a session named 'aa' is recorded"));
    sandbox.fails(&["--backend", "codex", "wait-turn", "--session-name", "a"], 3, "turn_not_found");
    sandbox.fails(&["--backend", "codex", "wait-turn", "--turn-id", "20261121-105533-2222"], 3, "turn_not_found");
    sandbox.fails(&["wait-turn", "--session-id", "seven"], 3, "turn_not_found").message(contains("session seven"));
}

#[test]
fn renamed_session_has_the_turns_of_its_old_name() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    Detached::ended(&sandbox, "20261121-105533-2222", 0, b"answer", b"");
    sandbox.succeeds(&["rename-session", "--session-name", "a", "--to", "b"]);
    sandbox.run(&["wait-turn", "--session-name", "b"]).success().stdout("answer");
    assert_eq!(sandbox.succeeds(&["list-turns", "--session-name", "b"]).json()["totals"]["turns"], 1);
}

#[test]
fn turns_of_another_workspace_need_its_directory() {
    let sandbox = Sandbox::new();
    let other = sandbox.root().join("other one");
    fs::create_dir(&other).unwrap();
    let dir = dir_of(&sandbox, &other);
    let mut turn = Detached::in_dir(dir, &other, "20261121-105533-2222", &json!({}));
    let other = other.to_str().unwrap();
    sandbox.fails(&["show-turn", "--session-name", "a"], 3, "turn_not_found").hint(contains("list-turns"));
    let hint = format!("add --workspace-dir '{other}', where such a turn is recorded");
    sandbox.fails(&["show-turn", "--turn-id", "20261121"], 3, "turn_not_found").hint(contains(hint.as_str()));
    fs::create_dir(Path::new(other).join("below")).unwrap();
    let mut below = sandbox.cmd(&["--error-format", "json", "show-turn", "--session-name", "a"]);
    let failure = below.current_dir(Path::new(other).join("below")).run().failed(3, "turn_not_found");
    failure.hint(contains(hint.as_str()));
    let place = ["--workspace-dir", other];
    let shown = sandbox.succeeds(&[&["show-turn", "--session-name", "a"], &place[..]].concat()).json();
    assert_eq!(shown["workspace_dir"], other);
    let call = [&["wait-turn", "--session-name", "a", "--timeout-seconds", "0.01"], &place[..]].concat();
    let quoted = format!("'--workspace-dir={other}'");
    sandbox.fails(&call, 75, "turn_running").hint(ends_with(quoted.as_str()));
    sandbox
        .fails(&[&["wait-turn", "--session-name", "b"], &place[..]].concat(), 3, "turn_not_found")
        .hint(ends_with(format!("invoke-persist list-turns {quoted}")));
    turn.ends(0);
    let all = sandbox.succeeds(&["list-turns", "--all-workspaces"]).json();
    assert_eq!((&all["workspace_dir"], &all["turns"][0]["workspace_dir"]), (&json!(null), &json!(other)));
    assert_eq!(sandbox.succeeds(&["list-turns"]).json()["turns"], json!([]));
    sandbox.fails(&["list-turns", "--all-workspaces", "--workspace-dir", "."], 2, "usage");
    let table = sandbox.succeeds(&["list-turns", "--all-workspaces", "--format", "table"]).stdout_text();
    assert!(table.lines().nth(1).unwrap().ends_with(other), "{table}");
    assert!(!table.contains("running"), "{table}");
}

#[test]
fn record_has_every_key_and_output_is_shown_so_far() {
    let sandbox = Sandbox::new();
    let turn = Detached::running(&sandbox, "20261121-105533-2222", &json!({"later": 1, "turn_id": "another"}));
    turn.prints("out", "so far\u{1b}[1m");
    turn.prints("err", "a note\n");
    let show = ["show-turn", "--session-name", "a"];
    let line = sandbox.succeeds(&show).stderr("").stdout_text();
    assert_eq!(line.matches('\n').count(), 1);
    let mut rest = line.as_str();
    for key in KEYS {
        rest = rest.split_once(&format!("\"{key}\": ")).unwrap_or_else(|| panic!("{key}: {line}")).1;
    }
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record.as_object().unwrap().len(), KEYS.len());
    assert_eq!((&record["turn_id"], &record["state"]), (&json!(turn.id), &json!("running")));
    for options in [&["--output"][..], &["--format", "text"], &["--format", "json", "--output"]] {
        let run = sandbox.run(&[&show[..], options].concat()).success().stderr("a note\n");
        assert_eq!(run.stdout_text(), "so far\u{1b}[1m", "{options:?}");
    }
    assert!(!turn.file("fetched").exists(), "it has not ended");
    sandbox.fails(&[&show[..], &["--color", "always"]].concat(), 2, "usage");
}

/// The account must be the one that the stream itself printed with `--format text`.
#[test]
fn stream_is_shown_as_text() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(backend.answers("i", "the answer"));
        let resume = ["resume-stream", "--session-name", "a", "--prompt", "p"];
        let events = sandbox.succeeds(&resume).stdout_text();
        let members = json!({"backend": backend.name(), "command": "resume-stream", "alias": "b"});
        let mut turn = Detached::running(&sandbox, "20261121-105533-2222", &members);
        let (first, rest) = events.split_at(events.find('\n').unwrap() / 2);
        let show = ["show-turn", "--session-name", "b", "--format", "text"];
        turn.prints("out", first);
        sandbox.run(&show).success().stdout("");
        let follow = sandbox.start(&[&show[..], &["--follow"]].concat());
        turn.prints("out", rest);
        wait_until(LIMIT, || follow.stdout_so_far().contains("the answer\n"));
        turn.prints("err", "note: n\n");
        turn.ends(0);
        let text = sandbox.run(&show).success().stderr("note: n\n").stdout_text();
        assert!(text.starts_with("the answer\n\nturn 2.5 s") && !text.contains('{'), "{text}");
        let followed = follow.wait(LIMIT).assert.success().stderr("note: n\n").stdout_text();
        assert!(followed.starts_with("the answer\n\nturn "), "{followed}");
        let colored = sandbox.run(&[&show[..], &["--color", "always"]].concat()).success().stdout_text();
        assert!(colored.contains("\u{1b}["), "{colored}");
        assert!(!turn.file("fetched").exists(), "the unchanged output was not printed");
        // the same command with --format text, or --print-result
        for printed in ["the answer\n\nturn 1.0 s\n", "{\"a\": 1}\n", "{", ""] {
            fs::write(turn.file("out"), printed).unwrap();
            sandbox.run(&show).success().stdout(printed);
        }
    }
}

#[test]
fn turns_are_listed_newest_first_with_totals() {
    let sandbox = Sandbox::new();
    let totals = |turns: usize| {
        json!({"turns": turns, "duration_seconds": null, "input_tokens": null, "cached_input_tokens": null,
            "output_tokens": null, "cost_usd": null})
    };
    let empty = json!({"workspace_dir": sandbox.workspace(), "turns": [], "totals": totals(0)});
    assert_eq!(sandbox.succeeds(&["list-turns"]).stderr("").json(), empty);
    assert!(!sandbox.home().join(".local").exists(), "listing creates nothing");
    let turn = |at: usize, members: Value, status: Option<i32>| {
        let mut turn = Detached::running(&sandbox, &format!("20261121-1055{at:02}-2222"), &members);
        if let Some(status) = status {
            turn.ends(status);
        }
        turn
    };
    let used = json!({"input_tokens": 1000, "cached_input_tokens": 10, "output_tokens": 20, "cost_usd": 0.1});
    turn(1, used.clone(), Some(0));
    turn(2, json!({"alias": "b", "input_tokens": 5, "cost_usd": 0.2}), Some(1));
    turn(3, json!({"alias": "b", "session_id": "j", "backend": "codex"}), Some(143));
    let running = turn(4, json!({"alias": "c", "session_id": null, "state": "queued"}), None);
    let list = |options: &[&str]| sandbox.succeeds(&[&["list-turns"], options].concat()).json();
    let ids = |list: &Value| -> Vec<String> {
        let ids = list["turns"].as_array().unwrap().iter().map(|turn| turn["turn_id"].as_str().unwrap());
        ids.map(|id| id[13..15].to_owned()).collect()
    };
    let all = list(&[]);
    assert_eq!(ids(&all), ["04", "03", "02", "01"]);
    let want = json!({"turns": 4, "duration_seconds": 7.5, "input_tokens": 1005, "cached_input_tokens": 10,
        "output_tokens": 20, "cost_usd": 0.3});
    assert_eq!(all["totals"], want);
    assert_eq!(all["turns"][3].as_object().unwrap().len(), KEYS.len());
    // the totals are of all that match
    let limited = list(&["--limit", "1"]);
    assert_eq!((ids(&limited), &limited["totals"]), (vec!["04".to_owned()], &want));
    for (options, want) in [
        (&["--session-name", "b"][..], &["03", "02"][..]),
        (&["--session-name", "b", "--backend", "codex"], &["03"]),
        (&["--session-id", "J"], &["03"]),
        (&["--state", "failed"], &["02"]),
        (&["--state", "queued", "--state", "stopped"], &["04", "03"]),
        (&["--session-name", "none"], &[]),
        (&["--limit", "0"], &[]),
    ] {
        assert_eq!(ids(&list(options)), want, "{options:?}");
    }
    let table = sandbox.succeeds(&["list-turns", "--format", "table", "--session-name", "b"]).stdout_text();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "SESSION", "STATE", "AGE", "TIME", "TOKENS", "COST", "PROMPT"]);
    let age = lines[1][3];
    assert_eq!(lines[1], ["20261121-105503-2222", "b", "stopped", age, "2.5s", "-", "-", "fix", "it"]);
    assert_eq!(lines[2], ["20261121-105502-2222", "b", "failed", age, "2.5s", "-", "$0.2000", "fix", "it"]);
    let empty = ["list-turns", "--format", "table", "--state", "lost"];
    sandbox.run(&empty).success().stdout("").stderr("note: no such turns are recorded in this workspace\n");
    let elsewhere = ["list-turns", "--format", "table", "--workspace-dir", ".."];
    sandbox.run(&elsewhere).success().stdout("").stderr("note: no turns are recorded in this workspace\n");
    sandbox.fails(&["list-turns", "--limit", "-1"], 2, "usage");
    sandbox.fails(&["list-turns", "--state", "x"], 2, "usage");
    drop(running);
    // a program that another test starts at this moment holds the lock until it is executed
    wait_until(LIMIT, || ids(&list(&["--state", "lost"])) == ["04"]);
}

#[cfg(target_os = "linux")]
#[test]
fn table_of_turns_fits_the_terminal_and_shows_no_control_characters() {
    let sandbox = Sandbox::new();
    for at in 0..200 {
        let prompt = format!("\u{1b}[2J\u{7}\u{202e}{at} 日本語 \u{1b}]0;title\u{7} and much more of a prompt");
        let members = json!({"prompt": prompt, "alias": "\u{1b}[31mred", "input_tokens": 123, "output_tokens": 1,
            "cost_usd": 0.5});
        let id = format!("20261121-105533-{at:04}");
        Detached::running(&sandbox, &id, &members).ends(0);
    }
    for (width, titles) in [
        (200, "ID SESSION STATE AGE TIME TOKENS COST PROMPT"),
        (80, "ID SESSION STATE AGE TIME TOKENS PROMPT"),
        (60, "ID SESSION STATE PROMPT"),
        (40, "ID STATE"),
    ] {
        let call = sandbox.cmd(&["list-turns", "--format", "table", "--limit", "200"]);
        let shown = Terminal::of_width(width).shows(call);
        let plain = console::strip_ansi_codes(&shown).into_owned();
        let found: Vec<&str> = plain.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(found.join(" "), titles, "{plain}");
        assert_eq!(plain.lines().count(), 201);
        assert!(plain.lines().all(|line| console::measure_text_width(line) <= usize::from(width)), "{plain}");
        let body = shown.split_once('\n').unwrap().1;
        assert!(!body.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{body:?}");
    }
}

#[test]
fn damaged_records_are_reported_beside_the_others() {
    let sandbox = Sandbox::new();
    Detached::ended(&sandbox, "20261121-105533-2222", 0, b"answer", b"");
    let dir = dir_of(&sandbox, sandbox.workspace());
    for (id, text) in [
        ("20261121-105533-3333", "{\"turn_id\": \"20261121-105533-3333\", \"state\": \"runn".to_owned()),
        ("20261121-105533-3334", String::new()),
        ("20261121-105533-3335", "[]".to_owned()),
        ("20261121-105533-3336", "\u{0}".to_owned()),
        ("20261121-105533-3337", "{\"state\": \"exploded\"}".to_owned()),
        ("20261121-105533-3338", format!("{{\"prompt\": \"{}\"}}", "x".repeat(2 << 20))),
    ] {
        fs::write(dir.join(format!("{id}.record")), text).unwrap();
        sandbox.fails(&["show-turn", "--turn-id", id], 1, "io").message(contains("cannot read the record"));
    }
    fs::create_dir(dir.join("20261121-105533-3339.record")).unwrap();
    // not records
    for name in ["a\u{1b}[2Jb.record", "x y.record", ".record", "-x.record", "x.recorded", "20261121-105533-4444.out"] {
        if !cfg!(windows) || !name.contains('\u{1b}') {
            fs::write(dir.join(name), "{}").unwrap();
        }
    }
    let listed = sandbox.succeeds(&["list-turns"]);
    assert_eq!(listed.json()["totals"]["turns"], 1);
    let warning = listed.stderr_text();
    assert!(warning.starts_with("warning: cannot read the record of the turn 20261121-105533-3339"), "{warning}");
    assert!(warning.ends_with("(and 6 more)\n") && !warning.contains('\u{1b}'), "{warning}");
    sandbox.run(&["wait-turn", "--session-name", "a"]).success().stdout("answer").stderr("");
    sandbox.run(&["doctor", "--json"]).stdout(contains("turns.records").and(contains("turns.lost").not()));
    // a clock that was set back
    let future = json!({"started_at": "2099-01-01T00:00:00.000000+00:00", "alias": "later"});
    let _future = Detached::running(&sandbox, "20990101-000000-2222", &future);
    let table = sandbox.succeeds(&["list-turns", "--format", "table", "--session-name", "later"]).stdout_text();
    assert!(table.contains("running  0s   -"), "{table}");
    let garbage = json!({"started_at": "soon", "duration_seconds": -1e300, "session_id": "-x\n"});
    Detached::running(&sandbox, "20990101-000000-2223", &garbage).ends(0);
    sandbox.succeeds(&["list-turns", "--format", "table"]);
}

#[cfg(unix)]
#[test]
fn planted_files_are_neither_followed_nor_waited_for() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let sandbox = Sandbox::new();
    let turn = Detached::ended(&sandbox, "20261121-105533-2222", 0, b"answer", b"");
    let dir = &turn.dir;
    let fifo = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&dir.join("20261121-105533-3333.record"));
    symlink(turn.file("record"), dir.join("20261121-105533-3334.record")).unwrap();
    let listed = sandbox.run(&["list-turns"]).success();
    assert_eq!(listed.json()["totals"]["turns"], 1);
    sandbox.fails(&wait("20261121-105533-3333"), 1, "io").message(contains("it is not a regular file"));
    sandbox.fails(&wait("20261121-105533-3334"), 1, "io");
    // a lock that cannot be one, and an output that is elsewhere
    let mut fake = Detached::running(&sandbox, "20261121-105533-3335", &json!({}));
    fs::remove_file(fake.file("lock")).unwrap();
    fifo(&fake.file("lock"));
    fake.dies();
    sandbox.fails(&wait(&fake.id), 1, "turn_lost");
    fs::remove_file(turn.file("out")).unwrap();
    let secret = sandbox.write("secret", "secret");
    symlink(&secret, turn.file("out")).unwrap();
    sandbox.fails(&wait(&turn.id), 1, "io");
    fs::remove_file(turn.file("out")).unwrap();
    fifo(&turn.file("out"));
    sandbox.fails(&wait(&turn.id), 1, "io").message(contains("it is not a regular file"));
    fs::remove_file(turn.file("out")).unwrap();
    fs::write(turn.file("out"), "answer").unwrap();
    symlink(sandbox.workspace().join("planted"), turn.file("fetched")).unwrap();
    sandbox.run(&wait(&turn.id)).success().stdout("answer");
    assert!(!sandbox.workspace().join("planted").exists());
    // a directory that others could change
    for (dir, mode) in [(dir.as_path(), 0o770), (dir.parent().unwrap(), 0o777)] {
        fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        sandbox.fails(&wait(&turn.id), 1, "io").message(contains("is writable by other users"));
        sandbox.fails(&["list-turns"], 1, "io").hint(contains("XDG_STATE_HOME")); // it does not move the names
        sandbox.succeeds(&["list-turns", "--all-workspaces"]).stderr(contains("is writable by other users"));
        sandbox.run(&["doctor", "--json"]).stdout(contains("turns have no records"));
        sandbox
            .fails(&["resolve", "--session-name", "a"], 3, "session_not_found")
            .hint(contains("was last used").not());
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let real = sandbox.root().join("real");
    fs::rename(dir, &real).unwrap();
    symlink(&real, dir).unwrap();
    sandbox.fails(&["list-turns"], 1, "io").message(contains("is not a directory"));
}

#[test]
#[cfg(unix)] // the hint has a Unix shell's quotes
fn name_that_was_lost_is_found_in_the_records() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.answers("it's-id", "OK"));
        let select = ["--backend", backend.name()];
        sandbox.succeeds(&[&select[..], &["create-session", "--session-name", "my name"]].concat());
        sandbox.succeeds(&[&select[..], &["resume-json", "--session-name", "my name", "--prompt", "p"]].concat());
        fs::remove_file(sandbox.mapping_path(backend)).unwrap(); // as a reboot does
        let line = format!(
            "invoke-persist --backend {} create-session '--session-name=my name' '--adopt=it'\\''s-id'",
            backend.name()
        );
        for (options, verb) in [(&select[..], "resolve"), (&[], "resolve"), (&select[..], "ask")] {
            let name = if verb == "ask" { &["my name", "p"][..] } else { &["--session-name", "my name"] };
            let failure = sandbox.fails(&[options, &[verb], name].concat(), 3, "session_not_found");
            failure.hint(
                starts_with(format!("a {} session of that name was last used ", backend.name()))
                    .and(contains(" ago; to save it again, run: "))
                    .and(ends_with(line.as_str())),
            );
        }
        // from another directory, with another mapping
        let workspace = sandbox.workspace().to_str().unwrap();
        let mut elsewhere = sandbox.cmd(&["--error-format", "json"]);
        elsewhere.args(select).args(["resolve", "--session-name", "my name", "--workspace-dir", workspace]);
        let failure = elsewhere.current_dir(sandbox.root()).run().failed(3, "session_not_found");
        failure.hint(ends_with(format!("{line} --workspace-dir={workspace}")));
        let mapping = ["resolve", "--session-name", "my name", "--mapping-file", "m.json"];
        let file = sandbox.workspace().join("m.json").display().to_string();
        let failure = sandbox.fails(&[&select[..], &mapping].concat(), 3, "session_not_found");
        failure.hint(ends_with(format!("{line} --mapping-file={file}")));
        let create = ["resume-json", "--session-name", "my name", "--prompt", "p", "--if-missing", "create"];
        sandbox.agent(backend.answers("new", "OK"));
        let note = sandbox.succeeds(&[&select[..], &create].concat()).stderr_text();
        assert!(note.contains("; to save it again, run: invoke-persist"), "{note}");
        // a turn that another session answered by mistake is not of this name's session
        let members =
            json!({"backend": backend.name(), "alias": "lost", "kind": "session_lost", "session_id": "wrong"});
        Detached::running(&sandbox, "20991121-105533-2222", &members).ends(1);
        let resolve = [&select[..], &["resolve", "--session-name", "lost"]].concat();
        sandbox.fails(&resolve, 3, "session_not_found").hint(contains("wrong").not());
        Detached::running(&sandbox, "20261121-105533-2222", &json!({"backend": backend.name(), "alias": "lost"}))
            .ends(1);
        sandbox.fails(&resolve, 3, "session_not_found").hint(ends_with("--adopt=i"));
        let unknown =
            sandbox.fails(&[&select[..], &["resolve", "--session-name", "other"]].concat(), 3, "session_not_found");
        unknown.hint(contains("names are per workspace"));
    }
}

#[test]
fn doctor_reports_where_records_are() {
    let mut sandbox = Sandbox::new();
    let turns = |sandbox: &Sandbox| {
        let report = sandbox.run(&["doctor", "--json"]).json();
        let checks: Vec<Value> = report["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["check"] == "turns.records").unwrap();
        (check["status"].as_str().unwrap().to_owned(), check["message"].as_str().unwrap().to_owned())
    };
    let dir = dir_of(&sandbox, sandbox.workspace());
    assert_eq!(turns(&sandbox), ("ok".to_owned(), format!("none yet: {}", dir.display())));
    assert!(!dir.exists(), "it creates nothing");
    Detached::ended(&sandbox, "20261121-105533-2222", 0, b"", b"");
    assert_eq!(turns(&sandbox), ("ok".to_owned(), format!("1 in {}", dir.display())));
    sandbox.env("INVOKE_PERSIST_RECORD", "0");
    assert_eq!(turns(&sandbox).1, "off, because INVOKE_PERSIST_RECORD is 0");
    let file = sandbox.write("file", "");
    sandbox.env("INVOKE_PERSIST_DIR", file.join("below"));
    let (status, message) = turns(&sandbox);
    assert_eq!(status, "warning", "{message}");
    assert!(message.starts_with("turns have no records: "), "{message}");
}

#[test]
fn ids_of_turns_are_completed_with_what_was_asked() {
    let sandbox = Sandbox::new();
    Detached::ended(&sandbox, "20261121-105533-2222", 0, b"", b"");
    let members = json!({"alias": "b\u{1b}[2J", "prompt": "look\tat \u{202e}this"});
    let _running = Detached::running(&sandbox, "20261121-105534-2222", &members);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        for command in ["wait-turn", "show-turn"] {
            let words = match shell {
                "bash" => vec![format!("invoke-persist {command} --turn-id 2026"), "2026".to_owned()],
                "powershell" => ["3", "invoke-persist", command, "--turn-id", "2026"].map(str::to_owned).to_vec(),
                _ => ["invoke-persist", command, "--turn-id", "2026"].map(str::to_owned).to_vec(),
            };
            let mut call = sandbox.cmd(&[]);
            let offered =
                call.args(words).env("INVOKE_PERSIST_COMPLETE", shell).run().success().stderr("").stdout_text();
            let lines: Vec<&str> = offered.lines().skip(1).collect();
            assert_eq!(lines.len(), 2, "{shell}: {offered}");
            assert!(lines[0].starts_with("20261121-105533-2222"), "{shell}: {offered}");
            if shell != "bash" {
                assert!(lines[0].ends_with("\ta · succeeded · fix it"), "{shell}: {offered}");
                assert!(lines[1].contains(" · running · look at  this"), "{shell}: {offered:?}");
                assert!(!offered.contains(['\u{1b}', '\u{202e}']), "{offered:?}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn terminal_shows_what_the_turn_does_until_its_output() {
    let sandbox = Sandbox::new();
    let members = json!({"activity": "runs cargo \u{1b}[2Jtest"});
    let mut turn = Detached::running(&sandbox, "20261121-105533-2222", &members);
    let dialogue = Terminal::of_width(80).starts(&sandbox.cmd(&["wait-turn", "--session-name", "a"]));
    dialogue.sees("the activity", |screen| {
        let line = screen.before_cursor();
        line.contains("waiting ") && line.contains("20261121-105533-2222: runs cargo \\u{1b}[2Jtest")
    });
    turn.prints("out", "the answer\n");
    turn.ends(0);
    dialogue.sees("only the output", |screen| screen.lines() == ["the answer"]);
    // Ctrl-C
    let turn = Detached::running(&sandbox, "20261121-105534-2222", &json!({}));
    let mut shell = std::process::Command::new("bash");
    let line = format!("'{}' wait-turn --session-name a; echo \"status $?\"", env!("CARGO_BIN_EXE_invoke-persist"));
    shell.args(["-c", &format!("trap : INT; {line}")]).current_dir(sandbox.workspace());
    shell.env_clear().envs(sandbox.variables());
    let mut dialogue = Terminal::of_width(80).starts(&shell);
    dialogue.sees("the wait", |screen| screen.before_cursor().contains("waiting "));
    dialogue.types("\u{3}");
    dialogue.sees("the status", |screen| screen.lines().iter().any(|line| line.contains("status 130")));
    assert!(turn.file("lock").exists() && !turn.file("fetched").exists());
}

/// An agent that waits for its own turn, or for one that comes after it, would wait for ever.
#[test]
#[cfg(target_os = "linux")]
fn wait_that_cannot_end_is_refused() {
    for (command, why) in [
        ("wait-turn --session-name a", "this call runs inside that turn"),
        (
            "wait-turn --turn-id $(\"$program\" resume-json --session-name a --prompt q --detach --print-turn-id)",
            "it waits for the turn ",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let program = sandbox.program_named("invoke-persist").display().to_string();
        let script = format!(
            "#!/bin/sh\n[ -e second ] && exec sleep 600\ntouch second\nprogram='{program}'\n\
             \"$program\" {command} 2>refused; echo $? >status\n"
        );
        let agent = sandbox.write("agent", script);
        fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let call = ["resume-json", "--session-name", "a", "--prompt", "p", "--claude-cmd", agent.to_str().unwrap()];
        let mut running = sandbox.start(&call);
        wait_until(LIMIT, || running.has_ended() || sandbox.workspace().join("status").exists());
        let refused = fs::read_to_string(sandbox.workspace().join("refused")).unwrap();
        assert!(refused.contains("cannot end before this call") && refused.contains(why), "{refused}");
        assert_eq!(fs::read_to_string(sandbox.workspace().join("status")).unwrap(), "5\n");
        drop(running);
        sandbox.run(&["stop-turn", "--session-name", "a"]);
    }
}

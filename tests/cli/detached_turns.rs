//! `--detach` and `stop-turn`: turns that outlive the call that started them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(60);

fn with_session(backend: Backend, turns: impl Into<Plan>) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(turns);
    sandbox
}

/// Returns a turn that answers after the test allows it.
fn answers_later(backend: Backend, text: &str) -> Turn {
    backend.answers("i", text).after([Step::create("began"), Step::wait_for("continue")])
}

fn resume<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&["resume-json", "--session-name", "a", "--prompt", "the prompt"], options].concat()
}

/// Detaches a turn and returns its record.
fn detach(sandbox: &Sandbox, call: &[&str]) -> Value {
    let printed = sandbox.run(&[call, &["--detach"]].concat()).success().stderr("").stdout_text();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    serde_json::from_str(&printed).unwrap()
}

/// Returns a file of a turn.
fn file(sandbox: &Sandbox, id: &str, extension: &str) -> PathBuf {
    let key = sandbox.key_of(sandbox.workspace());
    sandbox.state_dir().join("turns").join(key).join(format!("{id}.{extension}"))
}

fn read(sandbox: &Sandbox, id: &str, extension: &str) -> String {
    fs::read_to_string(file(sandbox, id, extension)).unwrap_or_default()
}

fn record(sandbox: &Sandbox, id: &str) -> Value {
    let mut record = None;
    // Windows may refuse to read a file at the moment in which it is replaced
    wait_until(LIMIT, || {
        record = serde_json::from_str(&read(sandbox, id, "record")).ok();
        record.is_some()
    });
    record.unwrap()
}

fn id_of(record: &Value) -> &str {
    record["turn_id"].as_str().unwrap()
}

/// Waits until the turn is over. Returns its record.
fn end_of(sandbox: &Sandbox, id: &str) -> Value {
    wait_until(LIMIT, || !["queued", "running"].contains(&record(sandbox, id)["state"].as_str().unwrap()));
    record(sandbox, id)
}

#[test]
fn call_returns_while_the_agent_works_and_the_output_is_in_files() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend, answers_later(backend, "the answer"));
        let accepted = detach(&sandbox, &resume(&["--print-result"]));
        assert_eq!((&accepted["detached"], &accepted["state"]), (&json!(true), &json!("queued")));
        assert_eq!((&accepted["alias"], &accepted["prompt"]), (&json!("a"), &json!("the prompt")));
        let id = id_of(&accepted);
        wait_until(LIMIT, || sandbox.has_reached("began"));
        assert_eq!(record(&sandbox, id)["state"], "running");
        assert_eq!(record(&sandbox, id)["pid"], accepted["pid"]);
        sandbox.allow("continue");
        let ended = end_of(&sandbox, id);
        assert_eq!((&ended["state"], &ended["exit_code"]), (&json!("succeeded"), &json!(0)));
        assert_eq!(read(&sandbox, id, "out"), "the answer\n");
        assert_eq!(read(&sandbox, id, "err"), "");
        #[cfg(unix)] // a process ID can be looked up on Windows only with unsafe code
        wait_until(LIMIT, || !is_alive(accepted["pid"].as_u64().unwrap().try_into().unwrap()));
    }
}

#[test]
fn output_has_the_bytes_that_the_call_would_have_printed() {
    for backend in Backend::BOTH {
        for call in [resume(&[]), resume(&["--print-session-id"]), [&["resume-stream"], &resume(&[])[1..]].concat()] {
            let sandbox = with_session(backend, backend.answers("i", "the answer"));
            let attached = sandbox.run(&call).success();
            let id = id_of(&detach(&sandbox, &call)).to_owned();
            assert_eq!(end_of(&sandbox, &id)["exit_code"], 0);
            assert_eq!(read(&sandbox, &id, "out"), attached.stdout_text(), "{call:?}");
        }
    }
}

#[test]
fn failed_turn_has_its_error_and_its_exit_status() {
    let sandbox = with_session(Backend::Codex, Backend::Codex.fails("i", "Selected model is at capacity."));
    let call = resume(&["--error-format", "json"]);
    let attached = sandbox.run(&call).code(75);
    let id = id_of(&detach(&sandbox, &call)).to_owned();
    let ended = end_of(&sandbox, &id);
    assert_eq!(
        (&ended["state"], &ended["exit_code"], &ended["cause"]),
        (&json!("failed"), &json!(75), &json!("overloaded"))
    );
    assert_eq!(read(&sandbox, &id, "err"), attached.stderr_text());
}

#[test]
fn what_fails_before_the_turn_is_accepted_fails_in_the_call() {
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    sandbox.write("empty", "");
    for (call, status, kind) in [
        (vec!["--backend", "claude", "resume-json", "--session-name", "gone", "--prompt", "p"], 3, "session_not_found"),
        (vec!["resume-json", "--session-name", "a", "--prompt-file", "empty"], 2, "usage"),
        (resume(&["--deadline-seconds", "soon"]), 2, "usage"),
        (resume(&["--claude-cmd", "missing-program"]), 127, "agent_not_found"),
    ] {
        let failure = sandbox.fails(&[&call[..], &["--detach"]].concat(), status, kind);
        failure.before_the_turn();
    }
    assert!(sandbox.calls().is_empty());
    assert_eq!(
        fs::read_dir(file(&sandbox, "x", "y").parent().unwrap()).map_or(0, Iterator::count),
        0,
        "no record is left"
    );
}

#[test]
fn warnings_of_the_call_are_printed_and_kept() {
    let sandbox = with_session(Backend::Codex, Backend::Codex.answers("i", "OK"));
    let call = resume(&["--image", "gone.png", "--detach", "--print-turn-id"]);
    let outcome = sandbox.run(&call).success().stderr(contains("cannot read --image gone.png"));
    let id = outcome.stdout_text().trim().to_owned();
    end_of(&sandbox, &id);
    // in some containers, the call itself has another warning
    assert!(outcome.stderr_text().ends_with(&read(&sandbox, &id, "err")) && !read(&sandbox, &id, "err").is_empty());
}

#[test]
fn prompt_comes_from_the_stdin_of_the_call() {
    let answer = Backend::Claude.answers("i", "OK").after([Step::ReadStdin]);
    let sandbox = with_session(Backend::Claude, answer);
    let call = ["resume-json", "--session-name", "a", "--prompt", "-", "--detach", "--print-turn-id"];
    let id = sandbox.run_with_input(&call, "from stdin").success().stdout_text().trim().to_owned();
    assert_eq!(end_of(&sandbox, &id)["prompt"], "from stdin");
    assert_eq!(sandbox.only_call().stdin_text(), "from stdin");
}

#[test]
fn first_turn_and_fork_can_be_detached() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent([backend.answers("n", "OK"), backend.answers("f", "OK"), backend.answers("m", "OK")]);
        let create = ["--backend", backend.name(), "create-session", "--session-name", "n"];
        let id = id_of(&detach(&sandbox, &create)).to_owned();
        assert_eq!(end_of(&sandbox, &id)["session_id"], "n");
        let fork = ["fork-session", "--session-name", "n", "--to", "f", "--prompt", "p"];
        let id = id_of(&detach(&sandbox, &fork)).to_owned();
        assert_eq!(end_of(&sandbox, &id)["session_id"], "f");
        let missing = ["--backend", backend.name(), "resume-json", "--session-name", "m", "--prompt", "p"];
        let id = id_of(&detach(&sandbox, &[&missing[..], &["--if-missing", "create"]].concat())).to_owned();
        assert_eq!(end_of(&sandbox, &id)["session_id"], "m");
        assert!(read(&sandbox, &id, "err").contains("starting a new session"));
        let list = ["--backend", backend.name(), "list-sessions", "--format", "names"];
        sandbox.succeeds(&list).stdout("f\nm\nn\n");
    }
}

/// Its name is not saved yet. Adopting its session would be a mistake while the agent uses it.
#[test]
fn missing_name_of_a_first_turn_that_is_not_over_has_a_hint_to_wait() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(answers_later(backend, "OK"));
        let create = ["--backend", backend.name(), "create-session", "--session-name", "a"];
        let id = id_of(&detach(&sandbox, &create)).to_owned();
        wait_until(LIMIT, || sandbox.has_reached("began"));
        let wait = format!("wait for it with: invoke-persist wait-turn --turn-id={id}");
        for selection in [&["--backend", backend.name()][..], &[]] {
            let call = [selection, &resume(&[])].concat();
            sandbox.fails(&call, 3, "session_not_found").hint(contains("is running").and(ends_with(wait.as_str())));
        }
        let workspace = sandbox.workspace().display().to_string();
        let place = ["--workspace-dir", workspace.as_str()];
        let mut call = sandbox.cmd(&[&resume(&[])[..], &["--error-format", "json"], &place].concat());
        let place = format!("--workspace-dir={workspace}");
        let place = if cfg!(windows) { format!("'{place}'") } else { place }; // a backslash needs quotes
        let failure = call.current_dir(sandbox.home()).run().failed(3, "session_not_found");
        failure.hint(ends_with(format!("--turn-id={id} {place}")));
        sandbox.allow("continue");
        end_of(&sandbox, &id);
    }
}

#[test]
fn call_that_may_start_no_turn_cannot_be_detached() {
    let sandbox = Sandbox::new();
    for option in [&["--adopt", "x"][..], &["--if-exists", "reuse"]] {
        let call = ["--backend", "claude", "create-session", "--session-name", "a", "--detach"];
        sandbox.fails(&[&call[..], option].concat(), 2, "usage").before_the_turn().message(contains(option[0]));
    }
    sandbox.fails(&resume(&["--print-turn-id"]), 2, "usage").before_the_turn();
}

#[test]
fn directory_that_cannot_be_written_refuses_a_detached_turn_only() {
    let mut sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    if cfg!(unix) {
        sandbox.env("XDG_STATE_HOME", sandbox.write("file", ""));
    } else {
        sandbox.write(sandbox.state_dir().join("turns"), "");
    }
    let failure = sandbox.fails(&resume(&["--detach"]), 1, "io");
    // Unix has a variable that does not move the names
    let variable = if cfg!(unix) { "XDG_STATE_HOME" } else { "INVOKE_PERSIST_DIR" };
    failure.before_the_turn().hint(contains(format!("set {variable} to")));
    assert!(sandbox.calls().is_empty());
    sandbox.run(&resume(&[])).success().stderr(contains("note: this turn has no record"));
}

#[test]
fn records_can_be_switched_off_for_turns_that_are_not_detached() {
    let mut sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    sandbox.env("INVOKE_PERSIST_RECORD", "0");
    sandbox.run(&resume(&[])).success();
    assert!(!sandbox.state_dir().join("turns").exists());
    let id = id_of(&detach(&sandbox, &resume(&[]))).to_owned();
    assert_eq!(end_of(&sandbox, &id)["state"], "succeeded");
}

/// The record has the beginning only, and the command lines of the processes have nothing.
#[test]
#[cfg(target_os = "linux")]
fn prompts_and_variables_are_neither_in_the_record_nor_in_the_process_list() {
    for backend in Backend::BOTH {
        let mut sandbox = with_session(backend, answers_later(backend, "OK"));
        sandbox.env("SECRET_OF_THE_CALLER", "value-of-a-variable");
        let prompt = format!("{} secret-of-the-prompt", "word ".repeat(100));
        let call = ["resume-json", "--session-name", "a", "--prompt", &prompt];
        let accepted = detach(&sandbox, &call);
        wait_until(LIMIT, || sandbox.has_reached("began"));
        let lines: Vec<String> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect();
        assert!(lines.iter().any(|line| line.contains("--detach")), "the process of the turn is listed");
        sandbox.allow("continue");
        end_of(&sandbox, id_of(&accepted));
        let files = ["record", "out", "err"].map(|extension| read(&sandbox, id_of(&accepted), extension)).concat();
        for secret in ["secret-of-the-prompt", "value-of-a-variable"] {
            assert!(!lines.iter().any(|line| line.contains(secret)), "{secret}");
            assert!(!files.contains(secret), "{secret}");
        }
    }
}

#[test]
#[cfg(unix)]
fn killing_the_group_of_the_caller_does_not_stop_the_turn() {
    use std::os::unix::process::CommandExt;
    let sandbox = with_session(Backend::Claude, answers_later(Backend::Claude, "OK"));
    let program = sandbox.program_named("invoke-persist");
    let mut shell = sandbox.cmd_of("/bin/sh".as_ref(), &["-c", "\"$0\" \"$@\" >accepted; echo >done; sleep 600"]);
    shell.arg(program).args(resume(&["--detach", "--print-turn-id"]));
    let mut caller = shell.process_group(0).spawn().unwrap();
    wait_until(LIMIT, || sandbox.workspace().join("done").exists() && sandbox.has_reached("began"));
    let group = rustix::process::Pid::from_child(&caller);
    for signal in [rustix::process::Signal::HUP, rustix::process::Signal::KILL] {
        rustix::process::kill_process_group(group, signal).unwrap();
    }
    caller.wait().unwrap();
    sandbox.allow("continue");
    let id = fs::read_to_string(sandbox.workspace().join("accepted")).unwrap();
    assert_eq!(end_of(&sandbox, id.trim())["state"], "succeeded");
}

/// An agent starts a turn from its tool, and is then stopped with everything that it started.
#[test]
#[cfg(target_os = "linux")]
fn turn_outlives_the_agent_that_started_it() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "outer", "o");
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(answers_later(Backend::Codex, "OK"));
    let program = sandbox.program_named("invoke-persist").display().to_string();
    let call = resume(&["--detach", "--print-turn-id"]).into_iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
    let script = format!("#!/bin/sh\n'{program}' {} >accepted\nsleep 600 &\nsleep 600\n", call.join(" "));
    let agent = sandbox.write("agent", script);
    fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let outer = ["resume-json", "--session-name", "outer", "--prompt", "p", "--claude-cmd"];
    let running = sandbox.start(&[&outer[..], &[agent.to_str().unwrap()]].concat());
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let before = std::time::Instant::now();
    running.signal(rustix::process::Signal::TERM);
    running.wait(LIMIT).assert.code(143);
    assert!(before.elapsed() < Duration::from_secs(5), "the call does not wait for the detached turn");
    sandbox.allow("continue");
    let id = fs::read_to_string(sandbox.workspace().join("accepted")).unwrap();
    assert_eq!(end_of(&sandbox, id.trim())["state"], "succeeded");
}

#[test]
#[cfg(unix)]
fn killed_process_leaves_a_turn_that_is_lost_and_never_running() {
    let sandbox = with_session(Backend::Claude, answers_later(Backend::Claude, "OK"));
    let accepted = detach(&sandbox, &resume(&[]));
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let pid = accepted["pid"].as_u64().unwrap().try_into().unwrap();
    signal_process(pid, rustix::process::Signal::KILL);
    wait_until(LIMIT, || !is_alive(pid));
    let stopped = sandbox.run(&["stop-turn", "--turn-id", id_of(&accepted)]).success().stdout_text();
    assert_eq!(serde_json::from_str::<Value>(&stopped).unwrap()["state"], "lost");
    sandbox.allow("continue");
}

#[test]
fn stop_turn_stops_the_agent_and_what_it_started() {
    let working = Turn::doing([
        Step::grandchild([Step::lock("alive"), Step::wait_for("never")]),
        Step::create("began"),
        Step::wait_for("never"),
    ]);
    let sandbox = with_session(Backend::Codex, working);
    let accepted = detach(&sandbox, &resume(&[]));
    wait_until(LIMIT, || ["began", "alive"].iter().all(|file| sandbox.has_reached(file)) && sandbox.is_locked("alive"));
    let printed = sandbox.run(&["stop-turn", "--session-name", "a"]).success().stdout_text();
    let stopped: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(stopped["turn_id"], accepted["turn_id"]);
    assert_eq!(stopped["state"], "stopped");
    assert!(!sandbox.is_locked("alive"), "nothing of the turn is left");
    assert_eq!(record(&sandbox, id_of(&accepted))["state"], "stopped");
}

#[test]
#[cfg(unix)]
fn stop_turn_stops_a_tree_that_ignores_term() {
    let stubborn = Turn::doing([
        Step::Ignore(vec![SignalName::Term]),
        Step::grandchild([Step::Ignore(vec![SignalName::Term]), Step::lock("alive"), Step::wait_for("never")]),
        Step::create("began"),
        Step::wait_for("never"),
    ]);
    let sandbox = with_session(Backend::Claude, stubborn);
    let accepted = detach(&sandbox, &resume(&[]));
    wait_until(LIMIT, || ["began", "alive"].iter().all(|file| sandbox.has_reached(file)) && sandbox.is_locked("alive"));
    let printed = sandbox.run(&["stop-turn", "--session-name", "a"]).success().stdout_text();
    let stopped: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&stopped["state"], &stopped["exit_code"]), (&json!("stopped"), &json!(143)));
    assert_eq!(stopped["turn_id"], accepted["turn_id"]);
    assert!(!sandbox.is_locked("alive"), "nothing of the turn is left");
    let again = sandbox.run(&["stop-turn", "--turn-id", id_of(&accepted)]).success().stdout_text();
    assert_eq!(again, printed, "a turn that has ended stays as it is");
}

/// A second signal would kill the agent immediately.
#[test]
#[cfg(unix)]
fn two_stops_at_once_leave_the_agent_its_time() {
    let cleaning = Step::OnSignal {
        signals: vec![SignalName::Term],
        steps: vec![Step::wait_for("clean"), Step::create("cleaned"), Step::Exit(0)],
    };
    let sandbox = with_session(Backend::Codex, Turn::doing([cleaning, Step::create("began"), Step::wait_for("never")]));
    detach(&sandbox, &resume(&[]));
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let stop = || sandbox.start(&["stop-turn", "--session-name", "a"]);
    let first = stop();
    wait_until(LIMIT, || sandbox.only_call().signals == [SignalName::Term]);
    let second = stop();
    std::thread::sleep(Duration::from_millis(500)); // enough for the second one to act
    sandbox.allow("clean");
    let [one, other] = [first, second].map(|stop| stop.wait(LIMIT).assert.success().stdout_text());
    assert!(sandbox.has_reached("cleaned"));
    assert_eq!(one, other);
    assert!(one.contains("\"state\": \"stopped\""), "{one}");
}

#[test]
fn turn_that_waits_for_its_session_can_be_stopped() {
    let sandbox =
        with_session(Backend::Codex, [answers_later(Backend::Codex, "one"), Backend::Codex.answers("i", "two")]);
    let first = detach(&sandbox, &resume(&[]));
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let second = detach(&sandbox, &resume(&[]));
    let printed = sandbox.run(&["stop-turn", "--turn-id", id_of(&second)]).success().stdout_text();
    let stopped: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&stopped["state"], &stopped["turn_started"]), (&json!("stopped"), &json!(false)));
    assert_eq!(record(&sandbox, id_of(&first))["state"], "running");
    sandbox.allow("continue");
    assert_eq!(end_of(&sandbox, id_of(&first))["state"], "succeeded");
    assert_eq!(sandbox.calls().len(), 1);
}

#[test]
fn detached_turns_run_in_the_order_in_which_they_were_accepted() {
    let backend = Backend::Codex;
    let turns: Vec<Turn> = std::iter::once(answers_later(backend, "0"))
        .chain((1..6).map(|n| backend.answers("i", &n.to_string())))
        .collect();
    let sandbox = with_session(backend, turns);
    let ids: Vec<String> = (0..6)
        .map(|number| {
            let prompt = format!("prompt {number}");
            let call = ["resume-json", "--session-name", "a", "--prompt", &prompt, "--print-result"];
            id_of(&detach(&sandbox, &call)).to_owned()
        })
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
    sandbox.allow("continue");
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(end_of(&sandbox, id)["state"], "succeeded");
        assert_eq!(read(&sandbox, id, "out"), format!("{number}\n"));
    }
}

#[test]
fn variable_of_another_program_is_refused() {
    let mut sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    sandbox.env("INVOKE_PERSIST_DETACHED", "1");
    if cfg!(unix) {
        sandbox.run(&resume(&[])).code(2).stderr(contains("INVOKE_PERSIST_DETACHED"));
    }
}

/// Returns the records of the workspace, oldest first.
#[cfg(unix)]
fn records(sandbox: &Sandbox) -> Vec<Value> {
    let dir = file(sandbox, "x", "record").parent().unwrap().to_owned();
    let names = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut ids: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(".record")?.to_owned())).collect();
    ids.sort_unstable();
    ids.iter().map(|id| record(sandbox, id)).collect()
}

/// A call without the ID must not look as if nothing was sent.
#[test]
#[cfg(target_os = "linux")] // /dev/full
fn standard_output_that_is_full_does_not_hide_the_accepted_turn() {
    for options in [&["--detach"][..], &["--detach", "--print-turn-id"]] {
        let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
        let mut call = sandbox.cmd(&[&["--error-format", "json"], &resume(options)[..]].concat());
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = call.stdout(full).stdin(std::process::Stdio::null()).output().unwrap();
        let failure = assert_cmd::assert::Assert::new(output).failed(1, "io").after_the_turn();
        let id = id_of(&records(&sandbox)[0]).to_owned();
        failure.hint(contains(format!("wait-turn --turn-id {id}")));
        assert_eq!(end_of(&sandbox, &id)["state"], "succeeded");
    }
}

/// A fork waits for its new name before it has a place in the queue of the session, so it is not accepted meanwhile.
#[cfg(target_os = "linux")]
fn with_fork_before_acceptance(options: &[&str], check: impl FnOnce(&Sandbox, Running)) {
    let sandbox = with_session(Backend::Claude, answers_later(Backend::Claude, "OK"));
    let create = sandbox.start(&["--backend", "claude", "create-session", "--session-name", "f"]);
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let fork = ["--error-format", "json", "fork-session", "--session-name", "a", "--to", "f", "--prompt", "p"];
    let call = sandbox.start(&[&fork[..], options].concat());
    wait_until(LIMIT, || records(&sandbox).len() == 2);
    check(&sandbox, call);
    sandbox.allow("continue");
    create.wait(LIMIT).assert.success();
}

#[test]
#[cfg(target_os = "linux")] // elsewhere a process learns of the end of its parent only when it is accepted
fn call_that_ends_before_its_turn_is_accepted_leaves_no_record() {
    use rustix::process::Signal;
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        with_fork_before_acceptance(&["--detach"], |sandbox, call| {
            let pid = records(sandbox)[1]["pid"].as_u64().unwrap().try_into().unwrap();
            call.signal(signal);
            drop(call.wait(LIMIT));
            wait_until(LIMIT, || !is_alive(pid));
            assert_eq!(records(sandbox).len(), 1, "{signal:?}");
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn turn_that_is_stopped_before_it_is_accepted_is_an_error_of_the_call() {
    use rustix::process::Signal;
    for signal in [Signal::TERM, Signal::KILL] {
        with_fork_before_acceptance(&["--detach"], |sandbox, call| {
            signal_process(records(sandbox)[1]["pid"].as_u64().unwrap().try_into().unwrap(), signal);
            let status = 128 + signal.as_raw();
            call.wait(LIMIT).assert.failed(status, "interrupted").before_the_turn();
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn signal_before_the_agent_is_started_leaves_a_verdict() {
    with_fork_before_acceptance(&[], |sandbox, call| {
        call.signal(rustix::process::Signal::TERM);
        call.wait(LIMIT).assert.failed(143, "interrupted").before_the_turn();
        let record = &records(sandbox)[1];
        assert_eq!((&record["state"], &record["turn_started"]), (&json!("stopped"), &json!(false)));
    });
}

/// The disk has no room for another file, but the record has its place.
#[test]
#[ignore = "needs root"]
#[cfg(target_os = "linux")] // mount namespaces
fn disk_that_becomes_full_during_a_turn_leaves_its_verdict() {
    let mut sandbox = with_session(Backend::Claude, answers_later(Backend::Claude, "the answer"));
    sandbox.env("XDG_STATE_HOME", sandbox.temp());
    sandbox.env("INVOKE_PERSIST_DIR", "");
    let mapping = sandbox.write("names.json", sandbox.mapping(Backend::Claude));
    let disk = Disk::mount(&sandbox);
    let call = resume(&["--backend", "claude", "--mapping-file", mapping.to_str().unwrap(), "--print-result"]);
    let detached = disk.cmd(&[&call[..], &["--detach", "--print-turn-id"]].concat()).run().success().stdout_text();
    let id = detached.trim();
    wait_until(LIMIT, || sandbox.has_reached("began"));
    let attached = disk.cmd(&[&call[..], &["--if-busy", "wait"]].concat()).start();
    let turns = || disk.cmd(&["list-turns"]).run().success().json()["turns"].as_array().unwrap().clone();
    wait_until(LIMIT, || turns().len() == 2);
    disk.fill();
    sandbox.allow("continue");
    attached.wait(LIMIT).assert.success().stdout("the answer\n");
    let waited = disk.cmd(&["wait-turn", "--turn-id", id]).run().code(1);
    let turns = turns();
    assert_eq!((&turns[0]["state"], &turns[0]["exit_code"]), (&json!("succeeded"), &json!(0)));
    assert_eq!((&turns[1]["state"], &turns[1]["kind"]), (&json!("failed"), &json!("io")), "{turns:?}");
    assert!(waited.stderr_text().contains("cannot write standard output"), "{}", waited.stderr_text());
}

/// Writes an agent for claude's session `id` that runs `commands` first. Returns its command.
#[cfg(unix)]
fn scripted_agent(sandbox: &Sandbox, id: &str, commands: &str) -> String {
    let result =
        format!(r#"{{"type":"result","subtype":"success","is_error":false,"session_id":"{id}","result":"OK"}}"#);
    let agent = sandbox.write(format!("agent-of-{id}"), format!("#!/bin/sh\n{{ {commands}; }} >&2\necho '{result}'\n"));
    fs::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    agent.to_str().unwrap().to_owned()
}

/// The turn that starts it does not wait for it, so it and its agent may wait for that turn.
#[test]
#[cfg(unix)]
fn detached_turn_can_wait_for_the_turn_that_started_it() {
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    sandbox.save(Backend::Claude, "b", "j");
    let program = sandbox.program_named("invoke-persist").display().to_string();
    let wait_for_a = format!("'{program}' resume-json --session-name a --prompt attached");
    let of_b = scripted_agent(&sandbox, "j", &format!("echo >began; {wait_for_a} --claude-cmd claude || exit"));
    let detach = format!("'{program}' resume-json --prompt detached --detach --session-name");
    let commands = format!(
        "{detach} a --claude-cmd claude && {detach} b --claude-cmd '{of_b}' && while ! test -e began; do sleep 0.1; done; sleep 1"
    );
    let of_a = scripted_agent(&sandbox, "i", &commands);
    sandbox.run(&resume(&["--claude-cmd", &of_a])).success();
    wait_until(LIMIT, || records(&sandbox).iter().all(|record| record["ended_at"] != Value::Null));
    for record in records(&sandbox) {
        assert_eq!(record["state"], "succeeded", "{record}");
    }
    assert_eq!(records(&sandbox).len(), 4);
}

/// Runs the call with `--detach` as the first process of a container, or with this shell before it. Needs root.
#[cfg(target_os = "linux")]
fn detach_in_container(sandbox: &Sandbox, shell: &[&str], options: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).args(options).args(shell);
    command.arg(env!("CARGO_BIN_EXE_invoke-persist")).args(resume(&["--detach", "--print-turn-id"]));
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    command.run()
}

/// The first process of a PID namespace ends all others, whatever they have left.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn turn_that_would_end_with_the_call_is_refused() {
    const OWN_PROC: &[&str] = &["--mount-proc"];
    let codex = ["bash", "-c", "exec -a /opt/codex-linux-sandbox bash -c '\"$@\"; exit $?' - \"$@\"", "-"];
    let claude = ["env", "SANDBOX_RUNTIME=1", "sh", "-c", "\"$@\"; exit $?", "-"];
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    for (shell, options, cause) in [
        (&codex[..], OWN_PROC, "the sandbox of codex ends all processes"),
        (&claude, OWN_PROC, "the sandbox of claude ends all processes"),
        (&[], OWN_PROC, "this call is the first process of its container"),
        (&codex, &[], "the sandbox of codex ends all processes"),
        (&[], &[], "this call is the first process of its container"),
    ] {
        let outcome = detach_in_container(&sandbox, shell, options).code(1);
        outcome.stderr(contains("cannot detach the turn").and(contains(cause)).and(contains("without --detach")));
    }
    assert!(sandbox.calls().is_empty());
    assert!(!sandbox.home().join(".local/state").exists(), "no record is left");
}

/// Such a container may run for as long as the turn.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn turn_runs_as_long_as_the_first_process_of_its_container() {
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    let shell = ["sh", "-c", "\"$@\" && sleep 600", "-"];
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).args(shell);
    command.arg(env!("CARGO_BIN_EXE_invoke-persist")).args(resume(&["--detach", "--print-turn-id"]));
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    let running = command.start();
    wait_until(LIMIT, || running.stdout_so_far().ends_with('\n'));
    assert_eq!(running.stderr_so_far(), "");
    assert_eq!(end_of(&sandbox, running.stdout_so_far().trim())["state"], "succeeded");
}

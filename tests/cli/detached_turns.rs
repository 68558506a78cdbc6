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
    backend.answers("i", text).after([Step::create("began"), Step::wait_for("go on")])
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
    sandbox.home().join(".local/state/invoke-persist/turns").join(key).join(format!("{id}.{extension}"))
}

fn read(sandbox: &Sandbox, id: &str, extension: &str) -> String {
    fs::read_to_string(file(sandbox, id, extension)).unwrap_or_default()
}

fn record(sandbox: &Sandbox, id: &str) -> Value {
    serde_json::from_str(&read(sandbox, id, "record")).unwrap()
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
        sandbox.allow("go on");
        let ended = end_of(&sandbox, id);
        assert_eq!((&ended["state"], &ended["exit_code"]), (&json!("succeeded"), &json!(0)));
        assert_eq!(read(&sandbox, id, "out"), "the answer\n");
        assert_eq!(read(&sandbox, id, "err"), "");
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
    sandbox.env("XDG_STATE_HOME", sandbox.write("file", ""));
    let failure = sandbox.fails(&resume(&["--detach"]), 1, "io");
    failure.before_the_turn().hint(contains("INVOKE_PERSIST_DIR"));
    assert!(sandbox.calls().is_empty());
    sandbox.run(&resume(&[])).success().stderr(contains("note: this turn has no record"));
}

#[test]
fn records_can_be_switched_off_for_turns_that_are_not_detached() {
    let mut sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    sandbox.env("INVOKE_PERSIST_RECORD", "0");
    sandbox.run(&resume(&[])).success();
    assert!(!sandbox.home().join(".local/state").exists());
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
        sandbox.allow("go on");
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
    sandbox.allow("go on");
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
    sandbox.allow("go on");
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
    sandbox.allow("go on");
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

#[test]
#[cfg(unix)]
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
    sandbox.allow("go on");
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
    sandbox.allow("go on");
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
fn turn_that_would_end_with_its_container_has_a_warning() {
    let sandbox = with_session(Backend::Claude, Backend::Claude.answers("i", "OK"));
    let shell = ["sh", "-c", "\"$@\" && sleep 600", "-"];
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).args(shell);
    command.arg(env!("CARGO_BIN_EXE_invoke-persist")).args(resume(&["--detach", "--print-turn-id", "--quiet"]));
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    let running = command.start();
    wait_until(LIMIT, || running.stdout_so_far().ends_with('\n'));
    assert_eq!(
        running.stderr_so_far(),
        "warning: the turn ends with sh, the first process of this container or sandbox\n"
    );
    assert_eq!(end_of(&sandbox, running.stdout_so_far().trim())["state"], "succeeded");
}

//! A first turn that is stopped is not lost: its session is saved, and the next call resumes it or starts it anew.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(60);

/// Returns a turn that prints the beginning of its events, if any, and then hangs.
fn hangs(backend: Backend, begins: bool) -> Turn {
    let lines = match backend {
        Backend::Claude => "",
        Backend::Codex => "{\"type\":\"thread.started\",\"thread_id\":\"thread-1\"}\n{\"type\":\"turn.started\"}\n",
    };
    Turn::doing([Step::stdout(if begins { lines } else { "" }), Step::create("up"), Step::wait_for("never")])
}

/// Returns a turn that fails because the agent does not have the session.
fn unknown(backend: Backend, id: &str) -> Turn {
    let stderr = match backend {
        Backend::Claude => format!("No conversation found with session ID: {id}\n"),
        Backend::Codex => {
            format!("Error: thread/resume: thread/resume failed: no rollout found for thread id {id} (code -32600)\n")
        }
    };
    Turn::default().stderr(&stderr).exit(1)
}

/// Returns a turn that fails for a temporary reason.
fn overloaded(backend: Backend, id: &str) -> Turn {
    let reason = "Selected model is at capacity. Please try a different model.";
    let result = json!({
        "type": "result", "is_error": true, "session_id": id, "result": reason, "api_error_status": 529,
        "api_error_type": "overloaded_error",
    });
    match backend {
        Backend::Claude => Turn::default().stdout(&format!("{result}\n")).exit(1),
        Backend::Codex => backend.fails(id, reason),
    }
}

fn call<'a>(backend: Backend, command: &[&'a str]) -> Vec<&'a str> {
    [&["--error-format", "json", "--backend", backend.name()], command].concat()
}

const CREATE: [&str; 5] = ["create-session", "--session-name", "my name", "--init-prompt", "the prompt"];
const RESUME: [&str; 5] = ["resume-json", "--session-name", "my name", "--prompt", "go"];
const DEADLINE: [&str; 2] = ["--deadline-seconds", "2"];

fn entry(sandbox: &Sandbox, backend: Backend) -> Value {
    let mapping: Value = serde_json::from_str(&sandbox.mapping(backend)).unwrap();
    mapping["aliases"]["my name"].clone()
}

/// Runs a first turn that its deadline stops, and returns the ID of its session.
#[track_caller]
fn stopped(sandbox: &Sandbox, backend: Backend, command: &[&str]) -> String {
    let output = sandbox.run(&call(backend, &[command, &DEADLINE].concat()));
    let failure = output.failed(124, "deadline").after_the_turn();
    let id = failure.session_id.clone().expect("the ID of the session");
    let resume = "--session-name=my name";
    failure
        .message(contains("the deadline of 2 s passed; ").and(contains(" was stopped")))
        .hint(contains("allow more time").and(contains(format!("the session 'my name' ({id})"))).and(contains(resume)));
    assert_eq!(entry(sandbox, backend)[backend.id_key()], id);
    assert_eq!(entry(sandbox, backend)["first_turn_stopped"], true);
    id
}

#[test]
fn id_of_a_new_claude_session_is_chosen_here() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    for name in ["a", "b"] {
        sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", name]).stdout("i\n");
    }
    sandbox.succeeds(&["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"]);
    let ids: Vec<_> = sandbox.calls().iter().map(|call| call.value_of("--session-id").map(str::to_owned)).collect();
    assert!(ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1], "{ids:?}");
    assert_eq!(ids[2], None, "a resumed session has its ID");
}

#[test]
fn stopped_first_turn_is_saved_and_resumed() {
    for backend in Backend::BOTH {
        for command in [&CREATE[..], &[&RESUME[..], &["--if-missing", "create"]].concat()] {
            let sandbox = Sandbox::new();
            sandbox.agent([hangs(backend, true), backend.answers("@ID@", "OK")]);
            let id = stopped(&sandbox, backend, &[command, &["--model", "m"]].concat());
            assert_eq!(entry(&sandbox, backend)["last_model"], "m");
            if backend == Backend::Claude {
                assert_eq!(sandbox.only_call().value_of("--session-id"), Some(id.as_str()));
            }
            sandbox.succeeds(&call(backend, &RESUME));
            assert!(sandbox.last_call().has(&id), "{:?}", sandbox.last_call().argv);
            assert_eq!(entry(&sandbox, backend)["first_turn_stopped"], Value::Null, "a successful turn removes it");
            assert_eq!(entry(&sandbox, backend)[backend.id_key()], id);
        }
    }
}

/// The failed try has left its prompt in the history.
#[cfg(unix)]
#[test]
fn first_turn_that_is_interrupted_before_a_retry_is_saved() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(overloaded(backend, "thread-1"));
        let running = sandbox.start(&call(backend, &[&CREATE[..], &["--retry", "9"]].concat()));
        wait_until(LIMIT, || running.stderr_so_far().contains("trying again in "));
        running.signal(rustix::process::Signal::TERM);
        let failure = running.wait(LIMIT).assert.failed(143, "interrupted").after_the_turn();
        failure.hint(starts_with("resume the session 'my name' (thread-1), which is saved, with: invoke-persist "));
        assert_eq!(entry(&sandbox, backend)[backend.id_key()], "thread-1");
    }
}

/// `codex` refuses a thread that another program has open, and the call waits for it.
#[cfg(unix)]
#[test]
fn call_that_is_interrupted_before_the_turn_reports_that_nothing_was_sent() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(Turn::default().stderr("Error: thread i already has an active writer\n").exit(1));
    let running = sandbox.start(&call(Backend::Codex, &["resume-json", "--session-name", "a", "--prompt", "p"]));
    wait_until(LIMIT, || running.stderr_so_far().contains("waiting for "));
    running.signal(rustix::process::Signal::TERM);
    let failure = running.wait(LIMIT).assert.failed(143, "interrupted").before_the_turn();
    assert_eq!(failure.session_id.as_deref(), Some("i"));
    failure.message(ends_with("before codex was started")).hint(contains("call again to send the prompt"));
}

#[test]
fn session_that_was_stopped_too_early_is_started_anew() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        let new = if backend == Backend::Claude { "@NEW@" } else { "thread-2" };
        sandbox.agent(hangs(backend, true));
        let id = stopped(&sandbox, backend, &CREATE);
        let answer = backend.answers(&new.replace("@NEW@", &id), "OK");
        sandbox.agent([Turn::default(), unknown(backend, &id), answer]);
        let output = sandbox.succeeds(&call(backend, &[&RESUME[..], &["--print-session-id"]].concat()));
        let output = output.stderr(contains("starting it anew"));
        let calls = sandbox.calls();
        assert_eq!(calls.len(), 3);
        assert!(calls[1].has(&id) && !calls[1].has("--session-id"), "{:?}", calls[1].argv);
        assert!(calls[2].has("go") && !calls[2].has("--resume") && !calls[2].has("resume"), "{:?}", calls[2].argv);
        let answered = if backend == Backend::Claude { id.as_str() } else { "thread-2" };
        if backend == Backend::Claude {
            assert_eq!(calls[2].value_of("--session-id"), Some(answered));
        }
        output.stdout(format!("{answered}\n"));
        assert_eq!(entry(&sandbox, backend)[backend.id_key()], answered);
        assert_eq!(entry(&sandbox, backend)["first_turn_stopped"], Value::Null);
    }
}

#[test]
fn session_that_is_started_anew_can_be_retried() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(hangs(backend, true));
        let id = stopped(&sandbox, backend, &CREATE);
        let new = if backend == Backend::Claude { id.as_str() } else { "thread-2" };
        let answer = backend.answers(new, "OK");
        sandbox.agent([Turn::default(), unknown(backend, &id), overloaded(backend, new), answer]);
        sandbox.succeeds(&call(backend, &[&RESUME[..], &["--retry", "1"]].concat()));
        let calls = sandbox.calls();
        assert!(calls[2].has("go") && !calls[3].has("go") && calls[3].has(new), "{calls:?}");
        assert!(!calls[3].has("--session-id"), "{:?}", calls[3].argv);
        assert_eq!(entry(&sandbox, backend)[backend.id_key()], new);
        assert_eq!(entry(&sandbox, backend)["first_turn_stopped"], Value::Null);
    }
}

#[test]
fn session_that_is_stopped_again_while_it_starts_anew_is_saved_again() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(hangs(backend, true));
        let id = stopped(&sandbox, backend, &CREATE);
        let again = Turn { steps: hangs(backend, true).steps, ..Turn::default() };
        sandbox.agent([Turn::default(), unknown(backend, &id), again]);
        let failure =
            sandbox.fails(&[&["--backend", backend.name()], &RESUME[..], &DEADLINE].concat(), 124, "deadline");
        let saved = entry(&sandbox, backend);
        assert_eq!(saved[backend.id_key()].as_str(), failure.session_id.as_deref());
        assert_eq!(saved["first_turn_stopped"], true);
    }
}

/// Older codex answers from a new thread if it does not have the requested one.
#[test]
fn codex_that_answers_from_a_new_thread_has_started_anew() {
    let sandbox = Sandbox::new();
    sandbox.agent([hangs(Backend::Codex, true), Backend::Codex.answers("thread-2", "OK")]);
    stopped(&sandbox, Backend::Codex, &CREATE);
    sandbox.succeeds(&call(Backend::Codex, &RESUME)).stderr(contains("continues as thread-2"));
    assert_eq!(entry(&sandbox, Backend::Codex)["thread_id"], "thread-2");
    sandbox.agent(Backend::Codex.answers("thread-3", "OK"));
    sandbox.fails(
        &["--backend", "codex", "resume-json", "--session-name", "my name", "--prompt", "p"],
        1,
        "session_lost",
    );
}

#[test]
fn session_whose_first_turn_succeeded_is_not_started_anew() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "my name", "i");
        sandbox.agent(unknown(backend, "i"));
        let failure = sandbox.run(&call(backend, &RESUME)).failed(1, "agent_failed").before_the_turn();
        assert_eq!(failure.prompt_in_history, Some(false));
        assert_eq!(sandbox.calls().len(), 1);
    }
}

#[test]
fn stopped_fork_is_saved() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(hangs(backend, true));
        let fork = ["fork-session", "--session-name", "a", "--to", "my name", "--prompt", "p"];
        let failure = sandbox.run(&call(backend, &[&fork[..], &DEADLINE].concat())).failed(124, "deadline");
        let id = failure.session_id.clone().expect("the ID of the fork");
        failure.hint(contains("the session 'my name'"));
        assert_eq!(entry(&sandbox, backend)[backend.id_key()], id);
        assert_eq!(entry(&sandbox, backend)["first_turn_stopped"], Value::Null, "it cannot be started anew");
        if backend == Backend::Claude {
            assert_eq!(sandbox.only_call().value_of("--session-id"), Some(id.as_str()));
        }
    }
}

#[test]
fn first_turn_that_failed_or_did_not_begin_saves_nothing() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.fails("i", "no"));
        sandbox.run(&call(backend, &CREATE)).failed(1, "agent_failed");
        assert!(!sandbox.mapping_path(backend).exists());
    }
    let sandbox = Sandbox::new();
    sandbox.agent(hangs(Backend::Codex, false));
    let failure = sandbox.run(&call(Backend::Codex, &[&CREATE[..], &DEADLINE].concat())).failed(124, "deadline");
    assert_eq!(failure.session_id, None, "codex has not reported a thread");
    assert!(!sandbox.mapping_path(Backend::Codex).exists());
}

#[test]
fn stopped_first_turn_replaces_a_name_only_if_a_successful_one_would() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "my name", "old");
    sandbox.agent(hangs(Backend::Claude, true));
    let fail = [&CREATE[..], &["--if-exists", "fail"]].concat();
    sandbox.run(&call(Backend::Claude, &fail)).failed(4, "session_exists");
    assert_eq!(entry(&sandbox, Backend::Claude)["session_id"], "old");
    let output = sandbox.run(&call(Backend::Claude, &[&CREATE[..], &DEADLINE].concat()));
    output.failed(124, "deadline");
    assert!(output.stderr_text().contains("previously referred to old"), "{output}");
    assert_ne!(entry(&sandbox, Backend::Claude)["session_id"], "old");
    // another call takes the name during the turn
    let sandbox = Sandbox::new();
    sandbox.agent(hangs(Backend::Claude, true));
    let running = sandbox.start(&call(Backend::Claude, &[&fail[..], &DEADLINE].concat()));
    wait_until(LIMIT, || sandbox.has_reached("up"));
    sandbox.save(Backend::Claude, "my name", "other");
    let failure = running.wait(LIMIT).assert.failed(124, "deadline");
    let id = failure.session_id.clone().unwrap();
    failure.hint(contains(format!("--adopt={id}")));
    assert_eq!(entry(&sandbox, Backend::Claude)["session_id"], "other");
}

#[test]
fn id_is_not_passed_to_a_claude_that_refuses_it() {
    for refusal in
        ["error: unknown option '--session-id'\n", "Error: --session-id cannot be used with --continue or --resume.\n"]
    {
        let sandbox = Sandbox::new();
        sandbox.agent([Turn::default().stderr(refusal).exit(1), Backend::Claude.answers("i", "OK")]);
        let output = sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "a"]);
        output.stdout("i\n").stderr(contains("does not accept an ID"));
        let calls = sandbox.calls();
        assert!(calls[0].has("--session-id") && !calls[1].has("--session-id"), "{calls:?}");
        // that agent's ID is not known until it answers
        let hanging = Turn::doing([Step::wait_for("never")]);
        sandbox.agent([Turn::default(), Turn::default(), Turn::default().stderr(refusal).exit(1), hanging]);
        let create = ["create-session", "--session-name", "b", "--deadline-seconds", "2"];
        assert_eq!(sandbox.run(&call(Backend::Claude, &create)).failed(124, "deadline").session_id, None);
        assert!(!sandbox.mapping(Backend::Claude).contains("\"b\""));
    }
}

#[test]
fn limit_names_what_the_agent_did() {
    let run = json!({"id": "item_1", "type": "command_execution", "command": "/bin/bash -lc 'cargo test'"});
    let codex = format!("{{\"type\":\"turn.started\"}}\n{{\"type\":\"item.started\",\"item\":{run}}}\n");
    let message = json!({"id": "m", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "cargo test"}}]});
    let claude = format!("{{\"type\":\"system\"}}\n{{\"type\":\"assistant\",\"message\":{message}}}\n");
    for (backend, verb, lines) in [
        (Backend::Codex, "resume-json", &codex),
        (Backend::Codex, "resume-stream", &codex),
        (Backend::Claude, "resume-stream", &claude),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(Turn::doing([Step::stdout(lines), Step::wait_for("never")]));
        let resume = [verb, "--session-name", "a", "--prompt", "p"];
        let message = sandbox.run(&call(backend, &[&resume[..], &DEADLINE].concat())).failed(124, "deadline").message;
        let name = backend.name();
        assert_eq!(message, format!("the deadline of 2 s passed; {name} was stopped while running `cargo test`"));
        let stall = [&resume[..], &["--stall-seconds", "2"]].concat();
        let failure = sandbox.run(&call(backend, &stall)).failed(124, "stalled");
        failure.message(ends_with("printed nothing for 2 s and was stopped while running `cargo test`"));
    }
}

#[cfg(unix)]
#[test]
fn interruption_names_the_session_and_how_to_continue() {
    let codex = "{\"type\":\"thread.started\",\"thread_id\":\"thread-1\"}\n{\"type\":\"turn.started\"}\n";
    let hanging = |lines: &str| Turn::doing([Step::stdout(lines), Step::create("up"), Step::wait_for("never")]);
    let interrupted = |sandbox: &Sandbox, args: &[&str]| {
        let running = sandbox.start(args);
        wait_until(LIMIT, || sandbox.has_reached("up"));
        running.signal(rustix::process::Signal::TERM);
        running.wait(LIMIT).assert
    };
    for (backend, lines) in [(Backend::Claude, ""), (Backend::Codex, codex)] {
        let name = backend.name();
        // the first turn
        let sandbox = Sandbox::new();
        sandbox.agent(hanging(lines));
        let failure = interrupted(&sandbox, &call(backend, &CREATE)).failed(143, "interrupted").after_the_turn();
        let id = failure.session_id.clone().expect("the ID of the session");
        assert_eq!(failure.prompt_in_history, (backend == Backend::Codex).then_some(true));
        let failure = failure.message(starts_with(format!("interrupted by signal 15; {name} was stopped")));
        failure.hint(contains(format!("the session 'my name' ({id})")).and(contains("resume-json")));
        assert_eq!(entry(&sandbox, backend)[backend.id_key()], id);
        // a resumed turn, with text
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "thread-1");
        sandbox.agent(hanging(lines));
        let output = interrupted(&sandbox, &["resume-json", "--session-name", "a", "--prompt", "p", "--quiet"]);
        let text = output.code(143).stderr_text();
        assert!(text.starts_with(&format!("error: interrupted by signal 15; {name} was stopped")), "{text}");
        assert!(text.contains("hint: resume the session 'a' (thread-1) to continue"), "{text}");
    }
}

//! The conditions for success, and the reports of failures (contract sections 6 and 7).

use std::time::Duration;

use assert_cmd::assert::Assert;
use serde_json::json;

use crate::support::*;

const VERBS: [&str; 2] = ["resume-json", "resume-stream"];

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox
}

fn resume(backend: Backend, verb: &str) -> Vec<&str> {
    vec!["--backend", backend.name(), verb, "--session-name", "a", "--prompt", "p"]
}

#[test]
fn failure_has_the_agents_reason() {
    for backend in Backend::BOTH {
        for verb in VERBS {
            let sandbox = with_session(backend);
            sandbox.agent(backend.fails("i", "invalid \u{1b}[31mkey\nsecond line"));
            let failure = sandbox
                .fails(&resume(backend, verb), 1, "agent_failed")
                .message(contains("invalid \\u{1b}[31mkey\nsecond line"));
            assert_eq!(failure.agent_exit_code, Some(1));
            assert_eq!(failure.session_id.as_deref(), Some("i"));
            assert_eq!(failure.turn_started, Some(true));
            let verdict = failure.agent.expect("the agent's result");
            assert!(verdict.to_string().contains("second line"), "{verdict}");
            let words = sandbox
                .run(&resume(backend, verb))
                .stderr(starts_with("error: ").and(contains("\ncaused by: invalid ")));
            assert_eq!(words.stdout_text().is_empty(), verb == "resume-json", "{}", words.stdout_text());
        }
    }
}

#[test]
fn result_of_claude_counts_regardless_of_its_exit_status() {
    let sandbox = with_session(Backend::Claude);
    for verdict in [
        json!({"type": "result", "subtype": "success", "is_error": true, "result": "the reason"}),
        json!({"type": "result", "subtype": "error_max_turns", "is_error": false, "errors": ["the reason"]}),
        json!({"type": "result", "subtype": "the reason"}),
    ] {
        for verb in VERBS {
            sandbox.agent(Turn::default().stdout(&format!("{verdict}\n")));
            let failure =
                sandbox.fails(&resume(Backend::Claude, verb), 1, "agent_failed").message(ends_with("the reason"));
            assert_eq!(failure.agent, Some(verdict.clone()));
        }
    }
}

#[test]
fn stderr_is_the_last_source_of_a_reason() {
    for backend in Backend::BOTH {
        for verb in VERBS {
            let sandbox = with_session(backend);
            let stderr = "Reading additional input from stdin...\nfirst\n\nError: no rollout found\n";
            sandbox.agent(Turn::default().stderr(stderr).exit(3));
            let failure = sandbox.fails(&resume(backend, verb), 1, "agent_failed");
            assert_eq!(failure.agent_exit_code, Some(3));
            assert!(failure.message.ends_with("first\nError: no rollout found"), "{}", failure.message);
            sandbox.agent(Turn::default().exit(3));
            sandbox.fails(&resume(backend, verb), 1, "agent_failed").message(ends_with("the agent printed no reason"));
        }
    }
}

#[test]
fn events_determine_whether_codex_failed() {
    let sandbox = with_session(Backend::Codex);
    let started = json!({"type": "thread.started", "thread_id": "i"});
    let completed = json!({"type": "turn.completed", "usage": {}});
    let error = json!({"type": "error", "message": "the reason"});
    let failed = json!({"type": "turn.failed", "error": {"message": "the reason"}});
    let warning = json!({"type": "item.completed", "item": {"type": "error", "message": "deprecated"}});
    for (events, fails) in [
        (vec![&started, &completed], false),
        (vec![&started, &warning, &completed], false),
        (vec![&started, &error, &completed], false), // the turn recovered from the error
        (vec![&started, &error], true),
        (vec![&started, &completed, &error], true),
        (vec![&started, &failed], true),
    ] {
        let lines: Vec<_> = events.iter().map(|event| format!("{event}\n")).collect();
        sandbox.agent(Turn::default().stdout(&lines.concat()));
        for verb in VERBS {
            let args = resume(Backend::Codex, verb);
            if fails {
                sandbox.fails(&args, 1, "agent_failed").message(ends_with("the reason"));
            } else {
                sandbox.succeeds(&args);
            }
        }
    }
}

#[test]
fn output_that_is_not_an_answer_is_not_a_failed_turn() {
    for (stdout, names) in [
        ("", "nothing"),
        ("hello\n", "not JSON"),
        ("{\"type\": \"result\"", "not JSON"),
        ("[1]\n", "not a JSON object"),
        ("[]\n", "empty array"),
        ("[{\"type\": \"assistant\"}]\n", "does not end in a result"),
    ] {
        let sandbox = with_session(Backend::Claude);
        sandbox.agent(Turn::default().stdout(stdout));
        let failure =
            sandbox.fails(&resume(Backend::Claude, "resume-json"), 7, "agent_output_invalid").message(contains(names));
        assert_eq!((failure.turn_started, failure.agent_exit_code), (Some(true), Some(0)));
        let create = ["--backend", "claude", "create-session", "--session-name", "b"];
        sandbox.fails(&create, 7, "agent_output_invalid");
    }
    for stdout in
        ["", "hello\n", "{\"type\": \"thread.st", "{\"type\": \"thread.started\", \"thread_id\": \"--last\"}\n"]
    {
        let sandbox = Sandbox::new();
        sandbox.agent(Turn::default().stdout(stdout));
        let create = ["--backend", "codex", "create-session", "--session-name", "b"];
        sandbox.fails(&create, 7, "agent_output_invalid");
    }
}

fn fifty_megabyte_answer_is_passed_through(backend: Backend) {
    const LENGTH: u64 = 50 << 20;
    let sandbox = with_session(backend);
    sandbox.agent(backend.answers_at_length("i", LENGTH));
    let length = |run: &Assert| run.get_output().stdout.len() as u64;
    let result = sandbox.succeeds(&[&resume(backend, "resume-json")[..], &["--print-result"]].concat());
    assert_eq!(length(&result), LENGTH + 1);
    sandbox.agent(backend.answers_at_length("i", 0));
    let around = length(&sandbox.succeeds(&resume(backend, "resume-stream")));
    sandbox.agent(backend.answers_at_length("i", LENGTH));
    assert_eq!(length(&sandbox.succeeds(&resume(backend, "resume-stream"))), LENGTH + around);
}

#[test]
fn fifty_megabyte_answer_of_claude_is_passed_through() {
    fifty_megabyte_answer_is_passed_through(Backend::Claude);
}

#[test]
fn fifty_megabyte_answer_of_codex_is_passed_through() {
    fifty_megabyte_answer_is_passed_through(Backend::Codex);
}

#[test]
fn claude_answer_can_be_an_array_that_ends_in_the_result() {
    let sandbox = with_session(Backend::Claude);
    let answer = "[{\"type\":\"system\"}, {\"type\":\"result\",\"result\":\"R\",\"session_id\":\"i\"}]\n";
    sandbox.agent(Turn::default().stdout(answer));
    sandbox.succeeds(&resume(Backend::Claude, "resume-json")).stdout(answer);
    let result = [&resume(Backend::Claude, "resume-json")[..], &["--print-result"]].concat();
    sandbox.succeeds(&result).stdout("R\n");
    sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "b"]).stdout("i\n");
    for none in ["{}", "{\"result\": null}"] {
        sandbox.agent(Turn::default().stdout(none));
        sandbox.succeeds(&result).stdout("\n");
        sandbox.succeeds(&resume(Backend::Claude, "resume-json")).stdout(none);
    }
}

#[test]
fn stream_without_a_result_succeeds_and_is_passed_through() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let bytes = b"{\"a\":1}\n\xff\x00\r\n\nlast without newline".to_vec();
        sandbox.agent(Turn::doing([Step::Bytes { to: Sink::Stdout, bytes: bytes.clone() }]));
        sandbox.succeeds(&resume(backend, "resume-stream")).stdout(bytes);
        sandbox.agent(Turn::default());
        sandbox.succeeds(&resume(backend, "resume-stream")).stdout("");
    }
}

#[test]
fn new_id_of_claude_is_saved_under_every_name() {
    for verb in VERBS {
        let sandbox = with_session(Backend::Claude);
        sandbox.save(Backend::Claude, "b", "i");
        sandbox.save(Backend::Claude, "c", "other");
        sandbox.agent(Backend::Claude.answers("next", "OK"));
        sandbox.succeeds(&resume(Backend::Claude, verb)).stderr(contains("next"));
        let list = sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json();
        let id = |name: &str| list["aliases"][name]["session_id"].as_str().unwrap().to_owned();
        assert_eq!((id("a"), id("b"), id("c")), ("next".into(), "next".into(), "other".into()));
        let by_id = ["--backend", "claude", verb, "--session-id", "unsaved", "--prompt", "p"];
        sandbox.succeeds(&by_id).stderr(contains("unsaved").and(contains("next")));
    }
}

#[test]
fn answer_from_another_codex_thread_is_a_failure() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.answers("else", "an answer"));
    let before = sandbox.mapping(Backend::Codex);
    for selector in ["--session-name=a", "--thread-id=unsaved"] {
        for verb in VERBS {
            let args =
                ["--error-format", "json", "--backend", "codex", verb, selector, "--prompt", "p", "--model", "m"];
            let output = sandbox.run(&args);
            let failure = output.failed(1, "session_lost").message(contains("else"));
            let asked = if selector.contains("name") { " i " } else { " unsaved " };
            assert!(failure.message.contains(asked), "{}", failure.message);
            assert!(failure.hint.unwrap().contains("--adopt=else"));
            assert!(output.stdout_text().contains("an answer"), "{}", output.stdout_text());
            assert_eq!(sandbox.mapping(Backend::Codex), before);
        }
    }
    // an ID in upper case is reported in lower case
    sandbox.agent(Backend::Codex.answers("abc-def", "OK"));
    sandbox.succeeds(&["--backend", "codex", "resume-json", "--thread-id", "ABC-def", "--prompt", "p"]);
}

#[test]
fn session_started_before_a_failure_can_be_adopted() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.agent(backend.fails("begun", "rate limit"));
        let create = ["--backend", backend.name(), "create-session", "--session-name", "my name"];
        let failure = sandbox.fails(&create, 1, "agent_failed");
        assert_eq!(failure.session_id.as_deref(), Some("begun"));
        let hint = failure.hint.unwrap();
        let (_, command) = hint.split_once("invoke-persist ").unwrap();
        let words = shell_words::split(command).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        sandbox.succeeds(&words).stdout("begun\n");
        assert!(
            !sandbox.mapping_path(if backend == Backend::Claude { Backend::Codex } else { Backend::Claude }).exists()
        );
    }
}

#[test]
fn unwritable_mapping_after_a_turn_is_a_warning() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        // the mapping's directory becomes a file while the agent runs
        sandbox.agent(backend.answers("paid", "OK").after([Step::create("up"), Step::wait_for("go")]));
        let file = sandbox.workspace().join("deep/m.json");
        let create = [
            "--backend",
            backend.name(),
            "create-session",
            "--session-name",
            "a",
            "--print-mapping-json",
            "--mapping-file",
            "deep/m.json",
        ];
        let running = sandbox.start(&create);
        wait_until(Duration::from_secs(60), || sandbox.has_reached("up"));
        std::fs::remove_dir(file.parent().unwrap()).unwrap();
        sandbox.write("deep", "in the way");
        sandbox.allow("go");
        let output = running.wait(Duration::from_secs(60)).assert.success();
        assert_eq!(output.json()["mapping_file_written"], false);
        assert_eq!(output.json()[backend.id_key()], "paid");
        output.stderr(starts_with("warning: ").and(contains("--adopt=paid")));
    }
}

#[test]
fn lone_surrogates_in_an_answer_are_passed_through() {
    // JavaScript writes one when it cuts an emoji in two
    let sandbox = with_session(Backend::Claude);
    let answer = "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"cut \\ud83d\",\"session_id\":\"i\"}\n";
    sandbox.agent(Turn::default().stdout(answer));
    sandbox.succeeds(&resume(Backend::Claude, "resume-json")).stdout(answer);
    sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "b"]).stdout("i\n");
    sandbox.agent(Turn::default().stdout(&answer.replace("false", "true")));
    for verb in VERBS {
        sandbox.fails(&resume(Backend::Claude, verb), 1, "agent_failed").message(contains("cut "));
    }
}

#[test]
#[cfg(target_os = "linux")] // only Linux has /dev/full
fn session_is_saved_before_a_broken_stdout_is_reported() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for backend in Backend::BOTH {
        for verb in ["create-session", "resume-json", "resume-stream"] {
            let sandbox = Sandbox::new();
            sandbox.agent(backend.answers("paid", "OK"));
            let call =
                ["--error-format", "json", "--backend", backend.name(), verb, "--session-name", "a", "--model", "m"];
            let how: &[&str] =
                if verb == "create-session" { &[] } else { &["--prompt", "p", "--if-missing", "create"] };
            let child =
                sandbox.cmd(&[&call[..], how].concat()).stdout(full()).stderr(std::process::Stdio::piped()).spawn();
            let output = child.unwrap().wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            let report: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
            let error = &report["error"];
            assert_eq!((output.status.code(), &error["kind"]), (Some(1), &"io".into()), "{stderr}");
            assert_eq!((&error["turn_started"], &error["session_id"]), (&true.into(), &"paid".into()), "{stderr}");
            let resolve = ["--backend", backend.name(), "resolve", "--session-name", "a"];
            assert_eq!(sandbox.succeeds(&resolve).json()["last_model"], "m");
        }
    }
}

#[test]
fn unusable_id_from_the_agent_is_not_saved() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.answers("--last", "OK"));
    sandbox.fails(&resume(Backend::Codex, "resume-json"), 1, "session_lost");
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Backend::Claude.answers("--last", "OK"));
    sandbox.succeeds(&resume(Backend::Claude, "resume-json")).stderr(starts_with("warning: ").and(contains("dash")));
    assert!(sandbox.mapping(Backend::Claude).contains("\"i\""));
}

#[test]
fn adopt_hint_works_from_any_directory_for_any_name() {
    for name in ["--foo", "it's", "a\nb", "plain"] {
        let sandbox = Sandbox::new();
        sandbox.write("elsewhere/x", "");
        sandbox.agent(Backend::Codex.fails("begun", "no"));
        let name = format!("--session-name={name}");
        let create =
            ["--backend", "codex", "create-session", &name, "--mapping-file", "m.json", "--workspace-dir", "elsewhere"];
        let hint = sandbox.fails(&create, 1, "agent_failed").hint.unwrap();
        if !cfg!(unix) {
            continue; // the hint is for a shell
        }
        let (_, command) = hint.split_once(": invoke-persist ").unwrap();
        let program = env!("CARGO_BIN_EXE_invoke-persist");
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &format!("'{program}' {command}")]).current_dir("/").env_clear().envs(sandbox.variables());
        shell.run().success();
        let resolve = ["--backend", "codex", "resolve", &name, "--mapping-file", "m.json", "--print-thread-id"];
        sandbox.succeeds(&resolve).stdout("begun\n");
    }
}

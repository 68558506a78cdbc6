//! `--print-result` on the commands besides `resume-json`: a stream's last answer, and a session's first (contract
//! section 4).

use std::time::Duration;

use serde_json::json;

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(30);

const ANSWERS: [&str; 4] = ["", "one", "two\n", "with \u{1b}[31mcolor\n\nlines"];

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox
}

const STREAM: [&str; 6] = ["resume-stream", "--session-name", "a", "--prompt", "p", "--print-result"];

#[test]
fn stream_prints_the_last_answer_as_resume_json_does() {
    for backend in Backend::BOTH {
        for answer in ANSWERS {
            let sandbox = with_session(backend);
            sandbox.agent(backend.answers("i", answer));
            let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--print-result"];
            let outcome = sandbox.run(&resume).success();
            let (expected, warning) = (outcome.stdout_text(), outcome.stderr_text());
            sandbox.run(&STREAM).success().stdout(expected.clone()).stderr(warning);
            sandbox.succeeds(&[&STREAM[..], &["--output-file", "out"]].concat()).stdout("");
            assert_eq!(std::fs::read_to_string(sandbox.workspace().join("out")).unwrap(), expected);
            if backend == Backend::Claude {
                let argv = sandbox.last_call().argv;
                assert!(argv.contains(&"stream-json".to_owned()), "{argv:?}");
                assert!(argv.contains(&"--include-partial-messages".to_owned()), "{argv:?}");
            }
        }
    }
}

#[test]
fn only_the_last_of_several_answers_is_printed() {
    let sandbox = with_session(Backend::Claude);
    let says = |text: &str| {
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
        json!({"type": "assistant", "message": message, "session_id": "i"})
    };
    let result = |text: &str| json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "session_id": "i"});
    let lines = [says("first"), result("first"), says("second"), result("second")];
    let stream = lines.map(|line| line.to_string() + "\n").concat();
    sandbox.agent(Turn { stream: Some(stream), ..Turn::default() });
    sandbox.succeeds(&STREAM).stdout("second\n");

    let sandbox = with_session(Backend::Codex);
    let item = |text: &str| json!({"type": "item.completed", "item": {"type": "agent_message", "text": text}});
    let (begin, end) = (json!({"type": "thread.started", "thread_id": "i"}), json!({"type": "turn.completed"}));
    let stream = [begin, item("first"), item("second"), end].map(|line| line.to_string() + "\n").concat();
    sandbox.agent(Turn::default().stdout(&stream));
    sandbox.succeeds(&STREAM).stdout("second\n");
}

#[test]
fn streamed_answer_is_printed_only_after_the_stream_has_ended() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let events = backend.answers("i", "OK");
        let text = events.stream.clone().unwrap_or(events.stdout.clone());
        sandbox.agent(Turn {
            last_message: events.last_message,
            ..Turn::doing([Step::stdout(&text), Step::create("printed"), Step::wait_for("go")])
        });
        let running = sandbox.start(&STREAM);
        wait_until(LIMIT, || sandbox.has_reached("printed"));
        assert_eq!(running.stdout_so_far(), "");
        sandbox.allow("go");
        running.wait(LIMIT).assert.success().stdout("OK\n");
    }
}

#[test]
fn streamed_answer_can_be_limited_by_its_silence() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let line = "{\"type\": \"noise\"}\n";
        sandbox.agent(Turn::doing([Step::stdout(line), Step::wait_for("never")]));
        let call = [&["--error-format", "json"], &STREAM[..], &["--stall-seconds", "1"]].concat();
        sandbox.start(&call).wait(LIMIT).assert.stdout("").failed(124, "stalled").after_the_turn();
    }
}

#[test]
fn failed_stream_prints_no_answer() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        sandbox.agent(backend.fails("i", "no credit"));
        let output = sandbox.run(&[&["--error-format", "json"], &STREAM[..]].concat()).stdout("");
        output.failed(1, "agent_failed").message(contains("no credit"));
    }
    // without a result there is no answer to print
    let sandbox = with_session(Backend::Claude);
    sandbox
        .agent(Turn { stream: Some("{\"type\": \"system\", \"session_id\": \"i\"}\n".to_owned()), ..Turn::default() });
    sandbox.fails(&STREAM, 7, "agent_output_invalid").after_the_turn();
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.answers("other", "OK"));
    sandbox.run(&[&["--error-format", "json"], &STREAM[..]].concat()).stdout("OK\n").failed(1, "session_lost");
}

#[test]
fn print_result_of_a_stream_excludes_other_forms() {
    let sandbox = with_session(Backend::Claude);
    for option in [&["--format", "text"][..], &["--format", "jsonl"], &["--color", "never"]] {
        sandbox
            .fails(&[&STREAM[..], option].concat(), 2, "usage")
            .message(contains("'--print-result' cannot be used with"));
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn create_session_prints_the_first_answer() {
    for backend in Backend::BOTH {
        for answer in ANSWERS {
            let sandbox = with_session(backend);
            sandbox.agent(backend.answers("i", answer));
            let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--print-result"];
            let expected = sandbox.succeeds(&resume).stdout_text();
            let create = ["--backend", backend.name(), "create-session", "--session-name", "b", "--init-prompt", "p"];
            sandbox.succeeds(&[&create[..], &["--print-result"]].concat()).stdout(expected.clone());
            let with_id = [&create[..], &["--print-session-id", "--print-result"]].concat();
            sandbox.succeeds(&with_id).stdout(format!("{expected}i\n"));
        }
    }
}

#[test]
fn print_result_of_create_session_needs_a_turn() {
    for backend in Backend::BOTH {
        let sandbox = with_session(backend);
        let create = ["--backend", backend.name(), "create-session", "--session-name", "a", "--print-result"];
        for (options, other) in [
            (&["--adopt", "x"][..], "--adopt"),
            (&["--print-mapping-json"], "--print-mapping-json"),
            (&["--if-exists", "reuse"], "--if-exists reuse"),
        ] {
            let failure = sandbox.fails(&[&create[..], options].concat(), 2, "usage");
            failure.message(contains("--print-result").and(contains(other)));
        }
        assert!(sandbox.calls().is_empty());
        assert!(sandbox.mapping(backend).contains("\"i\""));
    }
}

//! The scripts of the echo agent: every action, through this program, for both backends (contract section 12).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(30);

/// A sandbox in which both agents are the echo agent with this script.
fn with_script(script: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.write("script", script);
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    for backend in Backend::BOTH {
        let command =
            format!("'{}' echo-agent {} --script script", env!("CARGO_BIN_EXE_invoke-persist"), backend.name());
        sandbox.env(format!("{}_CMD", backend.name().to_uppercase()), command);
    }
    sandbox
}

fn call<'a>(backend: Backend, verb: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let session = ["--session-name", "a", "--prompt", "p", "--if-missing", "create"];
    [&["--error-format", "json", "--backend", backend.name(), verb], &session[..], options].concat()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn turns_have_their_own_actions() {
    for backend in Backend::BOTH {
        let sandbox = with_script(
            "# comment\nevery turn\n  say 'first\\npart' # comment\n  say done\nturn 2\n  say two\nturn 3\n",
        );
        let text = |options: &[&str]| {
            let json = call(backend, "resume-json", &[&["--print-result"], options].concat());
            sandbox.run(&json).success().stdout_text()
        };
        assert_eq!([text(&[]), text(&[]), text(&["--model", "m"])], ["done\n", "two\n", "turn 3: p [model: m]\n"]);
        assert_eq!(text(&[]), "done\n");
        let shown = sandbox.run(&call(backend, "resume-stream", &["--format", "text"])).success().stdout_text();
        assert!(shown.contains("first\npart\n") && shown.contains("done\n"), "{shown}");
    }
}

/// The agent's own options stand before the prompt, and some of them take values.
#[test]
fn value_of_an_option_is_not_the_prompt() {
    let sandbox = with_script("");
    for (backend, options) in [
        (Backend::Claude, &["--", "--permission-mode", "acceptEdits"][..]),
        (Backend::Claude, &["--", "--allowedTools", "Bash", "Edit"]),
        (Backend::Codex, &["--", "--add-dir", "../lib", "--profile", "work"]),
    ] {
        let output = sandbox.run(&call(backend, "resume-json", &[&["--print-result"], options].concat()));
        assert!(output.success().stdout_text().ends_with(": p\n"), "{options:?}");
    }
}

#[test]
fn values_of_an_option_are_not_a_prompt_on_standard_input() {
    for (backend, arguments) in [
        (Backend::Claude, &["--permission-mode", "plan", "--allowedTools", "Bash", "Read", "--verbose"][..]),
        (Backend::Codex, &["--sandbox", "read-only", "--color", "never"]),
    ] {
        let sandbox = with_script("");
        let call = ["--backend", backend.name(), "ask", "a", "-", "--create", "--"];
        let answer = sandbox.run_with_input(&[&call[..], arguments].concat(), "the prompt");
        answer.success().stdout("turn 1: the prompt\n");
    }
}

#[test]
fn tools_succeed_fail_and_are_refused() {
    for backend in Backend::BOTH {
        let script = "tool Bash 'cargo test' => '2 passed\\n'\nfail-tool Bash make => 'no target'\nrefuse Bash 'rm -r x'\n\
                      tool Edit a.rs\ntool search '{\"q\": 1}' => hit\nsay done\nusage 120 34\n";
        let sandbox = with_script(script);
        let shown = sandbox.run(&call(backend, "resume-stream", &["--format", "text"])).success().stdout_text();
        for part in
            ["cargo test", "1 line", "make", "no target", "rm -r x", "a.rs", "search", "done\n", "120 in", "34 out"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let refusal = if backend == Backend::Claude { "haven't granted" } else { "declined" };
        assert!(shown.contains(refusal), "{shown}");
        let events = lines(&sandbox.run(&call(backend, "resume-stream", &[])).success().stdout_text());
        match backend {
            Backend::Claude => {
                let result = events.last().unwrap();
                let id = &result["permission_denials"][0]["tool_use_id"];
                let denial = json!({"tool_name": "Bash", "tool_use_id": id, "tool_input": {"command": "rm -r x"}});
                assert_eq!(result["permission_denials"], json!([denial]));
                let denied = events.iter().find(|event| event["subtype"] == "permission_denied").unwrap();
                assert_eq!((&denied["tool_use_id"], &denied["tool_name"]), (id, &json!("Bash")));
                let called = |event: &&Value| event["message"]["content"][0]["id"] == *id;
                assert_eq!(events.iter().filter(called).count(), 1);
                assert_eq!(
                    (&result["usage"]["input_tokens"], &result["usage"]["output_tokens"]),
                    (&120.into(), &34.into())
                );
                let result = sandbox.run(&call(backend, "resume-json", &[])).success().json();
                assert_eq!(result["permission_denials"][0]["tool_input"], json!({"command": "rm -r x"}));
            }
            Backend::Codex => {
                let declined = events.iter().filter(|event| event["item"]["status"] == "declined").count();
                assert_eq!(declined, 1);
                // codex counts over the whole thread
                let usage = &events.last().unwrap()["usage"];
                assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&240.into(), &68.into()));
            }
        }
    }
}

#[test]
fn refused_tools_and_empty_answers_are_reported() {
    for backend in Backend::BOTH {
        let refusal = match backend {
            Backend::Claude => "warning: claude was refused 2 tools: Bash, Write\n",
            Backend::Codex => "warning: codex was refused at least 1 tool: Shell (2 times)\n",
        };
        let empty = format!("warning: {}'s answer is empty\n", backend.name());
        for (script, warnings, kind) in [
            ("refuse Bash 'rm -r x'\nrefuse Write y\nsay done\n", refusal.to_owned(), "permission_denied"),
            ("empty\n", empty.clone(), "empty_answer"),
            ("refuse Bash 'rm -r x'\nrefuse Write y\nempty\n", refusal.to_owned() + &empty, "permission_denied"),
        ] {
            for verb in ["resume-json", "resume-stream"] {
                let sandbox = with_script(script);
                let failing = call(backend, verb, &["--fail-on", "empty,denied"]);
                sandbox.run(&failing).failed(8, kind).after_the_turn();
                sandbox.run(&call(backend, verb, &[])).success().stderr(warnings.clone());
            }
        }
    }
}

/// A cause, claude's status, types, reason of the end and class, and the beginnings of both agents' messages.
struct Row {
    cause: &'static str,
    status: Value,
    error_type: Value,
    api_error: Value,
    terminal_reason: &'static str,
    class: &'static str,
    claude: &'static str,
    codex: &'static str,
}

/// The rows of section A of the facts about claude 2.1.330 and codex 0.169.0.
fn rows() -> Vec<Row> {
    let row = |cause, status: Value, types: [Value; 2], (terminal_reason, class), claude, codex| {
        let [error_type, api_error] = types;
        Row { cause, status, error_type, api_error, terminal_reason, class, claude, codex }
    };
    let typed = |name: &str| [json!(name), Value::Null];
    let api = "api_error";
    vec![
        row(
            "authentication",
            json!(401),
            typed("authentication_error"),
            (api, "authentication_failed"),
            "Invalid API key · ",
            "unexpected status 401 Unauthorized: ",
        ),
        row(
            "rate_limited",
            json!(429),
            typed("rate_limit_error"),
            (api, "rate_limit"),
            "API Error: Request rejected (429) · ",
            "exceeded retry limit, last status: 429 Too Many Requests",
        ),
        row(
            "rate_limited retry-after 7s",
            json!(429),
            typed("rate_limit_error"),
            (api, "rate_limit"),
            "API Error: Request rejected (429) · ",
            "rate limit exceeded: Rate limit reached. Please try again in 7s.",
        ),
        row(
            "usage_limit",
            json!(400),
            typed("invalid_request_error"),
            (api, "billing_error"),
            "Credit balance is too low",
            "Quota exceeded. Check your plan and billing details.",
        ),
        row(
            "usage_limit retry-after 2h",
            json!(429),
            [json!("rate_limit_error"), json!("usage_limit_reached")],
            (api, "rate_limit"),
            "You've hit your 5-hour limit · resets ",
            "You’ve hit your usage limit. Upgrade to Pro",
        ),
        row(
            "overloaded",
            json!(529),
            typed("overloaded_error"),
            (api, "server_error"),
            "API Error: 529 Overloaded. ",
            "Selected model is at capacity. Please try a different model.",
        ),
        row(
            "network",
            Value::Null,
            [Value::Null, json!("connection_failed")],
            (api, "server_error"),
            "API Error: Connection refused",
            "Connection failed: error sending request",
        ),
        row(
            "context_full",
            json!(400),
            typed("invalid_request_error"),
            ("prompt_too_long", "invalid_request"),
            "Prompt is too long",
            "Codex ran out of room in the model's context window.",
        ),
        row(
            "model_unknown",
            json!(404),
            typed("not_found_error"),
            (api, "model_not_found"),
            "There's an issue with the selected model (m). It may not exist",
            "The model `m` does not exist or you do not have access to it.",
        ),
        row(
            "safety",
            Value::Null,
            [Value::Null, Value::Null],
            (api, "invalid_request"),
            "API Error: safeguards flagged this message",
            "Incomplete response returned, reason: content_filter",
        ),
        row("other", json!(400), typed("invalid_request_error"), (api, "unknown"), "API Error: 400 ", "{\"error\":"),
    ]
}

impl Row {
    /// Returns the exit status, which reports whether the failure is temporary.
    fn exit_status(&self) -> i32 {
        let temporary = ["rate_limited", "overloaded", "network"];
        let has_time = self.cause.contains("retry-after");
        if temporary.iter().any(|cause| self.cause.starts_with(cause)) || has_time { 75 } else { 1 }
    }
}

#[test]
fn every_cause_fails_as_the_real_agents_do() {
    for row in rows() {
        let script = format!("turn 2\nfail {}\n", row.cause);
        for backend in Backend::BOTH {
            let sandbox = with_script(&script);
            sandbox.run(&call(backend, "resume-json", &["--model", "m"])).success();
            let stream = sandbox.run(&call(backend, "resume-stream", &[]));
            let failure = stream.failed(row.exit_status(), "agent_failed").after_the_turn();
            assert_eq!(failure.agent_exit_code, Some(1));
            assert_eq!(failure.cause.as_deref(), row.cause.split(' ').next(), "{backend:?}");
            let events = lines(&stream.stdout_text());
            let last = events.last().unwrap();
            match backend {
                Backend::Claude => {
                    assert!(failure.message.contains(row.claude), "{}", failure.message);
                    let [.., message, _] = &events[..] else { panic!("{events:?}") };
                    for event in [message, last] {
                        let codes = (&event["api_error_status"], &event["api_error_type"], &event["api_error"]);
                        assert_eq!(codes, (&row.status, &row.error_type, &row.api_error), "{event}");
                    }
                    assert_eq!((&last["is_error"], &last["subtype"]), (&json!(true), &json!("success")));
                    assert_eq!(last["terminal_reason"], row.terminal_reason);
                    assert_eq!(message["error"], row.class);
                    assert_eq!(message["message"]["model"], "<synthetic>");
                    assert_eq!(message["is_api_error_message"], true);
                    let stop = if row.cause == "safety" { "refusal" } else { "stop_sequence" };
                    assert_eq!(last["stop_reason"], stop);
                }
                Backend::Codex => {
                    assert!(failure.message.contains(row.codex), "{}", failure.message);
                    let [.., error, _] = &events[..] else { panic!("{events:?}") };
                    assert_eq!(*error, json!({"type": "error", "message": last["error"]["message"]}));
                    assert_eq!(*last, json!({"type": "turn.failed", "error": {"message": error["message"]}}));
                }
            }
            // the same in one answer, and the turn after it succeeds
            let sandbox = with_script(&script);
            sandbox.run(&call(backend, "resume-json", &["--model", "m"])).success();
            let whole = sandbox.run(&call(backend, "resume-json", &[])).stdout("");
            let whole = whole.failed(row.exit_status(), "agent_failed");
            assert!(whole.message.contains(if backend == Backend::Claude { row.claude } else { row.codex }));
            let after = sandbox.run(&call(backend, "resume-json", &["--print-result"])).success();
            after.stdout("turn 3: p [model: m]\n");
        }
    }
}

#[test]
fn time_of_a_limit_is_where_the_agents_have_it() {
    let sandbox = with_script("fail usage_limit retry-after 1h\n");
    let stream = sandbox.run(&call(Backend::Claude, "resume-stream", &[]));
    let failure = stream.failed(75, "agent_failed");
    assert!(failure.retry_at.is_some());
    let limit = lines(&stream.stdout_text()).into_iter().find(|event| event["type"] == "rate_limit_event").unwrap();
    assert_eq!(limit["rate_limit_info"]["status"], "rejected");
    assert!(limit["rate_limit_info"]["resetsAt"].as_i64().unwrap() > 1_700_000_000);
    let sandbox = with_script("fail rate_limited retry-after 7s\n");
    let stream = sandbox.run(&call(Backend::Claude, "resume-stream", &[]));
    let retry = lines(&stream.stdout_text()).into_iter().find(|event| event["subtype"] == "api_retry").unwrap();
    assert_eq!(
        (&retry["retry_delay_ms"], &retry["error_status"], &retry["error"]),
        (&7000.into(), &429.into(), &"rate_limit".into())
    );
}

#[test]
fn limit_of_the_caller_has_no_result() {
    let sandbox = with_script("say half\nfail limit_reached\n");
    let stream = sandbox.run(&call(Backend::Claude, "resume-stream", &[]));
    stream.failed(1, "agent_failed").message(contains("Reached maximum number of turns"));
    let last = lines(&stream.stdout_text()).pop().unwrap();
    assert_eq!((&last["subtype"], &last["terminal_reason"]), (&json!("error_max_turns"), &json!("max_turns")));
    assert!(last.get("result").is_none() && last.get("api_error_status").is_none(), "{last}");
    sandbox
        .run(&call(Backend::Codex, "resume-stream", &[]))
        .failed(1, "agent_failed")
        .message(contains("budget reached"));
}

#[test]
fn refused_arguments_start_no_turn() {
    for backend in Backend::BOTH {
        let sandbox = with_script("turn 2\nfail refused_arguments\n");
        sandbox.run(&call(backend, "resume-json", &[])).success();
        for _ in 0..2 {
            let output = sandbox.run(&call(backend, "resume-stream", &[])).stdout("");
            output.failed(1, "agent_failed").message(contains(if backend == Backend::Claude {
                "Error: "
            } else {
                "config.toml"
            }));
        }
        sandbox.write("script", "");
        let answer = sandbox.run(&call(backend, "resume-json", &["--print-result"])).success();
        answer.stdout("turn 2: p\n");
    }
}

#[test]
fn other_ends_of_a_turn() {
    for backend in Backend::BOTH {
        let json = call(backend, "resume-json", &["--print-result"]);
        let sandbox = with_script("empty\n");
        sandbox.run(&json).success().stdout("\n");
        let sandbox = with_script("say unfinished\nexit 7\n");
        let failure = sandbox.run(&json).stdout("").failed(1, "agent_failed");
        assert_eq!(failure.agent_exit_code, Some(7));
        let sandbox = with_script("exit 0\n");
        let create = ["--error-format", "json", "--backend", backend.name(), "create-session", "--session-name", "b"];
        sandbox.run(&create).stdout("").failed(7, "agent_output_invalid");
        let sandbox = with_script("garbage\n");
        sandbox.run(&create).stdout("").failed(7, "agent_output_invalid");
        let sandbox = with_script("turn 2\nsay x\nhang\n");
        sandbox.run(&json).success();
        let hanging = sandbox.start(&call(backend, "resume-stream", &["--stall-seconds", "1"]));
        hanging.wait(LIMIT).assert.failed(124, "stalled").after_the_turn();
        let sandbox = with_script("sleep 1200ms\n");
        let slow = sandbox.start(&json).wait(LIMIT);
        slow.assert.success().stdout("turn 1: p\n");
        assert!(slow.took >= Duration::from_millis(1200), "{:?}", slow.took);
    }
}

#[test]
#[cfg(target_os = "linux")] // the terminal of the tests
fn echo_agent_can_be_opened_at_a_terminal() {
    for backend in Backend::BOTH {
        let sandbox = with_script("");
        sandbox.run(&call(backend, "resume-json", &[])).success();
        let open = ["--backend", backend.name(), "open-session", "--session-name", "a"];
        let mut dialogue = Terminal::of_width(100).starts(&sandbox.cmd(&open));
        let sees = |dialogue: &Dialogue, text: &str| {
            dialogue.sees(text, |screen| screen.lines().iter().any(|line| line.contains(text)));
        };
        sees(&dialogue, "The echo agent repeats each line.");
        dialogue.types("hello\n");
        sees(&dialogue, "turn 2: hello");
        dialogue.types("\u{4}");
        let next = sandbox.run(&call(backend, "resume-json", &["--print-result"])).success();
        next.stdout("turn 3: p\n");
    }
}

#[test]
fn script_is_named_by_the_option_or_the_variable() {
    let mut sandbox = with_script("say option\n");
    sandbox.write("other", "say variable\n");
    sandbox.env("INVOKE_PERSIST_ECHO_SCRIPT", "other");
    let ask = ["ask", "a", "p", "--create", "--backend", "claude"];
    sandbox.succeeds(&ask).stdout("option\n");
    for (option, answer) in [(" --script=script", "option\n"), ("", "variable\n")] {
        let command = format!("'{}' echo-agent claude{option}", env!("CARGO_BIN_EXE_invoke-persist"));
        sandbox.env("CLAUDE_CMD", command);
        sandbox.succeeds(&ask).stdout(answer);
    }
}

#[test]
fn error_in_a_script_names_the_line() {
    for (script, line, words) in [
        ("say a\nsya b\n", 2, "unknown action 'sya'"),
        ("\n# x\nsay 'a\n", 3, "quote"),
        ("say", 1, "'say' needs a text"),
        ("turn 0", 1, "'0' is not the number of a turn"),
        ("turn one", 1, "'one' is not the number of a turn"),
        ("turn", 1, "a number"),
        ("every day", 1, "every turn"),
        ("turn 1\nturn 1", 2, "line 1 already"),
        ("say a\nevery turn", 2, "line 1 already"),
        ("sleep", 1, "duration"),
        ("sleep 2d", 1, "'2d' is not a duration"),
        ("sleep -1s", 1, "'-1s' is not a duration"),
        ("tool", 1, "the name of a tool"),
        ("refuse Bash x => y", 1, "no output"),
        ("usage 1", 1, "tokens"),
        ("usage 1 x", 1, "'x' is not a number of tokens"),
        ("fail", 1, "needs a cause"),
        ("fail broken", 1, "unknown cause 'broken'; use one of authentication, rate_limited"),
        ("fail network retry-after 2s", 1, "no time to try again after network"),
        ("fail rate_limited later", 1, "retry-after"),
        ("exit 256", 1, "'256' is not an exit status"),
        ("hang on", 1, "takes nothing"),
        ("empty\nsay a", 2, "never reached"),
    ] {
        let sandbox = with_script(script);
        let message = contains(format!("cannot read the script script: line {line}: ")).and(contains(words));
        let output = sandbox.run(&call(Backend::Claude, "resume-json", &[]));
        let failure = output.failed(1, "agent_failed").message(message);
        assert_eq!(failure.agent_exit_code, Some(2), "{script}");
    }
    let sandbox = with_script("");
    std::fs::remove_file(sandbox.workspace().join("script")).unwrap();
    let output = sandbox.run(&call(Backend::Claude, "resume-json", &[]));
    output.failed(1, "agent_failed").message(contains("cannot read the script script"));
}

#[test]
fn help_documents_every_action_and_its_example_runs() {
    let sandbox = Sandbox::new();
    let help = sandbox.succeeds(&["echo-agent", "--help"]).stdout_text();
    for action in ["say", "tool", "fail-tool", "refuse", "sleep", "usage", "empty", "fail", "exit", "garbage", "hang"] {
        assert!(
            help.lines().any(|line| line.starts_with(&format!("  {action} ")) || line == format!("  {action}")),
            "{action}: {help}"
        );
    }
    for row in rows() {
        assert!(help.contains(row.cause.split(' ').next().unwrap()), "{}", row.cause);
    }
    let (_, example) = help.split_once("Example of a script:\n").unwrap();
    let (example, _) = example.split_once("\n\n").unwrap();
    for backend in Backend::BOTH {
        let sandbox = with_script(example);
        let json = call(backend, "resume-json", &["--print-result"]);
        sandbox.run(&json).success().stdout("All tests pass.\n");
        sandbox.run(&json).failed(75, "agent_failed").message(contains("ate limit"));
        sandbox.run(&json).success().stdout("All tests pass.\n");
    }
}

//! Agents with unexpected output: bytes that are not UTF-8, lines that are too long to keep, and answer files that are
//! not regular files.

use crate::support::*;

/// Longer than the limit of a kept line.
const TOO_LONG: u64 = 65 << 20;

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox
}

fn resume(backend: Backend, verb: &str) -> Vec<&str> {
    let backend = if backend == Backend::Claude { "claude" } else { "codex" };
    vec!["--backend", backend, verb, "--session-name", "a", "--prompt", "p", "--model", "m"]
}

fn prints(bytes: &[u8]) -> Turn {
    Turn::doing([Step::Bytes { to: Sink::Stdout, bytes: bytes.to_vec() }])
}

#[test]
fn failure_reason_that_is_not_utf_8_is_a_failure() {
    for (backend, output) in [
        (Backend::Claude, &b"{\"type\":\"result\",\"is_error\":true,\"result\":\"caf\xe9 closed\"}\n"[..]),
        (
            Backend::Claude,
            b"{\"x\":\"\xff\",\"type\":\"result\",\"subtype\":\"error_x\",\"errors\":[\"caf\xe9 closed\"]}",
        ),
        (Backend::Codex, b"{\"type\":\"turn.failed\",\"error\":{\"message\":\"caf\xe9 closed\"}}\n"),
        (Backend::Codex, b"{\"type\":\"error\",\"message\":\"caf\xe9 closed\",\"x\":\"\xc3\"}"),
    ] {
        for verb in ["resume-json", "resume-stream"] {
            let sandbox = with_session(backend);
            sandbox.agent(prints(output));
            let failure =
                sandbox.fails(&resume(backend, verb), 1, "agent_failed").message(ends_with("caf\u{fffd} closed"));
            assert!(failure.agent.unwrap().to_string().contains("caf\u{fffd} closed"));
            assert!(!sandbox.mapping(backend).contains("last_model"), "a failed turn saves nothing");
        }
    }
}

#[test]
fn failure_in_slightly_invalid_json_is_a_failure() {
    for backend in Backend::BOTH {
        for (before, odd) in
            [("\u{feff}", ""), ("", "\t"), ("", "\0"), ("", "\u{1b}[31m\r"), ("", "\\ud83d"), (" \t", "")]
        {
            let output = match backend {
                Backend::Claude => {
                    format!("{{\"{odd}\":1,\"type\":\"result\",\"is_error\":true,\"result\":\"why{odd}\"}}")
                }
                Backend::Codex => {
                    format!("{{\"{odd}\":1,\"type\":\"turn.failed\",\"error\":{{\"message\":\"why{odd}\"}}}}")
                }
            };
            for verb in ["resume-json", "resume-stream"] {
                let sandbox = with_session(backend);
                sandbox.agent(prints(format!("{before}{output}\n").as_bytes()));
                sandbox.fails(&resume(backend, verb), 1, "agent_failed").message(contains(": why"));
            }
        }
    }
}

#[test]
fn answer_that_is_not_utf_8_is_printed_unchanged() {
    let sandbox = with_session(Backend::Claude);
    let answer = b"{\"type\":\"result\",\"is_error\":false,\"result\":\"caf\xe9\",\"session_id\":\"i\"}\n";
    sandbox.agent(prints(answer));
    for verb in ["resume-json", "resume-stream"] {
        sandbox.succeeds(&resume(Backend::Claude, verb)).stdout(&answer[..]);
    }
    let result = [&resume(Backend::Claude, "resume-json")[..], &["--print-result"]].concat();
    sandbox.succeeds(&result).stdout("caf\u{fffd}\n");
    sandbox.succeeds(&["--backend", "claude", "create-session", "--session-name", "b"]).stdout("i\n");

    let sandbox = with_session(Backend::Codex);
    let text = b"{\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":\"caf\xe9\"}}\n";
    sandbox.agent(prints(&[b"{\"type\":\"thread.started\",\"thread_id\":\"i\"}\n", &text[..]].concat()));
    assert_eq!(sandbox.succeeds(&resume(Backend::Codex, "resume-json")).json()["final_message"], "caf\u{fffd}");
    let as_text = [&resume(Backend::Codex, "resume-stream")[..], &["--format", "text"]].concat();
    sandbox.succeeds(&as_text).stdout("caf\u{fffd}\n");
}

#[test]
fn failure_in_a_line_that_is_too_long_to_keep_is_a_failure() {
    for (backend, before, after) in [
        (Backend::Claude, "{\"type\":\"result\",\"is_error\":true,\"result\":\"why ", "\",\"session_id\":\"new\"}\n"),
        (Backend::Claude, "{\"result\":\"why ", "\",\"session_id\":\"new\",\"is_error\":true,\"type\":\"result\"}"),
        (Backend::Codex, "{\"type\":\"turn.failed\",\"error\":{\"message\":\"why ", "\"}}\n"),
        (Backend::Codex, "{\"type\":\"error\",\"message\":\"why ", "\"}"),
    ] {
        let sandbox = with_session(backend);
        let flood = Step::Flood { to: Sink::Stdout, pattern: "x".to_owned(), size: Size::Bytes(TOO_LONG) };
        sandbox.agent(Turn::doing([Step::stdout(before), flood, Step::stdout(after)]));
        let output = sandbox.run(&[&["--error-format=json"], &resume(backend, "resume-stream")[..]].concat());
        let failure = output.failed(1, "agent_failed").message(ends_with("xxx…"));
        assert!(failure.agent.unwrap().to_string().contains("why xxx"));
        assert_eq!(failure.session_id.as_deref(), Some(if backend == Backend::Claude { "new" } else { "i" }));
        assert_eq!(output.get_output().stdout.len() as u64, (before.len() + after.len()) as u64 + TOO_LONG);
    }
}

#[test]
fn answer_in_a_line_that_is_too_long_to_keep_is_not_truncated_silently() {
    let sandbox = with_session(Backend::Codex);
    let item = "{\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":\"";
    let flood = Step::Flood { to: Sink::Stdout, pattern: "x".to_owned(), size: Size::Bytes(TOO_LONG) };
    let first = format!("{item}first\"}}}}\n{item}");
    sandbox.agent(Turn::doing([Step::stdout(&first), flood, Step::stdout("\"}}\n")]));
    assert_eq!(sandbox.succeeds(&resume(Backend::Codex, "resume-json")).json()["final_message"], "");
}

#[test]
#[cfg(unix)] // Windows has neither in the file system
fn answer_file_that_is_not_a_file_is_not_waited_for() {
    let sandbox = with_session(Backend::Codex);
    let script = sandbox.write(
        "agent.sh",
        "make=$1; shift\n\
         while [ \"$1\" != -o ]; do shift; done\n\
         eval \"$make\"\n\
         echo '{\"type\":\"thread.started\",\"thread_id\":\"i\"}'\n\
         [ -z \"$ANSWER\" ] || echo \"$ANSWER\"\n",
    );
    let answer =
        "ANSWER={\"type\":\"item.completed\",\"item\":{\"type\":\"agent_message\",\"text\":\"from the events\"}}";
    let with_answer = sandbox.write("answer.env", answer);
    let without = sandbox.write("none.env", "");
    for make in ["mkfifo \"$2\"", "mkdir \"$2\"", "ln -s /dev/zero \"$2\""] {
        for (variables, message) in [(&with_answer, "from the events"), (&without, "")] {
            let command = shell_words::join(["sh", script.to_str().unwrap(), make]);
            let options = ["--codex-cmd", &command, "--env-file", variables.to_str().unwrap()];
            let call = [&["--quiet"], &resume(Backend::Codex, "resume-json")[..], &options].concat();
            let output = sandbox.succeeds(&call);
            assert_eq!(output.json()["final_message"], message);
            assert_eq!(output.stderr_text().contains("do not contain"), message.is_empty(), "{}", output.stderr_text());
        }
    }
}

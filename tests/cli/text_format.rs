//! `resume-stream --format text`: a turn as readable text while it runs.
//!
//! The streams below `streams/` are from the published agents. `tests/real_agents/cases/streams.rs` records them. Next
//! to each stream are its texts: piped, and at terminals of two widths, with and without colors. If
//! `INVOKE_PERSIST_RECORD` is set, the tests write these files and fail. So a recording cannot be mistaken for a passed
//! comparison.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

/// The name of a recorded turn, its agent, and the agent's exit status.
const STREAMS: [(&str, Backend, i32); 4] = [
    ("claude-tools", Backend::Claude, 0),
    ("claude-failure", Backend::Claude, 1),
    ("codex-tools", Backend::Codex, 0),
    ("codex-failure", Backend::Codex, 1),
];

const LIMIT: Duration = Duration::from_secs(60);

const TEXT: [&str; 7] = ["resume-stream", "--session-name", "a", "--prompt", "p", "--format", "text"];

fn stored(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/streams").join(file)
}

fn json_lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect::<Vec<_>>().concat()
}

/// Returns a sandbox whose agent prints `stdout`.
fn printing(backend: Backend, stdout: &str, exit: i32) -> Sandbox {
    let sandbox = Sandbox::new();
    let id = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?[backend.id_key()].as_str()?.to_owned());
    sandbox.save(backend, "a", &stdout.lines().find_map(id).unwrap_or_else(|| "i".to_owned()));
    sandbox.agent(Turn::default().stdout(stdout).exit(exit));
    sandbox
}

/// Returns a sandbox whose agent replays a recorded turn.
fn replaying(name: &str, backend: Backend, exit: i32) -> Sandbox {
    let stream = std::fs::read_to_string(stored(&format!("{name}.jsonl"))).expect("the stream exists");
    // codex does not report its directory
    let sandbox = printing(backend, &stream, exit);
    if backend == Backend::Codex {
        let here = json!(sandbox.workspace()).to_string(); // Windows' separators are escaped in JSON
        let stream = stream.replace("/home/me/project", here.trim_matches('"'));
        sandbox.agent(Turn::default().stdout(&stream).exit(exit));
    }
    sandbox
}

/// Returns the text of a stream of events, printed to a pipe.
#[track_caller]
fn text_of(backend: Backend, events: &[Value]) -> String {
    printing(backend, &json_lines(events), 0).succeeds(&TEXT).stdout_text()
}

/// Returns codex's text without the duration, which is measured because codex does not report it.
fn without_time(backend: Backend, text: &str) -> String {
    let begins = ["turn failed after ", "turn "].map(|words| text.rfind(words).map(|at| at + words.len()));
    let (Backend::Codex, Some(begin)) = (backend, begins.into_iter().flatten().next()) else {
        return text.to_owned();
    };
    let end = text[begin..].find(" s").expect("no test takes a minute") + begin;
    format!("{}0.0{}", &text[..begin], &text[end..])
}

#[track_caller]
fn compare(file: &str, text: &str) {
    let want = std::fs::read_to_string(stored(file)).unwrap_or_default();
    if text != want && std::env::var_os("INVOKE_PERSIST_RECORD").is_some() {
        std::fs::write(stored(file), text).unwrap();
        panic!("{file} was written: review it, and run the test without INVOKE_PERSIST_RECORD");
    }
    assert_eq!(text, want, "{file}");
}

#[test]
fn recorded_turns_render_unchanged_in_a_pipe() {
    for (name, backend, exit) in STREAMS {
        let output = replaying(name, backend, exit).run(&TEXT).code(if exit == 0 { 0 } else { 75 }); // status 500
        compare(&format!("{name}.txt"), &without_time(backend, &output.stdout_text()));
    }
}

/// Returns what a turn prints with its standard output at a terminal of this width, and its errors and warnings.
/// Without a terminal on standard error, progress is not shown.
#[cfg(target_os = "linux")]
fn shown_at_terminal(sandbox: &Sandbox, width: u16, options: &[&str]) -> [String; 2] {
    let mut command = sandbox.cmd(&[&TEXT[..], options].concat());
    let errors = sandbox.root().join("errors");
    command.stderr(std::fs::File::create(&errors).unwrap());
    let shown = Terminal::of_width(width).shows_stdout(command);
    [shown, std::fs::read_to_string(errors).unwrap()]
}

#[cfg(target_os = "linux")]
#[test]
fn recorded_turns_render_unchanged_at_a_terminal() {
    for (name, backend, exit) in STREAMS {
        for width in [80, 40] {
            for (ending, colours) in [("color.txt", "auto"), ("txt", "never")] {
                let sandbox = replaying(name, backend, exit);
                let [shown, errors] = shown_at_terminal(&sandbox, width, &["--color", colours]);
                compare(&format!("{name}.{width}.{ending}"), &without_time(backend, &(shown.clone() + &errors)));
                let widest = shown.lines().map(console::measure_text_width).max();
                assert!(widest <= Some(usize::from(width)), "{shown}");
            }
        }
    }
}

#[test]
fn claude_streams_pieces_that_are_not_repeated() {
    let sandbox = replaying("claude-tools", Backend::Claude, 0);
    let shown = sandbox.succeeds(&TEXT).stdout_text();
    let call = sandbox.only_call();
    assert_eq!(call.argv.iter().filter(|arg| *arg == "--include-partial-messages").count(), 1);
    assert_eq!((shown.matches("run the checks.").count(), shown.matches("cat notes.txt\n```").count()), (1, 1));
    // a repeated option is passed once; it is not passed if the events are printed unchanged
    sandbox.succeeds(&[&TEXT[..], &["--include-partials"]].concat());
    assert_eq!(sandbox.last_call().argv.iter().filter(|arg| *arg == "--include-partial-messages").count(), 1);
    sandbox.succeeds(&TEXT[..5]);
    assert!(!sandbox.last_call().has("--include-partial-messages"));
}

#[test]
fn partially_streamed_message_is_completed() {
    let piece = |text: &str| {
        json!({"type": "stream_event", "event": {"type": "content_block_delta",
            "delta": {"type": "text_delta", "text": text}}})
    };
    let start = json!({"type": "stream_event", "event": {"type": "message_start", "message": {"id": "m"}}});
    let block =
        json!({"type": "stream_event", "event": {"type": "content_block_start", "content_block": {"type": "text"}}});
    let whole = |id: &str, text: &str| json!({"type": "assistant", "message": {"id": id, "content": [{"type": "text", "text": text}]}});
    let first = [start.clone(), block.clone(), piece("one "), whole("m", "one two"), whole("n", "three")];
    let events = [&first[..], &[start, block, piece("four")]].concat();
    assert_eq!(text_of(Backend::Claude, &events), "one two\n\nthree\n\nfour\n");
}

#[test]
fn long_answers_are_complete_and_long_tool_output_is_truncated() {
    let answer = "ten bytes\n".repeat(200_000);
    let event = |item: Value| json!({"type": "item.completed", "item": item});
    let events = [
        event(json!({"type": "command_execution", "command": "cat", "aggregated_output": answer, "exit_code": 0})),
        event(json!({"type": "command_execution", "command": answer, "aggregated_output": answer, "exit_code": 1})),
        event(json!({"type": "agent_message", "text": answer})),
    ];
    let shown = text_of(Backend::Codex, &events);
    assert!(shown.starts_with("▸ Shell  cat  ✓ 200000 lines\n▸ Shell  ten bytes\\nten bytes\\n"), "{shown:.200}");
    assert!(shown.ends_with(&format!("…  ✗ exit 1 · ten bytes\n\n{answer}")));
    assert!(shown.len() < answer.len() + 1000);
}

#[test]
fn answer_only_in_the_result_is_printed() {
    let result = |text: &str| json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "duration_ms": 40});
    let said = json!({"type": "assistant", "message": {"content": [{"type": "text", "text": "one"}]}});
    assert_eq!(text_of(Backend::Claude, &[result("one")]), "one\n\nturn 0.0 s\n");
    assert_eq!(text_of(Backend::Claude, &[said, result("one")]), "one\n\nturn 0.0 s\n");
}

#[test]
fn output_is_colored_at_a_terminal_or_on_request() {
    for (name, backend, exit) in STREAMS {
        let mut sandbox = replaying(name, backend, exit);
        sandbox.run(&TEXT).stdout(contains('\u{1b}').not());
        sandbox.env("NO_COLOR", "1");
        let always = sandbox.run(&[&TEXT[..], &["--color", "always"]].concat()).stdout_text();
        assert!(always.contains("\u{1b}[2mturn ") || always.contains("\u{1b}[31mturn failed"), "{always}");
        let plain = console::strip_ansi_codes(&always).into_owned();
        compare(&format!("{name}.txt"), &without_time(backend, &plain));
        #[cfg(target_os = "linux")]
        {
            let shown = shown_at_terminal(&sandbox, 80, &[]).concat();
            compare(&format!("{name}.80.txt"), &without_time(backend, &shown));
        }
    }
}

#[test]
fn color_option_requires_the_text_format() {
    let sandbox = printing(Backend::Claude, "{}\n", 0);
    for format in [&[][..], &["--format", "jsonl"]] {
        let failure = sandbox.fails(&[&TEXT[..5], format, &["--color", "never"]].concat(), 2, "usage");
        assert_eq!(failure.hint.as_deref(), Some("add --format text"));
    }
    assert!(sandbox.calls().is_empty());
}

/// Every control sequence that a text can contain, except newlines and tabs.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\u{8}\r\u{9b}31m\u{7f}\u{202e}\u{61c}\u{206a}\u{206f}z\u{2066}";

#[test]
fn terminal_controls_from_the_agent_are_escaped() {
    let claude = [
        json!({"type": "assistant", "message": {"content": [
            {"type": "thinking", "thinking": HOSTILE},
            {"type": "text", "text": HOSTILE},
            {"type": "tool_use", "id": "1", "name": HOSTILE, "input": {"command": HOSTILE}},
            {"type": "tool_use", "id": "2", "name": "T", "input": {HOSTILE: HOSTILE}},
        ]}}),
        json!({"type": "user", "message": {"content": [
            {"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": HOSTILE},
            {"type": "tool_result", "tool_use_id": "2", "is_error": true, "content": [{"type": "text", "text": HOSTILE}]},
        ]}}),
        json!({"type": "system", "subtype": "api_retry", "error": HOSTILE}),
    ];
    let item = |kind: &str, item: Value| {
        let mut event = json!({"type": format!("item.{kind}"), "item": item});
        event["item"]["id"] = event["item"]["type"].clone();
        event
    };
    let codex = [
        json!({"type": "thread.started", "thread_id": "i"}),
        item("completed", json!({"type": "reasoning", "text": HOSTILE})),
        item("completed", json!({"type": "agent_message", "text": HOSTILE})),
        item("started", json!({"type": "command_execution", "command": HOSTILE})),
        item("completed", json!({"type": "command_execution", "aggregated_output": HOSTILE, "exit_code": 1})),
        item("completed", json!({"type": "file_change", "changes": [{"path": HOSTILE, "kind": HOSTILE}]})),
        item(
            "completed",
            json!({"type": "mcp_tool_call", "server": HOSTILE, "tool": HOSTILE, "arguments": {"a": HOSTILE}}),
        ),
        item("completed", json!({"type": "todo_list", "items": [{"text": HOSTILE}]})),
        item("completed", json!({"type": "error", "message": HOSTILE})),
        json!({"type": "error", "message": HOSTILE}),
        json!({"type": "turn.completed", "usage": {"input_tokens": HOSTILE}}),
    ];
    for (backend, events) in [(Backend::Claude, &claude[..]), (Backend::Codex, &codex[..])] {
        let stream = format!("{}{HOSTILE}\n{{\"type\": {HOSTILE}\n", json_lines(events));
        let shown = printing(backend, &stream, 0).succeeds(&TEXT).stdout_text();
        let bad = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{61c}\u{206a}\u{206f}\u{2066}".contains(c);
        assert!(!shown.contains(bad), "{shown:?}");
        assert!(shown.matches("z\\u{2066}").count() >= 7, "{shown}");
    }
}

#[test]
fn lines_that_are_not_events_are_shown_and_unknown_events_are_not() {
    let stream = "plain words\n\n{\"type\": \"news\", \"text\": \"secret\"}\n[1]\n{\"type\": 7}\n{}\n{\"type\": \"assistant\"}\n\
                  {\"type\":\"user\",\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"x\"}]}}\n\
                  {\"type\":\"item.completed\",\"item\":{\"type\":\"news\"}}\n{\"type\":\"turn.x\"}\n\u{1b}[31m";
    for backend in Backend::BOTH {
        let sandbox = printing(backend, stream, 0);
        sandbox.succeeds(&TEXT).stdout("plain words\n[1]\n\\u{1b}[31m\n");
        let coloured = sandbox.succeeds(&[&TEXT[..], &["--color", "always"]].concat()).stdout_text();
        assert!(coloured.starts_with("\u{1b}[2mplain words\u{1b}[0m\n"), "{coloured:?}");
    }
}

#[test]
fn tools_of_every_kind_render_alike() {
    let items = [
        json!({"type": "thread.started", "thread_id": "i"}),
        json!({"type": "item.started", "item": {"id": "1", "type": "web_search", "query": ""}}),
        json!({"type": "item.completed", "item": {"id": "1", "type": "web_search", "query": "rust 1.89"}}),
        json!({"type": "item.started", "item": {"id": "2", "type": "mcp_tool_call", "server": "docs", "tool": "find",
            "arguments": {"a": 1}, "status": "in_progress"}}),
        json!({"type": "item.completed", "item": {"id": "2", "type": "mcp_tool_call", "server": "docs", "tool": "find",
            "error": {"message": "no such page\nreally"}, "status": "failed"}}),
        json!({"type": "item.started", "item": {"id": "3", "type": "todo_list", "items": [
            {"text": "look", "completed": true}, {"text": "write", "completed": false}]}}),
        json!({"type": "item.completed", "item": {"id": "3", "type": "todo_list", "items": [
            {"text": "look", "completed": true}, {"text": "write", "completed": false}]}}),
        json!({"type": "item.completed", "item": {"id": "4", "type": "command_execution", "command": "rm -rf /",
            "aggregated_output": "", "exit_code": null, "status": "declined"}}),
        json!({"type": "turn.completed", "usage": {"input_tokens": 1_234_567, "cached_input_tokens": 1000,
            "output_tokens": 89}}),
    ];
    let shown = without_time(Backend::Codex, &text_of(Backend::Codex, &items));
    let want = "\
▸ Search  rust 1.89  ✓
▸ docs.find  {\"a\":1}  ✗ no such page
▸ Todo  1 of 2 done · next: write  ✓
▸ Shell  rm -rf /  ✗ declined

turn 0.0 s · session 1,234,567 in (1,000 cached) · 89 out
";
    assert_eq!(shown, want);
    let tool = |id: &str, name: &str, input: Value| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let done = |id: &str, text: &str| json!({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": id, "content": text}]}});
    let todos = json!({"todos": [{"content": "look", "status": "in_progress"}]});
    let items = [
        json!({"type": "assistant", "message": {"content": [tool("1", "Agent", json!({"description": "Find it"}))]}}),
        json!({"type": "assistant", "parent_tool_use_id": "1", "message": {"content": [
            {"type": "text", "text": "the answer of an inner agent"}, tool("2", "Grep", json!({"pattern": "x"}))]}}),
        done("2", "found"),
        done("1", "report"),
        json!({"type": "assistant", "message": {"content": [tool("3", "TodoWrite", todos), tool("4", "Odd", json!({"a": [1]}))]}}),
        done("4", ""),
        json!({"type": "result", "subtype": "error_max_turns", "duration_ms": 125_000, "total_cost_usd": 12.3456,
            "usage": {"input_tokens": 4, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 30, "output_tokens": 5}}),
    ];
    let sandbox = printing(Backend::Claude, &json_lines(&items), 0);
    let want = "\
▸ Agent  Find it
  ▸ Grep  x  ✓
  ✓ Agent  Find it
▸ TodoWrite  0 of 1 done · next: look
▸ Odd  {\"a\":[1]}  ✓

turn failed after 2 min 5 s · 1,034 in (1,000 cached) · 5 out · session $12.35
";
    sandbox.run(&TEXT).stdout(want);
    sandbox.fails(&TEXT, 1, "agent_failed"); // the same as with the format jsonl
}

#[test]
fn absurd_cost_is_printed_briefly() {
    for (cost, want) in [(1e308, "$1.00e308"), (-1e308, "$-1.00e308"), (999_999.994, "$999999.99"), (1e-300, "$0.0000")]
    {
        let result = json!({"type": "result", "is_error": false, "result": "", "total_cost_usd": cost});
        let shown = printing(Backend::Claude, &json_lines(&[result]), 0).succeeds(&TEXT).stdout_text();
        assert!(shown.ends_with(&format!(" · session {want}\n")), "{shown}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn failure_reason_is_wrapped_at_a_narrow_terminal() {
    let tool =
        |id: &str| json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": "make all the things"}});
    let failed = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "is_error": true, "content": "Exit code 2\nno rule to make it"});
    let events = [
        json!({"type": "assistant", "message": {"content": [tool("1"), tool("2")]}}),
        json!({"type": "user", "message": {"content": [failed("2"), failed("1")]}}),
    ];
    let sandbox = printing(Backend::Claude, &json_lines(&events), 0);
    let want = "\
▸ Bash  make al…
▸ Bash  make al…
  ✗ exit 2 · no rule to make
    it
  ✗ Bash  make all…
    exit 2 · no rule to make
    it
";
    assert_eq!(shown_at_terminal(&sandbox, 30, &["--color", "never"]).concat(), want);
}

#[test]
fn pieces_are_printed_while_the_agent_runs() {
    let sandbox = printing(Backend::Claude, "", 0);
    let [first, second] = ["one pie", "ce"].map(|text| Step::Stdout(piece("text", text)));
    sandbox.agent(Turn::doing([first, Step::wait_for("go"), second]));
    let running = sandbox.start(&TEXT);
    wait_until(LIMIT, || running.stdout_so_far() == "one pie");
    sandbox.allow("go");
    running.wait(LIMIT).assert.success().stdout("one piece\n");
}

#[test]
fn closed_stdout_does_not_end_the_turn() {
    let event = json!({"type": "item.completed", "item": {"type": "agent_message", "text": "words ".repeat(100)}});
    let flood = Step::Flood { to: Sink::Stdout, pattern: format!("{event}\n"), size: Size::Bytes(5_000_000) };
    let sandbox = printing(Backend::Codex, "", 0);
    sandbox.agent(Turn::doing([Step::stdout("x\n"), Step::wait_for("go"), flood]));
    let mut child = sandbox.cmd(&[&TEXT[..], &["--model", "kept"]].concat()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until(LIMIT, || !sandbox.calls().is_empty());
    drop(child.stdout.take());
    sandbox.allow("go");
    assert!(child.wait().unwrap().success());
    let call = sandbox.only_call();
    assert_eq!((call.ended, call.broken_pipes), (Some(0), vec![]));
    assert!(sandbox.mapping(Backend::Codex).contains("kept"));
}

/// Returns one event of claude with a piece of text or of thinking.
fn piece(kind: &str, text: &str) -> String {
    let delta = json!({"type": format!("{kind}_delta"), kind: text});
    format!("{}\n", json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}}))
}

/// Stops a turn after the agent has printed `line`, and checks the end of the text.
#[cfg(unix)]
#[track_caller]
fn assert_stopped_turn_ends_with(line: &str, end: &str) {
    let sandbox = printing(Backend::Claude, "", 0);
    sandbox.agent(Turn::doing([Step::stdout(line), Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&[&["--error-format", "json"], &TEXT[..], &["--color", "always"]].concat());
    wait_until(LIMIT, || sandbox.has_reached("up"));
    if line.ends_with('\n') {
        wait_until(LIMIT, || !running.stdout_so_far().is_empty());
    }
    running.signal(rustix::process::Signal::TERM);
    let output = running.wait(LIMIT).assert;
    output.failed(143, "interrupted");
    output.stdout(ends_with(end));
}

#[cfg(unix)]
#[test]
fn stopped_turn_ends_a_line_of_thinking_and_resets_its_color() {
    assert_stopped_turn_ends_with(&piece("thinking", "half a thou"), "half a thou\u{1b}[0m\n");
}

#[cfg(unix)]
#[test]
fn stopped_turn_ends_a_line_of_text() {
    assert_stopped_turn_ends_with(&piece("text", "half a thou"), "half a thou\n");
}

#[cfg(unix)]
#[test]
fn stopped_turn_ends_the_line_of_a_tool() {
    let tool = json!({"type": "assistant", "message": {"content": [
        {"type": "tool_use", "id": "1", "name": "Bash", "input": {"command": "sleep"}}]}});
    assert_stopped_turn_ends_with(&format!("{tool}\n"), "\u{1b}[1mBash\u{1b}[0m  sleep\n");
}

#[cfg(unix)]
#[test]
fn stopped_turn_prints_an_incomplete_line() {
    assert_stopped_turn_ends_with("half a thou", "\u{1b}[2mhalf a thou\u{1b}[0m\n");
}

#[test]
fn turn_stopped_by_its_deadline_ends_its_last_line() {
    // The first limit suffices on an idle machine, the last on any machine.
    let is_ended = ["1", "5", "25"].into_iter().any(|seconds| {
        let sandbox = printing(Backend::Claude, "", 0);
        sandbox.agent(Turn::doing([Step::Stdout(piece("text", "half a thou")), Step::wait_for("never")]));
        let output = sandbox.run(&[&["--error-format", "json"], &TEXT[..], &["--deadline-seconds", seconds]].concat());
        output.failed(124, "deadline");
        output.stdout_text() == "half a thou\n"
    });
    assert!(is_ended);
}

#[cfg(unix)]
#[test]
fn last_line_is_printed_although_a_process_holds_the_pipe() {
    let sandbox = printing(Backend::Codex, "", 0);
    let server = Step::grandchild([Step::wait_for("stop")]);
    let event = json!({"type": "item.completed", "item": {"type": "agent_message", "text": "done"}});
    sandbox.agent(Turn::doing([server]).stdout(&event.to_string()));
    sandbox.succeeds(&TEXT).stdout("done\n");
    sandbox.allow("stop");
}

//! The events of the agents during a turn, and the text that `resume-stream --format text` prints.
//!
//! These tests record the streams below `tests/cli/streams`, which `tests/cli/text_format.rs` replays without an agent.
//! They write the streams if `INVOKE_PERSIST_RECORD` is set. Otherwise they check that the text of a turn still matches
//! the recorded one.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    call::Outcome,
    model_api::Block,
    world::{SESSION, World},
};

real_agent_tests! { both:
    turn_with_tools_matches_the_recording,
    failed_turn_matches_the_recording,
}
real_agent_tests! { every_release both: answers_are_printed_as_text }

/// A command that fails and prints a reason.
const CHECK: &str = "echo 'no target named check' >&2; exit 3";

/// A patch in codex's format that changes `notes.txt` and adds a file.
const PATCH: &str = "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: notes.txt\n@@\n one\n-two\n+zwei\n three\n\
                     *** Add File: done.txt\n+done\n*** End Patch\nEOF\n";

const THOUGHT: &str =
    "**Looking around**\n\nThe notes may say what is left to do, and the checks will tell the rest of it.";

const ANSWER: &str = "The notes said `two`; now they say `zwei`.\n\n- One check fails: there is no target of the name that \
                      was asked for.\n- 日本語の文章もここで正しく折り返されるはずです。\n\n```sh\ncat notes.txt\n```\n";

fn turn_with_tools_matches_the_recording(world: &World) {
    world.create(&[]);
    let notes = world.path("work").join("notes.txt");
    fs::write(&notes, "one\ntwo\nthree\n").expect("the workspace can be written");
    let call = |name: &'static str, input: Value| Block::Call { name, input };
    let text = |text: &str| Block::Text(text.to_owned());
    let begin = [Block::Thinking(THOUGHT.to_owned()), text("I'll look at the notes first, then run the checks.")];
    world.api.play(match world.agent {
        Agent::Claude => {
            let done = json!({"file_path": world.path("work").join("done.txt"), "content": "done\n"});
            let look = [
                call("Bash", json!({"command": "cat notes.txt", "description": "Show the notes"})),
                call("Read", json!({"file_path": notes})),
            ];
            vec![
                begin.into_iter().chain(look).collect(),
                vec![call("Bash", json!({"command": CHECK, "description": "Run the checks"}))],
                vec![call("Edit", json!({"file_path": notes, "old_string": "two", "new_string": "zwei"}))],
                vec![call("Write", done)], // claude lacks the permission for this
                vec![text(ANSWER)],
            ]
        }
        Agent::Codex => vec![
            begin.into_iter().chain([call("exec_command", json!({"cmd": "cat notes.txt"}))]).collect(),
            vec![call("exec_command", json!({"cmd": CHECK}))],
            vec![call("exec_command", json!({"cmd": PATCH}))],
            vec![text(ANSWER)],
        ],
    });
    let options: &[&str] = match world.agent {
        Agent::Claude => &["--", "--allowedTools", "Bash", "Read", "Edit"],
        Agent::Codex => &["--dangerously-bypass-approvals-and-sandbox"],
    };
    record_or_compare(world, "tools", |form| turn(world, form, options).success());
}

fn failed_turn_matches_the_recording(world: &World) {
    world.create(&[]);
    world.api.refuse_with(500);
    record_or_compare(world, "failure", |form| turn(world, form, &[]).exit(75));
}

fn answers_are_printed_as_text(world: &World) {
    let create = ["--session-name", SESSION, "--init-prompt", "one", "--print-result"];
    let first = world.call("create-session", &create).run().success();
    assert_eq!(first.stdout, "REPLY n=1 last=one\n", "{first}");
    let ask = [&[SESSION, "two"], world.agent.call_options()].concat();
    let second = world.call("ask", &ask).run().success();
    assert_eq!(second.stdout, "REPLY n=2 last=two\n", "{second}");
    let stream = ["--session-name", SESSION, "--prompt", "three", "--print-result", "--stall-seconds", "60"];
    let third = world.call("resume-stream", &stream).run().success();
    assert_eq!(third.stdout, "REPLY n=3 last=three\n", "{third}");
}

fn turn(world: &World, form: &[&str], options: &[&str]) -> Outcome {
    let prompt = ["--session-name", SESSION, "--prompt", "Do what the notes say"];
    world.call("resume-stream", &[&prompt, form, options].concat()).run()
}

#[track_caller]
fn record_or_compare(world: &World, name: &str, turn: impl Fn(&[&str]) -> Outcome) {
    let stored = |ending: &str| -> PathBuf {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli/streams");
        dir.join(format!("{}-{name}.{ending}", world.agent))
    };
    if std::env::var_os("INVOKE_PERSIST_RECORD").is_some() {
        let form: &[&str] = if world.agent == Agent::Claude { &["--include-partials"] } else { &[] };
        let recorded = without_machine(world, &turn(form).stdout);
        fs::write(stored("jsonl"), recorded).expect("the checkout can be written");
        return;
    }
    let outcome = turn(&["--format", "text"]);
    let recorded = fs::read_to_string(stored("txt")).expect("every recorded stream has a recorded text");
    assert_eq!(without_time(&without_machine(world, &outcome.stdout)), without_time(&recorded), "{outcome}");
}

/// Returns `text` without the paths of this machine.
fn without_machine(world: &World, text: &str) -> String {
    let mut text = text.replace(&world.api.url(), "http://127.0.0.1:8080");
    let host = world.api.url().trim_start_matches("http://").to_owned();
    text = text.replace(&host, "127.0.0.1:8080");
    // claude derives a name from the workspace's path
    let name_of = |path: &str| path.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    text = text.replace(&name_of(&world.path("work").display().to_string()), &name_of("/home/me/project"));
    for (dir, shown) in
        [("work", "/home/me/project"), ("home", "/home/me"), ("codex", "/home/me/.codex"), ("tmp", "/tmp")]
    {
        text = text.replace(&world.path(dir).display().to_string(), shown);
    }
    text
}

/// Returns the text of a turn without the duration.
fn without_time(text: &str) -> String {
    let is_time = |line: &&str| line.starts_with("turn ") && line.contains(" s");
    let line = text.lines().find(is_time).unwrap_or_default();
    let end = line.find(" s").unwrap_or_default();
    let begin = line[..end].rfind(' ').unwrap_or_default();
    text.replace(line, &format!("{} T{}", &line[..begin], &line[end..]))
}

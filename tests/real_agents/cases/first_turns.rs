//! A first turn that was stopped is resumed by its name, and started anew if the agent does not have it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    call::Outcome,
    model_api::{Block, Refusal},
    world::{SESSION, World},
};

real_agent_tests! { both:
    stopped_first_turn_is_resumed_by_its_name,
    first_turn_that_was_stopped_too_early_is_started_anew,
    stopped_fork_is_resumed_by_its_name,
    retry_of_a_first_turn_shows_the_prompt_once,
    message_names_the_command_that_ran,
}

const PROMPT: &str = "count the apples";

/// Long enough for the agent to call its model on a busy machine.
const DEADLINE: [&str; 4] = ["--deadline-seconds", "6", "--error-format", "json"];

/// A thread that codex does not have.
const NO_THREAD: &str = "01a1fc92-14df-72a2-b6ac-7bdd3aad4dc3";

/// Longer than any deadline.
const NEVER: Duration = Duration::from_secs(3600);

/// Starts [`SESSION`] with [`PROMPT`], and stops its first turn while the model answers.
#[track_caller]
fn stop_first_turn(world: &World) -> Outcome {
    world.api.pause_between_deltas(NEVER);
    let arguments = [&["--session-name", SESSION, "--init-prompt", PROMPT], &DEADLINE[..]].concat();
    let outcome = world.call("create-session", &arguments).run().exit(124);
    assert_eq!(world.api.last_request().last_turn(), PROMPT, "the turn had not begun\n{outcome}");
    world.api.pause_between_deltas(Duration::ZERO);
    outcome
}

/// Returns how often the last request has [`PROMPT`].
fn copies(world: &World) -> usize {
    world.api.last_request().body.to_string().matches(PROMPT).count()
}

fn stopped_first_turn_is_resumed_by_its_name(world: &World) {
    let error = stop_first_turn(world).error();
    let stored = world.stored();
    assert!(stored[world.agent.id_key()].is_string(), "{stored}");
    assert_eq!(stored[world.agent.id_key()], error["session_id"]);
    let mapping = String::from_utf8(world.mapping()).expect("a mapping is UTF-8");
    assert!(mapping.contains("\"first_turn_stopped\": true"), "{mapping}");

    let resumed = world.resume("next", &[]).run().success();
    let request = world.api.last_request();
    // claude before 2.1.330 ends an unanswered prompt with a newline
    let first = request.turns().first().map(|turn| turn.trim_end());
    assert_eq!((first, request.last_turn()), (Some(PROMPT), "next"), "{resumed}");
    assert_eq!(world.stored()[world.agent.id_key()], error["session_id"]);
    let mapping = String::from_utf8(world.mapping()).expect("a mapping is UTF-8");
    assert!(!mapping.contains("first_turn_stopped"), "{mapping}");
}

/// The agent is replaced by a program that only begins, because the real ones store a session within milliseconds.
fn first_turn_that_was_stopped_too_early_is_started_anew(world: &World) {
    let (option, begin) = match world.agent {
        Agent::Claude => ("--claude-cmd", String::new()),
        Agent::Codex => {
            ("--codex-cmd", format!("echo '{}'", json!({"type": "thread.started", "thread_id": NO_THREAD})))
        }
    };
    let script = world.file("begins.sh", format!("{begin}\nexec tail -f /dev/null\n"));
    let command = format!("sh {script}");
    let arguments = [&["--session-name", SESSION, option, &command], &DEADLINE[..]].concat();
    let id = world.call("create-session", &arguments).run().exit(124).error()["session_id"].clone();
    assert!(id.is_string() && world.stored()[world.agent.id_key()] == id, "{id}");

    let resumed = world.resume("go", &[]).run().success();
    assert!(resumed.stderr.contains("starting it anew"), "{resumed}");
    assert_eq!(world.api.last_request().turns(), ["go"], "{resumed}");
    let kept = world.stored()[world.agent.id_key()] == id;
    assert_eq!(kept, world.agent == Agent::Claude, "codex chooses its IDs itself\n{resumed}");
    world.resume("next", &[]).run().success();
    assert_eq!(world.api.last_request().turns(), ["go", "next"]);
}

fn stopped_fork_is_resumed_by_its_name(world: &World) {
    let original = world.create(&["--init-prompt", "first"]);
    world.api.pause_between_deltas(NEVER);
    let fork = ["--session-name", SESSION, "--to", "fork", "--prompt", PROMPT];
    let outcome = world.call("fork-session", &[&fork[..], &DEADLINE].concat()).run().exit(124);
    world.api.pause_between_deltas(Duration::ZERO);
    let id = outcome.error()["session_id"].clone();
    assert!(id.is_string() && id != original, "{outcome}");

    let resumed = world.call("resume-json", &["--session-name", "fork", "--prompt", "next"]).run().success();
    assert_eq!(resumed.json()[world.agent.id_key()], id, "{resumed}");
    let request = world.api.last_request();
    assert_eq!(request.turns().first(), Some(&"first"), "{resumed}");
    assert_eq!((copies(world), request.last_turn()), (1, "next"), "{resumed}");
}

fn retry_of_a_first_turn_shows_the_prompt_once(world: &World) {
    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "too many requests"}});
    world.api.refuse_as(&Refusal { status: 429, headers: &[], body });
    let arguments = ["--session-name", SESSION, "--init-prompt", PROMPT, "--retry", "9"];
    let call = world.call("create-session", &arguments).start();
    call.wait_for_stderr("(retry 2 of 9)");
    world.api.accept();
    let outcome = call.wait().success();
    assert_eq!(copies(world), 1, "{outcome}\n{}", world.api.last_request().body);
    assert!(world.api.last_request().last_turn().contains("Answer it now."), "{outcome}");
    assert_eq!(world.stored()[world.agent.id_key()], outcome.line());
    let next = world.resume("next", &[]).run().success();
    assert_eq!(copies(world), 1, "{next}");
}

fn message_names_the_command_that_ran(world: &World) {
    const COMMAND: &str = "tail -f /dev/null";
    world.create(&[]);
    let (call, options): (Block, &[&str]) = match world.agent {
        Agent::Claude => (
            Block::Call { name: "Bash", input: json!({"command": COMMAND, "description": "Wait"}) },
            &["--", "--dangerously-skip-permissions"],
        ),
        Agent::Codex => (
            Block::Call { name: "exec_command", input: json!({"cmd": COMMAND, "yield_time_ms": 600_000}) },
            &["--dangerously-bypass-approvals-and-sandbox"],
        ),
    };
    world.api.play([vec![call]]);
    let arguments = ["--session-name", SESSION, "--prompt", "p"];
    let outcome = world.call("resume-stream", &[&arguments[..], &DEADLINE, options].concat()).run().exit(124);
    let message = outcome.error()["message"].clone();
    let want = format!("the deadline of 6 s passed; {} was stopped while running `{COMMAND}`", world.agent);
    assert_eq!(message, Value::from(want), "{outcome}");
}

//! A deadline ends all processes of the agent, and the session stays usable.

use std::time::Duration;

use crate::world::{SESSION, World};

real_agent_tests! { every_release both:
    deadline_in_a_turn_leaves_no_process,
    deadline_in_a_stream_leaves_no_process,
}

/// Long enough for the agent to call its model on a busy machine.
const DEADLINE: &str = "10";

/// The deadline of 10 s, the grace period of 5 s, a second to return, and a reserve for a busy machine. An agent that
/// ignores TERM needs the grace period.
const LATEST: Duration = Duration::from_secs(20);

/// Longer than any deadline.
const NEVER: Duration = Duration::from_secs(3600);

fn deadline_in_a_turn_leaves_no_process(world: &World) {
    stopped_by_deadline(world, "resume-json");
}

fn deadline_in_a_stream_leaves_no_process(world: &World) {
    stopped_by_deadline(world, "resume-stream");
}

fn stopped_by_deadline(world: &World, verb: &str) {
    world.create(&["--init-prompt", "first"]);
    let before = world.mapping();
    world.api.pause_between_deltas(NEVER);

    let arguments = [
        "--session-name",
        SESSION,
        "--prompt",
        "take your time",
        "--deadline-seconds",
        DEADLINE,
        "--error-format",
        "json",
    ];
    let outcome = world.call(verb, &arguments).run().exit(124);
    assert_eq!(world.api.last_request().last_turn(), "take your time", "the turn had not begun\n{outcome}");
    assert_eq!(outcome.error()["kind"], "deadline", "{outcome}");
    assert_eq!(outcome.error()["turn_started"], true, "{outcome}");
    assert!(outcome.elapsed < LATEST, "{outcome}");
    let left = world.left_running();
    assert!(left.is_empty(), "{left:#?}\n{outcome}");
    assert_eq!(world.mapping(), before, "a stopped turn stores nothing");

    world.api.pause_between_deltas(Duration::ZERO);
    let resumed = world.resume("on time", &[]).run().success();
    let answer = world.answer(&resumed);
    assert!(answer.ends_with("last=on time"), "{resumed}");
    assert_eq!(world.api.last_request().turns().first(), Some(&"first"), "this is another session\n{resumed}");
}

//! What the tests of other files do not check with older releases.

use std::time::Duration;

use crate::{
    shared::wait::wait_until,
    world::{SESSION, World},
};

real_agent_tests! { both:
    interrupted_turn_leaves_no_process_and_a_usable_session,
}

/// Longer than any turn.
const NEVER: Duration = Duration::from_secs(3600);

fn interrupted_turn_leaves_no_process_and_a_usable_session(world: &World) {
    let id = world.create(&["--init-prompt", "first"]);
    world.api.pause_between_deltas(NEVER);
    for verb in ["resume-json", "resume-stream"] {
        let prompt = format!("interrupted by {verb}");
        let call = world.call(verb, &["--session-name", SESSION, "--prompt", &prompt]).start();
        wait_until(Duration::from_secs(60), || world.api.last_request().last_turn() == prompt);
        call.interrupt();
        let outcome = call.wait().exit(130);
        let left = world.left_running();
        assert!(left.is_empty(), "{left:#?}\n{outcome}");
    }

    world.api.pause_between_deltas(Duration::ZERO);
    let resumed = world.call("resume-json", &[world.agent.id_option(), &id, "--prompt", "on time"]).run().success();
    assert!(world.answer(&resumed).ends_with("last=on time"), "{resumed}");
    assert_eq!(world.api.last_request().turns().first(), Some(&"first"), "this is another session\n{resumed}");
}

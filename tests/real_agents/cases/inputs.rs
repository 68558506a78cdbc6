//! Prompts arrive complete, in any form and from any source. Other input does not reach the agent.

use std::time::{Duration, Instant};

use crate::{
    agents::Agent,
    world::{SESSION, World},
};

real_agent_tests! { every_release both:
    prompts_that_look_like_options_reach_the_model,
    long_prompt_reaches_the_model,
    piped_prompt_reaches_the_model,
    silent_standard_input_does_not_delay_a_turn,
    standard_input_is_not_read_without_an_option,
}

fn prompts_that_look_like_options_reach_the_model(world: &World) {
    world.create(&["--init-prompt", "- begin"]);
    assert_eq!(world.api.last_request().last_turn(), "- begin");

    for prompt in ["- x", "--help"] {
        let outcome = world.resume(prompt, &[]).run().success();
        assert_eq!(world.api.last_request().last_turn(), prompt, "{outcome}");
    }
}

/// A megabyte in bytes: codex accepts at most 1,048,576 characters per turn. Some releases of claude before 2.1.278
/// accept less, by their own estimate of the model's limit.
fn long_prompt_reaches_the_model(world: &World) {
    let is_older = world.agent == Agent::Claude && world.release() < (2, 1, 278);
    let bytes = if is_older { 400_000 } else { 1_000_000 };
    let line = |number: usize| format!("{number} – größe ✓\n");
    let lines: String = (0..bytes / line(0).len()).map(line).collect();
    let prompt = format!("  {lines}\nthe end, without a newline");
    assert!(prompt.len() > bytes);
    let file = world.file("prompt.txt", &prompt);
    world.create(&[]);
    let arguments = ["--session-name", SESSION, "--prompt-file", &file];
    let outcome = world.call("resume-json", &arguments).run().success();
    // Not assert_eq, which would print both.
    assert!(world.api.last_request().last_turn() == prompt, "the prompt arrived changed\n{outcome}");
}

fn piped_prompt_reaches_the_model(world: &World) {
    world.create(&[]);
    let prompt = "  from\n\na pipe \n\n";
    let outcome = world.resume("-", &[]).input(prompt).run().success();
    assert_eq!(world.api.last_request().last_turn(), prompt, "{outcome}");
}

/// If the agent inherited it, such a pipe would block `codex exec` forever and `claude -p` for three seconds.
fn silent_standard_input_does_not_delay_a_turn(world: &World) {
    let create = |name| world.call("create-session", &["--session-name", name]);
    let start = Instant::now();
    create("closed").run().success();
    let usual = start.elapsed();

    let created = create(SESSION).unfinished_input("").run().success();
    let resumed = world.resume("second", &[]).unfinished_input("").run().success();
    for outcome in [created, resumed] {
        assert!(outcome.elapsed < usual + Duration::from_millis(2500), "usually {usual:?}\n{outcome}");
    }
}

fn standard_input_is_not_read_without_an_option(world: &World) {
    let stray = "a line meant for someone else\n";
    let arguments = ["--session-name", SESSION, "--init-prompt", "first"];
    let created = world.call("create-session", &arguments).input(stray).run().success();
    assert_eq!(world.api.last_request().turns(), ["first"], "{created}");

    let resumed = world.resume("second", &[]).unfinished_input(stray).run().success();
    assert_eq!(world.api.last_request().turns(), ["first", "second"], "{resumed}");
}

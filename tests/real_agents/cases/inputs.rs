//! Prompts arrive whole, whatever they look like and whichever way they come; what nobody offered as a prompt does not.

use std::time::{Duration, Instant};

use crate::world::{SESSION, World};

real_agent_tests! { both:
    prompts_that_look_like_options_arrive,
    a_prompt_of_a_megabyte_arrives,
    a_piped_prompt_arrives,
    a_silent_standard_input_delays_nothing,
    standard_input_is_not_read_unasked,
}

fn prompts_that_look_like_options_arrive(world: &World) {
    world.create(&["--init-prompt", "- begin"]);
    assert_eq!(world.api.last_request().last_turn(), "- begin");

    for prompt in ["- x", "--help"] {
        let outcome = world.resume(prompt, &[]).run().success();
        assert_eq!(world.api.last_request().last_turn(), prompt, "{outcome}");
    }
}

/// A megabyte in bytes: codex takes no turn of more than 1,048,576 characters.
fn a_prompt_of_a_megabyte_arrives(world: &World) {
    let lines: String = (0..60_000).flat_map(|number| [number.to_string(), " – größe ✓\n".to_owned()]).collect();
    let prompt = format!("  {lines}\nthe end, without a newline");
    assert!(prompt.len() > 1_000_000);
    let file = world.file("prompt.txt", &prompt);
    world.create(&[]);
    let arguments = ["--session-name", SESSION, "--prompt-file", &file];
    let outcome = world.call("resume-json", &arguments).run().success();
    // Not assert_eq, which would print both.
    assert!(world.api.last_request().last_turn() == prompt, "the prompt is not what arrived\n{outcome}");
}

fn a_piped_prompt_arrives(world: &World) {
    world.create(&[]);
    let prompt = "  from\n\na pipe \n\n";
    let outcome = world.resume("-", &[]).input(prompt).run().success();
    assert_eq!(world.api.last_request().last_turn(), prompt, "{outcome}");
}

/// Handed on, such a pipe stops `codex exec` for ever and `claude -p` for three seconds.
fn a_silent_standard_input_delays_nothing(world: &World) {
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

fn standard_input_is_not_read_unasked(world: &World) {
    let stray = "a line meant for someone else\n";
    let arguments = ["--session-name", SESSION, "--init-prompt", "first"];
    let created = world.call("create-session", &arguments).input(stray).run().success();
    assert_eq!(world.api.last_request().turns(), ["first"], "{created}");

    let resumed = world.resume("second", &[]).unfinished_input(stray).run().success();
    assert_eq!(world.api.last_request().turns(), ["first", "second"], "{resumed}");
}

//! The settings of a call reach the model: model, effort, role, and other options of the agent.

use crate::world::{SESSION, World};

real_agent_tests! { every_release both:
    model_is_remembered,
    role_reaches_the_model,
}
real_agent_tests! { both: role_reaches_the_model_in_a_fork }
real_agent_tests! { claude:
    effort_is_remembered,
    long_role_reaches_the_model_on_every_turn,
    arguments_after_two_dashes_reach_claude,
}
real_agent_tests! { codex:
    role_of_one_turn_reaches_the_model,
    arguments_after_two_dashes_reach_codex,
    full_auto_works_although_codex_removed_it,
}

fn model_is_remembered(world: &World) {
    let id = world.create(&["--model", "model-of-creation"]);
    assert_eq!(world.api.last_request().model(), "model-of-creation");

    world.resume("second", &[]).run().success();
    assert_eq!(world.api.last_request().model(), "model-of-creation");

    world.resume("third", &["--model", "model-of-third-turn"]).run().success();
    assert_eq!(world.api.last_request().model(), "model-of-third-turn");
    assert_eq!(world.stored()["last_model"], "model-of-third-turn");

    world.call("resume-json", &[world.agent.id_option(), &id, "--prompt", "fourth"]).run().success();
    assert_eq!(world.api.last_request().model(), "model-of-third-turn");

    // claude also remembers the model of a session. The saved model takes precedence if they differ.
    world.create(&["--adopt", &id, "--model", "model-of-adoption"]);
    world.resume("fifth", &[]).run().success();
    assert_eq!(world.api.last_request().model(), "model-of-adoption");
    assert_eq!(world.api.last_request().turns().len(), 5, "still the same session");
}

/// claude does not remember the effort. Without the program, the second turn would use the default.
fn effort_is_remembered(world: &World) {
    world.create(&["--reasoning-effort", "low"]);
    assert_eq!(world.api.last_request().effort(), "low");

    world.resume("second", &[]).run().success();
    assert_eq!(world.api.last_request().effort(), "low");

    world.resume("third", &["--reasoning-effort", "high"]).run().success();
    assert_eq!(world.api.last_request().effort(), "high");
    assert_eq!(world.stored()["last_reasoning_effort"], "high");

    world.resume("fourth", &[]).run().success();
    assert_eq!(world.api.last_request().effort(), "high");
}

fn role_reaches_the_model(world: &World) {
    let role = world.file("role.md", "\n# Keeper\n\nYou keep the blue door. ✓\n\n");
    world.create(&["--role-definition-md", &role]);
    assert!(world.api.last_request().mentions("# Keeper\n\nYou keep the blue door. ✓"));

    // the role as it was at creation
    world.file("role.md", "You keep nothing.");
    keeps_the_blue_door(world, "resume-json", SESSION, "second");
    keeps_the_blue_door(world, "resume-stream", SESSION, "third");
    world.call("rename-session", &["--session-name", SESSION, "--to", "renamed"]).run().success();
    keeps_the_blue_door(world, "resume-json", "renamed", "fourth");
}

#[track_caller]
fn keeps_the_blue_door(world: &World, verb: &str, name: &str, prompt: &str) {
    world.call(verb, &["--session-name", name, "--prompt", prompt]).run().success();
    let request = world.api.last_request();
    assert_eq!(request.last_turn(), prompt);
    assert!(request.mentions("You keep the blue door."), "{verb} {name} {prompt}: the role belongs to the session");
    assert!(!request.mentions("You keep nothing."), "{verb} {name} {prompt}");
}

fn role_reaches_the_model_in_a_fork(world: &World) {
    let role = world.file("role.md", "You keep the blue door.");
    world.create(&["--role-definition-md", &role]);
    world.call("fork-session", &["--session-name", SESSION, "--to", "fork", "--prompt", "aside"]).run().success();
    assert!(world.api.last_request().mentions("You keep the blue door."), "in the first turn of a fork");
    keeps_the_blue_door(world, "resume-stream", "fork", "second aside");
    keeps_the_blue_door(world, "resume-json", "fork", "third aside");
}

/// claude gets such a role in a file, which it must accept on every turn.
fn long_role_reaches_the_model_on_every_turn(world: &World) {
    let role = world.file("role.md", format!("You keep the blue door.{}", " Mind it well.".repeat(10_000)));
    world.create(&["--role-definition-md", &role]);
    for verb in ["resume-json", "resume-stream"] {
        world.call(verb, &["--session-name", SESSION, "--prompt", verb]).run().success();
        assert!(world.api.last_request().mentions("You keep the blue door."), "{verb}");
    }
}

fn role_of_one_turn_reaches_the_model(world: &World) {
    let role = world.file("role.md", "You keep the red door.");
    world.create(&[]);
    world.resume("who are you?", &["--role-definition-md", &role]).run().success();
    let request = world.api.last_request();
    let turn = request.last_turn();
    assert!(turn.contains("You keep the red door.") && turn.ends_with("who are you?"), "{turn}");
}

/// An option with several values comes last, because it would also accept a prompt after it.
fn arguments_after_two_dashes_reach_claude(world: &World) {
    let offers_tool = || {
        let body = world.api.last_request().body;
        let tools = body["tools"].as_array().into_iter().flatten();
        tools.map(|tool| &tool["name"]).any(|name| name == "ReportFindings")
    };
    let without_tool = ["--", "--append-system-prompt", "Mind the gap.", "--disallowedTools", "ReportFindings"];
    world.create(&[&["--init-prompt", "alone"], &without_tool[..]].concat());
    assert_eq!(world.api.last_request().turns(), ["alone"]);
    assert!(world.api.last_request().mentions("Mind the gap."), "at creation");
    assert!(!offers_tool(), "at creation");

    // A new session: claude does not remove a tool that was added during a session.
    world.create(&["--init-prompt", "first"]);
    assert!(offers_tool());
    world.resume("second", &["--", "--disallowedTools", "ReportFindings"]).run().success();
    assert_eq!(world.api.last_request().turns(), ["first", "second"]);
    assert!(!offers_tool(), "on resume");
}

/// An option with several values comes last here too.
fn arguments_after_two_dashes_reach_codex(world: &World) {
    let images = || world.api.last_request().body.to_string().matches("data:image/png;base64,").count();
    let image = world.file("dot.png", DOT);
    let instructions = "developer_instructions=\"Mind the gap.\"";
    world.create(&["--init-prompt", "first", "--", "--config", instructions, "--image", &image]);
    assert_eq!(world.api.last_request().turns(), ["first"]);
    assert!(world.api.last_request().mentions("Mind the gap."), "at creation");
    assert_eq!(images(), 1, "at creation");

    world.resume("second", &["--", "--image", &image]).run().success();
    assert_eq!(world.api.last_request().turns(), ["first", "second"]);
    assert_eq!(images(), 2, "on resume");
}

/// A PNG image of one pixel.
pub(super) const DOT: &[u8] = b"\x89PNG\r\n\x1a\n\
    \x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3a\x7e\x9b\x55\
    \x00\x00\x00\x0aIDAT\x78\x9c\x63\x60\x00\x00\x00\x02\x00\x01\x48\xaf\xa4\x71\
    \x00\x00\x00\x00IEND\xae\x42\x60\x82";

fn full_auto_works_although_codex_removed_it(world: &World) {
    let arguments = ["--session-name", SESSION, "--full-auto"];
    let created = world.call("create-session", &arguments).run().success();
    assert!(created.stderr.contains("--full-auto"), "no note\n{created}");
    assert!(world.api.last_request().mentions("`sandbox_mode` is `workspace-write`"), "{created}");

    world.resume("without", &[]).run().success();
    let resumed = world.resume("with", &["--full-auto"]).run().success();
    assert_eq!(world.answer(&resumed), "REPLY n=3 last=with", "{resumed}");
    assert!(resumed.stderr.contains("--full-auto"), "no note\n{resumed}");
}

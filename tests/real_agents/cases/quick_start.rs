//! The quick start of the README, as printed, with the real agents.

use crate::world::World;

real_agent_tests! { every_release both: quick_start_of_the_readme_works }

fn quick_start_of_the_readme_works(world: &World) {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("## Quick start with an agent").expect("the README has a quick start");
    let (section, _) = rest.split_once("\n## ").expect("another section comes after it");
    let commands: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(commands.len() >= 3, "{commands:?}");
    // codex works in a git repository only, which the page states
    world.shell("git init --quiet").run().success();
    for command in commands {
        let command = command.replace("--backend claude", &format!("--backend {}", world.agent));
        let outcome = world.shell(&command).run().success();
        assert!(!outcome.line().is_empty(), "{command}\n{outcome}");
    }
    // the second command's prompt, when the third one runs
    assert!(world.api.last_request().mentions("Look at src/"));
}

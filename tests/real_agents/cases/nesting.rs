//! The main use: an agent that starts and resumes other sessions with its shell tool.

use crate::{
    agents::Agent,
    world::{SESSION, World},
};

real_agent_tests! { claude:
    claude_creates_a_session_of_claude,
    claude_creates_a_session_of_codex,
    claude_cannot_resume_itself,
}

/// The option that lets claude run the program without asking. It accepts several values, so no other argument may
/// follow it directly.
const ALLOWED: [&str; 3] = ["--", "--allowedTools", "Bash(invoke-persist *)"];

fn claude_creates_a_session_of_claude(world: &World) {
    claude_creates(world, Agent::Claude);
}

fn claude_creates_a_session_of_codex(world: &World) {
    claude_creates(world, Agent::Codex);
}

fn claude_creates(world: &World, inner: Agent) {
    let options = inner.call_options().join(" ");
    let create = "create-session --session-name from-tool --init-prompt inner";
    let command = format!("invoke-persist --backend {inner} {create} {options}");
    world.api.answer_with_bash_once("delegate", &command);
    world.create(&[&["--init-prompt", "delegate"], &ALLOWED[..]].concat());

    let requests = world.api.requests();
    let said: Vec<_> = requests.iter().map(|request| request.turns().join(", ")).collect();
    assert_eq!(said, ["delegate", "inner", "delegate"], "{:#?}", world.api.last_request());

    let names = world.call_for(inner, "list-sessions", &["--print-aliases"]).run().success();
    assert!(names.stdout.lines().any(|name| name == "from-tool"), "{names}");

    let arguments = ["--session-name", "from-tool", "--prompt", "outer", "--print-result"];
    let answer = world.call_for(inner, "resume-json", &arguments).run().success();
    assert_eq!(answer.line(), "REPLY n=2 last=outer", "{answer}");
}

/// Waiting for its own turn would never end.
fn claude_cannot_resume_itself(world: &World) {
    world.create(&[]);
    let resume = format!("resume-json --session-name {SESSION} --prompt myself --error-format json");
    world.api.answer_with_bash_once("recurse", &format!("invoke-persist --backend claude {resume} 2>&1"));
    let outer = world.resume("recurse", &ALLOWED).run().success();
    let request = world.api.last_request();
    assert!(request.mentions("session_busy"), "{outer}\n{request:#?}");
}

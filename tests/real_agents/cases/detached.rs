//! Detached turns: they outlive the agent that starts them, and print the same as other turns.

use std::{fs, time::Duration};

use rustix::process::Signal;

use crate::{
    agents::Agent,
    call::{Call, Started},
    shared::wait::wait_until,
    world::{SESSION, World},
};

real_agent_tests! { both:
    turn_outlives_a_terminated_agent,
    turn_outlives_a_terminated_call,
    turn_outlives_a_killed_agent,
    turn_outlives_a_killed_call,
}

/// A timeout that only a hanging agent reaches, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn turn_outlives_a_terminated_agent(world: &World) {
    for inner in [Agent::Claude, Agent::Codex] {
        outlives(world, inner, by_hand(world), |outer| outer.signal(Signal::TERM));
    }
}

fn turn_outlives_a_terminated_call(world: &World) {
    for inner in [Agent::Claude, Agent::Codex] {
        outlives(world, inner, by_call(world), |outer| outer.signal(Signal::TERM));
    }
}

fn turn_outlives_a_killed_agent(world: &World) {
    for inner in [Agent::Claude, Agent::Codex] {
        outlives(world, inner, by_hand(world), |outer| kill_all(world, outer));
    }
}

fn turn_outlives_a_killed_call(world: &World) {
    for inner in [Agent::Claude, Agent::Codex] {
        outlives(world, inner, by_call(world), |outer| kill_all(world, outer));
    }
}

/// Kills the process group, then everything that has left it.
fn kill_all(world: &World, outer: &Started) {
    outer.signal_group(Signal::KILL);
    world.kill_all_but_detached_turns();
}

/// Returns a call of the agent itself. Its model is asked to delegate.
fn by_hand(world: &World) -> Call {
    world.call_agent(match world.agent {
        Agent::Claude => &["-p", "--allowedTools", "Bash", "--", "delegate"],
        Agent::Codex => &["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "delegate"],
    })
}

/// Returns a call of the program. The agent's model is asked to delegate.
fn by_call(world: &World) -> Call {
    let create = ["--session-name", SESSION, "--init-prompt", "delegate"];
    let options: &[&str] = match world.agent {
        Agent::Claude => &["--", "--allowedTools", "Bash"],
        Agent::Codex => &["--dangerously-bypass-approvals-and-sandbox"],
    };
    world.call("create-session", &[&create, options].concat())
}

/// Runs an agent that detaches a turn with its shell tool, and is stopped by `stop` before the turn ends.
#[track_caller]
fn outlives(world: &World, inner: Agent, outer: Call, stop: impl FnOnce(&Started)) {
    world.call_for(inner, "create-session", &["--session-name", "b"]).run().success();
    let options = inner.call_options().join(" ");
    let resume = format!("resume-json --session-name b --prompt of-{inner} {options} --print-result");
    let accepted = world.path(&format!("accepted-{inner}"));
    let detach = format!("invoke-persist --backend {inner} {resume} --detach --print-turn-id");
    let command = format!("{}; {detach} >{}; sleep 600", world.path_of_tools(), accepted.display());
    world.api.answer_with_bash_once("delegate", &command);
    world.api.hold();
    let outer = outer.in_own_group().start();
    let prompt = format!("of-{inner}");
    wait_until(LIMIT, || world.api.has_received(&prompt));
    let turn = fs::read_to_string(&accepted).expect("the turn was accepted");
    stop(&outer);
    let outer = outer.wait();
    let record = world.record(turn.trim());
    assert_eq!((&record["state"], &record["detached"]), (&"running".into(), &true.into()), "{record}\n{outer}");

    world.api.release();
    let answer = world.wait_turn(turn.trim()).success();
    assert_eq!(answer.stdout, format!("REPLY n=2 last={prompt}\n"), "{answer}\n{outer}");
    assert_eq!(world.record(turn.trim())["state"], "succeeded");
    let next = world.call_for(inner, "resume-json", &["--session-name", "b", "--prompt", "next", "--print-result"]);
    assert_eq!(next.run().success().stdout, "REPLY n=3 last=next\n");
}

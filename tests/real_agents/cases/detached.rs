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

real_agent_tests! { codex:
    codexs_sandbox_refuses_a_turn_that_it_would_end,
    turn_from_a_command_that_a_rule_allows_outlives_codex,
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

/// codex runs every command in a PID namespace, whose end stops everything in it.
fn codexs_sandbox_refuses_a_turn_that_it_would_end(world: &World) {
    world.create(&[]);
    let resume = format!("resume-json --session-name {SESSION} --prompt inner --skip-git-repo-check");
    let detach = format!("invoke-persist --backend codex {resume} --detach");
    let command = format!("{}; {detach} 2>&1; echo status=$?", world.path_of_tools());
    let roots = format!("sandbox_workspace_write.writable_roots=[{:?}]", world.path(""));
    let network = "sandbox_workspace_write.network_access=true";
    for sandbox in ["read-only", "workspace-write"] {
        world.api.answer_with_bash_once("delegate", &command);
        let options = ["exec", "--skip-git-repo-check", "--sandbox", sandbox, "-c", &roots, "-c", network, "delegate"];
        let outer = world.call_agent(&options).run().success();
        let request = world.api.last_request();
        for printed in ["cannot detach the turn", "the sandbox of codex", "without --detach", "status=1"] {
            assert!(request.mentions(printed), "{printed}: {outer}\n{request:#?}");
        }
    }
    assert!(!world.api.has_received("inner"));
    let turns = world.call_about_turns(&["list-turns"]).run().success().json();
    assert_eq!(turns["totals"]["turns"], 1, "{turns}");
}

/// codex runs a command that a rule allows outside of its sandbox.
fn turn_from_a_command_that_a_rule_allows_outlives_codex(world: &World) {
    fs::create_dir(world.path("codex/rules")).expect("a directory can be created");
    world.file("codex/rules/default.rules", "prefix_rule(pattern=[\"invoke-persist\"], decision=\"allow\")\n");
    world.create(&[]);
    let resume = format!("resume-json --session-name {SESSION} --prompt inner --skip-git-repo-check --print-result");
    let command = format!("invoke-persist --backend codex {resume} --detach --print-turn-id");
    world.api.answer_with_bash_once("delegate", &command);
    // a login shell may change PATH
    let options = ["exec", "--skip-git-repo-check", "-c", "allow_login_shell=false", "delegate"];
    world.api.hold();
    let outer = world.call_agent(&options).in_own_group().start();
    wait_until(LIMIT, || world.api.has_received("inner"));
    outer.signal_group(Signal::KILL);
    world.kill_all_but_detached_turns();
    let outer = outer.wait();
    world.api.release();
    let turns = world.call_about_turns(&["list-turns", "--session-name", SESSION]).run().success().json();
    let turn = turns["turns"][0]["turn_id"].as_str().unwrap_or_else(|| panic!("no turn\n{outer}"));
    assert_eq!(world.wait_turn(turn).success().stdout, "REPLY n=2 last=inner\n", "{outer}");
}

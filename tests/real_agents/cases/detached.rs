//! Detached turns: they outlive the agent that starts them, and print the same as other turns.

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    agents::{Agent, installation},
    call::{Call, Started},
    model_api::{Block, Refusal},
    shared::wait::wait_until,
    world::{SESSION, World},
};

real_agent_tests! { both:
    turn_outlives_a_terminated_agent,
    turn_outlives_a_terminated_call,
    turn_outlives_a_killed_agent,
    turn_outlives_a_killed_call,
    output_is_that_of_an_attached_call,
    record_has_the_session_before_the_turn_ends,
    working_turn_is_stopped_and_its_session_resumed,
    turns_of_one_session_run_in_order,
    options_of_a_turn_hold_for_a_detached_one,
}

real_agent_tests! { codex:
    codexs_sandbox_refuses_a_turn_that_it_would_end,
    turn_from_a_command_that_a_rule_allows_outlives_codex,
    turn_can_be_waited_for_in_codexs_sandbox,
}
real_agent_tests! { claude:
    claudes_sandbox_refuses_a_turn_that_it_would_end,
    turn_from_a_command_that_claude_excludes_outlives_its_sandbox,
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
    let roots = format!("sandbox_workspace_write.writable_roots=['{}']", world.path("").display());
    let network = "sandbox_workspace_write.network_access=true";
    for sandbox in ["read-only", "workspace-write"] {
        world.api.answer_with_bash_once("delegate", &command);
        let options = ["exec", "--skip-git-repo-check", "--sandbox", sandbox, "-c", &roots, "-c", network, "delegate"];
        let outer = world.call_agent(&options).run().success();
        let request = world.api.last_request();
        for printed in ["cannot detach the turn", "the sandbox of codex", "in a rule of codex", "status=1"] {
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
    outlives_kill(world, outer);
}

/// Kills the agent when the turn of its tool runs, and fetches the answer of the turn.
#[track_caller]
fn outlives_kill(world: &World, outer: Started) {
    wait_until(LIMIT, || world.api.has_received("inner"));
    outer.signal_group(Signal::KILL);
    world.kill_all_but_detached_turns();
    let outer = outer.wait();
    world.api.release();
    let turns = world.call_about_turns(&["list-turns", "--session-name", SESSION]).run().success().json();
    let turn = turns["turns"][0]["turn_id"].as_str().unwrap_or_else(|| panic!("no turn\n{outer}"));
    assert_eq!(world.wait_turn(turn).success().stdout, "REPLY n=2 last=inner\n", "{outer}");
}

/// Every command, every form of output, and a failure, twice. The IDs differ between two worlds.
fn output_is_that_of_an_attached_call(world: &World) {
    let other = World::new(world.agent);
    for round in ["1", "2"] {
        let (name, printed, fork) = (format!("a{round}"), format!("b{round}"), format!("c{round}"));
        let create = |name| ["--session-name", name, "--init-prompt", "one"];
        let resume = ["--session-name", &name, "--prompt", "next"];
        let fork = ["--session-name", &name, "--to", &fork, "--prompt", "forked"];
        for (verb, arguments, options) in [
            ("create-session", create(&name).to_vec(), &[][..]),
            ("create-session", create(&printed).to_vec(), &["--print-result"]),
            ("resume-json", resume.to_vec(), &[]),
            ("resume-json", resume.to_vec(), &["--print-result"]),
            ("resume-stream", resume.to_vec(), &[]),
            ("resume-stream", resume.to_vec(), &["--format", "text"]),
            ("resume-stream", resume.to_vec(), &["--print-result"]),
            ("fork-session", fork.to_vec(), &[]),
        ] {
            same_output(world, &other, verb, &[&arguments, options].concat());
        }
        for world in [world, &other] {
            world.api.refuse_with(401);
        }
        same_output(world, &other, "resume-json", &[&resume[..], &["--error-format", "json"]].concat());
        same_output(world, &other, "resume-stream", &resume);
        for world in [world, &other] {
            world.api.accept();
        }
    }
}

#[track_caller]
fn same_output(world: &World, other: &World, verb: &str, arguments: &[&str]) {
    let attached = other.call(verb, arguments).run();
    let turn = world.detach(verb, arguments);
    let detached = world.wait_turn(&turn);
    assert_eq!(detached.code(), attached.code(), "{detached}\n{attached}");
    for (got, want) in [(&detached.stdout, &attached.stdout), (&detached.stderr, &attached.stderr)] {
        assert_eq!(without_chance(world, got), without_chance(other, want), "{detached}\n{attached}");
    }
    let again = world.wait_turn(&turn);
    assert_eq!((&again.stdout, &again.stderr, again.code()), (&detached.stdout, &detached.stderr, detached.code()));
    let (record, state) = (world.record(&turn), if attached.code() == Some(0) { "succeeded" } else { "failed" });
    assert_eq!((&record["state"], &record["exit_code"]), (&state.into(), &attached.code().into()), "{record}");
}

/// Returns the lines without IDs, durations, and what differs between two worlds.
fn without_chance(world: &World, text: &str) -> Vec<Value> {
    let host = world.api.url().trim_start_matches("http://").to_owned();
    let root = world.path("").display().to_string();
    let dashed = root.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let text = text.replace(&host, "HOST").replace(&root, "ROOT/").replace(&dashed, "ROOT-");
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line));
    text.lines().map(|text| without_numbers(line(text))).collect()
}

/// Removes words with digits from texts, and replaces the numbers.
fn without_numbers(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let is_random = |word: &&str| is_uuid(word) || word.contains(|c: char| c.is_ascii_digit());
            let words = text.split_inclusive([' ', '/', ':', '\'', '.']);
            let words = words.map(|word| word.trim_end_matches([' ', '/', ':', '\'', '.']));
            words.filter(|word| !is_random(word)).collect::<Vec<_>>().join(" ").into()
        }
        Value::Number(_) => Value::from(0),
        Value::Array(values) => values.into_iter().map(without_numbers).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, without_numbers(value))).collect(),
        other => other,
    }
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

fn record_has_the_session_before_the_turn_ends(world: &World) {
    world.create(&[]);
    let resume = ["--session-name", SESSION, "--prompt", "next"];
    let fork = ["--session-name", SESSION, "--to", "forked", "--prompt", "next"];
    let create = ["--session-name", "new", "--init-prompt", "next"];
    for (verb, arguments) in
        [("create-session", &create[..]), ("resume-json", &resume), ("resume-stream", &resume), ("fork-session", &fork)]
    {
        world.api.hold();
        let turn = world.detach(verb, arguments);
        wait_until(LIMIT, || {
            let record = world.record(&turn);
            record["state"] == "running" && record["session_id"].is_string()
        });
        let early = world.record(&turn);
        world.api.release();
        world.wait_turn(&turn).success();
        let ended = world.record(&turn);
        assert_eq!(early["session_id"], ended["session_id"], "{verb}");
    }
}

/// each of claude's tools runs in a separate session.
fn working_turn_is_stopped_and_its_session_resumed(world: &World) {
    world.create(&[]);
    let options: &[&str] = match world.agent {
        Agent::Claude => &["--", "--allowedTools", "Bash"],
        Agent::Codex => &["--dangerously-bypass-approvals-and-sandbox"],
    };
    let resume = ["--session-name", SESSION, "--prompt", "take a nap"];
    for round in ["1", "2"] {
        let sleep = format!("tail -n {round} -f /dev/null"); // claude refuses a long sleep
        world.api.answer_with_bash_once("take a nap", &sleep);
        let turn = world.detach("resume-stream", &[&resume, options].concat());
        wait_until(LIMIT, || {
            world.record(&turn)["activity"].as_str().is_some_and(|activity| activity.contains(&sleep))
        });
        let running = world.record(&turn);
        assert_eq!((&running["state"], running["session_id"].is_string()), (&"running".into(), true), "{running}");
        let stopped = world.call_about_turns(&["stop-turn", "--session-name", SESSION]).run().success();
        let record = stopped.json();
        assert_eq!((&record["turn_id"], &record["state"]), (&turn.clone().into(), &"stopped".into()), "{stopped}");
        assert_eq!((&record["exit_code"], &record["activity"]), (&143.into(), &Value::Null), "{stopped}");
        let left = world.left_running();
        assert!(left.is_empty(), "{left:#?}\n{stopped}");
        let waited = world.wait_turn(&turn).exit(143);
        assert!(waited.stderr.contains(&format!("was stopped while running `{sleep}`")), "{waited}");
        let next = world.resume("next", &["--print-result"]).run().success();
        let request = world.api.last_request();
        assert!(request.turns().contains(&"take a nap"), "{:?}\n{next}", request.turns());
        assert!(next.stdout.ends_with("last=next\n"), "{next}");
    }
}

fn turns_of_one_session_run_in_order(world: &World) {
    world.create(&["--init-prompt", "zero"]);
    world.api.hold();
    let detach = |verb: &str, prompt: &str| {
        world.detach(verb, &["--session-name", SESSION, "--prompt", prompt, "--print-result"])
    };
    let first = detach("resume-json", "first");
    wait_until(LIMIT, || world.api.has_received("first"));
    let second = detach("resume-stream", "second");
    let third = detach("resume-json", "third");
    for (turn, state) in [(&first, "running"), (&second, "queued"), (&third, "queued")] {
        assert_eq!(world.record(turn)["state"], state);
    }
    world.api.release();
    let turns = [&first, &second, &third];
    for (number, (turn, prompt)) in (2..).zip(turns.into_iter().zip(["first", "second", "third"])) {
        assert_eq!(world.wait_turn(turn).success().stdout, format!("REPLY n={number} last={prompt}\n"));
    }
    assert_eq!(world.api.last_request().turns(), ["zero", "first", "second", "third"]);
}

fn options_of_a_turn_hold_for_a_detached_one(world: &World) {
    let summary = world.path("summary.json");
    let summary_of = |turn: &str| -> Value {
        let text = fs::read_to_string(&summary).expect("the turn wrote its summary");
        let summary: Value = serde_json::from_str(&text).expect("a summary is JSON");
        assert_eq!(summary["started_at"], world.record(turn)["started_at"], "{summary}");
        summary
    };
    world.create(&[]);
    let summary_option = ["--summary-file", summary.to_str().expect("UTF-8")];
    let resume = [&["--session-name", SESSION, "--prompt", "p"], &summary_option[..]].concat();
    let detach = |options: &[&str]| world.detach("resume-json", &[&resume, options].concat());

    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "too many requests"}});
    world.api.refuse_as(&Refusal { status: 429, headers: &[], body });
    let turn = detach(&["--retry", "9"]);
    wait_until(LIMIT, || {
        let output = world.call_about_turns(&["show-turn", "--turn-id", &turn, "--output"]).run().success();
        output.stderr.contains("(retry 1 of 9)")
    });
    assert_eq!(world.record(&turn)["state"], "running");
    world.api.accept();
    let retried = world.wait_turn(&turn).success();
    assert!(world.record(&turn)["tries"].as_u64() >= Some(2) && retried.stderr.contains("(retry 1 of 9)"), "{retried}");
    assert_eq!(summary_of(&turn)["answer"], world.answer(&retried));

    world.api.hold();
    let turn = detach(&["--deadline-seconds", "6", "--error-format", "json"]);
    let late = world.wait_turn(&turn).exit(124);
    assert_eq!(
        (&late.error()["kind"], &world.record(&turn)["state"]),
        (&"deadline".into(), &"stopped".into()),
        "{late}"
    );
    assert_eq!(summary_of(&turn)["kind"], "deadline");
    world.api.release();

    let schema = json!({
        "type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"],
        "additionalProperties": false,
    });
    let schema = world.file("schema.json", schema.to_string());
    let options = ["--schema", &schema, "--print-result", "--error-format", "json"];
    let answer = json!({"score": 7});
    world.api.answer_structured(&answer);
    let turn = detach(&options);
    assert_eq!(world.wait_turn(&turn).success().json(), answer);
    assert_eq!(summary_of(&turn)["structured_answer"], answer);
    world.api.answer_structured(&json!({"score": "high"}));
    let turn = detach(&options);
    let invalid = world.wait_turn(&turn).exit(7);
    assert_eq!(invalid.error()["kind"], "answer_invalid", "{invalid}");
    assert_eq!(world.record(&turn)["kind"], "answer_invalid");

    let turn = detach(&["--fail-on", "empty", "--error-format", "json"]);
    world.wait_turn(&turn).success();
    world.api.play([vec![Block::Text(String::new())], vec![Block::Text(String::new())]]);
    let turn = detach(&["--fail-on", "empty", "--error-format", "json"]);
    let empty = world.wait_turn(&turn).exit(8);
    assert_eq!(empty.error()["kind"], "empty_answer", "{empty}");
    assert_eq!(world.record(&turn)["kind"], "empty_answer");
    assert_eq!(summary_of(&turn)["kind"], "empty_answer");
}

/// A sandbox that cannot write the records can still read them.
fn turn_can_be_waited_for_in_codexs_sandbox(world: &World) {
    world.create(&[]);
    world.api.hold();
    let turn = world.detach("resume-json", &["--session-name", SESSION, "--prompt", "inner", "--print-result"]);
    wait_until(LIMIT, || world.api.has_received("inner"));
    let wait = format!("invoke-persist wait-turn --turn-id {turn} --timeout-seconds");
    let fetch = |limit: &str, wanted: [&str; 2]| {
        let command = format!("{}; {wait} {limit} 2>&1; echo status=$?", world.path_of_tools());
        world.api.answer_with_bash_once("fetch", &command);
        let options = ["exec", "--skip-git-repo-check", "--sandbox", "read-only", "fetch"];
        let outer = world.call_agent(&options).start();
        wait_until(LIMIT, || {
            // the answer to the outer model's second request is held, but not the request
            let request = world.api.last_request();
            request.last_turn() == "fetch" && wanted.iter().all(|text| request.mentions(text))
        });
        outer
    };
    let outer = fetch("1", ["is still running", "status=75"]);
    world.api.release();
    outer.wait().success();
    fetch("60", ["REPLY n=2 last=inner", "status=0"]).wait().success();
}

/// Adds what claude's sandbox needs. Its commands get no network, because nothing is forwarded.
fn add_sandbox_tools(world: &World) {
    const SOCAT: &str = "#!/usr/bin/perl\nuse IO::Socket::UNIX;\n\
        my @s = map { /^UNIX-LISTEN:([^,]+)/ ? IO::Socket::UNIX->new(Local => $1, Listen => 1) : () } @ARGV;\n\
        sleep 1 while getppid() > 1;\n";
    std::os::unix::fs::symlink(installation().bubblewrap(), world.path("bin/bwrap")).expect("a link can be created");
    world.file("bin/socat", SOCAT);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("bin/socat"), executable).expect("the mode can be changed");
}

/// claude runs every command in a PID namespace, whose end stops everything in it.
fn claudes_sandbox_refuses_a_turn_that_it_would_end(world: &World) {
    add_sandbox_tools(world);
    world.create(&[]);
    let resume = format!("resume-json --session-name {SESSION} --prompt inner");
    let detach = format!("invoke-persist --backend claude {resume} --detach");
    world.api.answer_with_bash_once("delegate", &format!("{detach} 2>&1; echo status=$?"));
    let settings = json!({"sandbox": {"enabled": true, "failIfUnavailable": true}}).to_string();
    let options = ["-p", "--settings", &settings, "--allowedTools", "Bash", "--", "delegate"];
    let outer = world.call_agent(&options).run().success();
    let request = world.api.last_request();
    for printed in ["cannot detach the turn", "the sandbox of claude", "excludedCommands", "status=1"] {
        assert!(request.mentions(printed), "{printed}: {outer}\n{request:#?}");
    }
    assert!(!world.api.has_received("inner"));
}

/// claude runs excluded commands outside of its sandbox.
fn turn_from_a_command_that_claude_excludes_outlives_its_sandbox(world: &World) {
    add_sandbox_tools(world);
    world.create(&[]);
    let resume = format!("resume-json --session-name {SESSION} --prompt inner --print-result");
    let detach = format!("invoke-persist --backend claude {resume} --detach --print-turn-id");
    world.api.answer_with_bash_once("delegate", &detach);
    let sandbox = json!({"enabled": true, "failIfUnavailable": true, "excludedCommands": ["invoke-persist *"]});
    let settings = json!({"sandbox": sandbox}).to_string();
    let options = ["-p", "--settings", &settings, "--allowedTools", "Bash", "--", "delegate"];
    world.api.hold();
    let outer = world.call_agent(&options).in_own_group().start();
    outlives_kill(world, outer);
}

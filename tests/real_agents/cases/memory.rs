//! A name resumes the same conversation with every command.

use crate::{
    call::Outcome,
    world::{SESSION, World},
};

real_agent_tests! { every_release both:
    every_resume_command_continues_the_conversation,
    resolve_and_list_print_the_agents_id,
    concurrent_turns_are_all_in_the_history,
}
real_agent_tests! { both:
    last_use_is_known_from_the_agents_own_files,
    fork_has_the_history_and_does_not_change_its_original,
}

fn every_resume_command_continues_the_conversation(world: &World) {
    let id = world.create(&["--init-prompt", "first"]);
    assert_eq!(world.api.last_request().turns(), ["first"]);

    let second = world.resume("second", &[]).run().success();
    assert_eq!(world.answer(&second), "REPLY n=2 last=second", "{second}");

    let third = world.call("resume-stream", &["--session-name", SESSION, "--prompt", "third"]).run().success();
    assert_eq!(streamed_answer(&third), "REPLY n=3 last=third", "{third}");

    let fourth = world.call("resume-json", &[world.agent.id_option(), &id, "--prompt", "fourth"]).run().success();
    assert_eq!(world.answer(&fourth), "REPLY n=4 last=fourth", "{fourth}");

    assert_eq!(world.api.last_request().turns(), ["first", "second", "third", "fourth"]);
}

/// Returns the answer in a complete stream, which begins with the ID and ends with the end of the turn.
#[track_caller]
fn streamed_answer(outcome: &Outcome) -> String {
    let events = outcome.json_lines();
    let kinds: Vec<_> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let answer = match (kinds.first(), kinds.last()) {
        (Some(&"system"), Some(&"result")) => events.last().map(|event| &event["result"]),
        (Some(&"thread.started"), Some(&"turn.completed")) => {
            let items = events.iter().map(|event| &event["item"]);
            let mut messages = items.filter(|item| item["type"] == "agent_message");
            messages.next_back().map(|item| &item["text"])
        }
        _ => panic!("the stream of an unknown agent\n{outcome}"),
    };
    answer
        .and_then(|answer| answer.as_str())
        .unwrap_or_else(|| panic!("a stream without an answer\n{outcome}"))
        .to_owned()
}

fn last_use_is_known_from_the_agents_own_files(world: &World) {
    let last_use = || {
        let list = world.call("list-sessions", &["--format", "tsv"]).run().success();
        let text = &list.stdout;
        let columns = text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).collect::<Vec<_>>();
        let at = columns[0].iter().position(|column| *column == "last_used_at").expect("the column exists");
        columns[1][at].parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{error}\n{list}"))
    };
    let before = jiff::Timestamp::now();
    world.create(&["--init-prompt", "first"]);
    let first = last_use();
    assert!(first >= before, "{first} {before}");

    let before = jiff::Timestamp::now();
    world.resume("second", &[]).run().success();
    let second = last_use();
    assert!(second >= before && second > first, "{second} {before}");

    // a fork is another session
    let fork = ["--session-name", SESSION, "--to", "aside", "--prompt", "third"];
    world.call("fork-session", &fork).run().success();
    world.call("delete-session", &["--session-name", "aside"]).run().success();
    assert_eq!(last_use(), second);
}

fn resolve_and_list_print_the_agents_id(world: &World) {
    let id = world.create(&[]);
    let key = world.agent.id_key();
    assert_eq!(world.stored()[key], id.as_str());

    let list = world.call("list-sessions", &[]).run().success();
    assert_eq!(list.json()["aliases"][SESSION][key], id.as_str(), "{list}");

    // The agent uses the same ID for the session.
    let answer = world.resume("continue", &["--print-session-id"]).run().success();
    assert_eq!(answer.line(), id, "{answer}");
}

/// Without the program, claude would lose all of these turns except one, and codex would refuse all except one.
fn concurrent_turns_are_all_in_the_history(world: &World) {
    world.create(&["--init-prompt", "first"]);
    let prompts = ["one of three", "two of three", "three of three"];
    let running = prompts.map(|prompt| world.resume(prompt, &[]).start());
    let mut counts = running.map(|call| {
        let outcome = call.wait().success();
        let answer = world.answer(&outcome);
        let count = answer.strip_prefix("REPLY n=").and_then(|rest| rest.split(' ').next());
        count.unwrap_or_else(|| panic!("an unexpected answer\n{outcome}")).to_owned()
    });
    counts.sort();
    assert_eq!(counts, ["2", "3", "4"], "the history of each turn contains the earlier turns");

    let last = world.resume("last", &[]).run().success();
    assert_eq!(world.answer(&last), "REPLY n=5 last=last", "{last}");
    let request = world.api.last_request();
    let turns = request.turns();
    for prompt in prompts {
        assert!(turns.contains(&prompt), "{prompt} is lost: {turns:?}");
    }
}

fn fork_has_the_history_and_does_not_change_its_original(world: &World) {
    let id = world.create(&[]);
    let fork = ["--session-name", SESSION, "--to", "forked", "--prompt", "second of the fork"];
    let forked = world.call("fork-session", &fork).run().success();
    assert_eq!(world.answer(&forked), "REPLY n=2 last=second of the fork", "{forked}");
    let new = forked.json()[world.agent.id_key()].as_str().map(str::to_owned);
    assert_ne!(new.as_deref(), Some(id.as_str()));
    // each continues with its own history
    let again = ["--session-name", "forked", "--prompt", "third of the fork"];
    let again = world.call("resume-json", &again).run().success();
    assert_eq!(world.answer(&again), "REPLY n=3 last=third of the fork", "{again}");
    let old = world.resume("second", &[]).run().success();
    assert_eq!(world.answer(&old), "REPLY n=2 last=second", "{old}");
    assert!(!world.api.last_request().mentions("of the fork"));
    // a missing session is reported and not created
    let nowhere = ["--to", "nowhere", "--prompt", "p", world.agent.id_option(), "00000000-0000-4000-8000-000000000000"];
    let failed = world.call("fork-session", &nowhere).run().exit(1);
    assert!(!world.call("list-sessions", &[]).run().success().stdout.contains("nowhere"), "{failed}");
}

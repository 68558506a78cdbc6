//! The tokens in summaries, against replies of the model whose usage is known: 10 tokens in and 5 out for each.

use std::fs;

use serde_json::{Value, json};

use crate::{
    agents::Agent,
    model_api::Block,
    world::{SESSION, World},
};

real_agent_tests! { both:
    summaries_have_the_usage_of_each_turn,
}

/// Runs a turn with one reply of the model for each text. Returns its summary.
fn summary(world: &World, verb: &str, texts: &[&str]) -> Value {
    let tool = match world.agent {
        Agent::Claude => ("Read", json!({"file_path": "/etc/hostname"})),
        Agent::Codex => ("exec_command", json!({"cmd": "true"})),
    };
    let (last, before) = texts.split_last().expect("a turn has an answer");
    let calls = before
        .iter()
        .map(|text| vec![Block::Text((*text).to_owned()), Block::Call { name: tool.0, input: tool.1.clone() }]);
    world.api.play(calls.chain([vec![Block::Text((*last).to_owned())]]).collect::<Vec<_>>());
    let file = world.path("summary.json");
    let options = ["--session-name", SESSION, "--prompt", "p", "--if-missing", "create"];
    let path = file.to_str().expect("a world's path is UTF-8");
    world.call(verb, &[&options[..], &["--summary-file", path]].concat()).run().success();
    serde_json::from_slice(&fs::read(file).expect("the call wrote its summary")).expect("a summary is JSON")
}

fn summaries_have_the_usage_of_each_turn(world: &World) {
    for (verb, replies, session) in [
        ("resume-json", &["one"][..], 1),
        ("resume-json", &["look", "two"], 3),
        ("resume-stream", &["three"], 4),
        ("resume-json", &["four"], 5),
    ] {
        let summary = summary(world, verb, replies);
        let count = replies.len();
        assert_eq!((&summary["answer"], &summary["tries"]), (&json!(replies[count - 1]), &json!(1)), "{summary}");
        assert_eq!(
            (&summary["input_tokens"], &summary["output_tokens"]),
            (&json!(10 * count), &json!(5 * count)),
            "{summary}"
        );
        if world.agent == Agent::Codex {
            // it counts for the session, and does not report the number of replies
            let totals = (&summary["session_input_tokens"], &summary["session_output_tokens"]);
            assert_eq!(totals, (&json!(10 * session), &json!(5 * session)), "{summary}");
        } else {
            assert_eq!(summary["agent_turns"], count, "{summary}");
        }
    }
}

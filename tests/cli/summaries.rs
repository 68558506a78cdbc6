//! `--summary-file` has the facts about a turn, with the same keys for both agents.

use std::fs;

use serde_json::{Value, json};

use crate::support::*;

const KEYS: &[&str] = &[
    "backend",
    "alias",
    "session_id",
    "source",
    "model",
    "reasoning_effort",
    "settings",
    "started_at",
    "duration_seconds",
    "exit_code",
    "kind",
    "cause",
    "retryable",
    "retry_at",
    "answer",
    "structured_answer",
    "denied",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost_usd",
    "session_input_tokens",
    "session_output_tokens",
    "session_cost_usd",
    "agent_turns",
    "tries",
];

/// Returns an answer that reports what the turn used. claude counts its tokens for each turn, codex for the session.
fn answers_with_usage(backend: Backend, id: &str, [input, cached, output]: [u64; 3], cost: f64) -> Turn {
    match backend {
        Backend::Claude => {
            let result = json!({
                "type": "result", "subtype": "success", "is_error": false, "result": "the answer", "session_id": id,
                "num_turns": 3, "total_cost_usd": cost,
                "usage": {"input_tokens": input - cached, "cache_read_input_tokens": cached, "output_tokens": output},
            });
            Turn { stream: Some(format!("{result}\n")), ..Turn::default().stdout(&format!("{result}\n")) }
        }
        Backend::Codex => Turn::default().stdout(&format!(
            "{}\n{}\n{}\n",
            json!({"type": "thread.started", "thread_id": id}),
            json!({"type": "item.completed", "item": {"type": "agent_message", "text": "the answer"}}),
            json!({"type": "turn.completed", "usage":
                {"input_tokens": input, "cached_input_tokens": cached, "output_tokens": output}}),
        )),
    }
}

fn summary(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&fs::read_to_string(sandbox.workspace().join("s.json")).unwrap()).unwrap()
}

/// Returns some members of the summary.
fn members(sandbox: &Sandbox, names: &[&str]) -> Value {
    let summary = summary(sandbox);
    names.iter().map(|name| summary[*name].clone()).collect()
}

const TURN: &[&str] = &["input_tokens", "cached_input_tokens", "output_tokens", "cost_usd"];

#[test]
fn summary_has_the_same_keys_for_both_agents_and_all_outcomes() {
    for backend in Backend::BOTH {
        for (turn, status, kind) in
            [(backend.answers("i", "OK"), 0, json!(null)), (backend.fails("i", "no"), 1, json!("agent_failed"))]
        {
            let sandbox = Sandbox::new();
            sandbox.save(backend, "a", "i");
            sandbox.agent(turn);
            let call = ["resume-json", "--session-name", "a", "--prompt", "p", "--summary-file", "s.json"];
            sandbox.run(&call).code(status);
            let text = fs::read_to_string(sandbox.workspace().join("s.json")).unwrap();
            let keys: Vec<&str> = KEYS.to_vec();
            let found: Vec<&str> = keys.iter().copied().filter(|key| text.contains(&format!("\"{key}\": "))).collect();
            assert_eq!(found, keys);
            let summary = summary(&sandbox);
            assert_eq!(summary.as_object().unwrap().len(), KEYS.len());
            assert_eq!((&summary["exit_code"], &summary["kind"]), (&json!(status), &kind));
            assert_eq!(summary["backend"], backend.name());
            assert_eq!((&summary["alias"], &summary["session_id"]), (&json!("a"), &json!("i")));
            assert_eq!((&summary["source"], &summary["tries"]), (&json!("mapping_file"), &json!(1)));
            assert!(summary["duration_seconds"].as_f64().unwrap() >= 0.0);
        }
    }
}

/// A session that this program began has used nothing before. Later turns are the difference to what was last seen.
#[test]
fn tokens_and_cost_are_those_of_each_turn() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        let usage: [[u64; 3]; 3] = match backend {
            Backend::Claude => [[100, 0, 10], [150, 90, 20], [30, 0, 5]],
            Backend::Codex => [[100, 0, 10], [250, 90, 30], [280, 90, 35]],
        };
        let costs = [0.5, 0.7, 0.9];
        let turns = usage.into_iter().zip(costs);
        sandbox.agent(turns.map(|(usage, cost)| answers_with_usage(backend, "n", usage, cost)).collect::<Vec<_>>());
        let cost = |dollars: f64| if backend == Backend::Claude { json!(dollars) } else { json!(null) };
        let create = ["--backend", backend.name(), "create-session", "--session-name", "n", "--summary-file", "s.json"];
        sandbox.run(&create).success();
        assert_eq!(members(&sandbox, TURN), json!([100, 0, 10, cost(0.5)]));
        assert_eq!(summary(&sandbox)["source"], "created");
        for (verb, want) in
            [("resume-stream", json!([150, 90, 20, cost(0.2)])), ("resume-json", json!([30, 0, 5, cost(0.2)]))]
        {
            let call = ["--backend", backend.name(), verb, "--session-name", "n", "--prompt", "p"];
            sandbox.run(&[&call[..], &["--summary-file", "s.json"]].concat()).success();
            assert_eq!(members(&sandbox, TURN), want, "{verb} {backend:?}");
            assert_eq!(summary(&sandbox)["answer"], "the answer");
        }
        let session = members(&sandbox, &["session_input_tokens", "session_output_tokens", "session_cost_usd"]);
        match backend {
            Backend::Claude => assert_eq!(session, json!([null, null, 0.9])),
            Backend::Codex => assert_eq!(session, json!([280, 35, null])),
        }
    }
}

/// Zero would be a lie for a session that was used elsewhere.
#[test]
fn unknown_numbers_are_null() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(answers_with_usage(Backend::Codex, "i", [100, 0, 10], 0.0));
    let call = ["resume-json", "--session-name", "a", "--prompt", "p", "--summary-file", "s.json"];
    sandbox.run(&call).success();
    assert_eq!(members(&sandbox, TURN), json!([null, null, null, null]));
    sandbox.run(&call).success();
    assert_eq!(members(&sandbox, TURN), json!([0, 0, 0, null]), "the session has not grown since");
}

#[test]
fn call_without_a_turn_has_a_summary_too() {
    let sandbox = Sandbox::new();
    sandbox.write("s.json", "of an earlier call");
    let call = ["--backend", "claude", "resume-json", "--session-name", "gone", "--prompt", "p"];
    sandbox.run(&[&call[..], &["--summary-file", "s.json"]].concat()).code(3);
    assert_eq!(members(&sandbox, &["exit_code", "kind", "tries", "answer"]), json!([3, "session_not_found", 0, null]));
}

#[test]
fn file_that_cannot_be_written_is_an_error_before_the_turn() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    fs::create_dir(sandbox.workspace().join("dir")).unwrap();
    sandbox.write("prompt.txt", "p");
    let resume = ["resume-json", "--session-name", "a", "--prompt-file", "prompt.txt", "--output-file", "out"];
    let mapping = sandbox.mapping_path(Backend::Claude).display().to_string();
    for (file, message) in [
        ("dir", "--summary-file dir is a directory"),
        ("-", "--summary-file cannot be standard output"),
        ("prompt.txt", "--summary-file prompt.txt is the prompt file"),
        ("out", "--summary-file out is the file of --output-file"),
        (&mapping, "is the mapping"),
    ] {
        let failure = sandbox.fails(&[&resume[..], &["--summary-file", file]].concat(), 2, "usage");
        failure.before_the_turn().message(contains(message));
    }
    assert!(sandbox.calls().is_empty());
}

#[test]
fn tries_count_the_calls_of_the_agent() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    let busy = Backend::Codex.fails("i", "Selected model is at capacity. Please try a different model.");
    sandbox.agent([busy, Backend::Codex.answers("i", "OK")]);
    let call = ["resume-json", "--session-name", "a", "--prompt", "p", "--retry", "1", "--summary-file", "s.json"];
    sandbox.run(&call).success();
    assert_eq!(members(&sandbox, &["tries", "kind", "retryable"]), json!([2, null, null]));
}

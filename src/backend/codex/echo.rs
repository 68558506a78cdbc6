//! codex's protocol, as the echo agent implements it.

use std::path::PathBuf;

use super::placement;
use crate::backend::echo::{EchoCall, EchoProtocol, EchoTurn};
use crate::ui::json::JsonObject;

pub(super) const PROTOCOL: EchoProtocol =
    EchoProtocol { parse, events, unknown_session: |id| format!("no rollout found for thread id {id}") };

fn parse(arguments: &[String]) -> EchoCall {
    let mut call = EchoCall::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned();
        match argument.as_str() {
            "--model" | "-m" => call.model = value(),
            "-o" => call.answer_file = value().map(PathBuf::from),
            "--config" | "-c" | "--enable" | "--disable" | "--image" | "-i" | "--output-schema" => drop(value()),
            "--" => words.extend(rest.by_ref().cloned()),
            option if placement::is_followed_by_value(option) => drop(value()),
            option if option.len() > 1 && option.starts_with('-') => {}
            _ => words.push(argument.clone()),
        }
    }
    let mut words = words.into_iter().skip(1); // exec
    let mut next = words.next();
    if let Some("resume" | "fork") = next.as_deref() {
        call.fork = next.as_deref() == Some("fork");
        call.session = words.next();
        next = words.next();
    }
    call.prompt = next.filter(|prompt| prompt != "-");
    call
}

fn events(_call: &EchoCall, turn: EchoTurn<'_>) -> Vec<JsonObject> {
    let item = JsonObject::new().with("id", "item_0").with("type", "agent_message").with("text", turn.answer);
    let usage = JsonObject::new().with("input_tokens", 0).with("output_tokens", 0);
    vec![
        JsonObject::new().with("type", "thread.started").with("thread_id", turn.id),
        JsonObject::new().with("type", "turn.started"),
        JsonObject::new().with("type", "item.completed").with_object("item", item),
        JsonObject::new().with("type", "turn.completed").with_object("usage", usage),
    ]
}

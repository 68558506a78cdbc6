//! claude's protocol, as the echo agent implements it.

use crate::backend::echo::{EchoCall, EchoProtocol, EchoTurn};
use crate::ui::json::JsonObject;

pub(super) const PROTOCOL: EchoProtocol =
    EchoProtocol { parse, events, unknown_session: |id| format!("No conversation found with session ID: {id}") };

fn parse(arguments: &[String]) -> EchoCall {
    let mut call = EchoCall::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned();
        match argument.as_str() {
            "--resume" => call.session = value(),
            "--fork-session" => call.fork = true,
            "--model" => call.model = value(),
            "--effort" => call.effort = value(),
            "--append-system-prompt" => call.role = value(),
            "--append-system-prompt-file" => call.role = value().and_then(|path| std::fs::read_to_string(path).ok()),
            "--output-format" => call.stream = value().as_deref() == Some("stream-json"),
            "--" => words.extend(rest.by_ref().cloned()),
            flag if flag.starts_with("--") || flag == "-p" => {}
            _ => words.push(argument.clone()),
        }
    }
    call.prompt = words.into_iter().next();
    call
}

fn events(call: &EchoCall, turn: EchoTurn<'_>) -> Vec<JsonObject> {
    let result = JsonObject::new()
        .with("type", "result")
        .with("subtype", "success")
        .with("is_error", false)
        .with("num_turns", turn.number)
        .with("result", turn.answer)
        .with("session_id", turn.id);
    if !call.stream {
        return vec![result];
    }
    let init = JsonObject::new().with("type", "system").with("subtype", "init").with("session_id", turn.id);
    let text = serde_json::json!([{ "type": "text", "text": turn.answer }]);
    let message = JsonObject::new().with("role", "assistant").with("content", text);
    let message =
        JsonObject::new().with("type", "assistant").with_object("message", message).with("session_id", turn.id);
    vec![init, message, result]
}

//! The model's side of the conversation, as the events either API streams.

use serde_json::{Value, json};

use super::request::{Dialect, ModelRequest};

/// How much of the last turn a reply repeats, in characters.
const TAIL: usize = 80;

/// What a model says: how many turns of the user it was shown, which tells whether the agent remembered, and the end of
/// the last.
pub(super) fn text(request: &ModelRequest) -> String {
    let last = request.last_turn();
    let start = last.char_indices().rev().nth(TAIL - 1).map_or(0, |(index, _)| index);
    format!("REPLY n={} last={}", request.turns().len(), &last[start..])
}

/// The events of an answer that says `text`.
pub(super) fn events(request: &ModelRequest, text: &str) -> Vec<Value> {
    let words = text.split_inclusive(' ');
    match request.dialect {
        Dialect::Messages => message(
            request,
            &json!({"type": "text", "text": ""}),
            words.map(|word| json!({"type": "text_delta", "text": word})),
            "end_turn",
        ),
        Dialect::Responses => response(request, text, words),
    }
}

/// The events of an answer that has claude run `command` by its Bash tool.
pub(super) fn bash_events(request: &ModelRequest, command: &str) -> Vec<Value> {
    let input = json!({"command": command, "description": "Do what the test asks for"}).to_string();
    message(
        request,
        &json!({"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}),
        [json!({"type": "input_json_delta", "partial_json": input})],
        "tool_use",
    )
}

/// Whether an event is a piece of the answer, behind which a slow model pauses.
pub(super) fn is_delta(event: &Value) -> bool {
    matches!(event["type"].as_str(), Some("content_block_delta" | "response.output_text.delta"))
}

fn message(request: &ModelRequest, block: &Value, deltas: impl IntoIterator<Item = Value>, reason: &str) -> Vec<Value> {
    let start = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": request.model(), "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1},
    });
    let mut events = vec![
        json!({"type": "message_start", "message": start}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    events.extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": null},
            "usage": {"output_tokens": 5},
        }),
        json!({"type": "message_stop"}),
    ]);
    events
}

fn response<'a>(request: &ModelRequest, text: &str, words: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let item = |status: &str, content: Value| -> Value {
        json!({"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content})
    };
    let response = |status: &str, output: Value| -> Value {
        json!({"id": "resp_1", "object": "response", "status": status, "model": request.model(), "output": output})
    };
    let said = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let whole = item("completed", said);
    let mut completed = response("completed", json!([whole]));
    completed["usage"] = json!({
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    });
    let mut events = vec![
        json!({"type": "response.created", "response": response("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([]))}),
    ];
    events.extend(words.map(|word| {
        json!({
            "type": "response.output_text.delta",
            "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word,
        })
    }));
    events.extend([
        json!({"type": "response.output_item.done", "output_index": 0, "item": whole}),
        json!({"type": "response.completed", "response": completed}),
    ]);
    events
}

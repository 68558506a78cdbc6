//! The model's replies, as the events of both APIs.

use serde_json::{Value, json};

use super::request::{Dialect, ModelRequest, STRUCTURED_OUTPUT};

/// The number of characters of the last turn that a reply repeats.
const TAIL: usize = 80;

/// Returns a reply with the number of the user's turns and the end of the last turn. The number shows whether the agent
/// remembered earlier turns.
pub(super) fn text(request: &ModelRequest) -> String {
    let last = request.last_turn();
    let start = last.char_indices().rev().nth(TAIL - 1).map_or(0, |(index, _)| index);
    format!("REPLY n={} last={}", request.turns().len(), &last[start..])
}

/// A part of a reply, for both APIs.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Thinking(String),
    Text(String),
    /// A call of one of the agent's tools.
    Call {
        name: &'static str,
        input: Value,
    },
}

impl Block {
    fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. })
    }
}

/// Returns a call of the agent's shell tool.
pub(super) fn shell(request: &ModelRequest, command: &str) -> Block {
    match request.dialect {
        Dialect::Messages => Block::Call {
            name: "Bash",
            input: json!({"command": command, "description": "Run the command of the test"}),
        },
        Dialect::Responses => Block::Call { name: "exec_command", input: json!({"cmd": command}) },
    }
}

/// Returns a structured answer: for claude a call of a tool, for codex a text.
pub(super) fn structured(request: &ModelRequest, answer: Value) -> Block {
    match request.dialect {
        Dialect::Messages => Block::Call { name: STRUCTURED_OUTPUT, input: answer },
        Dialect::Responses => Block::Text(answer.to_string()),
    }
}

/// Returns the events of an answer. Texts are split into words.
pub(super) fn events(request: &ModelRequest, blocks: &[Block]) -> Vec<Value> {
    match request.dialect {
        Dialect::Messages => message(request, blocks),
        Dialect::Responses => response(request, blocks),
    }
}

/// Returns whether an event is a piece of the answer, after which a slow model pauses.
pub(super) fn is_delta(event: &Value) -> bool {
    matches!(event["type"].as_str(), Some("content_block_delta" | "response.output_text.delta"))
}

/// Returns an ID that is unique in the conversation.
fn id(kind: &str, request: &ModelRequest, index: usize) -> String {
    format!("{kind}_{}_{index}", request.length())
}

fn message(request: &ModelRequest, blocks: &[Block]) -> Vec<Value> {
    let start = json!({
        "id": id("msg", request, 0), "type": "message", "role": "assistant", "model": request.model(), "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1},
    });
    let mut events = vec![json!({"type": "message_start", "message": start})];
    for (index, block) in blocks.iter().enumerate() {
        let (empty, deltas) = match block {
            Block::Thinking(text) => {
                let words = text.split_inclusive(' ').map(|word| json!({"type": "thinking_delta", "thinking": word}));
                let signed = json!({"type": "signature_delta", "signature": "c2lnbmVk"});
                let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
                (empty, words.chain([signed]).collect::<Vec<_>>())
            }
            Block::Text(text) => {
                let words = text.split_inclusive(' ').map(|word| json!({"type": "text_delta", "text": word}));
                (json!({"type": "text", "text": ""}), words.collect())
            }
            Block::Call { name, input } => {
                let empty = json!({"type": "tool_use", "id": id("toolu", request, index), "name": name, "input": {}});
                (empty, vec![json!({"type": "input_json_delta", "partial_json": input.to_string()})])
            }
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.extend(deltas.into_iter().map(delta));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = if blocks.iter().any(Block::is_call) { "tool_use" } else { "end_turn" };
    events.extend([
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": null},
            "usage": {"output_tokens": 5},
        }),
        json!({"type": "message_stop"}),
    ]);
    events
}

fn response(request: &ModelRequest, blocks: &[Block]) -> Vec<Value> {
    let response = |status: &str, output: Value| -> Value {
        json!({"id": "resp_1", "object": "response", "status": status, "model": request.model(), "output": output})
    };
    let mut events = vec![json!({"type": "response.created", "response": response("in_progress", json!([]))})];
    let mut whole = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let (id, place) = (id("item", request, index), ("output_index", index));
        let added = |item: Value| json!({"type": "response.output_item.added", place.0: place.1, "item": item});
        let item = match block {
            Block::Thinking(text) => {
                events.push(added(json!({"type": "reasoning", "id": id, "summary": []})));
                events.push(json!({
                    "type": "response.reasoning_summary_part.added",
                    "item_id": id, place.0: place.1, "summary_index": 0, "part": {"type": "summary_text", "text": ""},
                }));
                events.push(json!({
                    "type": "response.reasoning_summary_text.delta",
                    "item_id": id, place.0: place.1, "summary_index": 0, "delta": text,
                }));
                json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": text}]})
            }
            Block::Text(text) => {
                let item = |status: &str, content: Value| json!({"type": "message", "id": id, "role": "assistant", "status": status, "content": content});
                events.push(added(item("in_progress", json!([]))));
                events.extend(text.split_inclusive(' ').map(|word| {
                    json!({
                        "type": "response.output_text.delta",
                        "item_id": id, place.0: place.1, "content_index": 0, "delta": word,
                    })
                }));
                item("completed", json!([{"type": "output_text", "text": text, "annotations": []}]))
            }
            Block::Call { name, input } => {
                let call = id.replace("item", "call");
                let arguments = input.to_string();
                json!({"type": "function_call", "id": id, "call_id": call, "name": name, "arguments": arguments})
            }
        };
        events.push(json!({"type": "response.output_item.done", place.0: place.1, "item": item}));
        whole.push(item);
    }
    let mut completed = response("completed", json!(whole));
    completed["usage"] = json!({
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    });
    events.push(json!({"type": "response.completed", "response": completed}));
    events
}

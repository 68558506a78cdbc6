//! codex's protocol, as the echo agent implements it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::placement;
use crate::backend::cause::Cause;
use crate::backend::echo::{EchoCall, EchoFailure, EchoOutcome, EchoProtocol, EchoTool, EchoTurn};
use crate::time::twelve_hours;
use crate::ui::json::JsonObject;
use jiff::tz::Offset;

pub(super) const PROTOCOL: EchoProtocol = EchoProtocol {
    parse,
    begin,
    message,
    tool,
    end,
    fail,
    unknown_session: |id| format!("no rollout found for thread id {id}"),
};

fn parse(arguments: &[String]) -> EchoCall {
    let mut call = EchoCall::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned();
        match argument.as_str() {
            "--model" | "-m" => call.model = value(),
            "-o" => call.answer_file = value().map(PathBuf::from),
            "--config" | "-c" | "--enable" | "--disable" | "--image" | "-i" => drop(value()),
            super::SCHEMA_OPTION => call.schema = value().and_then(|path| std::fs::read_to_string(path).ok()),
            "--" => words.extend(rest.by_ref().cloned()),
            option if placement::is_followed_by_value(option) => drop(value()),
            option if option.len() > 1 && option.starts_with('-') => {}
            _ => words.push(argument.clone()),
        }
    }
    let mut words = words.into_iter().peekable();
    call.interactive = words.next_if(|word| word == "exec").is_none();
    let mut next = words.next();
    if let Some("resume" | "fork") = next.as_deref() {
        call.fork = next.as_deref() == Some("fork");
        call.session = words.next();
        next = words.next();
    }
    call.prompt = next.filter(|prompt| prompt != "-");
    call
}

fn event(kind: &str) -> JsonObject {
    JsonObject::new().with("type", kind)
}

fn begin(turn: &EchoTurn<'_>) -> Vec<JsonObject> {
    vec![event("thread.started").with("thread_id", turn.id), event("turn.started")]
}

/// Returns the beginning of an item.
fn item(turn: &EchoTurn<'_>, kind: &str) -> JsonObject {
    JsonObject::new().with("id", format!("item_{}", turn.items)).with("type", kind)
}

fn message(turn: &EchoTurn<'_>, text: &str) -> Vec<JsonObject> {
    vec![event("item.completed").with_object("item", item(turn, "agent_message").with("text", text))]
}

fn tool(turn: &EchoTurn<'_>, tool: &EchoTool) -> [Vec<JsonObject>; 2] {
    let (status, output, exit) = match &tool.outcome {
        EchoOutcome::Success(output) => ("completed", output.as_str(), Some(0)),
        EchoOutcome::Failure(output) => ("failed", output.as_str(), Some(1)),
        EchoOutcome::Refused => ("declined", "", None),
    };
    let is_refused = tool.outcome == EchoOutcome::Refused;
    let call = |status: &str, output: &str, exit: Option<i32>| match tool.name.as_str() {
        "Edit" | "Write" if !is_refused => {
            let kind = if tool.name == "Edit" { "update" } else { "add" };
            let changes = json!([{ "path": tool.input, "kind": kind }]);
            item(turn, "file_change").with("changes", changes).with("status", status)
        }
        // codex reports only commands as declined
        "Bash" | "Shell" | "Edit" | "Write" => item(turn, "command_execution")
            .with("command", format!("/bin/bash -lc {}", shell_words::quote(&tool.input)))
            .with("aggregated_output", output)
            .with("exit_code", exit)
            .with("status", status),
        name => {
            let arguments = serde_json::from_str(&tool.input).unwrap_or_else(|_| Value::from(tool.input.as_str()));
            let error = if status == "failed" { json!({ "message": output }) } else { Value::Null };
            let done = status == "completed";
            let result = if done { json!({ "content": [{ "type": "text", "text": output }] }) } else { Value::Null };
            item(turn, "mcp_tool_call")
                .with("server", "echo")
                .with("tool", name)
                .with("arguments", arguments)
                .with("result", result)
                .with("error", error)
                .with("status", status)
        }
    };
    let started = event("item.started").with_object("item", call("in_progress", "", None));
    let completed = event("item.completed").with_object("item", call(status, output, exit));
    [vec![started], vec![completed]]
}

/// codex counts tokens over the whole thread.
fn end(turn: &EchoTurn<'_>, _answer: &str) -> Vec<JsonObject> {
    let tokens = turn.session_tokens;
    let usage = JsonObject::new().with("input_tokens", tokens.input).with("output_tokens", tokens.output);
    vec![event("turn.completed").with_object("usage", usage)]
}

/// The messages of codex 0.169.0, and whether it tries again by itself. `{model}` is the model.
const MESSAGES: &[(Cause, &str, bool)] = &[
    (
        Cause::Authentication,
        "unexpected status 401 Unauthorized: Incorrect API key provided, url: http://127.0.0.1/v1/responses",
        true,
    ),
    (Cause::RateLimited, "exceeded retry limit, last status: 429 Too Many Requests", false),
    (Cause::UsageLimit, "Quota exceeded. Check your plan and billing details.", false),
    (Cause::Overloaded, "Selected model is at capacity. Please try a different model.", true),
    (Cause::Network, "Connection failed: error sending request", true),
    (
        Cause::ContextFull,
        "Codex ran out of room in the model's context window. Start a new thread or clear earlier history before retrying.",
        false,
    ),
    (Cause::ModelUnknown, "The model `{model}` does not exist or you do not have access to it.", false),
    (Cause::LimitReached, "budget reached", false),
    (Cause::Safety, "Incomplete response returned, reason: content_filter", false),
    (
        Cause::Other,
        r#"{"error":{"message":"The request is invalid","type":"invalid_request_error","param":null,"code":null}}"#,
        false,
    ),
];

fn fail(turn: &EchoTurn<'_>, cause: Cause, wait: Option<Duration>) -> EchoFailure {
    if cause == Cause::RefusedArguments {
        let stderr = "Error loading config.toml: unknown variant `bogus`\n".to_owned();
        return EchoFailure { stderr, ..EchoFailure::default() };
    }
    let (_, message, retries) =
        *MESSAGES.iter().find(|(other, ..)| *other == cause).expect("every other cause has a message");
    let message = match (cause, wait) {
        (Cause::RateLimited, Some(wait)) => {
            format!("rate limit exceeded: Rate limit reached. Please try again in {}s.", wait.as_secs_f64())
        }
        // the real one has the local time
        (Cause::UsageLimit, Some(wait)) => {
            let reset = jiff::Timestamp::now().as_second().saturating_add_unsigned(wait.as_secs());
            let reset = jiff::Timestamp::from_second(reset).unwrap_or_default();
            let (clock, is_afternoon) = twelve_hours(Offset::UTC.to_datetime(reset));
            let half = if is_afternoon { "PM" } else { "AM" };
            format!("You’ve hit your usage limit. Upgrade to Pro to continue, or try again at {clock} {half}.")
        }
        _ => message.replace("{model}", turn.call.model.as_deref().unwrap_or("default")),
    };
    let error = |message: &str| event("error").with("message", message);
    let reconnect = retries.then(|| error(&format!("Reconnecting... 1/1 ({message})")));
    let failed = event("turn.failed").with_object("error", JsonObject::new().with("message", message.as_str()));
    let events = reconnect.into_iter().chain([error(&message), failed]).collect();
    EchoFailure { events, ..EchoFailure::default() }
}

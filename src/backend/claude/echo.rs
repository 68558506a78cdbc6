//! claude's protocol, as the echo agent implements it.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::PASSED_OPTIONS;
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
    unknown_session: |id| format!("No conversation found with session ID: {id}"),
};

fn parse(arguments: &[String]) -> EchoCall {
    let mut call = EchoCall::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter().peekable();
    let takes_values = |option: &str| PASSED_OPTIONS.contains(&(option, true));
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned();
        match argument.as_str() {
            "--resume" => call.session = value(),
            "--session-id" => call.new_id = value(),
            "--fork-session" => call.fork = true,
            "--model" => call.model = value(),
            "--effort" => call.effort = value(),
            "--append-system-prompt" => call.role = value(),
            "--append-system-prompt-file" => call.role = value().and_then(|path| std::fs::read_to_string(path).ok()),
            super::SCHEMA_OPTION => call.schema = value(),
            "--output-format" => call.stream = value().as_deref() == Some("stream-json"),
            // what precedes it are values of options
            "--" => words = rest.by_ref().cloned().collect(),
            option if takes_values(option) => while rest.next_if(|word| !word.starts_with('-')).is_some() {},
            flag if flag.starts_with("--") || flag == "-p" => {}
            _ => words.push(argument.clone()),
        }
    }
    call.interactive = !arguments.iter().any(|argument| argument == "-p");
    call.prompt = words.into_iter().next();
    call
}

fn line(kind: &str, turn: &EchoTurn<'_>) -> JsonObject {
    JsonObject::new().with("type", kind).with("session_id", turn.id)
}

fn begin(turn: &EchoTurn<'_>) -> Vec<JsonObject> {
    let init = || JsonObject::new().with("type", "system").with("subtype", "init").with("session_id", turn.id);
    if turn.call.stream { vec![init()] } else { Vec::new() }
}

/// Returns a line with a message of `role` that has one block.
fn block(turn: &EchoTurn<'_>, role: &str, block: Value) -> JsonObject {
    let message = JsonObject::new().with("role", role).with("content", vec![block]);
    JsonObject::new().with("type", role).with_object("message", message).with("session_id", turn.id)
}

fn message(turn: &EchoTurn<'_>, text: &str) -> Vec<JsonObject> {
    if !turn.call.stream {
        return Vec::new();
    }
    vec![block(turn, "assistant", json!({ "type": "text", "text": text }))]
}

/// Returns the input of a tool: the object that the script has, else one with the usual member.
fn input(tool: &EchoTool) -> Value {
    match serde_json::from_str::<Value>(&tool.input) {
        Ok(object @ Value::Object(_)) => object,
        _ => match tool.name.as_str() {
            "Read" | "Write" | "Edit" => json!({ "file_path": tool.input }),
            _ => json!({ "command": tool.input }),
        },
    }
}

fn tool(turn: &EchoTurn<'_>, tool: &EchoTool) -> [Vec<JsonObject>; 2] {
    if !turn.call.stream {
        return [Vec::new(), Vec::new()];
    }
    let id = tool_id(turn.number, turn.items);
    let call = json!({ "type": "tool_use", "id": id, "name": tool.name, "input": input(tool) });
    let result = |content: &str, failed: bool, result: Value| {
        let content = json!({ "type": "tool_result", "content": content, "is_error": failed, "tool_use_id": id });
        block(turn, "user", content).with("tool_use_result", result)
    };
    let ended = match &tool.outcome {
        EchoOutcome::Success(output) => {
            vec![result(output, false, json!({ "stdout": output, "stderr": "", "interrupted": false }))]
        }
        EchoOutcome::Failure(output) => {
            let words = if tool.name == "Bash" { format!("Exit code 1\n{output}") } else { output.clone() };
            vec![result(&words, true, format!("Error: {words}").into())]
        }
        EchoOutcome::Refused => {
            let words = format!("Claude requested permissions to use {}, but you haven't granted it yet.", tool.name);
            let denied = JsonObject::new()
                .with("type", "system")
                .with("subtype", "permission_denied")
                .with("tool_name", tool.name.as_str())
                .with("tool_use_id", id.as_str())
                .with("message", words.as_str())
                .with("session_id", turn.id);
            vec![denied, result(&words, true, format!("Error: {words}").into())]
        }
    };
    [vec![block(turn, "assistant", call)], ended]
}

fn tool_id(turn: usize, item: usize) -> String {
    format!("toolu_{turn}_{item}")
}

/// Returns the calls that were refused, as a result lists them.
fn denials(turn: &EchoTurn<'_>) -> Vec<Value> {
    let denial = |(at, tool): &(usize, EchoTool)| json!({ "tool_name": tool.name, "tool_use_id": tool_id(turn.number, *at), "tool_input": input(tool) });
    turn.refused.iter().map(denial).collect()
}

/// Adds the tokens that a script reports.
fn with_usage(result: JsonObject, turn: &EchoTurn<'_>) -> JsonObject {
    let Some(tokens) = turn.tokens else { return result };
    let usage = json!({
        "input_tokens": tokens.input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": tokens.output,
    });
    result.with("usage", usage)
}

fn end(turn: &EchoTurn<'_>, answer: &str) -> Vec<JsonObject> {
    let result = JsonObject::new()
        .with("type", "result")
        .with("subtype", "success")
        .with("is_error", false)
        .with("num_turns", turn.number)
        .with("result", answer)
        .with("session_id", turn.id);
    // a schema makes the model answer by a tool
    let structured = turn.call.schema.as_ref().and_then(|_| serde_json::from_str::<Value>(answer).ok());
    let result = match structured {
        Some(structured @ Value::Object(_)) => result.with("structured_output", structured),
        _ => result,
    };
    let denials = denials(turn);
    let result = if denials.is_empty() { result } else { result.with("permission_denials", denials) };
    vec![with_usage(result, turn)]
}

/// A failure of the API, as claude 2.1.330 reports it.
struct ApiFailure {
    cause: Cause,
    status: Option<u16>,
    error_type: Option<&'static str>,
    error: Option<&'static str>,
    terminal_reason: &'static str,
    stop_reason: &'static str,
    /// The class in the stream.
    class: &'static str,
    /// `{model}` is the model, `{reset}` the time of the reset.
    result: &'static str,
    /// Whether claude tries again by itself.
    retries: bool,
}

const API_FAILURES: &[ApiFailure] = &[
    ApiFailure {
        cause: Cause::Authentication,
        status: Some(401),
        error_type: Some("authentication_error"),
        class: "authentication_failed",
        result: "Invalid API key · Fix external API key",
        retries: true,
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::RateLimited,
        status: Some(429),
        error_type: Some("rate_limit_error"),
        class: "rate_limit",
        result: "API Error: Request rejected (429) · This request would exceed the rate limit",
        retries: true,
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::UsageLimit,
        status: Some(400),
        error_type: Some("invalid_request_error"),
        class: "billing_error",
        result: "Credit balance is too low",
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::Overloaded,
        status: Some(529),
        error_type: Some("overloaded_error"),
        class: "server_error",
        result: "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.",
        retries: true,
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::Network,
        error: Some("connection_failed"),
        class: "server_error",
        result: "API Error: Connection refused (ECONNREFUSED)",
        retries: true,
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::ContextFull,
        status: Some(400),
        error_type: Some("invalid_request_error"),
        terminal_reason: "prompt_too_long",
        class: "invalid_request",
        result: "Prompt is too long",
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::ModelUnknown,
        status: Some(404),
        error_type: Some("not_found_error"),
        class: "model_not_found",
        result: "There's an issue with the selected model ({model}). It may not exist or you may not have access to \
                 it. Run --model to pick a different model.",
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::Safety,
        stop_reason: "refusal",
        class: "invalid_request",
        result: "API Error: safeguards flagged this message",
        ..PLAIN
    },
    ApiFailure {
        cause: Cause::Other,
        status: Some(400),
        error_type: Some("invalid_request_error"),
        result: "API Error: 400 The request is invalid",
        ..PLAIN
    },
];

/// The usage limit of a subscription, which has a time of reset.
const SUBSCRIPTION_LIMIT: ApiFailure = ApiFailure {
    cause: Cause::UsageLimit,
    status: Some(429),
    error_type: Some("rate_limit_error"),
    error: Some("usage_limit_reached"),
    class: "rate_limit",
    result: "You've hit your 5-hour limit · resets {reset} (UTC)",
    ..PLAIN
};

const PLAIN: ApiFailure = ApiFailure {
    cause: Cause::Other,
    status: None,
    error_type: None,
    error: None,
    terminal_reason: "api_error",
    stop_reason: "stop_sequence",
    class: "unknown",
    result: "",
    retries: false,
};

fn fail(turn: &EchoTurn<'_>, cause: Cause, wait: Option<Duration>) -> EchoFailure {
    let failure = match (cause, wait) {
        (Cause::RefusedArguments, _) => {
            let stderr = "Error: Invalid MCP configuration: the file cannot be found\n".to_owned();
            return EchoFailure { stderr, ..EchoFailure::default() };
        }
        (Cause::LimitReached, _) => {
            let result = JsonObject::new()
                .with("type", "result")
                .with("subtype", "error_max_turns")
                .with("is_error", true)
                .with("num_turns", 2)
                .with("session_id", turn.id)
                .with("permission_denials", denials(turn))
                .with("terminal_reason", "max_turns")
                .with("errors", vec!["Reached maximum number of turns (1)"]);
            return EchoFailure { events: vec![with_usage(result, turn)], ..EchoFailure::default() };
        }
        (Cause::UsageLimit, Some(_)) => &SUBSCRIPTION_LIMIT,
        _ => API_FAILURES.iter().find(|failure| failure.cause == cause).unwrap_or(&PLAIN),
    };
    let reset = jiff::Timestamp::now().as_second().saturating_add_unsigned(wait.unwrap_or_default().as_secs());
    let text = failure.result.replace("{model}", turn.call.model.as_deref().unwrap_or("default"));
    let text = text.replace("{reset}", &clock(reset));
    let mut events = Vec::new();
    if turn.call.stream {
        events.extend(stream_of(turn, failure, wait, reset, &text));
    }
    let result = JsonObject::new()
        .with("type", "result")
        .with("subtype", "success")
        .with("is_error", true)
        .with("num_turns", 1)
        .with("result", text)
        .with("stop_reason", failure.stop_reason)
        .with("session_id", turn.id)
        .with("permission_denials", denials(turn))
        .with("terminal_reason", failure.terminal_reason);
    events.push(with_usage(with_codes(result, failure), turn));
    EchoFailure { events, ..EchoFailure::default() }
}

/// Returns what a stream has before the result of a failure.
fn stream_of(
    turn: &EchoTurn<'_>,
    failure: &ApiFailure,
    wait: Option<Duration>,
    reset: i64,
    text: &str,
) -> Vec<JsonObject> {
    let mut events = Vec::new();
    if failure.retries {
        let delay = wait.map_or(500, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let class = if failure.cause == Cause::Overloaded { "overloaded" } else { failure.class };
        let retry = JsonObject::new()
            .with("type", "system")
            .with("subtype", "api_retry")
            .with("attempt", 1)
            .with("max_retries", 1)
            .with("retry_delay_ms", delay)
            .with("error_status", failure.status)
            .with("error", if failure.status.is_none() { "unknown" } else { class });
        events.push(retry.with("session_id", turn.id));
    }
    if failure.error == SUBSCRIPTION_LIMIT.error {
        let info = json!({ "status": "rejected", "resetsAt": reset, "rateLimitType": "five_hour" });
        events.push(line("rate_limit_event", turn).with("rate_limit_info", info));
    }
    let content = json!([{ "type": "text", "text": text }]);
    let message = JsonObject::new()
        .with("model", "<synthetic>")
        .with("role", "assistant")
        .with("stop_reason", failure.stop_reason)
        .with("content", content);
    let message = line("assistant", turn)
        .with_object("message", message)
        .with("error", failure.class)
        .with("is_api_error_message", true);
    events.push(with_codes(message, failure));
    events
}

/// Adds the codes of the API, of which claude leaves out those that there are not.
fn with_codes(object: JsonObject, failure: &ApiFailure) -> JsonObject {
    object
        .with("api_error_status", failure.status)
        .with_some("api_error_type", failure.error_type)
        .with_some("api_error", failure.error)
}

/// Returns a time of the day in UTC, such as `12:34pm`.
fn clock(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let (clock, is_afternoon) = twelve_hours(Offset::UTC.to_datetime(time));
    format!("{clock}{}", if is_afternoon { "pm" } else { "am" })
}

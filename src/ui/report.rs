//! Formats an error for standard error, as text or JSON (contract section 7).

use super::color::{Style, label};
use super::json::{JsonObject, to_line};
use super::terminal::escape_control;
use crate::error::{Error, ErrorFormat};
use crate::session::AgentSessionId;

/// Returns the text of `error`. `colored` is for people only.
pub(super) fn render(error: &Error, format: ErrorFormat, colored: bool) -> String {
    match format {
        ErrorFormat::Text => to_text(error, colored),
        ErrorFormat::Json => to_json(error),
    }
}

fn to_text(error: &Error, colored: bool) -> String {
    let line = |what: &str, color: Style, text: String| format!("{} {text}\n", label(color, what, colored));
    let causes = error.causes.iter().map(|cause| line("caused by:", Style::Red, escaped_lines(cause, "\n  ")));
    let hint = error.hint.iter().map(|hint| line("hint:", Style::Cyan, escape_control(hint)));
    std::iter::once(line("error:", Style::Red, escape_control(&error.message))).chain(causes).chain(hint).collect()
}

/// Returns the lines of a cause, which may be an agent's text, with control characters escaped.
fn escaped_lines(cause: &str, separator: &str) -> String {
    cause.lines().map(escape_control).collect::<Vec<_>>().join(separator)
}

fn to_json(error: &Error) -> String {
    let cause = error.turn.cause.as_ref();
    let in_history = error.turn.prompt_in_history.or((!error.turn.started).then_some(false));
    let causes = error.causes.iter().map(|cause| format!(": {}", escaped_lines(cause, "\n")));
    let message = escape_control(&error.message) + &causes.collect::<String>();
    let object = JsonObject::new()
        .with("kind", error.kind.name())
        .with("message", message)
        .with("hint", error.hint.as_deref().map(escape_control))
        .with("exit_code", error.exit_status())
        .with("agent_exit_code", error.turn.agent_exit_status)
        .with("session_id", error.turn.session_id.as_ref().map(AgentSessionId::as_str))
        .with("turn_started", error.turn.started)
        .with("prompt_in_history", in_history)
        .with("cause", cause.map(|cause| cause.name))
        .with("retryable", cause.is_some_and(|cause| cause.retryable))
        .with("retry_at", cause.and_then(|cause| cause.retry_at).map(|at| at.to_string()))
        .with_raw("agent", error.turn.verdict.as_deref());
    format!("{}\n", to_line(&JsonObject::new().with_object("error", object)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn text_has_a_line_each_for_the_message_the_cause_and_the_hint() {
        let error = Error::usage("cannot read\nx").caused_by("gone").with_hint("look");
        assert_eq!(to_text(&error, false), "error: cannot read\\nx\ncaused by: gone\nhint: look\n");
    }

    #[test]
    fn lines_of_a_cause_stay_lines() {
        let error = Error::usage("failed").caused_by("one\nerror: two\r\n\u{1b}[2J").caused_by("three");
        let text = "error: failed\ncaused by: one\n  error: two\n  \\u{1b}[2J\ncaused by: three\n";
        assert_eq!(to_text(&error, false), text);
        let message = r#""message": "failed: one\nerror: two\n\\u{1b}[2J: three""#;
        assert!(to_json(&error).contains(message), "{}", to_json(&error));
    }

    #[test]
    fn json_has_every_key_on_one_line() {
        let error = Error::new(ErrorKind::Interrupted(15), "stopped").caused_by("by hand").with_turn_started();
        assert_eq!(
            to_json(&error),
            "{\"error\": {\"kind\": \"interrupted\", \"message\": \"stopped: by hand\", \"hint\": null, \
             \"exit_code\": 143, \"agent_exit_code\": null, \"session_id\": null, \"turn_started\": true, \
             \"prompt_in_history\": null, \"cause\": null, \"retryable\": false, \"retry_at\": null, \
             \"agent\": null}}\n"
        );
    }
}

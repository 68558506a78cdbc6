//! Formats an error for standard error, as text or JSON (contract section 7).

use super::json::{JsonObject, to_line};
use super::terminal::escape_control;
use crate::error::{Error, ErrorFormat};
use crate::session::AgentSessionId;

/// Returns the text of `error`.
pub(super) fn render(error: &Error, format: ErrorFormat) -> String {
    match format {
        ErrorFormat::Text => to_text(error),
        ErrorFormat::Json => to_json(error),
    }
}

fn to_text(error: &Error) -> String {
    let line = |what: &str, text: &String| format!("{what}: {}\n", escape_control(text));
    let causes = error.causes.iter().map(|cause| line("caused by", cause));
    let hint = error.hint.iter().map(|hint| line("hint", hint));
    std::iter::once(line("error", &error.message)).chain(causes).chain(hint).collect()
}

fn to_json(error: &Error) -> String {
    let object = JsonObject::new()
        .with("kind", error.kind.name())
        .with("message", escape_control(&error.to_single_line()))
        .with("hint", error.hint.as_deref().map(escape_control))
        .with("exit_code", error.kind.exit_status())
        .with("agent_exit_code", error.turn.agent_exit_status)
        .with("session_id", error.turn.session_id.as_ref().map(AgentSessionId::as_str))
        .with("turn_started", error.turn.started)
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
        assert_eq!(to_text(&error), "error: cannot read\\nx\ncaused by: gone\nhint: look\n");
    }

    #[test]
    fn json_has_every_key_on_one_line() {
        let error = Error::new(ErrorKind::Interrupted(15), "stopped").caused_by("by hand").with_turn_started();
        assert_eq!(
            to_json(&error),
            "{\"error\": {\"kind\": \"interrupted\", \"message\": \"stopped: by hand\", \"hint\": null, \
             \"exit_code\": 143, \"agent_exit_code\": null, \"session_id\": null, \"turn_started\": true, \
             \"agent\": null}}\n"
        );
    }
}

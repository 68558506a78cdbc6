//! Why a turn of claude failed. Fields and codes of its result decide before any text.
//!
//! The shapes were recorded from claude 2.1.329 against a model API that fails in the vendor's published ways.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::backend::cause::{Cause, Diagnosis, Evidence, next_time};
use crate::json::Members;

/// How the first line of standard error begins if claude does not accept its arguments or configuration. It then prints
/// nothing else and sends nothing.
const REFUSALS: &[&str] = &[
    "error: unknown option",
    "error: option '",
    "Error: Invalid MCP configuration",
    "Error: --json-schema is not valid JSON",
    "Error: Invalid session ID",
    "Error: Session ID ",
];

/// What claude prints on standard error, and in the errors of a stream's result, for a session that it does not have.
const UNKNOWN_SESSION: &str = "No conversation found with session ID";

/// Returns why the run failed.
pub(super) fn diagnose(evidence: &Evidence<'_>) -> Diagnosis {
    if evidence.reason.contains(UNKNOWN_SESSION) {
        return Diagnosis::unknown_session();
    }
    let Some(result) = evidence.verdict.and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok()) else {
        return without_result(evidence);
    };
    let field = |name| result.text(name).unwrap_or_default();
    let status = result.get("api_error_status").and_then(|raw| raw.get().parse::<u16>().ok());
    let text = field("result");
    let cause = cause(&Fields {
        status,
        kind: &field("api_error_type"),
        error: &field("api_error"),
        terminal: &field("terminal_reason"),
        subtype: &field("subtype"),
        stop: &field("stop_reason"),
        text: &text,
    });
    let retry_at = match cause {
        Cause::UsageLimit => evidence.retry_at.or_else(|| reset_time(&text, evidence.now)),
        _ => None,
    };
    // claude checks its login and the size of the prompt before the first request
    let sent = status.is_some() || !(text.starts_with("Not logged in") || field("terminal_reason") == "blocking_limit");
    match cause {
        Cause::Other if status.is_none() => Diagnosis { in_history: None, ..Diagnosis::api_failure(cause) },
        _ => Diagnosis { retry_at, reached_model: sent, ..Diagnosis::api_failure(cause) },
    }
}

/// Returns what to do about a cause.
pub(super) fn hint(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::Authentication => "log in with 'claude /login', or check the key in ANTHROPIC_API_KEY",
        Cause::RateLimited | Cause::Overloaded => "try again later",
        Cause::UsageLimit => "check the plan and the credit of the account",
        Cause::Network => "check the network, the proxy and ANTHROPIC_BASE_URL, then try again",
        Cause::ContextFull => "start a new session with create-session, or send a shorter prompt",
        Cause::ModelUnknown => "check --model: the model does not exist, or the account has no access to it",
        Cause::LimitReached => "raise the limit, then resume the session",
        Cause::RefusedArguments => "run 'invoke-persist doctor' to check the options of this claude",
        Cause::Safety => "change the prompt",
        Cause::Other => return None,
    })
}

/// The fields of a result that decide.
struct Fields<'a> {
    /// The status of the HTTP response.
    status: Option<u16>,
    /// `api_error_type`: the type in the body of the response.
    kind: &'a str,
    /// `api_error`: claude's name for the failure.
    error: &'a str,
    terminal: &'a str,
    subtype: &'a str,
    stop: &'a str,
    text: &'a str,
}

fn cause(fields: &Fields<'_>) -> Cause {
    match fields.terminal {
        "prompt_too_long" | "blocking_limit" | "rapid_refill_breaker" => return Cause::ContextFull,
        "max_turns" | "budget_exhausted" => return Cause::LimitReached,
        _ => {}
    }
    match fields.subtype {
        "error_max_turns" | "error_max_budget_usd" => return Cause::LimitReached,
        _ => {}
    }
    match fields.error {
        "usage_limit_reached" | "model_requires_usage_credits" | "long_context_credits_required" => {
            return Cause::UsageLimit;
        }
        "connection_failed" | "stream_idle_timeout" | "no_response" => return Cause::Network,
        "provider_credentials" | "api_key_auth_disabled" => return Cause::Authentication,
        "message_over_context_limit" => return Cause::ContextFull,
        _ => {}
    }
    if fields.stop == "refusal" {
        return Cause::Safety;
    }
    match (fields.status, fields.kind) {
        (_, "billing_error") | (Some(402), _) => Cause::UsageLimit,
        (Some(400), _) if fields.text.starts_with("Credit balance is too low") => Cause::UsageLimit,
        (Some(401 | 403), _) => Cause::Authentication,
        (Some(404), "not_found_error") => Cause::ModelUnknown,
        (Some(413), _) => Cause::ContextFull,
        (Some(429), _) => Cause::RateLimited,
        (Some(500..), _) => Cause::Overloaded,
        (None, _) if fields.text.starts_with("Not logged in") => Cause::Authentication,
        (None, _) if fields.text.starts_with("Request timed out") => Cause::Network,
        _ => Cause::Other,
    }
}

fn without_result(evidence: &Evidence<'_>) -> Diagnosis {
    let stderr = String::from_utf8_lossy(evidence.stderr);
    let refused = |line: &str| REFUSALS.iter().any(|beginning| line.starts_with(beginning));
    if evidence.lines == 0 && evidence.exit_status == Some(1) && stderr.lines().any(refused) {
        return Diagnosis::not_sent(Cause::RefusedArguments);
    }
    Diagnosis::unknown()
}

/// Returns the time in a sentence such as "You've hit your 5-hour limit · resets 12:34pm (UTC)".
fn reset_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (time, rest) = text.split_once("· resets ")?.1.split_once(" (")?;
    let zone = TimeZone::get(rest.split_once(')')?.0).ok()?;
    next_time(time, now, &zone)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-11-21T10:00:00Z";

    fn nothing() -> Evidence<'static> {
        let now = NOW.parse().unwrap();
        Evidence { verdict: None, reason: "", retry_at: None, stderr: b"", exit_status: Some(1), lines: 0, now }
    }

    fn diagnosis(result: &Value) -> Diagnosis {
        let raw = RawValue::from_string(result.to_string()).unwrap();
        diagnose(&Evidence {
            verdict: Some(&raw),
            reason: "",
            retry_at: None,
            stderr: b"",
            exit_status: Some(1),
            lines: 1,
            now: NOW.parse().unwrap(),
        })
    }

    /// Returns a result in the shape of claude 2.1.329 for a response of its API.
    fn failed(status: Option<u16>, kind: &str, error: &str, terminal: &str, text: &str) -> Value {
        let mut result = json!({
            "type": "result",
            "subtype": "success",
            "is_error": true,
            "stop_reason": "stop_sequence",
            "api_error_status": status,
            "terminal_reason": terminal,
            "result": text,
        });
        for (name, value) in [("api_error_type", kind), ("api_error", error)] {
            if !value.is_empty() {
                result[name] = value.into();
            }
        }
        result
    }

    #[test]
    fn each_failure_of_the_api_has_a_cause() {
        use Cause::*;
        for (status, kind, error, terminal, text, cause) in [
            (
                Some(401),
                "authentication_error",
                "",
                "api_error",
                "Invalid API key · Fix external API key",
                Authentication,
            ),
            (
                Some(403),
                "permission_error",
                "",
                "api_error",
                "Failed to authenticate. API Error: 403 no",
                Authentication,
            ),
            (None, "", "", "api_error", "Not logged in · Please run /login", Authentication),
            (
                Some(404),
                "not_found_error",
                "",
                "api_error",
                "There's an issue with the selected model (m).",
                ModelUnknown,
            ),
            (Some(404), "other_error", "", "api_error", "API Error: 404 page", Other),
            (Some(400), "invalid_request_error", "", "prompt_too_long", "Prompt is too long", ContextFull),
            (None, "", "", "blocking_limit", "Prompt is too long", ContextFull),
            (Some(400), "invalid_request_error", "", "api_error", "API Error: 400 port 401", Other),
            (Some(400), "invalid_request_error", "", "api_error", "Credit balance is too low", UsageLimit),
            (Some(402), "billing_error", "", "api_error", "API Error: 402 pay", UsageLimit),
            (Some(413), "request_too_large", "", "image_error", "Request too large (max 32MB)", ContextFull),
            (Some(429), "rate_limit_error", "", "api_error", "API Error: Request rejected (429) · slow", RateLimited),
            (Some(429), "rate_limit_error", "usage_limit_reached", "api_error", "You've hit your limit", UsageLimit),
            (Some(500), "api_error", "", "api_error", "API Error: 500 Internal server error.", Overloaded),
            (Some(503), "api_error", "", "api_error", "API Error: 503", Overloaded),
            (Some(529), "overloaded_error", "", "api_error", "API Error: 529 Overloaded.", Overloaded),
            (None, "", "connection_failed", "api_error", "API Error: Connection refused (ECONNREFUSED)", Network),
            (None, "", "", "api_error", "Request timed out.", Network),
            (None, "", "", "api_error", "API Error: API returned an empty or malformed response (HTTP 200)", Other),
            (None, "", "max_output_tokens", "api_error", "API Error: Claude's response exceeded the maximum", Other),
        ] {
            assert_eq!(diagnosis(&failed(status, kind, error, terminal, text)).cause, cause, "{status:?} {text}");
        }
        let mut refusal = failed(None, "", "", "api_error", "API Error: safeguards flagged this message");
        refusal["stop_reason"] = "refusal".into();
        assert_eq!(diagnosis(&refusal).cause, Safety);
        for (subtype, terminal) in [("error_max_turns", "max_turns"), ("error_max_budget_usd", "budget_exhausted")] {
            let result =
                json!({"type": "result", "subtype": subtype, "terminal_reason": terminal, "errors": ["limit"]});
            assert_eq!(diagnosis(&result).cause, LimitReached);
        }
    }

    #[test]
    fn prompt_of_a_failed_request_is_in_the_history() {
        let limited = diagnosis(&failed(Some(429), "rate_limit_error", "", "api_error", "x"));
        assert_eq!((limited.reached_model, limited.in_history, limited.is_retryable()), (true, Some(true), true));
        let login = diagnosis(&failed(None, "", "", "api_error", "Not logged in · Please run /login"));
        assert_eq!((login.reached_model, login.in_history, login.is_retryable()), (false, Some(true), false));
        let reason = "No conversation found with session ID: x";
        let evidence = Evidence { reason, verdict: None, ..nothing() };
        assert_eq!(diagnose(&evidence), Diagnosis::unknown_session());
        let unknown = diagnosis(&json!({"type": "result", "subtype": "error_during_execution", "errors": ["x"]}));
        assert_eq!((unknown.cause, unknown.reached_model, unknown.in_history), (Cause::Other, true, None));
    }

    #[test]
    fn usage_limit_is_retryable_if_its_end_is_known() {
        let limit =
            |text: &str| diagnosis(&failed(Some(429), "rate_limit_error", "usage_limit_reached", "api_error", text));
        for (text, retry_at) in [
            ("You've hit your 5-hour limit · resets 12:34pm (UTC)", Some("2026-11-21T12:34:00Z")),
            ("You've hit your 5-hour limit · resets 8am (UTC)", Some("2026-11-22T08:00:00Z")),
            ("You've hit your 5-hour limit · resets 9:59am (UTC)", Some("2026-11-21T09:59:00Z")),
            ("You've hit your 5-hour limit · resets 12am (Etc/GMT-1)", Some("2026-11-21T23:00:00Z")),
            ("You've hit your limit", None),
            ("You've hit your weekly limit · resets Nov 28, 1pm (UTC)", None),
            ("You've hit your limit · resets 25:00pm (UTC)", None),
            ("You've hit your limit · resets 1pm (Nowhere/City)", None),
        ] {
            let diagnosis = limit(text);
            assert_eq!(diagnosis.retry_at, retry_at.map(|at| at.parse().unwrap()), "{text}");
            assert_eq!(diagnosis.is_retryable(), retry_at.is_some());
        }
    }

    #[test]
    fn refused_arguments_are_found_on_standard_error() {
        let diagnosis = |stderr: &str, lines| {
            diagnose(&Evidence {
                verdict: None,
                reason: "",
                retry_at: None,
                stderr: stderr.as_bytes(),
                exit_status: Some(1),
                lines,
                now: NOW.parse().unwrap(),
            })
        };
        for stderr in [
            "error: unknown option '--effort'\n",
            "error: option '--permission-mode <mode>' argument 'x' is invalid.\n",
            "Error: Invalid MCP configuration: x\n",
            "Error: --json-schema is not valid JSON: x",
            "Error: Session ID 0f12c83d is already in use.",
        ] {
            assert_eq!(diagnosis(stderr, 0), Diagnosis::not_sent(Cause::RefusedArguments), "{stderr}");
            assert_eq!(diagnosis(stderr, 1), Diagnosis::unknown(), "{stderr}");
        }
        assert_eq!(diagnosis("it crashed: error: unknown option", 0), Diagnosis::unknown());
    }
}

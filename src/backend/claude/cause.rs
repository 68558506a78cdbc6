//! Why a turn of claude failed. Fields and codes of its result decide before any text.
//!
//! The shapes were recorded from claude 2.1.330 against a model API that fails in the vendor's published ways.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::features::FEATURES;
use crate::backend::cause::{Cause, Diagnosis, Evidence, next_time};
use crate::backend::support::refusal_hint;
use crate::json::Members;

/// How the first line of standard error begins if claude does not accept its arguments or configuration. It then prints
/// nothing else and sends nothing.
const REFUSALS: &[&str] = &[
    "error: unknown option",
    "error: option '",
    "Error: Invalid MCP configuration",
    "Error: --json-schema ",
    "Error: Invalid session ID",
    "Error: Session ID ",
];

/// What claude prints on standard error, and in the errors of a stream's result, for a session that it does not have.
const UNKNOWN_SESSION: &str = "No conversation found with session ID";

/// How the text of a result begins, for results without a field that decides. Most are from releases before 2.1.330.
const TEXTS: &[(&str, Cause)] = &[
    ("Not logged in", Cause::Authentication),
    ("Invalid API key · Fix external API key", Cause::Authentication),
    ("There's an issue with the selected model (", Cause::ModelUnknown),
    ("Credit balance is too low", Cause::UsageLimit),
    ("Request timed out", Cause::Network),
    ("API Error: Connection error.", Cause::Network),
    ("API Error: Connection dropped", Cause::Network),
    ("API Error: Unable to connect to API", Cause::Network),
];

/// Returns why the run failed.
pub(super) fn diagnose(evidence: &Evidence<'_>) -> Diagnosis {
    if evidence.reason.contains(UNKNOWN_SESSION) {
        return Diagnosis::unknown_session();
    }
    let Some(result) = evidence.verdict.and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok()) else {
        return without_result(evidence);
    };
    let field = |name| result.text(name).unwrap_or_default();
    let text = field("result");
    let (status, kind) = match result.get("api_error_status") {
        Some(raw) => (raw.get().parse::<u16>().ok(), field("api_error_type")),
        None => response(&text).map_or((None, String::new()), |(status, kind)| (Some(status), kind)),
    };
    let cause = cause(&Fields {
        status,
        kind: &kind,
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
        (Some(401 | 403), _) => Cause::Authentication,
        (Some(404), "not_found_error") => Cause::ModelUnknown,
        (Some(413), _) => Cause::ContextFull,
        (Some(429), _) => Cause::RateLimited,
        (Some(500..), _) => Cause::Overloaded,
        _ => {
            let known = TEXTS.iter().find(|(beginning, _)| fields.text.starts_with(beginning));
            known.map_or(Cause::Other, |(_, cause)| *cause)
        }
    }
}

/// Returns the status of the HTTP response and the type in its body, which are in the text of releases that report no
/// status.
fn response(text: &str) -> Option<(u16, String)> {
    let text = text.strip_prefix("Failed to authenticate. ").unwrap_or(text);
    let (status, body) = text.strip_prefix("API Error: ")?.split_once(' ')?;
    let status = status.parse().ok().filter(|status| (400..600).contains(status))?;
    let body = serde_json::Deserializer::from_str(body).into_iter::<serde_json::Value>().next();
    let kind = body.and_then(Result::ok).and_then(|body| body["error"]["type"].as_str().map(str::to_owned));
    Some((status, kind.unwrap_or_default()))
}

fn without_result(evidence: &Evidence<'_>) -> Diagnosis {
    let stderr = String::from_utf8_lossy(evidence.stderr);
    let refused = |line: &str| REFUSALS.iter().any(|beginning| line.starts_with(beginning));
    if evidence.lines == 0 && evidence.exit_status == Some(1) && stderr.lines().any(refused) {
        let option = stderr.lines().find_map(unknown_option);
        let hint = option.map(|option| refusal_hint("claude", FEATURES, Some(option), evidence.extra));
        return Diagnosis { hint, ..Diagnosis::not_sent(Cause::RefusedArguments) };
    }
    Diagnosis::unknown()
}

/// Returns the option that a line of standard error reports as unknown, without its value.
fn unknown_option(line: &str) -> Option<&str> {
    let (argument, _) = line.strip_prefix("error: unknown option '")?.split_once('\'')?;
    Some(argument.split_once('=').map_or(argument, |(option, _)| option))
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
    use crate::backend::SessionMode;

    const NOW: &str = "2026-11-21T10:00:00Z";

    fn nothing() -> Evidence<'static> {
        let now = NOW.parse().unwrap();
        Evidence {
            verdict: None,
            code: None,
            reason: "",
            retry_at: None,
            stderr: b"",
            exit_status: Some(1),
            lines: 0,
            now,
            session: SessionMode::New,
            extra: &[],
        }
    }

    fn diagnosis(result: &Value) -> Diagnosis {
        let raw = RawValue::from_string(result.to_string()).unwrap();
        diagnose(&Evidence { verdict: Some(&raw), lines: 1, ..nothing() })
    }

    /// Returns a result in the shape of claude 2.1.330 for a response of its API.
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

    /// The results were recorded from claude 2.0.50, 2.1.48 and 2.1.268.
    #[test]
    fn results_of_older_releases_have_causes() {
        use Cause::*;
        let body = |kind: &str| json!({"type": "error", "error": {"type": kind, "message": "429"}});
        for (start, kind, end, cause) in [
            ("Invalid API key · Fix external API key", "", "", Authentication),
            ("API Error: 403 ", "permission_error", " · Please run /login", Authentication),
            ("Failed to authenticate. API Error: 403 ", "permission_error", "", Authentication),
            ("There's an issue with the selected model (m).", "", "", ModelUnknown),
            ("API Error: 404 ", "not_found_error", "", ModelUnknown),
            ("API Error: 404 ", "other_error", "", Other),
            ("API Error: 400 ", "invalid_request_error", "", Other),
            ("Credit balance is too low", "", "", UsageLimit),
            ("API Error: 402 ", "billing_error", "", UsageLimit),
            ("API Error: 429 ", "rate_limit_error", "", RateLimited),
            ("API Error: 500 ", "api_error", "", Overloaded),
            ("API Error: 529 ", "overloaded_error", "", Overloaded),
            ("API Error: Connection error.", "", "", Network),
            ("API Error: Unable to connect to API (UND_ERR_SOCKET)", "", "", Network),
            ("API Error: 4290 of them", "", "", Other),
            ("API Error: none", "", "", Other),
        ] {
            let body = if kind.is_empty() { String::new() } else { body(kind).to_string() };
            let result = json!({"type": "result", "is_error": true, "result": format!("{start}{body}{end}")});
            let diagnosis = diagnosis(&result);
            assert_eq!(diagnosis.cause, cause, "{result}");
            let in_history = (cause != Other || kind.ends_with("_error")).then_some(true);
            assert_eq!((diagnosis.reached_model, diagnosis.in_history), (true, in_history), "{result}");
        }
        let model = failed(Some(404), "", "", "api_error", "There's an issue with the selected model (m).");
        assert_eq!(diagnosis(&model).cause, ModelUnknown);
        let lost = failed(None, "", "", "api_error", "API Error: Connection dropped (ECONNRESET)");
        assert_eq!(diagnosis(&lost).cause, Network);
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
        let diagnosis = |stderr: &str, lines| diagnose(&Evidence { stderr: stderr.as_bytes(), lines, ..nothing() });
        for stderr in [
            "error: unknown option '--effort'\n",
            "error: option '--permission-mode <mode>' argument 'x' is invalid.\n",
            "Error: Invalid MCP configuration: x\n",
            "Error: --json-schema is not valid JSON: x",
            "Error: --json-schema is not a valid JSON Schema: strict mode: unknown keyword: \"x\"",
            "Error: --json-schema must be a JSON object",
            "Error: Session ID 0f12c83d is already in use.",
        ] {
            let refused = Diagnosis { hint: None, ..diagnosis(stderr, 0) };
            assert_eq!(refused, Diagnosis::not_sent(Cause::RefusedArguments), "{stderr}");
            assert_eq!(diagnosis(stderr, 1), Diagnosis::unknown(), "{stderr}");
        }
        assert_eq!(diagnosis("it crashed: error: unknown option", 0), Diagnosis::unknown());
    }
}

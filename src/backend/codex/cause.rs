//! Why a turn of codex failed.
//!
//! codex's record of the thread has a code, which decides if it is known ([`rollout`](super::rollout)). The events have
//! only a sentence. Most sentences are fixed, so a whole sentence or its fixed beginning decides, never a number or a word
//! in the middle. Both were recorded from codex 0.169.0 against a model API that fails in the vendor's
//! published ways.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::features::{FEATURES, FORK};
use super::output::RECONNECTING;
use super::quirks::{is_option, refused_argument};
use crate::backend::SessionMode;
use crate::backend::cause::{Cause, Diagnosis, Evidence, next_time};
use crate::backend::event::object;
use crate::backend::support::{needs, refusal_hint};
use crate::json::{self, Members};

/// The codes of failed turns that have no details.
const CODES: &[(&str, Cause)] = &[
    ("unauthorized", Cause::Authentication),
    ("usage_limit_exceeded", Cause::UsageLimit),
    ("rate_limit_exceeded", Cause::RateLimited),
    ("server_overloaded", Cause::Overloaded),
    ("internal_server_error", Cause::Overloaded),
    ("context_window_exceeded", Cause::ContextFull),
    ("model_not_found", Cause::ModelUnknown),
    ("session_budget_exceeded", Cause::LimitReached),
    ("cyber_policy", Cause::Safety),
];

/// The codes of failed turns that have the status of the HTTP response, or null if there was no response.
const CODES_WITH_STATUS: &[&str] = &[
    "http_connection_failed",
    "response_stream_connection_failed",
    "response_stream_disconnected",
    "response_too_many_failed_attempts",
];

/// How the sentence of a failed turn begins.
const SENTENCES: &[(&str, Cause)] = &[
    ("unexpected status 401 ", Cause::Authentication),
    ("unexpected status 403 ", Cause::Authentication),
    ("Your access token could not be refreshed", Cause::Authentication),
    // releases of 2025 try again
    ("exceeded retry limit, last status: 401 ", Cause::Authentication),
    ("exceeded retry limit, last status: 403 ", Cause::Authentication),
    ("unexpected status 402 ", Cause::UsageLimit),
    ("Quota exceeded.", Cause::UsageLimit),
    ("You’ve hit your usage limit", Cause::UsageLimit),
    ("You've hit your usage limit", Cause::UsageLimit),
    ("To use Codex with your ChatGPT plan, upgrade to ", Cause::UsageLimit),
    ("exceeded retry limit, last status: 429 ", Cause::RateLimited),
    ("rate limit exceeded: ", Cause::RateLimited),
    ("Selected model is at capacity.", Cause::Overloaded),
    ("We’re currently experiencing high demand", Cause::Overloaded),
    ("We're currently experiencing high demand", Cause::Overloaded),
    ("unexpected status 5", Cause::Overloaded),
    ("exceeded retry limit, last status: 5", Cause::Overloaded),
    ("Codex ran out of room in the model's context window.", Cause::ContextFull),
    ("Connection failed: ", Cause::Network),
    ("stream disconnected before completion: ", Cause::Network),
    ("budget reached", Cause::LimitReached),
    ("Incomplete response returned, reason: content_filter", Cause::Safety),
];

/// How a line of standard error begins if codex does not accept its arguments or configuration. It then prints no event
/// and sends nothing.
const REFUSALS: &[&str] = &[
    "error: unexpected argument ",
    "error: invalid value ",
    "error: a value is required for ",
    "error: the argument ",
    "error: the following required arguments ",
    "Error loading config.toml: ",
    "Error: Error loading config.toml: ",
    "Error: config profile ",
    "Error loading configuration: ",
];

/// Returns why the run failed.
pub(super) fn diagnose(evidence: &Evidence<'_>) -> Diagnosis {
    if evidence.verdict.is_none() {
        return without_event(evidence);
    }
    let sentence = underlying(evidence.reason.trim());
    // the key of a custom provider is read before the first request
    if sentence.starts_with("Missing environment variable: ") {
        return Diagnosis { reached_model: false, ..Diagnosis::api_failure(Cause::Authentication) };
    }
    let known = SENTENCES.iter().copied().find(|(beginning, _)| sentence.starts_with(beginning));
    let cause = match (evidence.code.and_then(cause_of_code), known) {
        (Some(cause), _) | (None, Some((_, cause))) => cause,
        (None, None) if is_unknown_model(sentence) => Cause::ModelUnknown,
        (None, None) => cause_in_response(sentence).unwrap_or(Cause::Other),
    };
    let retry_at = match cause {
        Cause::UsageLimit => reset_time(sentence, evidence.now, &TimeZone::system()),
        Cause::RateLimited => pause(sentence).and_then(|pause| evidence.now.checked_add(pause).ok()),
        _ => None,
    };
    Diagnosis { retry_at, ..Diagnosis::api_failure(cause) }
}

/// Returns the cause that a code means: a name, or an object with a name and details. `None` if that is not enough.
fn cause_of_code(code: &RawValue) -> Option<Cause> {
    if let Some(name) = json::text(code) {
        return CODES.iter().find(|(code, _)| *code == name).map(|(_, cause)| *cause);
    }
    let object = object(code)?;
    let (_, details) = object.0.iter().find(|(name, _)| CODES_WITH_STATUS.contains(&name.as_ref()))?;
    let status = serde_json::from_str::<Members<'_>>(details.get()).ok()?.get("http_status_code")?;
    match serde_json::from_str::<Option<u16>>(status.get()).ok()? {
        None => Some(Cause::Network),
        Some(401 | 403) => Some(Cause::Authentication),
        Some(402) => Some(Cause::UsageLimit),
        Some(429) => Some(Cause::RateLimited),
        Some(500..) => Some(Cause::Overloaded),
        Some(_) => None,
    }
}

/// Returns what to do about a cause.
pub(super) fn hint(cause: Cause) -> Option<&'static str> {
    Some(match cause {
        Cause::Authentication => "log in with 'codex login', or check the key of the provider",
        Cause::RateLimited | Cause::Overloaded => "try again later",
        Cause::UsageLimit => "check the plan and the credit of the account",
        Cause::Network => "check the network and the proxy, then try again",
        Cause::ContextFull => "resume the session: codex then compacts it first",
        Cause::ModelUnknown => "check --model: the model does not exist, or the account has no access to it",
        Cause::LimitReached => "raise the limit, then resume the session",
        Cause::RefusedArguments => "run 'invoke-persist doctor' to check the options of this codex",
        Cause::Safety => "change the prompt",
        Cause::Other => return None,
    })
}

/// Returns the reason for which codex reconnects, if `sentence` reports that, else `sentence`.
fn underlying(sentence: &str) -> &str {
    match sentence.strip_prefix(RECONNECTING) {
        Some("waiting for network") => "Connection failed: ",
        Some(attempt) => attempt.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(attempt),
        None => sentence,
    }
}

/// Returns the cause that the code of a response means. Releases up to 0.105.0 have no code elsewhere. The sentence is the
/// response, and in 0.58.0 the response after the status.
fn cause_in_response(sentence: &str) -> Option<Cause> {
    let after_status = sentence.strip_prefix("unexpected status 4").and_then(|rest| rest.split_once(": "));
    let response = after_status.map_or(sentence, |(_, response)| response);
    let response: serde_json::Value = serde_json::from_str(response).ok()?;
    CODES.iter().find(|(code, _)| response["error"]["code"] == *code).map(|(_, cause)| *cause)
}

/// Returns whether this is the sentence about a model, which names it. Releases before 0.169.0 put the status before it.
fn is_unknown_model(sentence: &str) -> bool {
    let after_status = sentence.strip_prefix("unexpected status 404 Not Found: ");
    let sentence = after_status.and_then(|rest| rest.split_once(", url: ")).map_or(sentence, |(sentence, _)| sentence);
    sentence.starts_with("The model `") && sentence.ends_with("` does not exist or you do not have access to it.")
}

fn without_event(evidence: &Evidence<'_>) -> Diagnosis {
    let stderr = String::from_utf8_lossy(evidence.stderr);
    let begins = |beginnings: &[&str]| stderr.lines().any(|line| beginnings.iter().any(|text| line.starts_with(text)));
    match evidence.lines {
        0 if begins(REFUSALS) => refused(evidence, refused_argument(&stderr)),
        0 if stderr.contains("no rollout found for thread id ") => Diagnosis::unknown_session(),
        _ => Diagnosis::unknown(),
    }
}

/// Returns the diagnosis for arguments or a configuration that codex does not accept.
fn refused(evidence: &Evidence<'_>, argument: Option<&str>) -> Diagnosis {
    let refused = Diagnosis::not_sent(Cause::RefusedArguments);
    let Some(argument) = argument else { return refused };
    let hint = |option| Some(refusal_hint("codex", FEATURES, option, evidence.extra));
    match evidence.session {
        // without the command, its name is the prompt and the ID is one argument too many
        SessionMode::Fork(id) if argument == id.as_str() => {
            let reason = Some(format!("this codex cannot fork: {}", needs("codex", &FORK)));
            Diagnosis { reason, hint: hint(None), ..refused }
        }
        // the prompt, if another word is in its place
        _ if !is_option(argument) && !evidence.extra.is_empty() => {
            let hint = "remove the words after '--' that do not follow an option".to_owned();
            Diagnosis { hint: Some(hint), ..refused }
        }
        _ => Diagnosis { hint: hint(Some(argument)), ..refused },
    }
}

/// Returns the time in a sentence that ends in "try again at 12:35 PM.", in the time zone of the machine.
fn reset_time(sentence: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let (_, time) = sentence.rsplit_once("try again at ")?;
    next_time(time.strip_suffix('.').unwrap_or(time), now, zone)
}

/// Returns the time in a sentence that ends in "try again in 3.5s.".
fn pause(sentence: &str) -> Option<SignedDuration> {
    let (_, rest) = sentence.rsplit_once("try again in ")?;
    let seconds: f64 = rest.strip_suffix('.').unwrap_or(rest).strip_suffix('s')?.parse().ok()?;
    SignedDuration::try_from_secs_f64(seconds).ok().filter(|pause| !pause.is_negative())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn diagnosis(reason: &str) -> Diagnosis {
        let event = json!({"type": "turn.failed", "error": {"message": reason}});
        let raw = RawValue::from_string(event.to_string()).unwrap();
        diagnose(&Evidence { verdict: Some(&raw), reason, lines: 3, ..nothing() })
    }

    fn nothing() -> Evidence<'static> {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
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

    #[test]
    fn each_failure_of_the_api_has_a_cause() {
        use Cause::*;
        for (sentence, cause) in [
            ("unexpected status 401 Unauthorized: no, url: http://h/v1/responses", Authentication),
            ("unexpected status 403 Forbidden: no, url: http://h/v1/responses", Authentication),
            ("exceeded retry limit, last status: 401 Unauthorized", Authentication),
            ("exceeded retry limit, last status: 403 Forbidden, request id: x", Authentication),
            ("Your access token could not be refreshed because your refresh token has expired.", Authentication),
            ("Missing environment variable: `KEY`.", Authentication),
            ("unexpected status 402 Payment Required: pay, url: http://h", UsageLimit),
            ("Quota exceeded. Check your plan and billing details.", UsageLimit),
            ("You’ve hit your usage limit. Upgrade to Pro (u), visit u or try again at 12:35 PM.", UsageLimit),
            ("To use Codex with your ChatGPT plan, upgrade to Plus: u.", UsageLimit),
            ("exceeded retry limit, last status: 429 Too Many Requests", RateLimited),
            ("rate limit exceeded: Please try again in 3.5s.", RateLimited),
            ("Selected model is at capacity. Please try a different model.", Overloaded),
            ("We’re currently experiencing high demand, which may cause temporary errors.", Overloaded),
            ("unexpected status 503 Service Unavailable: no, url: http://h", Overloaded),
            ("unexpected status 529 <unknown status code>: no, url: http://h", Overloaded),
            ("Codex ran out of room in the model's context window. Start a new thread.", ContextFull),
            ("The model `m` does not exist or you do not have access to it.", ModelUnknown),
            (
                "unexpected status 404 Not Found: The model `m` does not exist or you do not have access to it., url: u",
                ModelUnknown,
            ),
            ("unexpected status 404 Not Found: {\"error\":{\"code\":\"model_not_found\"}}", ModelUnknown),
            ("unexpected status 404 Not Found: {\"error\":{\"code\":\"page_not_found\"}}", Other),
            ("unexpected status 404 Not Found: page, url: http://h", Other),
            ("unexpected status 400 Bad Request: {\"error\":{\"code\":\"cyber_policy\",\"message\":\"no\"}}", Safety),
            ("{\"error\":{\"code\":\"cyber_policy\",\"message\":\"no\"}}", Safety),
            ("unexpected status 400 Bad Request: {\"error\":{\"code\":null,\"message\":\"cyber_policy\"}}", Other),
            ("Connection failed: error sending request", Network),
            ("stream disconnected before completion: stream closed before response.completed", Network),
            ("stream disconnected before completion: idle timeout waiting for SSE", Network),
            ("budget reached", LimitReached),
            ("Reconnecting... waiting for network", Network),
            ("Reconnecting... 1/5 (unexpected status 503 Service Unavailable: (no), url: u)", Overloaded),
            ("Incomplete response returned, reason: content_filter", Safety),
            ("Incomplete response returned, reason: max_output_tokens", Other),
            ("{\"error\": {\"message\": \"unexpected status 401 in a body\"}}", Other),
            ("unexpected status 400 Bad Request: port 4290, url: http://h:4011", Other),
            ("", Other),
        ] {
            let diagnosis = diagnosis(sentence);
            assert_eq!(diagnosis.cause, cause, "{sentence}");
            let is_sent = !sentence.starts_with("Missing environment");
            assert_eq!((diagnosis.reached_model, diagnosis.in_history), (is_sent, Some(true)), "{sentence}");
        }
    }

    #[test]
    fn code_decides_before_the_sentence() {
        use Cause::*;
        let status = |name: &str, status: Option<u16>| json!({name: {"http_status_code": status}});
        let http = |code| status("http_connection_failed", code);
        for (code, cause) in [
            (json!("unauthorized"), Authentication),
            (http(Some(401)), Authentication),
            (http(Some(403)), Authentication),
            (json!("usage_limit_exceeded"), UsageLimit),
            (http(Some(402)), UsageLimit),
            (json!("rate_limit_exceeded"), RateLimited),
            (status("response_too_many_failed_attempts", Some(429)), RateLimited),
            (json!("server_overloaded"), Overloaded),
            (json!("internal_server_error"), Overloaded),
            (http(Some(503)), Overloaded),
            (http(Some(529)), Overloaded),
            (http(None), Network),
            (json!("context_window_exceeded"), ContextFull),
            (json!("model_not_found"), ModelUnknown),
            (json!("session_budget_exceeded"), LimitReached),
            (json!("cyber_policy"), Safety),
            // the sentence decides
            (json!("other"), Safety),
            (http(Some(404)), Safety),
            (http(Some(400)), Safety),
            (json!({"new": {"http_status_code": 401}}), Safety),
            (json!({"http_connection_failed": {"http_status_code": "401"}}), Safety),
            (json!({"http_connection_failed": null}), Safety),
            (json!(null), Safety),
            (json!(["unauthorized"]), Safety),
        ] {
            let raw = RawValue::from_string(code.to_string()).unwrap();
            let reason = "Incomplete response returned, reason: content_filter";
            let evidence = Evidence { verdict: Some(&raw), code: Some(&raw), reason, lines: 3, ..nothing() };
            assert_eq!(diagnose(&evidence).cause, cause, "{code}");
        }
        // the sentence has the time
        let code = RawValue::from_string("\"rate_limit_exceeded\"".to_owned()).unwrap();
        let reason = "rate limit exceeded: Please try again in 3.5s.";
        let evidence = Evidence { verdict: Some(&code), code: Some(&code), reason, lines: 3, ..nothing() };
        assert_eq!(diagnose(&evidence).retry_at, "2026-11-21T10:00:03.5Z".parse().ok());
    }

    #[test]
    fn usage_limit_is_retryable_if_its_end_is_known() {
        let now = nothing().now;
        let at = |sentence: &str| reset_time(sentence, now, &TimeZone::UTC);
        assert_eq!(at("You’ve hit your usage limit. Or try again at 12:35 PM."), "2026-11-21T12:35:00Z".parse().ok());
        assert_eq!(at("You’ve hit your usage limit, or try again at 8:05 AM."), "2026-11-22T08:05:00Z".parse().ok());
        for unknown in ["You’ve hit your usage limit.", "try again at Nov 28th, 2026 1:03 PM.", "try again at noon."]
        {
            assert_eq!(at(unknown), None, "{unknown}");
        }
        for (sentence, at) in [
            ("rate limit exceeded: Please try again in 3.5s.", Some("2026-11-21T10:00:03.5Z")),
            ("rate limit exceeded: Please try again in 90s", Some("2026-11-21T10:01:30Z")),
            ("rate limit exceeded: Please try again in -1s.", None),
            ("rate limit exceeded: Please try again in a while.", None),
        ] {
            assert_eq!(diagnosis(sentence).retry_at, at.map(|at| at.parse().unwrap()), "{sentence}");
        }
        assert!(diagnosis("You’ve hit your usage limit, or try again at 9:05 AM.").is_retryable());
        assert!(!diagnosis("Quota exceeded. Check your plan and billing details.").is_retryable());
    }

    #[test]
    fn refused_arguments_are_found_on_standard_error() {
        let diagnosis =
            |stderr: &'static str, lines| diagnose(&Evidence { stderr: stderr.as_bytes(), lines, ..nothing() });
        for stderr in [
            "error: unexpected argument '--sandbox' found\n\n  tip: …\n",
            "error: invalid value 'x' for '--sandbox <SANDBOX_MODE>'\n",
            "error: a value is required for '--sandbox <SANDBOX_MODE>' but none was supplied\n",
            "Error loading config.toml: invalid type\n",
        ] {
            let refused = Diagnosis { hint: None, ..diagnosis(stderr, 0) };
            assert_eq!(refused, Diagnosis::not_sent(Cause::RefusedArguments), "{stderr}");
            assert_eq!(diagnosis(stderr, 1), Diagnosis::unknown(), "{stderr}");
        }
        let missing = diagnosis("Error: thread/resume failed: no rollout found for thread id x (code -32600)\n", 0);
        assert_eq!(missing, Diagnosis::unknown_session());
        assert_eq!(diagnosis("it crashed", 0), Diagnosis::unknown());
    }
}

//! Why a turn failed, in terms that a program can act on.

use std::ffi::OsString;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::SessionMode;

/// The cause of a failed turn, the same for all agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The agent is not logged in, or its key is invalid, expired or forbidden.
    Authentication,
    /// There were too many requests.
    RateLimited,
    /// A limit of the plan, a quota, or the credit is exhausted.
    UsageLimit,
    /// The vendor's servers are overloaded or failed.
    Overloaded,
    /// The connection was refused or lost, or nothing answered.
    Network,
    /// The conversation does not fit into the model's context.
    ContextFull,
    /// The model does not exist, or the account has no access to it.
    ModelUnknown,
    /// A limit that the caller set was reached.
    LimitReached,
    /// The agent does not accept its options or its configuration.
    RefusedArguments,
    /// The vendor refused the content.
    Safety,
    /// None of the others.
    Other,
}

impl Cause {
    pub(crate) const ALL: [Self; 11] = [
        Self::Authentication,
        Self::RateLimited,
        Self::UsageLimit,
        Self::Overloaded,
        Self::Network,
        Self::ContextFull,
        Self::ModelUnknown,
        Self::LimitReached,
        Self::RefusedArguments,
        Self::Safety,
        Self::Other,
    ];

    /// Returns the value of `cause` in `--error-format json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::RateLimited => "rate_limited",
            Self::UsageLimit => "usage_limit",
            Self::Overloaded => "overloaded",
            Self::Network => "network",
            Self::ContextFull => "context_full",
            Self::ModelUnknown => "model_unknown",
            Self::LimitReached => "limit_reached",
            Self::RefusedArguments => "refused_arguments",
            Self::Safety => "safety",
            Self::Other => "other",
        }
    }
}

/// What is known of a failed turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub cause: Cause,
    /// When the same request can succeed, if the agent reports it.
    pub retry_at: Option<Timestamp>,
    /// Whether the prompt can have reached the model.
    pub reached_model: bool,
    /// Whether the session's history has the prompt, if that is known.
    pub in_history: Option<bool>,
    /// The reason, if it is clearer than the agent's words.
    pub reason: Option<String>,
    /// What to do, if it is more than the hint of the cause.
    pub hint: Option<String>,
    /// Whether the agent does not have the session.
    pub session_unknown: bool,
}

impl Diagnosis {
    /// Returns the diagnosis of a request that the model's API answered with an error. Both agents keep its prompt.
    pub(super) fn api_failure(cause: Cause) -> Self {
        Self {
            cause,
            retry_at: None,
            reached_model: true,
            in_history: Some(true),
            reason: None,
            hint: None,
            session_unknown: false,
        }
    }

    /// Returns the diagnosis of an agent that ended before it sent a request or stored the prompt.
    pub(super) fn not_sent(cause: Cause) -> Self {
        Self { reached_model: false, in_history: Some(false), ..Self::api_failure(cause) }
    }

    /// Returns the diagnosis of an agent that does not have the session.
    pub(super) fn unknown_session() -> Self {
        Self { session_unknown: true, ..Self::not_sent(Cause::Other) }
    }

    /// Returns the diagnosis of a failure that matches nothing known.
    pub(super) fn unknown() -> Self {
        Self { in_history: None, ..Self::api_failure(Cause::Other) }
    }

    /// Returns whether the same request can succeed later without any change.
    pub(crate) fn is_retryable(&self) -> bool {
        match self.cause {
            Cause::RateLimited | Cause::Overloaded | Cause::Network => true,
            Cause::UsageLimit => self.retry_at.is_some(),
            _ => false,
        }
    }
}

/// What a failed run of an agent left for its diagnosis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// The agent's result event.
    pub verdict: Option<&'a RawValue>,
    /// The agent's code for the failure, from its files.
    pub code: Option<&'a RawValue>,
    /// The reason in the agent's words.
    pub reason: &'a str,
    /// The time at which a limit ends, from an event before the result.
    pub retry_at: Option<Timestamp>,
    pub stderr: &'a [u8],
    /// `None` for an agent that was stopped.
    pub exit_status: Option<i32>,
    /// The number of lines on standard output.
    pub lines: u64,
    /// The time at which the run ended.
    pub now: Timestamp,
    pub session: SessionMode<'a>,
    /// The caller's arguments for the agent.
    pub extra: &'a [OsString],
}

/// A time of day that is at most this long ago is taken as past, not as tomorrow's. Agents round to minutes and repeat the
/// last message.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(60);

/// Returns the next time of day `text`, such as `12:34pm` or `1 PM`, in `zone`.
///
/// Agents report the end of a limit without a date if the limit ends within a day.
pub(super) fn next_time(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let (clock, half) = text.trim().split_at_checked(text.trim().len().checked_sub(2)?)?;
    let (hour, minute) = clock.trim_end().split_once(':').unwrap_or((clock.trim_end(), "0"));
    let afternoon = match half.to_ascii_lowercase().as_str() {
        "am" => 0,
        "pm" => 12,
        _ => return None,
    };
    let hour = hour.parse::<i8>().ok().filter(|hour| (1..=12).contains(hour))? % 12;
    let time = Time::new(hour + afternoon, minute.parse().ok()?, 0, 0).ok()?;
    let at = |date: Date| date.to_datetime(time).to_zoned(zone.clone());
    let today = now.to_zoned(zone.clone()).date();
    let next = [Ok(today), today.tomorrow()].into_iter().flatten().filter_map(|date| at(date).ok());
    next.map(|zoned| zoned.timestamp()).find(|at| *at > now - TOLERANCE)
}

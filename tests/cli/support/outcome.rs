//! How a run of the program ended.

use std::collections::BTreeSet;
use std::time::Duration;

use assert_cmd::assert::Assert;
use predicates::Predicate;
use serde::Deserialize;
use serde_json::Value;

/// Additions to [`Assert`] for tests.
pub(crate) trait AssertExt {
    /// `None` if a signal ended the program.
    fn exit_code(&self) -> Option<i32>;

    /// Returns standard output. Bytes that are not UTF-8 are replaced.
    fn stdout_text(&self) -> String;

    /// Returns standard error. Bytes that are not UTF-8 are replaced.
    fn stderr_text(&self) -> String;

    /// Returns standard output as one JSON value.
    fn json(&self) -> Value;

    /// Returns the JSON object in the last line of standard error, as `--error-format json` prints it.
    fn error(&self) -> Failure;

    /// Checks the exit status and the kind of the error, and returns its JSON object.
    fn failed(&self, exit_code: i32, kind: &str) -> Failure;
}

impl AssertExt for Assert {
    fn exit_code(&self) -> Option<i32> {
        self.get_output().status.code()
    }

    fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.get_output().stdout).into_owned()
    }

    fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.get_output().stderr).into_owned()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.get_output().stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON ({error})\n{self}"))
    }

    #[track_caller]
    fn error(&self) -> Failure {
        let failure = Failure::parse(self.stderr_text().lines().last().unwrap_or_default());
        let failure = failure.unwrap_or_else(|fault| panic!("the last line on standard error {fault}\n{self}"));
        Failure { run: self.to_string(), ..failure }
    }

    #[track_caller]
    fn failed(&self, exit_code: i32, kind: &str) -> Failure {
        let failure = self.error();
        let got = (self.exit_code(), failure.exit_code, failure.kind.as_str());
        assert_eq!(got, (Some(exit_code), exit_code, kind), "(exit status, exit_code, kind)\n{self}");
        failure
    }
}

/// The end of a watched run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) assert: Assert,
    /// From the start to the end of the program.
    pub(crate) took: Duration,
}

/// The error object. Every key is required. `None` means null.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) exit_code: i32,
    pub(crate) agent_exit_code: Option<i32>,
    pub(crate) session_id: Option<String>,
    pub(crate) turn_started: Option<bool>,
    pub(crate) prompt_in_history: Option<bool>,
    pub(crate) cause: Option<String>,
    pub(crate) retryable: bool,
    pub(crate) retry_at: Option<String>,
    pub(crate) agent: Option<Value>,
    /// The run, for messages of failed assertions.
    #[serde(skip)]
    run: String,
}

impl Failure {
    const KEYS: [&str; 12] = [
        "agent",
        "agent_exit_code",
        "cause",
        "exit_code",
        "hint",
        "kind",
        "message",
        "prompt_in_history",
        "retry_at",
        "retryable",
        "session_id",
        "turn_started",
    ];

    fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
        let object = value.get("error").and_then(Value::as_object).ok_or("has no object under `error`")?;
        // Serde treats a missing key as null, which would hide a violation of the contract.
        let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
        if keys != BTreeSet::from(Self::KEYS) {
            return Err(format!("has the keys {keys:?}"));
        }
        Self::deserialize(&value["error"]).map_err(|error| format!("does not contain an error: {error}"))
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as in `Assert`")]
    pub(crate) fn message(self, expected: impl Predicate<str>) -> Self {
        assert!(expected.eval(&self.message), "the message does not satisfy `{expected}`\n{}", self.run);
        self
    }

    /// Checks the hint. Fails if the error does not have one.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as in `Assert`")]
    pub(crate) fn hint(self, expected: impl Predicate<str>) -> Self {
        let is_expected = self.hint.as_ref().is_some_and(|hint| expected.eval(hint));
        assert!(is_expected, "the hint does not satisfy `{expected}`\n{}", self.run);
        self
    }

    /// Checks that the call did not start a turn.
    #[track_caller]
    pub(crate) fn before_the_turn(self) -> Self {
        assert_eq!(self.turn_started, Some(false), "turn_started\n{}", self.run);
        self
    }

    /// Checks that the call started a turn.
    #[track_caller]
    pub(crate) fn after_the_turn(self) -> Self {
        assert_eq!(self.turn_started, Some(true), "turn_started\n{}", self.run);
        self
    }
}

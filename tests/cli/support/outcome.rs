//! How a run of the program ended.

use std::collections::BTreeSet;
use std::time::Duration;

use assert_cmd::assert::Assert;
use predicates::Predicate;
use serde::Deserialize;
use serde_json::Value;

/// What tests ask about a run beyond what [`Assert`] offers.
pub(crate) trait AssertExt {
    /// `None` if a signal ended the program.
    fn exit_code(&self) -> Option<i32>;

    /// Standard output. Bytes that are not UTF-8 are replaced.
    fn stdout_text(&self) -> String;

    /// Standard error. Bytes that are not UTF-8 are replaced.
    fn stderr_text(&self) -> String;

    /// Standard output as one JSON value.
    fn json(&self) -> Value;

    /// The JSON object with which `--error-format json` ends standard error.
    fn error(&self) -> Failure;

    /// The same, after a check of the exit status and the kind of the error.
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

/// The end of a run that was watched.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) assert: Assert,
    /// From the start to the end of the program.
    pub(crate) took: Duration,
}

/// The error object. `Option` is for what does not apply: the contract wants every key present.
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
    pub(crate) agent: Option<Value>,
    /// The run, as it is shown if an assertion fails.
    #[serde(skip)]
    run: String,
}

impl Failure {
    const KEYS: [&str; 8] =
        ["agent", "agent_exit_code", "exit_code", "hint", "kind", "message", "session_id", "turn_started"];

    fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("is not JSON: {error}"))?;
        let object = value.get("error").and_then(Value::as_object).ok_or("has no object under `error`")?;
        // Serde takes a missing key for null, which would hide a broken promise.
        let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
        if keys != BTreeSet::from(Self::KEYS) {
            return Err(format!("has the keys {keys:?}"));
        }
        Self::deserialize(&value["error"]).map_err(|error| format!("does not hold an error: {error}"))
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as in `Assert`")]
    pub(crate) fn message(self, expected: impl Predicate<str>) -> Self {
        assert!(expected.eval(&self.message), "the message does not satisfy `{expected}`\n{}", self.run);
        self
    }

    /// Fails if there is no hint.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as in `Assert`")]
    pub(crate) fn hint(self, expected: impl Predicate<str>) -> Self {
        let is_expected = self.hint.as_ref().is_some_and(|hint| expected.eval(hint));
        assert!(is_expected, "the hint does not satisfy `{expected}`\n{}", self.run);
        self
    }

    /// For errors of calls that did not start a turn.
    #[track_caller]
    pub(crate) fn before_the_turn(self) -> Self {
        assert_eq!(self.turn_started, Some(false), "turn_started\n{}", self.run);
        self
    }

    /// For errors of calls that started a turn.
    #[track_caller]
    pub(crate) fn after_the_turn(self) -> Self {
        assert_eq!(self.turn_started, Some(true), "turn_started\n{}", self.run);
        self
    }
}

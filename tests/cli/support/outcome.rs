//! How a run of the program ended.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// Exit status and everything that was written.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What is no UTF-8 is replaced; `stdout_bytes` has it as it came.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) stdout_bytes: Vec<u8>,
    /// From the start to the end of the program.
    pub(crate) took: Duration,
}

impl Output {
    /// Exit status 0, or the test fails and shows what was said.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "should succeed, but {}", self.told());
        self
    }

    /// This exit status, and this kind in the JSON object with which `--error-format json` ends standard error.
    #[track_caller]
    pub(crate) fn failed(&self, exit_code: i32, kind: &str) -> Failure {
        let failure = self.failure();
        let got = (self.code, failure.exit_code, failure.kind.as_str());
        assert_eq!(got, (Some(exit_code), exit_code, kind), "(exit status, exit_code, kind); {}", self.told());
        failure
    }

    /// The JSON object with which `--error-format json` ends standard error.
    #[track_caller]
    pub(crate) fn failure(&self) -> Failure {
        Failure::parse(self.stderr.lines().last().unwrap_or_default())
            .unwrap_or_else(|fault| panic!("the last line on standard error {fault}; {}", self.told()))
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is no JSON ({error}); {}", self.told()))
    }

    /// Everything, to be shown when a test fails.
    fn told(&self) -> String {
        let Self { code, stdout, stderr, took, .. } = self;
        format!("exit status {code:?} after {took:?}\nstdout: {}\nstderr: {}", shortened(stdout), shortened(stderr))
    }
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
}

impl Failure {
    const KEYS: [&str; 8] =
        ["agent", "agent_exit_code", "exit_code", "hint", "kind", "message", "session_id", "turn_started"];

    fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("is no JSON: {error}"))?;
        let object = value.get("error").and_then(Value::as_object).ok_or("has no object under `error`")?;
        // Serde takes a missing key for null, which here would hide a broken promise.
        let keys: BTreeSet<_> = object.keys().map(String::as_str).collect();
        if keys != BTreeSet::from(Self::KEYS) {
            return Err(format!("has the keys {keys:?}"));
        }
        Self::deserialize(&value["error"]).map_err(|error| format!("does not hold an error: {error}"))
    }
}

/// Enough to understand a failure: a flood in a test's message helps nobody.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 2000;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

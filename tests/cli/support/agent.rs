//! The scripted agents. Their answers are shortened answers of the current claude and codex.

use serde_json::{Value, json};

use super::plan::{Sink, Size, Step, Turn};

/// The two agents, and their differences in common tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Claude,
    Codex,
}

impl Backend {
    pub(crate) const BOTH: [Self; 2] = [Self::Claude, Self::Codex];

    /// Returns the value of `--backend`, which is also the name of the agent's program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    pub(crate) fn mapping_file_name(self) -> &'static str {
        match self {
            Self::Claude => "claude-code-alias-mapping.json",
            Self::Codex => "codex-cli-alias-mapping.json",
        }
    }

    /// Returns the key of a session's ID in the mapping file and in the output.
    pub(crate) fn id_key(self) -> &'static str {
        match self {
            Self::Claude => "session_id",
            Self::Codex => "thread_id",
        }
    }

    /// Returns a turn that succeeds, in the output format of the call. The `id` `@ID@` is the requested session.
    pub(crate) fn answers(self, id: &str, text: &str) -> Turn {
        match self {
            Self::Claude => {
                let result = json!({"type": "result", "subtype": "success", "is_error": false, "result": text, "session_id": id});
                let init = json!({"type": "system", "subtype": "init", "session_id": id});
                Turn { stdout: json_lines([&result]), stream: Some(json_lines([&init, &result])), ..Turn::default() }
            }
            Self::Codex => Turn {
                stdout: json_lines([
                    &json!({"type": "thread.started", "thread_id": id}),
                    &json!({"type": "turn.started"}),
                    &json!({"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": text}}),
                    &json!({"type": "turn.completed", "usage": {"input_tokens": 1, "output_tokens": 2}}),
                ]),
                last_message: Some(text.to_owned()),
                ..Turn::default()
            },
        }
    }

    /// Returns a turn that succeeds with an answer of this many bytes. The plan does not contain these bytes.
    pub(crate) fn answers_at_length(self, id: &str, bytes: u64) -> Turn {
        let (before, after) = match self {
            Self::Claude => (
                "{\"type\": \"result\", \"subtype\": \"success\", \"is_error\": false, \"result\": \"".to_owned(),
                format!("\", \"session_id\": \"{id}\"}}\n"),
            ),
            Self::Codex => (
                format!(
                    "{{\"type\": \"thread.started\", \"thread_id\": \"{id}\"}}\n\
                     {{\"type\": \"item.completed\", \"item\": {{\"type\": \"agent_message\", \"text\": \""
                ),
                "\"}}\n".to_owned(),
            ),
        };
        let text = Step::Flood { to: Sink::Stdout, pattern: "x".to_owned(), size: Size::Bytes(bytes) };
        Turn::doing([Step::Stdout(before), text, Step::Stdout(after)])
    }

    /// Returns a turn that fails with exit status 1 and prints its reason on standard output, as this agent does.
    pub(crate) fn fails(self, id: &str, reason: &str) -> Turn {
        match self {
            Self::Claude => {
                let result = json!({"type": "result", "subtype": "success", "is_error": true, "result": reason, "session_id": id});
                let init = json!({"type": "system", "subtype": "init", "session_id": id});
                Turn {
                    stdout: json_lines([&result]),
                    stream: Some(json_lines([&init, &result])),
                    exit: 1,
                    ..Turn::default()
                }
            }
            Self::Codex => Turn {
                stderr: "Reading additional input from stdin...\n".to_owned(),
                stdout: json_lines([
                    &json!({"type": "thread.started", "thread_id": id}),
                    &json!({"type": "turn.started"}),
                    &json!({"type": "error", "message": reason}),
                    &json!({"type": "turn.failed", "error": {"message": reason}}),
                ]),
                exit: 1,
                ..Turn::default()
            },
        }
    }
}

impl Turn {
    /// Returns a turn that performs these steps and does not answer.
    pub(crate) fn doing(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::default().after(steps)
    }

    /// Adds steps before the answer of the turn.
    pub(crate) fn after(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    pub(crate) fn stdout(self, stdout: &str) -> Self {
        Self { stdout: stdout.to_owned(), ..self }
    }

    pub(crate) fn stderr(self, stderr: &str) -> Self {
        Self { stderr: stderr.to_owned(), ..self }
    }

    pub(crate) fn exit(self, exit: i32) -> Self {
        Self { exit, ..self }
    }

    /// Adds the values of these environment variables to the record of the turn.
    pub(crate) fn watching(mut self, names: &[&str]) -> Self {
        self.watch_env.extend(names.iter().map(|&name| name.to_owned()));
        self
    }
}

impl Step {
    pub(crate) fn stdout(text: &str) -> Self {
        Self::Stdout(text.to_owned())
    }

    pub(crate) fn stderr(text: &str) -> Self {
        Self::Stderr(text.to_owned())
    }

    /// Writes complete lines of a JSON event, at most this many bytes.
    pub(crate) fn flood_stdout(bytes: u64) -> Self {
        let line = "{\"type\": \"noise\", \"text\": \"................................................\"}\n";
        Self::Flood { to: Sink::Stdout, pattern: line.to_owned(), size: Size::Times(bytes / line.len() as u64) }
    }

    pub(crate) fn flood_stderr(bytes: u64) -> Self {
        Self::Flood { to: Sink::Stderr, pattern: "noise on standard error\n".to_owned(), size: Size::Bytes(bytes) }
    }

    pub(crate) fn wait_for(file: &str) -> Self {
        Self::WaitFor(file.to_owned())
    }

    pub(crate) fn create(file: &str) -> Self {
        Self::Create(file.to_owned())
    }

    pub(crate) fn lock(file: &str) -> Self {
        Self::Lock(file.to_owned())
    }

    /// Starts a separate process that holds both outputs open until it has performed its steps.
    pub(crate) fn grandchild(steps: impl IntoIterator<Item = Self>) -> Self {
        Self::Grandchild {
            steps: steps.into_iter().collect(),
            holds: vec![Sink::Stdout, Sink::Stderr],
            own_session: false,
        }
    }
}

/// The content of `plan.json`: one or several turns, or JSON.
pub(crate) struct Plan(pub(crate) Value);

impl From<Turn> for Plan {
    fn from(turn: Turn) -> Self {
        [turn].into()
    }
}

impl<const N: usize> From<[Turn; N]> for Plan {
    fn from(turns: [Turn; N]) -> Self {
        turns.to_vec().into()
    }
}

impl From<Vec<Turn>> for Plan {
    fn from(turns: Vec<Turn>) -> Self {
        Self(serde_json::to_value(turns).expect("turns can be serialized"))
    }
}

impl From<Value> for Plan {
    fn from(turns: Value) -> Self {
        Self(turns)
    }
}

fn json_lines<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect::<Vec<_>>().concat()
}

//! The requests of an agent, as tests check them.

use serde_json::Value;

/// The beginnings of the texts that an agent adds in the user's name. Which ones it adds depends on its release. No
/// prompt of a test begins like this.
const ADDED: [&str; 2] = ["<", "# AGENTS.md"];

/// The tool with which claude's model gives a structured answer.
pub(super) const STRUCTURED_OUTPUT: &str = "StructuredOutput";

/// The API of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST /v1/messages`, used by claude.
    Messages,
    /// `POST /v1/responses`, used by codex.
    Responses,
}

/// One call of a model.
#[derive(Debug, Clone)]
pub(crate) struct ModelRequest {
    pub(crate) dialect: Dialect,
    pub(crate) body: Value,
}

impl ModelRequest {
    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// Returns the schema of the answer that the agent requests.
    pub(crate) fn schema(&self) -> Option<&Value> {
        match self.dialect {
            Dialect::Messages => {
                let tools = self.body["tools"].as_array()?;
                tools.iter().find(|tool| tool["name"] == STRUCTURED_OUTPUT).map(|tool| &tool["input_schema"])
            }
            Dialect::Responses => self.body.pointer("/text/format/schema"),
        }
    }

    /// Returns the effort that claude requests.
    pub(crate) fn effort(&self) -> &str {
        self.body["output_config"]["effort"].as_str().unwrap_or_default()
    }

    /// Returns the user's turns, without results of tools and texts that the agents add in the user's name.
    ///
    /// Each block is a turn, because claude joins a failed turn and the next one into one message.
    pub(crate) fn turns(&self) -> Vec<&str> {
        self.user_messages()
            .flat_map(|message| blocks(&message["content"]))
            .filter(|text| !ADDED.iter().any(|start| text.starts_with(start)))
            .collect()
    }

    /// Returns whether claude only prepares its subagents. 2.0.50 sends such requests at any time during a turn.
    pub(super) fn is_warmup(&self) -> bool {
        self.turns() == ["Warmup"]
    }

    pub(crate) fn last_turn(&self) -> &str {
        self.turns().pop().unwrap_or_default()
    }

    /// Returns the number of messages and other items in the conversation.
    pub(super) fn length(&self) -> usize {
        self.conversation().len()
    }

    /// Returns whether claude sent this request after it ran a tool, within a turn.
    pub(super) fn returns_a_tool_result(&self) -> bool {
        self.user_messages().last().is_some_and(|message| {
            message["content"]
                .as_array()
                .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
        })
    }

    /// Returns the result of the latest tool call.
    pub(crate) fn tool_result(&self) -> Option<String> {
        let last = match self.dialect {
            Dialect::Messages => {
                let blocks = self.user_messages().filter_map(|message| message["content"].as_array()).flatten();
                blocks.filter(|block| block["type"] == "tool_result").map(|block| &block["content"]).last()
            }
            Dialect::Responses => {
                let items = self.conversation().iter().filter(|item| item["type"] == "function_call_output");
                items.map(|item| &item["output"]).next_back()
            }
        };
        match last? {
            Value::String(text) => Some(text.clone()),
            other => Some(blocks(other).concat()),
        }
    }

    /// Returns whether the instructions or the conversation contain a text.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        mentions(&self.body, text)
    }

    fn user_messages(&self) -> impl Iterator<Item = &Value> {
        self.conversation().iter().filter(|message| message["role"] == "user")
    }

    fn conversation(&self) -> &[Value] {
        let key = match self.dialect {
            Dialect::Messages => "messages",
            Dialect::Responses => "input",
        };
        self.body[key].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Returns the texts of a message, which is a string or a list of blocks in both APIs.
fn blocks(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        _ => Vec::new(),
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(values) => values.iter().any(|value| mentions(value, text)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, text)),
        _ => false,
    }
}

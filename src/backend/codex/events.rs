//! Reads the events of `codex exec --json`.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::usage::usage;
use crate::backend::event::{
    AgentEvent, Outcome, Summary, TextKind, Tool, first_line, lines_of, list, number, object, progress, seen_from,
    words,
};
use crate::backend::output::EventReader;
use crate::json::Members;

/// The limit on the tool calls that are remembered.
const MAX_STARTED: usize = 1000;

/// The names of the tools that run commands and change files.
pub(super) const SHELL: &str = "Shell";
pub(super) const EDIT: &str = "Edit";

/// Reads the events of one turn.
pub(super) struct Reader {
    /// The directory that codex runs in.
    dir: String,
    /// The tool calls that have started.
    started: HashSet<String>,
    /// An error that may have ended the turn. The event that ends the turn does not contain it.
    error: Option<String>,
    /// The last state of the to-do list.
    plan: String,
}

impl EventReader for Reader {
    fn event(&mut self, event: &Members<'_>, _raw: &RawValue, emit: &mut dyn FnMut(AgentEvent)) {
        let kind = event.text("type").unwrap_or_default();
        let survived = self.error.take().filter(|_| kind != "turn.failed");
        survived.into_iter().map(AgentEvent::Warning).for_each(&mut *emit);
        match kind.as_str() {
            "item.started" | "item.updated" | "item.completed" => {
                if let Some(item) = event.get("item").and_then(object) {
                    self.item(&item, &kind, emit);
                }
            }
            "error" => {
                let message = words(event, "message");
                if message.starts_with("Reconnecting") {
                    emit(AgentEvent::Warning(message));
                } else {
                    self.error = Some(message);
                }
            }
            "turn.completed" => emit(AgentEvent::TurnEnded(Summary { usage: usage(event), ..Summary::default() })),
            "turn.failed" => emit(AgentEvent::TurnEnded(Summary { failed: true, ..Summary::default() })),
            _ => {}
        }
    }
}

impl Reader {
    pub(super) fn new(dir: String) -> Self {
        Self { dir, started: HashSet::new(), error: None, plan: String::new() }
    }

    fn item(&mut self, item: &Members<'_>, kind: &str, emit: &mut dyn FnMut(AgentEvent)) {
        let over = kind == "item.completed";
        let text = |kind| AgentEvent::Text { kind, piece: words(item, "text"), last: true };
        let (name, about) = match item.text("type").as_deref() {
            Some("agent_message") if over => return emit(text(TextKind::Answer)),
            Some("reasoning") if over => return emit(text(TextKind::Reasoning)),
            Some("error") if over => return emit(AgentEvent::Warning(words(item, "message"))),
            Some("todo_list") => return self.todo(item, emit),
            Some("command_execution") => (tool_name(item), command(&words(item, "command"))),
            Some("file_change") => (tool_name(item), self.files(item)),
            Some("mcp_tool_call") => (tool_name(item), words(item, "arguments")),
            Some("web_search") => (tool_name(item), words(item, "query")),
            _ => return,
        };
        let id = words(item, "id");
        // a search starts before its query is known
        if !self.started.contains(&id) && (over || !about.is_empty()) {
            if self.started.len() == MAX_STARTED {
                self.started.clear();
            }
            self.started.insert(id.clone());
            emit(AgentEvent::ToolStarted(Tool { id: id.clone(), name, about, inner: false }));
        }
        if over {
            self.started.remove(&id);
            emit(AgentEvent::ToolEnded(outcome(id, item)));
        }
    }

    /// Renders a to-do list that changed. codex repeats the list at the end of a turn.
    fn todo(&mut self, item: &Members<'_>, emit: &mut dyn FnMut(AgentEvent)) {
        let step = |todo: Members<'_>| {
            (words(&todo, "text"), todo.get("completed").is_some_and(|completed| completed.get() == "true"))
        };
        let steps = item.get("items").map(list).unwrap_or_default().into_iter().filter_map(object).map(step);
        let about = progress(&steps.collect::<Vec<_>>());
        if about != self.plan {
            self.plan.clone_from(&about);
            let id = words(item, "id");
            emit(AgentEvent::ToolStarted(Tool { id: id.clone(), name: "Todo".to_owned(), about, inner: false }));
            emit(AgentEvent::ToolEnded(Outcome { id, failed: false, details: Vec::new() }));
        }
    }

    fn files(&self, item: &Members<'_>) -> String {
        let file = |change: Members<'_>| {
            let path = seen_from(&self.dir, &words(&change, "path"));
            match change.text("kind").as_deref() {
                Some("add") => format!("{path} (new)"),
                Some("delete") => format!("{path} (deleted)"),
                _ => path,
            }
        };
        let changes = item.get("changes").map(list).unwrap_or_default();
        changes.into_iter().filter_map(object).map(file).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the name of the tool that an item is a call of.
pub(super) fn tool_name(item: &Members<'_>) -> String {
    match item.text("type").unwrap_or_default().as_str() {
        "command_execution" => SHELL.to_owned(),
        "file_change" => EDIT.to_owned(),
        "mcp_tool_call" => format!("{}.{}", words(item, "server"), words(item, "tool")),
        "web_search" => "Search".to_owned(),
        other => other.to_owned(),
    }
}

/// Returns the command without the shell that codex runs it in (`/bin/bash -lc 'cargo test'`).
fn command(line: &str) -> String {
    match shell_words::split(line).as_deref() {
        Ok([shell, option, script]) if shell.ends_with("sh") && ["-lc", "-c"].contains(&option.as_str()) => {
            script.clone()
        }
        _ => line.to_owned(),
    }
}

fn outcome(id: String, item: &Members<'_>) -> Outcome {
    let status = item.text("status").unwrap_or_default();
    let output = item.text("aggregated_output");
    let exit = number::<i64>(item, "exit_code");
    let failed = ["failed", "declined"].contains(&status.as_str()) || exit.is_some_and(|exit| exit != 0);
    let details = if failed {
        let error = item.get("error").and_then(object).map(|error| words(&error, "message"));
        let exit = exit.map(|exit| format!("exit {exit}"));
        let details: Vec<String> = exit.into_iter().chain(error.or(output).as_deref().and_then(first_line)).collect();
        if details.is_empty() { vec![status] } else { details }
    } else {
        output.map(|output| lines_of(&output)).into_iter().collect()
    };
    Outcome { id, failed, details }
}

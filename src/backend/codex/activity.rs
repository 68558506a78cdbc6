//! What codex does now, from the items that have started and not ended.

use memchr::memchr;

use super::events::Reader;
use crate::backend::activity::{doing, keep, tool_in};

const STARTED: &[u8] = br#"{"type":"item.started","item":"#;
const COMPLETED: &[u8] = br#"{"type":"item.completed","item":"#;

/// The lines of the items that have started and not ended. Only their beginnings are compared until a description is
/// needed, because most lines of a stream are items.
#[derive(Default)]
pub(super) struct OpenItems(Vec<Vec<u8>>);

impl OpenItems {
    /// Reads a line that may be an item.
    pub(super) fn line(&mut self, line: &[u8]) {
        if line.starts_with(STARTED) {
            keep(&mut self.0, line);
        } else if let (Some(item), false) = (line.strip_prefix(COMPLETED), self.0.is_empty()) {
            // the ID is the first member of an item
            let Some(end) = memchr(b',', item) else { return };
            self.0.retain(|started| !started[STARTED.len()..].starts_with(&item[..=end]));
        }
    }

    /// Describes the tool call that started last.
    pub(super) fn describe(&self) -> Option<String> {
        self.0.iter().rev().find_map(|line| {
            let tool = tool_in(line, &mut Reader::new(String::new()))?;
            Some(match tool.name.as_str() {
                "Shell" => doing("running", &tool.about),
                "Edit" => doing("editing", &tool.about),
                "Search" => doing("searching the web for", &tool.about),
                "Todo" => return None, // a list, which stays open until the end of the turn
                name => doing("calling the tool", name),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(lines: &[&str]) -> Option<String> {
        let mut items = OpenItems::default();
        for line in lines {
            items.line(line.as_bytes());
        }
        items.describe()
    }

    #[test]
    fn the_last_open_item_is_described() {
        let run = r#"{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"/bin/bash -lc 'cargo test'"}}"#;
        let edit = r#"{"type":"item.started","item":{"id":"item_10","type":"file_change","changes":[{"path":"/a/b.rs","kind":"add"}]}}"#;
        let tool = r#"{"type":"item.started","item":{"id":"item_3","type":"mcp_tool_call","server":"docs","tool":"find","arguments":{"q":"x"}}}"#;
        let list = r#"{"type":"item.started","item":{"id":"item_4","type":"todo_list","items":[{"text":"a","completed":false}]}}"#;
        let message = r#"{"type":"item.completed","item":{"id":"item_9","type":"agent_message","text":"x"}}"#;
        let done = r#"{"type":"item.completed","item":{"id":"item_10","type":"file_change","changes":[]}}"#;
        assert_eq!(described(&[run, message]).as_deref(), Some("running `cargo test`"));
        assert_eq!(described(&[run, edit]).as_deref(), Some("editing `/a/b.rs (new)`"));
        assert_eq!(described(&[run, edit, done]).as_deref(), Some("running `cargo test`"));
        assert_eq!(described(&[run, tool, list]).as_deref(), Some("calling the tool `docs.find`"));
        assert_eq!(described(&[edit, done, "{}", ""]), None);
    }

    #[test]
    fn long_command_is_cut_and_a_huge_line_is_not_kept() {
        let run = |command: &str| {
            let line = format!(
                r#"{{"type":"item.started","item":{{"id":"item_1","type":"command_execution","command":"{command}"}}}}"#
            );
            described(&[&line])
        };
        assert_eq!(run(&"é".repeat(500)).unwrap(), format!("running `{}…`", "é".repeat(80)));
        assert_eq!(run(r"one\ntwo").unwrap(), "running `one…`");
        assert_eq!(run(&"x".repeat(1 << 20)), None);
    }
}

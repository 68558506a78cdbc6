//! Placeholders for texts that differ between machines and runs: `{WS}` for the workspace, `{TMP}`, `{BIN}`, `{TIME}`
//! for a time, `{KEY}` for the workspace's directory under `agent-sessions` (`{KEY:sub}` for that of its subdirectory
//! `sub`).

use std::path::Path;

use super::sandbox::Sandbox;

/// The subdirectories with a placeholder for their keys.
const SUBDIRS: [&str; 3] = ["sub", "other", "none"];

impl Sandbox {
    /// Replaces placeholders with their values.
    pub(crate) fn filled(&self, text: &str) -> String {
        text.replace("{KEY}", &self.key_of(self.workspace()))
            .replace("{WS}", &text_of(self.workspace()))
            .replace("{TMP}", &text_of(&self.temp()))
            .replace("{BIN}", &text_of(&self.bin()))
    }

    /// Replaces values that differ between runs with placeholders.
    pub(crate) fn with_placeholders(&self, text: &str) -> String {
        // The keys come first, because they contain the workspace's name. No directory contains another one.
        let mut text = text.replace(&self.key_of(self.workspace()), "{KEY}");
        for name in SUBDIRS {
            text = text.replace(&self.key_of(name), &format!("{{KEY:{name}}}"));
        }
        for (path, placeholder) in [(self.workspace(), "{WS}"), (&self.temp(), "{TMP}"), (&self.bin(), "{BIN}")] {
            let path = text_of(path);
            // In JSON the backslashes of Windows are doubled.
            text = text.replace(&path.replace('\\', r"\\"), placeholder).replace(&path, placeholder);
        }
        times_replaced(&if cfg!(windows) { with_slashes(&text) } else { text })
    }
}

fn text_of(path: &Path) -> String {
    path.to_str().expect("the paths of a sandbox are UTF-8").to_owned()
}

/// Replaces Windows' separators with `/` in each path that begins with a directory's placeholder.
fn with_slashes(text: &str) -> String {
    let mut parts = text.split_inclusive(['}', '"', '\n']);
    let mut result = String::new();
    let mut in_path = false;
    for part in &mut parts {
        result += &if in_path { part.replace(r"\\", "/").replace('\\', "/") } else { part.to_owned() };
        let begins = ["{WS}", "{TMP}", "{BIN}"].iter().any(|placeholder| part.ends_with(placeholder));
        // A key is part of a longer path.
        in_path = begins || (in_path && part.ends_with('}'));
    }
    result
}

/// Replaces every `2026-11-20T23:11:42.236249+00:00`, with or without the microseconds, with `{TIME}`.
fn times_replaced(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = length_of_time(rest.as_bytes()) {
            result += "{TIME}";
            rest = &rest[length..];
        } else {
            result.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    result
}

/// Returns the length of the time at the beginning of `text`.
fn length_of_time(text: &[u8]) -> Option<usize> {
    // A 9 in a pattern matches any digit.
    let fits = |at: usize, pattern: &str| {
        let text = text.get(at..at + pattern.len())?;
        let same = |(found, wanted): (&u8, u8)| {
            if wanted == b'9' { found.is_ascii_digit() } else { *found == wanted }
        };
        text.iter().zip(pattern.bytes()).all(same).then_some(at + pattern.len())
    };
    let seconds = fits(0, "9999-99-99T99:99:99")?;
    fits(seconds, ".999999").or(Some(seconds)).and_then(|end| fits(end, "+00:00"))
}

#[test]
fn times_are_replaced_everywhere() {
    let text = "✓ 2026-11-20T23:11:42.236249+00:00, 2025-01-01T00:00:00+00:00; 2025-01-01T00:00:00Z 2025-01-01";
    assert_eq!(times_replaced(text), "✓ {TIME}, {TIME}; 2025-01-01T00:00:00Z 2025-01-01");
}

#[test]
fn only_paths_are_converted_to_slashes() {
    let text = r#"{"a": "x \\ y", "b": "{TMP}\\agent-sessions\\{KEY}\\m.json", "c": "x\\y"} {WS}\m.json"#;
    let slashed = r#"{"a": "x \\ y", "b": "{TMP}/agent-sessions/{KEY}/m.json", "c": "x\\y"} {WS}/m.json"#;
    assert_eq!(with_slashes(text), slashed);
}

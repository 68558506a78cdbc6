//! Texts that are the same on every machine and in every run: `{WS}` for the workspace, `{TMP}`, `{BIN}`, `{KEY}` for
//! the workspace's directory under `agent-sessions` (`{KEY:sub}` for that of its subdirectory `sub`), `{TIME}` for a time.

use std::path::Path;

use super::sandbox::Sandbox;

/// The subdirectories whose keys have a placeholder.
const SUBDIRS: [&str; 3] = ["sub", "other", "none"];

impl Sandbox {
    /// Puts what they stand for in the place of placeholders.
    pub(crate) fn filled(&self, text: &str) -> String {
        text.replace("{KEY}", &self.key_of(self.workspace()))
            .replace("{WS}", &text_of(self.workspace()))
            .replace("{TMP}", &text_of(&self.temp()))
            .replace("{BIN}", &text_of(&self.bin()))
    }

    /// Puts placeholders in the place of what differs from run to run.
    pub(crate) fn with_placeholders(&self, text: &str) -> String {
        // The keys first, for they repeat the workspace's name; no directory's path begins with that of another.
        let mut text = text.replace(&self.key_of(self.workspace()), "{KEY}");
        for name in SUBDIRS {
            text = text.replace(&self.key_of(name), &format!("{{KEY:{name}}}"));
        }
        for (path, placeholder) in [(self.workspace(), "{WS}"), (&self.temp(), "{TMP}"), (&self.bin(), "{BIN}")] {
            let path = text_of(path);
            // In JSON the backslashes of Windows stand twice.
            text = text.replace(&path.replace('\\', r"\\"), placeholder).replace(&path, placeholder);
        }
        times_replaced(&if cfg!(windows) { with_slashes(&text) } else { text })
    }
}

fn text_of(path: &Path) -> String {
    path.to_str().expect("the paths of a sandbox are UTF-8").to_owned()
}

/// Writes what follows a directory's placeholder, up to the end of the path, with `/` for Windows' separators.
fn with_slashes(text: &str) -> String {
    let mut parts = text.split_inclusive(['}', '"', '\n']);
    let mut result = String::new();
    let mut in_path = false;
    for part in &mut parts {
        result += &if in_path { part.replace(r"\\", "/").replace('\\', "/") } else { part.to_owned() };
        let begins = ["{WS}", "{TMP}", "{BIN}"].iter().any(|placeholder| part.ends_with(placeholder));
        // A key is part of the path that it stands in.
        in_path = begins || (in_path && part.ends_with('}'));
    }
    result
}

/// Every `2026-11-20T23:11:42.236249+00:00`, with or without the microseconds, made `{TIME}`.
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

/// How long the time is that `text` begins with.
fn length_of_time(text: &[u8]) -> Option<usize> {
    // In a pattern a 9 stands for any digit.
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

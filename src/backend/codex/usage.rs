//! The tokens in codex's last event.

use crate::backend::event::{number, object};
use crate::backend::{Tokens, Usage};
use crate::json::Members;

/// Returns what `turn.completed` reports. codex counts the tokens of the whole thread, and no cost.
pub(super) fn usage(event: &Members<'_>) -> Usage {
    let session = event.get("usage").and_then(object).and_then(|usage| {
        let count = |name: &str| number::<u64>(&usage, name);
        let cached = count("cached_input_tokens").unwrap_or_default();
        Some(Tokens { input: count("input_tokens")?, cached, output: count("output_tokens")? })
    });
    Usage { session, ..Usage::default() }
}

//! `--env-file`: variables for the agent, one `KEY=VALUE` on each line.

use crate::error::{Error, Result};
use crate::session::trim;

/// Parses an environment file (contract section 5). The last of several variables with the same name counts.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for line in text.lines().map(trim) {
        if line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(line, trim);
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (trim(key), unquote(trim(value)));
        if key.is_empty() {
            continue;
        }
        if key.contains('\0') || value.contains('\0') {
            return Err(Error::usage(format!("--env-file: the variable '{key}' contains a NUL byte")));
        }
        variables.push((key.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

/// Removes one pair of quotes around `value`.
fn unquote(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

//! `--env-file`: variables for the agent, one `KEY=VALUE` a line.

use crate::error::{Error, Result};
use crate::session::trim;

/// The variables in an environment file (contract section 5), in its order: of two with one name the last counts.
pub(crate) fn variables(text: &str) -> Result<Vec<(String, String)>> {
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
            return Err(Error::usage(format!("--env-file: the variable '{key}' holds a zero byte")));
        }
        variables.push((key.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

/// `value` without one pair of quotes around it.
fn unquote(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

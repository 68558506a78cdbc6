//! Tab-separated values with a header line, for scripts.

use super::terminal::is_terminal_control;

/// Lines of the same number of fields.
pub(crate) struct Tsv(String);

impl Tsv {
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self(header.join("\t") + "\n")
    }

    /// Adds a line. An unknown value is an empty field.
    pub(crate) fn push<const N: usize>(&mut self, fields: [Option<&str>; N]) {
        let fields = fields.map(|field| field.map(escape).unwrap_or_default());
        self.0.push_str(&fields.join("\t"));
        self.0.push('\n');
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// Escapes what would end a field, and what a terminal interprets, so that `printf %b` of any POSIX shell reverses it.
fn escape(field: &str) -> String {
    let mut escaped = String::with_capacity(field.len());
    for c in field.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if is_terminal_control(c) => {
                escaped.extend(c.to_string().bytes().map(|byte| format!("\\0{byte:03o}")));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped_and_unknown_ones_empty() {
        let mut tsv = Tsv::new(["A", "B", "C"]);
        tsv.push([Some("a\tb\\t\n"), None, Some("\u{1b}1\u{9b}é")]);
        assert_eq!(tsv.into_text(), "A\tB\tC\na\\tb\\\\t\\n\t\t\\00331\\0302\\0233é\n");
    }
}

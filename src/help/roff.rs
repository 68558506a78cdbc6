//! Converts a subset of Markdown to the source of a manual page: headings of three levels, paragraphs, lists of one
//! level, fenced code, tables of at most three columns, code spans and strong text.
//!
//! Not a Markdown library, because the smallest one adds 380 KB to the program. A test checks with such a library that
//! every topic stays within the subset.

use std::fmt::Write as _;

/// Returns the page `name` with this title. `markdown` begins with the title.
pub(super) fn page(name: &str, title: &str, markdown: &str) -> String {
    let mut page = format!(
        ".TH {name} 1 \"\" \"invoke-persist {}\"\n.SH NAME\n{} \\- {}\n.SH DESCRIPTION\n",
        env!("CARGO_PKG_VERSION"),
        escaped(name),
        escaped(title),
    );
    let mut lines = markdown.lines().skip(1).peekable();
    // whether a paragraph here continues a section without a gap
    let mut begins_section = true;
    while let Some(line) = lines.next() {
        if line.is_empty() || is_table_rule(line) {
            continue;
        }
        if let Some(heading) = line.strip_prefix("## ") {
            let _ = writeln!(page, ".SH {}", quoted(heading));
            begins_section = true;
            continue;
        }
        if let Some(heading) = line.strip_prefix("### ") {
            let _ = writeln!(page, ".SS {}", quoted(heading));
            begins_section = true;
            continue;
        }
        if line.starts_with("```") {
            page.push_str(if begins_section { ".RS 2\n.EX\n" } else { ".PP\n.RS 2\n.EX\n" });
            for code in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                let _ = writeln!(page, "{}", protected(&escaped(code)));
            }
            page.push_str(".EE\n.RE\n");
        } else if line.starts_with('|') {
            let is_header = lines.peek().is_some_and(|line| is_table_rule(line));
            let style = |cell: &String| if is_header { format!("\\fI{}\\fR", inline(cell)) } else { inline(cell) };
            let cells: Vec<_> = cells(line).iter().map(style).collect();
            let (first, others) = cells.split_first().expect("a row has a cell");
            let others: Vec<_> = others.iter().filter(|cell| !cell.is_empty()).map(String::as_str).collect();
            let _ = writeln!(page, ".TP\n{first}\n{}", others.join("\n.br\n"));
        } else {
            let (start, text) = match list_item(line) {
                Some((mark, text)) => (format!(".IP {mark} 4\n"), text),
                None if begins_section => (String::new(), line),
                None => (".PP\n".to_owned(), line),
            };
            let mut text = text.to_owned();
            while let Some(more) = lines.next_if(|line| continues(line)) {
                text.push(' ');
                text.push_str(more.trim_start());
            }
            let _ = writeln!(page, "{start}{}", inline(&text));
        }
        begins_section = false;
    }
    page.push_str(".SH SEE ALSO\ninvoke\\-persist(1)\n");
    page
}

/// Returns whether `line` belongs to the paragraph or list item above it.
fn continues(line: &str) -> bool {
    let begins_block = line.starts_with(['#', '|']) || line.starts_with("```") || list_item(line).is_some();
    !line.is_empty() && !begins_block
}

/// Splits an item of a list into its mark in the manual page and its text.
fn list_item(line: &str) -> Option<(String, &str)> {
    if let Some(text) = line.strip_prefix("- ") {
        return Some(("\\(bu".to_owned(), text));
    }
    let (number, text) = line.split_once(". ")?;
    number.parse::<u8>().is_ok().then(|| (format!("{number}."), text))
}

/// Returns whether `line` is the one below the header of a table.
fn is_table_rule(line: &str) -> bool {
    line.starts_with("|-")
}

/// Splits a row of a table at the bars that no backslash precedes.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_start_matches('|').trim_end_matches('|').replace("\\|", "\0");
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// Converts one paragraph: code spans and strong text become bold.
fn inline(text: &str) -> String {
    let mut line = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(line, "\\fB{}\\fR", escaped(part));
            continue;
        }
        for (index, part) in part.split("**").enumerate() {
            line.push_str(if index == 0 { "" } else { ["\\fR", "\\fB"][index % 2] });
            line.push_str(&escaped(part));
        }
    }
    protected(&line)
}

/// Returns `text` as one argument of a macro.
fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(&text.replace(['`', '"'], "")))
}

/// Returns a line that is not read as a macro.
fn protected(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Escapes the characters that roff interprets or that not every device prints.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            c if c.is_ascii() => escaped.push(c),
            c => drop(write!(escaped, "\\[u{:04X}]", u32::from(c))),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_macros() {
        let markdown = "# T\n\nOne `a-b`\ntwo **strong**.\n\n## H \"q\"\n\n- x\n  y\n- z\n\n1. n\n\n### S\n\n```sh\n.a 'b' \\ # | \
                        `c`\n\n- d\n```\n\n| a | b |\n|---|---|\n| `c \\| d` | e |\n\n.dot";
        let page = page("p-q", "T", markdown);
        let (_, body) = page.split_once(".SH DESCRIPTION\n").unwrap();
        assert!(page.contains("\np\\-q \\- T\n"), "{page}");
        assert_eq!(
            body,
            "One \\fBa\\-b\\fR two \\fBstrong\\fR.\n.SH \"H q\"\n.IP \\(bu 4\nx y\n.IP \\(bu 4\nz\n.IP 1. 4\nn\n.SS \"S\"\n\
             .RS 2\n.EX\n\\&.a \\(aqb\\(aq \\e # | \\(gac\\(ga\n\n\\- d\n.EE\n.RE\n.TP\n\\fIa\\fR\n\\fIb\\fR\n.TP\n\\fBc | d\\fR\ne\n.PP\n\
             \\&.dot\n.SH SEE ALSO\ninvoke\\-persist(1)\n"
        );
    }

    #[test]
    fn characters_outside_ascii_are_named() {
        assert_eq!(inline("… ~/x ✓"), "\\[u2026] \\(ti/x \\[u2713]");
    }
}

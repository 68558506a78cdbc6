//! A table of columns with titles, which fits the width of the terminal.
//!
//! Crates for tables wrap cells or narrow all columns equally. This one narrows and drops the least important columns
//! first.

use std::borrow::Cow;

use console::{measure_text_width, pad_str, truncate_str};

use crate::ui::terminal::escape_control;

const GAP: usize = 2;

/// A column of a table.
pub(crate) struct Column {
    title: &'static str,
    min_width: usize,
    /// Whether the column is dropped if the table is still too wide.
    optional: bool,
    /// Whether cells are truncated at their beginning, as paths are.
    keeps_end: bool,
    cells: Vec<String>,
}

impl Column {
    /// Returns a column that is never narrowed.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, min_width: usize::MAX, optional: false, keeps_end: false, cells: Vec::new() }
    }

    /// Lets the column be narrowed to `min_width` if the table is too wide.
    #[must_use]
    pub(crate) fn with_min_width(mut self, min_width: usize) -> Self {
        self.min_width = min_width;
        self
    }

    /// Lets the column be dropped if narrowing is not enough.
    #[must_use]
    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Truncates cells at their beginning.
    #[must_use]
    pub(crate) fn keeping_end(mut self) -> Self {
        self.keeps_end = true;
        self
    }

    /// Adds a cell. A missing text becomes a dash, and control characters are escaped.
    pub(crate) fn push(&mut self, text: Option<&str>) {
        let text = text.map(escape_control).filter(|text| !text.is_empty());
        self.cells.push(text.unwrap_or_else(|| "-".to_owned()));
    }

    fn natural_width(&self) -> usize {
        self.cells.iter().map(|cell| measure_text_width(cell)).chain([self.title.len()]).max().unwrap_or_default()
    }
}

/// Renders the columns side by side.
///
/// To fit into `width`, narrows the widest columns first, then drops optional columns from the last one on, and then
/// truncates lines.
pub(crate) fn render(mut columns: Vec<Column>, width: Option<usize>) -> String {
    let mut widths: Vec<usize> = columns.iter().map(Column::natural_width).collect();
    if let Some(width) = width {
        let min_total = |columns: &[Column], widths: &[usize]| {
            let cells = columns.iter().zip(widths).map(|(column, &natural)| natural.min(column.min_width) + GAP);
            cells.sum::<usize>().saturating_sub(GAP)
        };
        while min_total(&columns, &widths) > width
            && let Some(last) = columns.iter().rposition(|column| column.optional)
        {
            columns.remove(last);
            widths.remove(last);
        }
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while total(&widths) > width {
            let narrowable = (0..widths.len()).filter(|&at| widths[at] > columns[at].min_width);
            let Some(widest) = narrowable.max_by_key(|&at| widths[at]) else { break };
            widths[widest] -= 1;
        }
    }
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let titles = std::iter::once(line(&columns, &widths, width, |column| column.title));
    let cells = (0..rows).map(|row| line(&columns, &widths, width, move |column| &column.cells[row]));
    titles.chain(cells).collect()
}

fn line(columns: &[Column], widths: &[usize], width: Option<usize>, cell: impl Fn(&Column) -> &str) -> String {
    let cells = columns.iter().zip(widths).map(|(column, &width)| {
        let cell = cell(column);
        let cell = if column.keeps_end { end_of(cell, width) } else { truncate_str(cell, width, "…") };
        pad_str(&cell, width + GAP, console::Alignment::Left, None).into_owned()
    });
    let line: String = cells.collect();
    let line = width.map_or(line.as_str().into(), |width| truncate_str(&line, width, ""));
    format!("{}\n", line.trim_end())
}

/// Returns the end of `text` that fits into `width` columns.
fn end_of(text: &str, width: usize) -> Cow<'_, str> {
    if measure_text_width(text) <= width {
        return text.into();
    }
    let mut left = width.saturating_sub(1);
    let fits = |(_, c): &(usize, char)| {
        let wide = measure_text_width(c.encode_utf8(&mut [0; 4]));
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    let from = text.char_indices().rev().take_while(fits).last().map_or(text.len(), |(at, _)| at);
    format!("…{}", &text[from..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut columns = vec![
            Column::new("A").with_min_width(4),
            Column::new("WIDE").with_min_width(6).optional(),
            Column::new("B"),
        ];
        for row in [["one", "a long text", "1"], ["twelve", "", "22"]] {
            columns.iter_mut().zip(row).for_each(|(column, text)| column.push(Some(text)));
        }
        render(columns, width)
    }

    #[test]
    fn table_that_fits_is_complete() {
        let complete = "A       WIDE         B\none     a long text  1\ntwelve  -            22\n";
        assert_eq!(table(None), complete);
        assert_eq!(table(Some(23)), complete);
    }

    #[test]
    fn widest_column_is_narrowed_before_columns_are_dropped_and_lines_truncated() {
        assert_eq!(table(Some(20)), "A       WIDE      B\none     a long …  1\ntwelve  -         22\n");
        assert_eq!(table(Some(16)), "A     WIDE    B\none   a lon…  1\ntwe…  -       22\n");
        assert_eq!(table(Some(12)), "A       B\none     1\ntwelve  22\n");
        assert_eq!(table(Some(5)), "A\none\ntwe…\n");
    }

    #[test]
    fn path_keeps_its_end() {
        assert_eq!(end_of("/home/me/project", 9), "…/project");
        assert_eq!(end_of("/日本語", 5), "…本語");
        assert_eq!(end_of("/日本語", 4), "…語");
        assert_eq!(end_of("/a", 2), "/a");
    }

    #[test]
    fn terminal_controls_are_escaped() {
        let mut column = Column::new("A");
        column.push(Some("\u{1b}[2J\n"));
        assert_eq!(render(vec![column], None), "A\n\\u{1b}[2J\\n\n");
    }
}

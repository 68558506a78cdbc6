//! A table for people: columns under their titles, as wide as they need to be or as the terminal lets them.
//!
//! Our own, since the crates for tables wrap cells or narrow all columns alike; here what matters least goes first.

use std::borrow::Cow;

use console::{measure_text_width, pad_str, truncate_str};

use crate::ui::terminal::escape_control;

const GAP: usize = 2;

/// A column of a table.
pub(crate) struct Column {
    title: &'static str,
    /// It may be narrowed to this much.
    least: usize,
    /// Whether the table does without it where it is still too wide.
    optional: bool,
    /// Whether the end of a cell tells more than its beginning, as with paths.
    keeps_end: bool,
    cells: Vec<String>,
}

impl Column {
    /// A column that keeps its width.
    pub(crate) fn new(title: &'static str) -> Self {
        Self { title, least: usize::MAX, optional: false, keeps_end: false, cells: Vec::new() }
    }

    /// This column, narrowed to `least` characters where the table is too wide.
    #[must_use]
    pub(crate) fn at_least(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// This column, left out where nothing else helps.
    #[must_use]
    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// This column, whose cells are cut at their beginning.
    #[must_use]
    pub(crate) fn keeping_its_end(mut self) -> Self {
        self.keeps_end = true;
        self
    }

    /// One more cell; without a text a dash. No control character gets into it.
    pub(crate) fn push(&mut self, text: Option<&str>) {
        let text = text.map(escape_control).filter(|text| !text.is_empty());
        self.cells.push(text.unwrap_or_else(|| "-".to_owned()));
    }

    fn natural_width(&self) -> usize {
        self.cells.iter().map(|cell| measure_text_width(cell)).chain([self.title.len()]).max().unwrap_or_default()
    }
}

/// The columns side by side. In a terminal of `width` columns those that can are narrowed, the widest first; then the
/// optional ones go, the last first; then lines are cut.
pub(crate) fn draw(mut columns: Vec<Column>, width: Option<usize>) -> String {
    let mut widths: Vec<usize> = columns.iter().map(Column::natural_width).collect();
    if let Some(width) = width {
        let least = |columns: &[Column], widths: &[usize]| {
            let cells = columns.iter().zip(widths).map(|(column, &natural)| natural.min(column.least) + GAP);
            cells.sum::<usize>().saturating_sub(GAP)
        };
        while least(&columns, &widths) > width
            && let Some(last) = columns.iter().rposition(|column| column.optional)
        {
            columns.remove(last);
            widths.remove(last);
        }
        let whole = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while whole(&widths) > width {
            let narrowable = (0..widths.len()).filter(|&at| widths[at] > columns[at].least);
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

/// As much of the end of `text` as fits into `width` columns.
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
        let mut columns =
            vec![Column::new("A").at_least(4), Column::new("WIDE").at_least(6).optional(), Column::new("B")];
        for row in [["one", "a long text", "1"], ["twelve", "", "22"]] {
            columns.iter_mut().zip(row).for_each(|(column, text)| column.push(Some(text)));
        }
        draw(columns, width)
    }

    #[test]
    fn what_fits_is_whole() {
        let whole = "A       WIDE         B\none     a long text  1\ntwelve  -            22\n";
        assert_eq!(table(None), whole);
        assert_eq!(table(Some(23)), whole);
    }

    #[test]
    fn the_widest_is_narrowed_first_then_columns_go_then_lines_are_cut() {
        assert_eq!(table(Some(20)), "A       WIDE      B\none     a long …  1\ntwelve  -         22\n");
        assert_eq!(table(Some(16)), "A     WIDE    B\none   a lon…  1\ntwe…  -       22\n");
        assert_eq!(table(Some(12)), "A       B\none     1\ntwelve  22\n");
        assert_eq!(table(Some(5)), "A\none\ntwe…\n");
    }

    #[test]
    fn a_path_keeps_its_end() {
        assert_eq!(end_of("/home/me/project", 9), "…/project");
        assert_eq!(end_of("/日本語", 5), "…本語");
        assert_eq!(end_of("/日本語", 4), "…語");
        assert_eq!(end_of("/a", 2), "/a");
    }

    #[test]
    fn nothing_in_a_cell_moves_the_cursor() {
        let mut column = Column::new("A");
        column.push(Some("\u{1b}[2J\n"));
        assert_eq!(draw(vec![column], None), "A\n\\u{1b}[2J\\n\n");
    }
}

//! The screen of a terminal: the output of a program, and the replies to the program's queries.

use std::fmt::Write as _;
use std::num::NonZeroU16;

pub(crate) struct Screen(vt100::Parser<Replies>);

/// Replies that have not been sent.
#[derive(Default)]
struct Replies(String);

impl vt100::Callbacks for Replies {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        intermediate: Option<u8>,
        _: Option<u8>,
        parameters: &[&[u16]],
        last: char,
    ) {
        match (intermediate, parameters, last) {
            // the query for the terminal's type: a VT102
            (None, [] | [[0]], 'c') => self.0.push_str("\x1b[?6c"),
            // the query for the cursor's position
            (None, [[6]], 'n') => {
                let (row, column) = screen.cursor_position();
                write!(self.0, "\x1b[{};{}R", row + 1, column + 1).expect("writing to a string cannot fail");
            }
            _ => {}
        }
    }
}

impl Screen {
    pub(crate) fn new(rows: u16, columns: u16) -> Self {
        let size = |cells| NonZeroU16::new(cells).expect("a screen has cells");
        Self(vt100::Parser::new_with_callbacks(size(rows), size(columns), 0, Replies::default()))
    }

    /// Draws the output of a program. Returns the terminal's replies to it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> String {
        self.0.process(bytes);
        std::mem::take(&mut self.0.callbacks_mut().0)
    }

    /// Returns the cells.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.0.screen()
    }

    /// Returns the cursor's line up to the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        let screen = self.0.screen();
        let (row, end) = screen.cursor_position();
        let cells = (0..end).filter_map(|column| screen.cell(row, column)).filter(|cell| !cell.is_wide_continuation());
        cells.map(|cell| if cell.has_contents() { cell.contents() } else { " " }).collect()
    }

    /// Returns the lines up to the last nonblank one, without trailing spaces.
    pub(crate) fn lines(&self) -> Vec<String> {
        let (_, columns) = self.0.screen().size();
        let lines = self.0.screen().rows(0, columns.get()).map(|line| line.trim_end().to_owned());
        let mut lines: Vec<String> = lines.collect();
        lines.truncate(lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1));
        lines
    }
}

//! What a terminal of ours shows: as much of a terminal as the line editors of shells need.

/// Lines of text, and where the next character goes.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    saved: (usize, usize),
    /// What arrived of a sequence or character that is not yet complete.
    pending: Vec<u8>,
}

impl Screen {
    /// Shows what a program wrote. Gives what a terminal would answer to it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> String {
        let mut answers = String::new();
        for &byte in bytes {
            self.pending.push(byte);
            if self.take(&mut answers) {
                self.pending.clear();
            }
        }
        answers
    }

    /// Whether what is pending was complete; then it was done.
    fn take(&mut self, answers: &mut String) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let done = match pending.as_slice() {
            [0x1b] | [0x1b, b'[' | b'(' | b')' | b']' | b'P'] => false,
            [0x1b, b'[', parameters @ .., last] => {
                let complete = (0x40..=0x7e).contains(last);
                if complete {
                    self.control(parameters, *last, answers);
                }
                complete
            }
            // a title or the like, up to a bell or ESC \
            [0x1b, b']' | b'P', text @ ..] => text.ends_with(b"\x07") || text.ends_with(b"\x1b\\"),
            [0x1b, b'7'] => {
                self.saved = (self.row, self.column);
                true
            }
            [0x1b, b'8'] => {
                (self.row, self.column) = self.saved;
                true
            }
            [0x1b, ..] => true,
            [b'\r'] => {
                self.column = 0;
                true
            }
            [b'\n'] => {
                self.row += 1;
                true
            }
            [8] => {
                self.column = self.column.saturating_sub(1);
                true
            }
            [byte] if *byte < 0x20 || *byte == 0x7f => true,
            text => match std::str::from_utf8(text) {
                Ok(text) => {
                    text.chars().for_each(|c| self.put(c));
                    true
                }
                Err(error) => error.error_len().is_some(),
            },
        };
        self.pending = pending;
        done
    }

    fn control(&mut self, parameters: &[u8], last: u8, answers: &mut String) {
        let text = std::str::from_utf8(parameters).unwrap_or_default();
        let first = text.split(';').next().and_then(|number| number.parse::<usize>().ok());
        let count = first.unwrap_or(1).max(1);
        match last {
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row += count,
            b'C' => self.column += count,
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.column = count - 1,
            b'H' => {
                self.row = count - 1;
                self.column = text.split(';').nth(1).and_then(|number| number.parse().ok()).unwrap_or(1_usize) - 1;
            }
            b'J' if first.unwrap_or(0) == 0 => {
                let column = self.column;
                self.line().truncate(column);
                self.lines.truncate(self.row + 1);
            }
            b'J' => self.lines.clear(),
            b'K' if first.unwrap_or(0) == 0 => {
                let column = self.column;
                self.line().truncate(column);
            }
            b'P' => {
                let (from, line) = (self.column, self.line());
                let to = line.len().min(from + count);
                line.drain(from.min(to)..to);
            }
            b'@' => {
                let from = self.column;
                let line = self.line();
                line.resize(line.len().max(from), ' ');
                line.splice(from..from, vec![' '; count]);
            }
            // questions: what it is, and where the cursor is
            b'c' if parameters.is_empty() || parameters == b"0" => answers.push_str("\x1b[?6c"),
            b'n' if parameters == b"6" => {
                answers.extend(["\x1b[", &(self.row + 1).to_string(), ";", &(self.column + 1).to_string(), "R"]);
            }
            _ => {} // colours and modes
        }
    }

    fn line(&mut self) -> &mut Vec<char> {
        let rows = self.lines.len().max(self.row + 1);
        self.lines.resize(rows, Vec::new());
        &mut self.lines[self.row]
    }

    fn put(&mut self, c: char) {
        let column = self.column;
        let line = self.line();
        line.resize(line.len().max(column + 1), ' ');
        line[column] = c;
        self.column += 1;
    }

    /// The cursor's line, as far as the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        let line = self.lines.get(self.row).map_or(&[][..], Vec::as_slice);
        (0..self.column).map(|column| line.get(column).copied().unwrap_or(' ')).collect()
    }

    /// All lines, without the space at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
    }
}

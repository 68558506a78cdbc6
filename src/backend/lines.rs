//! Lines out of chunks, with a bound on what is kept.

use memchr::memchr;

/// A line longer than this is counted but not looked at. Verdicts are small; the longest line known to matter is
/// claude's `result` with a whole answer in it.
const LONGEST_KEPT: usize = 64 << 20;

/// Cuts a stream of bytes into lines. Nothing is kept but the beginning of an unfinished line.
#[derive(Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
    too_long: bool,
    pub(super) count: u64,
}

impl Lines {
    /// Calls `each` with every line that `chunk` finishes, without its newline.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', chunk) {
            if self.unfinished.is_empty() && !self.too_long {
                self.count += 1;
                each(&chunk[..end]);
            } else {
                self.keep(&chunk[..end]);
                self.finish(&mut each);
            }
            chunk = &chunk[end + 1..];
        }
        self.keep(chunk);
    }

    /// Calls `each` with a last line that had no newline.
    pub(super) fn end(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() || self.too_long {
            self.finish(&mut each);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.unfinished.len() + piece.len() > LONGEST_KEPT {
            self.too_long = true;
            self.unfinished = Vec::new();
        }
        if !self.too_long {
            self.unfinished.extend_from_slice(piece);
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        self.count += 1;
        if !self.too_long {
            each(&self.unfinished);
        }
        self.too_long = false;
        if self.unfinished.capacity() > 1 << 20 {
            self.unfinished = Vec::new();
        }
        self.unfinished.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> (Vec<String>, u64) {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut each = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        for chunk in chunks {
            lines.feed(chunk, &mut each);
        }
        lines.end(&mut each);
        (seen, lines.count)
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let want = (vec!["ab".to_owned(), String::new(), "c".to_owned()], 3);
        assert_eq!(cut(&[b"ab\n\nc"]), want);
        assert_eq!(cut(&[b"a", b"b", b"\n", b"\nc"]), want);
        assert_eq!(cut(&[b"ab\n\nc\n"]), want);
        assert_eq!(cut(&[b""]), (vec![], 0));
    }

    #[test]
    fn a_line_over_the_bound_is_counted_and_the_next_one_is_seen() {
        let half = vec![b'x'; LONGEST_KEPT / 2 + 1];
        assert_eq!(cut(&[&half, &half, b"\nnext\n"]), (vec!["next".to_owned()], 2));
    }
}

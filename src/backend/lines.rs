//! Splits chunks into lines, with a limit on the memory for a line.

use memchr::memchr;

use super::condensed::Condensed;

/// A longer line is condensed. The longest relevant line is claude's `result`, which contains the answer.
const LONGEST_KEPT: usize = 64 << 20;

/// One line, without its newline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether the line is complete. If not, it was JSON that was too long, and [`Condensed`] shortened it.
    pub(super) whole: bool,
}

/// Splits a stream of bytes into lines. Only the beginning of an unfinished line is kept.
#[derive(Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
    /// The unfinished line, if it is too long.
    condensed: Option<Condensed>,
    pub(super) count: u64,
}

impl Lines {
    /// Calls `each` with every line that `chunk` completes. A line that is too long and not JSON is only counted.
    pub(super) fn feed(&mut self, mut chunk: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr(b'\n', chunk) {
            if self.is_empty() {
                self.count += 1;
                each(Line { bytes: &chunk[..end], whole: true });
            } else {
                self.keep(&chunk[..end]);
                self.finish(&mut each);
            }
            chunk = &chunk[end + 1..];
        }
        self.keep(chunk);
    }

    /// Calls `each` with the last line if it has no newline.
    pub(super) fn end(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.is_empty() {
            self.finish(&mut each);
        }
    }

    fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.condensed.is_none()
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.condensed.is_none() && self.unfinished.len() + piece.len() > LONGEST_KEPT {
            let condensed = self.condensed.insert(Condensed::default());
            condensed.feed(&std::mem::take(&mut self.unfinished));
        }
        match &mut self.condensed {
            Some(condensed) => condensed.feed(piece),
            None => self.unfinished.extend_from_slice(piece),
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        self.count += 1;
        match self.condensed.take() {
            Some(condensed) => condensed.finish().iter().for_each(|bytes| each(Line { bytes, whole: false })),
            None => each(Line { bytes: &self.unfinished, whole: true }),
        }
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
        let mut each = |line: Line<'_>| seen.push(String::from_utf8_lossy(line.bytes).into_owned());
        for chunk in chunks {
            lines.feed(chunk, &mut each);
        }
        lines.end(&mut each);
        (seen, lines.count)
    }

    #[test]
    fn lines_do_not_depend_on_chunks() {
        let want = (vec!["ab".to_owned(), String::new(), "c".to_owned()], 3);
        assert_eq!(cut(&[b"ab\n\nc"]), want);
        assert_eq!(cut(&[b"a", b"b", b"\n", b"\nc"]), want);
        assert_eq!(cut(&[b"ab\n\nc\n"]), want);
        assert_eq!(cut(&[b""]), (vec![], 0));
    }

    #[test]
    fn line_over_the_limit_is_counted_and_the_next_line_is_read() {
        let half = vec![b'x'; LONGEST_KEPT / 2 + 1];
        assert_eq!(cut(&[&half, &half, b"\nnext\n"]), (vec!["next".to_owned()], 2));
    }

    #[test]
    fn line_over_the_limit_keeps_its_short_members() {
        let half = vec![b'x'; LONGEST_KEPT / 2 + 1];
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for chunk in [&b"{\"long\": \""[..], &half, &half, b"\", \"a\": 1}\n{}\n"] {
            lines.feed(chunk, |line| seen.push((String::from_utf8_lossy(line.bytes).into_owned(), line.whole)));
        }
        let [(long, false), (next, true)] = &seen[..] else { panic!("{} lines", seen.len()) };
        assert!(long.len() < 1 << 20 && long.ends_with("x…\", \"a\": 1}"));
        assert_eq!((next.as_str(), lines.count), ("{}", 2));
    }
}

//! Writing, unbuffered and fast.

use std::io::{self, Write as _};

use crate::plan::{Sink, Size};

/// Large enough that a flood spends its time in the pipe and not in system calls.
const CHUNK: usize = 256 * 1024;

/// Writes all of it and lets nothing linger in a buffer.
///
/// The lock is held for this one piece only: a signal handler may want to write while a flood is on.
pub(crate) fn write(to: Sink, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    match to {
        Sink::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Sink::Stderr => io::stderr().lock().write_all(bytes),
    }
}

/// Writes `pattern` over and over.
pub(crate) fn flood(to: Sink, pattern: &[u8], size: Size) -> io::Result<()> {
    assert!(!pattern.is_empty(), "stand-in: a flood needs a pattern");
    let mut left = match size {
        Size::Bytes(bytes) => bytes,
        Size::Times(times) => times * pattern.len() as u64,
    };
    // Whole copies only, so that the next chunk begins where the pattern does.
    let chunk = pattern.repeat((CHUNK / pattern.len()).max(1));
    while left > 0 {
        let piece = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        write(to, &chunk[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

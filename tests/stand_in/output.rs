//! Fast, unbuffered output.

use std::io::{self, Write as _};

use crate::plan::{Sink, Size};

/// Large enough that system calls do not slow down a flood.
const CHUNK: usize = 256 * 1024;

/// Writes all bytes without buffering.
///
/// The lock is held only for these bytes, because a signal handler may write during a flood.
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

/// Writes `pattern` repeatedly.
pub(crate) fn flood(to: Sink, pattern: &[u8], size: Size) -> io::Result<()> {
    assert!(!pattern.is_empty(), "stand-in: a flood needs a pattern");
    let mut left = match size {
        Size::Bytes(bytes) => bytes,
        Size::Times(times) => times * pattern.len() as u64,
    };
    // Only complete copies, so that the next chunk begins with the start of the pattern.
    let chunk = pattern.repeat((CHUNK / pattern.len()).max(1));
    while left > 0 {
        let piece = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        write(to, &chunk[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

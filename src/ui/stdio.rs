//! The standard streams of this program, without buffers.
//!
//! Some parents, such as node and asyncio, make them non-blocking. That setting is shared with this program. Reads and
//! writes then wait until the stream is ready, instead of failing.

use std::fs::File;
use std::io::{self, Read, Write};
#[cfg(windows)]
use std::thread;
#[cfg(windows)]
use std::time::Duration;

/// Returns whether `metadata` belongs to a file that is one of the standard streams.
#[cfg(unix)]
pub(crate) fn is_standard_stream(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |stream: io::Result<File>| {
        let stream = stream.and_then(|stream| stream.metadata());
        stream.is_ok_and(|stream| (stream.dev(), stream.ino()) == (metadata.dev(), metadata.ino()))
    };
    same(handles::of(&io::stdin())) || same(handles::of(&io::stdout())) || same(stderr())
}

/// Always false, because paths do not refer to streams on Windows.
#[cfg(windows)]
pub(crate) fn is_standard_stream(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Returns whether a write failed because the reader closed the pipe.
pub(crate) fn is_reader_gone(error: &io::Error) -> bool {
    /// `ERROR_PIPE_NOT_CONNECTED`, for which the standard library has no name.
    const NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe || (cfg!(windows) && error.raw_os_error() == Some(NOT_CONNECTED))
}

/// Writes all of `bytes`, and waits while the other end is not ready.
pub(crate) fn write_all(file: &File, bytes: &[u8]) -> io::Result<()> {
    write_to(file, bytes, || wait_until_ready(file, Direction::Write))
}

/// Writes all of `bytes` to `writer`, calling `wait` while it is not ready.
fn write_to(mut writer: impl Write, mut bytes: &[u8], wait: impl Fn() -> io::Result<()>) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A reader that waits for data.
pub(crate) struct BlockingReader(pub(crate) File);

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_from(&self.0, buffer, || wait_until_ready(&self.0, Direction::Read))
    }
}

/// Reads from `reader` into `buffer`, calling `wait` while nothing has come yet.
fn read_from(mut reader: impl Read, buffer: &mut [u8], wait: impl Fn() -> io::Result<()>) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait()?,
            read => return read,
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

#[cfg(unix)]
fn wait_until_ready(file: &File, direction: Direction) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let flags = match direction {
        Direction::Read => PollFlags::IN,
        Direction::Write => PollFlags::OUT,
    };
    match poll(&mut [PollFd::new(file, flags)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Pauses before a retry. Streams on Windows are not expected to need this.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it can fail")]
fn wait_until_ready(_file: &File, _direction: Direction) -> io::Result<()> {
    thread::sleep(Duration::from_millis(5));
    Ok(())
}

#[cfg(unix)]
mod handles {
    use std::os::fd::AsFd;

    use super::{File, io};

    pub(crate) fn of(stream: &impl AsFd) -> io::Result<File> {
        Ok(File::from(stream.as_fd().try_clone_to_owned()?))
    }
}

#[cfg(windows)]
mod handles {
    use std::os::windows::io::AsHandle;

    use super::{File, io};

    pub(crate) fn of(stream: &impl AsHandle) -> io::Result<File> {
        Ok(File::from(stream.as_handle().try_clone_to_owned()?))
    }
}

pub(crate) fn stdin() -> io::Result<BlockingReader> {
    handles::of(&io::stdin()).map(BlockingReader)
}

pub(crate) fn stdout() -> io::Result<File> {
    handles::of(&io::stdout())
}

pub(super) fn stderr() -> io::Result<File> {
    handles::of(&io::stderr())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use io::ErrorKind::{BrokenPipe, Interrupted, WouldBlock, WriteZero};

    use super::*;

    /// Answers each read with the next of these.
    struct ScriptedReads(Vec<io::Result<usize>>);

    impl Read for ScriptedReads {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.remove(0)
        }
    }

    #[test]
    fn read_waits_until_something_has_come() {
        let read = |answers: Vec<io::Result<usize>>| {
            let waits = Cell::new(0);
            let wait = || {
                waits.set(waits.get() + 1);
                Ok(())
            };
            let result = read_from(ScriptedReads(answers), &mut [0; 8], wait);
            (result.map_err(|error| error.kind()), waits.get())
        };
        assert_eq!(read(vec![Err(WouldBlock.into()), Err(WouldBlock.into()), Ok(3)]), (Ok(3), 2));
        assert_eq!(read(vec![Ok(0)]), (Ok(0), 0));
        assert_eq!(read(vec![Err(BrokenPipe.into())]), (Err(BrokenPipe), 0));
    }

    /// Answers each write with the next of `answers`, and with all bytes after the last.
    struct ScriptedWrites<'a> {
        answers: Vec<io::Result<usize>>,
        written: &'a mut Vec<u8>,
    }

    impl Write for ScriptedWrites<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = if self.answers.is_empty() { bytes.len() } else { self.answers.remove(0)? };
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_continues_after_an_interruption_and_waits_until_the_stream_is_ready() {
        let write = |answers: Vec<io::Result<usize>>| {
            let (mut written, waits) = (Vec::new(), Cell::new(0));
            let wait = || {
                waits.set(waits.get() + 1);
                Ok(())
            };
            let result = write_to(ScriptedWrites { answers, written: &mut written }, b"answer", wait);
            (result.map_err(|error| error.kind()), String::from_utf8(written).unwrap(), waits.get())
        };
        let answers = vec![Ok(2), Err(Interrupted.into()), Ok(1), Err(WouldBlock.into()), Err(WouldBlock.into())];
        assert_eq!(write(answers), (Ok(()), "answer".to_owned(), 2));
        assert_eq!(write(vec![Ok(3), Err(BrokenPipe.into())]), (Err(BrokenPipe), "ans".to_owned(), 0));
        assert_eq!(write(vec![Ok(0)]), (Err(WriteZero), String::new(), 0));
    }
}

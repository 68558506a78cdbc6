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
pub(crate) fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_until_ready(file, Direction::Write)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A reader that waits for data.
pub(crate) struct BlockingReader(pub(crate) File);

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_until_ready(&self.0, Direction::Read)?;
                }
                read => return read,
            }
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

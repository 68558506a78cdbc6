//! Our own standard streams, without buffers. A parent may have made them non-blocking (node and asyncio do, and the
//! setting belongs to both ends): then we wait where they are not ready, instead of failing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// When writing to standard output has to be over.
static DEADLINE: OnceLock<Instant> = OnceLock::new();

/// Opens what stands for standard output.
static REDIRECTED: OnceLock<Box<dyn Fn() -> io::Result<File> + Send + Sync>> = OnceLock::new();

/// From now on what `open` gives stands for standard output.
pub(crate) fn redirect(open: impl Fn() -> io::Result<File> + Send + Sync + 'static) {
    let _ = REDIRECTED.set(Box::new(open));
}

/// Writes all of `bytes` to the standard output that we were started with.
pub(crate) fn print_past_redirection(bytes: &[u8]) -> io::Result<()> {
    write_all(&mut handles::of(&io::stdout())?, bytes)
}

/// Whether `metadata` is that of a file that one of our standard streams is.
#[cfg(unix)]
pub(crate) fn is_standard_stream(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |stream: io::Result<File>| {
        let stream = stream.and_then(|stream| stream.metadata());
        stream.is_ok_and(|stream| (stream.dev(), stream.ino()) == (metadata.dev(), metadata.ino()))
    };
    same(handles::of(&io::stdin())) || same(handles::of(&io::stdout())) || same(stderr())
}

/// There a path does not lead to a stream.
#[cfg(windows)]
pub(crate) fn is_standard_stream(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Even after the deadline an answer gets this long to be taken.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// From now on a reader that does not read is not waited for beyond `deadline`.
pub(crate) fn set_deadline(deadline: Instant) {
    let _ = DEADLINE.set(deadline);
}

/// Writes all of `bytes` to standard output. A reader that went away is no failure: it took what it wanted.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let Some(deadline) = DEADLINE.get() else { return forgiving(write_all(&mut stdout()?, bytes)) };
    let (sender, receiver) = mpsc::channel();
    let (mut stdout, bytes) = (stdout()?, bytes.to_owned());
    thread::Builder::new().spawn(move || drop(sender.send(write_all(&mut stdout, &bytes))))?;
    let patience = deadline.saturating_duration_since(Instant::now()).max(LAST_CHANCE);
    match receiver.recv_timeout(patience) {
        Ok(written) => forgiving(written),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Writes last words to standard output, where its reader takes them at once. There is nobody to tell where that fails.
pub(crate) fn print_soon(bytes: &[u8]) {
    let Ok(mut stdout) = stdout() else { return };
    let (sender, receiver) = mpsc::channel();
    let bytes = bytes.to_owned();
    let written = thread::Builder::new().spawn(move || drop(sender.send(write_all(&mut stdout, &bytes))));
    if written.is_ok() {
        let _ = receiver.recv_timeout(LAST_CHANCE);
    }
}

/// Whether standard output is a terminal that shows colours, and its user wants them (`NO_COLOR`).
pub(crate) fn shows_colours() -> bool {
    REDIRECTED.get().is_none() && console::Term::stdout().features().colors_supported()
}

/// How many columns the terminal on standard output has; `None` where it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    let terminal = console::Term::stdout();
    (terminal.is_term() && REDIRECTED.get().is_none()).then(|| usize::from(terminal.size().1))
}

/// Writes to standard error. There is nobody to tell where that fails.
pub(crate) fn tell(text: &str) {
    if let Ok(mut stderr) = stderr() {
        let _ = write_all(&mut stderr, text.as_bytes());
    }
}

fn forgiving(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if is_reader_gone(&error) => Ok(()),
        written => written,
    }
}

/// Whether an output cannot be written because whoever read it went away.
pub(crate) fn is_reader_gone(error: &io::Error) -> bool {
    /// `ERROR_PIPE_NOT_CONNECTED`, which the standard library has no name for.
    const NOT_CONNECTED: i32 = 233;
    error.kind() == io::ErrorKind::BrokenPipe || (cfg!(windows) && error.raw_os_error() == Some(NOT_CONNECTED))
}

/// Writes all of `bytes`, waiting where the other end is not ready.
pub(crate) fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
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

/// A reader that waits where nothing is there yet.
pub(crate) struct Patient(pub(crate) File);

impl Read for Patient {
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

/// Windows has no such streams; should one say so all the same, it is asked again after a moment.
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

    pub(super) fn of(stream: &impl AsFd) -> io::Result<File> {
        Ok(File::from(stream.as_fd().try_clone_to_owned()?))
    }
}

#[cfg(windows)]
mod handles {
    use std::os::windows::io::AsHandle;

    use super::{File, io};

    pub(super) fn of(stream: &impl AsHandle) -> io::Result<File> {
        Ok(File::from(stream.as_handle().try_clone_to_owned()?))
    }
}

pub(crate) fn stdin() -> io::Result<Patient> {
    handles::of(&io::stdin()).map(Patient)
}

pub(crate) fn stdout() -> io::Result<File> {
    REDIRECTED.get().map_or_else(|| handles::of(&io::stdout()), |open| open())
}

fn stderr() -> io::Result<File> {
    handles::of(&io::stderr())
}

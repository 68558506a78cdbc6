//! Our own standard streams, without buffers. A parent may have made them non-blocking (node and asyncio do, and the
//! setting belongs to both ends): then we wait where they are not ready, instead of failing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::late_signal;

/// When writing to standard output has to be over.
static DEADLINE: OnceLock<Instant> = OnceLock::new();

/// Opens what stands for standard output.
static REDIRECTED: OnceLock<Box<dyn Fn() -> io::Result<File> + Send + Sync>> = OnceLock::new();

/// From now on what `open` gives stands for standard output.
pub(crate) fn redirect(open: impl Fn() -> io::Result<File> + Send + Sync + 'static) {
    let _ = REDIRECTED.set(Box::new(open));
}

/// Writes all of `bytes` to the standard output that we were started with.
pub(crate) fn print_to_real_stdout(bytes: &[u8]) -> io::Result<()> {
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
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the reader of standard error may take for the last of it, if there is no deadline.
const FINAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two checks whether a signal has come.
const SIGNAL_POLL: Duration = Duration::from_millis(20);

/// From now on a reader that does not read is not waited for beyond `deadline`.
pub(crate) fn set_deadline(deadline: Instant) {
    let _ = DEADLINE.set(deadline);
}

/// Writes all of `bytes` to standard output. A reader that went away is not a failure: it took what it wanted.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] if the reader has not taken everything by the deadline, or a second after a signal that
/// came since the turn ended.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = stdout()?;
    if DEADLINE.get().is_none() && !late_signal::is_held() {
        return ignore_broken_pipe(write_all(&mut stdout, bytes));
    }
    let (sender, receiver) = mpsc::channel();
    let bytes = bytes.to_owned();
    thread::Builder::new().spawn(move || drop(sender.send(write_all(&mut stdout, &bytes))))?;
    let mut limit = DEADLINE.get().map(|&deadline| deadline.max(Instant::now() + FINAL_WRITE_TIMEOUT));
    let mut signalled = false;
    loop {
        let now = Instant::now();
        if !signalled && late_signal::get().is_some() {
            signalled = true;
            limit = Some(limit.map_or(now + FINAL_WRITE_TIMEOUT, |limit| limit.min(now + FINAL_WRITE_TIMEOUT)));
        }
        let left = limit.map_or(SIGNAL_POLL, |limit| limit.saturating_duration_since(now));
        match receiver.recv_timeout(left.min(SIGNAL_POLL)) {
            Ok(written) => return ignore_broken_pipe(written),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Writes last words to standard output, where its reader takes them at once. There is nobody to tell where that fails.
pub(crate) fn print_with_timeout(bytes: &[u8]) {
    let Ok(mut stdout) = stdout() else { return };
    let (sender, receiver) = mpsc::channel();
    let bytes = bytes.to_owned();
    let written = thread::Builder::new().spawn(move || drop(sender.send(write_all(&mut stdout, &bytes))));
    if written.is_ok() {
        let _ = receiver.recv_timeout(FINAL_WRITE_TIMEOUT);
    }
}

/// Whether standard output is a terminal that shows colours, and its user wants them (`NO_COLOR`).
pub(crate) fn shows_colors() -> bool {
    REDIRECTED.get().is_none() && console::Term::stdout().features().colors_supported()
}

/// How many columns the terminal on standard output has; `None` where it is none.
pub(crate) fn terminal_width() -> Option<usize> {
    let terminal = console::Term::stdout();
    (terminal.is_term() && REDIRECTED.get().is_none()).then(|| usize::from(terminal.size().1))
}

/// The thread that writes to standard error, in order. A reader that has stopped reading holds up that thread alone.
struct StderrWriter {
    queue: mpsc::Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
}

/// How many texts are not written yet.
#[derive(Default)]
struct Backlog {
    pending: Mutex<usize>,
    written: Condvar,
    /// A caller has waited in vain; the next ones do not wait.
    stalled: AtomicBool,
}

/// Started with the first text.
static STDERR: OnceLock<Option<StderrWriter>> = OnceLock::new();

impl StderrWriter {
    /// The writer; `None` if standard error is closed or the system has no thread to give.
    fn get() -> Option<&'static Self> {
        STDERR.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let mut stderr = stderr().ok()?;
        let (queue, texts) = mpsc::channel::<Vec<u8>>();
        let backlog = Arc::new(Backlog::default());
        let shared = Arc::clone(&backlog);
        let writer = thread::Builder::new().spawn(move || {
            for text in texts {
                let _ = write_all(&mut stderr, &text); // there is nowhere to report a failure to
                *shared.lock() -= 1;
                shared.stalled.store(false, Ordering::SeqCst);
                shared.written.notify_all();
            }
        });
        writer.ok().map(|_| Self { queue, backlog })
    }

    fn send(&self, text: &str) {
        *self.backlog.lock() += 1;
        let _ = self.queue.send(text.as_bytes().to_owned()); // the writer lives as long as the program
    }
}

impl Backlog {
    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is written, for at most `timeout`. Returns whether it is.
    fn wait(&self, timeout: Duration) -> bool {
        let waited = self.written.wait_timeout_while(self.lock(), timeout, |pending| *pending > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

/// Writes to standard error, waiting for its reader for at most a second. What the reader has not taken by then is
/// written as soon as it reads again, as long as this program runs.
pub(crate) fn write_stderr(text: &str) {
    let Some(writer) = StderrWriter::get() else {
        if let Ok(mut stderr) = stderr() {
            let _ = write_all(&mut stderr, text.as_bytes());
        }
        return;
    };
    writer.send(text);
    let backlog = &writer.backlog;
    if !backlog.stalled.load(Ordering::SeqCst) && !backlog.wait(FINAL_WRITE_TIMEOUT) {
        backlog.stalled.store(true, Ordering::SeqCst);
    }
}

/// Draws on the terminal that standard error is. Drops the frame if the terminal has not taken what came before.
pub(crate) fn draw(frame: &str) {
    if let Some(writer) = StderrWriter::get().filter(|writer| *writer.backlog.lock() == 0) {
        writer.send(frame);
    }
}

/// Waits until standard error has taken everything, at the end of the program: until the deadline, if there is one, and
/// for a second after it. A call that was `interrupted` waits for that second only.
pub(crate) fn finish_stderr(interrupted: bool) {
    let Some(Some(writer)) = STDERR.get() else { return };
    let left = match DEADLINE.get() {
        _ if interrupted => FINAL_WRITE_TIMEOUT,
        Some(deadline) => deadline.saturating_duration_since(Instant::now()).max(FINAL_WRITE_TIMEOUT),
        None => FINAL_TIMEOUT,
    };
    writer.backlog.wait(left);
}

fn ignore_broken_pipe(written: io::Result<()>) -> io::Result<()> {
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
    REDIRECTED.get().map_or_else(|| handles::of(&io::stdout()), |open| open())
}

fn stderr() -> io::Result<File> {
    handles::of(&io::stderr())
}

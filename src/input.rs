//! Reads the caller's input (prompts, roles and environment variables) from files and standard input.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::sys;
use crate::ui::stdio;

/// The largest accepted input. Without a limit, reading a device might never end.
const LARGEST: u64 = 256 << 20;

/// The time after which a named pipe without a writer is an error.
#[cfg(unix)]
const PIPE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// Reads all of standard input.
pub(crate) fn standard_input(deadline: Option<Instant>) -> Result<Vec<u8>> {
    within(deadline, "standard input", || read_bounded(stdio::stdin()?))
}

/// Reads all of a file. `what` names it in errors, for example by its option.
pub(crate) fn file(path: &Path, what: &str, deadline: Option<Instant>) -> Result<Vec<u8>> {
    let owned = path.to_owned();
    within(deadline, &format!("{what} {}", path.display()), move || read_file(&owned))
}

/// Reads all of a file that must be text, and removes a byte order mark.
pub(crate) fn text_file(path: &Path, what: &str, deadline: Option<Instant>) -> Result<String> {
    let text = String::from_utf8(file(path, what, deadline)?)
        .map_err(|_| Error::usage(format!("{what} {} is not UTF-8", path.display())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Runs `read` on a thread, so that the deadline can end the wait.
fn within(
    deadline: Option<Instant>,
    what: &str,
    read: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let reader = thread::Builder::new().spawn(move || drop(sender.send(read())));
    reader.map_err(|error| Error::new(ErrorKind::Io, format!("cannot read {what}")).with_io_cause(&error))?;
    let result = match deadline {
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    match result {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Error::usage(format!("cannot read {what}")).with_io_cause(&error)),
        Err(RecvTimeoutError::Timeout) => {
            Err(Error::new(ErrorKind::Deadline, format!("the deadline passed while reading {what}"))
                .with_hint("close it, or allow more time with --deadline-seconds"))
        }
        Err(RecvTimeoutError::Disconnected) => Err(Error::new(ErrorKind::Io, format!("cannot read {what}"))),
    }
}

fn read_bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(bytes)
}

/// Reads all of a regular file. Never waits for another process.
///
/// # Errors
///
/// Fails if `path` is not a regular file, or if it is larger than 256 MiB.
pub(crate) fn regular_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, kind) = open(path)?;
    if kind.is_file() { read_bounded(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Reads the last `length` bytes of a regular file. Never waits for another process.
///
/// # Errors
///
/// Fails if `path` is not a regular file.
pub(crate) fn end_of_regular_file(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let (mut file, kind) = open(path)?;
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, kind) = open(path)?;
    if kind.is_file() { read_bounded(file) } else { read_special(file, kind) }
}

/// Opens any file without blocking.
fn open(path: &Path) -> io::Result<(File, std::fs::FileType)> {
    if path.is_dir() {
        return Err(io::Error::other("it is a directory")); // Windows would report that access is denied
    }
    let mut options = OpenOptions::new();
    options.read(true);
    sys::without_blocking(&mut options);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    Ok((file, kind))
}

/// Reads a pipe, such as the shell's `<(…)`, or the null device. A pipe without a writer is an error after a second.
#[cfg(unix)]
fn read_special(mut file: File, kind: std::fs::FileType) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileTypeExt;
    if !kind.is_fifo() {
        // the null device is an empty input; other devices may never end
        return match file.read(&mut [0; 1]) {
            Ok(0) => Ok(Vec::new()),
            _ => Err(io::Error::other("it is neither a file nor a pipe")),
        };
    }
    let started = Instant::now();
    let mut first = [0; 1];
    let head = loop {
        match file.read(&mut first) {
            Ok(0) if started.elapsed() > PIPE_TIMEOUT => {
                return Err(io::Error::other("it is a pipe with no writer"));
            }
            // no writer yet, or one that closed the pipe without writing
            Ok(0) => thread::sleep(PIPE_TIMEOUT / 100),
            Ok(_) => break &first[..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break &[],
            Err(error) => return Err(error),
        }
    };
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?; // there is a writer, so reads may block
    read_bounded(head.chain(file))
}

#[cfg(windows)]
fn read_special(_file: File, _kind: std::fs::FileType) -> io::Result<Vec<u8>> {
    Err(io::Error::other("it is not a regular file"))
}

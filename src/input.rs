//! Reading what the caller gives us: prompts, roles and variables, from files and standard input.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::ui::stdio;

/// More than this is no prompt, role or list of variables; a device would never end.
const LARGEST: u64 = 256 << 20;

/// How long a named pipe may be without a writer.
#[cfg(unix)]
const PIPE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// All of standard input.
pub(crate) fn standard_input(deadline: Option<Instant>) -> Result<Vec<u8>> {
    within(deadline, "standard input", || read_bounded(stdio::stdin()?))
}

/// All of a file. `what` is what the caller calls it, an option's name.
pub(crate) fn file(path: &Path, what: &str, deadline: Option<Instant>) -> Result<Vec<u8>> {
    let owned = path.to_owned();
    within(deadline, &format!("{what} {}", path.display()), move || read_file(&owned))
}

/// All of a file that must be text, without a byte order mark.
pub(crate) fn text_file(path: &Path, what: &str, deadline: Option<Instant>) -> Result<String> {
    let text = String::from_utf8(file(path, what, deadline)?)
        .map_err(|_| Error::usage(format!("{what} {} is not UTF-8", path.display())))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Runs `read` on a thread, so that the deadline ends the waiting.
fn within(
    deadline: Option<Instant>,
    what: &str,
    read: impl FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let reader = thread::Builder::new().spawn(move || drop(sender.send(read())));
    reader.map_err(|error| Error::new(ErrorKind::Io, format!("{what} cannot be read")).with_io_cause(&error))?;
    let answer = match deadline {
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    match answer {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Error::usage(format!("{what} cannot be read")).with_io_cause(&error)),
        Err(RecvTimeoutError::Timeout) => {
            Err(Error::new(ErrorKind::Deadline, format!("the deadline passed while reading {what}"))
                .with_hint("close it, or allow more time with --deadline-seconds"))
        }
        Err(RecvTimeoutError::Disconnected) => Err(Error::new(ErrorKind::Io, format!("{what} cannot be read"))),
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

/// Returns the content of a regular file. It never waits for another process.
///
/// # Errors
///
/// Fails if `path` names something else, or if the file is larger than 256 MiB.
pub(crate) fn regular_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, kind) = open(path)?;
    if kind.is_file() { read_bounded(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (file, kind) = open(path)?;
    if kind.is_file() { read_bounded(file) } else { read_special(file, kind) }
}

/// Opens a file without blocking, whatever it is.
fn open(path: &Path) -> io::Result<(File, std::fs::FileType)> {
    if path.is_dir() {
        return Err(io::Error::other("it is a directory")); // Windows would say that access is denied
    }
    let mut options = OpenOptions::new();
    options.read(true);
    without_blocking(&mut options);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    Ok((file, kind))
}

/// A pipe is read as the shell's `<(…)` makes them. One that nobody opens for writing is not waited for.
#[cfg(unix)]
fn read_special(mut file: File, kind: std::fs::FileType) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileTypeExt;
    if !kind.is_fifo() {
        // the null device is a way to say nothing; others may never end
        return match file.read(&mut [0; 1]) {
            Ok(0) => Ok(Vec::new()),
            _ => Err(io::Error::other("it is neither a file nor a pipe")),
        };
    }
    let started = Instant::now();
    let mut first = [0; 1];
    let head = loop {
        match file.read(&mut first) {
            Ok(0) if started.elapsed() > PIPE_PATIENCE => {
                return Err(io::Error::other("it is a pipe that nobody writes to"));
            }
            // no writer yet, or one that came and went without a word
            Ok(0) => thread::sleep(PIPE_PATIENCE / 100),
            Ok(_) => break &first[..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break &[],
            Err(error) => return Err(error),
        }
    };
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?; // there is a writer: wait for it
    read_bounded(head.chain(file))
}

#[cfg(windows)]
fn read_special(_file: File, _kind: std::fs::FileType) -> io::Result<Vec<u8>> {
    Err(io::Error::other("it is no regular file"))
}

#[cfg(unix)]
fn without_blocking(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
}

#[cfg(windows)]
fn without_blocking(_options: &mut OpenOptions) {}

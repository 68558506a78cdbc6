//! The agent's three streams, each on a thread of its own, so that none can make another wait.
//!
//! The threads are never joined: one that blocks (a grandchild holds the pipe open, our reader does not read) ends with
//! the program.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr;

use super::{Listener, platform};
use crate::output::is_reader_gone;

/// Writes `bytes` to the agent's standard input and closes it. An agent that does not read to the end is its own
/// business.
pub(super) fn feed(mut pipe: impl Write + Send + 'static, bytes: Vec<u8>) {
    thread::spawn(move || drop(pipe.write_all(&bytes)));
}

/// How much is read at once.
const CHUNK: usize = 128 << 10;

/// One of the agent's outputs, being read.
pub(super) struct Stream<L> {
    shared: Arc<Shared<L>>,
}

struct Shared<L> {
    listener: Mutex<Option<L>>,
    ended: AtomicBool,
    /// Between reading a piece and being done with it.
    busy: AtomicBool,
    bytes: AtomicU64,
    started: Instant,
    /// When the last line came, in nanoseconds after `started`.
    last_line: AtomicU64,
    copied: Mutex<io::Result<()>>,
}

impl<L: Listener> Stream<L> {
    /// Reads `pipe` to its end: to our standard output first, with `copy`, then to `listener`. Calls `ended` at the end.
    pub(super) fn start(
        mut pipe: impl Read + Send + 'static,
        listener: L,
        copy: bool,
        ended: impl FnOnce() + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            listener: Mutex::new(Some(listener)),
            ended: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            started: Instant::now(),
            last_line: AtomicU64::new(0),
            copied: Mutex::new(Ok(())),
        });
        let stream = Self { shared: Arc::clone(&shared) };
        thread::spawn(move || {
            let mut out = copy.then(Copy::new);
            let mut buffer = vec![0; CHUNK];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        shared.busy.store(true, Ordering::SeqCst);
                        shared.bytes.fetch_add(n as u64, Ordering::SeqCst);
                        if memchr(b'\n', &buffer[..n]).is_some() {
                            let now = u64::try_from(shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                            shared.last_line.store(now, Ordering::SeqCst);
                        }
                        if let Some(out) = &mut out {
                            out.write(&buffer[..n]);
                        }
                        if let Some(listener) = &mut *lock(&shared.listener) {
                            listener.hear(&buffer[..n]);
                        }
                        shared.busy.store(false, Ordering::SeqCst);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            if let Some(out) = out {
                *lock(&shared.copied) = out.result;
            }
            shared.ended.store(true, Ordering::SeqCst);
            ended();
        });
        stream
    }

    pub(super) fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// How many bytes came so far.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// When the last line came; at first, when reading began.
    pub(super) fn last_line(&self) -> Instant {
        self.shared.started + Duration::from_nanos(self.shared.last_line.load(Ordering::SeqCst))
    }

    /// Whether a piece was read that is not yet dealt with.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::SeqCst)
    }

    /// What went wrong when copying to our standard output.
    pub(super) fn copied(&self) -> io::Result<()> {
        std::mem::replace(&mut *lock(&self.shared.copied), Ok(()))
    }

    /// The listener, waiting for it at most `patience` where it is just hearing something.
    pub(super) fn into_listener(self, patience: Duration) -> Option<L> {
        let until = Instant::now() + patience;
        loop {
            if let Ok(mut listener) = self.shared.listener.try_lock() {
                return listener.take();
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our standard output, unbuffered: what the agent wrote is there at once.
struct Copy {
    file: io::Result<File>,
    result: io::Result<()>,
    closed: bool,
}

impl Copy {
    fn new() -> Self {
        Self { file: platform::stdout(), result: Ok(()), closed: false }
    }

    /// Writes, until that fails once. The agent goes on either way.
    fn write(&mut self, chunk: &[u8]) {
        if self.closed {
            return;
        }
        let written = match &mut self.file {
            Ok(file) => file.write_all(chunk),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = written {
            self.closed = true;
            if !is_reader_gone(&error) {
                self.result = Err(error);
            }
        }
    }
}

/// The last of what was heard.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    const KEPT: usize = 64 << 10;

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl Listener for Tail {
    fn hear(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
        if self.0.len() > 2 * Self::KEPT {
            self.0.drain(..self.0.len() - Self::KEPT);
        }
    }
}

//! The agent's three streams, each on a thread of its own, so that none can make another wait.
//!
//! The threads are there before the agent is: where one cannot be made, nothing has been started yet. They are never
//! joined: one that blocks (a grandchild holds the pipe open, our reader does not read) ends with the program.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr;

use super::{OutputSink, Passthrough, platform};
use crate::ui::stdio;

/// How much is read at once.
const CHUNK: usize = 128 << 10;

/// Writes the agent's standard input and closes it. An agent that does not read to the end is its own business.
pub(super) struct Feeder(Sender<File>);

impl Feeder {
    pub(super) fn prepare(bytes: Vec<u8>) -> io::Result<Self> {
        let (sender, pipe) = mpsc::channel::<File>();
        thread::Builder::new().spawn(move || {
            if let Ok(mut pipe) = pipe.recv() {
                let _ = pipe.write_all(&bytes);
            }
        })?;
        Ok(Self(sender))
    }

    pub(super) fn feed(self, pipe: File) {
        let _ = self.0.send(pipe); // the thread waits for it
    }
}

/// One of the agent's outputs, being read.
pub(super) struct Stream<L> {
    shared: Arc<Shared<L>>,
    pipe: Option<Sender<File>>,
    /// The same pipe, for asking how much is in it.
    asked: Option<File>,
}

struct Shared<L> {
    listener: Mutex<Option<L>>,
    ended: AtomicBool,
    /// How many bytes were read.
    read: Mutex<u64>,
    /// How many of them are dealt with.
    handled: AtomicU64,
    started: Instant,
    /// When the last line came, in nanoseconds after `started`.
    last_line: AtomicU64,
    copied: Mutex<io::Result<()>>,
}

impl<L: OutputSink> Stream<L> {
    /// Makes ready to read a pipe to its end, for `listener` and, as `passing` says, our standard output. Calls `ended` at
    /// the end.
    pub(super) fn prepare(
        listener: L,
        passing: Passthrough,
        output: Option<File>,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            listener: Mutex::new(Some(listener)),
            ended: AtomicBool::new(false),
            read: Mutex::new(0),
            handled: AtomicU64::new(0),
            started: Instant::now(),
            last_line: AtomicU64::new(0),
            copied: Mutex::new(Ok(())),
        });
        let (sender, pipe) = mpsc::channel();
        let reading = Arc::clone(&shared);
        thread::Builder::new().spawn(move || {
            let Ok(pipe) = pipe.recv() else { return };
            reading.read_to_end(pipe, passing, output);
            reading.ended.store(true, Ordering::SeqCst);
            ended();
        })?;
        Ok(Self { shared, pipe: Some(sender), asked: None })
    }

    pub(super) fn start(&mut self, pipe: File) {
        self.asked = pipe.try_clone().ok();
        if let Some(sender) = self.pipe.take() {
            let _ = sender.send(pipe); // the thread waits for it
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.shared.ended.load(Ordering::SeqCst)
    }

    /// How many bytes were read, and how many are in the pipe now, where the system can tell.
    pub(super) fn bytes_read_and_pending(&self) -> (u64, Option<u64>) {
        let read = lock(&self.shared.read);
        (*read, self.asked.as_ref().and_then(platform::bytes_in))
    }

    /// How many bytes are dealt with: heard, and on our standard output where they belong there.
    pub(super) fn handled(&self) -> u64 {
        self.shared.handled.load(Ordering::SeqCst)
    }

    /// When the last line came; at first, when reading began.
    pub(super) fn last_line(&self) -> Instant {
        self.shared.started + Duration::from_nanos(self.shared.last_line.load(Ordering::SeqCst))
    }

    /// What went wrong when copying to our standard output.
    pub(super) fn copied(&self) -> io::Result<()> {
        std::mem::replace(&mut *lock(&self.shared.copied), Ok(()))
    }

    /// Takes the listener away, waiting for it at most `patience` where it is just hearing something. Nothing that comes
    /// later is heard.
    pub(super) fn take_listener(&self, patience: Duration) -> Option<L> {
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

impl<L: OutputSink> Shared<L> {
    fn read_to_end(&self, mut pipe: File, passing: Passthrough, output: Option<File>) {
        let mut out = output.map(StdoutWriter::new);
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match platform::read_counted(&mut pipe, &mut buffer, &self.read) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let chunk = &buffer[..n];
            if memchr(b'\n', chunk).is_some() {
                let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.last_line.store(now, Ordering::SeqCst);
            }
            if passing == Passthrough::Raw {
                self.write(out.as_mut(), chunk); // first: nobody is to wait for what we make of it
            }
            let words = self.listener(|listener| listener.write(chunk));
            self.write(out.as_mut(), &words);
            self.handled.fetch_add(n as u64, Ordering::SeqCst);
        }
        let words = self.listener(OutputSink::finish);
        self.write(out.as_mut(), &words);
    }

    /// Hands something to the listener, and tells what it has to say then. Whoever waits for the listener does not wait
    /// for our reader.
    fn listener(&self, hand: impl FnOnce(&mut L)) -> Vec<u8> {
        let mut listener = lock(&self.listener);
        let Some(listener) = &mut *listener else { return Vec::new() };
        hand(listener);
        listener.drain()
    }

    fn write(&self, out: Option<&mut StdoutWriter>, bytes: &[u8]) {
        let Some(out) = out.filter(|_| !bytes.is_empty()) else { return };
        out.write(bytes);
        if out.result.is_err() {
            *lock(&self.copied) = std::mem::replace(&mut out.result, Ok(()));
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Our standard output, unbuffered: what the agent wrote is there at once.
struct StdoutWriter {
    file: File,
    result: io::Result<()>,
    closed: bool,
}

impl StdoutWriter {
    fn new(file: File) -> Self {
        Self { file, result: Ok(()), closed: false }
    }

    /// Writes, until that fails once. The agent goes on either way.
    fn write(&mut self, chunk: &[u8]) {
        if self.closed {
            return;
        }
        if let Err(error) = stdio::write_all(&mut self.file, chunk) {
            self.closed = true;
            if !stdio::is_reader_gone(&error) {
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

impl OutputSink for Tail {
    fn write(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
        if self.0.len() > 2 * Self::KEPT {
            self.0.drain(..self.0.len() - Self::KEPT);
        }
    }
}

/// Writes `bytes` to `output`, and gives up after `timeout`.
pub(super) fn write_with_timeout(mut output: File, bytes: Vec<u8>, timeout: Duration) {
    let (sender, receiver) = mpsc::channel();
    let written = thread::Builder::new().spawn(move || drop(sender.send(stdio::write_all(&mut output, &bytes))));
    if written.is_ok() {
        let _ = receiver.recv_timeout(timeout);
    }
}

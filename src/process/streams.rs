//! The agent's three streams, each on its own thread, so that none delays another.
//!
//! The threads are started before the agent. If a thread cannot be started, neither is the agent. They are never
//! joined, because a thread can block: a grandchild may hold the pipe open, or stdout may be blocked. Such a thread
//! ends with the program.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr;

use super::supervisor::StreamProgress;
use super::{OutputSink, Passthrough, platform};
use crate::ui::{OutputStream, stdio};

/// The most that one call reads.
const CHUNK: usize = 128 << 10;

/// Writes the agent's standard input and closes it. An agent that does not read all of it is not an error.
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

/// One of the agent's outputs, read by a thread.
pub(super) struct Stream<S> {
    shared: Arc<Shared<S>>,
    sender: Option<Sender<File>>,
    /// A second handle of the pipe, to count the bytes in it.
    pipe: Option<File>,
}

struct Shared<S> {
    sink: Mutex<Option<S>>,
    ended: AtomicBool,
    bytes_read: Mutex<u64>,
    bytes_processed: AtomicU64,
    started: Instant,
    /// When the last line arrived, in nanoseconds after `started`.
    last_line: AtomicU64,
    /// Whether only reports of reconnections have arrived since then.
    reconnecting: AtomicBool,
    copied: Mutex<io::Result<()>>,
}

impl<S: OutputSink> Stream<S> {
    /// Prepares to read a pipe to its end, for `sink` and, if `passthrough` selects it, for `output`. Calls `ended` at
    /// the end.
    pub(super) fn prepare(
        sink: S,
        passthrough: Passthrough,
        output: Option<OutputStream>,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sink: Mutex::new(Some(sink)),
            ended: AtomicBool::new(false),
            bytes_read: Mutex::new(0),
            bytes_processed: AtomicU64::new(0),
            started: Instant::now(),
            last_line: AtomicU64::new(0),
            reconnecting: AtomicBool::new(false),
            copied: Mutex::new(Ok(())),
        });
        let (sender, pipe) = mpsc::channel();
        let reading = Arc::clone(&shared);
        thread::Builder::new().spawn(move || {
            let Ok(pipe) = pipe.recv() else { return };
            reading.read_to_end(pipe, passthrough, output);
            reading.ended.store(true, Ordering::SeqCst);
            ended();
        })?;
        Ok(Self { shared, sender: Some(sender), pipe: None })
    }

    pub(super) fn start(&mut self, pipe: File) {
        self.pipe = pipe.try_clone().ok();
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(pipe); // the thread waits for it
        }
    }

    /// Reports to the sink that the agent was started.
    pub(super) fn report_start(&self) {
        if let Some(sink) = &mut *lock(&self.shared.sink) {
            sink.start();
        }
    }

    pub(super) fn progress(&self) -> StreamProgress {
        // in this order, so that bytes that arrive meanwhile count as not processed, and an ended stream is complete
        let ended = self.shared.ended.load(Ordering::SeqCst);
        let bytes_processed = self.bytes_processed();
        let (bytes_read, bytes_pending) = self.bytes_read_and_pending();
        StreamProgress { bytes_read, bytes_pending, bytes_processed, ended }
    }

    /// Returns whether all bytes that were read are processed.
    pub(super) fn is_idle(&self) -> bool {
        self.bytes_processed() == self.bytes_read_and_pending().0
    }

    /// Returns the bytes read so far and, if the system reports them, the bytes in the pipe.
    fn bytes_read_and_pending(&self) -> (u64, Option<u64>) {
        let bytes_read = lock(&self.shared.bytes_read); // held, so that no byte is missed or counted twice
        (*bytes_read, self.pipe.as_ref().and_then(platform::bytes_in))
    }

    /// Returns how many bytes the sink and, if they belong there, stdout received.
    fn bytes_processed(&self) -> u64 {
        self.shared.bytes_processed.load(Ordering::SeqCst)
    }

    /// Returns when the last line arrived. Before the first line, that is when reading began.
    pub(super) fn last_line(&self) -> Instant {
        self.shared.started + Duration::from_nanos(self.shared.last_line.load(Ordering::SeqCst))
    }

    /// Returns whether only reports of reconnections have arrived since the last line.
    pub(super) fn is_reconnecting(&self) -> bool {
        self.shared.reconnecting.load(Ordering::SeqCst)
    }

    /// Returns what the agent does now, unless the reader thread is using the sink.
    pub(super) fn activity(&self) -> Option<String> {
        self.shared.sink.try_lock().ok()?.as_ref()?.activity()
    }

    /// Takes the result of writing to stdout.
    pub(super) fn copied(&self) -> io::Result<()> {
        std::mem::replace(&mut *lock(&self.shared.copied), Ok(()))
    }

    /// Takes the sink, waiting up to `timeout` while the reader thread is using it. Later output is discarded.
    pub(super) fn take_sink(&self, timeout: Duration) -> Option<S> {
        let until = Instant::now() + timeout;
        loop {
            if let Ok(mut sink) = self.shared.sink.try_lock() {
                return sink.take();
            }
            if Instant::now() >= until {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl<S: OutputSink> Shared<S> {
    fn read_to_end(&self, mut pipe: File, passthrough: Passthrough, output: Option<OutputStream>) {
        let mut out = output.map(StdoutWriter::new);
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match platform::read_counted(&mut pipe, &mut buffer, &self.bytes_read) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let chunk = &buffer[..n];
            if passthrough == Passthrough::Raw {
                self.write(out.as_mut(), chunk); // first, so that parsing does not delay it
            }
            let mut reconnecting = false;
            let rendered = self.with_sink(|sink| {
                sink.write(chunk);
                reconnecting = sink.is_reconnecting();
            });
            if memchr(b'\n', chunk).is_some() {
                self.note_line(reconnecting);
            }
            self.write(out.as_mut(), &rendered);
            self.bytes_processed.fetch_add(n as u64, Ordering::SeqCst);
        }
        let rendered = self.with_sink(OutputSink::finish);
        self.write(out.as_mut(), &rendered);
    }

    fn note_line(&self, reconnecting: bool) {
        self.reconnecting.store(reconnecting, Ordering::SeqCst);
        if !reconnecting {
            let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.last_line.store(now, Ordering::SeqCst);
        }
    }

    /// Calls `work` with the sink and returns what was rendered. The sink is unlocked before that is written, so that
    /// a blocked stdout does not block [`Stream::take_sink`].
    fn with_sink(&self, work: impl FnOnce(&mut S)) -> Vec<u8> {
        let mut sink = lock(&self.sink);
        let Some(sink) = &mut *sink else { return Vec::new() };
        work(sink);
        sink.drain()
    }

    fn write(&self, out: Option<&mut StdoutWriter>, bytes: &[u8]) {
        let Some(out) = out.filter(|_| !bytes.is_empty()) else { return };
        out.write(bytes);
        if out.result.is_err() {
            *lock(&self.copied) = std::mem::replace(&mut out.result, Ok(()));
        }
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to stdout without a buffer, so that output appears immediately.
struct StdoutWriter {
    output: OutputStream,
    result: io::Result<()>,
    closed: bool,
}

impl StdoutWriter {
    fn new(output: OutputStream) -> Self {
        Self { output, result: Ok(()), closed: false }
    }

    /// Writes `chunk`. Does nothing after the first failure, because the agent continues either way.
    fn write(&mut self, chunk: &[u8]) {
        if self.closed {
            return;
        }
        if let Err(error) = self.output.write_all(chunk) {
            self.closed = true;
            if !stdio::is_reader_gone(&error) {
                self.result = Err(error);
            }
        }
    }
}

/// Writes `bytes` to `output`, for at most `timeout`.
pub(super) fn write_with_timeout(output: OutputStream, bytes: Vec<u8>, timeout: Duration) {
    let (sender, written) = mpsc::channel();
    let writer = thread::Builder::new().spawn(move || drop(sender.send(output.write_all(&bytes))));
    if writer.is_ok() {
        let _ = written.recv_timeout(timeout);
    }
}

/// Keeps the last part of an output.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_bytes_and_renders_nothing() {
        let mut tail = Tail::default();
        tail.write(&vec![b'a'; 2 * Tail::KEPT]);
        assert_eq!(tail.0.len(), 2 * Tail::KEPT);
        tail.write(b"end");
        assert!(tail.drain().is_empty());
        let bytes = tail.into_bytes();
        assert_eq!(bytes.len(), Tail::KEPT);
        assert!(bytes.starts_with(b"aaa") && bytes.ends_with(b"aend"));
    }
}

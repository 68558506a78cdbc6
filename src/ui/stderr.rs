//! Standard error, written by a thread, so that a blocked reader blocks only that thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::stdio;

/// The time that one text may take before the call continues.
const TEXT_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes to standard error. The thread starts at the first text.
#[derive(Default)]
pub(super) struct Stderr {
    writer: OnceLock<Option<Writer>>,
    /// What was written so far, if a file will get it too.
    copy: Mutex<Option<Vec<u8>>>,
}

/// The thread's queue, and the texts that it has not written.
struct Writer {
    queue: mpsc::Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
}

/// The state of the texts that are not written yet.
#[derive(Default)]
struct Backlog {
    /// Their number.
    pending: Mutex<usize>,
    written: Condvar,
    /// Whether a text took too long. Then the call does not wait for the next ones.
    stalled: AtomicBool,
}

impl Stderr {
    /// Writes `text`, and waits for the reader for at most a second. A reader that continues later still receives the
    /// text if this program is still running.
    pub(super) fn write(&self, text: &str) {
        self.write_last(text);
        let Some(Writer { backlog, .. }) = self.writer() else { return };
        if !backlog.stalled.load(Ordering::SeqCst) && !backlog.wait(TEXT_TIMEOUT) {
            backlog.stalled.store(true, Ordering::SeqCst);
        }
    }

    /// Writes `text` without waiting for the reader, because [`finish`](Self::finish) follows.
    pub(super) fn write_last(&self, text: &str) {
        if let Some(copy) = &mut *self.copy.lock().unwrap_or_else(PoisonError::into_inner) {
            copy.extend_from_slice(text.as_bytes());
        }
        match self.writer() {
            Some(writer) => writer.send(text),
            None => {
                if let Ok(stderr) = stdio::stderr() {
                    let _ = stdio::write_all(&stderr, text.as_bytes()); // an error cannot be reported anywhere
                }
            }
        }
    }

    /// Draws a frame on the terminal, unless earlier texts are still pending.
    pub(super) fn draw(&self, frame: &str) {
        if let Some(writer) = self.writer().filter(|writer| *writer.backlog.lock() == 0) {
            writer.send(frame);
        }
    }

    /// Waits until everything is written, for at most `timeout`. Returns whether it is.
    pub(super) fn finish(&self, timeout: Duration) -> bool {
        match self.writer.get() {
            Some(Some(writer)) => writer.backlog.wait(timeout),
            _ => true,
        }
    }

    /// Returns the thread, or `None` if standard error is closed or the thread cannot be started.
    fn writer(&self) -> Option<&Writer> {
        self.writer.get_or_init(Writer::start).as_ref()
    }

    /// Keeps a copy of everything that is written from now on.
    pub(super) fn start_copy(&self) {
        *self.copy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// Ends the copy and returns it, after a wait of at most a second for the reader.
    pub(super) fn take_copy(&self) -> Vec<u8> {
        self.finish(TEXT_TIMEOUT);
        self.copy.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl fmt::Debug for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stderr")
    }
}

impl Writer {
    fn start() -> Option<Self> {
        stdio::stderr().ok()?;
        let (queue, texts) = mpsc::channel::<Vec<u8>>();
        let backlog = Arc::new(Backlog::default());
        let shared = Arc::clone(&backlog);
        let thread = thread::Builder::new().spawn(move || {
            for text in texts {
                // opened for each text, because a detached turn replaces the stream; an error cannot be reported anywhere
                let _ = stdio::stderr().and_then(|stderr| stdio::write_all(&stderr, &text));
                *shared.lock() -= 1;
                shared.stalled.store(false, Ordering::SeqCst);
                shared.written.notify_all();
            }
        });
        thread.ok().map(|_| Self { queue, backlog })
    }

    fn send(&self, text: &str) {
        *self.backlog.lock() += 1;
        let _ = self.queue.send(text.as_bytes().to_owned()); // the thread lives as long as the queue
    }
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything is written, for at most `timeout`. Returns whether it is.
    fn wait(&self, timeout: Duration) -> bool {
        let waited = self.written.wait_timeout_while(self.lock(), timeout, |pending| *pending > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }
}

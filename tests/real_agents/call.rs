//! One call of the program: how it is started and fed, and everything it left behind.

use std::{
    convert::Infallible,
    fmt,
    io::{Read, Write},
    iter,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::poll;

/// Longer than any call takes on a busy machine. What takes longer hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// What a call that has ended may still need to close its outputs: nothing that it started may hold them open.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// How much of an output a failing test shows, in bytes from its end.
const SHOWN: usize = 6000;

/// A call that has not begun.
pub(crate) struct Call {
    command: Command,
    input: Input,
}

enum Input {
    /// `/dev/null`.
    None,
    /// A pipe with these bytes in it.
    Bytes(Vec<u8>),
    /// A pipe with these bytes in it, which then stays open and silent for as long as the call runs.
    Unfinished(Vec<u8>),
}

impl Call {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, input: Input::None }
    }

    /// Pipes these bytes into the call.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Pipes these bytes into the call and keeps the pipe open, as a harness does that never thought of it.
    pub(crate) fn unfinished_input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Unfinished(bytes.into());
        self
    }

    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    pub(crate) fn start(mut self) -> Running {
        let stdin = if matches!(self.input, Input::None) { Stdio::null() } else { Stdio::piped() };
        let shown = show(&self.command);
        let started = Instant::now();
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let stdout = Captured::from(child.stdout.take().expect("stdout is piped"));
        let stderr = Captured::from(child.stderr.take().expect("stderr is piped"));
        let (held, holder) = mpsc::channel::<()>();
        if let Some(mut pipe) = child.stdin.take() {
            thread::spawn(move || {
                let (Input::Bytes(bytes) | Input::Unfinished(bytes)) = &self.input else {
                    return;
                };
                // A program that is not interested may close it at any time.
                let _ = pipe.write_all(bytes);
                if matches!(self.input, Input::Unfinished(_)) {
                    // Until the call is over and the other end is dropped.
                    let _ = holder.recv();
                }
            });
        }
        Running { child, shown, started, stdout, stderr, _input: held }
    }
}

/// A call that has begun. Dropped before it ended, it is killed.
pub(crate) struct Running {
    child: Child,
    shown: String,
    started: Instant,
    stdout: Captured,
    stderr: Captured,
    /// Keeps an unfinished input open.
    _input: mpsc::Sender<()>,
}

impl Running {
    /// # Panics
    ///
    /// If the call does not end, or if something that it left behind keeps its outputs open.
    pub(crate) fn wait(mut self) -> Outcome {
        let status = poll::until(LIMIT, || self.child.try_wait().expect("a child can be waited for"));
        let elapsed = self.started.elapsed();
        let closed = status.is_some() && self.stdout.is_closed() && self.stderr.is_closed();
        let outcome = Outcome {
            status,
            elapsed,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            shown: self.shown.clone(),
        };
        assert!(status.is_some(), "it does not end\n{outcome}");
        assert!(closed, "it ended, but something keeps its outputs open\n{outcome}");
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of a call's outputs, read as it comes.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Says nothing, and hangs up at the end of the output.
    end: mpsc::Receiver<Infallible>,
}

impl Captured {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (reading, end) = mpsc::channel();
        thread::spawn({
            let bytes = Arc::clone(&bytes);
            move || {
                let _reading = reading;
                let mut piece = [0; 8 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut piece) {
                    bytes.lock().expect("no reader panics").extend_from_slice(&piece[..count]);
                }
            }
        });
        Self { bytes, end }
    }

    /// Whether the output comes to its end, now that the call has.
    fn is_closed(&self) -> bool {
        self.end.recv_timeout(OUTPUT_LIMIT) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    /// What came so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no reader panics")).into_owned()
    }
}

/// What a call left behind. Shown, it is all that one needs to understand a failure.
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    /// `None` if it did not end.
    status: Option<ExitStatus>,
    shown: String,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        self.exit(0)
    }

    #[track_caller]
    pub(crate) fn exit(self, code: i32) -> Self {
        assert_eq!(self.status.and_then(|status| status.code()), Some(code), "exit status\n{self}");
        self
    }

    /// Standard output as one line, without its newline.
    #[track_caller]
    pub(crate) fn line(&self) -> &str {
        let line = self.stdout.strip_suffix('\n').filter(|line| !line.contains('\n'));
        line.unwrap_or_else(|| panic!("standard output is not one line\n{self}"))
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not JSON: {error}\n{self}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }

    /// What `--error-format json` put into the last line of standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        match serde_json::from_str::<Value>(line) {
            Ok(mut report) if report["error"].is_object() => report["error"].take(),
            _ => panic!("the last line of standard error is no error report\n{self}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stdout, stderr, elapsed, status, shown } = self;
        let status = status.map_or("still running".to_owned(), |status| status.to_string());
        let (stdout, stderr) = (end_of(stdout), end_of(stderr));
        write!(f, "$ {shown}\n{status} after {elapsed:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// The command line as one would type it, near enough.
fn show(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| {
        let argument = argument.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument.into_owned()
        } else {
            format!("{argument:?}")
        }
    });
    let words: Vec<_> = iter::once("invoke-persist".to_owned()).chain(arguments).collect();
    words.join(" ")
}

fn end_of(text: &str) -> &str {
    let start = text.len().saturating_sub(SHOWN);
    let start = (start..text.len()).find(|&index| text.is_char_boundary(index));
    &text[start.unwrap_or(0)..]
}

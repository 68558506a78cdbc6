//! Runs of the program: to its end, or watched while it is running.

use std::convert::Infallible;
use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;

use super::outcome::Finished;
use super::wait::POLL_INTERVAL;

/// The timeout of runs whose duration is not tested. It is long enough for a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The timeout for the outputs of a program that has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);

/// Runs a command to its end, with `input` in a pipe on its standard input.
#[track_caller]
pub(super) fn run_to_end(command: Command, input: Option<&[u8]>) -> Assert {
    let mut command = assert_cmd::Command::from_std(command);
    command.timeout(LIMIT);
    if let Some(input) = input {
        command.write_stdin(input);
    }
    let output = retry_on_wine(|| command.output());
    Assert::new(output).append_context("command", format!("{command:?}"))
}

/// Ways to run a command of [`super::Sandbox::cmd`].
pub(crate) trait RunCommand {
    /// Runs it to its end with an empty standard input, `/dev/null`.
    #[track_caller]
    fn run(&mut self) -> Assert {
        self.start().wait(LIMIT).assert
    }

    #[track_caller]
    fn run_with_input(&mut self, input: impl AsRef<[u8]>) -> Assert {
        self.start_with_input(input).wait(LIMIT).assert
    }

    /// Starts it with an empty standard input, `/dev/null`, and does not wait.
    fn start(&mut self) -> Running;

    fn start_with_input(&mut self, input: impl AsRef<[u8]>) -> Running;

    /// Starts it with a standard input that stays open and silent until the run is over.
    fn start_with_open_input(&mut self) -> Running;

    /// Starts it with `input` in a pipe that stays open until the run is over.
    fn start_with_unfinished_input(&mut self, input: impl AsRef<[u8]>) -> Running;
}

impl RunCommand for Command {
    #[track_caller]
    fn start(&mut self) -> Running {
        Running::new(self.stdin(Stdio::null()))
    }

    #[track_caller]
    fn start_with_input(&mut self, input: impl AsRef<[u8]>) -> Running {
        let mut running = self.start_with_unfinished_input(input);
        running.input_end = None;
        running
    }

    #[track_caller]
    fn start_with_open_input(&mut self) -> Running {
        self.start_with_unfinished_input("")
    }

    #[track_caller]
    fn start_with_unfinished_input(&mut self, input: impl AsRef<[u8]>) -> Running {
        let mut running = Running::new(self.stdin(Stdio::piped()));
        let mut stdin = running.child.stdin.take().expect("the stream is piped");
        let input = input.as_ref().to_vec();
        let (end, ended) = mpsc::channel();
        running.input_end = Some(end);
        // Written by a thread, because a program may answer before it has read everything, or close the pipe early.
        thread::spawn(move || {
            drop(stdin.write_all(&input));
            let _ = ended.recv();
        });
        running
    }
}

/// Restores the default effect of signals that the caller of the tests ignores, as shells do for background jobs.
/// Ignored signals are inherited, and handlers are not, so installing a handler is enough.
#[cfg(target_os = "linux")]
pub(super) fn reset_ignored_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use std::sync::atomic::AtomicBool;

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux describes every process");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask of signals");
        let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal digits");
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, always)
                .expect("the signal can be handled");
        }
    });
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reset_ignored_signals() {}

/// Starts a program. Retries an error of Wine that sometimes occurs when many programs are started concurrently.
#[track_caller]
fn retry_on_wine<T>(mut start: impl FnMut() -> io::Result<T>) -> T {
    /// `ERROR_INTERNAL_ERROR`, which the standard library does not name.
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..20 {
        match start() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => thread::sleep(POLL_INTERVAL),
            started => return started.expect("the program can be started"),
        }
    }
    panic!("Wine cannot start a program");
}

/// A running program. Both outputs are read continuously, so that it never waits for the test. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// The command, for messages.
    command: String,
    began: Instant,
    stdout: Reader,
    stderr: Reader,
    /// Keeps the input open until the run is dropped.
    input_end: Option<mpsc::Sender<Infallible>>,
}

impl Running {
    #[track_caller]
    fn new(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = retry_on_wine(|| command.spawn());
        let began = Instant::now();
        let stdout = Reader::of(child.stdout.take().expect("the stream is piped"));
        let stderr = Reader::of(child.stderr.take().expect("the stream is piped"));
        Self { child, command: format!("{command:?}"), began, stdout, stderr, input_end: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.pid(), signal);
    }

    /// Returns the part of standard output that has arrived.
    pub(crate) fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.so_far()).into_owned()
    }

    /// Returns the part of standard error that has arrived.
    pub(crate) fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Returns whether every process has closed standard output.
    pub(crate) fn has_closed_stdout(&self) -> bool {
        self.stdout.is_at_end()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the program can be waited for").is_some()
    }

    /// Waits for the end of the program and of both its outputs. Panics if the program does not end within `limit`, or
    /// if a process that it left holds an output open.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let limit_from = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                break status;
            }
            self.assert_in_time(limit_from, limit, "the program has not ended");
            thread::sleep(POLL_INTERVAL);
        };
        let took = self.began.elapsed();
        let limit_from = Instant::now();
        while !(self.stdout.is_at_end() && self.stderr.is_at_end()) {
            self.assert_in_time(
                limit_from,
                OUTPUT_LIMIT,
                "the program has ended, but a process holds its outputs open",
            );
            thread::sleep(POLL_INTERVAL);
        }
        let output = Output { status, stdout: self.stdout.so_far(), stderr: self.stderr.so_far() };
        let assert = Assert::new(output).append_context("command", std::mem::take(&mut self.command));
        Finished { assert, took }
    }

    #[track_caller]
    fn assert_in_time(&self, from: Instant, limit: Duration, complaint: &str) {
        let Self { command, .. } = self;
        let (stdout, stderr) = (shortened(&self.stdout_so_far()), shortened(&self.stderr_so_far()));
        assert!(from.elapsed() < limit, "{complaint} after {limit:?}: {command}\nstdout: {stdout}\nstderr: {stderr}");
    }
}

/// Shortens long output for a test's message.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 2000;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that the program has already ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to any process, for example one that an agent started.
#[cfg(unix)]
#[track_caller]
pub(crate) fn signal_process(pid: u32, signal: rustix::process::Signal) {
    use rustix::process::{Pid, kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a valid process ID");
    kill_process(pid, signal).expect("the process exists and has the same user");
}

/// A thread that reads a pipe to its end.
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => into.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => panic!("cannot read an output of the program: {error}"),
                }
            }
        });
        Self { read, thread }
    }

    fn so_far(&self) -> Vec<u8> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_at_end(&self) -> bool {
        self.thread.is_finished()
    }
}

//! A run of the program that is still going on.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::outcome::{Output, shortened};
use super::wait::POLL_INTERVAL;

/// For runs that are not about time: no machine is so slow, and a program that hangs does not hold up the tests for long.
const LIMIT: Duration = Duration::from_secs(60);

/// What a test does with a command of [`super::Sandbox::cmd`].
pub(crate) trait RunCommand {
    /// Runs it to its end, without standard input.
    #[track_caller]
    fn run(&mut self) -> Output {
        self.start().wait(LIMIT)
    }

    #[track_caller]
    fn run_with_input(&mut self, input: impl AsRef<[u8]>) -> Output {
        self.start_with_input(input).wait(LIMIT)
    }

    /// Starts it, without standard input, and does not wait.
    fn start(&mut self) -> Running;

    fn start_with_input(&mut self, input: impl AsRef<[u8]>) -> Running;

    /// Starts it with a standard input that stays open and silent until the run is over.
    fn start_with_open_input(&mut self) -> Running;
}

impl RunCommand for Command {
    #[track_caller]
    fn start(&mut self) -> Running {
        Running::new(self.stdin(Stdio::null()))
    }

    #[track_caller]
    fn start_with_input(&mut self, input: impl AsRef<[u8]>) -> Running {
        let mut running = Running::new(self.stdin(Stdio::piped()));
        let mut stdin = running.child.stdin.take().expect("it is piped");
        let input = input.as_ref().to_vec();
        // In a thread, for a program that answers before it has read everything must not be waited for; and one that does
        // not want all of it may close the pipe.
        thread::spawn(move || drop(stdin.write_all(&input)));
        running
    }

    #[track_caller]
    fn start_with_open_input(&mut self) -> Running {
        Running::new(self.stdin(Stdio::piped()))
    }
}

/// Whoever started the tests may have ignored signals, as shells do for what they run in the background, and so would
/// every program here. A handler is not inherited: behind one they have their usual meaning again.
#[cfg(target_os = "linux")]
pub(super) fn take_signals_as_they_are_meant() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use std::sync::atomic::AtomicBool;

    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells every process about itself");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask of signals");
        let ignored = u64::from_str_radix(ignored.trim(), 16).expect("in hexadecimal digits");
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1) {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, always).expect("it can be handled");
        }
    });
}

#[cfg(not(target_os = "linux"))]
pub(super) fn take_signals_as_they_are_meant() {}

/// Starts it. Wine sometimes fails to, of its own accord, where many programs are started at once.
#[track_caller]
fn spawn(command: &mut Command) -> Child {
    /// `ERROR_INTERNAL_ERROR`, which the standard library has no name for.
    const WINES_OWN: i32 = 1359;
    for _ in 0..20 {
        match command.spawn() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(WINES_OWN) => thread::sleep(POLL_INTERVAL),
            started => return started.expect("the program can be started"),
        }
    }
    panic!("Wine does not start any program");
}

/// The program at work. Both its outputs are read all the time, so that it never waits for the test. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stdout: Reader,
    stderr: Reader,
}

impl Running {
    #[track_caller]
    fn new(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command);
        let began = Instant::now();
        let stdout = Reader::of(child.stdout.take().expect("it is piped"));
        let stderr = Reader::of(child.stderr.take().expect("it is piped"));
        Self { child, began, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        signal_process(self.pid(), signal);
    }

    /// What has arrived on standard output until now.
    pub(crate) fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.so_far()).into_owned()
    }

    /// What has arrived on standard error until now.
    pub(crate) fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// Whether standard output has come to its end, because everybody who held it has closed it.
    pub(crate) fn has_closed_stdout(&self) -> bool {
        self.stdout.is_at_end()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the program can be waited for").is_some()
    }

    /// Waits for the end of the program and of both its outputs. Panics where either is not there within `limit` from now:
    /// an output without an end means that something which the program left behind still holds it.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Output {
        let limit_from = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                break status;
            }
            assert!(
                limit_from.elapsed() < limit,
                "no end within {limit:?}\nstdout: {}\nstderr: {}",
                shortened(&self.stdout_so_far()),
                shortened(&self.stderr_so_far()),
            );
            thread::sleep(POLL_INTERVAL);
        };
        let took = self.began.elapsed();
        while !(self.stdout.is_at_end() && self.stderr.is_at_end()) {
            assert!(limit_from.elapsed() < limit, "the program has ended, but somebody holds its outputs open");
            thread::sleep(POLL_INTERVAL);
        }
        let stdout_bytes = self.stdout.so_far();
        Output {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout_bytes).into_owned(),
            stderr: self.stderr_so_far(),
            stdout_bytes,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended already, which is all that is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to any process, for instance one of an agent's.
#[cfg(unix)]
#[track_caller]
pub(crate) fn signal_process(pid: u32, signal: rustix::process::Signal) {
    use rustix::process::{Pid, kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id of this system");
    kill_process(pid, signal).expect("the process is there and ours");
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

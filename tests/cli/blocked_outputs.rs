//! A blocked output does not delay a deadline, a signal or the release of a lock. A signal after the turn does not lose
//! the answer (contract section 8).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use crate::support::*;

const SOON: Duration = Duration::from_secs(60);

/// A full pipe, which accepts no bytes until it is read.
struct FullPipe {
    ours: File,
    theirs: OwnedFd,
    filled: usize,
}

impl FullPipe {
    fn new() -> Self {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::fs::fcntl_setfl(&theirs, OFlags::NONBLOCK).unwrap();
        let mut writer = File::from(theirs);
        let mut filled = 0;
        while let Ok(written) = writer.write(&[b'.'; 1024]) {
            filled += written;
        }
        rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
        Self { ours: ours.into(), theirs: writer.into(), filled }
    }

    /// Returns the end that a program writes to.
    fn writer(&self) -> OwnedFd {
        self.theirs.try_clone().unwrap()
    }

    /// Reads the pipe until every program has closed it. Returns the bytes that were written after it was full.
    fn read(mut self) -> String {
        drop(self.theirs);
        let mut text = String::new();
        self.ours.read_to_string(&mut text).unwrap();
        text.split_off(self.filled)
    }
}

fn resume<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let call = ["--backend", "claude", "--error-format", "json", "resume-json", "--session-name", "a", "--prompt", "p"];
    [&call[..], args].concat()
}

fn with_turn(turn: Turn) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(turn);
    sandbox
}

#[track_caller]
fn status_of(child: &mut Child) -> Option<i32> {
    wait_until(SOON, || child.try_wait().unwrap().is_some());
    child.wait().unwrap().code()
}

/// Starts a command with both outputs, or only standard error, connected to `pipe`.
fn start(mut command: Command, pipe: &FullPipe, both: bool) -> Child {
    command.stdin(Stdio::null()).stderr(pipe.writer());
    command.stdout(if both { pipe.writer().into() } else { Stdio::null() });
    command.spawn().unwrap()
}

#[test]
fn deadline_applies_if_neither_output_is_read() {
    let sandbox = with_turn(Turn::doing([Step::flood_stdout(1 << 20), Step::wait_for("never")]));
    let pipe = FullPipe::new();
    let stream = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"];
    let mut child = start(sandbox.cmd(&[&stream[..], &["--deadline-seconds", "1"]].concat()), &pipe, true);
    assert_eq!(status_of(&mut child), Some(124));
}

#[test]
fn deadline_applies_while_a_note_about_waiting_is_not_read() {
    let sandbox = with_turn(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let first = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    let pipe = FullPipe::new();
    let mut second = start(sandbox.cmd(&resume(&["--deadline-seconds", "2"])), &pipe, false);
    assert_eq!(status_of(&mut second), Some(124));
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

#[test]
fn session_is_unlocked_although_a_note_is_not_read() {
    // claude's new ID is printed as a note while the session is still locked
    let sandbox = with_turn(Backend::Claude.answers("another", "OK"));
    let pipe = FullPipe::new();
    let mut child = start(sandbox.cmd(&resume(&[])), &pipe, false);
    wait_until(SOON, || sandbox.mapping(Backend::Claude).contains("another"));
    // waits for the first call
    sandbox.succeeds(&resume(&["--deadline-seconds", "50"]));
    signal_process(child.id(), Signal::TERM);
    signal_process(child.id(), Signal::TERM);
    wait_until(SOON, || child.try_wait().unwrap().is_some());
}

#[test]
fn late_reader_of_stderr_receives_everything() {
    let sandbox = with_turn(Backend::Claude.fails("i", "no credit"));
    let pipe = FullPipe::new();
    let mut child = start(sandbox.cmd(&resume(&[])), &pipe, false);
    wait_until(SOON, || !sandbox.calls().is_empty());
    // longer than the timeout of a note, so the program no longer waits for its writer
    std::thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "the error waits for its reader");
    let text = pipe.read();
    assert_eq!(status_of(&mut child), Some(1));
    assert!(text.ends_with("}\n") && text.contains("no credit"), "{text}");
}

/// Starts a call at a terminal and stops the terminal's output when the agent is running.
#[cfg(target_os = "linux")]
fn start_at_stopped_terminal(sandbox: &Sandbox, options: &[&str]) -> (Child, Terminal) {
    use rustix::termios::{Action, tcflow};
    let terminal = Terminal::of_width(80);
    let mut command = sandbox.cmd(&resume(options));
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal.user_side());
    let child = command.spawn().unwrap();
    wait_until(SOON, || sandbox.has_reached("up"));
    tcflow(terminal.user_side(), Action::OOff).unwrap(); // as Ctrl-S does
    (child, terminal)
}

#[test]
#[cfg(target_os = "linux")]
fn stopped_terminal_does_not_delay_the_deadline() {
    let sandbox = with_turn(Turn::doing([Step::create("up"), Step::wait_for("never")]));
    let (mut child, _terminal) = start_at_stopped_terminal(&sandbox, &["--deadline-seconds", "2"]);
    assert_eq!(status_of(&mut child), Some(124));
}

#[test]
#[cfg(target_os = "linux")]
fn stopped_terminal_does_not_delay_a_signal() {
    let sandbox = with_turn(Turn::doing([Step::create("up"), Step::wait_for("never")]));
    let (mut child, _terminal) = start_at_stopped_terminal(&sandbox, &[]);
    signal_process(child.id(), Signal::TERM);
    assert_eq!(status_of(&mut child), Some(143));
}

#[test]
fn signal_while_the_answer_is_read_does_not_truncate_it() {
    // A busy machine may finish printing before the signal arrives, so the test makes several attempts.
    let is_interrupted = (0..5).any(|attempt| {
        let sandbox = with_turn(Backend::Claude.answers_at_length("i", 3_000_000));
        let mut command = sandbox.cmd(&resume(&["--model", "kept", "--print-result"]));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(SOON, || sandbox.mapping(Backend::Claude).contains("kept"));
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 1];
        stdout.read_exact(&mut first).unwrap(); // the rest does not fit into the pipe
        signal_process(child.id(), Signal::TERM);
        std::thread::sleep(Duration::from_millis(50 * attempt));
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(text.len(), 3_000_000, "the rest and the newline after it");
        let status = status_of(&mut child);
        if status == Some(0) {
            return false;
        }
        assert_eq!(status, Some(143));
        let error: serde_json::Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&error["error"]["kind"], &error["error"]["session_id"], &error["error"]["turn_started"]),
            (&"interrupted".into(), &"i".into(), &true.into())
        );
        true
    });
    assert!(is_interrupted);
}

#[test]
fn second_signal_ends_a_call_whose_answer_is_not_read() {
    let sandbox = with_turn(Backend::Claude.answers_at_length("i", 3_000_000));
    let mut command = sandbox.cmd(&resume(&["--model", "kept"]));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(SOON, || sandbox.mapping(Backend::Claude).contains("kept"));
    for _ in 0..2 {
        signal_process(child.id(), Signal::TERM);
        std::thread::sleep(Duration::from_millis(100)); // two signals at the same moment count as one
    }
    wait_until(SOON, || child.try_wait().unwrap().is_some());
    assert!(!child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs strace"]
fn signal_before_the_answer_is_printed_does_not_suppress_it() {
    for verb in ["resume-json", "create-session"] {
        let sandbox = with_turn(Backend::Claude.answers("i", "OK"));
        let trace = sandbox.root().join("trace");
        let mut command = sandbox.cmd_of(std::path::Path::new("strace"), &["-qq", "-f", "-o"]);
        // the mapping is updated after the agent ends and before the answer is printed
        command.arg(&trace).args(["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=3000000:when=1", "--"]);
        let args = ["--error-format", "json", "--backend", "claude", verb, "--session-name", "a", "--model", "m"];
        let program = sandbox.cmd(&args);
        command.arg(program.get_program()).args(program.get_args());
        if verb == "resume-json" {
            command.args(["--prompt", "p"]);
        }
        let running = command.start();
        let temp = sandbox.mapping_path(Backend::Claude);
        let (dir, name) = (temp.parent().unwrap(), temp.file_name().unwrap().to_str().unwrap());
        let is_temp = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap().file_name();
            entry.to_str().is_some_and(|entry| entry.starts_with(name) && entry != name)
        };
        wait_until(SOON, || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.any(is_temp)));
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid())).unwrap();
        signal_process(children.trim().parse().unwrap(), Signal::TERM);
        let output = running.wait(SOON).assert;
        let failure = output.failed(143, "interrupted");
        output.stdout(contains(if verb == "resume-json" { "OK" } else { "i\n" }));
        assert_eq!((failure.turn_started, failure.session_id.as_deref()), (Some(true), Some("i")));
        assert!(sandbox.mapping(Backend::Claude).contains("\"last_model\": \"m\""));
    }
}

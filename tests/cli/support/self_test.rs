//! Tests of the stand-in itself. Without them, other tests could pass because the stand-in does nothing.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{AssertExt as _, Backend, RunCommand as _, Sandbox, Sink, Step, Turn, contains, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

impl Sandbox {
    /// Returns a command that calls the stand-in.
    fn codex(&self, args: &[&str]) -> std::process::Command {
        self.cmd_of(&self.agent_program("codex"), args)
    }
}

#[test]
fn last_turn_repeats() {
    let sandbox = Sandbox::new();
    sandbox.agent([Turn::default().stdout("one\n"), Turn::default().stdout("two\n").stderr("oh\n").exit(3)]);
    sandbox.codex(&["a"]).run().success().stdout("one\n");
    for arg in ["b", "c"] {
        sandbox.codex(&[arg]).run().code(3).stdout("two\n").stderr("oh\n");
    }
    let calls = sandbox.calls();
    assert_eq!(calls.iter().map(|call| &*call.argv[0]).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(calls.iter().map(|call| call.ended).collect::<Vec<_>>(), [Some(0), Some(3), Some(3)]);
}

#[test]
fn call_is_recorded_with_directory_and_environment() {
    let mut sandbox = Sandbox::new();
    sandbox.env("SEEN", "yes");
    sandbox.agent(Turn::default().watching(&["SEEN", "NOT_SET"]));
    sandbox.codex(&["exec", "it's \"ü\"\n"]).run().success();
    let call = sandbox.only_call();
    assert_eq!(call.name, "codex");
    assert_eq!(call.argv, ["exec", "it's \"ü\"\n"]);
    assert_eq!(sandbox.with_placeholders(&call.cwd), "{WS}");
    assert_eq!(call.env, [("SEEN".to_owned(), Some("yes".to_owned())), ("NOT_SET".to_owned(), None)].into());
    assert_eq!(call.stdin, None);
}

#[test]
fn answer_has_the_requested_form() {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("last");
    sandbox.agent([Backend::Codex.answers("@ID@", "hi"), Turn::default().stdout("whole @ID@")]);
    let path = file.to_str().expect("UTF-8");
    sandbox
        .codex(&["exec", "resume", "id-7", "--json", "-o", path, "prompt"])
        .run()
        .stdout(contains(r#""thread_id":"id-7""#));
    assert_eq!(std::fs::read_to_string(&file).expect("the stand-in has written it"), "hi");
    sandbox.codex(&["exec", "--json"]).run().stdout("whole id-new-1");

    sandbox.agent(json!([{"stdout": "whole @ID@", "stream": "lines @ID@"}]));
    sandbox.codex(&["--resume", "id-8"]).run().stdout("whole id-8");
    sandbox.codex(&["--output-format", "stream-json", "--resume", "id-8"]).run().stdout("lines id-8");
}

#[test]
fn flood_has_the_given_length() {
    let sandbox = Sandbox::new();
    let mebibyte = 1 << 20;
    sandbox.agent(Turn::doing([Step::flood_stderr(mebibyte), Step::flood_stdout(64 * mebibyte)]));
    let output = sandbox.codex(&[]).run().success();
    assert_eq!(output.stderr_text().len(), 1 << 20);
    let line = output.stdout_text().lines().next().expect("the output has a line").len() + 1;
    assert_eq!(output.stdout_text().len(), (64 << 20) / line * line);
    assert!(output.stdout_text().ends_with("\"}\n"));
}

#[test]
fn waiting_agent_continues_when_allowed() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::stdout("before\n"), Step::wait_for("go"), Step::stdout("after\n")]));
    let mut running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || running.stdout_so_far() == "before\n");
    assert!(!running.has_ended());
    sandbox.allow("go");
    running.wait(LIMIT).assert.success().stdout("before\nafter\n");
}

#[test]
fn input_is_recorded_as_text_or_checksum() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::ReadStdin]));
    sandbox.codex(&[]).run_with_input("prompt ✓").success();
    assert_eq!(sandbox.last_call().stdin_text(), "prompt ✓");
    sandbox.codex(&[]).run().success();
    assert_eq!(sandbox.last_call().stdin_text(), "");
    sandbox.codex(&[]).run_with_input(vec![b'x'; 1_000_000]).success();
    let input = sandbox.last_call().stdin.expect("the input was read");
    // The output of `head -c 1000000 /dev/zero | tr '\0' x | md5sum`.
    assert_eq!((input.length, &*input.md5), (1_000_000, "ec78dbd963d2fc01e51176ed4dec299e"));
    assert_eq!(input.text, None);
}

#[test]
fn concurrent_calls_play_different_turns() {
    let sandbox = Sandbox::new();
    sandbox.agent((0..8).map(|n| Turn::default().stdout(&n.to_string())).collect::<Vec<_>>());
    let running: Vec<_> = (0..8).map(|_| sandbox.codex(&[]).start()).collect();
    let mut got: Vec<_> = running.into_iter().map(|running| running.wait(LIMIT).assert.stdout_text()).collect();
    got.sort();
    assert_eq!(got, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(sandbox.calls().len(), 8);
}

#[test]
fn broken_pipe_is_recorded_and_does_not_end_the_stand_in() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::wait_for("go"), Step::flood_stdout(1 << 20)]).stderr("still here"));
    let mut child =
        sandbox.codex(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the stand-in can be started");
    drop(child.stdout.take());
    sandbox.allow("go");
    let output = child.wait_with_output().expect("the stand-in ends");
    assert!(output.status.success());
    assert_eq!(output.stderr, b"still here");
    assert_eq!(sandbox.only_call().broken_pipes, [Sink::Stdout]);
}

#[test]
fn grandchild_holds_the_outputs_open() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::grandchild([Step::wait_for("go"), Step::stdout("late\n")])]));
    let mut running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || running.has_ended());
    assert_eq!(sandbox.only_call().grandchildren.len(), 1);
    assert!(!running.has_closed_stdout());
    sandbox.allow("go");
    running.wait(LIMIT).assert.success().stdout("late\n");
}

#[test]
fn waiting_agent_ends_with_its_sandbox() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::wait_for("never")]));
    let running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || !sandbox.calls().is_empty());
    drop(sandbox);
    running.wait(LIMIT).assert.code(98);
}

#[cfg(unix)]
mod unix {
    use super::super::{AssertExt as _, RunCommand as _, SignalName, is_alive};
    use super::{LIMIT, Sandbox, Step, Turn, wait_until};

    use rustix::process::Signal;

    #[test]
    fn signals_are_ignored_handled_and_raised() {
        let sandbox = Sandbox::new();
        let on_int =
            Step::OnSignal { signals: vec![SignalName::Int], steps: vec![Step::stdout("int\n"), Step::Exit(7)] };
        let ready = Step::stdout("ready\n");
        sandbox.agent([
            Turn::doing([Step::Ignore(vec![SignalName::Term]), on_int, ready, Step::wait_for("never")]),
            Turn::doing([Step::Raise(SignalName::Term)]),
        ]);
        let mut running = sandbox.codex(&[]).start();
        wait_until(LIMIT, || running.stdout_so_far() == "ready\n");
        running.signal(Signal::TERM);
        assert!(!running.has_ended());
        running.signal(Signal::INT);
        running.wait(LIMIT).assert.code(7).stdout("ready\nint\n");
        assert_eq!(sandbox.only_call().signals, [SignalName::Int]);

        assert_eq!(sandbox.codex(&[]).run().exit_code(), None);
        assert_eq!(sandbox.last_call().ended, None);
    }

    #[test]
    fn stdout_can_be_closed_before_the_turn_ends() {
        let sandbox = Sandbox::new();
        let on_term = Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::Exit(5)] };
        let steps =
            [on_term, Step::stdout("all\n"), Step::CloseStdout, Step::create("closed"), Step::wait_for("never")];
        sandbox.agent(Turn::doing(steps).exit(9));
        let mut running = sandbox.codex(&["exec"]).start();
        wait_until(LIMIT, || running.has_closed_stdout() && sandbox.has_reached("closed"));
        assert!(!running.has_ended());
        running.signal(Signal::TERM);
        running.wait(LIMIT).assert.code(5).stdout("all\n");
        assert_eq!(sandbox.only_call().argv, ["exec"]);
    }

    #[test]
    fn grandchild_can_leave_the_session() {
        let sandbox = Sandbox::new();
        let steps = vec![Step::create("left"), Step::wait_for("go")];
        sandbox.agent(Turn::doing([Step::Grandchild { steps, holds: vec![], own_session: true }]));
        sandbox.codex(&[]).run().success();
        wait_until(LIMIT, || sandbox.has_reached("left"));
        let call = sandbox.only_call();
        let grandchild = call.grandchildren[0];
        assert!(is_alive(grandchild));
        let pid = rustix::process::Pid::from_raw(grandchild.cast_signed());
        let session = rustix::process::getsid(pid).expect("the process is alive").as_raw_nonzero().get();
        assert_ne!(session, call.session);
        sandbox.allow("go");
        wait_until(LIMIT, || !is_alive(grandchild));
    }
}

//! The stand-in does what a plan says. Without this a test that passes might have tested nothing.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{Backend, RunCommand as _, Sandbox, Sink, Step, Turn, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

impl Sandbox {
    /// Calls the stand-in itself.
    fn codex(&self, args: &[&str]) -> std::process::Command {
        self.cmd_of(&self.agent_program("codex"), args)
    }
}

#[test]
fn the_last_turn_repeats() {
    let sandbox = Sandbox::new();
    sandbox.agent([Turn::default().stdout("one\n"), Turn::default().stdout("two\n").stderr("oh\n").exit(3)]);
    assert_eq!(sandbox.codex(&["a"]).run().succeeded().stdout, "one\n");
    for arg in ["b", "c"] {
        let output = sandbox.codex(&[arg]).run();
        assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(3), "two\n", "oh\n"));
    }
    let calls = sandbox.calls();
    assert_eq!(calls.iter().map(|call| &*call.argv[0]).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(calls.iter().map(|call| call.ended).collect::<Vec<_>>(), [Some(0), Some(3), Some(3)]);
}

#[test]
fn a_call_is_recorded_with_what_surrounds_it() {
    let mut sandbox = Sandbox::new();
    sandbox.env("SEEN", "yes");
    sandbox.agent(Turn::default().watching(&["SEEN", "NOT_SET"]));
    sandbox.codex(&["exec", "it's \"ü\"\n"]).run().succeeded();
    let call = sandbox.only_call();
    assert_eq!(call.name, "codex");
    assert_eq!(call.argv, ["exec", "it's \"ü\"\n"]);
    assert_eq!(sandbox.with_placeholders(&call.cwd), "{WS}");
    assert_eq!(call.env, [("SEEN".to_owned(), Some("yes".to_owned())), ("NOT_SET".to_owned(), None)].into());
    assert_eq!(call.stdin, None);
}

#[test]
fn an_answer_is_in_the_form_that_was_asked_for() {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("last");
    sandbox.agent([Backend::Codex.answers("@ID@", "hi"), Turn::default().stdout("whole @ID@")]);
    let path = file.to_str().expect("UTF-8");
    let output = sandbox.codex(&["exec", "resume", "id-7", "--json", "-o", path, "prompt"]).run();
    assert!(output.stdout.contains(r#""thread_id":"id-7""#), "{}", output.stdout);
    assert_eq!(std::fs::read_to_string(&file).expect("the stand-in has written it"), "hi");
    assert_eq!(sandbox.codex(&["exec", "--json"]).run().stdout, "whole id-new-1");

    sandbox.agent(json!([{"stdout": "whole @ID@", "stream": "lines @ID@"}]));
    assert_eq!(sandbox.codex(&["--resume", "id-8"]).run().stdout, "whole id-8");
    assert_eq!(sandbox.codex(&["--output-format", "stream-json", "--resume", "id-8"]).run().stdout, "lines id-8");
}

#[test]
fn a_flood_is_as_long_as_it_says() {
    let sandbox = Sandbox::new();
    let mebibyte = 1 << 20;
    sandbox.agent(Turn::doing([Step::flood_stderr(mebibyte), Step::flood_stdout(64 * mebibyte)]));
    let output = sandbox.codex(&[]).run().succeeded();
    assert_eq!(output.stderr.len(), 1 << 20);
    let line = output.stdout.lines().next().expect("there is one").len() + 1;
    assert_eq!(output.stdout.len(), (64 << 20) / line * line);
    assert!(output.stdout.ends_with("\"}\n"));
}

#[test]
fn waiting_ends_when_the_test_allows_it() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::stdout("before\n"), Step::wait_for("go"), Step::stdout("after\n")]));
    let mut running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || running.stdout_so_far() == "before\n");
    assert!(!running.has_ended());
    sandbox.allow("go");
    assert_eq!(running.wait(LIMIT).succeeded().stdout, "before\nafter\n");
}

#[test]
fn input_is_recorded_whole_or_by_its_checksum() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::ReadStdin]));
    sandbox.codex(&[]).run_with_input("prompt ✓").succeeded();
    assert_eq!(sandbox.last_call().stdin_text(), "prompt ✓");
    sandbox.codex(&[]).run().succeeded();
    assert_eq!(sandbox.last_call().stdin_text(), "");
    sandbox.codex(&[]).run_with_input(vec![b'x'; 1_000_000]).succeeded();
    let input = sandbox.last_call().stdin.expect("it was read");
    // As `head -c 1000000 /dev/zero | tr '\0' x | md5sum` has it.
    assert_eq!((input.length, &*input.md5), (1_000_000, "ec78dbd963d2fc01e51176ed4dec299e"));
    assert_eq!(input.text, None);
}

#[test]
fn calls_at_the_same_time_get_turns_of_their_own() {
    let sandbox = Sandbox::new();
    sandbox.agent((0..8).map(|n| Turn::default().stdout(&n.to_string())).collect::<Vec<_>>());
    let running: Vec<_> = (0..8).map(|_| sandbox.codex(&[]).start()).collect();
    let mut got: Vec<_> = running.into_iter().map(|running| running.wait(LIMIT).stdout).collect();
    got.sort();
    assert_eq!(got, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(sandbox.calls().len(), 8);
}

#[test]
fn a_reader_that_goes_away_is_noted_and_survived() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::wait_for("go"), Step::flood_stdout(1 << 20)]).stderr("still here"));
    let mut child = sandbox.codex(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    sandbox.allow("go");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(output.stderr, b"still here");
    assert_eq!(sandbox.only_call().broken_pipes, [Sink::Stdout]);
}

#[test]
fn a_grandchild_holds_the_outputs_open() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::grandchild([Step::wait_for("go"), Step::stdout("late\n")])]));
    let mut running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || running.has_ended());
    assert_eq!(sandbox.only_call().grandchildren.len(), 1);
    assert!(!running.has_closed_stdout());
    sandbox.allow("go");
    assert_eq!(running.wait(LIMIT).succeeded().stdout, "late\n");
}

#[test]
fn nobody_is_left_behind_by_a_test_that_is_over() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::wait_for("never")]));
    let running = sandbox.codex(&[]).start();
    wait_until(LIMIT, || !sandbox.calls().is_empty());
    drop(sandbox);
    assert_eq!(running.wait(LIMIT).code, Some(98));
}

#[cfg(unix)]
mod unix {
    use super::super::{RunCommand as _, SignalName, is_alive};
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
        let output = running.wait(LIMIT);
        assert_eq!((output.code, &*output.stdout), (Some(7), "ready\nint\n"));
        assert_eq!(sandbox.only_call().signals, [SignalName::Int]);

        assert_eq!(sandbox.codex(&[]).run().code, None);
        assert_eq!(sandbox.last_call().ended, None);
    }

    #[test]
    fn standard_output_can_end_before_the_turn() {
        let sandbox = Sandbox::new();
        let on_term = Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::Exit(5)] };
        let steps =
            [on_term, Step::stdout("all\n"), Step::CloseStdout, Step::create("closed"), Step::wait_for("never")];
        sandbox.agent(Turn::doing(steps).exit(9));
        let mut running = sandbox.codex(&["exec"]).start();
        wait_until(LIMIT, || running.has_closed_stdout() && sandbox.has_reached("closed"));
        assert!(!running.has_ended());
        running.signal(Signal::TERM);
        let output = running.wait(LIMIT);
        assert_eq!((output.code, &*output.stdout), (Some(5), "all\n"));
        assert_eq!(sandbox.only_call().argv, ["exec"]);
    }

    #[test]
    fn a_grandchild_can_leave_the_session() {
        let sandbox = Sandbox::new();
        let steps = vec![Step::create("left"), Step::wait_for("go")];
        sandbox.agent(Turn::doing([Step::Grandchild { steps, holds: vec![], own_session: true }]));
        sandbox.codex(&[]).run().succeeded();
        wait_until(LIMIT, || sandbox.has_reached("left"));
        let call = sandbox.only_call();
        let grandchild = call.grandchildren[0];
        assert!(is_alive(grandchild));
        let pid = rustix::process::Pid::from_raw(grandchild.cast_signed());
        let session = rustix::process::getsid(pid).expect("it is alive").as_raw_nonzero().get();
        assert_ne!(session, call.session);
        sandbox.allow("go");
        wait_until(LIMIT, || !is_alive(grandchild));
    }
}

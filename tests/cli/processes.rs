//! The agent's processes: deadlines, signals, outputs that are held open (contract section 8).

use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::Signal;

use crate::support::*;

/// Longer than any machine takes for something that is about to happen.
const SOON: Duration = Duration::from_secs(60);

/// Limits to try in turn, in seconds. The first is enough for an agent to start on an idle machine, the last on any.
const LIMITS: [u64; 3] = [1, 5, 25];

#[cfg(unix)]
const SIGNALS: [(Signal, SignalName, i32); 4] = [
    (Signal::INT, SignalName::Int, 130),
    (Signal::TERM, SignalName::Term, 143),
    (Signal::HUP, SignalName::Hup, 129),
    (Signal::QUIT, SignalName::Quit, 131),
];

fn resume<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let resume =
        ["--error-format", "json", "--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"];
    [&resume[..], args].concat()
}

fn with_turn(turn: Turn) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(turn);
    sandbox
}

/// Runs a call that a limit (`--deadline-seconds`, `--stall-seconds`) ends, but not before its agent has created the file
/// `up`. Returns the limit too.
#[track_caller]
fn run_past_limit(sandbox: impl Fn() -> Sandbox, call: &[&str], option: &str) -> (Sandbox, Finished, Duration) {
    for seconds in LIMITS {
        let sandbox = sandbox();
        let finished = sandbox.start(&[call, &[option, &seconds.to_string()]].concat()).wait(SOON);
        if sandbox.has_reached("up") {
            return (sandbox, finished, Duration::from_secs(seconds));
        }
        finished.code(124); // before the agent was up
    }
    panic!("the agent needs more than {LIMITS:?} s to start");
}

/// The start of a call that runs a turn in the session `a`.
fn turn_call(backend: Backend, verb: &str) -> Vec<&str> {
    let call = ["--error-format", "json", "--backend", backend.name(), verb, "--session-name", "a"];
    let prompt = if verb == "create-session" { &[][..] } else { &["--prompt", "p"] };
    [&call[..], prompt].concat()
}

/// One test per backend and command: `name: Backend, "command";`
macro_rules! turn_tests {
    ($test:ident { $($name:ident: $backend:ident, $verb:literal;)+ }) => {
        mod $test {
            $(
                #[test]
                fn $name() {
                    super::$test(super::Backend::$backend, $verb);
                }
            )+
        }
    };
}

/// An agent that works until it is stopped.
fn endless() -> Turn {
    Turn::doing([Step::create("up"), Step::wait_for("never")])
}

#[test]
#[cfg(unix)] // sessions and process groups
fn agent_leads_its_own_session() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    let call = sandbox.only_call();
    let pid = i32::try_from(call.pid).unwrap();
    assert_eq!((call.process_group, call.session), (pid, pid));
}

#[test]
#[cfg(unix)] // TERM can be ignored
fn deadline_kills_a_group_that_ignores_signals() {
    let ignore = Step::Ignore(vec![SignalName::Term, SignalName::Int]);
    let grandchild = Step::grandchild([ignore.clone(), Step::create("grandchild"), Step::wait_for("never")]);
    let agent = [grandchild, ignore, Step::wait_for("grandchild"), Step::create("up"), Step::wait_for("never")];
    let sandbox = || with_turn(Turn::doing(agent.clone()));
    let (sandbox, Finished { assert, took, .. }, deadline) =
        run_past_limit(sandbox, &resume(&[]), "--deadline-seconds");
    let failure = assert.failed(124, "deadline").after_the_turn();
    assert_eq!(failure.session_id.as_deref(), Some("i"));
    let call = sandbox.only_call();
    assert!(!is_alive(call.pid) && !is_alive(call.grandchildren[0]), "both have ended before the call returns");
    // The grace period is 5 s. A loaded machine adds to it.
    assert!(took > deadline + Duration::from_secs(5), "{took:?}");
}

fn deadline_ends_the_agent_and_its_children(backend: Backend, verb: &str) {
    let sandbox = || {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        let grandchild = Step::grandchild([Step::lock("grandchild"), Step::create("up"), Step::wait_for("never")]);
        sandbox.agent(Turn::doing([Step::lock("agent"), grandchild, Step::wait_for("never")]));
        sandbox
    };
    let (sandbox, Finished { assert, took, .. }, deadline) =
        run_past_limit(sandbox, &turn_call(backend, verb), "--deadline-seconds");
    assert.failed(124, "deadline").after_the_turn();
    assert!(!sandbox.is_locked("agent") && !sandbox.is_locked("grandchild"), "both have ended before the call returns");
    assert!(took < deadline + Duration::from_secs(5), "no process needs the grace period: {took:?}");
}

turn_tests! { deadline_ends_the_agent_and_its_children {
    claude_create: Claude, "create-session";
    claude_json: Claude, "resume-json";
    claude_stream: Claude, "resume-stream";
    codex_create: Codex, "create-session";
    codex_json: Codex, "resume-json";
    codex_stream: Codex, "resume-stream";
} }

#[test]
#[cfg(target_os = "linux")] // elsewhere a process that leaves the group is out of reach
fn deadline_ends_processes_that_left_the_group() {
    let grandchild = Step::Grandchild {
        steps: vec![Step::create("up"), Step::wait_for("never")],
        holds: vec![Sink::Stdout, Sink::Stderr],
        own_session: true,
    };
    let sandbox = || with_turn(Turn::doing([grandchild.clone(), Step::wait_for("never")]));
    let (sandbox, finished, _) = run_past_limit(sandbox, &resume(&[]), "--deadline-seconds");
    finished.failed(124, "deadline");
    assert!(!is_alive(sandbox.only_call().grandchildren[0]));
}

#[test]
fn deadline_includes_reading_the_prompt() {
    let sandbox = with_turn(endless());
    let args = ["--error-format", "json", "--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "-"];
    let running = sandbox.cmd(&[&args[..], &["--deadline-seconds", "0.2"]].concat()).start_with_open_input();
    running.wait(SOON).failed(124, "deadline").before_the_turn();
    assert!(sandbox.calls().is_empty());
}

#[test]
#[cfg(unix)] // signals
fn signals_are_forwarded_and_the_agent_is_waited_for() {
    for (signal, name, code) in SIGNALS {
        let polite = Step::OnSignal { signals: vec![name], steps: vec![Step::Exit(0)] };
        let sandbox = with_turn(endless());
        sandbox.agent(Turn::doing([polite]).after([Step::create("up"), Step::wait_for("never")]));
        let running = sandbox.start(&resume(&[]));
        wait_until(SOON, || sandbox.has_reached("up"));
        running.signal(signal);
        // claude ends a stream with exit status 0 on INT: that is no success
        running.wait(SOON).failed(code, "interrupted").after_the_turn();
        let call = sandbox.only_call();
        assert_eq!(call.signals, [name]);
        assert!(!is_alive(call.pid));
    }
}

#[test]
#[cfg(unix)] // signals
fn second_signal_kills_the_agent() {
    let deaf = Step::OnSignal { signals: vec![SignalName::Int], steps: vec![Step::create("heard")] };
    let sandbox = with_turn(Turn::doing([deaf, Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::INT);
    wait_until(SOON, || sandbox.has_reached("heard"));
    running.signal(Signal::TERM);
    running.wait(SOON).failed(130, "interrupted"); // the first one counts
    assert!(!is_alive(sandbox.only_call().pid));
}

#[test]
#[cfg(unix)] // signals
fn signal_ignored_at_start_stays_ignored() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let mut command = std::process::Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_invoke-persist")).args(resume(&[]));
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    let running = command.start();
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::HUP);
    sandbox.allow("go");
    running.wait(SOON).success();
}

#[test]
#[cfg(unix)] // signals
fn agent_ends_if_the_program_is_killed() {
    if !cfg!(target_os = "linux") {
        return; // no other system tells a child of its parent's death
    }
    let polite = Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::Exit(0)] };
    let sandbox = with_turn(Turn::doing([polite, Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::KILL);
    let pid = sandbox.only_call().pid;
    wait_until(SOON, || !is_alive(pid));
    // and the session is free, as soon as the last thread of the killed process is gone too
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
}

#[test]
fn successful_turn_leaves_background_processes_running() {
    let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up")]));
    // it holds the outputs open, and is waited for a second, not for ever
    let output = sandbox.run(&resume(&[])).success();
    assert_eq!(output.json()["final_message"], "OK");
    assert!(sandbox.is_locked("server"));
    sandbox.allow("stop");
    wait_until(SOON, || !sandbox.is_locked("server"));
}

#[test]
fn failed_turn_ends_background_processes() {
    let grandchild = Step::grandchild([Step::lock("real"), Step::create("up"), Step::wait_for("never")]);
    let sandbox = with_turn(Turn::doing([grandchild, Step::wait_for("up")]).exit(3));
    sandbox.fails(&resume(&[])[2..], 1, "agent_failed");
    assert!(!sandbox.is_locked("real"));
}

#[test]
#[cfg(unix)] // signals
fn background_processes_of_a_killed_agent_are_ended() {
    // as npm's launcher of codex, killed: the real program would go on and keep its thread locked
    let sandbox = with_turn(Turn::doing([
        Step::grandchild([Step::create("real"), Step::wait_for("never")]),
        Step::wait_for("real"),
        Step::Raise(SignalName::Kill),
    ]));
    let failure = sandbox.fails(&resume(&[])[2..], 1, "agent_failed").message(contains("signal 9"));
    assert_eq!(failure.agent_exit_code, None);
    assert!(!is_alive(sandbox.only_call().grandchildren[0]));
}

#[test]
fn both_outputs_are_read_at_the_same_time() {
    for backend in Backend::BOTH {
        for verb in ["resume-json", "resume-stream"] {
            let sandbox = Sandbox::new();
            sandbox.save(backend, "a", "i");
            sandbox.agent(backend.answers("i", "OK").after([Step::flood_stderr(5_000_000)]));
            sandbox.succeeds(&["--backend", backend.name(), verb, "--session-name", "a", "--prompt", "p"]);
        }
    }
}

#[test]
fn lines_are_passed_on_as_soon_as_they_are_complete() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(Turn::doing([Step::stdout("{\"n\": 1}\n"), Step::wait_for("go"), Step::stdout("{\"n\": 2}\n")]));
        let running =
            sandbox.start(&["--backend", backend.name(), "resume-stream", "--session-name", "a", "--prompt", "p"]);
        wait_until(SOON, || running.stdout_so_far() == "{\"n\": 1}\n");
        sandbox.allow("go");
        running.wait(SOON).success().stdout("{\"n\": 1}\n{\"n\": 2}\n");
    }
}

#[test]
fn closed_stdout_does_not_end_the_turn() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let turn = Backend::Claude.answers("i", "OK");
    sandbox.agent(turn.after([Step::stdout("{}\n"), Step::wait_for("go"), Step::flood_stdout(5_000_000)]));
    let args = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p", "--model", "kept"];
    let mut child = sandbox.cmd(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until(SOON, || !sandbox.calls().is_empty());
    drop(child.stdout.take());
    sandbox.allow("go");
    assert!(child.wait().unwrap().success());
    let call = sandbox.only_call();
    assert_eq!((call.ended, call.broken_pipes), (Some(0), vec![]));
    assert!(sandbox.mapping(Backend::Claude).contains("kept"));
}

#[test]
#[cfg(unix)] // the stand-in cannot close it elsewhere
fn agent_that_closes_its_stdout_is_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Turn::doing([
        Step::stdout("{\"result\": \"x\"}"),
        Step::CloseStdout,
        Step::wait_for("go"),
        Step::create("done"),
    ]));
    let running = sandbox.start(&["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"]);
    wait_until(SOON, || !sandbox.calls().is_empty());
    sandbox.allow("go");
    running.wait(SOON).success();
    assert!(sandbox.has_reached("done"));
}

#[test]
fn temporary_files_are_removed_after_the_turn() {
    let files = |sandbox: &Sandbox| -> Vec<_> {
        std::fs::read_dir(sandbox.temp()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    assert_eq!(files(&sandbox), ["agent-sessions"]);
    let (sandbox, finished, _) = run_past_limit(|| with_turn(endless()), &resume(&[]), "--deadline-seconds");
    finished.failed(124, "deadline");
    assert_eq!(files(&sandbox), ["agent-sessions"]);
}

fn stall_timeout_stops_a_silent_agent(backend: Backend, verb: &str) {
    let sandbox = || {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        // Half a line does not count as output.
        let words = [
            Step::lock("agent"),
            Step::stdout("{}\n"),
            Step::stdout("half a"),
            Step::create("up"),
            Step::wait_for("never"),
        ];
        sandbox.agent(Turn::doing(words));
        sandbox
    };
    let (sandbox, finished, _) = run_past_limit(sandbox, &turn_call(backend, verb), "--stall-seconds");
    finished.failed(124, "stalled").after_the_turn();
    assert!(!sandbox.is_locked("agent"));
}

turn_tests! { stall_timeout_stops_a_silent_agent {
    claude_stream: Claude, "resume-stream";
    codex_create: Codex, "create-session";
    codex_json: Codex, "resume-json";
    codex_stream: Codex, "resume-stream";
} }

#[test]
fn stall_timeout_spares_an_agent_that_prints_lines() {
    let call = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"];
    // A busy machine may delay a line by more than a short limit allows, so longer ones follow.
    let is_spared = LIMITS.into_iter().any(|seconds| {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let line = [Step::stdout("{}\n"), Step::SleepMs(seconds * 200)];
        let lines = (0..6).flat_map(|_| line.clone());
        sandbox.agent(Backend::Claude.answers("i", "OK").after(lines));
        let running = sandbox.start(&[&call[..], &["--stall-seconds", &seconds.to_string()]].concat());
        let Finished { assert, took, .. } = running.wait(SOON);
        assert!(took > Duration::from_secs(seconds), "longer than it may be silent: {took:?}");
        assert.exit_code() == Some(0)
    });
    assert!(is_spared);
}

#[test]
fn stall_timeout_is_refused_for_one_json_answer_of_claude() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let call = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p", "--stall-seconds", "1"];
    sandbox.fails(&call, 2, "usage").message(contains("--stall-seconds"));
    assert!(sandbox.calls().is_empty());
}

#[test]
#[cfg(unix)] // signals
fn ignored_sigchld_does_not_hide_the_end_of_the_agent() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    let mut shell = std::process::Command::new("bash");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    let script = format!("trap '' CHLD; exec '{program}' {}", resume(&[]).join(" "));
    shell.args(["-c", &script]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().success();
}

#[test]
#[cfg(unix)] // exec
fn preexisting_children_are_not_ended() {
    let sandbox = with_turn(Turn::default().exit(3));
    let mut shell = std::process::Command::new("bash");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    let script = format!("sleep 60 >/dev/null 2>&1 & echo $! >bystander; exec '{program}' {}", resume(&[]).join(" "));
    shell.args(["-c", &script]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().failed(1, "agent_failed");
    let bystander = std::fs::read_to_string(sandbox.workspace().join("bystander")).unwrap();
    let bystander = bystander.trim().parse().unwrap();
    assert!(is_alive(bystander));
    signal_process(bystander, Signal::KILL);
}

#[test]
fn chatty_grandchild_does_not_delay_the_end() {
    let talk = [Step::stdout("x\n"), Step::SleepMs(10)];
    let talker = Step::grandchild((0..3000).flat_map(|_| talk.clone()));
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK").after([talker]));
    let call = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"];
    let Finished { assert, took, .. } = sandbox.start(&call).wait(SOON);
    assert.success().stdout(contains("\"OK\""));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// A call whose agent has answered with more than a pipe takes, and nobody reads it.
#[cfg(unix)]
fn start_unread(sandbox: &Sandbox, options: &[&str]) -> std::process::Child {
    use std::process::Stdio;
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers_at_length("i", 3_000_000));
    let call = turn_call(Backend::Claude, "resume-json");
    let mut command = sandbox.cmd(&[&call[..], &["--model", "kept"], options].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
#[cfg(unix)] // signals
fn unread_stdout_does_not_delay_a_signal() {
    let sandbox = Sandbox::new();
    let mut child = start_unread(&sandbox, &[]);
    wait_until(SOON, || sandbox.mapping(Backend::Claude).contains("kept"));
    signal_process(child.id(), Signal::TERM);
    wait_until(SOON, || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
#[cfg(unix)] // a pipe that is not read
fn unread_stdout_does_not_delay_the_deadline() {
    let is_printing = LIMITS.into_iter().any(|seconds| {
        let sandbox = Sandbox::new();
        let mut child = start_unread(&sandbox, &["--deadline-seconds", &seconds.to_string()]);
        wait_until(SOON, || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(124));
        // Otherwise the deadline passed before there was an answer.
        sandbox.mapping(Backend::Claude).contains("kept")
    });
    assert!(is_printing);
}

#[test]
fn deadline_after_the_agent_has_ended_changes_nothing() {
    const DEADLINE: Duration = Duration::from_secs(3);
    // The agent ends shortly before the deadline. A process that it leaves holds the outputs open, and they are watched for
    // another second, in which the deadline passes. A busy machine may end the agent too late, so there are more attempts.
    let is_unchanged = (0..5).any(|_| {
        let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
        let steps = [server, Step::wait_for("up"), Step::wait_for("end")];
        let sandbox = with_turn(Backend::Codex.answers("i", "OK").after(steps));
        let began = Instant::now();
        let running = sandbox.start(&resume(&["--deadline-seconds", &DEADLINE.as_secs().to_string()]));
        std::thread::sleep(Duration::from_millis(2400).saturating_sub(began.elapsed()));
        sandbox.allow("end");
        let Finished { assert, took, .. } = running.wait(SOON);
        assert!(took > DEADLINE, "the outputs were not watched until the deadline: {took:?}");
        let is_unchanged = assert.exit_code() == Some(0) && sandbox.is_locked("server");
        sandbox.allow("stop");
        is_unchanged
    });
    assert!(is_unchanged);
}

#[test]
#[cfg(unix)] // streams that do not block
fn nonblocking_stdout_loses_nothing() {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    for verb in ["resume-json", "resume-stream"] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        sandbox.agent(Backend::Claude.answers_at_length("i", 2_000_000));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut command = sandbox.cmd(&["--backend", "claude", verb, "--session-name", "a", "--prompt", "p"]);
        let mut child = command.stdout(OwnedFd::from(theirs)).spawn().unwrap();
        drop(command); // it holds their end too
        wait_until(SOON, || !sandbox.calls().is_empty());
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(text.len() > 2_000_000 && text.ends_with('\n'), "{}", text.len());
    }
}

#[test]
#[cfg(target_os = "linux")] // the other side of a terminal is opened by its number there
fn terminal_shows_progress() {
    use std::io::Read;
    let terminal = Terminal::of_width(80);
    let event = r#"{"type":"item.started","item":{"type":"command_execution","command":"ls \u001b[31m"}}"#;
    let turn = Backend::Codex.answers("i", "OK").after([Step::stdout(&format!("{event}\n")), Step::wait_for("go")]);
    let sandbox = with_turn(turn);
    let mut command = sandbox.cmd(&["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"]);
    command.env("TERM", "xterm").stdout(std::process::Stdio::null()).stderr(terminal.screen());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = Vec::new();
    let mut terminal = terminal.into_ours();
    let mut buffer = [0; 1024];
    let mut text = String::new();
    while !(text.contains("codex") && text.contains(r"runs ls \u{1b}[31m")) {
        let n = terminal.read(&mut buffer).expect("the line is drawn before the program ends");
        shown.extend_from_slice(&buffer[..n]);
        text = String::from_utf8_lossy(&shown).into_owned();
    }
    sandbox.allow("go");
    assert!(child.wait().unwrap().success());

    // nobody watches: nothing is drawn
    with_turn(Backend::Codex.answers("i", "OK")).succeeds(&resume(&[])[2..]).stderr("");
}

#[test]
#[cfg(target_os = "linux")] // the state of a process is read in /proc
fn stopping_a_call_stops_its_agent_and_both_continue() {
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    let agent = sandbox.only_call().pid;
    running.signal(Signal::TSTP);
    wait_until(SOON, || state(running.pid()) == 'T' && state(agent) == 'T');
    running.signal(Signal::CONT);
    wait_until(SOON, || state(running.pid()) != 'T' && state(agent) != 'T');
    sandbox.allow("go");
    running.wait(SOON).success();
}

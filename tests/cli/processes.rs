//! What becomes of the agent's processes: deadlines, signals, outputs held open (contract section 8).
use std::time::Duration;

#[cfg(unix)]
use rustix::process::Signal;

use crate::support::*;

/// For what is about to happen. No machine is so slow that it takes this long.
const SOON: Duration = Duration::from_secs(30);

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

/// An agent that works until it is stopped.
fn endless() -> Turn {
    Turn::doing([Step::create("up"), Step::wait_for("never")])
}

#[cfg(unix)]
fn stubborn() -> Vec<Step> {
    vec![Step::Ignore(vec![SignalName::Term, SignalName::Int]), Step::create("stubborn"), Step::wait_for("never")]
}

#[test]
#[cfg(unix)] // sessions and groups are Unix's
fn agent_leads_its_own_session() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    let call = sandbox.only_call();
    let pid = i32::try_from(call.pid).unwrap();
    assert_eq!((call.process_group, call.session), (pid, pid));
}

#[test]
#[cfg(unix)] // there is no TERM to ignore
fn deadline_kills_a_group_that_ignores_signals() {
    let sandbox = with_turn(Turn::doing([Step::grandchild(stubborn())]).after(stubborn()));
    let output = sandbox.run(&resume(&["--deadline-seconds", "1"]));
    let failure = output.failed(124, "deadline");
    assert_eq!((failure.turn_started, failure.session_id.as_deref()), (Some(true), Some("i")));
    let call = sandbox.only_call();
    assert!(!is_alive(call.pid) && !is_alive(call.grandchildren[0]), "gone when we are back");
    // 1 s, 5 s of grace, and less than 1 s after the kill; on a loaded machine somewhat more
    assert!(output.took > Duration::from_secs(6), "{:?}", output.took);
}

#[test]
fn a_deadline_ends_the_agent_and_what_it_started() {
    for backend in Backend::BOTH {
        for verb in ["create-session", "resume-json", "resume-stream"] {
            let sandbox = Sandbox::new();
            sandbox.save(backend, "a", "i");
            let grandchild = Step::grandchild([Step::lock("grandchild"), Step::create("up"), Step::wait_for("never")]);
            sandbox.agent(Turn::doing([Step::lock("agent"), grandchild, Step::wait_for("never")]));
            let prompt = if verb == "create-session" { &[][..] } else { &["--prompt", "p"] };
            let call = ["--error-format", "json", "--backend", backend.name(), verb, "--session-name", "a"];
            let running = sandbox.start(&[&call[..], prompt, &["--deadline-seconds", "3"]].concat());
            wait_until(SOON, || sandbox.has_reached("up"));
            let output = running.wait(SOON);
            output.failed(124, "deadline").after_the_turn();
            assert!(!sandbox.is_locked("agent") && !sandbox.is_locked("grandchild"), "gone when we are back");
            assert!(output.took < Duration::from_secs(3 + 5), "nobody had to be waited for: {:?}", output.took);
        }
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere a process that leaves the group is out of reach
fn deadline_ends_processes_that_left_the_group() {
    let grandchild = Step::Grandchild {
        steps: vec![Step::create("up"), Step::wait_for("never")],
        holds: vec![Sink::Stdout, Sink::Stderr],
        own_session: true,
    };
    let sandbox = with_turn(Turn::doing([grandchild, Step::wait_for("never")]));
    sandbox.run(&resume(&["--deadline-seconds", "2"])).failed(124, "deadline");
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
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    sandbox.agent(endless());
    sandbox.run(&resume(&["--deadline-seconds", "0.5"])).failed(124, "deadline");
    let left: Vec<_> = std::fs::read_dir(sandbox.temp()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["agent-sessions"]);
}

#[test]
fn an_agent_that_says_nothing_can_be_given_up() {
    for (backend, verb) in [
        (Backend::Claude, "resume-stream"),
        (Backend::Codex, "resume-stream"),
        (Backend::Codex, "resume-json"),
        (Backend::Codex, "create-session"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        // words that make no line are no sign of life
        let words = [
            Step::lock("agent"),
            Step::stdout("{}\n"),
            Step::stdout("half a"),
            Step::create("up"),
            Step::wait_for("never"),
        ];
        sandbox.agent(Turn::doing(words));
        let prompt = if verb == "create-session" { &[][..] } else { &["--prompt", "p"] };
        let call = ["--error-format", "json", "--backend", backend.name(), verb, "--session-name", "a"];
        let output = sandbox.run(&[&call[..], prompt, &["--stall-seconds", "1"]].concat());
        output.failed(124, "stalled").after_the_turn();
        assert!(!sandbox.is_locked("agent"));
    }
}

#[test]
fn an_agent_that_goes_on_saying_something_is_not_given_up() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let line = [Step::stdout("{}\n"), Step::SleepMs(300)];
    let lines = (0..6).flat_map(|_| line.clone());
    sandbox.agent(Backend::Claude.answers("i", "OK").after(lines));
    let call = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"];
    let output = sandbox.succeeds(&[&call[..], &["--stall-seconds", "1.5"]].concat());
    assert!(output.took > Duration::from_millis(1500), "longer than it may be silent: {:?}", output.took);
    let silent = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p", "--stall-seconds", "1"];
    sandbox.fails(&silent, 2, "usage").message(contains("--stall-seconds"));
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

#[test]
#[cfg(unix)] // a pipe that is not read, and signals
fn unread_stdout_delays_neither_a_signal_nor_the_deadline() {
    for (signal, deadline) in [(Some(Signal::TERM), &[][..]), (None, &["--deadline-seconds", "2"])] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let big = "x".repeat(3_000_000);
        sandbox.agent(Backend::Claude.answers("i", &big));
        let call =
            ["--error-format", "json", "--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"];
        let mut command = sandbox.cmd(&[&call[..], &["--model", "kept"], deadline].concat());
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        wait_until(SOON, || sandbox.mapping(Backend::Claude).contains("kept"));
        if let Some(signal) = signal {
            signal_process(child.id(), signal);
        }
        wait_until(SOON, || child.try_wait().unwrap().is_some());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(if signal.is_some() { 143 } else { 124 }), "{status:?}");
    }
}

#[test]
fn deadline_after_the_agent_has_ended_changes_nothing() {
    let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
    let sandbox =
        with_turn(Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up"), Step::SleepMs(1500)]));
    // the second in which its pipes are still looked at is the one in which the deadline passes
    sandbox.run(&resume(&["--deadline-seconds", "2"])).success();
    assert!(sandbox.is_locked("server"));
    sandbox.allow("stop");
    wait_until(SOON, || !sandbox.is_locked("server"));
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
        sandbox.agent(Backend::Claude.answers("i", &"x".repeat(2_000_000)));
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

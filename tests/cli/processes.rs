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
fn the_agent_leads_a_session_of_its_own() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    let call = sandbox.only_call();
    let pid = i32::try_from(call.pid).unwrap();
    assert_eq!((call.process_group, call.session), (pid, pid));
}

#[test]
#[cfg(unix)] // there is no TERM to ignore
fn a_deadline_ends_the_whole_group_even_where_it_will_not_end() {
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
            let failure = output.failed(124, "deadline");
            assert_eq!(failure.turn_started, Some(true));
            assert!(!sandbox.is_locked("agent") && !sandbox.is_locked("grandchild"), "gone when we are back");
            assert!(output.took < Duration::from_secs(3 + 5), "nobody had to be waited for: {:?}", output.took);
        }
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere a process that leaves the group is out of reach
fn a_deadline_ends_what_has_left_the_group_too() {
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
fn a_deadline_counts_while_the_prompt_is_read() {
    let sandbox = with_turn(endless());
    let args = ["--error-format", "json", "--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "-"];
    let running = sandbox.cmd(&[&args[..], &["--deadline-seconds", "0.2"]].concat()).start_with_open_input();
    let failure = running.wait(SOON).failed(124, "deadline");
    assert_eq!(failure.turn_started, Some(false));
    assert!(sandbox.calls().is_empty());
}

#[test]
#[cfg(unix)] // signals
fn signals_are_handed_on_and_we_end_when_the_agent_has() {
    for (signal, name, code) in SIGNALS {
        let polite = Step::OnSignal { signals: vec![name], steps: vec![Step::Exit(0)] };
        let sandbox = with_turn(endless());
        sandbox.agent(Turn::doing([polite]).after([Step::create("up"), Step::wait_for("never")]));
        let running = sandbox.start(&resume(&[]));
        wait_until(SOON, || sandbox.has_reached("up"));
        running.signal(signal);
        // claude ends a stream with exit status 0 on INT: that is no success
        let failure = running.wait(SOON).failed(code, "interrupted");
        assert_eq!(failure.turn_started, Some(true));
        let call = sandbox.only_call();
        assert_eq!(call.signals, [name]);
        assert!(!is_alive(call.pid));
    }
}

#[test]
#[cfg(unix)] // signals
fn a_second_signal_kills() {
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
fn a_signal_that_was_ignored_when_we_started_stays_ignored() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let mut command = std::process::Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_invoke-persist")).args(resume(&[]));
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    let running = command.start();
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::HUP);
    sandbox.allow("go");
    running.wait(SOON).succeeded();
}

#[test]
#[cfg(unix)] // signals
fn the_agent_ends_when_we_are_killed() {
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
fn what_a_good_turn_leaves_running_is_left_alone() {
    let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up")]));
    // it holds the outputs open, and is waited for a second, not for ever
    let output = sandbox.run(&resume(&[])).succeeded();
    assert_eq!(output.json()["final_message"], "OK");
    assert!(sandbox.is_locked("server"));
    sandbox.allow("stop");
    wait_until(SOON, || !sandbox.is_locked("server"));
}

#[test]
fn what_a_failed_turn_leaves_running_is_ended() {
    let grandchild = Step::grandchild([Step::lock("real"), Step::create("up"), Step::wait_for("never")]);
    let sandbox = with_turn(Turn::doing([grandchild, Step::wait_for("up")]).exit(3));
    sandbox.fails(&resume(&[])[2..], 1, "agent_failed");
    assert!(!sandbox.is_locked("real"));
}

#[test]
#[cfg(unix)] // signals
fn what_a_killed_agent_leaves_running_is_ended() {
    // as npm's launcher of codex, killed: the real program would go on and keep its thread locked
    let sandbox = with_turn(Turn::doing([
        Step::grandchild([Step::create("real"), Step::wait_for("never")]),
        Step::wait_for("real"),
        Step::Raise(SignalName::Kill),
    ]));
    let failure = sandbox.fails(&resume(&[])[2..], 1, "agent_failed");
    assert!(failure.message.contains("signal 9"), "{}", failure.message);
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
fn a_line_is_there_as_soon_as_it_is_complete() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(Turn::doing([Step::stdout("{\"n\": 1}\n"), Step::wait_for("go"), Step::stdout("{\"n\": 2}\n")]));
        let running =
            sandbox.start(&["--backend", backend.name(), "resume-stream", "--session-name", "a", "--prompt", "p"]);
        wait_until(SOON, || running.stdout_so_far() == "{\"n\": 1}\n");
        sandbox.allow("go");
        assert_eq!(running.wait(SOON).succeeded().stdout, "{\"n\": 1}\n{\"n\": 2}\n");
    }
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_turn() {
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
fn an_agent_that_closes_its_output_early_is_waited_for() {
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
    running.wait(SOON).succeeded();
    assert!(sandbox.has_reached("done"));
}

#[test]
fn temporary_files_are_private_and_go_with_the_turn() {
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
        let failure = output.failed(124, "stalled");
        assert_eq!(failure.turn_started, Some(true));
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
    let failure = sandbox.fails(&silent, 2, "usage");
    assert!(failure.message.contains("--stall-seconds"), "{}", failure.message);
}

#[test]
#[cfg(unix)] // signals
fn a_parent_that_ignores_its_childrens_ends_does_not_hide_the_agents() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    let mut shell = std::process::Command::new("bash");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    let script = format!("trap '' CHLD; exec '{program}' {}", resume(&[]).join(" "));
    shell.args(["-c", &script]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run().succeeded();
}

#[test]
#[cfg(unix)] // exec
fn children_from_before_are_none_of_the_agents() {
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
fn a_grandchild_that_goes_on_talking_delays_us_by_a_second() {
    let talk = [Step::stdout("x\n"), Step::SleepMs(10)];
    let talker = Step::grandchild((0..3000).flat_map(|_| talk.clone()));
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK").after([talker]));
    let output = sandbox.succeeds(&["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"]);
    assert!(output.stdout.contains("\"OK\""), "{}", output.stdout);
    assert!(output.took < Duration::from_secs(20), "{:?}", output.took);
}

#[test]
#[cfg(unix)] // a pipe that is not read, and signals
fn a_reader_that_does_not_read_cannot_hold_us() {
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
fn a_deadline_after_the_agents_end_changes_nothing() {
    let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
    let sandbox =
        with_turn(Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up"), Step::SleepMs(1500)]));
    // the second in which its pipes are still looked at is the one in which the deadline passes
    sandbox.run(&resume(&["--deadline-seconds", "2"])).succeeded();
    assert!(sandbox.is_locked("server"));
    sandbox.allow("stop");
    wait_until(SOON, || !sandbox.is_locked("server"));
}

#[test]
#[cfg(unix)] // streams that do not block
fn streams_that_do_not_block_lose_nothing() {
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
fn a_person_at_a_terminal_sees_that_something_goes_on() {
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
    let output = with_turn(Backend::Codex.answers("i", "OK")).succeeds(&resume(&[])[2..]);
    assert_eq!(output.stderr, "");
}

/// The program behind a shell that does something first. `script` ends with `exec "$@"`.
#[cfg(unix)]
fn in_shell(script: &str, sandbox: &Sandbox, args: &[&str]) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_invoke-persist")]).args(args);
    shell.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell
}

#[cfg(unix)]
fn good_turn_with_server() -> Turn {
    let steps = vec![Step::lock("server"), Step::create("up"), Step::wait_for("stop")];
    let server = Step::Grandchild { steps, holds: Vec::new(), own_session: false };
    Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up")])
}

#[test]
#[cfg(unix)] // descriptors
fn agent_inherits_only_its_three_streams() {
    let sandbox = with_turn(good_turn_with_server());
    // whoever reads 3 or 9 to the end would wait for the server
    let mut command = in_shell("exec 3>&1 9>&2 >/dev/null 2>&1; exec \"$@\"", &sandbox, &resume(&[]));
    assert_eq!(command.start().wait(SOON).code, Some(0));
    assert!(sandbox.is_locked("server"));
    sandbox.allow("stop");
    wait_until(SOON, || !sandbox.is_locked("server"));
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs strace"]
fn agent_inherits_only_its_three_streams_on_older_kernels() {
    for (error, open) in [("ENOSYS", "5<&0"), ("EINVAL", "5<&0 8</dev/null")] {
        let mut sandbox = with_turn(Turn::default());
        let script = "for fd in 3 5 7 8 9; do (eval \": <&$fd\") 2>/dev/null && echo $fd; done >inherited; true\n";
        let script = sandbox.write("agent", script);
        sandbox.env("CODEX_CMD", format!("sh '{}'", script.display()));
        let inject = format!("inject=close_range:error={error}");
        let trace =
            format!("exec strace -qq -f -o /dev/null -e trace=close_range -e {inject} \"$@\" {open} 9</dev/null");
        in_shell(&trace, &sandbox, &resume(&[])).run().succeeded();
        assert_eq!(std::fs::read_to_string(sandbox.workspace().join("inherited")).unwrap(), "");
    }
}

#[test]
fn processes_of_a_turn_that_failed_by_its_words_alone_are_ended() {
    let started = |id: &str| format!("{{\"type\": \"thread.started\", \"thread_id\": \"{id}\"}}\n");
    let words = |text: &str| Turn::default().stdout(text);
    let resumes = ["resume-json", "--session-name", "a", "--prompt", "p"];
    let streams = ["resume-stream", "--session-name", "a", "--prompt", "p"];
    let creates = ["create-session", "--session-name", "b"];
    let forks = ["fork-session", "--session-name", "a", "--to", "b", "--prompt", "p"];
    let (claude, codex) = (Backend::Claude, Backend::Codex);
    for (backend, args, turn, code, kind) in [
        (claude, &resumes[..], claude.fails("i", "no key").exit(0), 1, "agent_failed"),
        (claude, &streams[..], claude.fails("i", "no key").exit(0), 1, "agent_failed"),
        (codex, &resumes[..], codex.fails("i", "no key").exit(0), 1, "agent_failed"),
        (codex, &streams[..], codex.fails("i", "no key").exit(0), 1, "agent_failed"),
        (claude, &resumes[..], Turn::default(), 7, "agent_output_invalid"),
        (claude, &creates[..], words("{\"result\": \"OK\"}"), 7, "agent_output_invalid"),
        (claude, &creates[..], words("{\"result\": \"OK\", \"session_id\": \"-x\"}"), 7, "agent_output_invalid"),
        (claude, &forks[..], claude.answers("i", "OK"), 7, "agent_output_invalid"),
        (codex, &creates[..], Turn::default(), 7, "agent_output_invalid"),
        (codex, &resumes[..], words(&started("another")), 1, "session_lost"),
        (codex, &streams[..], words(&started("another")), 1, "session_lost"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        let steps = vec![Step::lock("left"), Step::create("up"), Step::wait_for("never")];
        let left = Step::Grandchild { steps, holds: Vec::new(), own_session: false };
        sandbox.agent(turn.after([left, Step::wait_for("up")]));
        sandbox.fails(&[&["--backend", backend.name()], args].concat(), code, kind);
        assert!(!sandbox.is_locked("left"), "{backend:?} {args:?} {kind}: gone when we are back");
    }
}

#[test]
fn agent_that_a_wrapper_puts_into_the_background_is_ended() {
    let steps = vec![Step::lock("agent"), Step::create("up"), Step::wait_for("go"), Step::create("worked-on")];
    let background = Step::Grandchild { steps, holds: vec![Sink::Stdout, Sink::Stderr], own_session: false };
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Turn::doing([background, Step::wait_for("up")]));
    let resume = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"];
    sandbox.fails(&resume, 7, "agent_output_invalid");
    assert!(!sandbox.is_locked("agent") && !sandbox.has_reached("worked-on"));
}

#[test]
#[cfg(unix)] // signals
fn signal_while_a_failed_turn_is_ended_kills() {
    let mut steps = vec![Step::lock("left")];
    steps.extend([
        Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::create("heard")] },
        Step::create("up"),
        Step::wait_for("never"),
    ]);
    let left = Step::Grandchild { steps, holds: Vec::new(), own_session: false };
    let sandbox = with_turn(Backend::Codex.fails("i", "no").exit(0).after([left, Step::wait_for("up")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("heard"));
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let output = running.wait(SOON);
    assert!(matches!(output.code, Some(130 | 143)), "{output:?}");
    assert!(!sandbox.is_locked("left"));
}

#[test]
fn limit_that_never_comes_changes_nothing() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    for seconds in ["1e20", "1e300", "18446744073709551615"] {
        sandbox.succeeds(&resume(&["--stall-seconds", seconds, "--deadline-seconds", seconds]));
    }
}

#[test]
#[cfg(target_os = "linux")] // signals that are ignored are told in /proc
fn agent_meets_a_file_size_limit_as_the_caller_does() {
    const XFSZ: u32 = 25;
    for (caller, ignored) in [("exec \"$@\"", false), ("trap '' XFSZ; exec \"$@\"", true)] {
        let mut sandbox = with_turn(Turn::default());
        let script = sandbox.write("agent", "grep SigIgn /proc/self/status >ignored\n");
        sandbox.env("CODEX_CMD", format!("sh '{}'", script.display()));
        in_shell(caller, &sandbox, &resume(&[])).run().succeeded();
        let told = std::fs::read_to_string(sandbox.workspace().join("ignored")).unwrap();
        let mask = u64::from_str_radix(told.trim_start_matches("SigIgn:").trim(), 16).unwrap();
        assert_eq!(mask >> (XFSZ - 1) & 1 == 1, ignored, "{told}");
    }
}

/// The process whose number the agent wrote to the file `pid`. Killed when dropped.
#[cfg(target_os = "linux")]
struct Escaped(u32);

#[cfg(target_os = "linux")]
impl Escaped {
    fn of(sandbox: &Sandbox) -> Self {
        let pid = std::fs::read_to_string(sandbox.workspace().join("pid")).expect("the agent writes it");
        Self(pid.trim().parse().expect("a number"))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Escaped {
    fn drop(&mut self) {
        signal_process(self.0, Signal::KILL);
    }
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn error_names_an_agent_that_cannot_be_stopped() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: it takes root to become another user");
        return;
    }
    for (stop, code, kind, said) in [
        ("--deadline-seconds", 124, "deadline", "the deadline passed; claude could not be stopped"),
        ("--stall-seconds", 124, "stalled", "claude said nothing for 1 s and could not be stopped"),
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let script = "echo $$ >pid; exec setpriv --reuid=65534 --clear-groups sleep 60\n";
        let script = sandbox.write("agent", script);
        sandbox.env("CLAUDE_CMD", format!("sh '{}'", script.display()));
        let call = ["--error-format", "json", "--backend", "claude", "resume-stream", "--session-name", "a"];
        let call = [&call[..], &["--prompt", "p", stop, "1"]].concat();
        // root that may not signal others, as an ordinary user may not signal what became root
        let script = "exec setpriv --bounding-set=-kill --inh-caps=-kill \"$@\"";
        let output = in_shell(script, &sandbox, &call).run();
        let agent = Escaped::of(&sandbox);
        let failure = output.failed(code, kind);
        assert_eq!(failure.message, format!("{said}: process {} is still running", agent.0));
        assert!(is_alive(agent.0));
    }
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn warning_names_what_a_failed_turn_left_and_cannot_be_stopped() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: it takes root to become another user");
        return;
    }
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let script = "setpriv --reuid=65534 --clear-groups sleep 60 >/dev/null 2>&1 &
        echo $! >pid; until grep -q '^Uid:.65534' /proc/$!/status; do sleep 0.05; done; exit 3\n";
    let script = sandbox.write("agent", script);
    sandbox.env("CLAUDE_CMD", format!("sh '{}'", script.display()));
    let call = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"];
    let script = "exec setpriv --bounding-set=-kill --inh-caps=-kill \"$@\"";
    let output = in_shell(script, &sandbox, &call).run();
    let left = Escaped::of(&sandbox);
    let warning = format!("what claude left running could not be stopped: process {} is still running", left.0);
    assert!(output.code == Some(1) && output.stderr.contains(&warning), "{output:?}");
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs root"]
fn process_that_cannot_be_found_does_not_count_as_stopped() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let script = "setsid sh -c 'echo $$ >pid; exec sleep 60' & wait\n";
    let script = sandbox.write("agent", script);
    sandbox.env("CLAUDE_CMD", format!("sh '{}'", script.display()));
    let call = ["--error-format", "json", "--backend", "claude", "resume-json", "--session-name", "a"];
    let without_proc = "unshare --mount sh -c 'mount -t tmpfs none /proc && exec \"$@\"' sh \"$@\"";
    if !in_shell(without_proc, &sandbox, &["--version"]).run().stdout.starts_with("invoke-persist") {
        eprintln!("SKIPPED: nothing can be mounted here");
        return;
    }
    let call = [&call[..], &["--prompt", "p", "--deadline-seconds", "1"]].concat();
    let output = in_shell(without_proc, &sandbox, &call).run();
    let _agent = Escaped::of(&sandbox);
    let failure = output.failed(124, "deadline");
    assert!(failure.message.contains("could not be stopped"), "{}", failure.message);
}

#[test]
#[cfg(unix)] // a folder's time can be set
fn temporary_files_of_killed_calls_are_removed_when_they_are_old() {
    let folders = |sandbox: &Sandbox| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(sandbox.temp()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().is_some_and(|name| name != "agent-sessions")).collect()
    };
    let make_old = |folder: &std::path::Path| {
        let old = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
        std::fs::File::open(folder).unwrap().set_modified(old).unwrap();
    };
    let sandbox = with_turn(endless());
    let killed = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    killed.signal(Signal::KILL);
    drop(killed);
    let left = folders(&sandbox);
    assert_eq!(left.len(), 1, "{left:?}");
    let pid = sandbox.only_call().pid;
    wait_until(SOON, || !is_alive(pid));

    // a young one stays, and so does an old one that is in use, and what only has a similar name
    let similar = sandbox.temp().join("invoke-persist-100000");
    std::fs::create_dir(&similar).unwrap();
    make_old(&similar);
    sandbox.save(Backend::Codex, "b", "j");
    sandbox.agent(Backend::Codex.answers("j", "OK").after([Step::create("b-is-up"), Step::wait_for("go")]));
    let running = sandbox.start(&["--backend", "codex", "resume-json", "--session-name", "b", "--prompt", "p"]);
    wait_until(SOON, || sandbox.has_reached("b-is-up"));
    assert_eq!(folders(&sandbox).len(), 3, "{:?}", folders(&sandbox));
    for folder in folders(&sandbox) {
        make_old(&folder);
    }
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    let kept = folders(&sandbox);
    assert!(kept.len() == 2 && kept.contains(&similar) && !kept.contains(&left[0]), "{kept:?}");
    sandbox.allow("go");
    assert_eq!(running.wait(SOON).succeeded().json()["final_message"], "OK");
    assert_eq!(folders(&sandbox), [similar]);
}

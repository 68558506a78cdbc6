//! The agent's processes: deadlines, signals and open outputs (contract section 8).

use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::Signal;

use crate::support::*;

/// A timeout that even a slow machine does not reach.
const SOON: Duration = Duration::from_secs(60);

/// The limits of successive attempts, in seconds. On an idle machine, an agent starts within the first one. On any
/// machine, it starts within the last one.
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

/// Runs a call until a limit (`--deadline-seconds`, `--stall-seconds`) ends it, after its agent has created the file
/// `up`. Also returns the limit.
#[track_caller]
fn run_past_limit(sandbox: impl Fn() -> Sandbox, call: &[&str], option: &str) -> (Sandbox, Finished, Duration) {
    for seconds in LIMITS {
        let sandbox = sandbox();
        let finished = sandbox.start(&[call, &[option, &seconds.to_string()]].concat()).wait(SOON);
        if sandbox.has_reached("up") {
            return (sandbox, finished, Duration::from_secs(seconds));
        }
        finished.assert.code(124); // the agent had not started yet
    }
    panic!("the agent needs more than {LIMITS:?} s to start");
}

/// Returns the first arguments of a call that runs a turn in the session `a`.
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

/// Returns an agent that runs until it is stopped.
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
    let (sandbox, Finished { assert, took }, deadline) = run_past_limit(sandbox, &resume(&[]), "--deadline-seconds");
    let failure = assert.failed(124, "deadline").after_the_turn();
    assert_eq!(failure.session_id.as_deref(), Some("i"));
    let call = sandbox.only_call();
    assert!(!is_alive(call.pid) && !is_alive(call.grandchildren[0]), "both have ended before the call returns");
    // The grace period is 5 s, and more on a busy machine.
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
    let (sandbox, Finished { assert, took }, deadline) =
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
#[cfg(target_os = "linux")] // other systems cannot find a process that left the group
fn deadline_ends_processes_that_left_the_group() {
    let grandchild = Step::Grandchild {
        steps: vec![Step::create("up"), Step::wait_for("never")],
        holds: vec![Sink::Stdout, Sink::Stderr],
        own_session: true,
    };
    let sandbox = || with_turn(Turn::doing([grandchild.clone(), Step::wait_for("never")]));
    let (sandbox, finished, _) = run_past_limit(sandbox, &resume(&[]), "--deadline-seconds");
    finished.assert.failed(124, "deadline");
    assert!(!is_alive(sandbox.only_call().grandchildren[0]));
}

#[test]
#[cfg(target_os = "linux")] // other systems cannot find a process that left the group
fn processes_that_left_the_group_can_clean_up() {
    let clean_up = vec![Step::create("clean"), Step::Exit(0)];
    let polite = Step::OnSignal { signals: vec![SignalName::Term], steps: clean_up };
    let grandchild = Step::Grandchild {
        steps: vec![polite, Step::create("up"), Step::wait_for("never")],
        holds: vec![Sink::Stdout, Sink::Stderr],
        own_session: true,
    };
    let sandbox = || with_turn(Turn::doing([grandchild.clone(), Step::wait_for("never")]));
    let (sandbox, finished, _) = run_past_limit(sandbox, &resume(&[]), "--deadline-seconds");
    finished.assert.failed(124, "deadline");
    assert!(sandbox.has_reached("clean"));
}

#[test]
fn deadline_includes_reading_the_prompt() {
    let sandbox = with_turn(endless());
    let args = ["--error-format", "json", "--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "-"];
    let running = sandbox.cmd(&[&args[..], &["--deadline-seconds", "0.2"]].concat()).start_with_open_input();
    running.wait(SOON).assert.failed(124, "deadline").before_the_turn();
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
        // claude ends a stream with exit status 0 after INT, which is not a success
        running.wait(SOON).assert.failed(code, "interrupted").after_the_turn();
        let call = sandbox.only_call();
        assert_eq!(call.signals, [name]);
        assert!(!is_alive(call.pid));
    }
}

#[test]
#[cfg(unix)] // signals
fn second_signal_kills_the_agent() {
    let handler = Step::OnSignal { signals: vec![SignalName::Int], steps: vec![Step::create("signaled")] };
    let sandbox = with_turn(Turn::doing([handler, Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::INT);
    wait_until(SOON, || sandbox.has_reached("signaled"));
    running.signal(Signal::TERM);
    running.wait(SOON).assert.failed(130, "interrupted"); // the first signal determines the exit status
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
    running.wait(SOON).assert.success();
}

#[test]
#[cfg(unix)] // signals
fn agent_ends_if_the_program_is_killed() {
    if !cfg!(target_os = "linux") {
        return; // only Linux notifies a child of its parent's death
    }
    let polite = Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::Exit(0)] };
    let sandbox = with_turn(Turn::doing([polite, Step::create("up"), Step::wait_for("never")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::KILL);
    let pid = sandbox.only_call().pid;
    wait_until(SOON, || !is_alive(pid));
    // the session is unlocked when the last thread of the killed process has ended
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
}

#[test]
fn successful_turn_leaves_background_processes_running() {
    let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
    let sandbox = with_turn(Backend::Codex.answers("i", "OK").after([server, Step::wait_for("up")]));
    // it holds the outputs open, and the call waits only one second for it
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
    // simulates a killed npm launcher of codex: the real program would continue and keep its thread locked
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
fn both_outputs_are_read_concurrently() {
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
fn complete_lines_are_passed_through_immediately() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(Turn::doing([Step::stdout("{\"n\": 1}\n"), Step::wait_for("go"), Step::stdout("{\"n\": 2}\n")]));
        let running =
            sandbox.start(&["--backend", backend.name(), "resume-stream", "--session-name", "a", "--prompt", "p"]);
        wait_until(SOON, || running.stdout_so_far() == "{\"n\": 1}\n");
        sandbox.allow("go");
        running.wait(SOON).assert.success().stdout("{\"n\": 1}\n{\"n\": 2}\n");
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
#[cfg(unix)] // on Windows the stand-in cannot close it
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
    running.wait(SOON).assert.success();
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
    finished.assert.failed(124, "deadline");
    assert_eq!(files(&sandbox), ["agent-sessions"]);
}

fn stall_timeout_stops_a_silent_agent(backend: Backend, verb: &str) {
    let sandbox = || {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        // An incomplete line does not count as output.
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
    finished.assert.failed(124, "stalled").after_the_turn();
    assert!(!sandbox.is_locked("agent"));
}

turn_tests! { stall_timeout_stops_a_silent_agent {
    claude_stream: Claude, "resume-stream";
    codex_create: Codex, "create-session";
    codex_json: Codex, "resume-json";
    codex_stream: Codex, "resume-stream";
} }

#[test]
fn stall_timeout_does_not_stop_an_agent_that_prints_lines() {
    let call = ["--backend", "claude", "resume-stream", "--session-name", "a", "--prompt", "p"];
    // A busy machine may delay a line by more than a short limit allows, so longer ones follow.
    let is_spared = LIMITS.into_iter().any(|seconds| {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let line = [Step::stdout("{}\n"), Step::SleepMs(seconds * 200)];
        let lines = (0..6).flat_map(|_| line.clone());
        sandbox.agent(Backend::Claude.answers("i", "OK").after(lines));
        let running = sandbox.start(&[&call[..], &["--stall-seconds", &seconds.to_string()]].concat());
        let Finished { assert, took } = running.wait(SOON);
        assert!(took > Duration::from_secs(seconds), "the turn must last longer than the stall timeout: {took:?}");
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
    let Finished { assert, took } = sandbox.start(&call).wait(SOON);
    assert.success().stdout(contains("\"OK\""));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// Starts a call whose agent answers with more bytes than a pipe holds, and does not read its output.
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
#[cfg(unix)] // blocking pipes
fn unread_stdout_does_not_delay_the_deadline() {
    let is_printing = LIMITS.into_iter().any(|seconds| {
        let sandbox = Sandbox::new();
        let mut child = start_unread(&sandbox, &["--deadline-seconds", &seconds.to_string()]);
        wait_until(SOON, || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(124));
        // Otherwise the deadline passed before the answer.
        sandbox.mapping(Backend::Claude).contains("kept")
    });
    assert!(is_printing);
}

#[test]
fn deadline_after_the_agent_has_ended_changes_nothing() {
    const DEADLINE: Duration = Duration::from_secs(3);
    // The agent ends shortly before the deadline and leaves a process that holds the outputs open. The call reads them
    // for another second, and the deadline passes. A busy machine may end the agent too late, so the test retries.
    let is_unchanged = (0..5).any(|_| {
        let server = Step::grandchild([Step::lock("server"), Step::create("up"), Step::wait_for("stop")]);
        let steps = [server, Step::wait_for("up"), Step::wait_for("end")];
        let sandbox = with_turn(Backend::Codex.answers("i", "OK").after(steps));
        let began = Instant::now();
        let running = sandbox.start(&resume(&["--deadline-seconds", &DEADLINE.as_secs().to_string()]));
        std::thread::sleep(Duration::from_millis(2400).saturating_sub(began.elapsed()));
        sandbox.allow("end");
        let Finished { assert, took } = running.wait(SOON);
        assert!(took > DEADLINE, "the outputs were not watched until the deadline: {took:?}");
        let is_unchanged = assert.exit_code() == Some(0) && sandbox.is_locked("server");
        sandbox.allow("stop");
        is_unchanged
    });
    assert!(is_unchanged);
}

#[test]
#[cfg(unix)] // nonblocking streams
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
        drop(command); // it also holds the write end
        wait_until(SOON, || !sandbox.calls().is_empty());
        let mut text = String::new();
        ours.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(text.len() > 2_000_000 && text.ends_with('\n'), "{}", text.len());
    }
}

#[test]
#[cfg(target_os = "linux")] // Linux opens the other side of a terminal by its number
fn terminal_shows_progress() {
    use std::io::Read;
    let terminal = Terminal::of_width(80);
    let event = r#"{"type":"item.started","item":{"type":"command_execution","command":"ls \u001b[31m"}}"#;
    let turn = Backend::Codex.answers("i", "OK").after([Step::stdout(&format!("{event}\n")), Step::wait_for("go")]);
    let sandbox = with_turn(turn);
    let mut command = sandbox.cmd(&["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"]);
    command.env("TERM", "xterm").stdout(std::process::Stdio::null()).stderr(terminal.user_side());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut shown = Vec::new();
    let mut terminal = terminal.into_controller();
    let mut buffer = [0; 1024];
    let mut text = String::new();
    while !(text.contains("codex") && text.contains(r"Shell ls \u{1b}[31m")) {
        let n = terminal.read(&mut buffer).expect("the line is drawn before the program ends");
        shown.extend_from_slice(&buffer[..n]);
        text = String::from_utf8_lossy(&shown).into_owned();
    }
    sandbox.allow("go");
    assert!(child.wait().unwrap().success());

    // nothing is drawn without a terminal
    with_turn(Backend::Codex.answers("i", "OK")).succeeds(&resume(&[])[2..]).stderr("");
}

/// Returns the program, started by a shell script. `script` ends with `exec "$@"`.
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
    // a reader of 3 or 9 would wait for the server
    let mut command = in_shell("exec 3>&1 9>&2 >/dev/null 2>&1; exec \"$@\"", &sandbox, &resume(&[]));
    command.start().wait(SOON).assert.code(0);
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
        in_shell(&trace, &sandbox, &resume(&[])).run().success();
        assert_eq!(std::fs::read_to_string(sandbox.workspace().join("inherited")).unwrap(), "");
    }
}

#[test]
fn processes_of_a_turn_that_reported_a_failure_are_ended() {
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
        assert!(!sandbox.is_locked("left"), "{backend:?} {args:?} {kind}: ended before the call returned");
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
fn signal_while_a_failed_turn_is_stopped_kills_it() {
    let mut steps = vec![Step::lock("left")];
    steps.extend([
        Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::create("signaled")] },
        Step::create("up"),
        Step::wait_for("never"),
    ]);
    let left = Step::Grandchild { steps, holds: Vec::new(), own_session: false };
    let sandbox = with_turn(Backend::Codex.fails("i", "no").exit(0).after([left, Step::wait_for("up")]));
    let running = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("signaled"));
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let output = running.wait(SOON).assert;
    assert!(matches!(output.exit_code(), Some(130 | 143)), "{output:?}");
    assert!(!sandbox.is_locked("left"));
}

#[test]
fn huge_limit_has_no_effect() {
    let sandbox = with_turn(Backend::Codex.answers("i", "OK"));
    for seconds in ["1e20", "1e300", "18446744073709551615"] {
        sandbox.succeeds(&resume(&["--stall-seconds", seconds, "--deadline-seconds", seconds]));
    }
}

#[test]
#[cfg(target_os = "linux")] // ignored signals are listed in /proc
fn agent_inherits_the_handling_of_a_file_size_limit() {
    const XFSZ: u32 = 25;
    for (caller, ignored) in [("exec \"$@\"", false), ("trap '' XFSZ; exec \"$@\"", true)] {
        let mut sandbox = with_turn(Turn::default());
        let script = sandbox.write("agent", "grep SigIgn /proc/self/status >ignored\n");
        sandbox.env("CODEX_CMD", format!("sh '{}'", script.display()));
        in_shell(caller, &sandbox, &resume(&[])).run().success();
        let line = std::fs::read_to_string(sandbox.workspace().join("ignored")).unwrap();
        let mask = u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).unwrap();
        assert_eq!(mask >> (XFSZ - 1) & 1 == 1, ignored, "{line}");
    }
}

/// The process whose ID the agent wrote to the file `pid`. Killed when dropped.
#[cfg(target_os = "linux")]
struct Escaped(u32);

#[cfg(target_os = "linux")]
impl Escaped {
    fn of(sandbox: &Sandbox) -> Self {
        let pid = std::fs::read_to_string(sandbox.workspace().join("pid")).expect("the agent writes its process ID");
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
    for (stop, code, kind, said) in [
        ("--deadline-seconds", 124, "deadline", "the deadline of 1 s passed; claude could not be stopped"),
        ("--stall-seconds", 124, "stalled", "claude printed nothing for 1 s and could not be stopped"),
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let script = "echo $$ >pid; exec setpriv --reuid=65534 --clear-groups sleep 60\n";
        let script = sandbox.write("agent", script);
        sandbox.env("CLAUDE_CMD", format!("sh '{}'", script.display()));
        let call = ["--error-format", "json", "--backend", "claude", "resume-stream", "--session-name", "a"];
        let call = [&call[..], &["--prompt", "p", stop, "1"]].concat();
        // root without the capability to signal other users' processes, like a user and a setuid program
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
fn warning_names_processes_of_a_failed_turn_that_cannot_be_stopped() {
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
    let warning = format!("cannot stop what claude left running: process {} is still running", left.0);
    assert!(output.exit_code() == Some(1) && output.stderr_text().contains(&warning), "{output:?}");
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
    in_shell(without_proc, &sandbox, &["--version"]).run().stdout(starts_with("invoke-persist"));
    let call = [&call[..], &["--prompt", "p", "--deadline-seconds", "1"]].concat();
    let output = in_shell(without_proc, &sandbox, &call).run();
    let _agent = Escaped::of(&sandbox);
    output.failed(124, "deadline").message(contains("could not be stopped"));
}

#[test]
#[cfg(unix)] // only Unix can set the time of a directory
fn temporary_files_of_killed_calls_are_removed_when_they_are_old() {
    let dirs = |sandbox: &Sandbox| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(sandbox.temp()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().is_some_and(|name| name != "agent-sessions")).collect()
    };
    let make_old = |dir: &std::path::Path| {
        let old = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
        std::fs::File::open(dir).unwrap().set_modified(old).unwrap();
    };
    let sandbox = with_turn(endless());
    let killed = sandbox.start(&resume(&[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    killed.signal(Signal::KILL);
    drop(killed);
    let left = dirs(&sandbox);
    assert_eq!(left.len(), 1, "{left:?}");
    let pid = sandbox.only_call().pid;
    wait_until(SOON, || !is_alive(pid));

    // a new directory, an old one in use, and one with a similar name stay
    let similar = sandbox.temp().join("invoke-persist-100000");
    std::fs::create_dir(&similar).unwrap();
    make_old(&similar);
    sandbox.save(Backend::Codex, "b", "j");
    sandbox.agent(Backend::Codex.answers("j", "OK").after([Step::create("b-is-up"), Step::wait_for("go")]));
    let running = sandbox.start(&["--backend", "codex", "resume-json", "--session-name", "b", "--prompt", "p"]);
    wait_until(SOON, || sandbox.has_reached("b-is-up"));
    assert_eq!(dirs(&sandbox).len(), 3, "{:?}", dirs(&sandbox));
    for dir in dirs(&sandbox) {
        make_old(&dir);
    }
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox.succeeds(&resume(&[]));
    let kept = dirs(&sandbox);
    assert!(kept.len() == 2 && kept.contains(&similar) && !kept.contains(&left[0]), "{kept:?}");
    sandbox.allow("go");
    assert_eq!(running.wait(SOON).assert.success().json()["final_message"], "OK");
    assert_eq!(dirs(&sandbox), [similar]);
}

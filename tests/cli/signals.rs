//! Signals to the program, and their effects on the agent (contract section 8).
#![cfg(unix)]

#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::*;

/// A timeout that even a slow machine does not reach.
const SOON: Duration = Duration::from_secs(30);

const RESUME: [&str; 9] =
    ["--error-format", "json", "--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "p"];

fn with_turn(turn: Turn) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(turn);
    sandbox
}

/// Returns a turn that creates `up` when it begins, and succeeds when the test allows `go`.
#[cfg(target_os = "linux")]
fn waits_for_go() -> Turn {
    Backend::Codex.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")])
}

/// Returns an agent that ends on TERM, but leaves a process that it started.
fn launcher() -> Turn {
    Turn::doing([
        Step::OnSignal { signals: vec![SignalName::Term], steps: vec![Step::Exit(0)] },
        Step::Grandchild {
            steps: vec![Step::lock("real"), Step::create("up"), Step::wait_for("never")],
            holds: Vec::new(),
            own_session: false,
        },
        Step::wait_for("never"),
    ])
}

/// Sends any signal, including those without a name.
fn send(signal: i32, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    assert!(sent.expect("a shell can be started").success(), "signal {signal}");
}

/// Returns the program with the command prefix `before`.
#[cfg(target_os = "linux")]
fn command_after(before: &[&str], sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(env!("CARGO_BIN_EXE_invoke-persist")).args(args);
    command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    command
}

#[cfg(target_os = "linux")]
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Continues an agent and its processes at the end of a test, even a failed one. A stopped stand-in would never notice
/// that its directory is gone.
#[cfg(target_os = "linux")]
struct ContinueOnDrop(u32);

#[cfg(target_os = "linux")]
impl ContinueOnDrop {
    fn of(sandbox: &Sandbox) -> Self {
        Self(sandbox.only_call().pid)
    }
}

#[cfg(target_os = "linux")]
impl Drop for ContinueOnDrop {
    fn drop(&mut self) {
        let group = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        let _ = rustix::process::kill_process_group(group, Signal::CONT); // it may be gone
    }
}

#[test]
fn every_signal_that_ends_a_program_ends_the_turn_first() {
    let mut signals = vec![
        Signal::ABORT.as_raw(),
        Signal::ALARM.as_raw(),
        Signal::USR1.as_raw(),
        Signal::USR2.as_raw(),
        Signal::VTALARM.as_raw(),
        Signal::PROF.as_raw(),
        Signal::XCPU.as_raw(),
    ];
    if cfg!(target_os = "linux") {
        const IO: i32 = 29;
        const POWER: i32 = 30;
        const REAL_TIME: [i32; 2] = [40, 64];
        signals.extend([IO, POWER].into_iter().chain(REAL_TIME));
    }
    for signal in signals {
        let sandbox = with_turn(launcher());
        let running = sandbox.start(&RESUME);
        wait_until(SOON, || sandbox.has_reached("up"));
        send(signal, running.pid());
        running.wait(SOON).assert.failed(128 + signal, "interrupted").after_the_turn();
        // the agent does not receive the signal itself, because USR1 starts node's debugger
        assert_eq!(sandbox.only_call().signals, [SignalName::Term], "signal {signal}");
        assert!(!sandbox.is_locked("real"), "signal {signal}: ended before the call returned");
    }
}

#[test]
fn whole_group_ends_when_the_program_is_killed() {
    let sandbox = with_turn(launcher());
    let running = sandbox.start(&RESUME);
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::KILL);
    wait_until(SOON, || !sandbox.is_locked("real"));
}

#[test]
fn group_that_ignores_term_is_killed_after_the_program_is_killed() {
    let stubborn =
        [Step::Ignore(vec![SignalName::Term]), Step::lock("real"), Step::create("up"), Step::wait_for("never")];
    let sandbox = with_turn(Turn::doing(stubborn));
    let running = sandbox.start(&RESUME);
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::KILL);
    wait_until(SOON, || !sandbox.is_locked("real"));
}

#[test]
fn signal_during_the_second_probe_ends_the_probed_program() {
    let sandbox = Sandbox::new();
    sandbox.agent([Turn::default().stdout("1.0\n"), launcher()]);
    let running = sandbox.start(&["--error-format", "json", "--backend", "codex", "doctor"]);
    wait_until(SOON, || sandbox.has_reached("up"));
    running.signal(Signal::TERM);
    running.wait(SOON).assert.failed(143, "interrupted");
    assert!(!sandbox.is_locked("real"), "the call waited for the end of the program");
}

#[test]
#[cfg(target_os = "linux")] // the state of a process is read in /proc
fn stopped_call_stops_its_agent_and_both_continue() {
    let sandbox = with_turn(waits_for_go());
    let running = sandbox.cmd(&RESUME).process_group(0).start();
    wait_until(SOON, || sandbox.has_reached("up"));
    let _agent = ContinueOnDrop::of(&sandbox);
    let agent = sandbox.only_call().pid;
    running.signal(Signal::TSTP);
    wait_until(SOON, || state(running.pid()) == Some('T') && state(agent) == Some('T'));
    running.signal(Signal::CONT);
    wait_until(SOON, || state(running.pid()) != Some('T') && state(agent) != Some('T'));
    sandbox.allow("go");
    running.wait(SOON).assert.success();
}

#[test]
#[cfg(target_os = "linux")] // the state of a process is read in /proc
fn agent_of_a_stopped_call_ends_when_the_call_is_killed() {
    let sandbox = with_turn(launcher());
    let running = sandbox.cmd(&RESUME).process_group(0).start();
    wait_until(SOON, || sandbox.has_reached("up"));
    let _agent = ContinueOnDrop::of(&sandbox);
    let agent = sandbox.only_call().pid;
    running.signal(Signal::TSTP);
    wait_until(SOON, || state(running.pid()) == Some('T') && state(agent) == Some('T'));
    running.signal(Signal::KILL);
    wait_until(SOON, || !is_alive(agent) && !sandbox.is_locked("real"));
}

#[test]
#[cfg(target_os = "linux")] // the state of a process is read in /proc
fn stopped_time_does_not_count_as_silence() {
    let sandbox = with_turn(waits_for_go());
    let running = sandbox.cmd(&[&RESUME[..], &["--stall-seconds", "3"]].concat()).process_group(0).start();
    wait_until(SOON, || sandbox.has_reached("up"));
    let _agent = ContinueOnDrop::of(&sandbox);
    running.signal(Signal::TSTP);
    wait_until(SOON, || state(running.pid()) == Some('T'));
    std::thread::sleep(Duration::from_millis(3500));
    sandbox.allow("go");
    running.signal(Signal::CONT);
    running.wait(SOON).assert.success();
}

#[test]
#[cfg(target_os = "linux")] // setsid
fn call_without_a_shell_to_continue_it_is_not_stopped() {
    let sandbox = with_turn(waits_for_go());
    // a session leader is not a job of any shell
    let running = command_after(&["setsid"], &sandbox, &RESUME).start();
    wait_until(SOON, || sandbox.has_reached("up"));
    let _agent = ContinueOnDrop::of(&sandbox);
    running.signal(Signal::TSTP);
    std::thread::sleep(Duration::from_millis(300)); // an ignored signal has no visible effect
    sandbox.allow("go");
    running.wait(SOON).assert.success();
}

/// Returns the program as the first process of a container, which needs root.
#[cfg(target_os = "linux")]
fn as_first_process(sandbox: &Sandbox, args: &[&str]) -> Command {
    command_after(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"], sandbox, args)
}

/// Returns the only child of `pid`.
#[cfg(target_os = "linux")]
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[test]
#[cfg(target_os = "linux")] // namespaces
#[ignore = "needs root"]
fn signals_end_the_first_process_of_a_container() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let sandbox = with_turn(waits_for_go());
        let args = ["--backend", "codex", "resume-json", "--session-name", "a", "--prompt", "-"];
        let mut command = as_first_process(&sandbox, &args);
        let mut running = command.start_with_open_input();
        wait_until(SOON, || child_of(running.pid()).is_some());
        let first = child_of(running.pid()).unwrap();
        // the first signals may arrive before the program has started
        wait_until(SOON, || {
            let _ = Command::new("sh").args(["-c", &format!("kill -{} {first} 2>&1", signal.as_raw())]).output();
            running.has_ended()
        });
        running.wait(SOON).assert.code(128 + signal.as_raw());
        assert!(sandbox.calls().is_empty());
    }
}

#[test]
#[cfg(target_os = "linux")] // namespaces
#[ignore = "needs root"]
fn signal_to_the_first_process_of_a_container_ends_the_turn() {
    let sandbox = with_turn(launcher());
    let mut command = as_first_process(&sandbox, &RESUME);
    let running = command.start();
    wait_until(SOON, || sandbox.has_reached("up"));
    send(15, child_of(running.pid()).unwrap());
    running.wait(SOON).assert.failed(143, "interrupted");
    assert_eq!(sandbox.only_call().signals, [SignalName::Term]);
}

#[test]
#[cfg(target_os = "linux")] // namespaces
#[ignore = "needs root"]
fn first_process_of_a_container_does_not_stop_its_agent_alone() {
    let sandbox = with_turn(waits_for_go());
    let mut command = as_first_process(&sandbox, &RESUME);
    let running = command.start();
    wait_until(SOON, || sandbox.has_reached("up"));
    send(Signal::TSTP.as_raw(), child_of(running.pid()).unwrap());
    std::thread::sleep(Duration::from_millis(300)); // an ignored signal has no visible effect
    sandbox.allow("go");
    running.wait(SOON).assert.success();
}

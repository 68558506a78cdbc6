//! `open-session`: the agent's interactive program at the caller's terminal (contract section 2).

use crate::support::*;

#[test]
fn open_session_needs_a_terminal() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(Turn::default());
        let failure = sandbox.fails(&["open-session", "--session-name", "a"], 2, "usage");
        failure.message(contains("terminal")).hint(contains("invoke-persist ask"));
        assert!(sandbox.calls().is_empty());
    }
}

#[cfg(target_os = "linux")]
mod at_a_terminal {
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::Signal;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    const OPEN: [&str; 3] = ["open-session", "--session-name", "a"];

    fn with_turn(backend: Backend, turn: Turn) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent(turn);
        sandbox
    }

    /// Opens the session in a shell at a terminal, which then shows the exit status.
    fn open(sandbox: &Sandbox, args: &[&str]) -> Dialogue {
        let program = env!("CARGO_BIN_EXE_invoke-persist");
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\"; echo \"status $?\"; sleep 60", "sh", program]).args(args);
        command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
        Terminal::of_width(100).starts(&command)
    }

    fn sees(dialogue: &Dialogue, text: &str) {
        dialogue.sees(text, |screen| screen.lines().iter().any(|line| line.contains(text)));
    }

    /// Returns the parent of a process.
    fn parent(pid: u32) -> u32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn turn_now(sandbox: &Sandbox, backend: Backend) -> assert_cmd::assert::Assert {
        let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--if-busy", "fail"];
        sandbox.run(&[&["--error-format", "json", "--backend", backend.name()], &resume[..]].concat())
    }

    fn waits() -> Turn {
        Turn::doing([Step::stdout("interactive\n"), Step::create("up"), Step::wait_for("go")])
    }

    #[test]
    fn agent_gets_the_terminal_the_settings_and_its_exit_status_is_passed_on() {
        for backend in Backend::BOTH {
            let sandbox = with_turn(backend, Turn::default());
            let effort: &[&str] = if backend == Backend::Claude { &["--reasoning-effort", "low"] } else { &[] };
            sandbox.agent(backend.answers("i", "OK"));
            let resume = ["resume-json", "--session-name", "a", "--prompt", "p", "--model", "m"];
            sandbox.succeeds(&[&resume[..], effort].concat());
            let before = sandbox.mapping(backend);
            sandbox.agent([Turn::default(), Turn::doing([Step::stdout("interactive\n"), Step::ReadStdin]).exit(7)]);
            let mut dialogue = open(&sandbox, &[&OPEN[..], &["--", "--flag", "x"]].concat());
            sees(&dialogue, "interactive");
            dialogue.types("hello\n\u{4}");
            sees(&dialogue, "status 7");
            let call = sandbox.last_call();
            match backend {
                Backend::Claude => {
                    assert_eq!(call.argv, ["--resume", "i", "--model", "m", "--effort", "low", "--flag", "x"]);
                }
                Backend::Codex => assert_eq!(call.argv, ["resume", "--model", "m", "i", "--flag", "x"]),
            }
            assert_eq!(call.stdin_text(), "hello\n");
            let pid = i32::try_from(call.pid).unwrap();
            assert!(call.session != pid && call.process_group != pid, "{call:?}");
            assert_eq!(call.cwd, sandbox.workspace().to_str().unwrap());
            assert_eq!(sandbox.mapping(backend), before, "nothing is stored");
        }
    }

    #[test]
    fn options_of_codex_are_those_of_its_interactive_program() {
        let sandbox = with_turn(Backend::Codex, Turn::default());
        let options = ["--config", "a=1", "--enable", "f", "--full-auto", "--skip-git-repo-check", "--model", "m"];
        sees(&open(&sandbox, &[&OPEN[..], &options].concat()), "status 0");
        let sandboxed = ["--sandbox", "workspace-write"];
        let want = [&["resume", "--config", "a=1", "--enable", "f", "--model", "m"], &sandboxed[..], &["i"]].concat();
        assert_eq!(sandbox.only_call().argv, want);
    }

    #[test]
    fn session_is_locked_while_it_is_open() {
        for backend in Backend::BOTH {
            let sandbox = with_turn(backend, waits());
            let dialogue = open(&sandbox, &OPEN);
            wait_until(LIMIT, || sandbox.has_reached("up"));
            turn_now(&sandbox, backend).failed(5, "session_busy").before_the_turn();
            sandbox.allow("go");
            sees(&dialogue, "status 0");
            sandbox.agent(backend.answers("i", "OK"));
            turn_now(&sandbox, backend).success();
        }
    }

    #[test]
    fn open_session_waits_for_a_turn_or_fails() {
        let backend = Backend::Claude;
        let sandbox = Sandbox::new();
        sandbox.save(backend, "a", "i");
        sandbox.agent([
            backend.answers("i", "OK").after([Step::create("turn"), Step::wait_for("end")]),
            Turn::doing([Step::stdout("interactive\n")]),
        ]);
        let turn = sandbox.start(&["resume-json", "--session-name", "a", "--prompt", "p"]);
        wait_until(LIMIT, || sandbox.has_reached("turn"));
        sees(&open(&sandbox, &[&OPEN[..], &["--if-busy", "fail"]].concat()), "status 5");
        let waiting = open(&sandbox, &OPEN);
        sees(&waiting, "note: waiting for the session 'a' (i), locked by process");
        sandbox.allow("end");
        sees(&waiting, "interactive");
        sees(&waiting, "status 0");
        turn.wait(LIMIT).assert.success();
    }

    #[test]
    fn agent_keeps_the_lock_if_the_program_is_killed() {
        let backend = Backend::Claude;
        let sandbox = with_turn(backend, waits());
        let dialogue = open(&sandbox, &OPEN);
        wait_until(LIMIT, || sandbox.has_reached("up"));
        let agent = sandbox.only_call().pid;
        signal_process(parent(agent), Signal::KILL);
        sees(&dialogue, "status 137");
        assert!(is_alive(agent));
        turn_now(&sandbox, backend).failed(5, "session_busy");
        sandbox.allow("go");
        wait_until(LIMIT, || !is_alive(agent));
        sandbox.agent(backend.answers("i", "OK"));
        turn_now(&sandbox, backend).success();
    }

    #[test]
    fn process_that_the_agent_leaves_does_not_keep_the_lock() {
        let backend = Backend::Claude;
        let server = Step::Grandchild {
            steps: vec![Step::lock("server"), Step::create("up"), Step::wait_for("never")],
            holds: Vec::new(),
            own_session: true,
        };
        let sandbox = with_turn(backend, Turn::doing([server, Step::wait_for("up")]));
        sees(&open(&sandbox, &OPEN), "status 0");
        assert!(sandbox.is_locked("server"));
        sandbox.agent(backend.answers("i", "OK"));
        turn_now(&sandbox, backend).success();
    }

    #[test]
    fn calls_inside_an_open_session_are_refused() {
        let sandbox = with_turn(Backend::Claude, waits().watching(&["INVOKE_PERSIST_HELD", "CLAUDECODE"]));
        let dialogue = open(&sandbox, &OPEN);
        wait_until(LIMIT, || sandbox.has_reached("up"));
        let held = sandbox.only_call().env["INVOKE_PERSIST_HELD"].clone().expect("the agent learns what is held");
        let mut inner = sandbox.cmd(&["--error-format", "json", "resume-json", "--session-name", "a", "--prompt", "p"]);
        inner.env("INVOKE_PERSIST_HELD", held);
        inner.run().failed(5, "session_busy").message(contains("runs inside"));
        sandbox.allow("go");
        sees(&dialogue, "status 0");
    }

    #[test]
    fn keys_that_send_signals_reach_the_agent_only() {
        let on = |signal, file: &str| Step::OnSignal { signals: vec![signal], steps: vec![Step::create(file)] };
        let steps = [on(SignalName::Int, "int"), on(SignalName::Quit, "quit")];
        let turn = Turn::doing(steps.into_iter().chain([Step::create("up"), Step::wait_for("go")])).exit(3);
        let sandbox = with_turn(Backend::Claude, turn);
        // a shell that does not wait for a command after Ctrl-C would end, too
        let mut dialogue = Terminal::of_width(100).starts(&sandbox.cmd(&OPEN));
        wait_until(LIMIT, || sandbox.has_reached("up"));
        for (key, file) in [("\u{3}", "int"), ("\u{1c}", "quit"), ("\u{3}", "int")] {
            dialogue.types(key);
            wait_until(LIMIT, || sandbox.has_reached(file));
        }
        let program = parent(sandbox.only_call().pid);
        assert!(is_alive(program));
        sandbox.allow("go");
        wait_until(LIMIT, || !is_alive(program));
        assert_eq!(sandbox.only_call().ended, Some(3));
    }

    #[test]
    fn signal_to_the_program_ends_the_agent() {
        let sandbox = with_turn(Backend::Claude, waits());
        let dialogue = open(&sandbox, &OPEN);
        wait_until(LIMIT, || sandbox.has_reached("up"));
        let agent = sandbox.only_call().pid;
        signal_process(parent(agent), Signal::TERM);
        sees(&dialogue, "status 143");
        assert!(!is_alive(agent));
    }

    #[test]
    fn ctrl_z_stops_both_and_fg_continues_both() {
        // an agent that stops only itself, and one that is stopped with its group
        let stops_itself =
            Step::OnSignal { signals: vec![SignalName::Usr1], steps: vec![Step::Raise(SignalName::Tstp)] };
        let sandbox = with_turn(Backend::Claude, Turn::doing([stops_itself, Step::create("up"), Step::wait_for("go")]));
        let mut shell = Command::new("bash");
        shell.args(["--norc", "--noprofile", "-i"]).current_dir(sandbox.workspace()).env_clear();
        shell.envs(sandbox.variables()).env("PS1", "prompt> ");
        let mut dialogue = Terminal::of_width(100).starts(&shell);
        let program = env!("CARGO_BIN_EXE_invoke-persist");
        dialogue.types(&format!("clear; alias ip='{program}'\n"));
        dialogue.types("ip open-session --session-name a\n");
        wait_until(LIMIT, || sandbox.has_reached("up"));
        let agent = sandbox.only_call().pid;
        let state = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().chars().next()
        };
        let program = parent(agent);
        for round in 1..=3 {
            if round == 2 {
                signal_process(agent, Signal::USR1);
            } else {
                dialogue.types("\u{1a}");
            }
            wait_until(LIMIT, || state(agent) == Some('T') && state(program) == Some('T'));
            let stopped = |screen: &Screen| screen.lines().join(" ").matches("Stopped").count() >= round;
            dialogue.sees("Stopped", stopped);
            dialogue.types("fg\n");
            wait_until(LIMIT, || state(agent) != Some('T') && state(program) != Some('T'));
        }
        sandbox.allow("go");
        wait_until(LIMIT, || !is_alive(program));
        dialogue.types("echo status-$?\n");
        sees(&dialogue, "status-0");
    }
}

//! codex in a shell: the state of a turn if the shell fails.
#![cfg(unix)] // Windows may not have bash

use crate::support::*;

const RESUME: [&str; 6] = ["--backend", "codex", "resume-json", "--session-name", "a", "--prompt=p"];

fn with_session() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Codex, "a", "i");
    sandbox.agent(Backend::Codex.answers("i", "OK"));
    sandbox
}

/// Calls codex as `command` through a shell that runs `init` first.
#[track_caller]
fn fails(sandbox: &Sandbox, shell: &str, init: &str, command: &str, exit_code: i32, kind: &str) -> Failure {
    let shell = ["--codex-shell=posix", "--codex-shell-cmd", shell, "--codex-shell-init", init, "--codex-cmd", command];
    sandbox.fails(&[&RESUME[..], &shell].concat(), exit_code, kind)
}

#[test]
fn turn_counts_as_started_once_its_shell_is_started() {
    for shell in ["bash -c", "bash -lc", "sh -c"] {
        let sandbox = with_session();
        let failure = fails(&sandbox, shell, "", "no-such-codex", 127, "agent_not_found");
        assert_eq!((failure.turn_started, failure.agent_exit_code), (Some(true), Some(127)), "{shell}");
        assert_eq!(failure.session_id.as_deref(), Some("i"));
        sandbox.write("plain", "not a program");
        let failure = fails(&sandbox, shell, "", "./plain", 126, "agent_not_executable");
        assert_eq!((failure.turn_started, failure.agent_exit_code), (Some(true), Some(126)), "{shell}");
        assert!(sandbox.calls().is_empty());
    }
}

#[test]
fn agent_that_ran_before_its_shell_failed_is_not_reported_as_missing() {
    for (init, status) in [
        ("work() { codex \"$@\" >/dev/null; no-such-notifier; }", 127),
        ("work() { codex \"$@\" >/dev/null; ./plain; }", 126),
        ("work() { codex \"$@\" >/dev/null; return 127; }", 127),
        ("work() { codex \"$@\" 3>&1 >/dev/null 2>&3; no-such-notifier 2>/dev/null; }", 127),
    ] {
        let sandbox = with_session();
        sandbox.write("plain", "not a program");
        let failure = fails(&sandbox, "bash -c", init, "work", 1, "agent_failed");
        assert_eq!((failure.turn_started, failure.agent_exit_code), (Some(true), Some(status)), "{init}");
        assert_eq!(failure.session_id.as_deref(), Some("i"), "{init}");
        sandbox.only_call();
    }
}

#[test]
#[ignore = "needs zsh"]
fn agent_that_ran_before_its_zsh_failed_is_not_reported_as_missing() {
    let sandbox = with_session();
    let init = "work() { codex \"$@\" >/dev/null; no-such-notifier; }"; // zsh puts the function's name first
    let failure = fails(&sandbox, "zsh -c", init, "work", 1, "agent_failed");
    assert_eq!(failure.turn_started, Some(true));
    fails(&sandbox, "zsh -c", "", "no-such-codex", 127, "agent_not_found");
    sandbox.only_call();
}

#[test]
fn missing_shell_starts_no_turn() {
    let sandbox = with_session();
    let failure = fails(&sandbox, "no-such-shell -c", "", "codex", 127, "agent_not_found");
    assert_eq!(failure.turn_started, Some(false));
}

//! The demo and its echo agent: a trial run without an account.

use crate::support::*;

#[test]
fn demo_shows_every_command_for_both_agents() {
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&[]); // no agent, no account
    let shown = sandbox.succeeds(&["demo"]).stderr("").stdout_text();
    for backend in Backend::BOTH {
        assert!(shown.contains(&format!("# {}", backend.name())), "{shown}");
    }
    for verb in [
        "create-session",
        "resume-json",
        "resume-stream",
        "list-sessions",
        "resolve",
        "rename-session",
        "delete-session",
    ] {
        let commands = shown.lines().filter(|line| line.starts_with("$ invoke-persist "));
        let count = commands.filter(|line| line.contains(&format!(" {verb} "))).count();
        assert!(count >= 2, "{verb}: {shown}");
    }
    assert_eq!(shown.matches("turn 2: Look at src/ [model: small]").count(), 2, "{shown}");
    assert_eq!(shown.matches("turn 3: And the tests? [model: small]").count(), 2, "{shown}");
    assert!(shown.contains("turn 4: Sum up [model: small]"), "{shown}");
    assert_eq!(std::fs::read_dir(sandbox.temp()).unwrap().count(), 0, "no file remains");
}

#[cfg(unix)]
#[test]
fn interrupted_demo_leaves_no_file() {
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&[]);
    let running = sandbox.start(&["--error-format", "json", "demo"]);
    wait_until(std::time::Duration::from_secs(60), || running.stdout_so_far().contains("$ invoke-persist "));
    running.signal(rustix::process::Signal::INT);
    running.wait(std::time::Duration::from_secs(60)).assert.failed(130, "interrupted").before_the_turn();
    assert_eq!(std::fs::read_dir(sandbox.temp()).unwrap().count(), 0, "no file remains");
}

#[test]
fn echo_agent_implements_the_protocols_of_both_agents() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    for backend in Backend::BOTH {
        let command = format!("'{program}' echo-agent {}", backend.name());
        let option = format!("--{}-cmd", backend.name());
        let call = |args: &[&str]| sandbox.run(&[args, &[&option, &command]].concat());
        let id = call(&["create-session", "--session-name", "a", "--model", "m", "--init-prompt", "hello"])
            .success()
            .stdout_text();
        let result = |args: &[&str]| call(&[&["resume-json", "--print-result"], args].concat()).success().stdout_text();
        assert_eq!(result(&["--session-name", "a", "--prompt", "- x"]), "turn 2: - x [model: m]\n");
        assert_eq!(result(&["--session-id", id.trim(), "--prompt", "again"]), "turn 3: again [model: m]\n");
        let big = "x".repeat(LONG_ARGUMENT);
        let answer = format!("turn 4: {LONG_ARGUMENT} bytes [model: m]\n");
        assert_eq!(result(&["--session-name", "a", "--prompt", &big]), answer);
        let unknown = ["resume-json", "--session-id", "0000-1111", "--prompt", "p"];
        let output = call(&[&["--error-format", "json"][..], &unknown].concat());
        output.failed(1, "agent_failed").message(contains("0000-1111"));
    }
}

#[test]
fn echo_agent_reads_the_options_of_codex_exec() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    sandbox.env("CODEX_CMD", format!("'{}' echo-agent codex", env!("CARGO_BIN_EXE_invoke-persist")));
    let call = ["resume-json", "--session-name", "a", "--if-missing", "create", "--print-result", "--prompt", "p"];
    for turn in 1..=3 {
        let options = ["--", "--sandbox", "workspace-write", "-C", ".", "-pnightly", "--color=never", "-c", "a=1"];
        sandbox.succeeds(&[&call[..], &options].concat()).stdout(format!("turn {turn}: p\n"));
    }
}

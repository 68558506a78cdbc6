//! The demo and its echo agent: a rehearsal without an account.

use crate::support::*;

#[test]
fn the_demo_shows_the_whole_round_for_both_agents() {
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&[]); // no agent, no account
    let output = sandbox.succeeds(&["demo"]);
    assert_eq!(output.stderr, "");
    for backend in Backend::BOTH {
        assert!(output.stdout.contains(&format!("# {}", backend.name())), "{}", output.stdout);
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
        let commands = output.stdout.lines().filter(|line| line.starts_with("$ invoke-persist "));
        let shown = commands.filter(|line| line.contains(&format!(" {verb} "))).count();
        assert!(shown >= 2, "{verb}: {}", output.stdout);
    }
    assert_eq!(output.stdout.matches("turn 2: Look at src/ [model: small]").count(), 2, "{}", output.stdout);
    assert_eq!(output.stdout.matches("turn 3: And the tests? [model: small]").count(), 2, "{}", output.stdout);
    assert!(output.stdout.contains("turn 4: Sum up [model: small]"), "{}", output.stdout);
    assert_eq!(std::fs::read_dir(sandbox.temp()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_job_can_be_rehearsed_with_the_echo_agent() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    for backend in Backend::BOTH {
        let command = format!("'{program}' echo-agent {}", backend.name());
        let option = format!("--{}-cmd", backend.name());
        let call = |args: &[&str]| sandbox.run(&[args, &[&option, &command]].concat());
        let id = call(&["create-session", "--session-name", "a", "--model", "m", "--init-prompt", "hello"])
            .succeeded()
            .stdout;
        let result = |args: &[&str]| call(&[&["resume-json", "--print-result"], args].concat()).succeeded().stdout;
        assert_eq!(result(&["--session-name", "a", "--prompt", "- x"]), "turn 2: - x [model: m]\n");
        assert_eq!(result(&["--session-id", id.trim(), "--prompt", "again"]), "turn 3: again [model: m]\n");
        let big = "x".repeat(LONG_ARGUMENT);
        let answer = format!("turn 4: {LONG_ARGUMENT} bytes [model: m]\n");
        assert_eq!(result(&["--session-name", "a", "--prompt", &big]), answer);
        let unknown = ["resume-json", "--session-id", "0000-1111", "--prompt", "p"];
        let output = call(&[&["--error-format", "json"][..], &unknown].concat());
        assert!(output.failed(1, "agent_failed").message.contains("0000-1111"));
    }
}

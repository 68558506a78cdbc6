//! `INVOKE_PERSIST_LOG`: what a bug report needs.

use predicates::str::contains;

use crate::support::*;

#[test]
fn log_has_the_command_the_lock_and_the_end_but_no_values_of_variables() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    sandbox.write("vars", "TOKEN=secret\n");
    let log = sandbox.root().join("log");
    sandbox.env("INVOKE_PERSIST_LOG", &log);
    let prompt = "x".repeat(1000);
    let call = ["resume-json", "--session-name", "a", "--prompt", &prompt, "--env-file", "vars"];
    sandbox.succeeds(&call).stderr("");
    let text = std::fs::read_to_string(&log).unwrap();
    for part in ["locked the session i after", "starting ", "\"--resume\" \"i\"", "set: TOKEN", "claude ended after"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains("secret") && !text.contains(&prompt), "{text}");
    // a second call appends
    sandbox.succeeds(&call);
    assert!(std::fs::read_to_string(&log).unwrap().starts_with(&text));
    sandbox.env("INVOKE_PERSIST_LOG", "-");
    sandbox.succeeds(&call).stderr(contains("starting "));
    sandbox.env("INVOKE_PERSIST_LOG", sandbox.root().join("missing/log"));
    sandbox.fails(&call, 2, "usage").message(contains("cannot write the log"));
}

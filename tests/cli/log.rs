//! `INVOKE_PERSIST_LOG`: the log for bug reports.

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

/// A log line would damage such a file.
#[test]
fn file_that_is_not_a_log_is_refused() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let mapping = sandbox.mapping_path(Backend::Claude);
    let before = std::fs::read_to_string(&mapping).unwrap();
    sandbox.env("INVOKE_PERSIST_LOG", &mapping);
    let failure = sandbox.fails(&["list-sessions"], 2, "usage").message(contains("it is not a log of invoke-persist"));
    assert!(failure.hint.unwrap().contains("INVOKE_PERSIST_LOG"));
    assert_eq!(std::fs::read_to_string(&mapping).unwrap(), before);
}

/// A pipe would block the call beyond its deadline if its reader stopped reading.
#[cfg(unix)]
#[test]
fn log_that_is_not_a_file_is_refused() {
    let mut sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let pipe = sandbox.root().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    sandbox.env("INVOKE_PERSIST_LOG", &pipe);
    sandbox.fails(&["list-sessions"], 2, "usage").message(contains("cannot write the log"));
    let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    sandbox.fails(&["list-sessions"], 2, "usage").message(contains("it is not a regular file"));
    sandbox.env("INVOKE_PERSIST_LOG", "/dev/null");
    sandbox.fails(&["list-sessions"], 2, "usage").message(contains("it is not a regular file"));
}

//! `--output-file`: what would go to standard output, in a file that is whole or not there.

use std::fs;
use std::time::Duration;

use crate::support::*;

const SOON: Duration = Duration::from_secs(30);

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "the answer"));
    sandbox
}

fn resume<'a>(verb: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "--session-name", "a", "--prompt", "p", "--output-file", "out"][..], options].concat()
}

/// Everything in the workspace.
fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.workspace()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn file_holds_what_stdout_would_have_shown() {
    for backend in Backend::BOTH {
        for (verb, options) in [("resume-json", &[][..]), ("resume-json", &["--print-result"]), ("resume-stream", &[])]
        {
            let sandbox = with_session(backend);
            let line = resume(verb, options);
            let without: Vec<_> =
                line.iter().filter(|word| !["--output-file", "out"].contains(word)).copied().collect();
            let printed = sandbox.succeeds(&without).stdout_text();
            sandbox.run(&line).success().stdout("").stderr("");
            assert_eq!(fs::read_to_string(sandbox.workspace().join("out")).unwrap(), printed);
            assert_eq!(files(&sandbox), ["out"], "nothing else is left");
            assert!(printed.contains("the answer"));
        }
    }
}

#[test]
fn failed_call_without_output_keeps_the_old_file() {
    let sandbox = with_session(Backend::Claude);
    sandbox.write("out", "before");
    sandbox.agent(Backend::Claude.fails("i", "no"));
    sandbox.fails(&resume("resume-json", &[]), 1, "agent_failed");
    assert_eq!(fs::read(sandbox.workspace().join("out")).unwrap(), b"before");
    assert_eq!(files(&sandbox), ["out"]);
}

#[test]
fn output_of_a_failed_call_is_kept() {
    let sandbox = with_session(Backend::Codex);
    sandbox.agent(Backend::Codex.answers("other", "from elsewhere"));
    sandbox.fails(&resume("resume-json", &[]), 1, "session_lost");
    assert!(fs::read_to_string(sandbox.workspace().join("out")).unwrap().contains("from elsewhere"));
    sandbox.agent(Backend::Codex.fails("i", "broke off"));
    sandbox.fails(&resume("resume-stream", &[]), 1, "agent_failed");
    assert!(fs::read_to_string(sandbox.workspace().join("out")).unwrap().contains("broke off"));
    assert_eq!(files(&sandbox), ["out"]);
}

#[test]
fn old_file_stays_until_the_end() {
    let sandbox = with_session(Backend::Codex);
    sandbox.write("out", "before");
    let line = "{\"type\":\"turn.started\"}\n";
    sandbox.agent(Backend::Codex.answers("i", "OK").after([
        Step::stdout(line),
        Step::create("up"),
        Step::wait_for("go"),
    ]));
    let running = sandbox.start(&resume("resume-stream", &[]));
    wait_until(SOON, || sandbox.has_reached("up"));
    assert_eq!(fs::read(sandbox.workspace().join("out")).unwrap(), b"before");
    sandbox.allow("go");
    running.wait(SOON).success();
    assert!(fs::read_to_string(sandbox.workspace().join("out")).unwrap().starts_with(line));
}

#[test]
fn unwritable_file_is_reported_before_the_agent_runs() {
    let sandbox = with_session(Backend::Claude);
    fs::create_dir(sandbox.workspace().join("folder")).unwrap();
    for (file, exit_code, kind) in [("folder", 2, "usage"), ("nowhere/out", 1, "io"), ("", 2, "usage")] {
        let line = ["resume-json", "--session-name", "a", "--prompt", "p", "--output-file", file];
        sandbox.fails(&line, exit_code, kind).message(contains("--output-file"));
    }
    assert!(sandbox.calls().is_empty());
}

#[cfg(unix)]
#[test]
fn file_is_private_and_symlinks_are_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = with_session(Backend::Claude);
    let real = sandbox.home().join("real");
    fs::write(&real, "before").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&real, sandbox.workspace().join("out")).unwrap();
    sandbox.succeeds(&resume("resume-json", &["--print-result"]));
    assert_eq!(fs::read_to_string(&real).unwrap(), "the answer\n");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(sandbox.workspace().join("out")).unwrap().is_symlink());
    for device in ["/dev/null", "/dev/stdout", "/proc/self/fd/1"] {
        sandbox.fails(&["resume-json", "--session-name", "a", "--prompt", "p", "--output-file", device], 2, "usage");
    }
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "the device is still one");
}

/// A rename would leave whoever redirected it with the old file.
#[cfg(unix)]
#[test]
fn redirected_stdout_is_not_replaced() {
    let sandbox = with_session(Backend::Claude);
    let log = sandbox.write(sandbox.workspace().join("out"), "precious\n");
    let stdout = fs::OpenOptions::new().append(true).open(&log).unwrap();
    let mut command = sandbox.cmd(&resume("resume-json", &[]));
    let status = command.stdout(stdout).stderr(std::process::Stdio::null()).status().unwrap();
    assert_eq!((status.code(), fs::read_to_string(&log).unwrap().as_str()), (Some(2), "precious\n"));
    assert!(sandbox.calls().is_empty());
}

#[cfg(unix)]
#[test]
fn answer_goes_to_stdout_if_its_file_cannot_be_written() {
    let sandbox = with_session(Backend::Claude);
    let folder = sandbox.workspace().join("folder");
    fs::create_dir(&folder).unwrap();
    sandbox.agent(Backend::Claude.answers("i", "paid for").after([Step::create("up"), Step::wait_for("go")]));
    let line = ["--error-format", "json", "resume-json", "--session-name", "a", "--prompt", "p", "--print-result"];
    let running = sandbox.start(&[&line[..], &["--output-file", "folder/out"]].concat());
    wait_until(SOON, || sandbox.has_reached("up"));
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(folder.join("out")).unwrap(); // in its place now
    sandbox.allow("go");
    let output = running.wait(SOON).stdout("paid for\n");
    let failure = output.failed(1, "io").after_the_turn();
    assert_eq!(failure.hint.unwrap(), "what belongs there went to standard output");
}

#[cfg(unix)]
#[test]
fn interrupted_call_leaves_no_temporary_file() {
    let sandbox = with_session(Backend::Claude);
    let running = sandbox
        .cmd(&["resume-json", "--session-name", "a", "--prompt", "-", "--output-file", "out"])
        .start_with_open_input();
    let pid = running.pid();
    wait_until(SOON, || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
            || cfg!(not(target_os = "linux"))
    });
    running.signal(rustix::process::Signal::TERM);
    running.wait(SOON);
    assert!(files(&sandbox).is_empty(), "{:?}", files(&sandbox));
}

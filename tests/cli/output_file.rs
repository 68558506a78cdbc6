//! `--output-file`: writes stdout to a file that is either complete or absent.

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

/// Returns the names of all files in the workspace.
fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.workspace()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn file_has_the_content_of_stdout() {
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
            assert_eq!(files(&sandbox), ["out"], "no other file remains");
            assert!(printed.contains("the answer"));
        }
    }
}

#[test]
fn failed_call_without_output_does_not_change_the_file() {
    let sandbox = with_session(Backend::Claude);
    sandbox.write("out", "before");
    sandbox.agent(Backend::Claude.fails("i", "no"));
    sandbox.fails(&resume("resume-json", &[]), 1, "agent_failed");
    assert_eq!(fs::read(sandbox.workspace().join("out")).unwrap(), b"before");
    assert_eq!(files(&sandbox), ["out"]);
}

/// FILE is either the output of a complete call or what it was before.
#[test]
fn output_of_a_failed_call_is_kept_beside_the_file() {
    let sandbox = with_session(Backend::Codex);
    let (out, partial) = (sandbox.write("out", "before"), sandbox.workspace().join("out.partial"));
    let check = |plan: Turn, verb: &str, exit_status: i32, kind: &str, text: &str| {
        sandbox.agent(plan);
        let output = sandbox.run(&["--error-format", "json"].into_iter().chain(resume(verb, &[])).collect::<Vec<_>>());
        let warning = "warning: the output of this call is in out.partial, because the call failed; out is unchanged";
        let output = output.stderr(contains(warning));
        output.failed(exit_status, kind).after_the_turn();
        assert!(fs::read_to_string(&partial).unwrap().contains(text));
        assert_eq!(fs::read(&out).unwrap(), b"before");
        assert_eq!(files(&sandbox), ["out", "out.partial"]);
    };
    check(Backend::Codex.answers("other", "from elsewhere"), "resume-json", 1, "session_lost", "from elsewhere");
    check(Backend::Codex.fails("i", "broke off"), "resume-stream", 1, "agent_failed", "broke off");
    // a later complete call replaces FILE only
    sandbox.agent(Backend::Codex.answers("i", "the answer"));
    sandbox.succeeds(&resume("resume-stream", &[]));
    assert!(fs::read_to_string(&out).unwrap().contains("the answer"));
}

#[test]
fn interrupted_stream_does_not_replace_a_complete_answer() {
    let sandbox = with_session(Backend::Codex);
    sandbox.write("out", "before");
    let line = "{\"type\":\"turn.started\"}\n";
    sandbox.agent(Backend::Codex.answers("i", "OK").after([Step::stdout(line), Step::wait_for("never")]));
    let stalled = resume("resume-stream", &["--stall-seconds", "0.5"]);
    sandbox.fails(&stalled, 124, "stalled");
    assert_eq!(fs::read(sandbox.workspace().join("out")).unwrap(), b"before");
    assert_eq!(fs::read_to_string(sandbox.workspace().join("out.partial")).unwrap(), line);
}

#[test]
fn missing_directories_are_created_with_the_file() {
    let sandbox = with_session(Backend::Claude);
    sandbox.agent(Backend::Claude.fails("i", "no"));
    sandbox.fails(&resume_into("new/out"), 1, "agent_failed");
    assert!(files(&sandbox).is_empty(), "a call without output creates nothing");
    sandbox.agent(Backend::Claude.answers("i", "the answer"));
    sandbox.succeeds(&resume_into("new/../new/deep/out"));
    assert_eq!(fs::read_to_string(sandbox.workspace().join("new/deep/out")).unwrap(), "the answer\n");
    let calls = sandbox.calls().len();
    let failure = sandbox.fails(&resume_into("new/deep/out/file"), 1, "io");
    assert!(failure.message.starts_with("cannot write --output-file new/deep/out/file: "), "{}", failure.message);
    assert_eq!(sandbox.calls().len(), calls, "no turn runs");
}

#[test]
fn existing_file_stays_until_the_turn_ends() {
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
    running.wait(SOON).assert.success();
    assert!(fs::read_to_string(sandbox.workspace().join("out")).unwrap().starts_with(line));
}

#[test]
fn unwritable_file_is_reported_before_the_agent_runs() {
    let sandbox = with_session(Backend::Claude);
    fs::create_dir(sandbox.workspace().join("dir")).unwrap();
    for (file, exit_code, kind) in [("dir", 2, "usage"), ("", 2, "usage")] {
        let line = ["resume-json", "--session-name", "a", "--prompt", "p", "--output-file", file];
        sandbox.fails(&line, exit_code, kind).message(contains("--output-file"));
    }
    assert!(sandbox.calls().is_empty());
}

/// Returns the arguments of `resume-json --print-result` with this output file.
fn resume_into(file: &str) -> [&str; 8] {
    ["resume-json", "--session-name", "a", "--prompt", "p", "--print-result", "--output-file", file]
}

#[test]
fn dash_means_standard_output() {
    let sandbox = with_session(Backend::Claude);
    sandbox.succeeds(&resume_into("-")).stdout("the answer\n");
    assert!(files(&sandbox).is_empty());
    sandbox.succeeds(&resume_into("./-"));
    assert_eq!(files(&sandbox), ["-"]);
}

#[test]
fn path_that_can_only_be_a_directory_is_refused() {
    let sandbox = with_session(Backend::Claude);
    for path in ["new/", "new/.", "new/..", "new//", "."] {
        sandbox.fails(&resume_into(path), 2, "usage").message(contains("directory"));
    }
    assert!(sandbox.calls().is_empty() && files(&sandbox).is_empty());
}

#[cfg(not(windows))] // Windows limits the path as a whole
#[test]
fn name_may_be_as_long_as_the_file_system_allows() {
    let sandbox = with_session(Backend::Claude);
    let name = "n".repeat(256);
    sandbox.fails(&resume_into(&name), 1, "io");
    assert!(sandbox.calls().is_empty(), "no turn runs");
    let name = "n".repeat(255);
    sandbox.succeeds(&resume_into(&name));
    assert_eq!(files(&sandbox), [name]);
}

#[cfg(unix)]
#[test]
fn read_only_file_is_not_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = with_session(Backend::Claude);
    let file = sandbox.write("out", "precious");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let failure = bound_by_permissions(|| sandbox.fails(&resume_into("out"), 1, "io"));
    assert!(failure.message.contains("cannot write --output-file out: permission denied"), "{}", failure.message);
    sandbox.fails(&resume_into("out"), 1, "io"); // also for root
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(sandbox.calls().is_empty());
}

#[cfg(unix)]
#[test]
#[ignore = "needs root"]
fn planted_link_is_not_followed() {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
    let sandbox = with_session(Backend::Claude);
    let precious = sandbox.write(sandbox.home().join(".profile"), "precious");
    let shared = sandbox.root().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777)).unwrap();
    for (link, target, named) in [("file", ".profile", "file"), ("directory", ".", "directory/.profile")] {
        let link = shared.join(link);
        symlink(sandbox.home().join(target), &link).unwrap();
        let named = shared.join(named);
        let named = named.to_str().unwrap();
        lchown(&link, Some(65534), None).unwrap();
        sandbox.fails(&resume_into(named), 1, "io").message(contains("belongs to user 65534"));
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert!(sandbox.calls().is_empty(), "no turn runs");
    }
    // a link of the directory's owner is followed
    chown(&shared, Some(65534), None).unwrap();
    sandbox.succeeds(&resume_into(shared.join("file").to_str().unwrap()));
    assert_eq!(fs::read(&precious).unwrap(), b"the answer\n");
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
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "the device is not replaced");
}

/// After a rename, the process that redirected stdout would still have the old file open.
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
    let dir = sandbox.workspace().join("dir");
    fs::create_dir(&dir).unwrap();
    sandbox.agent(Backend::Claude.answers("i", "an answer").after([Step::create("up"), Step::wait_for("go")]));
    let line = ["--error-format", "json", "resume-json", "--session-name", "a", "--prompt", "p", "--print-result"];
    let running = sandbox.start(&[&line[..], &["--output-file", "dir/out"]].concat());
    wait_until(SOON, || sandbox.has_reached("up"));
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(dir.join("out")).unwrap(); // takes the place of the output file
    sandbox.allow("go");
    let output = running.wait(SOON).assert.stdout("an answer\n");
    let failure = output.failed(1, "io").after_the_turn();
    assert_eq!(failure.hint.unwrap(), "read the answer on standard output");
}

/// The directory may be removed while the agent works in it.
#[cfg(unix)]
#[test]
fn answer_goes_to_stdout_if_the_directory_of_its_file_is_removed() {
    for (verb, options) in [("resume-json", &["--print-result"][..]), ("resume-json", &[]), ("resume-stream", &[])] {
        let sandbox = with_session(Backend::Claude);
        let dir = sandbox.workspace().join("dir");
        fs::create_dir(&dir).unwrap();
        sandbox.agent(Backend::Claude.answers("i", "an answer").after([Step::create("up"), Step::wait_for("go")]));
        let call = ["--error-format", "json", verb, "--session-name", "a", "--prompt", "p", "--output-file", "dir/out"];
        let running = sandbox.start(&[&call[..], options].concat());
        wait_until(SOON, || sandbox.has_reached("up"));
        fs::remove_dir_all(&dir).unwrap();
        sandbox.allow("go");
        let failure = running.wait(SOON).assert.stdout(contains("an answer")).failed(1, "io").after_the_turn();
        assert!(failure.message.contains("cannot write --output-file dir/out"), "{verb}: {}", failure.message);
        assert_eq!(failure.hint.unwrap(), "read the answer on standard output");
    }
}

/// A limit on the size of files fails the same write as a full disk.
#[cfg(unix)]
#[test]
fn answer_that_does_not_fit_goes_to_stdout_and_the_old_file_stays() {
    let answer = format!("{}the end", "a line of the answer\n".repeat(10_000));
    for (verb, options) in [
        ("resume-json", &["--print-result"][..]),
        ("resume-json", &[]),
        ("resume-stream", &[]),
        ("resume-stream", &["--format", "text"]),
    ] {
        let sandbox = with_session(Backend::Claude);
        let file = sandbox.write("out", "before");
        sandbox.agent(Backend::Claude.answers("i", &answer));
        let program = sandbox.cmd(&[&["--error-format", "json"], &resume(verb, options)[..]].concat());
        let mut limited = std::process::Command::new("/bin/sh");
        limited.args(["-c", "ulimit -f 64; exec \"$@\"", "sh"]).arg(program.get_program()).args(program.get_args());
        let output = limited.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables()).run();
        let failure = output.failed(1, "io").after_the_turn();
        assert!(failure.message.contains("cannot write --output-file out"), "{verb}: {}", failure.message);
        let printed = output.stdout_text();
        let lines = printed.matches("a line of the answer").count();
        assert!(lines >= 10_000 && printed.contains("the end"), "{verb}: {lines} lines");
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert_eq!(files(&sandbox), ["out"]);
    }
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

#[test]
fn mapping_file_is_not_replaced() {
    let sandbox = with_session(Backend::Claude);
    let own = sandbox.mapping_path(Backend::Claude);
    let other = sandbox.mapping_path(Backend::Codex);
    let named = sandbox.write("m.json", "{\"aliases\": {\"a\": {\"session_id\": \"i\"}}}");
    let refused = |file: &str, options: &[&str]| {
        let before = fs::read_to_string(&own).unwrap() + &fs::read_to_string(&named).unwrap();
        for verb in ["resume-json", "resume-stream"] {
            let call = resume(verb, &[options, &["--output-file", file]].concat());
            sandbox.fails(&call, 2, "usage").message(contains("is the mapping"));
        }
        assert_eq!(fs::read_to_string(&own).unwrap() + &fs::read_to_string(&named).unwrap(), before);
    };
    refused(own.to_str().unwrap(), &[]);
    refused(other.to_str().unwrap(), &[]);
    refused(own.to_str().unwrap(), &["--mapping-file", "m.json"]);
    refused("./m.json", &["--mapping-file", "m.json"]);
    let named_like_a_partial_file = sandbox.write("m.partial", "{\"aliases\": {\"a\": {\"session_id\": \"i\"}}}");
    refused("m", &["--mapping-file", named_like_a_partial_file.to_str().unwrap()]);
    #[cfg(unix)] // links need a privilege on Windows
    {
        std::os::unix::fs::symlink("m.json", sandbox.workspace().join("link.json")).unwrap();
        refused("link.json", &["--mapping-file", "m.json"]);
        refused("m.json", &["--mapping-file", "link.json"]);
    }
    assert!(sandbox.calls().is_empty());
    // a file that does not exist yet
    let create = ["--backend", "claude", "--mapping-file", "new.json", "--if-missing", "create"];
    let create = [&create[..], &["--output-file", "../ws/new.json"]].concat();
    sandbox.fails(&resume("resume-json", &create), 2, "usage").message(contains("is the mapping"));
    sandbox.succeeds(&resume("resume-json", &["--mapping-file", "m.json", "--output-file", "out.json"]));
}

#[test]
fn file_that_the_call_uses_is_not_replaced() {
    let mut sandbox = with_session(Backend::Codex);
    sandbox.write("in", "");
    sandbox.env("INVOKE_PERSIST_LOG", "log");
    let call = ["--session-name", "a", "--output-file"];
    for (file, used) in [
        ("./in", &["--prompt-file", "in"][..]),
        ("in", &["--prompt", "p", "--env-file", "in"]),
        ("in", &["--prompt", "p", "--role-definition-md", "./in"]),
        ("log", &["--prompt", "p"]),
    ] {
        for verb in ["resume-json", "resume-stream"] {
            let failure = sandbox.fails(&[&[verb], &call[..], &[file], used].concat(), 2, "usage");
            assert!(failure.message.starts_with(&format!("--output-file {file} is the ")), "{}", failure.message);
        }
    }
    assert_eq!(fs::read_to_string(sandbox.workspace().join("in")).unwrap(), "");
    assert!(sandbox.calls().is_empty(), "no turn runs");
    sandbox.write("-", "p");
    sandbox.succeeds(&["resume-json", "--session-name", "a", "--prompt-file", "./-", "--output-file", "-"]);
}

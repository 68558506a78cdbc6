//! Invalid input: the error names the fault and has the right exit status, nothing is lost, and no agent is called.

use crate::support::*;

const RESUME: [&str; 5] = ["--backend", "claude", "resume-json", "--session-id", "i"];

/// Checks that a call is refused before the agent runs, with a message that names the fault.
#[track_caller]
fn refuses(sandbox: &Sandbox, args: &[&str], names: &str) {
    sandbox.fails(args, 2, "usage").message(contains(names)).message(contains('\n').not()).before_the_turn();
    assert!(sandbox.calls().is_empty(), "{args:?}");
}

#[test]
fn refuses_invalid_command_lines() {
    let sandbox = Sandbox::new();
    refuses(&sandbox, &[], "a command is missing");
    refuses(&sandbox, &["nope"], "'nope'");
    refuses(&sandbox, &["--backend", "claude", "resolve"], "the session is missing");
    refuses(&sandbox, &["--backend", "claude", "resolve", "--session-name", "  "], "the session is missing");
    refuses(&sandbox, &["--backend", "claude", "resolve", "--no-such-option"], "--no-such-option");
    refuses(&sandbox, &["--backend", "claude", "resolve", "--session-name"], "--session-name");
    refuses(&sandbox, &["--backend", "gpt", "resolve"], "'gpt'");
    refuses(&sandbox, &["--backend", "claude", "resume-json", "--s", "x"], "--session-name");
    refuses(&sandbox, &["--backend", "claude", "create-session", "--session-name", "a", "--adopt", " "], "adopt");
    refuses(&sandbox, &["--backend", "claude", "rename-session", "--session-name", "a"], "new name");
}

#[test]
fn refuses_missing_and_ambiguous_prompts() {
    let sandbox = Sandbox::new();
    sandbox.write("p.txt", "p");
    sandbox.write("blank.txt", " \n\t");
    for (args, names) in [
        (&[][..], "prompt is missing"),
        (&["--prompt", "x", "--prompt-file", "p.txt"], "--prompt-file"),
        (&["--prompt", " \n"], "empty"),
        (&["--prompt-file", "blank.txt"], "empty"),
        (&["--prompt", "-"], "empty"),
        (&["--prompt", "-", "--stdin"], "standard input"),
        (&["--prompt-file", "-", "--stdin"], "standard input"),
        (&["--prompt-file", "none.txt"], "none.txt"),
        (&["--prompt-file", "."], "directory"),
        (&["--prompt", "x", "--if-missing", "create"], "--if-missing"),
    ] {
        refuses(&sandbox, &[&RESUME[..], args].concat(), names);
    }
}

#[test]
fn refuses_ids_that_are_options_or_contain_control_characters() {
    let sandbox = Sandbox::new();
    for id in ["-x", "--last", "a\nb", "a\u{1b}b"] {
        let option = format!("--session-id={id}");
        refuses(&sandbox, &["--backend", "claude", "resolve", &option], "cannot be a session ID");
        let option = format!("--adopt={id}");
        refuses(&sandbox, &["--backend", "codex", "create-session", "--session-name", "a", &option], "cannot be");
    }
    refuses(&sandbox, &["--backend", "claude", "resolve", "--session-id", "-x"], "'-x'");
}

#[test]
fn refuses_invalid_deadlines() {
    let sandbox = Sandbox::new();
    for seconds in ["0", "-0", "-5", "nan", "inf", "x", "", "1,5"] {
        refuses(
            &sandbox,
            &[&RESUME[..], &["--prompt", "p", "--deadline-seconds", seconds]].concat(),
            "--deadline-seconds",
        );
    }
    sandbox.agent(Backend::Claude.answers("i", "x"));
    for seconds in [" 60 ", "1e9", "1e300", "60."] {
        sandbox.succeeds(&[&RESUME[..], &["--prompt", "p", "--deadline-seconds", seconds]].concat());
    }
}

#[test]
fn refuses_missing_files_and_directories() {
    let sandbox = Sandbox::new();
    sandbox.write("dir.md/x", "");
    sandbox.write("role.txt", "");
    sandbox.write("bytes.md", b"\xff");
    sandbox.write("bytes.env", b"A=\xff\n");
    let create = ["--backend", "codex", "create-session", "--session-name", "a"];
    for (option, file) in [
        ("--role-definition-md", "none.md"),
        ("--role-definition-md", "dir.md"),
        ("--role-definition-md", "role.txt"),
        ("--role-definition-md", "bytes.md"),
        ("--env-file", "none.env"),
        ("--env-file", "."),
        ("--env-file", "bytes.env"),
        ("--workspace-dir", "none"),
        ("--workspace-dir", "role.txt"),
    ] {
        refuses(&sandbox, &[&create[..], &[option, file]].concat(), file);
    }
    refuses(&sandbox, &["--backend", "codex", "list-sessions", "--mapping-file", " "], "--mapping-file");
}

#[test]
#[cfg(unix)] // the file system of Windows has neither
fn refuses_pipes_without_a_writer_and_devices() {
    let sandbox = Sandbox::new();
    for name in ["pipe", "pipe.md"] {
        let path = sandbox.workspace().join(name);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }
    refuses(&sandbox, &[&RESUME[..], &["--prompt-file", "pipe"]].concat(), "pipe with no writer");
    refuses(&sandbox, &[&RESUME[..], &["--prompt-file", "/dev/zero"]].concat(), "/dev/zero");
    refuses(&sandbox, &[&RESUME[..], &["--prompt", "p", "--env-file", "pipe"]].concat(), "pipe");
    let create = ["--backend", "claude", "create-session", "--session-name", "a"];
    refuses(&sandbox, &[&create[..], &["--role-definition-md", "pipe.md"]].concat(), "pipe.md");
    for file in ["pipe", "/dev/zero"] {
        let failure =
            sandbox.fails(&["--backend", "claude", "list-sessions", "--mapping-file", file], 6, "mapping_unreadable");
        assert!(failure.message.contains("regular file"), "{}", failure.message);
    }
}

#[test]
#[cfg(unix)] // on other systems arguments are Unicode
fn refuses_text_that_is_not_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let bad = OsStr::from_bytes(b"a\xffb");
    for (before, names) in [
        (&["--backend", "claude", "resolve", "--session-name"][..], "--session-name"),
        (&["--backend", "claude", "resolve", "--session-id"], "--session-id"),
        (&["--backend", "claude", "resume-json", "--session-id", "i", "--prompt"], "--prompt"),
        (&["--backend", "claude", "list-sessions", "--workspace-dir"], "workspace"),
        (&["--backend", "claude", "list-sessions", "--mapping-file"], "--mapping-file"),
    ] {
        let mut command = sandbox.cmd(&["--error-format", "json"]);
        command.args(before).arg(bad).run().failed(2, "usage").message(contains(names)).message(contains("UTF-8"));
    }
    let workspace = sandbox.root().join(bad);
    std::fs::create_dir(&workspace).unwrap();
    let mut command = sandbox.cmd(&["--error-format", "json", "--backend", "claude", "list-sessions"]);
    command.current_dir(&workspace).run().failed(2, "usage");
}

#[test]
fn reports_missing_and_non_executable_agents() {
    let sandbox = Sandbox::new();
    sandbox.write("plain.txt", "no program");
    sandbox.write("dir/x", "");
    let call = |command: &str, exit, kind| {
        let args = [&RESUME[..], &["--prompt", "p", "--claude-cmd", command]].concat();
        sandbox.fails(&args, exit, kind).message(contains(command.trim_start_matches("./"))).before_the_turn()
    };
    // a shell alias is not a program
    call("my-alias", 127, "agent_not_found").hint(contains("--claude-cmd"));
    call("./none", 127, "agent_not_found");
    call("./dir", 127, "agent_not_found");
    if cfg!(unix) {
        call("./plain.txt", 126, "agent_not_executable"); // Windows checks only the name
    }
    refuses(&sandbox, &[&RESUME[..], &["--prompt", "p", "--claude-cmd", "'open"]].concat(), "--claude-cmd");
}

#[test]
#[cfg(unix)] // only Unix reads an interpreter from the first line
fn reports_a_missing_interpreter() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let script = sandbox.write("script", "#!/no/such/interpreter\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = [&RESUME[..], &["--prompt", "p", "--claude-cmd", "./script"]].concat();
    sandbox.fails(&args, 126, "agent_not_executable").message(contains("interpreter"));
}

/// Linux allows a quarter of the stack's limit for the arguments and variables together. Here the variables fit, but not
/// with the role.
#[test]
#[cfg(target_os = "linux")]
fn reports_arguments_that_are_too_large_together() {
    const FILLED: &str = "x=$(head -c 120000 /dev/zero | tr '\\0' x); export A=$x B=$x C=$x D=$x; \
        ulimit -s 2048; exec \"$@\"";
    let sandbox = Sandbox::new();
    sandbox.write("role.md", "r".repeat(90_000));
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--role-definition-md", "role.md"];
    let program = sandbox.cmd(&[&["--error-format", "json"], &create[..]].concat());
    let mut filled = std::process::Command::new("/bin/sh");
    filled.args(["-c", FILLED, "sh"]).arg(program.get_program()).args(program.get_args());
    let output = filled.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables()).run();
    output
        .failed(1, "io")
        .message(contains("cannot start"))
        .hint(contains("shorten the arguments or the variables"))
        .before_the_turn();
}

#[test]
fn refuses_agent_arguments_that_change_the_session_or_the_output() {
    let sandbox = Sandbox::new();
    for argument in ["--resume", "--continue", "-c", "--fork-session", "--session-id=x", "--output-format", "-r", "--"]
    {
        refuses(&sandbox, &[&RESUME[..], &["--prompt", "p", "--", argument]].concat(), argument);
    }
    for argument in ["--json", "-o", "-ofile", "--output-last-message", "--last", "--ephemeral", "resume"] {
        let args = ["--backend", "codex", "create-session", "--session-name", "a", "--", argument];
        refuses(&sandbox, &args, argument);
    }
}

#[test]
fn text_errors_have_a_message_a_cause_and_a_hint() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .run(&["--backend", "claude", "resume-json", "--session-id", "i", "--prompt-file", "none"])
        .code(2)
        .stdout("");
    if cfg!(unix) {
        let words = "error: cannot read --prompt-file none\ncaused by: no such file or directory\n";
        output.stderr(words);
    }
    let output = sandbox.run(&["--backend", "claude", "resume-json", "--session-id", "i"]);
    let words = "error: the prompt is missing\nhint: add --prompt TEXT, or --prompt - to read standard input\n";
    output.stderr(words);
}

#[test]
fn help_and_version_are_printed_to_stdout() {
    let sandbox = Sandbox::new();
    for args in [&["--help"][..], &["-h"], &["--version"], &["create-session", "--help"], &["resume-stream", "-h"]] {
        sandbox.succeeds(args).stderr("").stdout(contains("invoke-persist"));
    }
    let help = sandbox.succeeds(&["--help"]).stdout_text();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<_> = commands.lines().map_while(|line| line.trim().split_once("  ")).collect();
    assert_eq!(commands.len(), 23, "{help}");
    for (name, about) in commands {
        let own = sandbox.succeeds(&[name, "--help"]).stdout_text();
        assert_eq!(own.lines().next(), Some(about.trim()), "{name}");
    }
    assert!(help.contains("Exit status:"), "{help}");
}

#[test]
fn durations_may_have_units() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Codex.answers("i", "x"));
    let call = ["--backend", "codex", "resume-json", "--session-id", "i", "--prompt", "p"];
    for option in ["--deadline-seconds", "--stall-seconds"] {
        for duration in ["5m", "90s", "1h30m", "2h", "60000ms", "1h 30m", "60"] {
            sandbox.succeeds(&[&call[..], &[option, duration]].concat());
        }
        for duration in ["5M", "1d", "-5m", "0s", "m"] {
            let inline = format!("{option}={duration}");
            let failure = sandbox.fails(&[&call[..], &[&inline]].concat(), 2, "usage").before_the_turn();
            failure.message(contains(option)).hint(contains("5m, 1h30m"));
        }
    }
    // the unit counts: 300 seconds would be too long for this test
    sandbox.agent(Turn::default().after([Step::WaitFor("never".to_owned())]));
    sandbox.fails(&[&call[..], &["--deadline-seconds", "300ms"]].concat(), 124, "deadline");
}

#[test]
fn help_names_the_price_of_a_new_session() {
    let sandbox = Sandbox::new();
    let help = |args: &[&str]| {
        let help = sandbox.succeeds(args).stdout_text();
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let create = help(&["create-session", "--help"]);
    for sentence in [
        "Starting a session costs one model turn",
        "--adopt saves an existing session and costs none",
        "resume-json --if-missing create",
    ] {
        assert!(create.contains(sentence), "{sentence}\n{create}");
    }
    assert!(help(&["create-session", "-h"]).contains("costs a model turn"));
    assert!(help(&["resume-json", "--help"]).contains("without the extra turn of create-session"));
    assert!(help(&["fork-session", "--help"]).contains("costs one model turn"));
}

#[test]
fn help_shows_what_a_command_needs() {
    let mut sandbox = Sandbox::new();
    sandbox.env("COLUMNS", "80");
    for (command, needs) in [
        ("create-session", "--session-name <NAME>"),
        ("resolve", "<--session-name <NAME>|--session-id <ID>>"),
        ("delete-session", "<--session-name <NAME>|--session-id <ID>>"),
        ("rename-session", "--session-name <NAME> --to <NEW>"),
        ("resume-json", "--session-name <NAME> --prompt <TEXT>"),
        ("resume-stream", "--session-name <NAME> --prompt <TEXT>"),
        ("fork-session", "--session-name <NAME> --to <NEW>"),
    ] {
        for flag in ["-h", "--help"] {
            let help = sandbox.succeeds(&[command, flag]).stdout_text();
            let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
            assert!(usage.contains(&format!("{command} {needs}")), "{usage}");
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        }
    }
    let short = sandbox.succeeds(&["-h"]).stdout_text();
    for words in ["invoke-persist demo", "invoke-persist COMMAND --help"] {
        assert!(short.contains(words), "{short}");
    }
}

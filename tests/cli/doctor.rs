//! `doctor`: checks the setup without calling a model.

use serde_json::Value;

use crate::support::*;

/// Returns a sandbox in which every check passes, unless `HOME/.bash_profile` changes that.
fn healthy() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let program = env!("CARGO_BIN_EXE_invoke-persist").replace('\\', "/");
    for (variable, agent) in [("CLAUDE_CMD", "claude"), ("CODEX_CMD", "codex")] {
        sandbox.env(variable, format!("'{program}' echo-agent {agent}"));
    }
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.home().join("names"));
    sandbox
}

/// Returns the checks of `doctor`, even if one of them failed.
fn checks(sandbox: &Sandbox, options: &[&str]) -> Vec<Value> {
    let output = sandbox.run(&[&["doctor", "--json"][..], options].concat());
    let report: Value = serde_json::from_str(&output.stdout_text()).expect("`doctor` always prints JSON");
    let failed = report["checks"].as_array().unwrap().iter().any(|check| check["status"] == "error");
    assert_eq!((report["ok"].as_bool(), output.exit_code()), (Some(!failed), Some(i32::from(failed))), "{report}");
    report["checks"].as_array().unwrap().clone()
}

/// Returns the status, the message and the hint of the check `what`.
fn check(checks: &[Value], what: &str) -> (String, String, Option<String>) {
    let check = checks.iter().find(|check| check["check"] == what);
    let check = check.unwrap_or_else(|| panic!("the check {what} is missing: {checks:?}"));
    let text = |key: &str| check[key].as_str().map(str::to_owned);
    (text("status").unwrap(), text("message").unwrap(), text("hint"))
}

/// Returns a program that prints this text for any arguments.
fn prints(text: &str) -> Turn {
    Turn::default().stdout(text)
}

#[test]
fn healthy_setup_passes_every_check() {
    let sandbox = healthy();
    let checks = checks(&sandbox, &[]);
    for check in &checks {
        let keys: Vec<_> = check.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["check", "hint", "message", "status"]);
        let (what, status) = (check["check"].as_str().unwrap(), &check["status"]);
        // these two depend on the machine
        assert!(status == "ok" || ["login_shell", "mapping.place"].contains(&what), "{check}");
        assert_eq!(check["hint"].is_null(), status == "ok");
    }
    for agent in ["claude", "codex"] {
        assert_eq!(
            check(&checks, &format!("{agent}.version")).1,
            format!("{} (echo agent)", env!("CARGO_PKG_VERSION"))
        );
    }
    assert!(check(&checks, "claude.names").1.starts_with("none yet: "));
    assert!(!sandbox.home().join("names").exists(), "doctor creates nothing");
    assert!(!sandbox.temp().join("agent-sessions").exists());
}

#[test]
fn text_report_has_a_line_per_check_and_a_hint_per_fault() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([]).stderr("no licence\n").exit(3));
    let output = sandbox.run(&["--backend", "claude", "doctor"]).code(1);
    let stdout = output.stdout_text();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("ok       program           invoke-persist 0.1.0, "), "{lines:?}");
    assert_eq!(lines[2], "error    claude version    exit status 3: no licence");
    assert_eq!(lines[3], "                           hint: run 'claude --version' to see the error");
    output.stderr("error: one check failed\nhint: see its line on stdout\n");
    let failure = sandbox.fails(&["--backend", "claude", "doctor"], 1, "io");
    assert_eq!(failure.message, "one check failed");
}

#[test]
fn missing_agent_is_an_error_only_if_requested() {
    let mut sandbox = Sandbox::new();
    sandbox.agent(prints("1\n--resume --output-format -p"));
    sandbox.only_agents(&["claude"]);
    let missing = "cannot find the agent's program 'codex'";
    let both = checks(&sandbox, &[]);
    assert_eq!(check(&both, "claude.command").0, "ok");
    let (status, message, hint) = check(&both, "codex.command");
    assert_eq!((status.as_str(), message.as_str()), ("warning", missing));
    assert!(hint.unwrap().contains("--codex-cmd"));
    assert_eq!(check(&checks(&sandbox, &["--backend", "codex"]), "codex.command").0, "error");
    // this command was requested explicitly
    assert_eq!(check(&checks(&sandbox, &["--codex-cmd", "my-codex"]), "codex.command").0, "error");
    let mut sandbox = Sandbox::new();
    sandbox.only_agents(&[]);
    let none = checks(&sandbox, &[]);
    assert_eq!((check(&none, "claude.command").0, check(&none, "codex.command").0), ("error".into(), "error".into()));
}

/// The options in the help of claude 1.0.122, without those that this program does not use.
const CLAUDE_1_0_122: &str = "Usage: claude [options] [command] [prompt]\n\n  --verbose  -p, --print  --output-format <format>
  --include-partial-messages  --append-system-prompt <prompt>  -r, --resume [sessionId]  --fork-session  --model <model>\n";

/// The options in the help of codex 0.58.0 and of every later one.
const CODEX_EXEC: &str = "\n  -c, --config <key=value>\n  --enable <FEATURE>\n  -i, --image <FILE>...\n  --disable <FEATURE>
  -m, --model <MODEL>\n  --dangerously-bypass-approvals-and-sandbox\n  --skip-git-repo-check\n  --json\n  -o, --output-last-message <FILE>\n";

#[test]
fn release_is_described_by_what_it_lacks() {
    let exec = |usage: &str| prints(&format!("{usage}\n{CODEX_EXEC}"));
    let new = "Usage: codex exec [OPTIONS] [PROMPT]\n       codex exec [OPTIONS] <COMMAND> [ARGS]";
    let old = "Usage: codex exec [OPTIONS] [PROMPT] [COMMAND]";
    let fork = "Usage: codex exec fork [OPTIONS] <SESSION_ID> [PROMPT]";
    let no_fork = ("warning", "works, without fork-session", Some("use codex 0.148.0 or newer"));
    let claude = |release: &str, help: &str| vec![prints(&format!("{release} (Claude Code)\n")), prints(help)];
    let codex = |release: &str, page: &str, fork_page: &str| {
        vec![prints(&format!("codex-cli {release}\n")), exec(page), exec(fork_page)]
    };
    let later = format!("{CLAUDE_1_0_122}  --json-schema <schema>\n  --effort <level>\n");
    let limited = "works, without roles of more than 100 KiB, --schema and --reasoning-effort";
    let effort = "works, without --reasoning-effort";
    let newer = Some("use claude 2.1.45 or newer");
    for (agent, release, plan, (status, message, hint)) in [
        ("claude", "2.1.330", claude("2.1.330", &later), ("ok", "works, with all features", None)),
        // it lists --effort, but that has no effect
        ("claude", "2.1.38", claude("2.1.38", &later), ("warning", effort, newer)),
        ("claude", "1.0.122", claude("1.0.122", CLAUDE_1_0_122), ("warning", limited, newer)),
        ("codex", "0.169.0", codex("0.169.0", new, fork), ("ok", "works, with all features", None)),
        ("codex", "0.130.0", codex("0.130.0", new, new), no_fork),
        ("codex", "0.58.0", codex("0.58.0", old, old), no_fork),
    ] {
        let sandbox = Sandbox::new();
        sandbox.agent(plan);
        let found = check(&checks(&sandbox, &["--backend", agent]), &format!("{agent}.options"));
        assert_eq!(found, (status.into(), format!("{agent} {release}: {message}"), hint.map(str::to_owned)));
    }
    let sandbox = Sandbox::new();
    sandbox.agent(codex("0.130.0", new, new));
    let text = sandbox.run(&["--backend", "codex", "doctor"]).stdout_text();
    let line = "\nwarning  codex options     codex 0.130.0: works, without fork-session\n";
    assert!(text.contains(&format!("{line}{:27}hint: use codex 0.148.0 or newer\n", "")), "{text}");
}

#[test]
fn agent_without_a_required_option_is_an_error_if_it_is_too_old() {
    let sandbox = Sandbox::new();
    let help = |without: &str| prints(&CODEX_EXEC.replace(without, ""));
    sandbox.agent([prints("codex-cli 0.44.0\n"), help("-o, ")]);
    let (status, message, hint) = check(&checks(&sandbox, &["--backend", "codex"]), "codex.options");
    assert_eq!((&*status, &*message), ("error", "codex 0.44.0 is too old to work"));
    assert_eq!(hint.as_deref(), Some("use codex 0.45.0 or newer"));
    // a release that hides an option may still have it
    let sandbox = Sandbox::new();
    sandbox.agent([prints("codex-cli 9.0.0\n"), help("--model <MODEL>")]);
    let (status, message, _) = check(&checks(&sandbox, &["--backend", "codex"]), "codex.options");
    let want = "codex 9.0.0: works, without fork-session; the help does not list --model ('exec --help')";
    assert_eq!((&*status, &*message), ("warning", want));
}

#[test]
fn program_that_is_not_the_agent_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.agent(prints("2.0\n"));
    let (status, message, hint) = check(&checks(&sandbox, &["--backend", "claude"]), "claude.options");
    assert_eq!((status.as_str(), message.as_str()), ("error", "the help lists none of the required options"));
    assert_eq!(hint.unwrap(), "check that 'claude' is Claude Code");
}

#[test]
fn silent_agent_times_out() {
    let sandbox = Sandbox::new();
    sandbox.agent(Turn::doing([Step::wait_for("never")]));
    let (status, message, _) = check(&checks(&sandbox, &["--backend", "claude"]), "claude.version");
    assert_eq!((status.as_str(), message.as_str()), ("error", "no answer within 5 s"));
    #[cfg(unix)]
    assert!(!is_alive(sandbox.only_call().pid));
}

#[test]
fn invalid_mapping_is_an_error() {
    let sandbox = healthy();
    let dir = sandbox.home().join("names").join("agent-sessions").join(sandbox.key_of(sandbox.workspace()));
    let file = sandbox.write(dir.join(Backend::Claude.mapping_file_name()), "{");
    sandbox.save(Backend::Codex, "a", "i");
    let checks = checks(&sandbox, &[]);
    let (status, message, hint) = check(&checks, "claude.names");
    assert_eq!(status, "error");
    assert!(message.contains(&file.display().to_string()) && message.contains("is not a JSON object"), "{message}");
    assert!(hint.unwrap().starts_with("repair or remove the file"));
    let (status, message, _) = check(&checks, "codex.names");
    assert_eq!(status, "ok");
    assert!(message.starts_with("1 in "), "{message}");
    #[cfg(unix)]
    assert!(message.ends_with(", owned by you, mode 0600"), "{message}");
}

#[test]
fn mapping_in_a_temporary_directory_is_a_warning() {
    let mut sandbox = healthy();
    for dir in ["".into(), sandbox.temp().join("names")] {
        sandbox.env("INVOKE_PERSIST_DIR", dir);
        let (status, _, hint) = check(&checks(&sandbox, &[]), "mapping.place");
        assert_eq!(status, "warning");
        assert!(hint.unwrap().contains("INVOKE_PERSIST_DIR"));
    }
}

#[cfg(unix)]
#[test]
fn temporary_directory_from_a_variable_is_a_warning() {
    let mut sandbox = healthy();
    sandbox.env("INVOKE_PERSIST_DIR", "");
    for (dir, named) in [(sandbox.temp().clone(), true), ("/nowhere".into(), false)] {
        sandbox.env("TMPDIR", dir);
        let (status, message, hint) = check(&checks(&sandbox, &[]), "mapping.place");
        let found = message.contains("a call with another TMPDIR does not find the names");
        assert_eq!((status.as_str(), found), ("warning", named), "{message}");
        assert!(hint.unwrap().contains("INVOKE_PERSIST_DIR"));
    }
}

#[cfg(unix)]
#[test]
fn unusable_mapping_location_is_an_error() {
    let mut sandbox = healthy();
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.write(sandbox.home().join("file"), "").join("names"));
    let checks = checks(&sandbox, &[]);
    for what in ["claude.names", "mapping.writable"] {
        let (status, message, hint) = check(&checks, what);
        assert_eq!(status, "error");
        assert!(message.ends_with(": not a directory"), "{message}");
        assert!(hint.is_some());
    }
}

#[cfg(unix)]
#[test]
fn unwritable_mapping_location_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let mut sandbox = healthy();
    let names = sandbox.home().join("names");
    std::fs::create_dir(&names).unwrap();
    std::fs::set_permissions(&names, PermissionsExt::from_mode(0o555)).unwrap();
    for dir in [names.clone(), names.join("not/there/yet")] {
        sandbox.env("INVOKE_PERSIST_DIR", &dir);
        let checks = bound_by_permissions(|| checks(&sandbox, &[]));
        let (status, message, hint) = check(&checks, "mapping.writable");
        assert_eq!(status, "error");
        assert!(message.contains(&format!("the directory '{}' is not writable", names.display())), "{message}");
        assert!(hint.unwrap().contains("INVOKE_PERSIST_DIR"));
        assert_eq!(check(&checks, "claude.names").0, "ok", "reading works");
    }
}

#[cfg(unix)]
#[test]
fn program_that_the_login_shell_finds_is_reported() {
    let sandbox = healthy();
    let shell = |profile: &str| {
        sandbox.write(sandbox.home().join(".bash_profile"), profile);
        let (status, message, hint) = check(&checks(&sandbox, &[]), "login_shell");
        (status, message, hint.unwrap_or_default())
    };
    let bin = sandbox.bin().display().to_string();
    let (status, message, hint) = shell("PATH=/usr/bin:/bin");
    assert_eq!((status.as_str(), message.as_str()), ("warning", "does not find invoke-persist"));
    assert!(hint.contains("login shell's PATH"), "{hint}");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_invoke-persist"), sandbox.bin().join("invoke-persist")).unwrap();
    let (status, message, _) = shell(&format!("PATH='{bin}'"));
    assert_eq!((status, message), ("ok".to_owned(), format!("finds invoke-persist: {bin}/invoke-persist")));
    std::fs::remove_file(sandbox.bin().join("invoke-persist")).unwrap();
    std::os::unix::fs::symlink("/bin/true", sandbox.bin().join("invoke-persist")).unwrap();
    let (status, message, _) = shell(&format!("echo Welcome; PATH='{bin}'"));
    assert_eq!(
        (status, message),
        ("warning".to_owned(), format!("finds another invoke-persist: {bin}/invoke-persist"))
    );
    let (status, message, _) = shell("exec sleep 60");
    assert_eq!((status.as_str(), message.as_str()), ("warning", "cannot be asked: no answer within 5 s"));
}

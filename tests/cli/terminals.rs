//! Colors and progress, which only a terminal gets.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::termios::{Action, tcflow};

use crate::support::*;

const SOON: Duration = Duration::from_secs(60);

const RED: &str = "\u{1b}[1m\u{1b}[31m";
const CYAN: &str = "\u{1b}[1m\u{1b}[36m";
const END: &str = "\u{1b}[0m";

#[test]
fn labels_of_errors_are_colored_at_a_terminal() {
    let sandbox = Sandbox::new();
    let missing = ["--backend", "claude", "resolve", "--session-name", "no\u{1b}[2Jbody"];
    let plain = sandbox.run(&missing).code(3).stderr_text();
    let (error, rest) = plain.strip_prefix("error:").unwrap().split_once("caused by:").unwrap();
    let (cause, hint) = rest.split_once("hint:").unwrap();
    let want = format!("{RED}error:{END}{error}{RED}caused by:{END}{cause}{CYAN}hint:{END}{hint}");
    assert_eq!(Terminal::of_width(80).shows(sandbox.cmd(&missing)), want);
    assert!(error.contains("no\\u{1b}[2Jbody"), "{error}");
    // a mistake on the command line too
    let shown = Terminal::of_width(80).shows(sandbox.cmd(&["resolve", "--frobnicate"]));
    assert!(
        shown.starts_with(&format!("{RED}error:{END} unexpected argument '--frobnicate'\n{CYAN}hint:{END} ")),
        "{shown}"
    );
    // notes and warnings
    let shown = Terminal::of_width(80).shows(sandbox.cmd(&["list-sessions", "--format", "table"]));
    assert_eq!(shown, "\u{1b}[1m\u{1b}[32mnote:\u{1b}[0m no sessions are saved in this workspace\n");
    let create = ["--backend", "claude", "create-session", "--session-name", "a", "--session-id", "i", "--adopt", "i"];
    let shown = Terminal::of_width(80).shows(sandbox.cmd(&create));
    assert!(shown.starts_with("\u{1b}[1m\u{1b}[33mwarning:\u{1b}[0m "), "{shown}");
}

#[test]
fn titles_of_tables_are_bold_at_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    for command in [&["list-sessions", "--format", "table"][..], &["skill", "list", "--agent", "claude"]] {
        let plain = sandbox.succeeds(command).stdout_text();
        let (titles, rows) = plain.split_once('\n').unwrap();
        let shown = Terminal::of_width(300).shows(sandbox.cmd(command));
        assert_eq!(shown, format!("\u{1b}[1m{titles}{END}\n{rows}"));
    }
    // a title that is truncated is bold as far as it is shown
    let shown = Terminal::of_width(6).shows(sandbox.cmd(&["list-sessions", "--format", "table"]));
    assert_eq!(shown, format!("\u{1b}[1mNAME{END}\na\n"));
}

#[test]
fn environment_switches_colors_off_and_on() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let failing = ["--backend", "claude", "resolve", "--session-name", "b"];
    let table = ["list-sessions", "--format", "table"];
    let help = ["resolve", "--help"];
    let with = |command: &[&str], variables: &[(&str, &str)]| {
        let mut command = sandbox.cmd(command);
        command.envs(variables.iter().copied());
        command
    };
    for off in [
        &[("NO_COLOR", "1")][..],
        &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
        &[("TERM", "dumb")],
        &[("CLICOLOR", "0")],
    ] {
        for command in [&failing[..], &table, &help] {
            let shown = Terminal::of_width(80).shows(with(command, off));
            assert!(!shown.contains('\u{1b}'), "{off:?}: {shown}");
        }
    }
    for command in [&failing[..], &table, &help] {
        let colored = Terminal::of_width(80).shows(with(command, &[]));
        assert!(colored.contains("\u{1b}["), "{colored}");
        let output = with(command, &[("CLICOLOR_FORCE", "1")]).output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        assert!(both.contains(&0x1b), "{command:?}");
        for plain in [&[][..], &[("CLICOLOR_FORCE", "0")], &[("CLICOLOR", "1")]] {
            let output = with(command, plain).output().unwrap();
            assert!(![output.stdout, output.stderr].concat().contains(&0x1b), "{command:?} {plain:?}");
        }
    }
    // an error for a program is the same everywhere
    let json = [&["--error-format", "json"], &failing[..]].concat();
    assert!(Terminal::of_width(80).shows(with(&json, &[("CLICOLOR_FORCE", "1")])).starts_with("{\"error\": "));
}

/// A sandbox whose agent prints nothing until it is allowed to.
fn slow(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "Done.").after([Step::create("up"), Step::wait_for("go")]));
    sandbox
}

fn stream(backend: Backend) -> Vec<&'static str> {
    vec!["--backend", backend.name(), "resume-stream", "--session-name", "a", "--prompt", "p", "--format", "text"]
}

/// Runs a command with these streams at a terminal, allowing its agent to answer after `until` holds for what was
/// shown. Returns all that was shown.
fn watch(sandbox: &Sandbox, mut command: Command, stdout: Option<File>, until: impl Fn(&str) -> bool) -> String {
    let terminal = Terminal::of_width(80);
    if command.get_envs().all(|(name, _)| name != "TERM") {
        command.env("TERM", "xterm");
    }
    command.stdin(Stdio::null()).stdout(stdout.unwrap_or_else(|| terminal.user_side())).stderr(terminal.user_side());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut controller = terminal.into_controller();
    let (mut shown, mut allowed, mut buffer) = (Vec::new(), false, [0; 4096]);
    loop {
        if !allowed && sandbox.has_reached("up") && until(&String::from_utf8_lossy(&shown)) {
            sandbox.allow("go");
            allowed = true;
        }
        if !allowed && sandbox.has_reached("up") && shown.is_empty() && child.try_wait().unwrap().is_some() {
            break;
        }
        match controller.read(&mut buffer) {
            Ok(length @ 1..) => shown.extend_from_slice(&buffer[..length]),
            _ => break, // Linux returns an error after the last user side is closed
        }
    }
    assert!(child.wait().unwrap().success(), "{}", String::from_utf8_lossy(&shown));
    String::from_utf8(shown).unwrap()
}

/// Returns what is on a screen after this output.
fn on_screen(output: &str) -> Vec<String> {
    let mut screen = Screen::new(24, 80);
    screen.feed(output.as_bytes());
    screen.lines()
}

#[test]
fn readable_stream_shows_its_progress_until_the_first_text() {
    for backend in Backend::BOTH {
        let sandbox = slow(backend);
        // the time that it takes is on the line
        let waits = |shown: &str| shown.contains(&format!(" {} 1s", backend.name()));
        let shown = watch(&sandbox, sandbox.cmd(&stream(backend)), None, waits);
        let (_, text) = shown.rsplit_once("\u{1b}[K").expect("the line is cleared");
        assert!(text.starts_with("Done.\r\n"), "{text:?}");
        let lines = on_screen(&shown);
        assert_eq!(lines[0], "Done.", "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains(backend.name())), "{lines:?}");
    }
}

#[test]
fn progress_never_reaches_standard_output() {
    for backend in Backend::BOTH {
        let sandbox = slow(backend);
        let path = sandbox.root().join("out");
        let file = File::create(&path).unwrap();
        let waits = |shown: &str| shown.contains(&format!(" {} ", backend.name()));
        let shown = watch(&sandbox, sandbox.cmd(&stream(backend)), Some(file), waits);
        assert!(on_screen(&shown).is_empty(), "{shown:?}");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("Done.\n") && !text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn progress_is_off_where_it_is_not_wanted() {
    let backend = Backend::Claude;
    let sandbox = slow(backend);
    let calls = [sandbox.cmd(&[&["--quiet"], &stream(backend)[..]].concat()), {
        let mut command = sandbox.cmd(&stream(backend));
        command.env("TERM", "dumb");
        command
    }];
    for command in calls {
        sandbox.allow("go");
        let shown = watch(&sandbox, command, None, |_| true);
        assert!(shown.starts_with("Done.\r\n"), "{shown:?}");
    }
    // the agent's own events stay alone
    let events = &stream(backend)[..7];
    let shown = watch(&sandbox, sandbox.cmd(events), None, |_| true);
    assert!(shown.starts_with('{') && !shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn error_follows_a_cleared_progress_line() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    sandbox.agent(Turn::default().after([Step::create("up"), Step::wait_for("go")]).stderr("no luck\n").exit(1));
    let command = sandbox.cmd(&stream(Backend::Claude));
    let allow = {
        let (up, go) = (sandbox.bin().join("up"), sandbox.bin().join("go"));
        thread::spawn(move || {
            wait_until(SOON, || up.exists());
            std::fs::write(go, "").unwrap();
        })
    };
    let shown = Terminal::of_width(80).shows(command);
    allow.join().unwrap();
    let (_, text) = shown.rsplit_once("\u{1b}[K").expect("the line is cleared");
    assert!(text.starts_with(&format!("{RED}error:{END} claude exited with status 1\n")), "{text:?}");
}

/// Starts a readable turn at a terminal, stops the terminal's output as Ctrl-S does, and lets the agent answer.
fn start_at_stopped_terminal(sandbox: &Sandbox, options: &[&str]) -> (Child, Terminal) {
    let terminal = Terminal::of_width(80);
    let mut command = sandbox.cmd(&[&stream(Backend::Claude)[..], options].concat());
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(terminal.user_side()).stderr(terminal.user_side());
    let child = command.spawn().unwrap();
    wait_until(SOON, || sandbox.has_reached("up"));
    tcflow(terminal.user_side(), Action::OOff).unwrap();
    sandbox.allow("go");
    (child, terminal)
}

#[test]
fn stopped_terminal_does_not_delay_the_deadline_of_a_readable_turn() {
    let sandbox = slow(Backend::Claude);
    let (mut child, _terminal) = start_at_stopped_terminal(&sandbox, &["--deadline-seconds", "2"]);
    wait_until(SOON, || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(124));
}

#[test]
fn text_is_complete_after_a_stopped_terminal_continues() {
    let sandbox = slow(Backend::Claude);
    let (mut child, terminal) = start_at_stopped_terminal(&sandbox, &[]);
    // the limit for clearing the line passes; there is nothing to wait for, because the call is blocked
    thread::sleep(Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none());
    tcflow(terminal.user_side(), Action::OOn).unwrap();
    let mut controller = terminal.into_controller();
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = controller.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..length]);
    }
    assert!(child.wait().unwrap().success());
    let lines = on_screen(&String::from_utf8(shown).unwrap());
    assert_eq!(lines[0], "Done.", "{lines:?}");
}

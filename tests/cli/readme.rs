//! Checks the README: runs every command in its `console` blocks and compares the output with the page. The commands run
//! in order, in one workspace with the echo agent.
#![cfg(unix)] // the page uses a shell's quotes and pipes

use crate::support::*;

const README: &str = include_str!("../../README.md");

/// A command and the lines below it.
struct Example {
    command: &'static str,
    shown: String,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut within = false;
    for line in README.lines() {
        match line.strip_prefix("$ ") {
            _ if line == "```console" => within = true,
            _ if line == "```" => within = false,
            Some(command) if within => examples.push(Example { command, shown: String::new() }),
            None if within => {
                let example = examples.last_mut().expect("a block begins with a command");
                example.shown.push_str(line);
                example.shown.push('\n');
            }
            _ => {}
        }
    }
    examples
}

/// Returns `text` without IDs, checksums, times and paths, which differ between runs.
fn normalized(sandbox: &Sandbox, text: &str) -> String {
    let mut text = text.to_owned();
    for (real, shown) in [
        (sandbox.key_of(sandbox.workspace()), "project-CHECKSUM".to_owned()),
        ("project-0123456789abcdef0123456789abcdef".to_owned(), "project-CHECKSUM".to_owned()),
        (sandbox.workspace().display().to_string(), "/home/me/project".to_owned()),
        (sandbox.temp().display().to_string(), "/tmp".to_owned()),
        (sandbox.bin().display().to_string(), "/home/me/bin".to_owned()),
        (sandbox.home().display().to_string(), "/home/me".to_owned()),
    ] {
        text = text.replace(&real, &shown);
    }
    let is_id = |word: &str| word.len() == 36 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_time = |word: &str| word.len() == 32 && word.ends_with("+00:00") && word.starts_with("20");
    let is_duration = |word: &str| word.contains('.') && word.parse::<f64>().is_ok();
    let is_age = |word: &str| word.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|age| age.parse::<u64>().is_ok());
    let words: Vec<_> = text
        .split_inclusive(['"', ' ', '\n'])
        .map(|word| {
            let end = word.len() - usize::from(word.ends_with(['"', ' ', '\n']));
            let (word, quote) = word.split_at(end);
            let what = if is_id(word) {
                "ID"
            } else if is_time(word) {
                "TIME"
            } else if is_duration(word) {
                "DURATION"
            } else if is_age(word) {
                "AGE"
            } else {
                word
            };
            format!("{what}{quote}")
        })
        .collect();
    words.concat()
}

#[test]
fn console_blocks_print_what_the_page_shows() {
    let mut sandbox = Sandbox::with_workspace("project");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    std::os::unix::fs::symlink(program, sandbox.bin().join("invoke-persist")).unwrap();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    // the first part of the page uses claude because it is the only agent on PATH
    std::fs::remove_file(sandbox.agent_program("codex")).unwrap();
    for backend in Backend::BOTH {
        let link = format!("#!/bin/sh\nexec '{program}' echo-agent {} \"$@\"\n", backend.name());
        let agent = sandbox.write(sandbox.home().join(backend.name()), link);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&agent, mode).unwrap();
    }
    std::fs::remove_file(sandbox.agent_program("claude")).unwrap();
    std::fs::rename(sandbox.home().join("claude"), sandbox.agent_program("claude")).unwrap();
    let examples = examples();
    assert!(examples.len() >= 12, "the page has examples");
    for Example { command, shown } in examples {
        if command.contains("--backend codex create-session") {
            std::fs::rename(sandbox.home().join("codex"), sandbox.agent_program("codex")).unwrap();
        }
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", command]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
        let output = shell.run();
        let printed = normalized(&sandbox, &[output.stdout_text(), output.stderr_text()].concat());
        assert_eq!(printed, normalized(&sandbox, &shown), "{command}");
    }
}

#[test]
fn mentioned_commands_exist() {
    // `source <(invoke-persist …)` too
    let spans = README.split('`').flat_map(|span| span.split(['(', ')']));
    let spans = spans.filter(|span| span.starts_with("invoke-persist ") && !span.contains('\n'));
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| line.starts_with("invoke-persist "));
    let commands: Vec<_> = spans.chain(lines).filter(|command| !command.contains("COMMAND")).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        let command = command.split([' ', '\\']).take_while(|word| !["|", "#", "", "…"].contains(word));
        let words: Vec<_> = command.skip(1).chain(["--help"]).collect();
        Sandbox::new().succeeds(&words);
    }
}

/// Returns the script of the page's CI job, without the indentation of YAML.
fn ci_script() -> String {
    let (_, rest) = README.split_once("        run: |\n").expect("the job has a script");
    let lines = rest.lines().map_while(|line| line.strip_prefix("          "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn ci_job_resumes_the_session_of_its_pull_request() {
    let mut sandbox = Sandbox::with_workspace("project");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    let link = format!("#!/bin/sh\nexec '{program}' echo-agent claude \"$@\"\n");
    std::fs::remove_file(sandbox.agent_program("claude")).unwrap();
    let agent = sandbox.write(sandbox.agent_program("claude"), link);
    std::fs::set_permissions(agent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(program, sandbox.bin().join("invoke-persist")).unwrap();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.workspace().join(".agent/names"));
    sandbox.env("RUNNER_TEMP", sandbox.temp());
    let shell = |script: &str, number: &str, base: &str| {
        let mut shell = std::process::Command::new("bash");
        shell.args(["-eo", "pipefail", "-c", script]).current_dir(sandbox.workspace());
        shell.env_clear().envs(sandbox.variables()).envs([("NUMBER", number), ("BASE", base)]);
        shell.run()
    };
    let repository = "git init -q && git -c user.name=me -c user.email=me@localhost commit -q --allow-empty -m begin \
                      && git rev-parse HEAD";
    let base = shell(repository, "", "").success().stdout_text().trim().to_owned();
    let review = || std::fs::read_to_string(sandbox.workspace().join("review.md")).unwrap();
    for (number, turn) in [("7", 1), ("7", 2), ("8", 1), ("7", 3)] {
        shell(&ci_script(), number, &base).success();
        assert!(review().starts_with(&format!("turn {turn}: Review these changes.")), "{}", review());
    }
    sandbox.succeeds(&["list-sessions", "--print-aliases"]).stdout("claude\tpr-7\nclaude\tpr-8\n");
}

#[test]
fn shown_turn_is_a_recorded_one() {
    let shown = README.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page shows one");
    assert!(shown.contains("▸ Bash  cat notes.txt"), "{shown}");
    assert!(include_str!("streams/claude-tools.txt").contains(shown), "{shown}");
}

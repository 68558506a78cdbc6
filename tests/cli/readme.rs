//! Checks the README and the help topics: runs every command in their `console` blocks with the echo agent, and compares
//! the output with the page. The commands of a page run in order, in one new workspace.
#![cfg(unix)] // the pages use a shell's quotes and pipes

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::help::topics;
use crate::support::*;

const README: &str = include_str!("../../README.md");

/// A command and the lines below it.
struct Example<'a> {
    command: &'a str,
    shown: String,
}

fn examples(page: &str) -> Vec<Example<'_>> {
    let mut examples: Vec<Example> = Vec::new();
    let mut within = false;
    for line in page.lines() {
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

/// Returns the README and the topics by name.
fn pages() -> Vec<(String, String)> {
    [("README".to_owned(), README.to_owned())].into_iter().chain(topics()).collect()
}

/// Creates a workspace with this program on PATH and the echo agent in the place of these agents.
fn with_echo_agents(agents: &[Backend]) -> Sandbox {
    let mut sandbox = Sandbox::with_workspace("project");
    let program = env!("CARGO_BIN_EXE_invoke-persist");
    symlink(program, sandbox.bin().join("invoke-persist")).unwrap();
    sandbox.env("INVOKE_PERSIST_ECHO_DIR", sandbox.home().join("echo"));
    for backend in Backend::BOTH {
        let agent = sandbox.agent_program(backend.name());
        fs::remove_file(&agent).unwrap();
        if agents.contains(&backend) {
            let script = format!("#!/bin/sh\nexec '{program}' echo-agent {} \"$@\"\n", backend.name());
            // written elsewhere, because a file that is open for writing cannot be executed
            let script = sandbox.write(sandbox.home().join(backend.name()), script);
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(script, agent).unwrap();
        }
    }
    bash(&sandbox, "git init -q").success();
    sandbox
}

fn bash(sandbox: &Sandbox, script: &str) -> assert_cmd::assert::Assert {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]).current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables());
    shell.run()
}

/// Runs the commands of a page and compares their output. A failure has to be on the page.
fn run(sandbox: &Sandbox, name: &str, page: &str) -> usize {
    let mut exported = String::new();
    let examples = examples(page);
    for Example { command, shown } in &examples {
        let output = bash(sandbox, &format!("{exported}{command}"));
        // each command runs in a separate shell
        for part in command.split("; ").filter(|part| part.starts_with("export ") || part.starts_with("unset ")) {
            exported.push_str(part);
            exported.push('\n');
        }
        let printed = normalized(sandbox, &[output.stdout_text(), output.stderr_text()].concat());
        assert_eq!(printed, normalized(sandbox, shown), "{name}: {command}");
        assert_eq!(output.exit_code() == Some(0), !is_error(shown), "{name}: {command}: {output}");
    }
    examples.len()
}

fn is_error(shown: &str) -> bool {
    // the answer may precede it
    shown.lines().any(|line| line.starts_with("error: ") || line.starts_with("{\"error\": "))
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
    let is_duration = |word: &str| word.contains('.') && word.trim_end_matches(',').parse::<f64>().is_ok();
    let is_age = |word: &str| word.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|age| age.parse::<f64>().is_ok());
    let is_turn =
        |word: &str| word.len() == 20 && word.split('-').map(str::len).eq([8, 6, 4]) && word.starts_with("202");
    let words: Vec<_> = text
        .split_inclusive(['"', ' ', '\n', '='])
        .map(|word| {
            let end = word.len() - usize::from(word.ends_with(['"', ' ', '\n', '=']));
            let (word, quote) = word.split_at(end);
            let what = if is_id(word) {
                "ID"
            } else if is_turn(word) {
                "TURN"
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
fn commands_of_the_readme_print_what_it_shows() {
    let count = run(&with_echo_agents(&Backend::BOTH), "README", README);
    assert!(count >= 15, "{count} commands");
}

#[test]
fn quick_starts_work_with_one_agent_and_without() {
    let (quick_starts, _) = README.split_once("## Installing").unwrap();
    assert_eq!(run(&with_echo_agents(&[Backend::Claude]), "README", quick_starts), 7);
    let of_codex = quick_starts.replace("--backend claude", "--backend codex").replace("CLAUDE_CMD", "CODEX_CMD");
    let of_codex = of_codex.replace("echo-agent claude", "echo-agent codex");
    assert_eq!(run(&with_echo_agents(&[Backend::Codex]), "README", &of_codex), 7);
    let (without_agent, _) = README.split_once("## Quick start with an agent").unwrap();
    assert_eq!(run(&with_echo_agents(&[]), "README", without_agent), 4);
    // the first command on the page
    let first = README.split("```sh\n").nth(1).and_then(|block| block.lines().next()).unwrap();
    assert_eq!(first, "invoke-persist demo");
    bash(&with_echo_agents(&[]), first).success();
}

#[test]
fn commands_of_the_topics_print_what_they_show() {
    let mut count = 0;
    for (name, text) in topics() {
        if examples(&text).is_empty() {
            continue;
        }
        let sandbox = with_echo_agents(&Backend::BOTH);
        // the sessions of the examples
        sandbox.succeeds(&[
            "--backend",
            "claude",
            "create-session",
            "--session-name",
            "review-src",
            "--model",
            "small",
        ]);
        sandbox.succeeds(&["--backend", "codex", "create-session", "--session-name", "tests"]);
        count += run(&sandbox, &name, &text);
    }
    assert!(count >= 20, "{count} commands");
}

#[test]
fn mentioned_commands_exist() {
    let mut count = 0;
    for (name, page) in pages() {
        // `source <(invoke-persist …)` too
        let spans = page.split('`').flat_map(|span| span.split(['(', ')']));
        let spans = spans.filter(|span| span.starts_with("invoke-persist ") && !span.contains('\n'));
        let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let blocks: Vec<_> = blocks.map(|block| block.replace("\\\n", "")).collect();
        let lines = blocks.iter().flat_map(|block| block.lines()).filter(|line| line.starts_with("invoke-persist "));
        let is_placeholder = |command: &&str| command.contains("COMMAND") || command.contains("TOPIC");
        for command in spans.chain(lines).filter(|command| !is_placeholder(command)) {
            let command = command.split(" #").next().unwrap(); // not a comment
            let words = shell_words::split(command).unwrap_or_else(|error| panic!("{name}: {command}: {error}"));
            let words = words.iter().map(String::as_str).take_while(|word| !["|", "\\|", "…", "--"].contains(word));
            let words: Vec<_> = words.skip(1).chain(["--help"]).collect();
            Sandbox::new().succeeds(&words);
            count += 1;
        }
    }
    assert!(count >= 20, "{count} commands");
}

#[test]
fn readme_is_short_and_links_every_topic() {
    assert!(README.lines().count() <= 170, "{} lines", README.lines().count());
    for (name, _) in topics() {
        assert!(README.contains(&format!("\n| [{name}](src/help/{name}.md) | ")), "{name} is not linked");
    }
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files: Vec<_> = links.filter(|link| !link.starts_with('#')).collect();
    assert!(files.len() > topics().len(), "{files:?}");
    for file in files {
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file(), "{file}");
    }
}

#[test]
fn topics_refer_to_topics_that_exist() {
    let names: Vec<_> = topics().into_iter().map(|(name, _)| name).collect();
    let mut count = 0;
    for (name, text) in topics() {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for reference in text.split("opic `").skip(1).filter_map(|rest| rest.split('`').next()) {
            assert!(names.iter().any(|name| name == reference), "{name} refers to {reference}");
            count += 1;
        }
    }
    assert!(count >= 5, "{count} references");
}

#[test]
fn shown_turn_is_a_recorded_one() {
    let (_, output) = topics().into_iter().find(|(name, _)| name == "output").unwrap();
    let shown = output.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page shows one");
    assert!(shown.contains("▸ Bash  cat notes.txt"), "{shown}");
    assert!(include_str!("streams/claude-tools.txt").contains(shown), "{shown}");
}

mod ci {
    use std::path::PathBuf;

    use super::*;

    /// The machine of a CI job: its checkout is new for each run, and `.agent` is restored from a cache.
    struct Ci {
        sandbox: Sandbox,
        backend: Backend,
        /// The workflow of the page.
        workflow: String,
    }

    impl Ci {
        fn of(backend: Backend) -> Self {
            let (_, page) = topics().into_iter().find(|(name, _)| name == "ci").unwrap();
            let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
            let workflow =
                blocks.map(str::to_owned).find(|block| block.contains(&format!("--backend {} ", backend.name())));
            let mut ci =
                Self { sandbox: with_echo_agents(&[]), backend, workflow: workflow.expect("the page has one") };
            ci.create_programs();
            let variables = ci.variables();
            for (name, value) in variables {
                ci.sandbox.env(name, value);
            }
            bash(
                &ci.sandbox,
                "cd .. && git init -q origin && cd origin && mkdir tools && touch tools/invoke_persist-0.1.0-x.whl \
                && git add . && git config user.name me && git config user.email me@localhost && git commit -qm begin \
                && git tag base && echo changed >file && git add . && git commit -qm change",
            )
            .success();
            ci
        }

        /// Writes stand-ins for the programs of the job. The file `failures` has the number of failures, for the
        /// cause in the file `script`.
        fn create_programs(&self) {
            let bin = self.sandbox.bin();
            let agent = format!(
                "left=$(cat '{bin}/failures' 2>/dev/null || echo 0)\n\
                 echo call >>'{bin}/calls'\n\
                 cat >'{bin}/prompt'\n\
                 if [ \"$left\" -gt 0 ]; then\n\
                 echo $((left - 1)) >'{bin}/failures'; set -- --script '{bin}/script' \"$@\"; fi\n\
                 exec '{program}' echo-agent {name} \"$@\" <'{bin}/prompt'",
                bin = bin.display(),
                program = env!("CARGO_BIN_EXE_invoke-persist"),
                name = self.backend.name(),
            );
            let log = |name: &str| format!("echo {name} \"$@\" >>'{}/log'", bin.display());
            let gh = format!("{}\ncat \"${{@: -1}}\" >>'{}/posted'", log("gh"), bin.display());
            for (name, script) in [
                (self.backend.name(), agent),
                ("gh", gh),
                ("npm", log("npm")),
                ("pipx", format!("test -e \"$2\"\n{}", log("pipx"))),
            ] {
                let program =
                    self.sandbox.write(self.sandbox.home().join(name), format!("#!/bin/bash\nset -e\n{script}\n"));
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
                fs::rename(program, bin.join(name)).unwrap();
            }
        }

        /// Returns the variables that the job and its steps set.
        fn variables(&self) -> Vec<(String, String)> {
            let workspace = self.sandbox.workspace().display().to_string();
            let set = self.workflow.lines().filter_map(|line| line.trim().split_once(": "));
            let mut variables: Vec<_> = set
                .filter(|(name, _)| name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
                .map(|(name, value)| (name.to_owned(), value.replace("${{ github.workspace }}", &workspace)))
                .collect();
            let own = |(name, _): &&(String, String)| ["CLAUDE_CONFIG_DIR", "CODEX_HOME"].contains(&name.as_str());
            let agent_dir = variables.iter().find(own).expect("the job keeps the agent's directory").1.clone();
            for (name, value) in [
                ("NUMBER", "7".to_owned()),
                ("BASE", "base".to_owned()),
                ("RUNNER_TEMP", self.sandbox.temp().display().to_string()),
                ("INVOKE_PERSIST_ECHO_DIR", format!("{agent_dir}/echo")),
            ] {
                variables.retain(|(set, _)| set != name);
                variables.push((name.to_owned(), value));
            }
            variables
        }

        /// Returns the script of a step.
        fn script(&self, step: &str) -> String {
            let (_, step) = self.workflow.split_once(&format!("- name: {step}\n")).expect("the job has this step");
            let (_, script) = step.split_once("run: ").expect("the step has a script");
            if !script.starts_with("|\n") {
                return script.lines().next().unwrap().to_owned();
            }
            let lines = script.lines().skip(1).map_while(|line| line.strip_prefix("          "));
            lines.collect::<Vec<_>>().join("\n")
        }

        /// Runs the job once. Returns whether it succeeded.
        fn run(&self) -> bool {
            let cache = self.sandbox.root().join("cache");
            let agent = self.sandbox.workspace().join(".agent");
            fs::remove_dir_all(self.sandbox.workspace()).unwrap();
            let clone = format!("git clone -q ../origin '{}'", self.sandbox.workspace().display());
            let mut git = Command::new("bash");
            git.args(["-c", &clone]).current_dir(self.sandbox.bin()).env_clear().envs(self.sandbox.variables());
            git.run().success();
            if cache.exists() {
                fs::rename(&cache, &agent).unwrap();
            }
            let steps = ["Install", "Review", "Post the answer"];
            let succeeded = steps.iter().all(|step| {
                // as the runner calls it
                let mut shell = Command::new("bash");
                shell.args(["-e", "-c", &self.script(step)]).current_dir(self.sandbox.workspace());
                shell.env_clear().envs(self.sandbox.variables());
                shell.run().exit_code() == Some(0)
            });
            if agent.exists() {
                fs::rename(&agent, &cache).unwrap(); // `if: always()`
            }
            succeeded
        }

        fn fails(&self, times: u32, cause: &str) {
            self.sandbox.write(self.sandbox.bin().join("failures"), times.to_string());
            self.sandbox.write(self.sandbox.bin().join("script"), format!("fail {cause}\n"));
        }

        /// Returns the content of a file of the stand-ins, and removes it.
        fn take(&self, file: &str) -> String {
            let path: PathBuf = self.sandbox.bin().join(file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let _ = fs::remove_file(path);
            text
        }
    }

    fn job_resumes_its_session_after_failed_runs(backend: Backend) {
        let ci = Ci::of(backend);
        let prompt = "Review these changes. Report only what is new since your last review.";
        // a first run that fails leaves nothing to resume
        ci.fails(3, "overloaded");
        assert!(!ci.run());
        assert_eq!((ci.take("calls").lines().count(), ci.take("posted")), (3, String::new()));
        let log = ci.take("log");
        assert!(log.contains("pipx install tools/invoke_persist-0.1.0-x.whl"), "{log}");
        assert!(log.contains("npm install --global @"), "{log}");
        for turn in 1..=2 {
            assert!(ci.run());
            let posted = ci.take("posted");
            assert!(posted.starts_with(&format!("turn {turn}: ")), "{posted}");
            let received = ci.take("prompt");
            assert!(
                received.starts_with(&format!("{prompt}\n\n<stdin>\n")) && received.contains("+changed"),
                "{received}"
            );
            assert_eq!(
                ci.take("log").lines().last(),
                Some(format!("gh pr comment 7 --body-file {}/review.md", ci.sandbox.temp().display()).as_str())
            );
        }
        // a failed run in between, for a cause that no retry removes; the session counts the turn
        ci.take("calls");
        ci.fails(1, "authentication");
        assert!(!ci.run());
        assert_eq!((ci.take("calls").lines().count(), ci.take("posted")), (1, String::new()));
        // the agent recovers during the run
        ci.fails(1, "overloaded");
        assert!(ci.run());
        assert_eq!(ci.take("calls").lines().count(), 2);
        let posted = ci.take("posted");
        assert!(posted.starts_with("turn 5: The previous request failed"), "{posted}");
        assert!(ci.run());
        let posted = ci.take("posted");
        assert!(posted.starts_with("turn 6: ") && !posted.contains("previous request"), "{posted}");
        assert!(ci.take("prompt").starts_with(prompt));
        // a mistake is not repeated
        ci.take("calls");
        fs::write(
            ci.sandbox
                .root()
                .join("cache/names/agent-sessions")
                .join(ci.sandbox.key_of(ci.sandbox.workspace()))
                .join(ci.backend.mapping_file_name()),
            "[]",
        )
        .unwrap();
        assert!(!ci.run());
        assert_eq!(ci.take("calls"), "");
    }

    #[test]
    fn job_with_claude_resumes_its_session_after_failed_runs() {
        job_resumes_its_session_after_failed_runs(Backend::Claude);
    }

    #[test]
    fn job_with_codex_resumes_its_session_after_failed_runs() {
        job_resumes_its_session_after_failed_runs(Backend::Codex);
    }

    #[test]
    fn job_installs_the_tested_release_of_the_agent() {
        let tested = include_str!("../real_agents/install.sh");
        for (backend, package) in [(Backend::Claude, "@anthropic-ai/claude-code"), (Backend::Codex, "@openai/codex")] {
            let variable = format!("\n{}_version=", backend.name());
            let version = tested.split(&variable).nth(1).and_then(|rest| rest.lines().next()).unwrap();
            let script = Ci::of(backend).script("Install");
            assert!(script.contains(&format!("npm install --global {package}@{version}\n")), "{script}");
        }
    }

    #[test]
    fn save_of_the_cache_does_not_depend_on_the_outcome() {
        for backend in Backend::BOTH {
            let workflow = Ci::of(backend).workflow;
            let (_, save) = workflow.split_once("- name: Save the session\n").unwrap();
            assert!(save.contains("if: always()\n") && save.contains("uses: actions/cache/save@"), "{save}");
            let key = |text: &str| text.lines().find_map(|line| line.trim().strip_prefix("key: ").map(str::to_owned));
            assert_eq!(key(&workflow), key(save));
        }
    }
}

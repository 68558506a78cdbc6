//! Plays the scheduled workflow that tests releases of the agents, with stand-ins for npm, cargo and gh.
#![cfg(unix)] // the scripts of a Linux runner

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use assert_cmd::assert::Assert;

use crate::support::*;

const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");

/// The two packages of an installation, as programs that print their versions. The file `hiccups` has the number of failures.
const NPM: &str = r#"
echo npm "$@" >>"$BIN/log"
left=$(cat "$BIN/hiccups" 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then echo $((left - 1)) >"$BIN/hiccups"; echo "npm error network" >&2; exit 1; fi
if [ "$1" = view ]; then
    case "$*" in *claude-code*) echo 9.8.7 ;; *) echo 6.5.4 ;; esac
    exit
fi
modules=$3/node_modules
mkdir -p "$modules/.bin" "$modules/@anthropic-ai/claude-code"
for package in "$@"; do
    case $package in
        @anthropic-ai/*) file=$modules/@anthropic-ai/claude-code/cli.js text="${package##*@} (Claude Code)" ;;
        @openai/*) file=$modules/.bin/codex text="codex-cli ${package##*@}" ;;
        *) continue ;;
    esac
    printf '#!/bin/sh\necho "%s"\n' "$text" >"$file.new"
    chmod +x "$file.new" && mv "$file.new" "$file"
done
"#;

/// Fails with the output in the file `failing`.
const CARGO: &str = r#"
echo "$INVOKE_PERSIST_CLAUDE_VERSION,$INVOKE_PERSIST_CODEX_VERSION $INVOKE_PERSIST_TEST_AGENTS cargo" "$@" >>"$BIN/log"
if [ -e "$BIN/failing" ]; then cat "$BIN/failing"; exit 101; fi
"#;

/// Keeps one issue: its posts in the file `posts`, and its last one in the file `post`.
const GH: &str = r#"
echo gh "$@" >>"$BIN/log"
case "$1 $2" in
    "issue list") if [ -e "$BIN/posts" ]; then echo 12; fi ;;
    "issue view") cat "$BIN/posts" ;;
    "issue create" | "issue comment") cat >"$BIN/post"; cat "$BIN/post" >>"$BIN/posts" ;;
    "label create") ;;
    *) exit 1 ;;
esac
"#;

struct Runner {
    sandbox: Sandbox,
    workflow: String,
}

impl Runner {
    fn new() -> Self {
        let mut sandbox = Sandbox::with_workspace("project");
        let bin = sandbox.bin();
        sandbox.env("BIN", &bin);
        sandbox.env("RUNNER_TEMP", sandbox.temp());
        sandbox.env("GITHUB_REPOSITORY", "me/project");
        sandbox.env("RUN_URL", "https://example.org/runs/3");
        for (name, script) in [("npm", NPM), ("cargo", CARGO), ("gh", GH), ("sleep", "")] {
            let program = sandbox.write(sandbox.home().join(name), format!("#!/bin/bash\nset -e\n{script}"));
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(program, bin.join(name)).unwrap();
        }
        for file in [".ci/real-agents", ".ci/report-releases", "tests/real_agents/install.sh"] {
            let copy = sandbox.workspace().join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(Path::new(CHECKOUT).join(file), copy).unwrap();
        }
        let workflow = fs::read_to_string(Path::new(CHECKOUT).join(".github/workflows/agents.yml")).unwrap();
        Self { sandbox, workflow }
    }

    /// Returns the releases that the workflow tests.
    fn matrix(&self) -> Vec<String> {
        let list = self.workflow.split_once(" releases: [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        list.split(", ").map(|name| name.trim_matches('"').to_owned()).collect()
    }

    /// Runs the script of a step, as the runner does.
    fn step(&self, name: &str, variables: &[(&str, &str)]) -> Assert {
        let (_, step) = self.workflow.split_once(&format!("- name: {name}\n")).expect("a job has this step");
        let (_, script) = step.split_once("run: ").expect("the step has a script");
        let script = match script.strip_prefix("|\n") {
            Some(lines) => {
                lines.lines().map_while(|line| line.strip_prefix("          ")).collect::<Vec<_>>().join("\n")
            }
            None => script.lines().next().unwrap().to_owned(),
        };
        let mut shell = Command::new("bash");
        shell.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script]).current_dir(self.sandbox.workspace());
        shell.env_clear().envs(self.sandbox.variables()).envs(variables.iter().copied()).run()
    }

    /// Runs the job for these releases on a new machine.
    fn test(&self, releases: &str) -> Assert {
        let _ = fs::remove_dir_all(self.sandbox.workspace().join("target"));
        self.step("Test", &[("RELEASES", releases)])
    }

    /// Runs the report after failures with this output of the tests. Returns what was posted.
    fn report(&self, outputs: &[(&str, &str)]) -> Option<String> {
        let logs = self.sandbox.temp().join("logs");
        for (releases, output) in outputs {
            self.sandbox.write(self.sandbox.bin().join("failing"), output);
            let _ = fs::remove_dir_all(&logs);
            self.test(releases).code(101);
            fs::rename(logs.join(format!("{releases}.log")), self.sandbox.temp().join(format!("{releases}.log")))
                .unwrap();
        }
        let _ = fs::remove_dir_all(&logs);
        fs::create_dir(&logs).unwrap();
        for (releases, _) in outputs {
            let log = format!("{releases}.log");
            fs::rename(self.sandbox.temp().join(&log), logs.join(log)).unwrap();
        }
        self.post()
    }

    /// Runs the report with the logs that exist. Returns what was posted.
    fn post(&self) -> Option<String> {
        self.take("log");
        let post = self.sandbox.bin().join("post");
        let _ = fs::remove_file(&post);
        self.step("Report", &[]).success();
        fs::read_to_string(post).ok()
    }

    /// Returns the content of a file of the stand-ins, and removes it.
    fn take(&self, file: &str) -> String {
        let path = self.sandbox.bin().join(file);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text
    }
}

#[test]
fn each_job_installs_its_releases_and_tests_them() {
    let runner = Runner::new();
    let releases = runner.matrix();
    assert!(releases.len() >= 3, "{releases:?}");
    let mut tested = Vec::new();
    for releases in releases {
        fs::remove_dir_all(runner.sandbox.temp().join("logs")).ok();
        runner.test(&releases).success();
        let log = runner.take("log");
        let (versions, command) = log.lines().last().unwrap().split_once(' ').unwrap();
        let dir = runner.sandbox.workspace().join(format!("target/agents-{releases}"));
        assert!(command.starts_with(&format!("{} cargo test ", dir.display())), "{command}");
        assert!(command.contains(" --test real_agents -- --ignored"), "{command}");
        let (claude, codex) = versions.split_once(',').unwrap();
        let [claude, codex] =
            [(claude, "9.8.7"), (codex, "6.5.4")].map(|(version, newest)| version.replace("latest", newest));
        let packages = format!("@anthropic-ai/claude-code@{claude} @openai/codex@{codex}");
        assert!(log.lines().any(|line| line.ends_with(&packages)), "{packages}: {log}");
        tested.push(versions.to_owned());
    }
    for floor in ["latest,latest", "2.1.268,0.148.0", "2.1.48,0.105.0"] {
        assert!(tested.iter().any(|versions| versions == floor), "{floor}: {tested:?}");
    }
}

#[test]
fn failure_of_the_network_is_retried() {
    let runner = Runner::new();
    runner.sandbox.write(runner.sandbox.bin().join("hiccups"), "2");
    runner.test("2026-03").success();
    assert_eq!(runner.take("log").matches("npm install").count(), 3);
    // both versions, and the installation
    runner.sandbox.write(runner.sandbox.bin().join("hiccups"), "1");
    fs::remove_dir_all(runner.sandbox.temp().join("logs")).unwrap();
    runner.test("newest").success();
    assert_eq!(runner.take("log").matches("npm view").count(), 3);
    // no end of it: the tests do not run, and the job fails
    for releases in ["2026-03", "newest"] {
        runner.sandbox.write(runner.sandbox.bin().join("hiccups"), "9");
        fs::remove_dir_all(runner.sandbox.temp().join("logs")).unwrap();
        runner.test(releases).code(1);
        let log = runner.take("log");
        assert!(!log.contains("cargo"), "{log}");
    }
}

#[test]
fn failures_are_reported_in_one_issue() {
    let runner = Runner::new();
    let failed = |case: &str| {
        format!("test cases::memory::ok::codex ... ok\ntest cases::memory::{case}::claude ... FAILED\n<b>text</b>\n")
    };
    let (one, two) = (failed("one"), failed("two"));

    let post = runner.report(&[("2026-03", &one), ("newest", &two)]).expect("an issue");
    let log = runner.take("log");
    assert!(log.contains("gh issue create --repo me/project --label agent-releases --title "), "{log}");
    assert!(post.contains("**2026-03** (claude 2.1.48 and codex 0.105.0), `.ci/real-agents 2026-03`:"), "{post}");
    assert!(post.contains("**newest** (claude 9.8.7 and codex 6.5.4), `.ci/real-agents newest`:"), "{post}");
    assert!(post.contains("- `memory::one::claude`\n") && post.contains("- `memory::two::claude`\n"), "{post}");
    assert!(post.contains("Run: https://example.org/runs/3\n"), "{post}");
    assert!(!post.contains("codex::") && !post.contains("ok::") && !post.contains("<b>"), "{post}");

    // the next day
    assert_eq!(runner.report(&[("2026-03", &one), ("newest", &two)]), None);
    assert!(!runner.take("log").contains("gh label"), "the issue has its label");

    // another failure, and the next day
    let post = runner.report(&[("2026-03", &one)]).expect("a comment");
    assert!(runner.take("log").contains("gh issue comment 12 --repo me/project "));
    assert!(post.contains("memory::one") && !post.contains("newest"), "{post}");
    assert_eq!(runner.report(&[("2026-03", &one)]), None);

    // the first failures again: the last report is another
    assert!(runner.report(&[("2026-03", &one), ("newest", &two)]).is_some());

    // after the issue was closed
    runner.take("posts");
    assert!(runner.report(&[("2026-03", &one)]).is_some());
    assert!(runner.take("log").contains("gh issue create "));
}

#[test]
fn report_without_a_failed_test_names_what_is_missing() {
    let runner = Runner::new();
    let post = runner.report(&[("newest", "error: could not compile `invoke-persist`\n")]).expect("an issue");
    assert!(post.contains("**newest** (claude 9.8.7 and codex 6.5.4)"), "{post}");
    assert!(
        post.contains("- No test failed. The releases cannot be installed, or the tests cannot be built"),
        "{post}"
    );

    let logs = runner.sandbox.temp().join("logs");
    runner.sandbox.write(logs.join("newest.log"), "cannot find the newest version of @openai/codex\n");
    let post = runner.post().expect("a comment");
    assert!(post.contains("**newest** (not installed)"), "{post}");

    fs::remove_dir_all(logs).unwrap();
    let post = runner.post().expect("a comment");
    assert!(post.starts_with("A job failed without a log.\n"), "{post}");
}

#[test]
fn report_has_only_the_permissions_that_it_needs() {
    let workflow = Runner::new().workflow;
    assert!(workflow.contains("\npermissions: {}\n"), "{workflow}");
    assert_eq!(workflow.matches(": write").count(), 1, "{workflow}");
    let (_, report) = workflow.split_once("\n  report:\n").unwrap();
    assert!(report.contains("      issues: write "), "{report}");
}

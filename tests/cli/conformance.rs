//! The recorded cases: the actual and the intended behavior of the original program.
//!
//! For each step, the tests compare whether it succeeded, its standard output if it should succeed, and the calls of
//! the agents. At the end they compare every mapping file. Standard error is not compared.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{AssertExt as _, RunCommand as _, Sandbox};

const CASES: &str = include_str!("conformance/cases.json");

/// The number of cases, so that a lost case is noticed.
const NUMBER_OF_CASES: usize = 224;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    backend: String,
    /// The name of the workspace directory.
    workspace: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Texts by path. Relative paths start at the workspace.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// The plan of the stand-ins.
    #[serde(default)]
    agent: Vec<Value>,
    steps: Vec<Step>,
    want: Want,
    /// Whether the order of the agents' arguments is ignored.
    #[serde(default)]
    any_order: bool,
    /// A note from the recording, which is not used here.
    #[serde(default, rename = "keep")]
    _keep: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    argv: Vec<String>,
    /// The current directory, if it is not the workspace.
    cwd: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    steps: Vec<StepResult>,
    /// Texts by path.
    mappings: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepResult {
    ok: bool,
    stdout: String,
    calls: Vec<SeenCall>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenCall {
    name: String,
    argv: Vec<String>,
    cwd: String,
    env: BTreeMap<String, Option<String>>,
}

#[test]
fn recorded_cases_pass() {
    let cases = cases();
    assert_eq!(cases.len(), NUMBER_OF_CASES);
    all_hold(&cases, |sandbox, case| sandbox.cmd(&["--backend", &case.backend]));
}

/// Runs each skill's script as installed, in a directory with a space in its name, and as a shim for an original.
#[cfg(unix)]
#[test]
#[ignore = "needs python3"]
fn recorded_cases_pass_through_the_skill_scripts() {
    let python = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).run();
    let python = python.success().stdout_text().trim().to_owned();
    all_hold(&cases(), |sandbox, case| {
        let (skill, mapping) = match case.backend.as_str() {
            "claude" => ("claude-code-invoke-persist", "claude-code-alias-mapping.json"),
            _ => ("codex-cli-invoke-persist", "codex-cli-alias-mapping.json"),
        };
        let program = sandbox.bin().join("invoke-persist");
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_invoke-persist"), &program).unwrap();
        }
        let skills = sandbox.bin().join("my skills");
        if !skills.exists() {
            let skills = skills.to_str().unwrap();
            if case.id.len().is_multiple_of(2) {
                sandbox.succeeds(&["skill", "install", "--quiet", "--dir", skills, "--skill", skill]);
            } else {
                let original = format!("{skills}/{skill}");
                sandbox.write(format!("{original}/SKILL.md"), format!("---\nname: {skill}\n---\n"));
                sandbox.write(format!("{original}/scripts/invoke_persist.py"), format!("NAME = \"{mapping}\"\n"));
                sandbox.succeeds(&["skill", "shim", &original]);
            }
        }
        let mut command = sandbox.cmd_of(Path::new(&python), &[]);
        command.arg(skills.join(skill).join("scripts/invoke_persist.py"));
        command
    });
}

fn cases() -> Vec<Case> {
    serde_json::from_str(CASES).expect("cases.json contains cases")
}

/// Plays all cases and fails if one differs. `program` starts each step.
fn all_hold(cases: &[Case], program: impl Fn(&Sandbox, &Case) -> Command + Sync) {
    let cases: Vec<_> = cases.iter().filter(|case| cfg!(unix) || !case.needs_unix()).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let faults = case.play(&program);
                    if !faults.is_empty() {
                        failures.lock().expect("no thread panicked").insert(&case.id, faults);
                    }
                }
            });
        }
    });

    let failures = failures.into_inner().expect("no thread panicked");
    let mut report = String::new();
    for (id, faults) in &failures {
        writeln!(report, "\n{id}\n  {}", faults.join("\n  ")).expect("writing to a string cannot fail");
    }
    assert!(failures.is_empty(), "{} of {} cases fail:\n{report}", failures.len(), cases.len());
}

impl Case {
    /// Returns whether a case runs `bash`. Windows may not have it, or only the one of a Linux subsystem.
    fn needs_unix(&self) -> bool {
        let names_bash = |text: &String| text.starts_with("bash ");
        self.env.values().any(names_bash) || self.steps.iter().any(|step| step.argv.iter().any(names_bash))
    }

    /// Plays the steps and returns every difference from the record.
    fn play(&self, program: impl Fn(&Sandbox, &Self) -> Command) -> Vec<String> {
        assert_eq!(self.steps.len(), self.want.steps.len(), "{}: a result for each step", self.id);
        let sandbox = self.prepare();
        let mut faults = Vec::new();
        let mut calls_before = 0;
        for (number, (step, want)) in (1..).zip(self.steps.iter().zip(&self.want.steps)) {
            let place = format!("step {number}, {}", step.argv[0]);
            let argv: Vec<_> = step.argv.iter().map(|arg| sandbox.filled(arg)).collect();
            let mut command = program(&sandbox, self);
            command.args(argv);
            if let Some(dir) = &step.cwd {
                command.current_dir(sandbox.filled(dir));
            }
            let output = command.run();

            if (output.exit_code() == Some(0)) != want.ok {
                let should = if want.ok { "succeed" } else { "fail" };
                let stderr = sandbox.with_placeholders(&output.stderr_text());
                faults.push(format!("{place}: should {should}, but exit status {:?}: {stderr}", output.exit_code()));
            }
            if want.ok {
                let stdout = sandbox.with_placeholders(&output.stdout_text());
                faults.extend(difference(&format!("{place}: stdout"), &want.stdout, &stdout));
            }
            let calls = calls_seen(&sandbox, calls_before);
            calls_before += calls.len();
            let (wanted, got) = (self.in_order(&want.calls), self.in_order(&calls));
            faults.extend(difference(&format!("{place}: calls"), &wanted, &got));
        }
        faults.extend(difference("mapping files", &self.want.mappings, &mappings(&sandbox)));
        faults
    }

    fn prepare(&self) -> Sandbox {
        let mut sandbox = self.workspace.as_deref().map_or_else(Sandbox::new, Sandbox::with_workspace);
        for (name, value) in &self.env {
            let value = sandbox.filled(value);
            sandbox.env(name, value);
        }
        for (path, text) in &self.files {
            // the content is JSON, in which the backslashes of a Windows path are escaped
            let workspace = Value::from(sandbox.workspace().to_str().expect("the paths of a sandbox are UTF-8"));
            let text = text.replace("\"{WS}\"", &workspace.to_string());
            sandbox.write(sandbox.filled(path), sandbox.filled(&text));
        }
        sandbox.agent(self.agent.iter().map(|turn| filled(&sandbox, turn)).collect::<Value>());
        sandbox
    }

    /// Returns the calls, with sorted arguments if the case ignores their order.
    fn in_order(&self, calls: &[SeenCall]) -> Vec<SeenCall> {
        let mut calls = calls.to_vec();
        if self.any_order {
            for call in &mut calls {
                call.argv.sort();
            }
        }
        calls
    }
}

/// Returns the calls after the first `before`, in the form of a recorded case.
fn calls_seen(sandbox: &Sandbox, before: usize) -> Vec<SeenCall> {
    let seen = |text: String| sandbox.with_placeholders(&text);
    let calls = sandbox.calls().into_iter().skip(before);
    calls
        .map(|call| {
            let mut argv: Vec<_> = call.argv.into_iter().map(seen).collect();
            for at in 1..argv.len() {
                // This file has a new name in each run.
                if matches!(argv[at - 1].as_str(), "-o" | "--output-last-message") {
                    "{LAST}".clone_into(&mut argv[at]);
                }
            }
            // The program creates a new ID for claude's first turn in each run.
            let chosen = argv.windows(2).position(|pair| pair[0] == "--session-id" && is_uuid(&pair[1]));
            if let Some(at) = chosen {
                argv.drain(at..at + 2);
            }
            let env = call.env.into_iter().map(|(name, value)| (name, value.map(seen))).collect();
            SeenCall { name: call.name, argv, cwd: seen(call.cwd), env }
        })
        .collect()
}

/// Returns whether `text` is a UUID: groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns every mapping file in the sandbox, and every backup, temporary or lock file that a call left there.
fn mappings(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect_mappings(sandbox, sandbox.root(), &mut found);
    found
}

fn collect_mappings(sandbox: &Sandbox, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).expect("the sandbox can be read") {
        let path = entry.expect("the sandbox can be read").path();
        let shown = sandbox.with_placeholders(path.to_str().expect("the paths of a sandbox are UTF-8"));
        if path == sandbox.bin() {
            // The files of the stand-ins.
        } else if path.is_dir() {
            collect_mappings(sandbox, &path, found);
        } else if shown.contains(".json") {
            // A process ID follows `.bad`.
            let name = shown.find(".bad.").map_or(shown.as_str(), |at| &shown[..at + ".bad".len()]);
            let content = fs::read(&path).expect("the sandbox can be read");
            found.insert(name.to_owned(), sandbox.with_placeholders(&String::from_utf8_lossy(&content)));
        }
    }
}

/// Returns a description of the difference, or `None` if both are equal.
fn difference<T: Debug + PartialEq + ?Sized>(of: &str, want: &T, got: &T) -> Option<String> {
    (want != got).then(|| format!("{of}\n    want {want:?}\n    got  {got:?}"))
}

/// Returns a value with the placeholders in its texts filled.
fn filled(sandbox: &Sandbox, value: &Value) -> Value {
    match value {
        Value::String(text) => sandbox.filled(text).into(),
        Value::Array(items) => items.iter().map(|item| filled(sandbox, item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), filled(sandbox, field))).collect(),
        other => other.clone(),
    }
}

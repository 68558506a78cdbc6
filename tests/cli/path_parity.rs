//! The path of a mapping equals the path that the original computes, with any variables and any workspace. So both
//! programs use the same file (contract section 3).
//!
//! `path_parity/cases.json` contains the results of Python 3.11. `{S}` is a directory of the sandbox. The MD5 of a path
//! below it differs in every run, so only the MD5s of other paths are recorded. They verify the digest function that the
//! tests use for the rest. Characters outside ASCII are escaped, because an editor might normalize them.

#![cfg(unix)] // Unix paths

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::support::*;

const CASES: &str = include_str!("path_parity/cases.json");
const ORIGINAL: &str = include_str!("path_parity/original.py");

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    layout: Layout,
    #[serde(rename = "temp_folders")]
    temp_dirs: Vec<TempDir>,
    workspaces: Vec<Workspace>,
}

/// The content of `{S}`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    #[serde(rename = "folders")]
    dirs: Vec<String>,
    /// Names and targets.
    links: Vec<(String, String)>,
    files: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TempDir {
    why: String,
    cwd: String,
    #[serde(rename = "TMPDIR")]
    tmpdir: Option<String>,
    #[serde(rename = "TEMP")]
    temp: Option<String>,
    #[serde(rename = "TMP")]
    tmp: Option<String>,
    gives: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Workspace {
    cwd: String,
    /// The value of `--workspace-dir`, if any.
    given: Option<String>,
    /// `None` for a cycle of symlinks, which the original refuses too.
    resolved: Option<String>,
    name: Option<String>,
    /// `None` for paths inside the sandbox.
    md5: Option<String>,
}

fn table() -> Table {
    serde_json::from_str(CASES).unwrap()
}

/// Returns a sandbox with the files and links of the cases.
fn sandbox_with_layout() -> Sandbox {
    let sandbox = Sandbox::new();
    let root = PathBuf::from(root_of(&sandbox));
    let Layout { dirs, links, files } = table().layout;
    for dir in dirs {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (link, target) in links {
        std::os::unix::fs::symlink(filled(&sandbox, &target), root.join(link)).unwrap();
    }
    for file in files {
        fs::write(root.join(file), "").unwrap();
    }
    sandbox
}

/// Returns the value of `{S}`. Its name is the same in every run, because the results contain names.
fn root_of(sandbox: &Sandbox) -> String {
    sandbox.root().join("here").to_str().expect("the paths of a sandbox are UTF-8").to_owned()
}

fn filled(sandbox: &Sandbox, text: &str) -> String {
    text.replace("{S}", &root_of(sandbox))
}

/// Returns the directory of both mappings for this workspace. Writes nothing.
#[track_caller]
fn mapping_dir_of(command: &mut Command, about: &dyn std::fmt::Debug) -> String {
    let output = command.run().code(0);
    let list = output.json();
    let [claude, codex] = [Backend::Claude, Backend::Codex].map(|backend| {
        let file = Path::new(list["backends"][backend.name()]["mapping_file"].as_str().unwrap()).to_owned();
        assert_eq!(file.file_name().unwrap(), backend.mapping_file_name());
        file.parent().unwrap().to_str().unwrap().to_owned()
    });
    assert_eq!(claude, codex, "{about:?}");
    claude
}

#[test]
fn temp_directory_is_the_one_python_selects() {
    let sandbox = sandbox_with_layout();
    for case in table().temp_dirs {
        let mut command = sandbox.cmd(&["list-sessions"]);
        command.current_dir(filled(&sandbox, &case.cwd));
        for (name, value) in [("TMPDIR", &case.tmpdir), ("TEMP", &case.temp), ("TMP", &case.tmp)] {
            command.env_remove(name);
            if let Some(value) = value {
                command.env(name, filled(&sandbox, value));
            }
        }
        let dir = mapping_dir_of(&mut command, &case);
        let (root, _) = dir.split_once("/agent-sessions/").unwrap();
        assert_eq!(root, filled(&sandbox, &case.gives), "{case:?}");
    }
}

#[test]
fn workspace_is_resolved_as_python_does() {
    let mut sandbox = sandbox_with_layout();
    // a shell records followed symlinks in this variable, which Python and this program ignore
    sandbox.env("PWD", filled(&sandbox, "{S}/link"));
    for case in table().workspaces {
        let mut command = sandbox.cmd(&["--error-format", "json", "list-sessions"]);
        command.current_dir(filled(&sandbox, &case.cwd));
        if let Some(given) = &case.given {
            command.arg(format!("--workspace-dir={}", filled(&sandbox, given)));
        }
        let (Some(resolved), Some(name)) = (&case.resolved, &case.name) else {
            command.run().failed(2, "usage").message(contains("cannot resolve"));
            continue;
        };
        let digest = case.md5.clone().unwrap_or_else(|| md5_hex([filled(&sandbox, resolved)]));
        let want = format!("{}/agent-sessions/{name}-{digest}", sandbox.temp().display());
        assert_eq!(mapping_dir_of(&mut command, &case), want, "{case:?}");
    }
}

#[test]
#[cfg(target_os = "linux")] // other file systems accept only Unicode
fn paths_that_are_not_utf_8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let sandbox = sandbox_with_layout();
    let bad = Path::new(&root_of(&sandbox)).join(OsStr::from_bytes(b"a\xffb"));
    let good = Path::new(&root_of(&sandbox)).join("to-bad");
    fs::create_dir_all(bad.join("sub")).unwrap();
    std::os::unix::fs::symlink(&bad, &good).unwrap();
    let list = || sandbox.cmd(&["--error-format", "json", "--backend", "claude", "list-sessions"]);
    let refused = |command: &mut Command| {
        let failure = command.run().failed(2, "usage").message(contains("UTF-8"));
        failure.hint
    };
    // the link's name is UTF-8, its target is not
    for given in ["{S}/to-bad", "{S}/to-bad/sub/.", "{S}/to-bad/none"] {
        let hint = refused(list().arg("--workspace-dir").arg(filled(&sandbox, given)));
        assert!(hint.unwrap().contains("UTF-8"));
    }
    refused(list().current_dir(bad.join("sub")));
    // the parent of the target is UTF-8 again
    mapping_dir_of(sandbox.cmd(&["list-sessions"]).arg("--workspace-dir").arg(good.join("..")), &"up again");
    for name in ["TMPDIR", "INVOKE_PERSIST_DIR"] {
        assert!(refused(list().env(name, &bad)).unwrap().contains("INVOKE_PERSIST_DIR"));
    }
    // a link can name a directory that has no valid name
    let dir = mapping_dir_of(sandbox.cmd(&["list-sessions"]).env("TMPDIR", &good), &"a link to it");
    assert!(Path::new(&dir).starts_with(&good), "{dir}");
    // if that directory does not exist, the next one is selected
    let mut command = sandbox.cmd(&["list-sessions"]);
    let dir = mapping_dir_of(command.env("TMPDIR", bad.join("none")).env("TMP", sandbox.temp()), &"it does not exist");
    assert!(Path::new(&dir).starts_with(sandbox.temp()), "{dir}");
}

#[test]
fn md5_of_the_tests_matches_python() {
    let recorded: Vec<_> = table().workspaces.into_iter().filter_map(|case| case.resolved.zip(case.md5)).collect();
    assert!(recorded.len() > 50, "most cases have an MD5");
    for (resolved, digest) in recorded {
        assert_eq!(md5_hex([&resolved]), digest, "{resolved}");
    }
}

#[test]
#[ignore = "needs python3"]
fn results_of_python_match_the_record() {
    let sandbox = sandbox_with_layout();
    let mut python = Command::new("python3");
    python.args(["-c", ORIGINAL, &root_of(&sandbox)]).stderr(Stdio::inherit());
    let output = python.run_with_input(filled(&sandbox, CASES)).code(0);
    let answers: Table = serde_json::from_str(&output.stdout_text().replace(&root_of(&sandbox), "{S}")).unwrap();
    let differ: Vec<String> =
        [differing(&answers.temp_dirs, &table().temp_dirs), differing(&answers.workspaces, &table().workspaces)]
            .concat();
    assert!(differ.is_empty(), "Python's results differ from path_parity/cases.json:\n{}", differ.join("\n"));
}

/// Returns the results that differ from the recorded ones, in the form of the record.
fn differing<T: PartialEq + Serialize>(answers: &[T], record: &[T]) -> Vec<String> {
    let differ = answers.iter().zip(record).filter(|(answer, recorded)| answer != recorded);
    differ.map(|(answer, _)| serde_json::to_string(answer).unwrap()).collect()
}

//! The place of a mapping is the one that the original computes, whatever the variables and the workspace: both
//! programs meet in one file (contract section 3).
//!
//! `path_parity/cases.json` holds what Python 3.11 answered. `{S}` in it is a directory of the sandbox's. An MD5 over a
//! path in there would be another one in every run; those of paths that need not exist are recorded as they are, and
//! prove the digest that the others are compared with. All is escaped that is not ASCII: an editor might compose it.

#![cfg(unix)] // paths as Unix has them

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
    temp_folders: Vec<TempFolder>,
    workspaces: Vec<Workspace>,
}

/// What there is in `{S}`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    folders: Vec<String>,
    /// From name to target.
    links: Vec<(String, String)>,
    files: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TempFolder {
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
    /// The value of `--workspace-dir`; `None` for none.
    given: Option<String>,
    /// `None`: a cycle of symlinks, which the original refuses too.
    resolved: Option<String>,
    name: Option<String>,
    /// `None` for paths inside the sandbox.
    md5: Option<String>,
}

fn table() -> Table {
    serde_json::from_str(CASES).unwrap()
}

/// A sandbox with all that the cases speak of.
fn laid_out() -> Sandbox {
    let sandbox = Sandbox::new();
    let root = PathBuf::from(root_of(&sandbox));
    let Layout { folders, links, files } = table().layout;
    for folder in folders {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (link, target) in links {
        std::os::unix::fs::symlink(filled(&sandbox, &target), root.join(link)).unwrap();
    }
    for file in files {
        fs::write(root.join(file), "").unwrap();
    }
    sandbox
}

/// The value of `{S}`: a directory whose name is the same in every run, because names are part of the answers.
fn root_of(sandbox: &Sandbox) -> String {
    sandbox.root().join("here").to_str().expect("the paths of a sandbox are UTF-8").to_owned()
}

fn filled(sandbox: &Sandbox, text: &str) -> String {
    text.replace("{S}", &root_of(sandbox))
}

/// The directory of both mappings for this workspace. Writes nothing.
#[track_caller]
fn folder_of_mappings(command: &mut Command, about: &dyn std::fmt::Debug) -> String {
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
    let sandbox = laid_out();
    for case in table().temp_folders {
        let mut command = sandbox.cmd(&["list-sessions"]);
        command.current_dir(filled(&sandbox, &case.cwd));
        for (name, value) in [("TMPDIR", &case.tmpdir), ("TEMP", &case.temp), ("TMP", &case.tmp)] {
            command.env_remove(name);
            if let Some(value) = value {
                command.env(name, filled(&sandbox, value));
            }
        }
        let folder = folder_of_mappings(&mut command, &case);
        let (root, _) = folder.split_once("/agent-sessions/").unwrap();
        assert_eq!(root, filled(&sandbox, &case.gives), "{case:?}");
    }
}

#[test]
fn workspace_is_resolved_as_python_does() {
    let mut sandbox = laid_out();
    // a shell records the symlinks it followed here; Python ignores that, and so must this program
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
        assert_eq!(folder_of_mappings(&mut command, &case), want, "{case:?}");
    }
}

#[test]
#[cfg(target_os = "linux")] // elsewhere file systems take Unicode alone
fn paths_that_are_not_utf_8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let sandbox = laid_out();
    let bad = Path::new(&root_of(&sandbox)).join(OsStr::from_bytes(b"a\xffb"));
    let good = Path::new(&root_of(&sandbox)).join("to-bad");
    fs::create_dir_all(bad.join("sub")).unwrap();
    std::os::unix::fs::symlink(&bad, &good).unwrap();
    let list = || sandbox.cmd(&["--error-format", "json", "--backend", "claude", "list-sessions"]);
    let refused = |command: &mut Command| {
        let failure = command.run().failed(2, "usage").message(contains("UTF-8"));
        failure.hint
    };
    // the way there can be named, the place cannot
    for given in ["{S}/to-bad", "{S}/to-bad/sub/.", "{S}/to-bad/none"] {
        let hint = refused(list().arg("--workspace-dir").arg(filled(&sandbox, given)));
        assert!(hint.unwrap().contains("UTF-8"));
    }
    refused(list().current_dir(bad.join("sub")));
    // the way up again can
    folder_of_mappings(sandbox.cmd(&["list-sessions"]).arg("--workspace-dir").arg(good.join("..")), &"up again");
    for name in ["TMPDIR", "INVOKE_PERSIST_DIR"] {
        assert!(refused(list().env(name, &bad)).unwrap().contains("INVOKE_PERSIST_DIR"));
    }
    // a link is a fine name for a place that has none
    let folder = folder_of_mappings(sandbox.cmd(&["list-sessions"]).env("TMPDIR", &good), &"a link to it");
    assert!(Path::new(&folder).starts_with(&good), "{folder}");
    // and if nothing has that name, the next one is selected
    let mut command = sandbox.cmd(&["list-sessions"]);
    let folder = folder_of_mappings(command.env("TMPDIR", bad.join("none")).env("TMP", sandbox.temp()), &"not there");
    assert!(Path::new(&folder).starts_with(sandbox.temp()), "{folder}");
}

#[test]
fn md5_of_the_tests_matches_python() {
    let recorded: Vec<_> = table().workspaces.into_iter().filter_map(|case| case.resolved.zip(case.md5)).collect();
    assert!(recorded.len() > 50, "most cases have one");
    for (resolved, digest) in recorded {
        assert_eq!(md5_hex([&resolved]), digest, "{resolved}");
    }
}

#[test]
#[ignore = "wants python3; .ci/run asks for it"]
fn python_still_answers_as_recorded() {
    let sandbox = laid_out();
    let mut python = Command::new("python3");
    python.args(["-c", ORIGINAL, &root_of(&sandbox)]).stderr(Stdio::inherit());
    let output = python.run_with_input(filled(&sandbox, CASES)).code(0);
    let answers: Table = serde_json::from_str(&output.stdout_text().replace(&root_of(&sandbox), "{S}")).unwrap();
    let differ: Vec<String> =
        [differing(&answers.temp_folders, &table().temp_folders), differing(&answers.workspaces, &table().workspaces)]
            .concat();
    assert!(differ.is_empty(), "Python answers otherwise than path_parity/cases.json says:\n{}", differ.join("\n"));
}

/// The answers that are not the recorded ones, as they would stand in the record.
fn differing<T: PartialEq + Serialize>(answers: &[T], record: &[T]) -> Vec<String> {
    let differ = answers.iter().zip(record).filter(|(answer, recorded)| answer != recorded);
    differ.map(|(answer, _)| serde_json::to_string(answer).unwrap()).collect()
}

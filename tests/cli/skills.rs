//! `skill`: installs, lists, updates and removes the skills, and keeps the user's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::*;

pub(crate) const CLAUDE: &str = "claude-code-invoke-persist";
const CODEX: &str = "codex-cli-invoke-persist";
const BOTH: [&str; 2] = [CLAUDE, CODEX];

/// Returns a sandbox whose workspace is a repository, so that a project's skills stay inside it.
pub(crate) fn repository() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.workspace().join(".git")).unwrap();
    sandbox
}

/// Returns the user's skills directories, claude's first.
fn user_dirs(sandbox: &Sandbox) -> [PathBuf; 2] {
    [sandbox.home().join(".claude").join("skills"), sandbox.home().join(".agents").join("skills")]
}

/// Returns everything below `dir`: files with their bytes, links with their targets.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(path);
                continue;
            }
            let content = if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
        }
    }
    found
}

/// Returns the files of a skill in this release.
pub(crate) fn fresh(sandbox: &Sandbox, skill: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = sandbox.root().join("fresh");
    let dir = dir.to_str().unwrap();
    sandbox.succeeds(&["skill", "export", skill, dir, "--force"]);
    tree(&Path::new(dir).join(skill))
}

/// Runs `skill VERB --json` and returns the skill, host and action of each entry.
fn done(sandbox: &Sandbox, arguments: &[&str]) -> Vec<(String, String, String)> {
    let report = sandbox.succeeds(&[&["skill"], arguments, &["--json"]].concat()).json();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let skills = report["skills"].as_array().unwrap().iter();
    skills.map(|entry| (text(&entry["skill"]), text(&entry["host"]), text(&entry["action"]))).collect()
}

/// Writes a skill as an older release installed it.
fn write_older(sandbox: &Sandbox, dir: &Path) {
    sandbox.write(dir.join("SKILL.md"), include_str!("frozen/skill/SKILL.md"));
    sandbox.write(dir.join("references/creation.md"), include_str!("frozen/skill/references/creation.md"));
}

#[test]
fn both_skills_are_installed_for_every_detected_host() {
    let sandbox = repository();
    let output = sandbox.succeeds(&["skill", "install"]);
    for dir in user_dirs(&sandbox) {
        for skill in BOTH {
            assert_eq!(tree(&dir.join(skill)), fresh(&sandbox, skill));
            let installed = format!("installed: {}\n", dir.join(skill).display());
            assert!(output.stdout_text().contains(&installed), "{output}");
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }
    let report = [output.stdout_text(), output.stderr_text()].concat();
    assert!(report.lines().last().unwrap().contains("login shell"), "{report}");
    assert!(!sandbox.home().join(".claude").join("skills-replaced").exists());
    // a second installation changes nothing
    let before = tree(&sandbox.home());
    let unchanged = done(&sandbox, &["install"]);
    assert!(unchanged.len() == 4 && unchanged.iter().all(|(_, _, action)| action == "unchanged"), "{unchanged:?}");
    assert_eq!(tree(&sandbox.home()), before);
}

#[test]
fn host_is_detected_by_its_program_or_directory() {
    let mut sandbox = repository();
    sandbox.only_agents(&["codex"]);
    let installed = |sandbox: &Sandbox| {
        let mut hosts: Vec<_> = done(sandbox, &["install", "--dry-run"]).into_iter().map(|(_, host, _)| host).collect();
        hosts.dedup();
        hosts
    };
    assert_eq!(installed(&sandbox), ["codex"]);
    fs::create_dir(sandbox.home().join(".claude")).unwrap();
    assert_eq!(installed(&sandbox), ["claude", "codex"]);
    let mut sandbox = repository();
    sandbox.only_agents(&[]);
    let failure = sandbox.fails(&["skill", "install"], 1, "io");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("--agent") && hint.contains("--dir"), "{hint}");
    assert!(tree(&sandbox.home()).is_empty());
    // a host on the command line does not have to be detected
    assert_eq!(done(&sandbox, &["install", "--agent", "all"]).len(), 4);
}

#[test]
fn hosts_scopes_and_skills_can_be_selected() {
    let mut sandbox = repository();
    fs::create_dir_all(sandbox.workspace().join("sub/.git")).unwrap();
    fs::create_dir_all(sandbox.workspace().join("sub/deep")).unwrap();
    let mut command = sandbox.cmd(&["skill", "install", "--agent", "claude", "--scope", "project", "--skill", CODEX]);
    command.current_dir(sandbox.workspace().join("sub/deep")).run().success();
    assert_eq!(
        tree(&sandbox.workspace().join("sub").join(".claude").join("skills").join(CODEX)),
        fresh(&sandbox, CODEX)
    );
    sandbox.succeeds(&["skill", "install", "--agent", "codex", "-g"]);
    assert!(sandbox.home().join(".agents").join("skills").join(CLAUDE).exists());
    sandbox.succeeds(&["skill", "install", "--dir", "own", "--skill", "claude"]);
    assert_eq!(tree(&sandbox.workspace().join("own")).keys().filter(|path| path.starts_with(CLAUDE)).count(), 7);
    sandbox.env("CLAUDE_CONFIG_DIR", sandbox.home().join("config"));
    sandbox.succeeds(&["skill", "install", "--agent", "claude"]);
    assert!(sandbox.home().join("config/skills").join(CLAUDE).exists());
    assert!(!sandbox.home().join(".claude").exists());
    for bad in [
        &["install", "--dir", "x", "--agent", "claude"][..],
        &["install", "--scope", "user", "-g"],
        &["install", "--agent", "cursor"],
        &["--backend", "codex", "install"],
        &["show", "other"],
        &["forget"],
        &[],
    ] {
        sandbox.fails(&[&["skill"], bad].concat(), 2, "usage");
    }
}

#[test]
fn older_skill_is_updated() {
    let sandbox = repository();
    let [claude, codex] = user_dirs(&sandbox);
    write_older(&sandbox, &claude.join(CLAUDE));
    let listed = sandbox.succeeds(&["skill", "list", "--json"]).json();
    assert_eq!((&listed["skills"][0]["state"], &listed["skills"][0]["version"]), (&"outdated".into(), &"0.0.9".into()));
    let updated = done(&sandbox, &["update"]);
    assert_eq!(updated, [(CLAUDE.to_owned(), "claude".to_owned(), "updated".to_owned())]);
    assert_eq!(
        tree(&claude),
        fresh(&sandbox, CLAUDE).into_iter().map(|(path, content)| (Path::new(CLAUDE).join(path), content)).collect()
    );
    assert!(!codex.exists(), "a missing skill is not updated");
    assert!(!claude.with_file_name("skills-replaced").exists());
    assert_eq!(done(&sandbox, &["update"])[0].2, "unchanged");
    // `skill install` does the same
    fs::remove_dir_all(&claude).unwrap();
    write_older(&sandbox, &claude.join(CLAUDE));
    assert_eq!(done(&sandbox, &["install", "--agent", "claude"])[0].2, "updated");
}

/// Writes something to the path of claude's skill, and returns its expected state.
type Planted = (&'static str, fn(&Sandbox, &Path));

fn user_content() -> Vec<Planted> {
    fn install(sandbox: &Sandbox, place: &Path) {
        let skills = place.parent().unwrap().to_str().unwrap();
        sandbox.succeeds(&["skill", "install", "--quiet", "--dir", skills, "--skill", CLAUDE]);
    }
    fn edited(sandbox: &Sandbox, place: &Path) {
        install(sandbox, place);
        sandbox.write(place.join("references/creation.md"), "mine");
    }
    fn with_more(sandbox: &Sandbox, place: &Path) {
        install(sandbox, place);
        sandbox.write(place.join("notes.md"), "mine");
    }
    fn foreign(sandbox: &Sandbox, place: &Path) {
        sandbox.write(place.join("SKILL.md"), "---\nname: claude-code-invoke-persist\n---\n");
        sandbox.write(place.join("scripts/invoke_persist.py"), "print()");
    }
    fn file(sandbox: &Sandbox, place: &Path) {
        sandbox.write(place, "a file");
    }
    #[cfg_attr(windows, expect(unused_mut, reason = "a link is added on Unix"))]
    let mut all: Vec<Planted> =
        vec![("modified", edited), ("modified", with_more), ("foreign", foreign), ("foreign", file)];
    #[cfg(unix)]
    {
        fn link(sandbox: &Sandbox, place: &Path) {
            let elsewhere = sandbox.home().join("dotfiles").join(CLAUDE);
            write_older(sandbox, &elsewhere);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(elsewhere, place).unwrap();
        }
        all.push(("foreign", link));
    }
    all
}

#[test]
fn user_changes_are_refused_and_kept_with_force() {
    for (state, plant) in user_content() {
        let sandbox = repository();
        let skills = user_dirs(&sandbox)[0].clone();
        let place = skills.join(CLAUDE);
        plant(&sandbox, &place);
        let before = tree(&sandbox.home());
        let planted: BTreeMap<_, _> = tree(&place);
        let listed = sandbox.succeeds(&["skill", "list", "--json"]).json();
        assert_eq!(listed["skills"][0]["state"], state);
        for verb in ["install", "uninstall"] {
            sandbox
                .fails(&["skill", verb], 1, "io")
                .message(contains(place.display().to_string()))
                .hint(contains("--force"));
            // codex's directory would be changed later, and is not changed either
            assert_eq!(tree(&sandbox.home()), before);
        }
        let output = sandbox.succeeds(&["skill", "install", "--agent", "claude", "--force"]);
        let kept = sandbox.home().join(".claude").join("skills-replaced").join(format!("{CLAUDE}.1"));
        let replaced = format!("replaced: {}, the old one is {}\n", place.display(), kept.display());
        output.stdout(starts_with(replaced));
        assert_eq!(tree(&place), fresh(&sandbox, CLAUDE));
        assert_eq!(tree(&kept), planted);
        let is_link = |path: &Path| fs::symlink_metadata(path).unwrap().is_symlink();
        assert!(!is_link(&place));
        // a second backup has another name
        fs::remove_dir_all(&place).unwrap();
        plant(&sandbox, &place);
        let removed = sandbox
            .succeeds(&["skill", "uninstall", "--agent", "claude", "--skill", CLAUDE, "--force", "--json"])
            .json();
        assert_eq!(removed["skills"][0]["kept"], kept.with_extension("2").to_str().unwrap());
        assert!(fs::symlink_metadata(&place).is_err());
        assert_eq!(tree(&kept.with_extension("2")), planted);
    }
}

/// Returns the digest of a skill's files, without the line for the digest itself.
fn digest_of(files: &[(&str, &str)]) -> String {
    md5_hex(files.iter().map(|(path, content)| {
        let lengths = [path.len() as u64, content.len() as u64].map(u64::to_le_bytes).concat();
        [&lengths, path.as_bytes(), content.as_bytes()].concat()
    }))
}

#[test]
fn newer_skill_is_not_changed() {
    let sandbox = repository();
    let place = user_dirs(&sandbox)[0].join(CLAUDE);
    let main = format!("---\nname: {CLAUDE}\nmetadata:\n  invoke-persist-version: \"9.0.0\"\n---\n");
    let digest = digest_of(&[("SKILL.md", &main)]);
    sandbox.write(
        place.join("SKILL.md"),
        main.replacen("\n---\n", &format!("\n  invoke-persist-digest: {digest}\n---\n"), 1),
    );
    let before = tree(&place);
    for verb in ["install", "uninstall"] {
        sandbox
            .fails(&["skill", verb, "--agent", "claude"], 1, "io")
            .message(ends_with(": it is from a newer release, 9.0.0"));
    }
    assert_eq!(done(&sandbox, &["update"])[0].2, "unchanged");
    assert_eq!(tree(&place), before);
}

#[test]
fn skill_named_twice_is_handled_once() {
    let sandbox = repository();
    let twice = ["--skill", "claude", "--skill", "codex", "--skill", "claude"];
    assert_eq!(done(&sandbox, &[&["install"][..], &twice].concat()).len(), 4);
    assert_eq!(done(&sandbox, &[&["uninstall"][..], &twice].concat()).len(), 4);
    assert!(tree(&sandbox.home()).is_empty());
}

#[test]
fn dry_run_reports_and_changes_nothing() {
    let sandbox = repository();
    let output = sandbox.succeeds(&["skill", "install", "--dry-run", "--agent", "claude"]);
    let dir = user_dirs(&sandbox)[0].join(CLAUDE);
    output.stdout(starts_with(format!("would be installed: {}\n", dir.display())));
    assert!(tree(&sandbox.home()).is_empty() && !sandbox.home().join(".claude").exists());
    write_older(&sandbox, &dir);
    let before = tree(&sandbox.home());
    for (verb, action) in [("update", "updated"), ("uninstall", "removed"), ("install", "updated")] {
        assert_eq!(done(&sandbox, &[verb, "--dry-run", "--agent", "claude"])[0].2, action);
    }
    assert_eq!(tree(&sandbox.home()), before);
}

#[test]
fn uninstall_removes_installed_skills() {
    let sandbox = repository();
    sandbox.succeeds(&["skill", "install"]);
    let other = user_dirs(&sandbox)[0].join("other/SKILL.md");
    sandbox.write(&other, "somebody's");
    assert_eq!(done(&sandbox, &["uninstall"]).len(), 4);
    assert_eq!(tree(&sandbox.home()).into_keys().collect::<Vec<_>>(), [PathBuf::from(".claude/skills/other/SKILL.md")]);
    sandbox.run(&["skill", "uninstall"]).success().stdout("").stderr("note: found no installed skills\n");
}

#[test]
fn reports_a_directory_that_cannot_be_written() {
    let sandbox = repository();
    sandbox.write(sandbox.home().join(".claude").join("skills"), "a file");
    sandbox.fails(&["skill", "install", "--agent", "claude"], 1, "io").message(contains(CLAUDE));
    assert_eq!(fs::read(sandbox.home().join(".claude").join("skills")).unwrap(), b"a file");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Stdio;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    #[test]
    fn symlinked_skills_directory_stays_a_symlink() {
        let sandbox = repository();
        let real = sandbox.home().join("dotfiles/claude-skills");
        fs::create_dir_all(&real).unwrap();
        fs::create_dir(sandbox.home().join(".claude")).unwrap();
        symlink(&real, sandbox.home().join(".claude").join("skills")).unwrap();
        sandbox.succeeds(&["skill", "install", "--agent", "claude"]);
        assert_eq!(fs::read_link(sandbox.home().join(".claude").join("skills")).unwrap(), real);
        assert_eq!(tree(&real.join(CLAUDE)), fresh(&sandbox, CLAUDE));
        sandbox.write(real.join(CLAUDE).join("SKILL.md"), "mine");
        sandbox.succeeds(&["skill", "install", "--agent", "claude", "--force"]);
        let kept = sandbox.home().join("dotfiles/claude-skills-replaced").join(format!("{CLAUDE}.1/SKILL.md"));
        assert_eq!(fs::read(kept).unwrap(), b"mine");
        assert_eq!(fs::read_dir(sandbox.home().join("dotfiles")).unwrap().count(), 2);
    }

    #[test]
    fn directory_shared_by_both_hosts_is_handled_once() {
        let sandbox = repository();
        let [claude, codex] = user_dirs(&sandbox);
        fs::create_dir_all(&codex).unwrap();
        fs::create_dir(sandbox.home().join(".claude")).unwrap();
        symlink(&codex, &claude).unwrap();
        assert_eq!(done(&sandbox, &["install"]).len(), 2);
        assert_eq!(tree(&codex.join(CODEX)), fresh(&sandbox, CODEX));
        assert_eq!(done(&sandbox, &["uninstall"]).len(), 2);
        assert!(tree(&codex).is_empty());
    }

    #[test]
    fn devices_and_pipes_in_a_repository_are_not_read() {
        let sandbox = repository();
        let skills = sandbox.workspace().join(".agents/skills");
        for (name, target) in [("endless", "/dev/zero"), ("silent", "pipe")] {
            fs::create_dir_all(skills.join(name)).unwrap();
            symlink(target, skills.join(name).join("SKILL.md")).unwrap();
        }
        let mut command = std::process::Command::new("mkfifo");
        command.arg(skills.join("silent/pipe")).run().success();
        sandbox.succeeds(&["skill", "list"]);
    }

    #[test]
    fn installed_files_have_the_permissions_of_the_umask() {
        let sandbox = repository();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (mask, dir, file) in [("022", 0o755, 0o644), ("077", 0o700, 0o600)] {
            let script = format!("umask {mask}; exec \"$0\" skill install --quiet --dir {mask} --skill {CLAUDE}");
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_invoke-persist")]);
            shell.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables()).run().success();
            let place = sandbox.workspace().join(mask).join(CLAUDE);
            assert_eq!((mode(&place), mode(&place.join("SKILL.md"))), (dir, file), "{mask}");
        }
    }

    #[test]
    fn killed_update_leaves_the_old_or_the_new_skill() {
        const ROUNDS: u32 = 60;
        let sandbox = repository();
        let [skills, _] = user_dirs(&sandbox);
        let place = skills.join(CLAUDE);
        let fresh = fresh(&sandbox, CLAUDE);
        let update = ["skill", "update", "--force", "--agent", "claude"];
        write_older(&sandbox, &place);
        let old = tree(&place);
        let Finished { assert, took: whole } = sandbox.start(&update).wait(SOON);
        assert.success();
        let mut ends = [0, 0];
        for round in 0..ROUNDS {
            fs::remove_dir_all(&place).unwrap();
            write_older(&sandbox, &place);
            let mut command = sandbox.cmd(&update);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(whole.min(Duration::from_millis(100)) * round / ROUNDS); // another moment in each round
            child.kill().unwrap();
            child.wait().unwrap();
            let there = tree(&place);
            assert!(there == old || there == fresh, "{:?}", there.keys());
            ends[usize::from(there == fresh)] += 1;
        }
        assert!(ends[0] > 0, "some were killed before the end: {ends:?}");
        sandbox.succeeds(&update);
        assert_eq!(tree(&place), fresh);
        assert_eq!(fs::read_dir(&skills).unwrap().count(), 1, "nothing else is in the directory for skills");
    }

    #[test]
    fn read_only_directory_is_reported_and_not_changed() {
        let sandbox = repository();
        let place = user_dirs(&sandbox)[0].join(CLAUDE);
        write_older(&sandbox, &place);
        let dirs = [place.parent().unwrap().to_owned(), sandbox.home().join(".claude")];
        let set_modes = |mode| {
            for dir in &dirs {
                fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        set_modes(0o555);
        let before = tree(&sandbox.home());
        let failure = bound_by_permissions(|| sandbox.fails(&["skill", "update"], 1, "io"));
        assert!(failure.message.contains("ermission denied"), "{}", failure.message);
        assert_eq!(tree(&sandbox.home()), before);
        set_modes(0o755);
    }

    #[test]
    #[ignore = "needs python3"]
    fn script_without_the_program_prints_a_hint() {
        let mut sandbox = repository();
        let python = std::process::Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).run();
        let python = python.success().stdout_text().trim().to_owned();
        sandbox.succeeds(&["skill", "export", CODEX, "."]);
        sandbox.env("PATH", sandbox.home());
        let script = format!("{CODEX}/scripts/invoke_persist.py");
        let want = "error: invoke-persist is not on PATH\nhint: install it where a login shell finds it\n";
        sandbox.cmd_of(Path::new(&python), &[&script, "list-sessions"]).run().code(127).stderr(want);
    }
}

#[test]
fn warns_about_a_second_copy_for_codex() {
    let sandbox = repository();
    let dir = user_dirs(&sandbox)[1].clone();
    sandbox.write(dir.join(format!("{CODEX}.bak/SKILL.md")), format!("---\nname: {CODEX}\n---\n"));
    let output = sandbox.run(&["skill", "install", "--agent", "codex"]).success();
    let stderr = output.stderr_text();
    let warning = stderr.lines().find(|line| line.starts_with("warning: codex finds")).unwrap();
    assert!(warning.contains(&format!("{CODEX} in several directories")) && warning.contains(".bak'"), "{warning}");
    let listed = sandbox.succeeds(&["skill", "list", "--agent", "codex", "--scope", "user", "--json"]).json();
    assert_eq!(listed["seen_twice"][0]["skill"], CODEX);
    assert_eq!(listed["seen_twice"][0]["folders"].as_array().unwrap().len(), 2);
    fs::remove_dir_all(dir.join(format!("{CODEX}.bak"))).unwrap();
    // a copy for the user and one for the project count as two
    sandbox.succeeds(&["skill", "install", "--agent", "codex", "--scope", "project"]);
    let listed = sandbox.succeeds(&["skill", "list", "--json"]).json();
    assert_eq!(listed["seen_twice"].as_array().unwrap().len(), 2);
}

#[test]
fn list_shows_every_location() {
    let sandbox = repository();
    sandbox.succeeds(&["skill", "install", "--agent", "claude", "--skill", CLAUDE]);
    let table = sandbox.succeeds(&["skill", "list"]).stdout_text();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 9, "{table}");
    assert_eq!(lines[0], ["SKILL", "HOST", "SCOPE", "STATE", "FOLDER"]);
    let place = user_dirs(&sandbox)[0].join(CLAUDE);
    assert_eq!(lines[1], [CLAUDE, "claude", "user", "up-to-date", place.to_str().unwrap()]);
    assert_eq!(lines[2][..4], [CODEX, "claude", "user", "missing"]);
    let listed = sandbox.succeeds(&["skill", "list", "--agent", "claude", "-g", "--skill", CODEX, "--json"]).json();
    let want = serde_json::json!({"skills": [{"skill": CODEX, "host": "claude", "scope": "user",
        "folder": place.with_file_name(CODEX), "state": "missing", "version": null}], "seen_twice": [], "originals": []});
    assert_eq!(listed, want);
}

/// Writes the skill of an original script.
fn write_original(sandbox: &Sandbox, dir: &Path, mapping: &str) {
    sandbox.write(dir.join("SKILL.md"), "---\nname: some-name\n---\n");
    sandbox.write(dir.join("scripts/invoke_persist.py"), format!("#!/usr/bin/env python3\nNAME = '{mapping}'\n"));
}

#[test]
fn list_shows_which_originals_are_shimmed() {
    let sandbox = repository();
    let [claude, _] = user_dirs(&sandbox);
    let same_name = claude.join(CLAUDE);
    let own_name = claude.join("codex-cli");
    // where codex looks too, but nothing is installed
    let elsewhere = sandbox.home().join(".codex").join("skills").join("an-original");
    let in_project = sandbox.workspace().join(".claude").join("skills").join("claude-code");
    write_original(&sandbox, &same_name, "claude-code-alias-mapping.json");
    write_original(&sandbox, &own_name, "codex-cli-alias-mapping.json");
    write_original(&sandbox, &elsewhere, "codex-cli-alias-mapping.json");
    write_original(&sandbox, &in_project, "claude-code-alias-mapping.json");
    // neither are originals: another script, and a copy of a skill of this program
    sandbox.write(claude.join("other/scripts/invoke_persist.py"), "print()");
    sandbox.succeeds(&["skill", "export", CODEX, claude.join("copy").to_str().unwrap()]);
    for dir in [&own_name, &same_name] {
        sandbox.succeeds(&["skill", "shim", dir.to_str().unwrap()]);
    }
    let originals = |options: &[&str]| {
        let listed = sandbox.succeeds(&[&["skill", "list", "--json"], options].concat()).json();
        let originals = listed["originals"].as_array().unwrap().iter();
        let key = |original: &Value, key: &str| original[key].clone();
        let keys = ["folder", "backend", "host", "scope", "shimmed"];
        originals.map(|original| keys.map(|name| key(original, name))).collect::<Vec<_>>()
    };
    let original = |dir: &Path, backend: &str, host: &str, scope: Option<&str>, shimmed: bool| -> [Value; 5] {
        [dir.to_str().into(), backend.into(), host.into(), scope.into(), shimmed.into()]
    };
    let want = [
        original(&same_name, "claude", "claude", Some("user"), true),
        original(&own_name, "codex", "claude", Some("user"), true),
        original(&in_project, "claude", "claude", Some("project"), false),
        original(&elsewhere, "codex", "codex", None, false),
    ];
    assert_eq!(originals(&[]), want);
    assert_eq!(originals(&["-g", "--agent", "claude"]), want[..2]);
    assert_eq!(originals(&["--skill", CODEX, "-g", "--agent", "claude"]), want[1..2]);
    let dir = claude.to_str().unwrap();
    assert_eq!(originals(&["--dir", dir]).len(), 2);
    let table = sandbox.succeeds(&["skill", "list"]).stdout_text();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["SKILL", "HOST", "SCOPE", "STATE", "SCRIPT", "FOLDER"]);
    assert_eq!(rows[1], [CLAUDE, "claude", "user", "foreign", "shim", same_name.to_str().unwrap()]);
    assert_eq!(rows[2][..5], [CODEX, "claude", "user", "missing", "-"]);
    assert_eq!(rows[9], ["codex-cli", "claude", "user", "foreign", "shim", own_name.to_str().unwrap()]);
    assert_eq!(rows[10][..5], ["claude-code", "claude", "project", "foreign", "original"]);
    assert_eq!(rows[11], ["an-original", "codex", "-", "foreign", "original", elsewhere.to_str().unwrap()]);
    assert_eq!(rows.len(), 12, "{table}");
    // a restored one is an original again
    sandbox.succeeds(&["skill", "shim", own_name.to_str().unwrap(), "--undo"]);
    assert_eq!(originals(&["-g", "--agent", "claude"])[1][4], Value::Bool(false));
    // the hint of a refused installation names the directory
    sandbox.succeeds(&["skill", "shim", same_name.to_str().unwrap(), "--undo"]);
    sandbox
        .fails(&["skill", "install", "--agent", "claude"], 1, "io")
        .hint(contains("invoke-persist skill shim ").and(contains(same_name.to_str().unwrap())));
}

#[cfg(target_os = "linux")]
#[test]
fn list_fits_the_terminal() {
    let sandbox = repository();
    write_original(&sandbox, &user_dirs(&sandbox)[0].join("日本語の名前\u{1b}[31m"), "codex-cli-alias-mapping.json");
    for width in [80, 40] {
        let shown = Terminal::of_width(width).shows(sandbox.cmd(&["skill", "list"]));
        let widest = shown.lines().map(console::measure_text_width).max();
        assert!(widest <= Some(usize::from(width)), "{shown}");
        assert!(shown.lines().skip(1).all(|line| line.contains("…")), "{shown}");
        assert!(shown.contains("missing") && shown.contains(&format!("/{CLAUDE}\n")), "{shown}");
    }
}

#[test]
fn install_reports_all_places_before_it_stops() {
    let sandbox = repository();
    let [claude, codex] = user_dirs(&sandbox);
    sandbox.succeeds(&["skill", "install"]);
    let edited = [claude.join(CODEX), codex.join(CLAUDE)];
    for place in &edited {
        sandbox.write(place.join("references/creation.md"), "mine");
    }
    fs::remove_dir_all(claude.join(CLAUDE)).unwrap();
    let before = tree(&sandbox.home());
    let stderr = sandbox.run(&["skill", "install"]).code(1).stdout("").stderr_text();
    let want = format!(
        "note: '{}' would be installed\n\
         error: cannot change 2 of 4 places, so nothing was changed\n\
         caused by: '{}': it was edited\n\
         caused by: '{}': it was edited\n\
         hint: add --force to replace what is there and keep a backup\n",
        claude.join(CLAUDE).display(),
        edited[0].display(),
        edited[1].display(),
    );
    assert_eq!(stderr, want);
    assert_eq!(tree(&sandbox.home()), before);
}

#[cfg(unix)]
#[test]
fn install_reports_what_it_changed_before_a_place_failed() {
    let sandbox = repository();
    // the first host's directory cannot be created
    fs::create_dir(sandbox.home().join(".claude")).unwrap();
    std::os::unix::fs::symlink("missing/dir", sandbox.home().join(".claude").join("skills")).unwrap();
    let codex = &user_dirs(&sandbox)[1];
    let failure = sandbox.run(&["skill", "install"]).code(1);
    let installed = |skill: &str| format!("installed: {}\n", codex.join(skill).display());
    assert_eq!(failure.stdout_text(), installed(CLAUDE) + &installed(CODEX));
    let stderr = failure.stderr_text();
    assert!(stderr.starts_with("error: cannot change 2 of 4 places\ncaused by: cannot write the skill '"), "{stderr}");
    assert_eq!(stderr.matches("caused by: ").count(), 2, "{stderr}");
    let failure = sandbox.run(&["skill", "install", "--json", "--skill", CODEX]).code(1);
    assert!(failure.stderr_text().starts_with("error: cannot write the skill '"), "{failure}");
    let report: Value = serde_json::from_str(&failure.stdout_text()).unwrap();
    let actions: Vec<_> = report["skills"].as_array().unwrap().iter().map(|skill| &skill["action"]).collect();
    assert_eq!(actions, ["failed", "unchanged"]);
}

#[test]
fn show_prints_the_texts() {
    let sandbox = repository();
    for skill in BOTH {
        let main = sandbox.succeeds(&["skill", "show", skill]).stdout_text();
        assert!(main.starts_with(&format!("---\nname: {skill}\n")), "{main}");
        let files = fresh(&sandbox, skill);
        for reference in ["creation", "invocation", "listing", "deletion"] {
            let text = sandbox.succeeds(&["skill", "show", skill, reference]).stdout_text();
            assert_eq!(files[Path::new(&format!("references/{reference}.md"))], text.as_bytes());
        }
    }
}

#[test]
fn export_overwrites_only_with_force() {
    let sandbox = repository();
    let place = sandbox.workspace().join("out").join(CODEX);
    sandbox
        .succeeds(&["skill", "export", CODEX, "out"])
        .stdout(format!("written: {}\n", Path::new("out").join(CODEX).display()));
    sandbox.write(place.join("SKILL.md"), "mine");
    sandbox.fails(&["skill", "export", CODEX, "out"], 1, "io");
    assert_eq!(fs::read(place.join("SKILL.md")).unwrap(), b"mine");
    sandbox.succeeds(&["skill", "export", CODEX, "out", "--force"]);
    assert_ne!(fs::read(place.join("SKILL.md")).unwrap(), b"mine");
    let kept = sandbox.workspace().join("out-replaced").join(format!("{CODEX}.1/SKILL.md"));
    assert_eq!(fs::read(kept).unwrap(), b"mine");
}

#[test]
fn shim_replaces_and_restores_an_original_script() {
    let sandbox = repository();
    for (skill, mapping, backend) in
        [(CLAUDE, "claude-code-alias-mapping.json", "claude"), (CODEX, "codex-cli-alias-mapping.json", "codex")]
    {
        let original = format!("#!/usr/bin/env python3\nNAME = '{mapping}'\n");
        let script = sandbox.write(format!("{skill}/scripts/invoke_persist.py"), &original);
        let script = sandbox.workspace().join(script);
        let kept = script.with_extension("py.original");
        sandbox.succeeds(&["skill", "shim", skill]).stdout(contains("now runs this program"));
        let ours = fs::read_to_string(&script).unwrap();
        assert_eq!(ours.as_bytes(), fresh(&sandbox, skill)[Path::new("scripts/invoke_persist.py")]);
        assert!(ours.contains(&format!("\"--backend\", \"{backend}\"")), "{ours}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), original);
        // twice
        sandbox.succeeds(&["skill", "shim", skill]).stdout(contains("already"));
        assert_eq!(fs::read_to_string(&kept).unwrap(), original);
        sandbox.succeeds(&["skill", "shim", skill, "--undo"]);
        assert_eq!(fs::read_to_string(&script).unwrap(), original);
        assert!(!kept.exists());
        sandbox.succeeds(&["skill", "shim", skill, "--undo"]).stdout(contains("nothing was done"));
    }
}

#[test]
fn shim_does_not_change_other_scripts() {
    let sandbox = repository();
    sandbox.fails(&["skill", "shim", "nowhere"], 2, "usage");
    let script = sandbox.workspace().join("s/scripts/invoke_persist.py");
    sandbox.write(&script, "print('claude-code-alias-mapping.json, codex-cli-alias-mapping.json')");
    sandbox.fails(&["skill", "shim", "s"], 2, "usage").hint(contains("--backend"));
    sandbox.succeeds(&["--backend", "codex", "skill", "shim", "s"]);
    sandbox.fails(&["--backend", "claude", "skill", "shim", "s"], 2, "usage");
    // if the original was updated since, both scripts are kept
    sandbox.write(&script, "newer");
    sandbox.fails(&["skill", "shim", "s", "--undo"], 1, "io");
    sandbox.fails(&["--backend", "codex", "skill", "shim", "s"], 1, "io");
    assert_eq!(fs::read(&script).unwrap(), b"newer");
    assert!(script.with_extension("py.original").exists());
}

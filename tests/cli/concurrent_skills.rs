//! Concurrent calls of `skill`: no file of the user is lost, and every call succeeds.

use std::fs;
use std::path::PathBuf;

use assert_cmd::assert::Assert;

use crate::skills::{CLAUDE, fresh, repository, tree};
use crate::support::*;

const ORIGINAL: &str = "#!/usr/bin/env python3\nNAME = 'claude-code-alias-mapping.json'\n";

/// Writes the script of an original skill to `skill/`. Returns its path and the path of its backup.
fn plant_original(sandbox: &Sandbox) -> [PathBuf; 2] {
    let script = sandbox.write("skill/scripts/invoke_persist.py", ORIGINAL);
    let kept = script.with_extension("py.original");
    [script, kept]
}

/// Writes an edited skill to the workspace's `skills/`.
fn plant_edited(sandbox: &Sandbox) {
    sandbox.write(format!("skills/{CLAUDE}/SKILL.md"), "my edit");
}

/// Returns the number of files with the edit.
fn edits(sandbox: &Sandbox) -> usize {
    tree(sandbox.workspace()).values().filter(|content| *content == b"my edit").count()
}

const INSTALL: [&str; 6] = ["skill", "install", "--skill", "claude", "--dir", "skills"];
const FORCED: [&str; 7] = ["skill", "install", "--force", "--skill", "claude", "--dir", "skills"];
const UNINSTALL: [&str; 6] = ["skill", "uninstall", "--skill", "claude", "--dir", "skills"];

/// Runs `count` calls with the same arguments concurrently and checks that all succeed.
fn concurrently(sandbox: &Sandbox, count: usize, arguments: &[&str]) -> Vec<Assert> {
    let running: Vec<Running> = (0..count).map(|_| sandbox.start(arguments)).collect();
    running.into_iter().map(|running| running.wait(std::time::Duration::from_secs(60)).assert.success()).collect()
}

#[test]
fn concurrent_calls_succeed_and_lose_nothing() {
    const ROUNDS: usize = 8;
    let sandbox = repository();
    let fresh = fresh(&sandbox, CLAUDE);
    let place = sandbox.workspace().join("skills").join(CLAUDE);
    let [script, kept] = plant_original(&sandbox);
    for _ in 0..ROUNDS {
        let done = concurrently(&sandbox, 5, &INSTALL);
        assert_eq!(done.iter().filter(|output| output.stdout_text().contains("installed: ")).count(), 1);
        assert_eq!(tree(&place), fresh);
        let done = concurrently(&sandbox, 3, &UNINSTALL);
        assert_eq!(done.iter().filter(|output| output.stdout_text().contains("removed: ")).count(), 1);
        assert!(!place.exists());
        plant_edited(&sandbox);
        concurrently(&sandbox, 5, &FORCED);
        assert_eq!((tree(&place), edits(&sandbox)), (fresh.clone(), 1));
        fs::remove_dir_all(place.with_file_name("../skills-replaced")).unwrap();
        fs::remove_dir_all(&place).unwrap();
        concurrently(&sandbox, 4, &["skill", "shim", "skill"]);
        assert_eq!(fs::read_to_string(&kept).unwrap(), ORIGINAL);
        assert!(fs::read_to_string(&script).unwrap().contains("Runs invoke-persist"));
        concurrently(&sandbox, 3, &["skill", "shim", "--undo", "skill"]);
        assert_eq!((fs::read_to_string(&script).unwrap().as_str(), kept.exists()), (ORIGINAL, false));
    }
    assert_eq!(fs::read_dir(sandbox.workspace().join("skills")).unwrap().count(), 0, "nothing else is left");
    assert_eq!(fs::read_dir(script.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
}

/// A call that is killed between the steps leaves a second hard link to the script.
#[test]
fn shim_completes_after_a_killed_call() {
    let sandbox = repository();
    let [script, kept] = plant_original(&sandbox);
    fs::hard_link(&script, &kept).unwrap();
    sandbox.succeeds(&["skill", "shim", "skill"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), ORIGINAL);
    assert!(fs::read_to_string(&script).unwrap().contains("Runs invoke-persist"));
}

#[cfg(unix)]
#[test]
fn symlink_to_the_script_does_not_count_as_its_backup() {
    let sandbox = repository();
    let [script, kept] = plant_original(&sandbox);
    std::os::unix::fs::symlink(&script, &kept).unwrap();
    sandbox.fails(&["skill", "shim", "skill"], 1, "io").message(contains("already exists"));
    assert_eq!(fs::read_to_string(&script).unwrap(), ORIGINAL);
}

#[cfg(target_os = "linux")]
mod slowed {
    use std::path::Path;
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Returns the program with these faults in its system calls.
    fn with_faults(sandbox: &Sandbox, faults: &[&str], arguments: &[&str]) -> Command {
        let mut command = sandbox.cmd_of(Path::new("strace"), &["-qq", "-f", "-o", "/dev/null"]);
        let program = sandbox.cmd(arguments);
        command.args(faults).arg("--").arg(program.get_program()).args(program.get_args());
        command
    }

    /// Starts `slow`, and runs `fast` while a system call of `slow` is delayed.
    fn during(slow: &mut Command, fast: &mut Command) {
        let slow = slow.start();
        thread::sleep(Duration::from_millis(500)); // a third of the delay
        fast.run().success();
        slow.wait(Duration::from_secs(60)).assert.success();
    }

    #[test]
    #[ignore = "needs strace"]
    fn second_shim_during_the_first_keeps_the_original() {
        const NO_LINKS: [&str; 2] = ["-e", "inject=?link,linkat:error=EPERM"];
        let kept_of = |sandbox: &Sandbox| sandbox.workspace().join("skill/scripts/invoke_persist.py.original");
        let link = ["-e", "inject=?link,linkat:delay_enter=1500000"];
        let rename = ["-e", "inject=?rename,renameat,renameat2:delay_enter=1500000"];
        for faults in [&link[..], &rename[..], &[]] {
            let sandbox = repository();
            let [script, kept] = plant_original(&sandbox);
            let arguments = ["skill", "shim", "skill"];
            if faults.is_empty() {
                let kept = kept_of(&sandbox);
                let copy = ["-e", "inject=openat:delay_exit=1500000", "-P", kept.to_str().unwrap()];
                // the fault for links applies only to the traced path, which is that of the copy
                let copied = ["-e", "inject=?link,linkat:error=EPERM"];
                let mut slow = with_faults(&sandbox, &[&copy[..], &copied[..]].concat(), &arguments);
                during(&mut slow, &mut with_faults(&sandbox, &NO_LINKS, &arguments));
            } else {
                during(&mut with_faults(&sandbox, faults, &arguments), &mut sandbox.cmd(&arguments));
            }
            assert_eq!(fs::read_to_string(&kept).unwrap(), ORIGINAL, "{faults:?}");
            assert!(fs::read_to_string(&script).unwrap().contains("Runs invoke-persist"), "{faults:?}");
        }
    }

    #[test]
    #[ignore = "needs strace"]
    fn second_forced_install_during_the_first_keeps_the_edit() {
        for call in ["mkdir", "?rename,renameat,renameat2"] {
            let sandbox = repository();
            plant_edited(&sandbox);
            let kept = sandbox.workspace().join("skills-replaced").join(format!("{CLAUDE}.1"));
            let inject = format!("inject={call}:delay_enter=1500000");
            let faults = ["-P", kept.to_str().unwrap(), "-e", &inject];
            during(&mut with_faults(&sandbox, &faults, &FORCED), &mut sandbox.cmd(&FORCED));
            assert_eq!(edits(&sandbox), 1, "{call}");
            assert_eq!(tree(&sandbox.workspace().join("skills").join(CLAUDE)), fresh(&sandbox, CLAUDE), "{call}");
        }
    }

    /// A rename does not work across the boundary of the file system that is mounted on the skills directory.
    #[test]
    #[ignore = "needs root"]
    fn skills_directory_may_be_a_mount_point() {
        let sandbox = repository();
        let skills = sandbox.temp();
        let disk = Disk::mount(&sandbox);
        let run = |arguments: &[&str]| {
            let place = ["--skill", "claude", "--dir", skills.to_str().unwrap()];
            disk.cmd(&[&["skill"], arguments, &place].concat()).run().success()
        };
        let place = disk.seen(&skills).join(CLAUDE);
        let kept = disk.seen(&skills).join(".replaced");
        run(&["install"]);
        assert_eq!(tree(&place), fresh(&sandbox, CLAUDE));
        fs::write(place.join("SKILL.md"), "my edit").unwrap();
        let output = run(&["install", "--force"]).stdout_text();
        assert!(output.contains(&format!(".replaced/{CLAUDE}.1\n")), "{output}");
        let outside = sandbox.root().join("tmp-replaced");
        assert!(!outside.exists(), "nothing is left on the other file system");
        assert_eq!(tree(&place), fresh(&sandbox, CLAUDE));
        assert_eq!(fs::read_to_string(kept.join(format!("{CLAUDE}.1/SKILL.md"))).unwrap(), "my edit");
        fs::remove_dir_all(&place).unwrap();
        fs::write(&place, "my file").unwrap();
        run(&["uninstall", "--force"]);
        assert_eq!(fs::read_to_string(kept.join(format!("{CLAUDE}.2"))).unwrap(), "my file");
        run(&["install"]);
        run(&["uninstall"]);
        let left: Vec<_> = fs::read_dir(disk.seen(&skills)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".replaced"]);
        assert!(!outside.exists(), "nothing is left on the other file system");
    }
}

#[cfg(unix)]
#[test]
fn replaced_files_are_kept_in_the_skills_directory_if_its_parent_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = repository();
    plant_edited(&sandbox);
    let set_mode = |mode| fs::set_permissions(sandbox.workspace(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let output = bound_by_permissions(|| sandbox.run(&FORCED));
    set_mode(0o755);
    output.success();
    let kept = sandbox.workspace().join("skills/.replaced").join(format!("{CLAUDE}.1/SKILL.md"));
    assert_eq!(fs::read_to_string(kept).unwrap(), "my edit");
}

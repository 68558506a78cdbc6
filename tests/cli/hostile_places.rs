//! Locations that cannot be written or read, contain something else, or belong to another user. The error has a hint,
//! existing files are unchanged, and a completed turn is never lost (contract sections 3 and 9).
//!
//! Permissions do not restrict root, who may run these tests: see [`bound_by_permissions`].

#![cfg(unix)] // owners, modes, links and pipes of Unix

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use assert_cmd::assert::Assert;
use serde_json::json;

use crate::support::*;

const LIMIT: Duration = Duration::from_secs(60);

/// Commands that read the mapping by name.
const READING: [&[&str]; 2] = [&["list-sessions"], &["resolve", "--session-name", "a"]];

/// Commands that change the mapping without a turn.
const CHANGING: [&[&str]; 3] = [
    &["create-session", "--session-name", "b", "--adopt", "j"],
    &["rename-session", "--session-name", "a", "--to", "b"],
    &["delete-session", "--session-name", "a"],
];

/// Commands that run a turn.
const RUNNING: [&[&str]; 4] = [
    &["create-session", "--session-name", "b"],
    &["resume-json", "--session-name", "a", "--prompt", "p"],
    &["resume-stream", "--session-name", "a", "--prompt", "p"],
    &["resume-json", "--session-name", "b", "--prompt", "p", "--if-missing", "create"],
];

/// Returns the output of each of these commands.
fn answer_of(args: &[&str]) -> &'static str {
    if args[0] == "create-session" { "i\n" } else { "OK" }
}

fn of<'a>(backend: Backend, args: &[&'a str]) -> Vec<&'a str> {
    [&["--error-format", "json", "--backend", backend.name()], args].concat()
}

/// Mode, owner, size and content.
type Found = (u32, u32, u64, Vec<u8>);

/// Returns everything at and below a path: only the size of large files, and the targets of links.
fn snapshot(path: &Path) -> BTreeMap<PathBuf, Found> {
    let mut all = BTreeMap::new();
    let Ok(metadata) = fs::symlink_metadata(path) else { return all };
    let content = if metadata.is_symlink() {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else if metadata.is_file() && metadata.len() < 1 << 20 {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    all.insert(path.to_owned(), (metadata.mode(), metadata.uid(), size, content));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            all.extend(snapshot(&entry.unwrap().path()));
        }
    }
    all
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns a sandbox with the name `a` for the session `i`, and a mapping of 100 KB.
fn with_large_mapping(backend: Backend) -> Sandbox {
    let sandbox = with_session(backend);
    let entry = |name: String| (name, json!({backend.id_key(): "x", "created_at": "2026-11-20T23:11:42+00:00"}));
    let mut aliases: serde_json::Map<_, _> = (0..1000).map(|number| entry(format!("name-{number}"))).collect();
    aliases.insert("a".to_owned(), json!({backend.id_key(): "i"}));
    sandbox.write_mapping(backend, json!({"aliases": aliases}).to_string());
    sandbox
}

fn with_session(backend: Backend) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.save(backend, "a", "i");
    sandbox.agent(backend.answers("i", "OK"));
    sandbox
}

/// Checks that changes fail with a hint, that turns succeed with a warning, and that the mapping at `file` stays.
fn assert_nothing_is_lost(backend: Backend, sandbox: &Sandbox, file: &Path, run: &dyn Fn(&[&str]) -> Assert) {
    let dir = file.parent().unwrap();
    let before = snapshot(dir);
    assert_eq!(before.len(), 2, "the directory and the mapping");
    for args in CHANGING {
        run(&of(backend, args)).failed(6, "mapping_unwritable").hint(contains("--mapping-file")).before_the_turn();
        assert_eq!(snapshot(dir), before, "{args:?}: no temp file is left, and the old file is complete");
    }
    assert!(sandbox.calls().is_empty());
    for (number, args) in (1..).zip(RUNNING) {
        run(&of(backend, &[args, &["--model", "m"]].concat()))
            .success()
            .stderr(contains("warning: ").and(contains("cannot write")))
            .stdout(contains(answer_of(args)));
        assert_eq!(sandbox.calls().len(), number, "{args:?}");
        assert_eq!(snapshot(dir), before, "{args:?}: no temp file is left, and the old file is complete");
    }
    let create = ["create-session", "--session-name", "b", "--print-mapping-json"];
    let output = run(&of(backend, &create)).success();
    assert_eq!(
        (&output.json()["mapping_file_written"], &output.json()[backend.id_key()]),
        (&false.into(), &"i".into())
    );
    output.stderr(contains("--adopt=i"));
    for args in READING {
        run(&of(backend, args)).success();
    }
}

#[test]
fn mapping_stays_if_the_new_one_exceeds_the_file_size_limit() {
    // a limit of the file size, in blocks of 512 bytes, simulates a full disk without root
    const WITH_LIMIT: &str = "ulimit -f 64; exec \"$@\"";
    for backend in Backend::BOTH {
        let sandbox = with_large_mapping(backend);
        let run = |args: &[&str]| {
            let program = sandbox.cmd(args);
            let mut command = Command::new("/bin/sh");
            command.args(["-c", WITH_LIMIT, "sh"]).arg(program.get_program()).args(program.get_args());
            command.current_dir(sandbox.workspace()).env_clear().envs(sandbox.variables()).run()
        };
        assert_nothing_is_lost(backend, &sandbox, &sandbox.mapping_path(backend), &run);
    }
}

#[test]
fn read_only_directory_is_reported_before_a_turn() {
    let sandbox = with_session(Backend::Claude);
    let file = sandbox.mapping_path(Backend::Claude);
    set_mode(file.parent().unwrap(), 0o500);
    bound_by_permissions(|| assert_unwritable(&sandbox, &file, &|args| sandbox.run(args)));
    set_mode(file.parent().unwrap(), 0o700);
}

/// Checks that no turn runs for a name that cannot be saved, and that existing sessions and the mapping can be used.
fn assert_unwritable(sandbox: &Sandbox, file: &Path, run: &dyn Fn(&[&str]) -> Assert) {
    let before = snapshot(file.parent().unwrap());
    for args in CHANGING.into_iter().chain([RUNNING[0], RUNNING[3]]) {
        run(&of(Backend::Claude, args))
            .failed(6, "mapping_unwritable")
            .hint(contains("--mapping-file"))
            .before_the_turn();
    }
    assert!(sandbox.calls().is_empty());
    for args in READING {
        run(&of(Backend::Claude, args)).success().stderr("");
    }
    for args in &RUNNING[1..3] {
        run(&of(Backend::Claude, &[args, &["--model", "m"][..]].concat()))
            .success()
            .stdout(contains("OK"))
            .stderr(contains("warning: "));
    }
    assert_eq!(snapshot(file.parent().unwrap()), before);
}

/// Checks that every call that needs the mapping fails with this kind and a hint before the agent runs. The sandbox's
/// temp directory must not change. A call with an ID needs no mapping, but prints the fault as a warning.
fn assert_refused(sandbox: &Sandbox, kind: &str, hint: &str) {
    let before = snapshot(&sandbox.temp());
    for args in READING.into_iter().chain(CHANGING).chain(RUNNING) {
        sandbox.run(&of(Backend::Claude, args)).failed(6, kind).hint(contains(hint)).before_the_turn();
    }
    assert!(sandbox.calls().is_empty(), "no turn runs");
    sandbox.run(&of(Backend::Claude, &["resolve", "--session-id", "i"])).success().stderr(starts_with("warning: "));
    sandbox
        .run(&of(Backend::Claude, &["resume-json", "--session-id", "i", "--prompt", "p"]))
        .success()
        .stderr(starts_with("warning: "))
        .stdout(contains("OK"));
    assert_eq!(snapshot(&sandbox.temp()), before);
}

/// Replaces a file with something else.
type Lay = fn(&Path);

/// Objects at the mapping's path that are not mappings.
const NO_MAPPINGS: [(&str, Lay); 4] = [
    ("a directory", |file| fs::create_dir(file).unwrap()),
    ("a pipe", |file| {
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        set_mode(file, 0o600);
    }),
    ("a file with a hole of 100 MB", |file| {
        fs::File::create(file).unwrap().set_len(100 << 20).unwrap();
        set_mode(file, 0o600);
    }),
    ("10,000 levels", |file| {
        fs::write(file, format!("{{\"aliases\": {{}}, \"x\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000))).unwrap();
        set_mode(file, 0o600);
    }),
];

#[test]
fn objects_that_are_not_mappings_are_refused_and_kept() {
    for (what, lay) in NO_MAPPINGS {
        println!("{what}");
        let sandbox = with_session(Backend::Claude);
        let file = sandbox.mapping_path(Backend::Claude);
        fs::remove_file(&file).unwrap();
        lay(&file);
        assert_refused(&sandbox, "mapping_unreadable", "--mapping-file");
    }
}

#[test]
fn unreadable_file_is_refused_and_kept() {
    let sandbox = with_session(Backend::Claude);
    let file = sandbox.mapping_path(Backend::Claude);
    set_mode(&file, 0o000);
    bound_by_permissions(|| assert_refused(&sandbox, "mapping_unreadable", "--mapping-file"));
    set_mode(&file, 0o600);
    assert!(sandbox.mapping(Backend::Claude).contains("\"i\""));
}

#[test]
fn obstacle_that_appears_during_a_turn_does_not_lose_the_answer() {
    for (what, lay) in NO_MAPPINGS {
        assert_answer_survives(what, &|sandbox| {
            let file = sandbox.mapping_path(Backend::Claude);
            fs::remove_file(&file).unwrap();
            lay(&file);
        });
    }
    assert_answer_survives("a link to a file", &|sandbox| {
        let file = sandbox.mapping_path(Backend::Claude);
        fs::rename(&file, sandbox.temp().join("target")).unwrap();
        symlink(sandbox.temp().join("target"), &file).unwrap();
    });
    assert_answer_survives("a link to a directory", &|sandbox| {
        let dir = sandbox.mapping_path(Backend::Claude).parent().unwrap().to_owned();
        fs::rename(&dir, sandbox.temp().join("target")).unwrap();
        symlink(sandbox.temp().join("target"), &dir).unwrap();
    });
    assert_answer_survives("a directory with access for everyone", &|sandbox| {
        set_mode(sandbox.mapping_path(Backend::Claude).parent().unwrap(), 0o777);
    });
}

/// Replaces the mapping with an obstacle while the agent runs. The answer is printed with a warning, and the
/// obstacle stays.
fn assert_answer_survives(what: &str, spoil: &dyn Fn(&Sandbox)) {
    for args in RUNNING {
        let sandbox = with_session(Backend::Claude);
        let answer = Backend::Claude.answers("i", "OK");
        sandbox.agent(answer.after([Step::create("up"), Step::wait_for("go")]));
        let running = sandbox.start(&of(Backend::Claude, &[args, &["--model", "m"]].concat()));
        wait_until(LIMIT, || sandbox.has_reached("up"));
        spoil(&sandbox);
        let before = snapshot(&sandbox.temp());
        sandbox.allow("go");
        running.wait(LIMIT).assert.success().stdout(contains(answer_of(args))).stderr(contains("warning: "));
        assert_eq!(snapshot(&sandbox.temp()), before, "{what}: {args:?}");
    }
}

#[test]
fn mapping_does_not_grow_beyond_the_readable_size() {
    // 1 MB when read, but larger than the readable size when written with each number on an indented line
    let numbers = "0,".repeat(600_000) + "0";
    let numbers = "[".repeat(60) + &numbers + &"]".repeat(60);
    let text = format!("{{\"aliases\": {{\"a\": {{\"session_id\": \"i\"}}}}, \"mine\": {numbers}}}");
    let sandbox = with_session(Backend::Claude);
    sandbox.write_mapping(Backend::Claude, &text);
    sandbox
        .run(&of(Backend::Claude, CHANGING[1]))
        .failed(6, "mapping_unwritable")
        .message(contains("64 MiB"))
        .hint(contains("--mapping-file"));
    sandbox
        .run(&of(Backend::Claude, &[RUNNING[1], &["--model", "m"]].concat()))
        .success()
        .stderr(starts_with("warning: "))
        .stdout(contains("OK"));
    assert!(sandbox.mapping(Backend::Claude) == text, "the old file is unchanged");
    sandbox.succeeds(&["--backend", "claude", "resolve", "--session-name", "a"]);
}

#[test]
fn mapping_of_64_mib_is_read_and_a_larger_one_is_not() {
    let sandbox = with_session(Backend::Claude);
    let file = fs::File::options().write(true).open(sandbox.mapping_path(Backend::Claude)).unwrap();
    for (size, kind) in [(64 << 20, "mapping_invalid"), ((64 << 20) + 1, "mapping_unreadable")] {
        file.set_len(size).unwrap(); // a hole, which is not JSON
        sandbox.fails(&["--backend", "claude", "resolve", "--session-name", "a"], 6, kind);
    }
}

#[test]
fn planted_symlinks_are_not_followed() {
    let file = |sandbox: &Sandbox| sandbox.mapping_path(Backend::Claude);
    let dir = |sandbox: &Sandbox| file(sandbox).parent().unwrap().to_owned();
    let shared = |sandbox: &Sandbox| dir(sandbox).parent().unwrap().to_owned();
    let places: [&dyn Fn(&Sandbox) -> PathBuf; 3] = [&file, &dir, &shared];
    for place in places {
        // to the old content in the temp directory, to detect changes
        let sandbox = with_session(Backend::Claude);
        fs::rename(place(&sandbox), sandbox.temp().join("target")).unwrap();
        symlink("target", sandbox.temp().join("same")).unwrap();
        symlink(sandbox.temp().join("same"), place(&sandbox)).unwrap();
        assert_refused(&sandbox, "mapping_unsafe", "INVOKE_PERSIST_DIR");
        // to a missing path: nothing may be created there
        let sandbox = with_session(Backend::Claude);
        fs::rename(place(&sandbox), sandbox.root().join("aside")).unwrap();
        symlink(sandbox.temp().join("nowhere"), place(&sandbox)).unwrap();
        assert_refused(&sandbox, "mapping_unsafe", "INVOKE_PERSIST_DIR");
    }
}

/// Tests that need root. `.ci/run` runs them as root.
mod as_root {
    use super::*;

    /// Copies the sandbox's mapping to its disk.
    #[cfg(target_os = "linux")]
    fn copy_to_disk(sandbox: &Sandbox, disk: &Disk<'_>) -> PathBuf {
        let file = sandbox.mapping_path(Backend::Claude);
        let seen = disk.seen(&file);
        fs::create_dir_all(seen.parent().unwrap()).unwrap();
        fs::copy(&file, &seen).unwrap();
        set_mode(seen.parent().unwrap(), 0o700);
        set_mode(seen.parent().unwrap().parent().unwrap(), 0o1777);
        seen
    }

    #[test]
    #[ignore = "needs root"]
    #[cfg(target_os = "linux")] // mount namespaces
    fn full_disk_loses_nothing() {
        let backend = Backend::Claude; // codex needs another file besides the mapping, which does not fit either
        let sandbox = with_large_mapping(backend);
        let disk = Disk::mount(&sandbox);
        let file = copy_to_disk(&sandbox, &disk);
        disk.fill();
        assert_nothing_is_lost(backend, &sandbox, &file, &|args| disk.cmd(args).run());
    }

    #[test]
    #[ignore = "needs root"]
    #[cfg(target_os = "linux")] // mount namespaces
    fn read_only_disk_is_reported_before_a_turn() {
        let mut sandbox = with_session(Backend::Claude);
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.temp()); // another temp directory would be selected otherwise
        let disk = Disk::mount(&sandbox);
        let file = copy_to_disk(&sandbox, &disk);
        disk.make_read_only();
        assert_unwritable(&sandbox, &file, &|args| disk.cmd(args).run());
    }

    fn give_away(path: &Path) {
        std::os::unix::fs::chown(path, Some(65534), None).expect("root can give a file to another user");
    }

    /// Returns the path of the mapping, its directory, or the shared directory.
    fn ancestor(sandbox: &Sandbox, up: usize) -> PathBuf {
        sandbox.mapping_path(Backend::Claude).ancestors().nth(up).unwrap().to_owned()
    }

    #[test]
    #[ignore = "needs root"]
    fn files_of_another_user_are_refused() {
        for up in 0..3 {
            let sandbox = with_session(Backend::Claude);
            if up == 2 {
                set_mode(&ancestor(&sandbox, up), 0o755);
            }
            give_away(&ancestor(&sandbox, up));
            assert_refused(&sandbox, "mapping_unsafe", "INVOKE_PERSIST_DIR");
        }
        // the same if the file cannot even be opened
        let sandbox = with_session(Backend::Claude);
        give_away(&ancestor(&sandbox, 0));
        bound_by_permissions(|| assert_refused(&sandbox, "mapping_unsafe", "INVOKE_PERSIST_DIR"));
    }

    #[test]
    #[ignore = "needs root"]
    fn sticky_shared_directory_of_another_user_is_accepted() {
        let sandbox = with_session(Backend::Claude);
        give_away(&ancestor(&sandbox, 2));
        sandbox.save(Backend::Claude, "b", "j");
        sandbox.succeeds(&["--backend", "claude", "resolve", "--session-name", "b"]);
    }
}

/// Creates a link of this owner in a sticky directory with write access for everyone.
fn plant(sandbox: &Sandbox, target: &str, owner: u32) -> PathBuf {
    let shared = sandbox.root().join("shared");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    let link = shared.join("planted");
    symlink(sandbox.root().join(target), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(owner), None).unwrap();
    link
}

#[test]
#[ignore = "needs root"]
fn mapping_file_at_a_planted_link_is_refused() {
    const PRECIOUS: &str = "{\"aliases\": {\"a\": {\"session_id\": \"i\"}}}";
    for below in ["", "m.json"] {
        let sandbox = with_session(Backend::Claude);
        let file = sandbox.write(sandbox.root().join("precious/m.json"), PRECIOUS);
        let link = plant(&sandbox, if below.is_empty() { "precious/m.json" } else { "precious" }, 65534);
        let named = if below.is_empty() { link.clone() } else { link.join(below) };
        let named = ["--mapping-file", named.to_str().unwrap()];
        for args in READING.into_iter().chain(CHANGING).chain(RUNNING) {
            sandbox
                .run(&of(Backend::Claude, &[args, &named].concat()))
                .failed(6, "mapping_unsafe")
                .message(contains("belongs to user 65534"));
        }
        assert!(sandbox.calls().is_empty(), "no turn runs");
        assert_eq!(fs::read_to_string(&file).unwrap(), PRECIOUS);
        // links of the directory's owner, of the caller, and outside such a directory are followed
        std::os::unix::fs::chown(link.parent().unwrap(), Some(65534), None).unwrap();
        sandbox.succeeds(&of(Backend::Claude, &[READING[1], &named].concat()));
        std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
        sandbox.succeeds(&of(Backend::Claude, &[READING[1], &named].concat()));
        std::os::unix::fs::lchown(&link, Some(65533), None).unwrap();
        sandbox.fails(&of(Backend::Claude, &[READING[1], &named].concat())[2..], 6, "mapping_unsafe");
        set_mode(link.parent().unwrap(), 0o755);
        sandbox.succeeds(&of(Backend::Claude, &[READING[1], &named].concat()));
    }
}

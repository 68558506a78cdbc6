//! The mapping file: past formats, and content that is kept or refused (contract sections 3 and 9).

use serde_json::{Value, json};

use crate::support::*;

const ID: &str = "0f12c83d-d554-4369-b6d8-9fed035c432c";

#[test]
fn every_past_format_is_read() {
    for (file, model) in [
        (include_str!("frozen/claude.json"), Some("sonnet")),
        (include_str!("frozen/ids-alone.json"), None),
        (include_str!("frozen/older-entries.json"), Some("sonnet")),
        (include_str!("frozen/older-ids-alone.json"), None),
        (include_str!("frozen/foreign.json"), None),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write_mapping(Backend::Claude, file);
        let resolved = sandbox.succeeds(&["--backend", "claude", "resolve", "--session-name", "review-src"]).json();
        assert_eq!((&resolved["session_id"], &resolved["last_model"]), (&ID.into(), &model.into()), "{file}");
        assert_eq!(sandbox.mapping(Backend::Claude), file, "reading changes nothing");
    }
    let sandbox = Sandbox::new();
    sandbox.write_mapping(Backend::Codex, include_str!("frozen/codex.json"));
    let resolved = sandbox.succeeds(&["--backend", "codex", "resolve", "--session-name", "review-src"]).json();
    assert_eq!(
        (&resolved["thread_id"], &resolved["last_model"]),
        (&"01a1fbcf-26f1-7251-a3d0-b644aaf2dc59".into(), &"gpt-5".into())
    );
}

#[test]
fn mappings_of_the_original_round_trip_byte_for_byte() {
    for (backend, file) in [
        (Backend::Claude, include_str!("frozen/claude.json")),
        (Backend::Codex, include_str!("frozen/codex.json")),
        (Backend::Claude, include_str!("frozen/foreign.json")),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write_mapping(backend, file);
        let there_and_back = [["review-src", "zz"], ["zz", "review-src"]];
        for [from, to] in there_and_back {
            sandbox.succeeds(&["--backend", backend.name(), "rename-session", "--session-name", from, "--to", to]);
        }
        assert_eq!(sandbox.mapping(backend), file);
    }
}

#[test]
fn writing_upgrades_an_older_file() {
    let sandbox = Sandbox::new();
    sandbox.write_mapping(Backend::Claude, include_str!("frozen/older-entries.json"));
    sandbox.save(Backend::Claude, "new", "i");
    let mut mapping: Value = serde_json::from_str(&sandbox.mapping(Backend::Claude)).unwrap();
    assert!(mapping["aliases"]["new"]["created_at"].take().is_string());
    let want = json!({
        "aliases": {"new": {"created_at": null, "session_id": "i"}, "review-src": {"session_id": ID, "last_model": "sonnet"}},
        "workspace_dir": sandbox.workspace(),
    });
    assert_eq!(mapping, want);
}

#[test]
fn writers_move_a_broken_file_aside_and_readers_refuse_it() {
    for backend in Backend::BOTH {
        let sandbox = Sandbox::new();
        let broken = ["{oops", "[1, 2]", "", "7", "\u{feff}{}", "{\"aliases\": {}} x"];
        for (number, text) in (1..).zip(broken) {
            let path = sandbox.write_mapping(backend, text);
            let call =
                |args: &[&str]| sandbox.run(&[&["--error-format", "json", "--backend", backend.name()], args].concat());
            for args in [
                &["list-sessions"][..],
                &["resolve", "--session-name", "a"],
                &["rename-session", "--session-name", "a", "--to", "b"],
                &["resume-json", "--session-name", "a", "--prompt", "p"],
            ] {
                call(args).failed(6, "mapping_invalid");
            }
            assert_eq!(sandbox.mapping(backend), text, "the file is not moved");
            // an ID does not need a mapping
            call(&["resolve", "--session-id", "i"]).success().stderr(starts_with("warning: "));
            call(&["create-session", "--session-name", "a", "--adopt", "i"])
                .success()
                .stderr(starts_with("warning: ").and(contains(".bad.")));
            assert_eq!(call(&["list-sessions"]).success().json()["alias_count"], 1);
            let aside = std::fs::read_dir(path.parent().unwrap()).unwrap().count() - 1;
            assert_eq!(aside, number, "no backup replaces another one");
            std::fs::remove_file(path).unwrap();
        }
        assert!(sandbox.calls().is_empty());
    }
}

#[test]
fn unsupported_mapping_is_refused_and_kept() {
    let text = "{\"aliases\": {\"\\ud800\": \"i\"}}"; // a lone surrogate
    let sandbox = Sandbox::new();
    sandbox.write_mapping(Backend::Claude, text);
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    for args in [
        &["list-sessions"][..],
        &["resolve", "--session-name", "a"],
        &["create-session", "--session-name", "a"], // refused before the agent runs
        &["create-session", "--session-name", "a", "--adopt", "i"],
        &["delete-session", "--session-name", "a"],
    ] {
        sandbox.fails(&[&["--backend", "claude"], args].concat(), 6, "mapping_unreadable");
    }
    assert_eq!(sandbox.mapping(Backend::Claude), text);
    assert!(sandbox.calls().is_empty());
}

/// Takes the program's lock for changes of the mapping in `dir`.
#[cfg(target_os = "linux")] // other systems keep locks in other places
fn lock_of(dir: &std::path::Path) -> std::fs::File {
    let parts = ["folder", dir.to_str().unwrap()];
    let key = md5_hex(parts.map(|part| [&(part.len() as u64).to_le_bytes(), part.as_bytes()].concat()));
    let locks = format!("/tmp/invoke-persist-{}", rustix::process::geteuid().as_raw());
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).open(format!("{locks}/{key}")).unwrap();
    file.lock().unwrap();
    std::io::Write::write_all(&mut &file, b"4242").unwrap();
    file
}

#[test]
#[cfg(target_os = "linux")]
fn waiting_for_a_locked_mapping_times_out() {
    let sandbox = Sandbox::new();
    sandbox.save(Backend::Claude, "a", "i");
    let before = sandbox.mapping(Backend::Claude);
    let file = sandbox.mapping_path(Backend::Claude);
    let held = lock_of(file.parent().unwrap());
    let create =
        ["--backend", "claude", "create-session", "--session-name", "b", "--adopt", "i", "--deadline-seconds", "1"];
    let output = sandbox.run(&[&["--error-format", "json"], &create[..]].concat());
    let note = format!("note: waiting for the mapping '{}', locked by process 4242\n", file.display());
    output.failed(6, "mapping_unwritable").message(ends_with("timed out waiting for process 4242 to release it"));
    output.stderr(starts_with(note));
    assert_eq!(sandbox.mapping(Backend::Claude), before);
    // reading does not wait
    sandbox.succeeds(&["resolve", "--session-name", "a"]);
    drop(held);
    sandbox.succeeds(&create);
}

/// Without the signal, the wait for a mapping is longer than the time between the signals of `docker stop`.
#[test]
#[cfg(target_os = "linux")]
fn signal_while_a_first_turn_waits_for_the_mapping_prints_the_answer() {
    let limit = std::time::Duration::from_secs(20); // less than the 30 seconds that a call waits for the mapping
    for (call, answer) in [
        (&["create-session", "--session-name", "n"][..], "new"),
        (&["resume-json", "--session-name", "n", "--if-missing", "create", "--prompt", "p"], "OK"),
        (&["resume-json", "--session-name", "a", "--prompt", "p", "--model", "m"], "OK"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let id = if call.contains(&"n") { "new" } else { "i" };
        sandbox.agent(Backend::Claude.answers(id, "OK"));
        let dir = sandbox.mapping_path(Backend::Claude).parent().unwrap().to_owned();
        let _held = lock_of(&dir);
        let running = sandbox.start(&[&["--backend", "claude", "--error-format", "json"], call].concat());
        wait_until(limit, || running.stderr_so_far().contains("waiting for the mapping"));
        running.signal(rustix::process::Signal::TERM);
        let output = running.wait(limit).assert;
        output.failed(143, "interrupted").after_the_turn();
        let output = output.stdout(contains(answer));
        if id == "new" {
            output.stderr(contains("--session-name=n --adopt=new"));
        }
    }
}

#[cfg(unix)] // owners, modes and links of Unix
mod unix {
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use crate::support::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    const CREATE: [&str; 6] = ["--backend", "claude", "create-session", "--session-name", "a", "--adopt"];

    #[test]
    fn directories_and_files_are_private() {
        let mut sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let file = sandbox.mapping_path(Backend::Claude);
        let dir = file.parent().unwrap();
        assert_eq!((mode(&file), mode(dir), mode(dir.parent().unwrap())), (0o600, 0o700, 0o1777));
        // files of the original are accepted, and the next write restricts their permissions
        set_mode(&file, 0o664);
        set_mode(dir, 0o775);
        sandbox.succeeds(&["--backend", "claude", "resolve", "--session-name", "a"]);
        assert_eq!(mode(&file), 0o664);
        sandbox.save(Backend::Claude, "a", "j");
        assert_eq!((mode(&file), mode(dir)), (0o600, 0o700));
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("mine"));
        sandbox.save(Backend::Claude, "a", "i");
        assert_eq!(mode(&sandbox.root().join("mine/agent-sessions")), 0o700);
    }

    #[test]
    fn explicit_file_keeps_its_mode_and_symlinks() {
        let sandbox = Sandbox::new();
        let file = sandbox.write("real/m.json", "{}");
        set_mode(&file, 0o640);
        symlink("real/m.json", sandbox.workspace().join("link.json")).unwrap();
        sandbox.succeeds(&[&CREATE[..], &["i", "--mapping-file", "link.json"]].concat());
        assert_eq!(mode(&file), 0o640);
        assert!(fs::read_to_string(&file).unwrap().contains("\"i\""));
        assert!(fs::symlink_metadata(sandbox.workspace().join("link.json")).unwrap().is_symlink());
        // the named link is removed, not its target
        let removed =
            sandbox.succeeds(&["--backend", "claude", "delete-all-sessions", "--mapping-file", "link.json"]).json();
        assert_eq!(removed["mapping_file_deleted"], true);
        assert!(file.exists() && !sandbox.workspace().join("link.json").exists());
        // a new file is private
        sandbox.succeeds(&[&CREATE[..], &["i", "--mapping-file", "new/m.json"]].concat());
        assert_eq!(mode(&sandbox.workspace().join("new/m.json")), 0o600);
    }

    #[test]
    fn loose_modes_in_the_default_location_are_refused() {
        let refuse = |arrange: &dyn Fn(&Sandbox)| {
            let sandbox = Sandbox::new();
            sandbox.save(Backend::Claude, "a", "i");
            sandbox.agent(Backend::Claude.answers("i", "OK"));
            arrange(&sandbox);
            for args in [
                &["--backend", "claude", "list-sessions"][..],
                &["--backend", "claude", "resolve", "--session-name", "a"],
                &["--backend", "claude", "create-session", "--session-name", "a"],
                &["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", "p"],
                &["--backend", "claude", "delete-session", "--session-name", "a"],
                &[&CREATE[..], &["j"]].concat(),
            ] {
                sandbox.fails(args, 6, "mapping_unsafe").hint(contains("INVOKE_PERSIST_DIR"));
            }
            assert!(sandbox.calls().is_empty(), "no turn runs");
        };
        let file = |sandbox: &Sandbox| sandbox.mapping_path(Backend::Claude);
        let directory = |sandbox: &Sandbox| file(sandbox).parent().unwrap().to_owned();
        // write access for everyone
        refuse(&|sandbox| set_mode(&file(sandbox), 0o666));
        refuse(&|sandbox| set_mode(&directory(sandbox), 0o1777));
        refuse(&|sandbox| set_mode(directory(sandbox).parent().unwrap(), 0o777));
        // a file instead of the directory
        refuse(&|sandbox| {
            fs::rename(directory(sandbox), sandbox.root().join("aside")).unwrap();
            fs::write(directory(sandbox), "").unwrap();
        });
    }

    #[test]
    fn next_write_removes_files_of_crashed_writers() {
        let sandbox = Sandbox::new();
        sandbox.save(Backend::Claude, "a", "i");
        let file = sandbox.mapping_path(Backend::Claude);
        let beside = |suffix: &str| file.with_file_name(format!("claude-code-alias-mapping.json.tmp.{suffix}"));
        let make = |suffix: &str, age: u64| {
            let made = fs::File::create(beside(suffix)).unwrap();
            made.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            made
        };
        drop((make("0123456789abcdef", 1), make("4194305", 4000), make("fedcba9876543210", 4000)));
        // the file of another writer, perhaps in another container, and files that are not temporary
        let written = make("00000000000000ff", 1);
        written.try_lock().unwrap();
        drop((make("7", 1), make(&std::process::id().to_string(), 1), make("x", 4000), make("cafe", 4000)));
        symlink(&file, beside("0000000000000000")).unwrap();
        sandbox.save(Backend::Claude, "b", "j");
        let left = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: BTreeSet<_> = left.map(|name| file.with_file_name(name)).collect();
        let own = std::process::id().to_string();
        let stay = ["00000000000000ff", "7", &own, "x", "cafe", "0000000000000000"].map(beside);
        assert_eq!(left, stay.into_iter().chain([file.clone()]).collect());
        assert!(sandbox.mapping(Backend::Claude).contains("\"j\""));
    }

    #[test]
    fn next_call_repairs_the_shared_directory_of_a_killed_call() {
        let mut sandbox = Sandbox::new();
        let shared = sandbox.temp().join("agent-sessions");
        fs::create_dir(&shared).unwrap();
        set_mode(&shared, 0o700);
        sandbox.succeeds(&["--backend", "claude", "list-sessions"]);
        assert_eq!(mode(&shared), 0o700, "a command that only reads changes nothing");
        sandbox.save(Backend::Claude, "a", "i");
        assert_eq!(mode(&shared), 0o1777);
        // a mode set by the user stays
        set_mode(&shared, 0o755);
        sandbox.save(Backend::Claude, "b", "i");
        assert_eq!(mode(&shared), 0o755);
        let private = sandbox.root().join("mine/agent-sessions");
        fs::create_dir_all(&private).unwrap();
        set_mode(&private, 0o700);
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("mine"));
        sandbox.save(Backend::Claude, "a", "i");
        assert_eq!(mode(&private), 0o700);
    }

    #[test]
    fn reports_a_directory_that_cannot_be_created() {
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Claude.answers("i", "OK"));
        for args in
            [&["create-session", "--session-name", "a"][..], &["create-session", "--session-name", "a", "--adopt", "i"]]
        {
            let place = ["--backend", "claude", "--error-format", "json"];
            let mut command = sandbox.cmd(&[&place[..], args].concat());
            command
                .env("INVOKE_PERSIST_DIR", "/proc/nowhere")
                .run()
                .failed(6, "mapping_unwritable")
                .message(contains("/proc/nowhere"));
        }
        assert!(sandbox.calls().is_empty());
    }
}

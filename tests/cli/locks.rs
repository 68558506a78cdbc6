//! The location of locks, and the detection of deadlocks (contract section 8).

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::time::Duration;

use crate::support::*;

const SOON: Duration = Duration::from_secs(60);

/// Sessions whose agents call other sessions during their turns.
struct Askers {
    sandbox: Sandbox,
    /// The script of the agent: `$HOME/ask-ID` holds the command that the agent of a session runs in its turn.
    agent: String,
}

/// Answers the prompt `inner` immediately. For other prompts it creates `$HOME/up-ID`, waits for `$HOME/go-ID`, and
/// runs the command.
const AGENT: &str = r#"
for word; do
    [ "$before" = --resume ] && id=$word
    before=$word
done
case " $* " in *" inner "*) ;; *)
    : >"$HOME/up-$id"
    until [ -e "$HOME/go-$id" ]; do sleep .02; done
    . "$HOME/ask-$id" >"$HOME/out-$id" 2>"$HOME/err-$id"
    echo $? >"$HOME/code-$id.new"
    mv "$HOME/code-$id.new" "$HOME/code-$id"
esac
echo "{\"result\": \"OK\", \"session_id\": \"$id\"}"
"#;

/// A prefix that hides the program's variables from the call.
const FILTERED: &str = "env -i PATH=\"$PATH\" HOME=\"$HOME\" TMPDIR=\"$TMPDIR\"";

impl Askers {
    fn new(sessions: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        for id in sessions {
            sandbox.save(Backend::Claude, id, id);
        }
        let agent = sandbox.write("agent.sh", AGENT);
        let agent = format!("sh {}", agent.to_str().unwrap());
        Self { sandbox, agent }
    }

    fn call<'a>(&'a self, id: &'a str, prompt: &'a str) -> Vec<&'a str> {
        let call = ["--backend", "claude", "resume-json", "--session-name", id, "--prompt", prompt];
        [&call[..], &["--claude-cmd", &self.agent]].concat()
    }

    /// Makes the agent of session `id` call session `other`, with the command prefix `through`.
    fn asks(&self, id: &str, other: &str, through: &str) {
        let call = self.sandbox.cmd(&self.call(other, "inner"));
        let words = [call.get_program()].into_iter().chain(call.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        self.sandbox.write(self.sandbox.home().join(format!("ask-{id}")), format!("{through} {}", words.join(" ")));
    }

    /// Starts a turn of session `id`, and waits until its agent runs.
    fn start(&self, id: &str) -> Running {
        let running = self.sandbox.start(&self.call(id, "outer"));
        wait_until(SOON, || self.sandbox.home().join(format!("up-{id}")).exists());
        running
    }

    fn allow(&self, id: &str) {
        self.sandbox.write(self.sandbox.home().join(format!("go-{id}")), "");
    }

    fn output(&self, what: &str, id: &str) -> String {
        fs::read_to_string(self.sandbox.home().join(format!("{what}-{id}"))).unwrap_or_default()
    }

    /// Returns the exit status of the command that the agent of session `id` ran.
    fn code(&self, id: &str) -> i32 {
        let code = self.output("code", id);
        code.trim().parse().unwrap_or_else(|_| panic!("'{code}': {}", self.output("err", id)))
    }
}

fn succeed(turns: impl IntoIterator<Item = Running>) {
    for turn in turns {
        turn.wait(SOON).assert.success();
    }
}

#[test]
fn calls_that_would_wait_for_each_other_are_refused_once() {
    for sessions in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        for through in ["", FILTERED, "setsid", "sh -c 'setsid \"$@\" & wait $!' sh"] {
            let askers = Askers::new(sessions);
            for (number, id) in sessions.iter().enumerate() {
                askers.asks(id, sessions[(number + 1) % sessions.len()], through);
            }
            let turns: Vec<Running> = sessions.iter().map(|id| askers.start(id)).collect();
            for id in sessions {
                askers.allow(id);
            }
            succeed(turns);
            let codes: Vec<i32> = sessions.iter().map(|id| askers.code(id)).collect();
            let refused: Vec<_> = sessions.iter().filter(|id| askers.code(id) == 5).collect();
            assert_eq!((refused.len(), codes.iter().sum::<i32>()), (1, 5), "{codes:?} of {sessions:?}, {through}");
            assert!(askers.output("err", refused[0]).contains("runs inside"), "{}", askers.output("err", refused[0]));
        }
    }
}

#[test]
fn call_that_closes_a_cycle_is_refused() {
    for through in ["", FILTERED] {
        let askers = Askers::new(&["a", "b"]);
        askers.asks("a", "b", through);
        askers.asks("b", "a", through);
        let turns = ["a", "b"].map(|id| askers.start(id));
        askers.allow("a");
        wait_until(SOON, || askers.output("err", "a").contains("note: waiting for the session 'b' (b)"));
        askers.allow("b");
        succeed(turns);
        assert_eq!((askers.code("a"), askers.code("b")), (0, 5));
        let err = askers.output("err", "b");
        assert!(
            err.contains("error: the session 'a' (a) is locked by process") && err.contains("waits for the call"),
            "{err}"
        );
    }
}

#[test]
fn call_inside_a_turn_waits_for_turns_that_do_not_wait_for_it() {
    let askers = Askers::new(&["a", "b", "c"]);
    // the agent of c runs, that of b waits for c, and that of a waits for b
    fs::write(askers.sandbox.home().join("ask-c"), "true").unwrap();
    askers.asks("b", "c", FILTERED);
    askers.asks("a", "b", "");
    let turns = ["a", "b", "c"].map(|id| askers.start(id));
    for (id, other) in [("b", "c"), ("a", "b")] {
        askers.allow(id);
        let note = format!("note: waiting for the session '{other}' ({other})");
        wait_until(SOON, || askers.output("err", id).contains(&note));
    }
    // the recorded wait of a killed call no longer counts
    let mut killed = askers.sandbox.start(&askers.call("a", "inner"));
    wait_until(SOON, || killed.stderr_so_far().contains("note: waiting"));
    killed.signal(rustix::process::Signal::KILL);
    wait_until(SOON, || killed.has_ended());
    std::thread::sleep(Duration::from_secs(1)); // a refusal would have arrived by now
    assert_eq!((askers.output("code", "a"), askers.output("code", "b")), (String::new(), String::new()));
    askers.allow("c");
    succeed(turns);
    assert_eq!((askers.code("a"), askers.code("b")), (0, 0));
}

/// The agents of `a` and `b` call each other, and plain calls are before them in both queues.
#[test]
fn calls_that_would_wait_for_each_other_are_refused_in_a_queue() {
    for through in ["", FILTERED] {
        let askers = Askers::new(&["a", "b"]);
        askers.asks("a", "b", through);
        askers.asks("b", "a", through);
        let turns = ["a", "b"].map(|id| askers.start(id));
        let before = ["a", "b"].map(|id| {
            let call = askers.sandbox.start(&askers.call(id, "inner"));
            wait_until(SOON, || call.stderr_so_far().contains("note: waiting"));
            call
        });
        for id in ["a", "b"] {
            askers.allow(id);
        }
        succeed(turns);
        succeed(before);
        let codes = ["a", "b"].map(|id| askers.code(id));
        assert!(codes == [0, 5] || codes == [5, 0], "{codes:?}, {through}");
    }
}

/// Private mounts and process IDs, as in a container. `/tmp` is empty, and the home directory in the list of users is
/// `account` in the sandbox.
struct Container<'a> {
    sandbox: &'a Sandbox,
    /// A shell command that runs before the program.
    before: &'static str,
}

impl<'a> Container<'a> {
    /// Panics if the user is not root or the system does not allow namespaces, as some containers do not.
    #[track_caller]
    fn new(sandbox: &'a Sandbox, before: &'static str) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let home = sandbox.root().join("account");
        fs::create_dir_all(&home).unwrap();
        sandbox.write(sandbox.root().join("passwd"), format!("me:x:{user}:0::{}:/bin/sh\n", home.display()));
        let container = Self { sandbox, before };
        assert!(!sandbox.root().starts_with("/tmp"), "the container would hide the sandbox");
        container.command(&Command::new("true")).run().success();
        container
    }

    fn cmd(&self, args: &[&str]) -> Command {
        self.command(&self.sandbox.cmd(args))
    }

    fn command(&self, program: &Command) -> Command {
        const SET_UP: &str = "mount -t tmpfs -o mode=1777 none /tmp && mount --bind \"$0/passwd\" /etc/passwd && \
            cd \"$0/ws\" && eval \"$SET_UP\" && unset SET_UP && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
        command.args(["sh", "-c", SET_UP]).arg(self.sandbox.root());
        command.arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(self.sandbox.variables()).env("SET_UP", self.before);
        command
    }
}

const NOTHING: &str = ":";
/// The lock directory belongs to another user.
const SQUATTED: &str = "mkdir -m 700 /tmp/invoke-persist-0 && chown 65534 /tmp/invoke-persist-0";
const READ_ONLY: &str = "mount -o remount,ro /tmp";
const FULL: &str = "mount -t tmpfs -o mode=1777,nr_inodes=2 none /tmp && touch /tmp/filler";
/// The disk has room only for the lock file.
const NEARLY_FULL: &str = "mount -t tmpfs -o mode=1777,size=64k none /tmp; mkdir -m 700 /tmp/invoke-persist-0; \
    head -c 1m /dev/zero >/tmp/filler 2>/dev/null; :";

fn resume(name: &str) -> Vec<&str> {
    vec!["--backend", "claude", "--error-format", "json", "resume-json", "--session-name", name, "--prompt", "p"]
}

fn create(name: &str) -> Vec<&str> {
    vec!["--backend", "claude", "--error-format", "json", "create-session", "--session-name", name, "--adopt", "i"]
}

/// Checks that every command that needs a lock works.
fn works(container: &Container<'_>) {
    let sandbox = container.sandbox;
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    container.cmd(&create("a")).run().success();
    container.cmd(&resume("a")).run().success().stderr("");
    let claude = |args: &[&str]| container.cmd(&[&["--backend", "claude"], args].concat()).run().success();
    assert_eq!(claude(&["create-session", "--session-name", "b"]).stderr_text(), "");
    claude(&["rename-session", "--session-name", "a", "--to", "c"]);
    claude(&["delete-session", "--session-name", "c"]);
    claude(&["delete-all-sessions"]);
}

#[test]
#[ignore = "needs root"]
fn unusable_lock_directory_is_replaced() {
    for before in [NOTHING, SQUATTED, READ_ONLY, FULL, NEARLY_FULL] {
        let mut sandbox = Sandbox::new();
        let container = Container::new(&sandbox, before);
        works(&container);
        // locks are in the home directory only if necessary
        let second = sandbox.root().join("account/.cache/invoke-persist");
        if before == NOTHING {
            assert!(!second.exists());
        } else if before != NEARLY_FULL {
            let metadata = fs::metadata(&second).unwrap();
            assert_eq!(metadata.mode() & 0o7777, 0o700);
            assert_eq!(fs::read_dir(&second).unwrap().count(), 0, "no lock file remains");
        }
        // without a home directory, INVOKE_PERSIST_DIR can name a directory for them
        fs::remove_dir_all(sandbox.root().join("account")).unwrap();
        if [SQUATTED, READ_ONLY, FULL].contains(&before) {
            let container = Container { sandbox: &sandbox, before };
            sandbox.write(sandbox.root().join("passwd"), "me:x:0:0::/nonexistent:/bin/sh\n");
            sandbox.agent(Backend::Claude.answers("i", "OK"));
            for (args, code, kind) in [(create("a"), 6, "mapping_unwritable"), (resume("a"), 1, "io")] {
                if kind == "io" {
                    sandbox.save(Backend::Claude, "a", "i");
                }
                let failure = container.cmd(&args).run().failed(code, kind).message(contains("os error").not());
                let hint = failure.hint.unwrap();
                assert_eq!(hint, "set INVOKE_PERSIST_DIR to a directory that you can write to", "{}", failure.message);
            }
        }
        sandbox.write(sandbox.root().join("passwd"), "me:x:0:0::/nonexistent:/bin/sh\n");
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("names"));
        works(&Container { sandbox: &sandbox, before });
    }
}

/// Starts a turn that lasts until the file `go` exists.
fn long_turn(container: &Container<'_>, name: &str) -> Running {
    container.sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let running = container.cmd(&resume(name)).start();
    wait_until(SOON, || container.sandbox.has_reached("up"));
    running
}

/// Checks that two calls exclude each other in one session. The second one does not wait.
fn exclude_each_other(first: &Container<'_>, second: &Container<'_>) {
    first.sandbox.save(Backend::Claude, "a", "i");
    let running = long_turn(first, "a");
    second
        .cmd(&[&resume("a")[..], &["--if-busy", "fail"]].concat())
        .run()
        .failed(5, "session_busy")
        .message(contains("in another container"));
    first.sandbox.allow("go");
    running.wait(SOON).assert.success();
    fs::remove_file(first.sandbox.bin().join("up")).unwrap();
    fs::remove_file(first.sandbox.bin().join("go")).unwrap();
}

#[test]
#[ignore = "needs root"]
fn processes_with_different_usable_directories_exclude_each_other() {
    for before in [SQUATTED, READ_ONLY, FULL] {
        let sandbox = Sandbox::new();
        let spoilt = Container::new(&sandbox, before);
        let whole = Container { sandbox: &sandbox, before: NOTHING };
        exclude_each_other(&spoilt, &whole);
        exclude_each_other(&whole, &spoilt);
        exclude_each_other(&spoilt, &spoilt);
    }
}

#[test]
#[ignore = "needs root"]
fn containers_that_share_the_directory_for_mappings_exclude_each_other() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("names"));
    let container = Container::new(&sandbox, NOTHING);
    exclude_each_other(&container, &container);
    let locks = sandbox.root().join("names/locks");
    assert_eq!(fs::metadata(&locks).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(&locks).unwrap().count(), 0, "no lock file remains");
}

/// Checks that waiters in containers run in their order, although only some share a directory of locks.
#[test]
#[ignore = "needs root"]
fn containers_wait_in_one_queue() {
    let mut sandbox = Sandbox::new();
    let names = sandbox.root().join("names");
    sandbox.env("INVOKE_PERSIST_DIR", &names);
    sandbox.save(Backend::Claude, "a", "i");
    let spoilt = [NOTHING, SQUATTED, READ_ONLY, FULL].map(|before| Container::new(&sandbox, before));
    let first = long_turn(&spoilt[0], "a");
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    let places = || {
        let entries = fs::read_dir(names.join("locks")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".place")).count()
    };
    let mut calls = vec![first];
    let prompts: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    for (prompt, container) in prompts.iter().zip(spoilt.iter().cycle()) {
        let before = places();
        let call = ["--backend", "claude", "resume-json", "--session-name", "a", "--prompt", prompt];
        calls.push(container.cmd(&call).start());
        wait_until(SOON, || places() > before);
    }
    sandbox.allow("go");
    succeed(calls);
    let sent = sandbox.calls();
    let sent: Vec<&String> =
        sent.iter().filter_map(|call| call.argv.iter().find(|word| prompts.contains(word))).collect();
    assert_eq!(sent, prompts.iter().collect::<Vec<_>>());
    assert_eq!(fs::read_dir(names.join("locks")).unwrap().count(), 0, "no file remains");
}

#[test]
#[ignore = "needs root"]
fn containers_that_share_the_directory_for_mappings_lose_no_name() {
    const EACH: usize = 25;
    // the same directory at another path
    const MOVED: &str = "mkdir -p /tmp/names && mount --bind \"$INVOKE_PERSIST_DIR\" /tmp/names && \
        export INVOKE_PERSIST_DIR=/tmp/names";
    let mut sandbox = Sandbox::new();
    let names = sandbox.root().join("names");
    fs::create_dir(&names).unwrap();
    sandbox.env("INVOKE_PERSIST_DIR", &names);
    Container::new(&sandbox, NOTHING);
    let running: Vec<Running> = [NOTHING, NOTHING, MOVED]
        .into_iter()
        .enumerate()
        .map(|(number, before)| {
            let create = sandbox.cmd(&["--backend", "claude", "create-session", "--adopt", "i", "--session-name"]);
            let mut script = Command::new("sh");
            script.args(["-c", "i=0; while [ $((i += 1)) -le $0 ]; do \"$@\" || exit; done"]).arg(EACH.to_string());
            script.args(["sh", "-c", &format!("exec \"$@\" {number}-$(cut -d' ' -f1 /proc/uptime)-$$"), "sh"]);
            script.arg(create.get_program()).args(create.get_args());
            Container { sandbox: &sandbox, before }.command(&script).start()
        })
        .collect();
    succeed(running);
    let list = sandbox.succeeds(&["--backend", "claude", "list-sessions"]).json();
    assert_eq!(list["alias_count"], 3 * EACH);
}

#[test]
#[ignore = "needs root"]
fn mapping_that_is_a_mount_is_reported_before_a_turn() {
    const MOUNTED: &str = "mount --bind m.json m.json";
    let sandbox = Sandbox::new();
    sandbox.write("m.json", "{\"aliases\": {\"a\": {\"session_id\": \"i\"}}}");
    let container = Container::new(&sandbox, MOUNTED);
    sandbox.agent(Backend::Claude.answers("i", "OK"));
    let file = ["--mapping-file", "m.json"];
    let creating = ["--backend", "claude", "--error-format", "json", "create-session", "--session-name", "b"];
    for args in [&creating[..], &[&resume("b")[..], &["--if-missing", "create"]].concat()] {
        container
            .cmd(&[args, &file].concat())
            .run()
            .failed(6, "mapping_unwritable")
            .hint(starts_with("mount its directory instead of the file"));
    }
    assert!(sandbox.calls().is_empty(), "no turn runs");
    // an existing session can be used, and a completed turn is reported
    container
        .cmd(&[&resume("a")[..], &["--model", "m"], &file].concat())
        .run()
        .success()
        .stdout(contains("OK"))
        .stderr(starts_with("warning: "));
    // a mounted directory is not a problem
    fs::create_dir(sandbox.workspace().join("d")).unwrap();
    let whole = Container { sandbox: &sandbox, before: "mount --bind d d" };
    whole.cmd(&[&creating[..], &["--mapping-file", "d/m.json"]].concat()).run().success();
}

#[test]
#[ignore = "needs root"]
fn containers_exclude_each_other_from_the_first_call() {
    let mut sandbox = Sandbox::new();
    sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("not/yet"));
    let container = Container::new(&sandbox, NOTHING);
    sandbox.agent(Backend::Claude.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]));
    let call = [&resume("a")[..], &["--if-missing", "create"]].concat();
    let first = container.cmd(&call).start();
    wait_until(SOON, || sandbox.has_reached("up"));
    container.cmd(&[&call[..], &["--if-busy", "fail"]].concat()).run().failed(5, "session_busy");
    sandbox.allow("go");
    first.wait(SOON).assert.success();
}

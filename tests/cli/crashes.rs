//! Killed writers: the mapping is the complete old or the complete new one, and no other file remains (contract
//! section 9).

use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::*;

/// A timeout that even a slow machine does not reach.
const SOON: Duration = Duration::from_secs(60);

/// The number of killers. Each has a private mapping, so that no other process changes it.
const KILLERS: usize = 4;
const KILLS_EACH: usize = 125;

/// Enough names that most kills interrupt the write.
const NAMES: usize = 300;

/// The outcomes of the started writers.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    killed: usize,
    /// Killed after the change, but before the report.
    changed: usize,
    /// Killed during the write.
    writing: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.killed += other.killed;
        self.changed += other.changed;
        self.writing += other.writing;
    }
}

#[test]
fn killed_writer_leaves_the_old_or_the_new_mapping() {
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let killers: Vec<_> = (0..KILLERS).map(|_| scope.spawn(|| Killer::new().run())).collect();
        for killer in killers {
            tally += killer.join().expect("this thread found only complete mappings");
        }
    });
    // without enough kills, the test checks nothing
    assert_eq!(tally.killed, KILLERS * KILLS_EACH, "{tally:?}");
    assert!(tally.acknowledged > 0 && tally.writing > 0, "{tally:?}");
}

struct Killer {
    sandbox: Sandbox,
    random: Random,
    /// The names and IDs in the mapping.
    names: BTreeMap<String, String>,
    /// The number of started writers.
    started: usize,
    /// The longest lifetime of a writer before it is killed.
    longest: Duration,
    /// The files next to the mapping at the last check.
    left: Vec<String>,
}

impl Killer {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let names: BTreeMap<String, String> =
            (0..NAMES).map(|number| (format!("name-{number:03}"), format!("id-{number}"))).collect();
        let entries: BTreeMap<_, _> = names.iter().map(|(name, id)| (name, json!({"session_id": id}))).collect();
        sandbox.write_mapping(Backend::Claude, json!({"aliases": entries, "workspace_dir": "w"}).to_string());
        Self { sandbox, random: Random::new(), names, started: 0, longest: Duration::ZERO, left: Vec::new() }
    }

    fn run(mut self) -> Tally {
        let mut tally = Tally::default();
        // the lifetime of one writer that is not killed, which is imprecise and therefore adjusted after each writer
        self.longest = self.write_undisturbed();
        while tally.killed < KILLS_EACH {
            tally += self.start_and_kill();
        }
        self.write_undisturbed();
        assert_eq!(self.files_beside(), [""; 0], "no file remains after one more write");
        tally
    }

    fn write_undisturbed(&mut self) -> Duration {
        let (arguments, after) = self.next_change();
        let finished = self.sandbox.start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).wait(SOON);
        finished.assert.success();
        self.names = after;
        assert_eq!(self.in_the_file(), self.names);
        finished.took
    }

    /// Starts a writer and kills it at a random moment, which may be after its end.
    fn start_and_kill(&mut self) -> Tally {
        let (arguments, after) = self.next_change();
        let delay = self.longest.mul_f64(self.random.f64());
        let running = self.sandbox.start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        thread::sleep(delay);
        running.signal(Signal::KILL);
        let output = running.wait(SOON).assert;
        // adapts to the machine, so that some writers finish and most do not
        self.longest = self.longest.mul_f64(if output.exit_code().is_some() { 0.9 } else { 1.03 });

        let mut tally = Tally::default();
        let found = self.in_the_file();
        match output.exit_code() {
            None => tally.killed = 1,
            Some(code) => assert_eq!(code, 0, "{output}"),
        }
        if output.exit_code().is_some() || !output.stdout_text().is_empty() {
            tally.acknowledged = 1;
            assert_eq!(found, after, "the reported change is in the file: {arguments:?}");
        } else if found == after {
            tally.changed = 1;
        } else {
            assert_eq!(found, self.names, "the change is incomplete: {arguments:?}");
        }
        self.names = found;

        let beside = self.files_beside();
        tally.writing = usize::from(!beside.is_empty() && beside != self.left);
        let is_temp = |name: &String| name.contains(".tmp.");
        assert!(beside.len() <= 1 && beside.iter().all(is_temp), "only the last temp file may remain: {beside:?}");
        self.left = beside;
        tally
    }

    /// Returns the arguments of another change, and the names after it.
    fn next_change(&mut self) -> (Vec<String>, BTreeMap<String, String>) {
        self.started += 1;
        let mut after = self.names.clone();
        let some = self.names.keys().nth(self.random.usize(..self.names.len())).expect("there are names").clone();
        let new = format!("new-{}", self.started);
        let arguments = match self.started % 3 {
            0 => {
                after.insert(new.clone(), new.clone());
                ["create-session", "--session-name", &new, "--adopt", &new].map(str::to_owned).to_vec()
            }
            1 => {
                let id = after.remove(&some).expect("the name is in the mapping");
                after.insert(new.clone(), id);
                ["rename-session", "--session-name", &some, "--to", &new].map(str::to_owned).to_vec()
            }
            _ => {
                after.remove(&some);
                ["delete-session", "--session-name", &some].map(str::to_owned).to_vec()
            }
        };
        ([&["--backend".to_owned(), "claude".to_owned()], &arguments[..]].concat(), after)
    }

    /// Returns the names in the mapping, which must be complete.
    fn in_the_file(&self) -> BTreeMap<String, String> {
        let text = self.sandbox.mapping(Backend::Claude);
        let mapping: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let names = mapping["aliases"].as_object().expect("names").iter();
        names.map(|(name, entry)| (name.clone(), entry["session_id"].as_str().expect("an id").to_owned())).collect()
    }

    /// Returns the names of the files next to the mapping.
    fn files_beside(&self) -> Vec<String> {
        let file = self.sandbox.mapping_path(Backend::Claude);
        let entries =
            fs::read_dir(file.parent().expect("a file lies in a directory")).expect("the directory can be listed");
        let names =
            entries.map(|entry| entry.expect("the directory can be listed").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name != Backend::Claude.mapping_file_name()).collect()
    }
}

/// A kill does not test a crash of the system. These tests check the order of the system calls instead.
#[cfg(target_os = "linux")]
mod flushed {
    use std::path::Path;
    use std::process::Command;

    use crate::support::*;

    #[test]
    #[ignore = "needs strace"]
    fn mapping_and_directory_are_synced_before_a_change_is_reported() {
        let installed = Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success());
        assert!(installed, "strace is missing: apt-get install strace");
        let sandbox = Sandbox::new();
        sandbox.agent(Backend::Claude.answers("@ID@", "OK"));
        for arguments in [
            &["create-session", "--session-name", "a", "--adopt", "i"][..],
            &["create-session", "--session-name", "b"],
            &["resume-json", "--session-name", "a", "--prompt", "p", "--model", "m"],
            &["rename-session", "--session-name", "a", "--to", "c"],
            &["delete-session", "--session-name", "c"],
        ] {
            let calls = traced(&sandbox, arguments);
            let find = |what: &str, test: &dyn Fn(&str) -> bool| -> usize {
                let found: Vec<usize> = (0..calls.len()).filter(|&at| test(&calls[at])).collect();
                assert_eq!(found.len(), 1, "{what} of {arguments:?}:\n{}", calls.join("\n"));
                found[0]
            };
            let file = sandbox.mapping_path(Backend::Claude);
            let (file, dir) = (file.to_str().unwrap(), file.parent().unwrap().to_str().unwrap());
            let temp = format!("{file}.tmp.");
            let is_open =
                |call: &str| call.starts_with("openat(") && call.contains("O_CREAT") && call.contains(".tmp.");
            let is_write = |call: &str| call.starts_with("write(") && call.contains(&temp);
            let is_flush = |call: &str| call.starts_with("fsync(") || call.starts_with("fdatasync(");
            let is_rename = |call: &str| call.starts_with("rename") && call.contains(".tmp.");

            let opened = find("the temp file", &is_open);
            let flushed = find("its flush", &|call| is_flush(call) && call.contains(&temp));
            let renamed = find("the rename", &is_rename);
            let dir_flushed =
                find("the directory's flush", &|call| is_flush(call) && call.contains(&format!("<{dir}>")));
            let writes: Vec<usize> = (0..calls.len()).filter(|&at| is_write(&calls[at])).collect();
            // with --quiet the program writes only its report, to a pipe of the test
            let is_report = |call: &String| call.starts_with("write(") && call.contains("<pipe:");
            let reported = calls.iter().rposition(is_report).expect("the change is reported");
            let (first, last) = (writes[0], writes[writes.len() - 1]);
            let order = [opened, first, last, flushed, renamed, dir_flushed, reported];
            assert!(order.is_sorted(), "{arguments:?}: {order:?}\n{}", calls.join("\n"));
            assert!(calls[opened].contains("O_EXCL"), "{}", calls[opened]);
            // new parent directories are synced too
            for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.starts_with("mkdirat(")) {
                let parent = call.split(['<', '>']).nth(1).expect("strace -y names the directory");
                let parent_flushed =
                    calls[at..].iter().any(|call| is_flush(call) && call.contains(&format!("<{parent}>")));
                assert!(parent_flushed, "{call} is not synced:\n{}", calls.join("\n"));
            }
        }
    }

    /// Returns the system calls of the program itself, in the order of their ends, with the paths of their files.
    fn traced(sandbox: &Sandbox, arguments: &[&str]) -> Vec<String> {
        let trace = sandbox.root().join("trace");
        let mut command = sandbox.cmd_of(Path::new("strace"), &["-f", "-y", "-s", "16", "-o"]);
        // calls marked with ? do not exist on every processor
        command.arg(&trace).args(["-e", "trace=openat,fsync,fdatasync,?rename,renameat,renameat2,write,mkdirat", "--"]);
        let program = sandbox.cmd(&["--quiet", "--backend", "claude"]);
        command.arg(program.get_program()).args(program.get_args()).args(arguments);
        command.run().success();
        let trace = std::fs::read_to_string(trace).expect("strace writes the trace");
        let mut begun = std::collections::BTreeMap::new();
        let mut calls = Vec::new();
        for line in trace.lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(first_half) = call.strip_suffix("<unfinished ...>") {
                begun.insert(thread, first_half);
            } else if let Some((_, second_half)) = call.split_once(" resumed>") {
                calls.push(format!("{}{second_half}", begun.remove(thread).unwrap_or_default()));
            } else {
                calls.push(call.to_owned());
            }
        }
        // the result of a resumed call is further to the right
        calls.retain(|call| {
            let answered = call.rsplit_once(" = ").filter(|(call, _)| call.trim_end().ends_with(')'));
            answered.is_some_and(|(_, result)| !result.starts_with("-1 "))
        });
        calls
    }
}

//! Many processes change one mapping concurrently. It contains every change that succeeded, and nothing else (contract
//! section 8).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use serde_json::{Value, json};

use crate::support::*;

/// A timeout that even a slow machine does not reach.
const SOON: Duration = Duration::from_secs(120);

const PROCESSES: usize = 64;

/// The number of rounds of the tests that always run, and of those that run only in CI.
const FEW_ROUNDS: usize = 3;
const MANY_ROUNDS: usize = 12;

#[test]
fn processes_with_different_temp_directories_are_serialized() {
    with_different_temp_directories(FEW_ROUNDS);
}

#[test]
#[ignore = "slow"]
fn processes_with_different_temp_directories_are_serialized_in_many_rounds() {
    with_different_temp_directories(MANY_ROUNDS);
}

#[test]
fn processes_with_different_spellings_of_one_path_are_serialized() {
    with_different_spellings(FEW_ROUNDS);
}

#[test]
#[ignore = "slow"]
fn processes_with_different_spellings_of_one_path_are_serialized_in_many_rounds() {
    with_different_spellings(MANY_ROUNDS);
}

fn with_different_temp_directories(rounds: usize) {
    let sandbox = Sandbox::new();
    let root = sandbox.root().join("mine");
    let file = root.join("agent-sessions").join(sandbox.key_of(sandbox.workspace()));
    let file = file.join(Backend::Claude.mapping_file_name());
    // the mapping does not depend on the temp directory, so its lock must not either
    let ways = ["tmp", "tmp-1", "tmp-2", "none"].map(|temp| Way {
        variables: ["TMPDIR", "TEMP", "TMP"]
            .map(|name| (name, sandbox.root().join(temp)))
            .into_iter()
            .chain([("INVOKE_PERSIST_DIR", root.clone())])
            .collect(),
        arguments: Vec::new(),
        dir: sandbox.workspace().to_owned(),
    });
    for temp in ["tmp-1", "tmp-2"] {
        fs::create_dir(sandbox.root().join(temp)).unwrap();
    }
    Crowd::new(sandbox, Backend::Claude, file, ways.into()).run(rounds);
}

fn with_different_spellings(rounds: usize) {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("shared/map.json");
    let other_dir = sandbox.root().join("elsewhere");
    for dir in [file.parent().unwrap(), &other_dir, &sandbox.root().join("tmp-1")] {
        fs::create_dir(dir).unwrap();
    }
    #[cfg_attr(windows, expect(unused_mut, reason = "links are added on Unix"))]
    let mut spellings = vec![
        (sandbox.workspace().to_owned(), file.to_str().unwrap().to_owned()),
        (sandbox.workspace().to_owned(), "shared/map.json".to_owned()),
        (sandbox.workspace().to_owned(), "./shared//../shared/map.json".to_owned()),
        (other_dir.clone(), "../ws/shared/map.json".to_owned()),
    ];
    #[cfg(unix)] // links need a privilege on Windows
    {
        use std::os::unix::fs::symlink;
        symlink("shared", sandbox.workspace().join("dir-link")).unwrap();
        symlink("../ws/dir-link/map.json", other_dir.join("file-link.json")).unwrap();
        spellings.extend([
            (sandbox.workspace().to_owned(), "dir-link/map.json".to_owned()),
            (other_dir.clone(), "file-link.json".to_owned()),
        ]);
    }
    let ways = spellings.into_iter().enumerate().map(|(number, (dir, spelling))| Way {
        variables: vec![("TMPDIR", sandbox.root().join(["tmp", "tmp-1"][number % 2]))],
        // all use one workspace, from any directory
        arguments: vec![
            "--mapping-file".to_owned(),
            spelling,
            "--workspace-dir".to_owned(),
            sandbox.workspace().to_str().unwrap().to_owned(),
        ],
        dir,
    });
    let ways = ways.collect();
    Crowd::new(sandbox, Backend::Codex, file, ways).run(rounds);
}

/// How a process refers to the common mapping.
struct Way {
    variables: Vec<(&'static str, PathBuf)>,
    arguments: Vec<String>,
    dir: PathBuf,
}

/// The task of one process.
#[derive(Clone, Debug)]
enum Task {
    Adopt {
        name: String,
        id: String,
        overwrite: bool,
    },
    /// Creates a session with the agent.
    Start {
        name: String,
    },
    Resume {
        name: String,
        model: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Delete {
        name: String,
    },
}

/// The session of a name.
#[derive(Clone, Debug, PartialEq)]
struct Meaning {
    id: String,
    model: Option<String>,
    /// `None` if the session was created in this round, because the time is not known yet.
    created_at: Option<String>,
}

type Names = BTreeMap<String, Meaning>;

struct Crowd {
    sandbox: Sandbox,
    backend: Backend,
    file: PathBuf,
    ways: Vec<Way>,
    random: Random,
    /// The expected content of the mapping.
    names: Names,
}

impl Crowd {
    fn new(sandbox: Sandbox, backend: Backend, file: PathBuf, ways: Vec<Way>) -> Self {
        sandbox.agent(backend.answers("@ID@", "OK"));
        Self { sandbox, backend, file, ways, random: Random::new(), names: Names::new() }
    }

    fn run(mut self, rounds: usize) {
        self.round(0, (0..PROCESSES).map(|number| vec![adopt(0, number)]).collect());
        for round in 1..rounds {
            let groups = self.mixed(round);
            self.round(round, groups);
        }
    }

    /// Returns groups of tasks. Tasks for the same name are in one group.
    fn mixed(&mut self, round: usize) -> Vec<Vec<Task>> {
        let mut known: Vec<String> = self.names.keys().cloned().collect();
        self.random.shuffle(&mut known);
        let mut known = known.into_iter();
        let mut known = || known.next().expect("as many names are added as removed");
        let new = |what: &str, number: usize| format!("{what}-{round}-{number}");
        let resume = |name: &str, number| Task::Resume { name: name.to_owned(), model: new("model", number) };
        let rename = |from: &str, number| Task::Rename { from: from.to_owned(), to: new("renamed", number) };
        let mut groups: Vec<Vec<Task>> = Vec::new();
        groups.extend((0..10).map(|number| vec![adopt(round, number)]));
        groups.extend((0..6).map(|number| vec![Task::Start { name: new("started", number) }]));
        groups.extend((0..10).map(|number| vec![resume(&known(), number)]));
        groups.extend((0..8).map(|number| vec![rename(&known(), number)]));
        groups.extend((0..14).map(|_| vec![Task::Delete { name: known() }]));
        let claim = |what: &str, overwrite| {
            let name = new(what, 0);
            (0..4).map(|number| Task::Adopt { name: name.clone(), id: new(what, number), overwrite }).collect()
        };
        groups.extend([claim("for-the-first", false), claim("for-the-last", true)]);
        let (wanted, doomed, busy) = (known(), known(), known());
        groups.push((10..14).map(|number| rename(&wanted, number)).collect());
        groups.push(vec![rename(&doomed, 20), Task::Delete { name: doomed }]);
        groups.push(vec![resume(&busy, 20), resume(&busy, 21)]);
        groups
    }

    /// Runs all tasks concurrently. The outcome of each group must match a sequential run in some order.
    fn round(&mut self, round: usize, groups: Vec<Vec<Task>>) {
        let mut tasks: Vec<(usize, Task)> = groups
            .into_iter()
            .enumerate()
            .flat_map(|(group, tasks)| tasks.into_iter().map(move |task| (group, task)))
            .collect();
        assert_eq!(tasks.len(), PROCESSES);
        self.random.shuffle(&mut tasks);
        let commands: Vec<Command> =
            tasks.iter().enumerate().map(|(number, (_, task))| self.command(number, task)).collect();
        let outputs = watched(&self.file, || concurrently(&self.sandbox, commands));

        let found = self.in_the_file();
        self.check_started_sessions(&tasks, &outputs);
        let mut groups: BTreeMap<usize, Vec<(Task, Assert)>> = BTreeMap::new();
        for ((group, task), output) in tasks.into_iter().zip(outputs) {
            groups.entry(group).or_default().push((task, output));
        }
        for group in groups.into_values() {
            let touched: BTreeSet<&str> = group.iter().flat_map(|(task, _)| task.names()).collect();
            let cut = |names: &Names| -> Names {
                names
                    .iter()
                    .filter(|(name, _)| touched.contains(name.as_str()))
                    .map(|(name, meaning)| (name.clone(), meaning.clone()))
                    .collect()
            };
            let (before, after) = (cut(&self.names), cut(&found));
            let ended = orders(&group).into_iter().find_map(|order| in_order(&order, &before, &after));
            let Some(ended) = ended else {
                panic!(
                    "round {round}: no sequential order has this result: {group:#?}\nbefore: {before:#?}\nafter: {after:#?}"
                )
            };
            self.names.retain(|name, _| !touched.contains(name.as_str()));
            self.names.extend(ended);
        }
        assert_eq!(self.names, found, "round {round}: other entries are unchanged");
        let beside: Vec<_> = fs::read_dir(self.file.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(beside.len(), 1, "round {round}: only the mapping is in its directory: {beside:?}");
    }

    fn command(&self, number: usize, task: &Task) -> Command {
        let way = &self.ways[number % self.ways.len()];
        let arguments: &[&str] = match task {
            Task::Adopt { name, id, overwrite: true } => {
                &["create-session", "--session-name", name, "--adopt", id, "--if-exists", "overwrite"]
            }
            Task::Adopt { name, id, overwrite: false } => {
                &["create-session", "--session-name", name, "--adopt", id, "--if-exists", "fail"]
            }
            Task::Start { name } => &["create-session", "--session-name", name],
            Task::Resume { name, model } => &["resume-json", "--session-name", name, "--prompt", "p", "--model", model],
            Task::Rename { from, to } => &["rename-session", "--session-name", from, "--to", to],
            Task::Delete { name } => &["delete-session", "--session-name", name],
        };
        let mut command = self.sandbox.cmd(&["--backend", self.backend.name(), "--error-format", "json"]);
        command.args(arguments).args(&way.arguments).envs(way.variables.iter().cloned()).current_dir(&way.dir);
        command
    }

    /// Returns the names in the mapping, and checks that it contains nothing else.
    fn in_the_file(&self) -> Names {
        let text = fs::read_to_string(&self.file).unwrap();
        let mut mapping: Value = serde_json::from_str(&text).unwrap();
        let Value::Object(entries) = mapping["aliases"].take() else { panic!("{text}") };
        assert_eq!(mapping, json!({"aliases": null, "workspace_dir": self.sandbox.workspace()}));
        let understand = |(name, entry): (String, Value)| {
            let Value::Object(mut entry) = entry else { panic!("{name} is {entry}") };
            let mut take = |key: &str| entry.remove(key).map(|text| text.as_str().unwrap().to_owned());
            let meaning = Meaning {
                id: take(self.backend.id_key()).unwrap(),
                model: take("last_model"),
                created_at: take("created_at"),
            };
            assert!(entry.is_empty() && meaning.created_at.is_some(), "{name}: {entry:?}, {meaning:?}");
            (name, meaning)
        };
        entries.into_iter().map(understand).collect()
    }

    /// Checks that each name has the ID of its session. The stand-in gives every new session another ID.
    fn check_started_sessions(&self, tasks: &[(usize, Task)], outputs: &[Assert]) {
        let calls = self.sandbox.calls();
        for ((_, task), output) in tasks.iter().zip(outputs) {
            let Task::Start { name } = task else { continue };
            let call = output.stdout_text().trim().strip_prefix("id-new-").and_then(|call| call.parse::<usize>().ok());
            let call = call.and_then(|call| calls.get(call)).unwrap_or_else(|| panic!("{output}"));
            assert!(call.argv.iter().any(|argument| argument.contains(&format!("'{name}'"))), "{call:?} {output}");
        }
    }
}

fn adopt(round: usize, number: usize) -> Task {
    Task::Adopt { name: format!("adopted-{round}-{number}"), id: format!("id-{round}-{number}"), overwrite: true }
}

impl Task {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Rename { from, to } => vec![from, to],
            Self::Adopt { name, .. } | Self::Start { name } | Self::Resume { name, .. } | Self::Delete { name } => {
                vec![name]
            }
        }
    }

    /// Applies this task to `names` as if it ran alone. Returns `None` if its outcome would differ from `output`.
    fn alone(&self, names: &mut Names, output: &Assert) -> Option<()> {
        let notes = notes(output);
        let succeeded = output.exit_code() == Some(0);
        let failed = |code, kind: &str| output.exit_code() == Some(code) && output.error().kind == kind;
        let as_promised = match self {
            Self::Adopt { name, overwrite: false, .. } if names.contains_key(name) => {
                failed(4, "session_exists") && output.error().session_id.as_ref() == Some(&names[name].id)
            }
            Self::Adopt { name, id, .. } => {
                let meaning = Meaning { id: id.clone(), model: None, created_at: None };
                let note = names.insert(name.clone(), meaning);
                let note = note.map(|old| format!("note: '{name}' previously referred to {}", old.id));
                succeeded && output.stdout_text() == format!("{id}\n") && notes == note.into_iter().collect::<Vec<_>>()
            }
            Self::Start { name } => {
                let id = output.stdout_text().trim().to_owned();
                names.insert(name.clone(), Meaning { id, model: None, created_at: None });
                succeeded && notes.is_empty()
            }
            Self::Resume { name, model } => {
                names.get_mut(name)?.model = Some(model.clone());
                succeeded && notes.is_empty()
            }
            Self::Rename { from, to } => match names.remove(from) {
                None => failed(3, "session_not_found"),
                Some(meaning) => names.insert(to.clone(), meaning).is_none() && succeeded && notes.is_empty(),
            },
            Self::Delete { name } => {
                let removed: Vec<_> = names.remove(name).map(|_| name).into_iter().collect();
                succeeded && notes.is_empty() && output.json()["removed_aliases"] == json!(removed)
            }
        };
        as_promised.then_some(())
    }
}

/// Returns the printed notes, without those about waiting, which depend on the machine.
fn notes(output: &Assert) -> Vec<String> {
    let stderr = output.stderr_text();
    stderr.lines().filter(|line| !line.starts_with("note: waiting for ")).map(str::to_owned).collect()
}

/// Returns the names after the tasks ran in this order, or `None` if their outcomes would differ.
fn in_order(order: &[&(Task, Assert)], before: &Names, after: &Names) -> Option<Names> {
    let mut names = before.clone();
    for (task, output) in order {
        task.alone(&mut names, output)?;
    }
    for (name, meaning) in &mut names {
        let found = after.get(name)?;
        meaning.created_at = meaning.created_at.take().or_else(|| found.created_at.clone());
    }
    (names == *after).then_some(names)
}

fn orders<T>(items: &[T]) -> Vec<Vec<&T>> {
    let mut orders = vec![Vec::new()];
    for item in items {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<&T>| {
                (0..=order.len()).map(|at| {
                    let mut longer = order.clone();
                    longer.insert(at, item);
                    longer
                })
            })
            .collect();
    }
    orders
}

/// Runs all commands concurrently, as far as the system can.
fn concurrently(sandbox: &Sandbox, commands: Vec<Command>) -> Vec<Assert> {
    let gate = gate::Gate::new(sandbox);
    let running: Vec<Running> = commands.into_iter().map(|command| gate.before(command).start()).collect();
    let _open = gate.open();
    running.into_iter().map(|run| run.wait(SOON).assert).collect()
}

/// Delays programs until all are started, because starting all of them takes longer than the run of one.
#[cfg(unix)]
mod gate {
    use super::{Command, Path, PathBuf, Sandbox, fs};

    pub(super) struct Gate(PathBuf);

    impl Gate {
        pub(super) fn new(sandbox: &Sandbox) -> Self {
            let pipe = sandbox.root().join("gate");
            let _ = fs::remove_file(&pipe); // from the previous round
            assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            Self(pipe)
        }

        /// Returns the same command after a gate: opening a pipe blocks until the other end is opened.
        #[allow(clippy::needless_pass_by_value, reason = "the caller must not run the original command")]
        pub(super) fn before(&self, command: Command) -> Command {
            let mut gated = Command::new("/bin/sh");
            gated
                .args(["-c", ": <\"$0\"; exec \"$@\""])
                .arg(&self.0)
                .arg(command.get_program())
                .args(command.get_args());
            gated.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            gated.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
            gated
        }

        /// Starts all programs, including late ones, as long as the returned file is open.
        pub(super) fn open(&self) -> fs::File {
            fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap()
        }
    }
}

#[cfg(not(unix))]
mod gate {
    use super::{Command, Sandbox};

    pub(super) struct Gate;

    #[expect(clippy::unused_self, reason = "as on Unix")]
    impl Gate {
        pub(super) fn new(_sandbox: &Sandbox) -> Self {
            Self
        }

        pub(super) fn before(&self, command: Command) -> Command {
            command
        }

        pub(super) fn open(&self) -> Self {
            Self
        }
    }
}

/// Runs `act` while a reader checks the mapping continuously. The mapping must never be incomplete, and must not
/// disappear.
fn watched<T>(file: &Path, act: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut is_there = false;
            while !over.load(Ordering::Relaxed) {
                match fs::read(file) {
                    Ok(bytes) => {
                        is_there = true;
                        let read: Result<Value, _> = serde_json::from_slice(&bytes);
                        assert!(read.is_ok(), "incomplete file: {}", String::from_utf8_lossy(&bytes));
                    }
                    Err(error) => assert!(!is_there, "{error}"),
                }
                thread::sleep(Duration::from_millis(1)); // leaves time for the writers
            }
        });
        let done = act();
        over.store(true, Ordering::Relaxed);
        reader.join().expect("the reader found only complete files");
        done
    })
}

/// An event between two points in time.
struct Event {
    backend: Backend,
    began: Instant,
    ended: Instant,
    what: What,
}

enum What {
    Created(String),
    /// Whether a mapping was removed.
    RemovedAll(bool),
    Listed(BTreeSet<String>),
}

#[test]
fn mapping_is_removed_repeatedly_while_others_fill_and_list_it() {
    let sandbox = Sandbox::new();
    sandbox.agent(Backend::Claude.answers("@ID@", "OK"));
    let events: Mutex<Vec<Event>> = Mutex::new(Vec::new());
    let run = |arguments: &[&str]| {
        let began = Instant::now();
        let output = sandbox.run(arguments).success();
        let ended = Instant::now();
        assert_eq!(notes(&output), [""; 0], "no note is printed");
        (began, ended, output)
    };
    let note = |backend, (began, ended): (Instant, Instant), what| {
        events.lock().unwrap_or_else(PoisonError::into_inner).push(Event { backend, began, ended, what });
    };
    let list = || {
        let (began, ended, output) = run(&["list-sessions"]);
        let lists = output.json()["backends"].take();
        for backend in Backend::BOTH {
            let Value::Object(names) = &lists[backend.name()]["aliases"] else { panic!("{lists}") };
            note(backend, (began, ended), What::Listed(names.keys().cloned().collect()));
        }
    };
    let remove_all = |backend: Backend| {
        let (began, ended, output) = run(&["--backend", backend.name(), "delete-all-sessions"]);
        note(backend, (began, ended), What::RemovedAll(output.json()["mapping_file_deleted"] == true));
    };
    let create = |backend: Backend, name: &str, adopt: &[&str]| {
        let create = ["--backend", backend.name(), "create-session", "--session-name", name];
        let (began, ended, _) = run(&[&create[..], adopt].concat());
        note(backend, (began, ended), What::Created(name.to_owned()));
    };

    let creators = [
        (Backend::Claude, "x", 60, &["--adopt", "i"][..]),
        (Backend::Claude, "y", 20, &[]), // checks that the name can be saved before it calls the agent
        (Backend::Codex, "x", 60, &["--adopt", "i"]),
        (Backend::Codex, "y", 60, &["--adopt", "j"]),
    ];
    let creating = AtomicUsize::new(creators.len());
    let while_creating = |act: &dyn Fn()| {
        while creating.load(Ordering::Relaxed) > 0 {
            act();
        }
    };
    thread::scope(|scope| {
        let (create, remove_all, creating, while_creating) = (&create, &remove_all, &creating, &while_creating);
        for (backend, prefix, names, adopt) in creators {
            scope.spawn(move || {
                let _counted = Leaving(creating);
                (0..names).for_each(|number| create(backend, &format!("{prefix}-{number}"), adopt));
            });
        }
        for backend in Backend::BOTH {
            scope.spawn(move || while_creating(&|| remove_all(backend)));
        }
        scope.spawn(|| while_creating(&list));
    });
    list();
    Backend::BOTH.into_iter().for_each(remove_all);
    list();
    let events = events.into_inner().unwrap();
    for backend in Backend::BOTH {
        check_history(&events.iter().filter(|event| event.backend == backend).collect::<Vec<_>>());
    }
    let dir = sandbox.temp().join("agent-sessions");
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "the directory is removed with its last mapping");
}

/// Counts a finished thread, even if it panicked, so that the others end.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Checks that the reports are consistent. Overlapping events may have happened in either order.
fn check_history(events: &[&Event]) {
    let created: Vec<(&Event, &str)> = events
        .iter()
        .filter_map(|event| if let What::Created(name) = &event.what { Some((*event, name.as_str())) } else { None })
        .collect();
    let removals: Vec<&Event> =
        events.iter().copied().filter(|event| matches!(event.what, What::RemovedAll(true))).collect();
    let is_removed_surely = |creation: &Event, seen: &Event| {
        removals.iter().any(|removal| creation.ended < removal.began && removal.ended < seen.began)
    };
    let is_removed_perhaps = |creation: &Event, seen: &Event| {
        removals.iter().any(|removal| creation.began < removal.ended && removal.began < seen.ended)
    };
    for event in events {
        match &event.what {
            What::Created(_) => {}
            What::Listed(names) => {
                for (creation, name) in &created {
                    if names.contains(*name) {
                        assert!(
                            creation.began < event.ended && !is_removed_surely(creation, event),
                            "{name} must not exist"
                        );
                    } else if creation.ended < event.began {
                        assert!(is_removed_perhaps(creation, event), "{name} is lost");
                    }
                }
                let foreign = names.iter().find(|name| !created.iter().any(|(_, created)| created == name));
                assert_eq!(foreign, None, "no event created this name");
            }
            What::RemovedAll(true) => {
                let any = created
                    .iter()
                    .any(|(creation, _)| creation.began < event.ended && !is_removed_surely(creation, event));
                assert!(any, "a mapping was removed that was never created");
            }
            What::RemovedAll(false) => {
                for (creation, name) in created.iter().filter(|(creation, _)| creation.ended < event.began) {
                    assert!(is_removed_perhaps(creation, event), "{name} existed, but there was no mapping to remove");
                }
            }
        }
    }
    assert!(removals.len() > 1 && removals.len() <= created.len(), "{} removals", removals.len());
}

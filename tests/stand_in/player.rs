//! Plays the steps of a turn, and its answer.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use crate::journal;
use crate::output;
use crate::plan::{Sink, Step, Turn};
use crate::record::{Entry, Event, Input, Invocation, hex};
use crate::signals;

/// The first argument of a process that the stand-in started itself. A [`Scene`] follows.
pub(crate) const SCENE_OPTION: &str = "--stand-in-scene";

/// The timeout of a waiting stand-in, so that a failed test does not leave processes.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Longer input is recorded only by its length and checksum.
const TEXT_KEPT: usize = 64 * 1024;

/// A file did not appear in time.
const EXIT_TIMED_OUT: i32 = 99;
/// The test is over and has removed its directories.
const EXIT_ABANDONED: i32 = 98;
/// The call has no plan.
const EXIT_NO_PLAN: i32 = 97;

/// The steps that a process of the stand-in passes to another one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Scene {
    call: usize,
    session: String,
    own_session: bool,
    steps: Vec<Step>,
    /// The turn whose answer follows the steps, or `None` in a grandchild.
    turn: Option<Turn>,
}

#[derive(Clone)]
pub(crate) struct Player {
    program: PathBuf,
    argv: Vec<String>,
    call: usize,
    /// The value of `@ID@`.
    session: String,
    /// `None` in a grandchild, which is not a call and does not record its end.
    turn: Option<Turn>,
}

impl Player {
    /// Records a call and plays its turn in the plan.
    pub(crate) fn answer_call(program: PathBuf, argv: Vec<String>) -> ! {
        let plan = read_plan(&program);
        let turn_of = |call: usize| plan.get(call).or(plan.last());
        let begun = journal::append(&calls_file(&program), |call| Entry {
            call,
            event: Event::Began(invocation(&program, &argv, turn_of(call))),
        });
        let call = begun.expect("calls.jsonl can be written").call;
        let Some(turn) = turn_of(call).cloned() else {
            eprintln!("stand-in: called, but the test has not set a plan");
            process::exit(EXIT_NO_PLAN);
        };
        let session = requested_session(&argv).map_or_else(|| format!("id-new-{call}"), str::to_owned);
        let steps = turn.steps.clone();
        Self { program, argv, call, session, turn: Some(turn) }.perform(&steps)
    }

    /// Continues the scene of another process of the stand-in.
    pub(crate) fn continue_scene(program: PathBuf, argv: Vec<String>, scene: Scene) -> ! {
        let Scene { call, session, own_session, steps, turn } = scene;
        if own_session {
            signals::leave_session();
        }
        Self { program, argv, call, session, turn }.perform(&steps)
    }

    /// Plays the steps and the answer, and exits.
    fn perform(self, steps: &[Step]) -> ! {
        self.play(steps);
        if let Some(turn) = &self.turn {
            self.give_answer(turn);
        }
        self.end(self.turn.as_ref().map_or(0, |turn| turn.exit))
    }

    fn play(&self, steps: &[Step]) {
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Stdout(text) => self.write(Sink::Stdout, self.with_session(text).as_bytes()),
                Step::Stderr(text) => self.write(Sink::Stderr, self.with_session(text).as_bytes()),
                Step::Bytes { to, bytes } => self.write(*to, bytes),
                Step::Flood { to, pattern, size } => {
                    let written = output::flood(*to, pattern.as_bytes(), *size);
                    self.note_broken_pipe(*to, written);
                }
                Step::SleepMs(time) => {
                    let end = Instant::now() + Duration::from_millis(*time);
                    self.poll(|| Instant::now() >= end);
                }
                Step::WaitFor(file) => self.wait_for(&self.path(file)),
                Step::Create(file) => {
                    File::create(self.path(file)).expect("a file of the plan can be created");
                }
                Step::Lock(file) => {
                    let file = File::create(self.path(file)).expect("a file of the plan can be created");
                    file.lock().expect("a file of the plan can be locked");
                    std::mem::forget(file); // the system releases the lock when the process ends
                }
                Step::ReadStdin => self.record(Event::Stdin(read_stdin())),
                Step::Ignore(names) => signals::ignore(names),
                Step::OnSignal { signals, steps } => {
                    let (player, steps) = (self.clone(), steps.clone());
                    signals::handle(signals, move |name| {
                        player.record(Event::Signal(name));
                        player.play(&steps);
                    });
                }
                Step::Grandchild { steps, holds, own_session } => self.start_grandchild(steps, holds, *own_session),
                Step::Raise(name) => signals::raise(*name),
                Step::CloseStdout => self.continue_without_stdout(&steps[..at], &steps[at + 1..]),
                Step::Exit(code) => self.end(*code),
            }
        }
    }

    fn give_answer(&self, turn: &Turn) {
        if let Some(message) = &turn.last_message {
            for pair in self.argv.windows(2) {
                if matches!(pair[0].as_str(), "-o" | "--output-last-message") {
                    fs::write(&pair[1], message).expect("the file for the last message can be written");
                }
            }
        }
        self.write(Sink::Stderr, self.with_session(&turn.stderr).as_bytes());
        let stdout = match &turn.stream {
            Some(stream) if self.argv.iter().any(|arg| arg == "stream-json") => stream,
            _ => &turn.stdout,
        };
        self.write(Sink::Stdout, self.with_session(stdout).as_bytes());
    }

    fn end(&self, code: i32) -> ! {
        if self.turn.is_some() {
            self.record(Event::Ended(code));
        }
        process::exit(code)
    }

    fn write(&self, to: Sink, bytes: &[u8]) {
        self.note_broken_pipe(to, output::write(to, bytes));
    }

    /// Records a broken pipe. Agents continue without a reader, and so does the stand-in.
    fn note_broken_pipe(&self, to: Sink, written: io::Result<()>) {
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.record(Event::BrokenPipe(to)),
            Err(error) => panic!("stand-in: cannot write {to:?}: {error}"),
        }
    }

    fn wait_for(&self, file: &Path) {
        let begin = Instant::now();
        self.poll(|| {
            if begin.elapsed() > WAIT_LIMIT {
                eprintln!("stand-in: {} did not appear", file.display());
                self.end(EXIT_TIMED_OUT);
            }
            file.exists()
        });
    }

    /// Waits until `done` holds. Ends the process if the plan is gone, so that a finished test leaves no processes.
    fn poll(&self, done: impl Fn() -> bool) {
        while !done() {
            if !self.dir().join("plan.json").exists() {
                process::exit(EXIT_ABANDONED);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    #[expect(clippy::zombie_processes, reason = "tests need a grandchild that outlives its parent")]
    fn start_grandchild(&self, steps: &[Step], holds: &[Sink], own_session: bool) {
        let output = |sink| {
            if holds.contains(&sink) { Stdio::inherit() } else { Stdio::null() }
        };
        let child = self
            .scene(steps.to_vec(), own_session, None)
            .stdin(Stdio::null())
            .stdout(output(Sink::Stdout))
            .stderr(output(Sink::Stderr))
            .spawn()
            .expect("the stand-in can start itself");
        self.record(Event::Grandchild(child.id()));
    }

    /// Executes this program again with another file descriptor 1, because safe code cannot close it. The process stays
    /// the same, but its signal handlers are lost, so the steps that install them are played again.
    fn continue_without_stdout(&self, played: &[Step], left: &[Step]) -> ! {
        let handlers = played.iter().filter(|step| matches!(step, Step::Ignore(_) | Step::OnSignal { .. }));
        let steps = handlers.chain(left).cloned().collect();
        let mut command = self.scene(steps, false, self.turn.clone());
        signals::become_program(command.args(&self.argv).stdout(Stdio::null()))
    }

    fn scene(&self, steps: Vec<Step>, own_session: bool, turn: Option<Turn>) -> Command {
        let scene = Scene { call: self.call, session: self.session.clone(), own_session, steps, turn };
        let mut command = Command::new(&self.program);
        command.arg(SCENE_OPTION).arg(serde_json::to_string(&scene).expect("a scene is plain data"));
        command
    }

    fn record(&self, event: Event) {
        let entry = Entry { call: self.call, event };
        match journal::append(&calls_file(&self.program), |_| entry) {
            Err(_) if !self.dir().exists() => process::exit(EXIT_ABANDONED),
            recorded => drop(recorded.expect("calls.jsonl can be written")),
        }
    }

    fn with_session(&self, text: &str) -> String {
        text.replace("@ID@", &self.session)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir().join(file)
    }

    fn dir(&self) -> &Path {
        dir_of(&self.program)
    }
}

fn read_plan(program: &Path) -> Vec<Turn> {
    match fs::read(dir_of(program).join("plan.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => serde_json::from_slice(&text.expect("plan.json can be read")).expect("plan.json holds a list of turns"),
    }
}

fn invocation(program: &Path, argv: &[String], turn: Option<&Turn>) -> Invocation {
    let watched = turn.map(|turn| turn.watch_env.clone()).unwrap_or_default();
    let value = |name: &String| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let (process_group, session) = signals::group_and_session();
    Invocation {
        // Without the `.exe` of Windows, so that tests are the same on all systems.
        name: program.file_stem().expect("a program has a name").to_string_lossy().into_owned(),
        argv: argv.to_vec(),
        cwd: env::current_dir().unwrap_or_default().to_string_lossy().into_owned(),
        env: watched.into_iter().map(|name| (name.clone(), value(&name))).collect(),
        pid: process::id(),
        process_group,
        session,
    }
}

/// Returns the session that a call resumes: after claude's `--resume`, and before `--json` in codex's `exec resume`.
fn requested_session(argv: &[String]) -> Option<&str> {
    let position = |option: &str| argv.iter().position(|arg| arg == option);
    let at = match position("--resume") {
        Some(option) => option + 1,
        None if argv.starts_with(&["exec".to_owned(), "resume".to_owned()]) => position("--json")?.checked_sub(1)?,
        None => return None,
    };
    argv.get(at).map(String::as_str)
}

fn read_stdin() -> Input {
    let mut stdin = io::stdin().lock();
    let mut md5 = Md5::new();
    let mut length = 0;
    let mut beginning = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("stand-in: cannot read standard input: {error}"),
        };
        md5.update(read);
        length += read.len() as u64;
        if beginning.len() <= TEXT_KEPT {
            beginning.extend_from_slice(read);
        }
    }
    let text = String::from_utf8(beginning).ok().filter(|text| text.len() <= TEXT_KEPT);
    Input { length, md5: hex(&md5.finalize()), text }
}

fn dir_of(program: &Path) -> &Path {
    program.parent().expect("a program is in a directory")
}

fn calls_file(program: &Path) -> PathBuf {
    dir_of(program).join("calls.jsonl")
}

//! The figures, and the parts that this program plays in them: an empty program, and an agent that floods.

use std::cell::Cell;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const PROGRAM: &str = env!("CARGO_BIN_EXE_invoke-persist");
const MIB: f64 = 1024.0;

/// What is flooded with.
const FLOOD: u64 = 300 << 20;
const LINE: usize = 1 << 10;

/// A mapping larger than anybody's.
const NAMES: usize = 100_000;

/// What Python takes to find a name, and to add one as the original does. It measures itself, so that its start does not
/// count in our favour.
const PYTHON_READS: &str = r#"
import json, sys, time
began = time.perf_counter()
with open(sys.argv[1], encoding="utf-8") as file:
    mapping = json.load(file)
mapping["aliases"]["name-050000"]["session_id"]
print(time.perf_counter() - began)
"#;
const PYTHON_WRITES: &str = r#"
import json, os, sys, time
began = time.perf_counter()
with open(sys.argv[1], encoding="utf-8") as file:
    mapping = json.load(file)
mapping["aliases"]["new"] = {"session_id": str(began)}
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump(mapping, file, indent=2, sort_keys=True, ensure_ascii=False)
    file.write("\n")
    file.flush()
    os.fsync(file.fileno())
print(time.perf_counter() - began)
"#;

pub(super) fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("empty") => {}
        Some("flood") => flood(),
        Some("tick") => tick(),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

/// Measures everything. Fails if a figure is over its limit.
fn measure() -> ExitCode {
    let bench = Bench::new();
    println!("{:<58} {:>8} {:>8}", "", "got", "at most");
    bench.start();
    bench.stream();
    bench.delay();
    bench.events();
    bench.many_names();
    bench.account();
    match bench.exceeded.get() {
        0 => ExitCode::SUCCESS,
        exceeded => {
            eprintln!("error: figures over their limits: {exceeded}");
            ExitCode::FAILURE
        }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    myself: PathBuf,
    /// The number of figures over their limits.
    exceeded: Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let myself = env::current_exe().expect("this program is somewhere");
        let bench = Self { dir, myself, exceeded: Cell::new(0) };
        for backend in ["claude", "codex"] {
            let create = ["--backend", backend, "create-session", "--session-name", "a", "--adopt", "i"];
            assert!(bench.program(&create).stdout(Stdio::null()).status().expect("it can be started").success());
        }
        bench
    }

    /// Prints a figure with its limit, and counts it if it is over.
    fn report(&self, what: &str, got: f64, limit: f64, unit: &str) {
        // a figure that is not a number is not within its limit
        let is_within = got <= limit;
        if !is_within {
            self.exceeded.set(self.exceeded.get() + 1);
        }
        let verdict = if is_within { "" } else { "  OVER" };
        println!("{what:<58} {got:>8.2} {limit:>8.2} {unit}{verdict}");
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.dir.path()).env("INVOKE_PERSIST_DIR", self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// A command of ours as an agent.
    fn agent(&self, part: &str) -> String {
        format!("'{}' {part}", self.myself.display())
    }

    /// (a) how long it takes to start, and to find a name
    fn start(&self) {
        let empty = || {
            let mut command = Command::new(&self.myself);
            command.arg("empty").stdin(Stdio::null()).stdout(Stdio::null());
            command
        };
        let resolve = || {
            let mut command = self.program(&["--backend", "claude", "resolve", "--session-name", "a"]);
            command.stdout(Stdio::null());
            command
        };
        let (ours, theirs) = fastest_in_turn(400, &resolve, &empty);
        self.report("(a) resolve, wall time against an empty program", ours / theirs, 1.5, "times");
        let peak = peak(&mut resolve(), 300);
        self.report("(a) resolve, resident", peak, 6.0, "MiB");
    }

    /// (b) a stream of 300 MB in lines of 1 KB against `cat` in the same place
    fn stream(&self) {
        let ours = || {
            let agent = self.agent("flood");
            let mut command =
                self.program(&["resume-stream", "--session-name", "a", "--prompt", "p", "--claude-cmd", &agent]);
            command.stdout(Stdio::null());
            command
        };
        let cat = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{} | cat >/dev/null", self.agent("flood"))]).stdin(Stdio::null());
            shell
        };
        let (with_us, with_cat) = fastest_in_turn(7, &ours, &cat);
        self.report("(b) resume-stream of 300 MB, wall time against cat", with_us / with_cat, 1.5, "times");
        self.report("(b) resume-stream of 300 MB, resident", peak(&mut ours(), 1), 8.0, "MiB");
    }

    /// (c) from the agent's line to ours
    fn delay(&self) {
        let agent = self.agent("tick");
        let mut command =
            self.program(&["resume-stream", "--session-name", "a", "--prompt", "p", "--claude-cmd", &agent]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be started");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut delays: Vec<f64> = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(now_ns() - line.strip_prefix("{\"at\": ")?.strip_suffix('}')?.parse::<f64>().ok()?))
            .collect();
        child.wait().expect("it ends");
        delays.sort_by(f64::total_cmp);
        self.report("(c) from the agent's line to ours, median", delays[delays.len() / 2] / 1e6, 1.0, "ms");
    }

    /// (d) codex's 300 MB of events for one answer
    fn events(&self) {
        let agent = self.agent("flood");
        let mut command = self.program(&["resume-json", "--session-name", "a", "--prompt", "p", "--codex-cmd", &agent]);
        self.report(
            "(d) resume-json of 300 MB of events, resident",
            peak(command.stdout(Stdio::null()), 1),
            16.0,
            "MiB",
        );
    }

    /// (f) the account of as many events
    fn account(&self) {
        let agent = self.agent("flood");
        let text = ["--backend", "codex", "resume-stream", "--format", "text", "--session-name", "a", "--prompt", "p"];
        let mut command = self.program(&[&text[..], &["--codex-cmd", &agent]].concat());
        self.report("(f) an account of 300 MB of events, resident", peak(command.stdout(Stdio::null()), 1), 8.0, "MiB");
    }
}

impl Bench {
    /// (e) one name among 100,000, found and added, against Python doing the same
    fn many_names(&self) {
        let entries: Vec<String> = (0..NAMES)
            .map(|number| {
                format!(
                    "    \"name-{number:06}\": {{\n      \"created_at\": \"2026-11-20T23:11:42.236249+00:00\",\n      \
                     \"last_model\": \"sonnet\",\n      \"last_reasoning_effort\": \"low\",\n      \
                     \"session_id\": \"0f12c83d-d554-4369-b6d8-9fed03{number:06}\"\n    }}"
                )
            })
            .collect();
        let text = format!("{{\n  \"aliases\": {{\n{}\n  }},\n  \"workspace_dir\": \"/w\"\n}}\n", entries.join(",\n"));
        let [large, written] = ["large.json", "written.json"].map(|name| self.dir.path().join(name));
        fs::write(&large, text).expect("a file can be written");
        let large = large.to_str().expect("a path in UTF-8");

        let resolve = || {
            let resolve = ["resolve", "--session-name", "name-050000", "--mapping-file", large];
            let mut command = self.program(&[&["--backend", "claude"], &resolve[..]].concat());
            command.stdout(Stdio::null());
            command
        };
        let runs = AtomicUsize::new(0);
        let create = || {
            // another id each time: what does not change is not written
            let id = format!("id-{}", runs.fetch_add(1, Ordering::Relaxed));
            let create = ["create-session", "--session-name", "new", "--adopt", &id, "--mapping-file", large];
            let mut command = self.program(&[&["--quiet", "--backend", "claude"], &create[..]].concat());
            command.stdout(Stdio::null());
            command
        };
        let python = |script: &str| {
            let mut command = Command::new("python3");
            command.args(["-c", script, large]).arg(&written).stdin(Stdio::null());
            let output = command.output().expect("python3 is on PATH");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("the script tells seconds")
        };
        for (what, ours, script, limit) in [
            ("resolve", &resolve as &dyn Fn() -> Command, PYTHON_READS, 1.0 / 5.0),
            ("create-session --adopt", &create, PYTHON_WRITES, 1.0 / 3.0),
        ] {
            let (with_us, with_python) =
                (0..9).fold((f64::MAX, f64::MAX), |(a, b), _| (a.min(seconds(&mut ours())), b.min(python(script))));
            self.report(&format!("(e) {what} in 100,000 names against Python"), with_us / with_python, limit, "times");
            println!(
                "    {:.0} ms with all of our start, Python {:.0} ms without its",
                with_us * 1e3,
                with_python * 1e3
            );
            self.report(
                &format!("(e) {what} in 100,000 names, resident"),
                (0..9).map(|_| peak(&mut ours(), 1)).fold(0.0, f64::max),
                120.0,
                "MiB",
            );
        }
    }
}

/// The fastest of so many runs of two commands, run in turn so that a noisy moment meets both. In seconds.
fn fastest_in_turn(runs: usize, one: &dyn Fn() -> Command, other: &dyn Fn() -> Command) -> (f64, f64) {
    (0..runs).fold((f64::MAX, f64::MAX), |(a, b), _| (a.min(seconds(&mut one())), b.min(seconds(&mut other()))))
}

/// How long a command takes that succeeds.
fn seconds(command: &mut Command) -> f64 {
    let began = Instant::now();
    assert!(command.status().expect("it can be started").success());
    began.elapsed().as_secs_f64()
}

/// The most memory that the program had in one of so many runs, in MiB, as it says itself while it runs: a look can come
/// before the peak of a program that is soon over.
fn peak(command: &mut Command, runs: usize) -> f64 {
    let mut peak = 0.0_f64;
    for _ in 0..runs {
        let mut child = command.spawn().expect("it can be started");
        while child.try_wait().expect("it can be waited for").is_none() {
            peak = peak.max(peak_now(&child).unwrap_or(0.0));
            thread::sleep(Duration::from_micros(50));
        }
    }
    assert!(peak > 0.0, "the program is always over before it can be asked");
    peak
}

fn peak_now(child: &Child) -> Option<f64> {
    let process = Path::new("/proc").join(child.id().to_string());
    // before it is the program it is a copy of this one
    let is_program = fs::read_link(process.join("exe")).ok()? == Path::new(PROGRAM);
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    is_program.then_some(kib / MIB)
}

/// An agent that writes as fast as it is read.
fn flood() {
    let line = format!(
        "{{\"type\":\"item.completed\",\"item\":{{\"type\":\"command_execution\",\"output\":\"{}\"}}}}\n",
        "x".repeat(LINE - 75)
    );
    let block = line.repeat(64);
    let mut out = std::io::stdout().lock();
    let mut left = FLOOD;
    while left > 0 {
        if out.write_all(block.as_bytes()).is_err() {
            return;
        }
        left = left.saturating_sub(block.len() as u64);
    }
}

/// An agent that says what time it is, a thousand times.
fn tick() {
    for _ in 0..1000 {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(format!("{{\"at\": {}}}\n", now_ns()).as_bytes()).and_then(|()| out.flush());
        drop(out);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nanoseconds since the epoch. A double holds them to a quarter of a microsecond.
fn now_ns() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs_f64() * 1e9
}

//! The measurements, and the programs that they run: an empty program, and agents with much output.

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

/// The output of the flooding agent.
const FLOOD: u64 = 300 << 20;
const LINE: usize = 1 << 10;

/// More names than any real mapping has.
const NAMES: usize = 100_000;

/// Python scripts that find a name, and add one as the original does. They measure their own time, without the start of
/// the interpreter.
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

/// Measures everything. Fails if a result is over its limit.
fn measure() -> ExitCode {
    let bench = Bench::new();
    println!("{:<58} {:>8} {:>8}", "", "measured", "limit");
    bench.start();
    bench.stream();
    bench.delay();
    bench.events();
    bench.many_names();
    bench.text();
    match bench.exceeded.get() {
        0 => ExitCode::SUCCESS,
        exceeded => {
            eprintln!("error: {exceeded} results are over their limits");
            ExitCode::FAILURE
        }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    this_program: PathBuf,
    /// The number of results over their limits.
    exceeded: Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory can be created");
        let this_program = env::current_exe().expect("the path of this program is known");
        let bench = Self { dir, this_program, exceeded: Cell::new(0) };
        for backend in ["claude", "codex"] {
            let create = ["--backend", backend, "create-session", "--session-name", "a", "--adopt", "i"];
            assert!(
                bench.program(&create).stdout(Stdio::null()).status().expect("the command can be started").success()
            );
        }
        bench
    }

    /// Prints a result with its limit, and counts it if it is over the limit.
    fn report(&self, what: &str, got: f64, limit: f64, unit: &str) {
        // NaN is not within any limit
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

    /// Returns the command line of an agent that is a part of this program.
    fn agent(&self, part: &str) -> String {
        format!("'{}' {part}", self.this_program.display())
    }

    /// (a) The time to start, and to find a name.
    fn start(&self) {
        let empty = || {
            let mut command = Command::new(&self.this_program);
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

    /// (b) A stream of 300 MB in lines of 1 KB, compared with `cat`.
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
        let (measured, with_cat) = fastest_in_turn(7, &ours, &cat);
        self.report("(b) resume-stream of 300 MB, wall time against cat", measured / with_cat, 1.5, "times");
        self.report("(b) resume-stream of 300 MB, resident", peak(&mut ours(), 1), 8.0, "MiB");
    }

    /// (c) The delay between the agent's line and the printed line.
    fn delay(&self) {
        let agent = self.agent("tick");
        let mut command =
            self.program(&["resume-stream", "--session-name", "a", "--prompt", "p", "--claude-cmd", &agent]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command can be started");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut delays: Vec<f64> = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(now_ns() - line.strip_prefix("{\"at\": ")?.strip_suffix('}')?.parse::<f64>().ok()?))
            .collect();
        child.wait().expect("the command ends");
        delays.sort_by(f64::total_cmp);
        self.report("(c) delay of a line of the agent, median", delays[delays.len() / 2] / 1e6, 1.0, "ms");
    }

    /// (d) 300 MB of events of codex for one answer.
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

    /// (f) The same events as text.
    fn text(&self) {
        let agent = self.agent("flood");
        let text = ["--backend", "codex", "resume-stream", "--format", "text", "--session-name", "a", "--prompt", "p"];
        let mut command = self.program(&[&text[..], &["--codex-cmd", &agent]].concat());
        self.report("(f) 300 MB of events as text, resident", peak(command.stdout(Stdio::null()), 1), 8.0, "MiB");
    }
}

impl Bench {
    /// (e) Finding and adding one name among 100,000, compared with Python.
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
            // another ID each time, because an unchanged mapping is not written
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
            String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("the script prints seconds")
        };
        for (what, ours, script, limit) in [
            ("resolve", &resolve as &dyn Fn() -> Command, PYTHON_READS, 1.0 / 5.0),
            ("create-session --adopt", &create, PYTHON_WRITES, 1.0 / 3.0),
        ] {
            let (measured, with_python) =
                (0..9).fold((f64::MAX, f64::MAX), |(a, b), _| (a.min(seconds(&mut ours())), b.min(python(script))));
            self.report(&format!("(e) {what} in 100,000 names against Python"), measured / with_python, limit, "times");
            println!(
                "    {:.0} ms including the start of the program, Python {:.0} ms without the start of the interpreter",
                measured * 1e3,
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

/// Returns the shortest time of two commands in seconds, each run `runs` times. They run in turn, so that noise affects
/// both.
fn fastest_in_turn(runs: usize, one: &dyn Fn() -> Command, other: &dyn Fn() -> Command) -> (f64, f64) {
    (0..runs).fold((f64::MAX, f64::MAX), |(a, b), _| (a.min(seconds(&mut one())), b.min(seconds(&mut other()))))
}

/// Returns the duration of a command, which must succeed, in seconds.
fn seconds(command: &mut Command) -> f64 {
    let began = Instant::now();
    assert!(command.status().expect("the command can be started").success());
    began.elapsed().as_secs_f64()
}

/// Returns the peak memory of the program in MiB, which is the highest of `runs` runs. It is read while the program
/// runs, so a short run may end before its peak is read.
fn peak(command: &mut Command, runs: usize) -> f64 {
    let mut peak = 0.0_f64;
    for _ in 0..runs {
        let mut child = command.spawn().expect("the command can be started");
        while child.try_wait().expect("the command can be waited for").is_none() {
            peak = peak.max(peak_now(&child).unwrap_or(0.0));
            thread::sleep(Duration::from_micros(50));
        }
    }
    assert!(peak > 0.0, "the program ended before its memory could be read");
    peak
}

fn peak_now(child: &Child) -> Option<f64> {
    let process = Path::new("/proc").join(child.id().to_string());
    // before the exec the child is a copy of this program
    let is_program = fs::read_link(process.join("exe")).ok()? == Path::new(PROGRAM);
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    is_program.then_some(kib / MIB)
}

/// Acts as an agent that writes as fast as its output is read.
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

/// Acts as an agent that prints the time a thousand times.
fn tick() {
    for _ in 0..1000 {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(format!("{{\"at\": {}}}\n", now_ns()).as_bytes()).and_then(|()| out.flush());
        drop(out);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the nanoseconds since the epoch. An `f64` represents them with a precision of a quarter of a microsecond.
fn now_ns() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs_f64() * 1e9
}

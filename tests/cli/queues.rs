//! Calls that wait for one session or name run in the order in which they began to wait (contract section 8).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::*;

const SOON: Duration = Duration::from_secs(60);

/// A sandbox whose first turn lasts until it is released. The other turns answer immediately.
struct Queue {
    sandbox: Sandbox,
    backend: Backend,
}

impl Queue {
    /// The session `i` has two names, `a` and `b`.
    fn new(backend: Backend) -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.env("INVOKE_PERSIST_DIR", sandbox.root().join("names")); // to see the places
        sandbox.save(backend, "a", "i");
        sandbox.save(backend, "b", "i");
        sandbox.agent([
            backend.answers("i", "OK").after([Step::create("up"), Step::wait_for("go")]),
            backend.answers("i", "OK"),
        ]);
        Self { sandbox, backend }
    }

    fn call<'a>(&self, prompt: &'a str, options: &[&'a str]) -> Vec<&'a str> {
        let selector =
            if options.iter().any(|option| option.starts_with("--session")) { "" } else { "--session-name=a" };
        let call = ["--backend", self.backend.name(), "resume-json", selector, "--prompt", prompt];
        call.into_iter().filter(|word| !word.is_empty()).chain(options.iter().copied()).collect()
    }

    /// Starts the first turn and waits until its agent runs.
    fn start_first(&self) -> Running {
        let first = self.sandbox.start(&self.call("first", &[]));
        wait_until(SOON, || self.sandbox.has_reached("up"));
        first
    }

    /// Starts a call and waits until it has its place.
    fn start(&self, prompt: &str, options: &[&str]) -> Running {
        let before = self.places();
        let running = self.sandbox.start(&self.call(prompt, options));
        wait_until(SOON, || self.places().iter().any(|place| !before.contains(place)));
        running
    }

    fn lock_dir(&self) -> PathBuf {
        self.sandbox.root().join("names/locks")
    }

    /// Returns the files of the places, sorted.
    fn places(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.lock_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut places: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".place")).collect();
        places.sort();
        places
    }

    /// Returns the prompts of the turns in their order.
    fn prompts(&self) -> Vec<String> {
        let is_prompt = |word: &&String| {
            *word == "first" || word.strip_prefix('p').is_some_and(|number| number.parse::<u8>().is_ok())
        };
        let prompt = |call: &Call| call.argv.iter().find(is_prompt).expect("the call has a prompt").clone();
        self.sandbox.calls().iter().map(prompt).collect()
    }

    /// Releases the first turn, and waits for the calls.
    fn finish(&self, calls: impl IntoIterator<Item = Running>) {
        self.sandbox.allow("go");
        for call in calls {
            call.wait(SOON).assert.success();
        }
        assert!(self.places().is_empty(), "{:?}", self.places());
    }
}

#[test]
fn calls_that_wait_for_a_session_run_in_their_order() {
    // Wine runs one system call at a time
    const COUNT: usize = if cfg!(windows) { 16 } else { 64 };
    for backend in Backend::BOTH {
        let queue = Queue::new(backend);
        let mut calls = vec![queue.start_first()];
        let prompts: Vec<String> = (0..COUNT).map(|number| format!("p{number}")).collect();
        let selectors = ["--session-name=a", "--session-name=b", "--session-id=i", "--session-id=I"];
        for (prompt, selector) in prompts.iter().zip(selectors.into_iter().cycle()) {
            calls.push(queue.start(prompt, &[selector]));
        }
        queue.finish(calls);
        assert_eq!(queue.prompts(), [&["first".to_owned()], &prompts[..]].concat());
    }
}

#[test]
fn calls_that_wait_for_a_name_run_in_their_order() {
    for backend in Backend::BOTH {
        let queue = Queue::new(backend);
        let create = ["--session-name=new", "--if-missing=create"];
        let first = queue.sandbox.start(&queue.call("first", &create));
        wait_until(SOON, || queue.sandbox.has_reached("up"));
        let prompts = ["p0", "p1", "p2", "p3"];
        let mut calls = vec![first];
        for prompt in prompts {
            let before = queue.places().len();
            let init = ["--backend", backend.name(), "create-session", "--session-name=new", "--init-prompt", prompt];
            calls.push(queue.sandbox.start(&init));
            wait_until(SOON, || queue.places().len() > before);
        }
        queue.finish(calls);
        assert_eq!(queue.prompts(), [&["first"], &prompts[..]].concat());
    }
}

#[test]
#[cfg(unix)] // KILL is a Unix signal
fn call_that_is_killed_or_interrupted_gives_up_its_place() {
    use rustix::process::Signal;
    for backend in Backend::BOTH {
        let queue = Queue::new(backend);
        let first = queue.start_first();
        let mut ended = [queue.start("p0", &[]), queue.start("p1", &[])];
        let second = queue.start("p2", &[]);
        for (call, signal) in ended.iter_mut().zip([Signal::KILL, Signal::TERM]) {
            call.signal(signal);
            wait_until(SOON, || call.has_ended());
        }
        let third = queue.start("p3", &[]);
        queue.finish([first, second, third]);
        assert_eq!(queue.prompts(), ["first", "p2", "p3"]);
    }
}

#[test]
fn deadline_ends_a_wait_in_the_middle_of_the_queue() {
    let queue = Queue::new(Backend::Claude);
    let first = queue.start_first();
    let second = queue.start("p0", &[]);
    let limited = queue.start("p1", &["--deadline-seconds=0.5", "--error-format=json"]);
    let third = queue.start("p2", &[]);
    let failure = limited.wait(SOON).assert.failed(124, "deadline").before_the_turn();
    let locked =
        format!("the deadline passed while the session 'a', also named 'b' (i) was locked by process {}", first.pid());
    failure.message(starts_with(if cfg!(windows) { "the deadline passed while " } else { &locked }));
    assert_eq!(queue.places().len(), 2);
    queue.finish([first, second, third]);
    assert_eq!(queue.prompts(), ["first", "p0", "p2"]);
}

/// Stops the first waiter, so that the session is free but reserved.
#[test]
#[cfg(unix)] // STOP is a Unix signal
fn call_that_does_not_wait_does_not_pass_the_waiters() {
    use rustix::process::Signal;
    for backend in Backend::BOTH {
        let queue = Queue::new(backend);
        let first = queue.start_first();
        let second = queue.start("p0", &[]);
        second.signal(Signal::STOP);
        queue.sandbox.allow("go");
        first.wait(SOON).assert.success();
        queue.sandbox.fails(&queue.call("p1", &["--if-busy=fail"]), 5, "session_busy").before_the_turn().message(
            starts_with(format!("the session 'a', also named 'b' (i) is reserved for process {}", second.pid())),
        );
        // later calls do not wait for a stopped one forever
        let third = queue.start("p2", &[]);
        third.wait(SOON).assert.success();
        second.signal(Signal::CONT);
        queue.finish([second]);
        assert_eq!(queue.prompts(), ["first", "p2", "p0"]);
    }
}

#[test]
fn files_that_are_not_places_of_living_calls_do_not_matter() {
    let queue = Queue::new(Backend::Claude);
    let first = queue.start_first();
    let second = queue.start("p0", &[]);
    let place = queue.places().remove(0);
    let name = place.file_name().unwrap().to_str().unwrap();
    let lock = name.split_once('.').unwrap().0;
    let path = |number: &str| queue.lock_dir().join(format!("{lock}.{number}.0.place"));
    let left = [path("00000000000000000001"), path("00000000000000000002")];
    fs::write(&left[0], "1\n").unwrap();
    fs::write(&left[1], "").unwrap();
    let unusual =
        [path("x"), path(""), path("99999999999999999999999"), queue.lock_dir().join(format!("{lock}.place"))];
    for file in &unusual {
        fs::write(file, "").unwrap();
    }
    let victim = queue.sandbox.write("victim", "text");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&victim, path("00000000000000000003")).unwrap();
    fs::create_dir(path("00000000000000000004")).unwrap();
    let third = queue.sandbox.start(&queue.call("p1", &[]));
    wait_until(SOON, || left.iter().all(|file| !file.exists())); // calls that were killed left them
    queue.sandbox.allow("go");
    for call in [first, second, third] {
        call.wait(SOON).assert.success();
    }
    assert_eq!(queue.prompts(), ["first", "p0", "p1"]);
    assert!(unusual.iter().all(|file| file.exists()));
    assert_eq!(fs::read_to_string(victim).unwrap(), "text");
}

#[test]
fn place_survives_the_removal_of_its_file() {
    let queue = Queue::new(Backend::Claude);
    let first = queue.start_first();
    let second = queue.start("p0", &[]);
    let place = queue.places();
    fs::remove_file(&place[0]).unwrap();
    let third = queue.start("p1", &[]);
    wait_until(SOON, || queue.places().len() == 2);
    assert_eq!(queue.places()[..1], place);
    queue.finish([first, second, third]);
    assert_eq!(queue.prompts(), ["first", "p0", "p1"]);
}

#[test]
fn call_whose_name_changes_while_it_waits_joins_the_other_queue() {
    for backend in Backend::BOTH {
        let queue = Queue::new(backend);
        let first = queue.start_first();
        let second = queue.start("p0", &["--session-name=b"]);
        let third = queue.start("p1", &[]);
        queue.sandbox.save(backend, "b", "other");
        queue.sandbox.agent(backend.answers("@ID@", "OK"));
        queue.finish([first, second, third]);
        let calls = queue.sandbox.calls();
        let sessions: Vec<bool> = calls.iter().map(|call| call.has("other")).collect();
        assert_eq!(calls.len(), 3);
        assert_eq!(sessions.iter().filter(|other| **other).count(), 1, "only the call by the changed name moves");
    }
}

//! The isolated environment of one test: a home, a workspace, a temp directory, a PATH and a model.
//!
//! The agents do not see any file or variable of the user, and their files are removed after the test.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agents::{Agent, Installation, Release, installation},
    call::{Call, Outcome},
    model_api::ModelApi,
    processes::{self, Process},
    shared::wait::POLL_INTERVAL,
};

/// The session of most tests.
pub(crate) const SESSION: &str = "review";

/// The time that processes may need to end after their call.
const GONE_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) agent: Agent,
    pub(crate) api: ModelApi,
    root: TempDir,
}

impl World {
    pub(crate) fn new(agent: Agent) -> Self {
        let installation = installation();
        // Below the build directory, because codex warns about a home below the system's temp directory. The prefix is
        // short because claude creates sockets in its temp directory, and their paths are limited to about 100 bytes.
        let root = tempfile::Builder::new().prefix("ra-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let world = Self { agent, api: ModelApi::start(), root: root.expect("the build directory can be written") };
        world.create_files(installation).expect("the files of a new world can be created");
        world
    }

    /// Returns whether the request is one that older releases of claude send whatever their settings. It is refused, too.
    fn is_usual(&self, leak: &str) -> bool {
        const HOSTS: [&str; 2] = ["CONNECT api.anthropic.com:443", "CONNECT raw.githubusercontent.com:443"];
        self.agent == Agent::Claude && self.release() < (2, 1, 268) && HOSTS.contains(&leak)
    }

    /// Returns the release of this world's agent.
    pub(crate) fn release(&self) -> Release {
        installation().release(self.agent)
    }

    fn create_files(&self, installation: &Installation) -> std::io::Result<()> {
        for dir in ["bin", "home", "codex", "tmp", "work"] {
            fs::create_dir(self.path(dir))?;
        }
        symlink(&installation.claude, self.path("bin/claude"))?;
        symlink(&installation.codex, self.path("bin/codex"))?;
        symlink(env!("CARGO_BIN_EXE_invoke-persist"), self.path("bin/invoke-persist"))?;
        fs::write(self.path("codex/config.toml"), self.codex_config())
    }

    /// codex retries once, so that a failure also produces the `error` event of a reconnect.
    fn codex_config(&self) -> String {
        let url = self.api.url();
        format!(
            r#"
            model = "model-of-config"
            model_provider = "loopback"
            project_doc_max_bytes = 0 # no AGENTS.md from above the workspace

            [model_providers.loopback]
            name = "loopback"
            base_url = "{url}/v1"
            wire_api = "responses"
            env_key = "LOOPBACK_KEY"
            request_max_retries = 0
            stream_max_retries = 1

            [analytics]
            enabled = false # waits 5 s at the end of each call without a network

            [features]
            plugins = false # asks a public host for them
            "#
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file outside the workspace and returns its path.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, contents).expect("a file of the world can be written");
        path.into_os_string().into_string().expect("a world's path is UTF-8")
    }

    /// Calls the program for the agent of this world: `verb` with these arguments.
    pub(crate) fn call(&self, verb: &str, arguments: &[&str]) -> Call {
        self.call_for(self.agent, verb, arguments)
    }

    /// Calls the program for either agent.
    pub(crate) fn call_for(&self, agent: Agent, verb: &str, arguments: &[&str]) -> Call {
        let options = if verb == "create-session" || verb == "fork-session" || verb.starts_with("resume-") {
            agent.call_options()
        } else {
            &[]
        };
        let arguments = [&["--backend", agent.name(), verb], options, arguments].concat();
        self.call_program(env!("CARGO_BIN_EXE_invoke-persist").as_ref(), &arguments)
    }

    /// Calls the program about its skills.
    pub(crate) fn skill(&self, arguments: &[&str]) -> Call {
        self.call_program(env!("CARGO_BIN_EXE_invoke-persist").as_ref(), &[&["skill"], arguments].concat())
    }

    /// Calls the agent itself.
    pub(crate) fn call_agent(&self, arguments: &[&str]) -> Call {
        self.call_program(&self.path("bin").join(self.agent.name()), arguments)
    }

    /// Runs a line of a shell, which finds the program and the agents on PATH.
    pub(crate) fn shell(&self, line: &str) -> Call {
        self.call_program(Path::new("bash"), &["-c", line])
    }

    /// Returns the line of a shell that sets PATH. codex runs commands in a login shell, which may change it.
    pub(crate) fn path_of_tools(&self) -> String {
        format!("export PATH='{}'", self.search_path().display())
    }

    fn search_path(&self) -> OsString {
        let dirs = [&self.path("bin"), &installation().node_dir, Path::new("/usr/bin"), Path::new("/bin")];
        std::env::join_paths(dirs).expect("no directory on PATH has a colon in its name")
    }

    fn call_program(&self, program: &Path, arguments: &[&str]) -> Call {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path("work")).env_clear().envs(self.environment());
        Call::new(command)
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let url = self.api.url();
        vec![
            ("PATH", self.search_path()),
            ("HOME", self.path("home").into()),
            ("CODEX_HOME", self.path("codex").into()),
            ("TMPDIR", self.path("tmp").into()),
            // The parent directories may belong to another repository.
            ("GIT_CEILING_DIRECTORIES", self.root.path().into()),
            ("ANTHROPIC_BASE_URL", url.clone().into()),
            ("ANTHROPIC_API_KEY", "any".into()),
            ("LOOPBACK_KEY", "any".into()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
            ("CLAUDE_CODE_MAX_RETRIES", "1".into()),
            ("DISABLE_AUTOUPDATER", "1".into()),
            // Lets claude skip permissions as root, because tests in a container run as root.
            ("IS_SANDBOX", "1".into()),
            // Connections to other machines reach the model, which records them.
            ("NO_PROXY", "127.0.0.1".into()),
            ("HTTP_PROXY", url.clone().into()),
            ("HTTPS_PROXY", url.clone().into()),
            ("ALL_PROXY", url.into()),
        ]
    }

    /// Starts the session [`SESSION`] and returns its ID.
    #[track_caller]
    pub(crate) fn create(&self, arguments: &[&str]) -> String {
        let arguments = [&["--session-name", SESSION], arguments].concat();
        self.call("create-session", &arguments).run().success().line().to_owned()
    }

    /// Runs one turn of [`SESSION`] with `resume-json`.
    pub(crate) fn resume(&self, prompt: &str, arguments: &[&str]) -> Call {
        self.call("resume-json", &[&["--session-name", SESSION, "--prompt", prompt], arguments].concat())
    }

    /// Returns the model's answer from the output of `resume-json`.
    #[track_caller]
    pub(crate) fn answer(&self, outcome: &Outcome) -> String {
        let output = outcome.json();
        let answer = output[self.agent.answer_key()].as_str();
        answer.unwrap_or_else(|| panic!("no answer in the output\n{outcome}")).to_owned()
    }

    /// Calls a command about turns, which needs no backend.
    pub(crate) fn call_about_turns(&self, arguments: &[&str]) -> Call {
        self.call_program(env!("CARGO_BIN_EXE_invoke-persist").as_ref(), arguments)
    }

    /// Detaches a turn and returns its ID.
    #[track_caller]
    pub(crate) fn detach(&self, verb: &str, arguments: &[&str]) -> String {
        let options = ["--detach", "--print-turn-id"];
        self.call(verb, &[&options, arguments].concat()).run().success().line().to_owned()
    }

    /// Returns the record of a turn.
    #[track_caller]
    pub(crate) fn record(&self, turn: &str) -> Value {
        self.call_about_turns(&["show-turn", "--turn-id", turn]).run().success().json()
    }

    /// Waits for the end of a turn. Returns what it has printed.
    #[track_caller]
    pub(crate) fn wait_turn(&self, turn: &str) -> Outcome {
        self.call_about_turns(&["wait-turn", "--turn-id", turn, "--timeout-seconds", "60"]).run()
    }

    /// Kills all processes of this world except those of detached turns.
    #[cfg(target_os = "linux")]
    pub(crate) fn kill_all_but_detached_turns(&self) {
        // the list is complete before the first one is killed, because its children would get another parent
        let mut processes = processes::of_world(self.root.path());
        processes.retain(|process| !process.is_of_detached_turn());
        processes.iter().for_each(Process::kill);
    }

    /// Returns the entry of [`SESSION`], as `resolve` prints it.
    #[track_caller]
    pub(crate) fn stored(&self) -> Value {
        self.call("resolve", &["--session-name", SESSION]).run().success().json()
    }

    /// Returns the bytes of the mapping file.
    #[track_caller]
    pub(crate) fn mapping(&self) -> Vec<u8> {
        let file =
            self.stored()["mapping_file"].as_str().map(PathBuf::from).expect("`resolve` prints the mapping file");
        fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Waits until all processes of this world have ended. Returns those that still run after the time limit.
    pub(crate) fn left_running(&self) -> Vec<Process> {
        let begin = Instant::now();
        loop {
            let left = processes::of_world(self.root.path());
            if left.is_empty() || begin.elapsed() >= GONE_LIMIT {
                return left;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for World {
    /// Checks that no process tried to reach another machine, and that no process is left.
    fn drop(&mut self) {
        let leaks: Vec<_> = self.api.leaks().into_iter().filter(|leak| !self.is_usual(leak)).collect();
        let left = if thread::panicking() { processes::of_world(self.root.path()) } else { self.left_running() };
        for process in &left {
            process.kill();
        }
        if !thread::panicking() {
            assert!(leaks.is_empty(), "unexpected requests reached the model: {leaks:#?}");
            assert!(left.is_empty(), "still running at the end of the test: {left:#?}");
        }
    }
}

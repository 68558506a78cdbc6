//! The isolated environment of one test.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use assert_cmd::assert::Assert;
use tempfile::TempDir;

use super::agent::{Backend, Plan};
use super::calls::{self, Call};
use super::digest::md5_hex;
use super::outcome::{AssertExt as _, Failure};
use super::running::{RunCommand, Running, reset_ignored_signals, run_to_end};

const PROGRAM: &str = env!("CARGO_BIN_EXE_invoke-persist");

/// The names of the stand-ins: both agents and a user's wrapper.
const AGENTS: [&str; 3] = ["claude", "codex", "my-wrapper"];

/// New directories, an environment without the caller's variables, and stand-ins for the agents first on PATH.
///
/// Removes its directories when dropped. Agents that are still waiting end when their directory is gone.
pub(crate) struct Sandbox {
    root: PathBuf,
    workspace: PathBuf,
    env: BTreeMap<OsString, OsString>,
    _removed_on_drop: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self::with_workspace("ws")
    }

    /// Creates a sandbox whose workspace directory has this name.
    pub(crate) fn with_workspace(name: &str) -> Self {
        reset_ignored_signals();
        // Cargo's temp directory is on the same file system as the stand-ins, so they can be hard links.
        let dir = tempfile::Builder::new()
            .prefix("sandbox-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory can be created");
        // The program resolves symlinks, so the expected paths must be resolved too.
        let root = real_path(dir.path());
        let mut sandbox = Self { workspace: root.join(name), root, env: BTreeMap::new(), _removed_on_drop: dir };
        for dir in [&sandbox.workspace, &sandbox.temp(), &sandbox.home(), &sandbox.bin()] {
            fs::create_dir(dir).expect("a directory can be created");
        }
        for agent in AGENTS {
            link(&stand_in(), &sandbox.agent_program(agent));
        }
        sandbox.set_standard_environment();
        sandbox
    }

    fn set_standard_environment(&mut self) {
        let mut path = vec![self.bin()];
        if cfg!(windows) {
            let system = PathBuf::from(env::var_os("SystemRoot").expect("Windows always sets it"));
            path.extend([system.join("System32"), system.clone()]);
            path.extend(library_dirs());
            // The runtime libraries of a program need these.
            self.env("SystemRoot", system);
            self.env("PATHEXT", ".COM;.EXE;.BAT;.CMD");
            self.env("USERPROFILE", self.home());
            self.env("LOCALAPPDATA", self.home().join("AppData"));
            self.env("TEMP", self.temp());
            self.env("TMP", self.temp());
        } else {
            path.extend(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from));
        }
        self.env("PATH", env::join_paths(path).expect("no directory has a separator in its name"));
        self.env("HOME", self.home());
        self.env("TMPDIR", self.temp());
        self.env("LANG", "C.UTF-8");
    }
}

impl Drop for Sandbox {
    /// Removes the plan first, because Windows cannot remove the directory of a running program.
    fn drop(&mut self) {
        let _ = fs::remove_file(self.bin().join("plan.json"));
    }
}

/// The paths, and the files that tests create.
impl Sandbox {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the current directory of every run.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    pub(crate) fn temp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Returns the directory for the state of the program, in which it keeps its records.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home().join(if cfg!(windows) { "AppData" } else { ".local/state" }).join("invoke-persist")
    }

    /// Returns the directory of the stand-ins. Relative paths in a plan start here.
    pub(crate) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Returns the path of the agent with this name.
    pub(crate) fn agent_program(&self, name: &str) -> PathBuf {
        self.bin().join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// Writes a file, and creates its parent directories. A relative path starts at the workspace.
    pub(crate) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.workspace.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("a directory can be created");
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Creates an empty file next to the stand-ins, so that a step `wait_for` continues.
    pub(crate) fn allow(&self, file: &str) {
        self.write(self.bin().join(file), "");
    }

    /// Returns whether a step `create` has created this file.
    pub(crate) fn has_reached(&self, file: &str) -> bool {
        self.bin().join(file).exists()
    }

    /// Returns whether the process that took this lock in a step `lock` is alive. A zombie is not.
    pub(crate) fn is_locked(&self, file: &str) -> bool {
        let file = fs::File::open(self.bin().join(file)).expect("the step `lock` creates the file");
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    }

    /// Sets a variable for every later run.
    pub(crate) fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
    }

    /// Leaves only these agents on PATH, without the system's directories, which may contain real agents.
    pub(crate) fn only_agents(&mut self, names: &[&str]) {
        for agent in AGENTS.iter().filter(|agent| !names.contains(agent)) {
            // Moved instead of removed, because another test may be running the same program under another name. Windows
            // cannot remove any name of a running program.
            fs::rename(self.agent_program(agent), self.root.join(agent)).expect("every agent has a stand-in");
        }
        self.env("PATH", Self::path_of(&self.bin()));
    }

    /// Returns a value of PATH with only the programs of `dir`.
    pub(crate) fn path_of(dir: &Path) -> OsString {
        let dirs = [dir.to_owned()].into_iter().chain(library_dirs());
        env::join_paths(dirs).expect("no directory has a separator in its name")
    }

    /// Creates another name for the program, in a directory that is not on PATH.
    pub(crate) fn program_named(&self, name: &str) -> PathBuf {
        let dir = self.root.join("links");
        fs::create_dir_all(&dir).expect("a directory can be created");
        let program = dir.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        link(Path::new(PROGRAM), &program);
        program
    }
}

/// The agents.
impl Sandbox {
    /// Sets the plan of the agents: the n-th call plays the n-th turn, and every later call the last.
    pub(crate) fn agent(&self, plan: impl Into<Plan>) {
        let plan = plan.into().0.to_string();
        fs::write(self.bin().join("plan.json"), plan).expect("a file can be written");
    }

    /// Returns the calls of the agents, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        calls::read(&self.bin().join("calls.jsonl")).expect("the record can be read")
    }

    /// Returns the only call. Panics if there were more or none.
    #[track_caller]
    pub(crate) fn only_call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "calls: {calls:#?}");
        calls.remove(0)
    }

    #[track_caller]
    pub(crate) fn last_call(&self) -> Call {
        self.calls().pop().expect("an agent was called")
    }
}

/// The program.
impl Sandbox {
    /// Returns a command that a test can change before running it; see [`RunCommand`].
    pub(crate) fn cmd(&self, args: &[&str]) -> Command {
        self.cmd_of(Path::new(PROGRAM), args)
    }

    /// Returns the same command for another program; see [`Self::program_named`].
    pub(crate) fn cmd_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.workspace).env_clear().envs(&self.env);
        command
    }

    /// Runs the program to its end with an empty standard input.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Assert {
        run_to_end(self.cmd(args), None)
    }

    #[track_caller]
    pub(crate) fn run_with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Assert {
        run_to_end(self.cmd(args), Some(input.as_ref()))
    }

    /// Starts the program with an empty standard input and does not wait for it.
    #[track_caller]
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.cmd(args).start()
    }

    #[track_caller]
    pub(crate) fn succeeds(&self, args: &[&str]) -> Assert {
        self.run(args).success()
    }

    /// Runs with `--error-format json` in front; see [`AssertExt::failed`](super::AssertExt::failed).
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], exit_code: i32, kind: &str) -> Failure {
        self.run(&[&["--error-format", "json"], args].concat()).failed(exit_code, kind)
    }
}

/// The environment.
impl Sandbox {
    /// Returns all variables of the program, for a test that starts it through another program.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

/// The mapping files.
impl Sandbox {
    /// Returns the name of a workspace's directory under `agent-sessions`. A relative path starts at the workspace.
    pub(crate) fn key_of(&self, workspace: impl AsRef<Path>) -> String {
        let path = self.workspace.join(workspace);
        let name = path.file_name().and_then(OsStr::to_str).expect("a workspace with a name in UTF-8");
        let is_kept = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let words: Vec<_> = name.split(|c| !is_kept(c)).filter(|word| !word.is_empty()).collect();
        let joined = words.join("_");
        let base = Some(joined.trim_matches('_')).filter(|base| !base.is_empty()).unwrap_or("workspace");
        format!("{base}-{}", md5_hex([path.to_str().expect("a path in UTF-8")]))
    }

    /// Returns the path of the workspace's mapping.
    pub(crate) fn mapping_path(&self, backend: Backend) -> PathBuf {
        let dir = self.temp().join("agent-sessions").join(self.key_of(self.workspace()));
        dir.join(backend.mapping_file_name())
    }

    /// Saves a name for an existing session without calling the agent.
    #[track_caller]
    pub(crate) fn save(&self, backend: Backend, name: &str, id: &str) {
        let create = ["create-session", "--session-name", name, "--adopt", id];
        self.succeeds(&[&["--backend", backend.name()], &create[..]].concat());
    }

    /// Returns the text of the workspace's mapping file.
    #[track_caller]
    pub(crate) fn mapping(&self, backend: Backend) -> String {
        let path = self.mapping_path(backend);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Writes the mapping file of the workspace, with the private permissions that the program itself uses.
    pub(crate) fn write_mapping(&self, backend: Backend, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(self.mapping_path(backend), text);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let dir = path.parent().expect("a file lies in a directory");
            for (path, mode) in [(path.as_path(), 0o600), (dir, 0o700), (&self.temp().join("agent-sessions"), 0o1777)] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the test owns the file");
            }
        }
        path
    }
}

/// Returns the directories of `PATH` without an agent on Windows, which also searches `PATH` for libraries. Returns
/// nothing on other systems.
fn library_dirs() -> Vec<PathBuf> {
    let has_agent = |dir: &PathBuf| AGENTS.iter().any(|agent| dir.join(format!("{agent}.exe")).exists());
    let path = env::var_os("PATH").filter(|_| cfg!(windows)).unwrap_or_default();
    env::split_paths(&path).filter(|dir| !has_agent(dir)).collect()
}

/// Returns the path of the scripted agent. Cargo builds it next to the program for a plain `cargo test`, but not for
/// `cargo test --test cli`.
fn stand_in() -> PathBuf {
    let name = format!("stand-in-agent{}", env::consts::EXE_SUFFIX);
    let program = Path::new(PROGRAM).with_file_name("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --examples`", program.display());
    program
}

/// Creates a second name for a program as a link. A copy could not be executed while any process has it open, and other
/// tests start processes that inherit open files.
fn link(program: &Path, name: &Path) {
    match fs::hard_link(program, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(_) => drop(fs::copy(program, name).expect("a program that cannot be linked can be copied")),
        Ok(()) => {}
    }
}

/// Returns the path without links, and without the `\\?\` that Windows adds to such a path.
fn real_path(path: &Path) -> PathBuf {
    let path = path.canonicalize().expect("the path exists");
    path.to_str().and_then(|text| text.strip_prefix(r"\\?\")).map_or_else(|| path.clone(), PathBuf::from)
}

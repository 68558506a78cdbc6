//! The two agents: their installation, their required versions, and their differences in the tests.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The variable with the directory that was passed to `install.sh`.
const INSTALLED_AT: &str = "INVOKE_PERSIST_TEST_AGENTS";

/// The script with the versions.
const INSTALL_SCRIPT: &str = include_str!("install.sh");

/// The three numbers of a release.
pub(crate) type Release = (u32, u32, u32);

/// The agent of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    Claude,
    Codex,
}

impl Agent {
    /// Returns the value of `--backend`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    /// Returns the key of a session's ID in the program's JSON.
    pub(crate) fn id_key(self) -> &'static str {
        match self {
            Self::Claude => "session_id",
            Self::Codex => "thread_id",
        }
    }

    /// Returns the option for a session ID.
    pub(crate) fn id_option(self) -> &'static str {
        match self {
            Self::Claude => "--session-id",
            Self::Codex => "--thread-id",
        }
    }

    /// Returns the key of the model's answer in the JSON of `resume-json`.
    pub(crate) fn answer_key(self) -> &'static str {
        match self {
            Self::Claude => "result",
            Self::Codex => "final_message",
        }
    }

    /// Returns the variable with the version that `install.sh` installs instead of the pinned one.
    fn version_variable(self) -> &'static str {
        match self {
            Self::Claude => "INVOKE_PERSIST_CLAUDE_VERSION",
            Self::Codex => "INVOKE_PERSIST_CODEX_VERSION",
        }
    }

    /// Returns what the agent prints before and after its version.
    fn around_version(self) -> (&'static str, &'static str) {
        match self {
            Self::Claude => ("", " (Claude Code)"),
            Self::Codex => ("codex-cli ", ""),
        }
    }

    /// Returns the options that every call of the agent needs, because no workspace of a test is a git repository.
    pub(crate) fn call_options(self) -> &'static [&'static str] {
        match self {
            Self::Claude => &[],
            Self::Codex => &["--skip-git-repo-check"],
        }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The installed programs.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) claude: PathBuf,
    pub(crate) codex: PathBuf,
    /// Node.js, which runs the start script of codex and older releases of claude.
    pub(crate) node_dir: PathBuf,
    modules: PathBuf,
    claude_release: Release,
    codex_release: Release,
}

impl Installation {
    pub(crate) fn release(&self, agent: Agent) -> Release {
        match agent {
            Agent::Claude => self.claude_release,
            Agent::Codex => self.codex_release,
        }
    }

    /// Returns the program with which codex and claude build their sandboxes, from the package of codex.
    #[cfg(target_os = "linux")]
    pub(crate) fn bubblewrap(&self) -> PathBuf {
        let package = self.modules.join(format!("@openai/codex-linux-{}", processor())).join("vendor");
        let targets = package.read_dir().expect("the package of codex is installed").flatten();
        let mut programs = targets.map(|target| target.path().join("codex-resources/bwrap"));
        programs.find(|program| program.is_file()).expect("the package of codex has bwrap")
    }
}

/// Returns the programs, in the versions that `install.sh` installs.
///
/// # Panics
///
/// If a program is missing. A requested test must not pass without running.
pub(crate) fn installation() -> &'static Installation {
    static FOUND: OnceLock<Result<Installation, String>> = OnceLock::new();
    FOUND.get_or_init(find).as_ref().unwrap_or_else(|problem| {
        panic!(
            "{problem}\n\
             To install the agents: tests/real_agents/install.sh DIR\n\
             To run these tests:    {INSTALLED_AT}=DIR cargo test --test real_agents -- --ignored"
        )
    })
}

fn find() -> Result<Installation, String> {
    let dir = env::var_os(INSTALLED_AT)
        .filter(|dir| !dir.is_empty())
        .ok_or_else(|| format!("the variable {INSTALLED_AT} is not set to the directory of the agents"))?;
    let modules = std::path::absolute(&dir).map_err(|error| format!("{INSTALLED_AT}: {error}"))?.join("node_modules");
    let node = which::which("node").map_err(|error| format!("node, which runs codex, is not on PATH: {error}"))?;
    let node_dir = node.parent().ok_or("the path of node has no directory")?.to_owned();
    let (claude, codex) = (claude_program(&modules)?, modules.join(".bin").join("codex"));
    Ok(Installation {
        claude_release: release(Agent::Claude, &claude, &node_dir)?,
        codex_release: release(Agent::Codex, &codex, &node_dir)?,
        claude,
        codex,
        node_dir,
        modules,
    })
}

/// Returns the native program of claude for this platform. Unlike the package's entry point, it works without an
/// install script. Older releases are a script.
fn claude_program(modules: &Path) -> Result<PathBuf, String> {
    let system = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let package = format!("claude-code-{system}-{}", processor());
    let packages = modules.join("@anthropic-ai");
    let native = [package.clone(), format!("{package}-musl")].map(|package| packages.join(package).join("claude"));
    native
        .into_iter()
        .chain([packages.join("claude-code/cli.js")])
        .find(|program| program.is_file())
        .ok_or_else(|| format!("the package {package} is missing in {}", modules.display()))
}

/// Returns npm's name for the processor.
fn processor() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the release of a program, if it is the required one.
fn release(agent: Agent, program: &Path, node_dir: &Path) -> Result<Release, String> {
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .env("PATH", node_dir)
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let (before, after) = agent.around_version();
    let version = printed.trim().strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).unwrap_or_default();
    let required = env::var(agent.version_variable()).ok().filter(|version| !version.is_empty());
    let required = required.unwrap_or_else(|| pinned(&format!("{agent}_version")).to_owned());
    let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
    match numbers[..] {
        [major, minor, patch] if version == required || required == "latest" => Ok((major, minor, patch)),
        _ => Err(format!("{} is {:?}, but these tests require {required}", program.display(), printed.trim())),
    }
}

/// Returns the version in this variable of `install.sh`.
fn pinned(variable: &str) -> &'static str {
    INSTALL_SCRIPT
        .lines()
        .find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("install.sh does not set {variable}"))
}

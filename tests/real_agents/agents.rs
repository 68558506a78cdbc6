//! The two agents: where they are installed, which versions they have to be, and how they differ in what a test sees of
//! them.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Names the directory that `install.sh` was given.
const INSTALLED_AT: &str = "INVOKE_PERSIST_TEST_AGENTS";

/// Holds the versions, among other things.
const INSTALL_SCRIPT: &str = include_str!("install.sh");

/// Whom a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    Claude,
    Codex,
}

impl Agent {
    /// As `--backend` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    /// What our JSON calls the id of a session.
    pub(crate) fn id_key(self) -> &'static str {
        match self {
            Self::Claude => "session_id",
            Self::Codex => "thread_id",
        }
    }

    /// The option that takes an id.
    pub(crate) fn id_option(self) -> &'static str {
        match self {
            Self::Claude => "--session-id",
            Self::Codex => "--thread-id",
        }
    }

    /// Where the JSON of `resume-json` has what the model said.
    pub(crate) fn answer_key(self) -> &'static str {
        match self {
            Self::Claude => "result",
            Self::Codex => "final_message",
        }
    }

    /// What a call of the agent needs beside what the test is about: no test's workspace is a git repository.
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

/// The programs on this machine.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) claude: PathBuf,
    pub(crate) codex: PathBuf,
    /// codex is started by a script of node's.
    pub(crate) node_dir: PathBuf,
}

/// The programs, in the versions that `install.sh` installs.
///
/// # Panics
///
/// If they are not there. Whoever asks for these tests by name wants to know, not to see them pass unrun.
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
        .ok_or_else(|| format!("the variable {INSTALLED_AT} does not say where the agents are installed"))?;
    let modules = std::path::absolute(&dir).map_err(|error| format!("{INSTALLED_AT}: {error}"))?.join("node_modules");
    let node = which::which("node").map_err(|error| format!("node, which runs codex, is not on PATH: {error}"))?;
    let installation = Installation {
        claude: claude_program(&modules)?,
        codex: modules.join(".bin").join("codex"),
        node_dir: node.parent().ok_or("node lies nowhere")?.to_owned(),
    };
    check_version(&installation, &installation.claude, &format!("{} (Claude Code)", pinned("claude_version")))?;
    check_version(&installation, &installation.codex, &format!("codex-cli {}", pinned("codex_version")))?;
    Ok(installation)
}

/// claude's own program for this platform. The package's entry point needs an install script to have run; this one does
/// not.
fn claude_program(modules: &Path) -> Result<PathBuf, String> {
    let system = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("claude-code-{system}-{processor}");
    let programs = [package.clone(), format!("{package}-musl")]
        .map(|package| modules.join("@anthropic-ai").join(package).join("claude"));
    programs
        .into_iter()
        .find(|program| program.is_file())
        .ok_or_else(|| format!("there is no {package} in {}", modules.display()))
}

fn check_version(installation: &Installation, program: &Path, expected: &str) -> Result<(), String> {
    let output = Command::new(program)
        .arg("--version")
        .env_clear()
        .env("PATH", &installation.node_dir)
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let version = String::from_utf8_lossy(&output.stdout);
    if version.trim() == expected {
        Ok(())
    } else {
        Err(format!("{} is {:?}, these tests are about {expected:?}", program.display(), version.trim()))
    }
}

/// A version that `install.sh` sets, under the name it has there.
fn pinned(variable: &str) -> &'static str {
    INSTALL_SCRIPT
        .lines()
        .find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("install.sh sets no {variable}"))
}

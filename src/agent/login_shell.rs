//! Looks this program up in a login shell, because codex runs its commands in login shells.

use std::path::{Path, PathBuf};

use super::probe::PROGRAM;
use crate::error::Result;
use crate::paths;

/// The result of looking this program up by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LookupResult {
    /// This program.
    ThisProgram(PathBuf),
    /// Another file with its name.
    Other(PathBuf),
    NotFound,
    /// The shell could not be run.
    #[cfg_attr(windows, expect(dead_code, reason = "Windows has no login shell"))]
    Unknown(String),
}

impl LookupResult {
    /// Describes the result in words that follow "a login shell". Also returns a hint if this program was not found.
    pub(crate) fn describe(&self) -> (String, Option<&'static str>) {
        match self {
            Self::ThisProgram(path) => (format!("finds {PROGRAM}: {}", path.display()), None),
            Self::Other(path) => (
                format!("finds another {PROGRAM}: {}", path.display()),
                Some("codex will run that one; remove it, or put this one first on your login shell's PATH"),
            ),
            Self::NotFound => (
                format!("does not find {PROGRAM}"),
                Some(
                    "codex will not find it either; install it in a directory on your login shell's PATH, \
                     such as /usr/local/bin",
                ),
            ),
            Self::Unknown(why) => {
                (format!("cannot be asked: {why}"), Some("check that 'bash -lc true' runs and exits immediately"))
            }
        }
    }
}

/// Looks this program up in a login shell, whose profile may change PATH. codex runs its commands in one (`bash -lc`).
#[cfg(unix)]
pub(crate) fn lookup() -> Result<LookupResult> {
    use super::probe;
    use crate::error::ErrorKind;
    use crate::process::End;
    let path = std::env::var_os("PATH");
    let Ok(bash) = paths::find_program("bash", path.as_deref(), Path::new("/")) else {
        return Ok(LookupResult::Unknown("bash is not on PATH".to_owned()));
    };
    let command = format!("command -v {PROGRAM}");
    let response = match probe::run(&bash, vec!["-lc".into(), command.into()], Vec::new(), Vec::new()) {
        Err(error) if matches!(error.kind, ErrorKind::Interrupted(_)) => return Err(error),
        Err(error) => return Ok(LookupResult::Unknown(error.to_single_line())),
        Ok(response) => response,
    };
    Ok(match (response.end, response.stdout.lines().last().map(str::trim)) {
        (End::Exited(0), Some(path)) => found(PathBuf::from(path)),
        (End::Exited(_), _) => LookupResult::NotFound,
        _ => LookupResult::Unknown(response.failure().unwrap_or_default()),
    })
}

/// Looks this program up on PATH, because Windows has no login shells.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix it runs a shell")]
pub(crate) fn lookup() -> Result<LookupResult> {
    let path = std::env::var_os("PATH");
    Ok(paths::find_program(PROGRAM, path.as_deref(), Path::new(".")).map_or(LookupResult::NotFound, found))
}

fn found(path: PathBuf) -> LookupResult {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let this_program = std::env::current_exe().ok().and_then(|path| real(&path));
    if this_program.is_some() && real(&path) == this_program {
        LookupResult::ThisProgram(path)
    } else {
        LookupResult::Other(path)
    }
}

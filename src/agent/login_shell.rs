//! What a login shell finds under this program's name: codex runs its commands in one.

use std::path::{Path, PathBuf};

use super::probe::{PROGRAM, ask};
use crate::error::{ErrorKind, Result};
use crate::paths;
use crate::process::End;

/// What somebody finds who calls this program by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LookupResult {
    /// This very program.
    Us(PathBuf),
    /// Another file of that name.
    Another(PathBuf),
    Nothing,
    /// The shell could not be asked.
    #[cfg_attr(windows, expect(dead_code, reason = "there is no shell to be asked"))]
    Unknown(String),
}

impl LookupResult {
    /// What a login shell does, in words; if that is not good, with what to do.
    pub(crate) fn tell(&self) -> (String, Option<&'static str>) {
        match self {
            Self::Us(path) => (format!("finds {PROGRAM}: {}", path.display()), None),
            Self::Another(path) => (
                format!("finds another {PROGRAM}: {}", path.display()),
                Some("codex calls that one: remove it, or put this one first on the PATH of your profile"),
            ),
            Self::Nothing => (
                format!("does not find {PROGRAM}"),
                Some("nor will codex: put it into a directory that is on PATH in your profile, as /usr/local/bin is"),
            ),
            Self::Unknown(why) => (
                format!("cannot be asked: {why}"),
                Some("see whether bash is on PATH and reads its profile: bash -lc true"),
            ),
        }
    }
}

/// What a login shell finds under our name: codex runs its commands in one (`bash -lc`), and the profile that it reads
/// may set PATH anew.
#[cfg(unix)]
pub(crate) fn login_shell() -> Result<LookupResult> {
    let path = std::env::var_os("PATH");
    let Ok(bash) = paths::find_program("bash", path.as_deref(), Path::new("/")) else {
        return Ok(LookupResult::Unknown("there is no bash on PATH".to_owned()));
    };
    let question = format!("command -v {PROGRAM}");
    let answer = match ask(&bash, vec!["-lc".into(), question.into()], Vec::new(), Vec::new()) {
        Err(error) if matches!(error.kind, ErrorKind::Interrupted(_)) => return Err(error),
        Err(error) => return Ok(LookupResult::Unknown(error.to_single_line())),
        Ok(answer) => answer,
    };
    Ok(match (answer.end, answer.stdout.lines().last().map(str::trim)) {
        (End::Exited(0), Some(path)) if !path.is_empty() => same_or_another(PathBuf::from(path)),
        (End::Exited(_), _) => LookupResult::Nothing,
        _ => LookupResult::Unknown(answer.failure().unwrap_or_default()),
    })
}

/// Windows has no login shells: PATH is all there is.
#[cfg(windows)]
#[expect(clippy::unnecessary_wraps, reason = "on Unix a shell is asked")]
pub(crate) fn login_shell() -> Result<LookupResult> {
    let path = std::env::var_os("PATH");
    Ok(paths::find_program(PROGRAM, path.as_deref(), Path::new(".")).map_or(LookupResult::Nothing, same_or_another))
}

fn same_or_another(path: PathBuf) -> LookupResult {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let us = std::env::current_exe().ok().and_then(|us| real(&us));
    if us.is_some() && real(&path) == us { LookupResult::Us(path) } else { LookupResult::Another(path) }
}

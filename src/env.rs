//! Every environment variable and default, read in one place.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::session::trim;

/// Names the backend where no option does.
pub(crate) const BACKEND: &str = "INVOKE_PERSIST_BACKEND";
/// Where a log is written, for a bug report: a file, or `-` for standard error.
pub(crate) const LOG: &str = "INVOKE_PERSIST_LOG";
/// Where the mappings live instead of the system's temp directory.
pub(crate) const DIR: &str = "INVOKE_PERSIST_DIR";
/// Handed down to agents: which locks the calls above them hold ([`crate::lock::Key::handed_down`]), separated by
/// commas, so that a call from inside its own session is refused instead of waiting for itself.
pub(crate) const HELD_LOCKS: &str = "INVOKE_PERSIST_HELD";
/// Set by the scripts that [`crate::completion`] prints: the shell that wants to complete a word. A name of our own, for
/// `COMPLETE`, which others use, may stand in anybody's environment, and then no call would do what it says.
pub(crate) const COMPLETE: &str = "INVOKE_PERSIST_COMPLETE";
/// Where the built-in echo agent keeps its sessions.
pub(crate) const ECHO_DIR: &str = "INVOKE_PERSIST_ECHO_DIR";

/// The temp directory's variables, by the rule of Python's `tempfile.gettempdir`.
const TEMP_VARIABLES: [&str; 3] = ["TMPDIR", "TEMP", "TMP"];

/// Where Python looks for a temp directory when no variable names one.
#[cfg(unix)]
const TEMP_DIRS: [&str; 3] = ["/tmp", "/var/tmp", "/usr/tmp"];
#[cfg(windows)]
const TEMP_DIRS: [&str; 6] =
    ["~\\AppData\\Local\\Temp", "%SYSTEMROOT%\\Temp", "c:\\temp", "c:\\tmp", "\\temp", "\\tmp"];

/// The variable's value, `None` where it is unset or blank.
pub(crate) fn var(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) if trim(&value).is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::usage(format!("the variable {name} is not UTF-8"))),
    }
}

/// The variable's value as the system has it, `None` where it is unset or empty.
pub(crate) fn var_os(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Directories that may be the temp directory, best first (contract section 3).
pub(crate) fn temp_dir_candidates() -> Vec<PathBuf> {
    temp_dirs().into_iter().chain(env::current_dir()).collect()
}

/// Directories for what need not last.
pub(crate) fn temp_dirs() -> Vec<PathBuf> {
    let named = TEMP_VARIABLES.iter().filter_map(|name| var_os(name)).map(PathBuf::from);
    named.chain(TEMP_DIRS.iter().filter_map(|dir| expand(dir))).collect()
}

/// The home directory that the system has for this user, whatever variables say.
#[cfg(unix)]
pub(crate) fn account_home() -> Option<PathBuf> {
    crate::sys::home_of(rustix::process::geteuid())
}

/// Windows has it in a variable only.
#[cfg(windows)]
pub(crate) fn account_home() -> Option<PathBuf> {
    None
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "on Windows a variable may be missing")]
fn expand(dir: &str) -> Option<PathBuf> {
    Some(PathBuf::from(dir))
}

#[cfg(windows)]
fn expand(dir: &str) -> Option<PathBuf> {
    if let Some(rest) = dir.strip_prefix("~\\") {
        return Some(PathBuf::from(var_os("USERPROFILE")?).join(rest));
    }
    if let Some(rest) = dir.strip_prefix("%SYSTEMROOT%\\") {
        return Some(PathBuf::from(var_os("SYSTEMROOT")?).join(rest));
    }
    Some(PathBuf::from(dir))
}

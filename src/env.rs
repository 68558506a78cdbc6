//! The environment variables and their defaults.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::session::trim;

/// The backend, if no option selects one.
pub(crate) const BACKEND: &str = "INVOKE_PERSIST_BACKEND";
/// The file for the log. `-` means standard error.
pub(crate) const LOG: &str = "INVOKE_PERSIST_LOG";
/// The directory for mappings, instead of the system's temp directory.
pub(crate) const DIR: &str = "INVOKE_PERSIST_DIR";
/// Whether calls that are not detached have a record: `0` for none.
pub(crate) const RECORD: &str = "INVOKE_PERSIST_RECORD";
/// The directory for records on Unix, unless [`DIR`] is set.
const STATE_HOME: &str = "XDG_STATE_HOME";
/// Set for the process that runs a detached turn, and for no other. Its presence in `/proc/PID/environ` shows that a
/// process must not be stopped together with the agent that started it.
pub(crate) const DETACHED: &str = "INVOKE_PERSIST_DETACHED";
/// The locks that outer calls hold ([`crate::lock::Key::handed_down`]), separated by commas. Set for agents.
///
/// With it, a call for the session that it runs in fails instead of waiting for itself.
pub(crate) const HELD_LOCKS: &str = "INVOKE_PERSIST_HELD";
/// The shell that completes a word. Set by the scripts in [`crate::completion`].
///
/// The name is not `COMPLETE`, because other programs use that. If it were in the environment, every call would print
/// completions.
pub(crate) const COMPLETE: &str = "INVOKE_PERSIST_COMPLETE";
/// The directory for the sessions of the built-in echo agent.
pub(crate) const ECHO_DIR: &str = "INVOKE_PERSIST_ECHO_DIR";
/// The script of the built-in echo agent, if no option names one.
pub(crate) const ECHO_SCRIPT: &str = "INVOKE_PERSIST_ECHO_SCRIPT";

/// The variables for the temp directory, by the rule of Python's `tempfile.gettempdir`.
const TEMP_VARIABLES: [&str; 3] = ["TMPDIR", "TEMP", "TMP"];

/// The directories that Python tries if no variable is set.
#[cfg(unix)]
const TEMP_DIRS: [&str; 3] = ["/tmp", "/var/tmp", "/usr/tmp"];
#[cfg(windows)]
const TEMP_DIRS: [&str; 6] =
    ["~\\AppData\\Local\\Temp", "%SYSTEMROOT%\\Temp", "c:\\temp", "c:\\tmp", "\\temp", "\\tmp"];

/// Returns the value of a variable, or `None` if it is unset or blank.
pub(crate) fn var(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) if trim(&value).is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(Error::usage(format!("the variable {name} is not UTF-8"))),
    }
}

/// Returns the value of a variable, or `None` if it is unset or empty. It may not be UTF-8.
pub(crate) fn var_os(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns the candidates for the temp directory of mappings, best first (contract section 3).
pub(crate) fn temp_dir_candidates() -> Vec<PathBuf> {
    temp_dirs().into_iter().chain(env::current_dir()).collect()
}

/// Returns the candidates for a temp directory, best first.
pub(crate) fn temp_dirs() -> Vec<PathBuf> {
    let named = TEMP_VARIABLES.iter().filter_map(|name| var_os(name)).map(PathBuf::from);
    named.chain(TEMP_DIRS.iter().filter_map(|dir| expand(dir))).collect()
}

/// Returns the variable that selects `dir` as the temp directory, if one does.
pub(crate) fn variable_of_temp_dir(dir: &Path) -> Option<&'static str> {
    TEMP_VARIABLES.into_iter().find(|name| var_os(name).is_some_and(|value| dir == Path::new(&value)))
}

/// Returns the home directory: that of the environment, else that of the account.
pub(crate) fn home() -> Option<PathBuf> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    var_os(variable).map(PathBuf::from).or_else(account_home)
}

/// Returns the directory for the records of turns: `INVOKE_PERSIST_DIR`, else that of the user's state. `None` without a
/// home directory. On Unix this is the XDG Base Directory Specification's.
pub(crate) fn state_dir() -> Option<PathBuf> {
    const OWN: &str = "invoke-persist";
    if let Some(dir) = var_os(DIR) {
        return Some(dir.into());
    }
    if cfg!(windows) {
        return Some(PathBuf::from(var_os("LOCALAPPDATA")?).join(OWN));
    }
    // a relative path in the variable is invalid by the specification
    let state = var_os(STATE_HOME).map(PathBuf::from).filter(|dir| dir.is_absolute());
    Some(state.or_else(|| Some(home()?.join(".local/state")))?.join(OWN))
}

/// Returns the variable to set if the directory for records cannot be used. It should not move the mappings too.
pub(crate) fn variable_of_state_dir() -> &'static str {
    if cfg!(windows) || var_os(DIR).is_some() { DIR } else { STATE_HOME }
}

/// Returns the home directory in the user database, which no variable changes.
#[cfg(unix)]
pub(crate) fn account_home() -> Option<PathBuf> {
    crate::sys::home_of(rustix::process::geteuid())
}

/// Returns `None`, because Windows has only a variable for it.
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

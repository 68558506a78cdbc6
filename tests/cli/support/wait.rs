//! Waits for conditions instead of for fixed times.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. Panics if it does not hold within `limit`.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "the condition did not hold within {limit:?}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Returns whether a process is running.
///
/// A zombie does not count: in a container it may never be reaped, and it is harmless. Sending a signal does not detect
/// zombies, because it succeeds for them too.
#[cfg(unix)]
pub(crate) fn is_alive(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a valid process ID");
    if test_kill_process(pid).is_err() {
        return false;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        // On Linux, the process has ended in the meantime. Other systems have no /proc, so the result above counts.
        return !cfg!(target_os = "linux");
    };
    // The state follows the program's name, which is in parentheses and may contain some.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

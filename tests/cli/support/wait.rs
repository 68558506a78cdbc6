//! Waits for conditions instead of for time to pass.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Returns as soon as `condition` holds. Panics if it does not within `limit`.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether a process is running.
///
/// A zombie does not: in a container nobody may ever reap it, and it can do no harm. Its mere number is no witness, for
/// a signal can be sent to it all the same.
#[cfg(unix)]
pub(crate) fn is_alive(pid: u32) -> bool {
    use rustix::process::{Pid, test_kill_process};

    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id of this system");
    if test_kill_process(pid).is_err() {
        return false;
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        // No such directory on this system: the answer above is all there is. On Linux: it is gone since.
        return !cfg!(target_os = "linux");
    };
    // The state follows the program's name, which is in parentheses and may hold some itself.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

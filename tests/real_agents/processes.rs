//! The processes of a test: those with the path of its world in their environment or their arguments.
//!
//! Every process that the program or an agent starts inherits that environment, so this also finds processes that left
//! their group.

use std::{fmt, path::Path};

use rustix::process::{Pid, Signal};

/// A process that has not ended. Zombies are not found, because their environment is gone.
pub(crate) struct Process {
    pid: Pid,
    command: String,
}

impl Process {
    /// Returns whether the process is a detached turn, or was started by one.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_of_detached_turn(&self) -> bool {
        let mut pid = self.pid.as_raw_nonzero().get();
        while pid > 1 {
            let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if arguments.starts_with("invoke-persist") && arguments.ends_with("\0--detach\0") {
                return true;
            }
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            pid = parent.unwrap_or_default();
        }
        false
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        // The process may have ended in the meantime.
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.command)
    }
}

/// Returns the processes of the world in this directory.
#[cfg(target_os = "linux")]
pub(crate) fn of_world(root: &Path) -> Vec<Process> {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    let finder = memchr::memmem::Finder::new(root.as_os_str().as_bytes());
    let entries = fs::read_dir("/proc").expect("Linux has /proc").flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            // Unreadable processes belong to other users or have ended.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let ours = finder.find(&environment).or_else(|| finder.find(&arguments)).is_some();
            let command = String::from_utf8_lossy(&arguments).replace('\0', " ");
            ours.then_some(Process { pid, command })
        })
        .collect()
}

/// Returns the processes of the world in this directory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn of_world(root: &Path) -> Vec<Process> {
    let root = root.to_str().expect("a world's path is UTF-8");
    // -E prints the environment after the arguments.
    let listing =
        std::process::Command::new("ps").args(["-AEww", "-o", "pid=,command="]).output().expect("the system has ps");
    String::from_utf8_lossy(&listing.stdout)
        .lines()
        .filter(|line| line.contains(root))
        .filter_map(|line| {
            let (pid, command) = line.trim().split_once(' ')?;
            Some(Process { pid: pid.parse().ok().and_then(Pid::from_raw)?, command: command.to_owned() })
        })
        .collect()
}

//! A process beside the agent that ends the agent's group if this program is killed. KILL cannot be handled, and the
//! parent-death signal of Linux reaches only the agent's first process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// Reads the number of the group, then waits until no process holds the other end of standard input. CONT is sent
/// because a stopped process does not act on TERM. The group's number cannot be reused while any process of the group
/// exists.
const SCRIPT: &str = r#"
read -r group || exit
read -r line
kill -s TERM -- "-$group"
kill -s CONT -- "-$group"
for second in 1 2 3 4 5; do
    sleep 1
    kill -s 0 -- "-$group" || exit
done
kill -s KILL -- "-$group"
"#;

/// The running sentry. It is killed on drop.
pub(super) struct Sentry(Child);

impl Sentry {
    /// Spawns the sentry in its own process group, so that signals to this process's group do not reach it.
    pub(super) fn spawn() -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "invoke-persist-sentry"]);
        // exported shell functions could redefine the commands of the script
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).current_dir("/").spawn().map(Self)
    }

    /// Returns the file to which the number of the group is to be written, as a line. The agent's process writes it
    /// before it executes the agent's program, so the group is watched from its first moment.
    pub(super) fn input(&self) -> Option<File> {
        let input = self.0.stdin.as_ref()?.as_fd().try_clone_to_owned();
        input.ok().map(File::from)
    }

    pub(super) fn pid(&self) -> i32 {
        Pid::from_child(&self.0).as_raw_nonzero().get()
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        let _ = self.0.kill(); // before its input ends
        let _ = self.0.wait();
    }
}

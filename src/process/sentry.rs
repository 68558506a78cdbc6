//! A process beside the agent that ends the agent's group if this program is killed. KILL cannot be handled, and what
//! Linux can send to a child then reaches the agent's first process alone.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// Reads the number of the group, and waits until standard input ends, which is when nobody holds the other end any more.
/// A stopped process does not act on TERM before it goes on. The group's number stays taken as long as one of the group
/// is there.
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

/// The process. It is gone when this is dropped.
pub(super) struct Sentry(Child);

impl Sentry {
    /// Starts the process. It is in a group of its own, so that a signal to ours does not reach it.
    pub(super) fn post() -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "invoke-persist-sentry"]);
        // nothing of the environment changes what the words of the script mean, as functions of a shell would
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).current_dir("/").spawn().map(Self)
    }

    /// Where the number of the group is to be written, on a line. The agent's process does that itself before it becomes
    /// the agent's program, so that there is no moment in which nobody watches.
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

//! A private disk for a test of disk errors.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sandbox::Sandbox;

/// A small file system in memory, mounted over the sandbox's temp directory in a private mount namespace. It is
/// removed when dropped.
pub(crate) struct Disk<'a> {
    sandbox: &'a Sandbox,
    /// A process that only keeps the namespace alive until its input ends.
    keeper: Child,
}

impl<'a> Disk<'a> {
    /// Panics if the user is not root or the system does not allow mounts, as some containers do not.
    #[track_caller]
    pub(crate) fn mount(sandbox: &'a Sandbox) -> Self {
        const KEEP: &str = "mount -t tmpfs -o size=1m,mode=700 none \"$1\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", KEEP, "sh"]).arg(sandbox.temp());
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare can be run");
        let mut disk = Self { sandbox, keeper };
        let mut line = String::new();
        let stdout = disk.keeper.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("pipes can be read");
        assert_eq!(line, "mounted\n", "root can mount a disk in its own namespace");
        disk
    }

    /// Returns the path outside the namespace of a path in the sandbox.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("the paths of a sandbox are absolute");
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inside)
    }

    /// Returns a command that runs the program inside the namespace.
    pub(crate) fn cmd(&self, args: &[&str]) -> Command {
        let program = self.sandbox.cmd(args);
        let mut command = self.enter();
        command.args(["sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh"]);
        command.arg(self.sandbox.workspace()).arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(self.sandbox.variables());
        command
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.id()));
        command
    }

    /// Fills the disk completely.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.seen(&self.sandbox.temp().join("filler"))).expect("a file can be created");
        let error = io::copy(&mut io::repeat(b'x'), &mut file).expect_err("the disk is too small");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.flush().expect("nothing is buffered");
    }

    pub(crate) fn make_read_only(&self) {
        let mut command = self.enter();
        let done = command.args(["mount", "-o", "remount,ro"]).arg(self.sandbox.temp()).status();
        assert!(done.expect("mount can be run").success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Errors mean that the process has already ended.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

//! A private disk of a test, for errors that only a disk makes.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sandbox::Sandbox;

/// A small file system in memory, mounted over the sandbox's temp directory in a private mount namespace. It is gone
/// when dropped.
pub(crate) struct Disk<'a> {
    sandbox: &'a Sandbox,
    /// A process that does nothing but keep the namespace, until its input ends.
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

    /// A path of the sandbox as it is seen from outside the namespace.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("the paths of a sandbox are absolute");
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inside)
    }

    /// The program, started inside the namespace.
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

    /// Leaves no byte free.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.seen(&self.sandbox.temp().join("filler"))).expect("a file can be created");
        let error = io::copy(&mut io::repeat(b'x'), &mut file).expect_err("the disk gets full");
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
        // Errors mean that it has already ended.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

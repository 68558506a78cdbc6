//! A disk of a test's own, for errors that only a disk makes.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::sandbox::Sandbox;

/// A small file system in memory, mounted over the sandbox's temp folder in a mount namespace that nobody else sees.
/// Gone when dropped.
pub(crate) struct Disk<'a> {
    sandbox: &'a Sandbox,
    /// A process that does nothing but keep the namespace, until its input ends.
    keeper: Child,
}

impl<'a> Disk<'a> {
    /// `None`, and a word about it, where the system does not let us: it takes root on Linux, and some containers forbid it.
    pub(crate) fn mount(sandbox: &'a Sandbox) -> Option<Self> {
        const KEEP: &str = "mount -t tmpfs -o size=1m,mode=700 none \"$1\" && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", KEEP, "sh"]).arg(sandbox.temp());
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        let mut said = String::new();
        BufReader::new(keeper.stdout.as_mut().expect("it is piped")).read_line(&mut said).expect("pipes can be read");
        if said.is_empty() {
            eprintln!("SKIPPED: no disk can be mounted here");
            keeper.wait().expect("it can be waited for");
            return None;
        }
        Some(Self { sandbox, keeper })
    }

    /// A path of the sandbox as it is seen from outside.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("the paths of a sandbox are absolute");
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inside)
    }

    /// The program, started where the disk is mounted.
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
        let error = io::copy(&mut io::repeat(b'x'), &mut file).expect_err("the disk is full at last");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        file.flush().expect("nothing is held back");
    }

    pub(crate) fn make_read_only(&self) {
        let mut command = self.enter();
        let done = command.args(["mount", "-o", "remount,ro"]).arg(self.sandbox.temp()).status();
        assert!(done.expect("mount can be run").success());
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Errors mean that it has ended already, which is all that is wanted.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

//! A terminal for programs that look different at one.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// One screen, and our side of it.
pub(crate) struct Terminal {
    ours: File,
    theirs: File,
}

impl Terminal {
    pub(crate) fn of_width(columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the system has terminals to give");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let name = ptsname(&ours, Vec::new()).expect("it has a name");
        let name = name.to_str().expect("a plain one");
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("the other side can be opened");
        tcsetwinsize(&theirs, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).expect("its size");
        Self { ours: ours.into(), theirs }
    }

    /// The other side, for one of a program's streams.
    pub(crate) fn screen(&self) -> File {
        self.theirs.try_clone().expect("a handle can be doubled")
    }

    /// Our side, where what programs show can be read.
    pub(crate) fn into_ours(self) -> File {
        self.ours
    }

    /// What a program has written to this terminal on both its outputs when it has ended.
    pub(crate) fn shows(self, mut command: Command) -> String {
        command.env("TERM", "xterm").stdin(Stdio::null()).stdout(self.screen()).stderr(self.screen());
        let mut child = command.spawn().expect("the program can be started");
        drop(command); // it holds the other side too
        let mut ours = self.into_ours();
        let mut shown = Vec::new();
        // Linux ends with an error when nobody has the other side open any more
        let _ = ours.read_to_end(&mut shown);
        child.wait().expect("it was started here");
        String::from_utf8(shown).expect("it is text").replace("\r\n", "\n")
    }
}

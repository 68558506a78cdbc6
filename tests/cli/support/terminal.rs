//! A terminal for programs that look different at one.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use super::screen::Screen;
use super::wait::POLL_INTERVAL;

/// For what a shell shows. No machine is so slow.
const LIMIT: Duration = Duration::from_secs(60);

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

    /// Starts a program that talks with a person at this terminal, which is its own: shells want that.
    pub(crate) fn talks_with(self, command: &Command) -> Dialogue {
        // nothing in the standard library gives a process its terminal; this does and becomes the program
        let mut own = Command::new("setsid");
        own.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        if let Some(dir) = command.get_current_dir() {
            own.current_dir(dir);
        }
        own.stdin(self.screen()).stdout(self.screen()).stderr(self.screen());
        let child = own.spawn().expect("the program can be started");
        drop(own); // it holds the other side too
        let size = tcgetwinsize(&self.theirs).expect("its size");
        let hand = self.into_ours();
        let mut eye = hand.try_clone().expect("a handle can be doubled");
        let mut tongue = hand.try_clone().expect("a handle can be doubled");
        let screen = Arc::new(Mutex::new(Screen::new(size.ws_row, size.ws_col)));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = eye.read(&mut buffer) {
                let answers = shown.lock().unwrap_or_else(PoisonError::into_inner).feed(&buffer[..length]);
                let _ = tongue.write_all(answers.as_bytes());
            }
        });
        Dialogue { child, hand, screen }
    }
}

/// A program at a terminal, and a person who types. Killed when dropped.
pub(crate) struct Dialogue {
    child: Child,
    hand: File,
    screen: Arc<Mutex<Screen>>,
}

impl Dialogue {
    pub(crate) fn types(&mut self, keys: &str) {
        self.hand.write_all(keys.as_bytes()).expect("the program reads");
    }

    /// Whether the screen is as wanted just now.
    pub(crate) fn shows(&self, is_wanted: impl Fn(&Screen) -> bool) -> bool {
        is_wanted(&self.screen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the screen is as wanted. Panics, and shows the screen, where it does not become so.
    #[track_caller]
    pub(crate) fn sees(&self, what: &str, is_wanted: impl Fn(&Screen) -> bool) {
        let began = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            if is_wanted(&screen) {
                return;
            }
            let shown = screen.lines().join("\n");
            assert!(began.elapsed() < LIMIT, "{what} does not come:\n{shown}\n(cursor: {:?})", screen.before_cursor());
            drop(screen);
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // errors mean that it has ended already, which is all that is wanted
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

//! A terminal for programs whose output depends on it.

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

/// A timeout for a shell's output that even a slow machine does not reach.
const LIMIT: Duration = Duration::from_secs(60);

/// Both sides of a pseudoterminal.
pub(crate) struct Terminal {
    controller: File,
    user: File,
}

impl Terminal {
    pub(crate) fn of_width(columns: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudoterminal is available");
        grantpt(&controller).expect("the caller owns the pseudoterminal");
        unlockpt(&controller).expect("the caller owns the pseudoterminal");
        let name = ptsname(&controller, Vec::new()).expect("a pseudoterminal has a name");
        let name = name.to_str().expect("the name is ASCII");
        let user = OpenOptions::new().read(true).write(true).open(name).expect("the other side can be opened");
        tcsetwinsize(&user, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("a pseudoterminal has a size");
        Self { controller: controller.into(), user }
    }

    /// Returns the side that a program uses for one of its streams.
    pub(crate) fn user_side(&self) -> File {
        self.user.try_clone().expect("a handle can be duplicated")
    }

    /// Returns the side from which the test reads the output of programs.
    pub(crate) fn into_controller(self) -> File {
        self.controller
    }

    /// Runs a program with both outputs at this terminal. Returns its output.
    pub(crate) fn shows(self, mut command: Command) -> String {
        command.env("TERM", "xterm").stdin(Stdio::null()).stdout(self.user_side()).stderr(self.user_side());
        let mut child = command.spawn().expect("the program can be started");
        drop(command); // it also holds the user side
        let mut controller = self.into_controller();
        let mut shown = Vec::new();
        // Linux returns an error after the last user side is closed
        let _ = controller.read_to_end(&mut shown);
        child.wait().expect("the program is a child of the test");
        String::from_utf8(shown).expect("the output is UTF-8").replace("\r\n", "\n")
    }

    /// Starts an interactive program with this terminal as its controlling terminal, which shells need.
    pub(crate) fn starts(self, command: &Command) -> Dialogue {
        // sets the controlling terminal, which the standard library cannot do, and executes the program
        let mut started = Command::new("setsid");
        started.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        started.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        if let Some(dir) = command.get_current_dir() {
            started.current_dir(dir);
        }
        started.stdin(self.user_side()).stdout(self.user_side()).stderr(self.user_side());
        let child = started.spawn().expect("the program can be started");
        drop(started); // it also holds the user side
        let size = tcgetwinsize(&self.user).expect("a pseudoterminal has a size");
        let keyboard = self.into_controller();
        let mut output = keyboard.try_clone().expect("a handle can be duplicated");
        let mut replies = keyboard.try_clone().expect("a handle can be duplicated");
        let screen = Arc::new(Mutex::new(Screen::new(size.ws_row, size.ws_col)));
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let answer = shown.lock().unwrap_or_else(PoisonError::into_inner).feed(&buffer[..length]);
                let _ = replies.write_all(answer.as_bytes());
            }
        });
        Dialogue { child, keyboard, screen }
    }
}

/// An interactive program at a terminal. Killed when dropped.
pub(crate) struct Dialogue {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Screen>>,
}

impl Dialogue {
    pub(crate) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program reads its input");
    }

    /// Returns whether the current screen satisfies `is_wanted`.
    pub(crate) fn shows(&self, is_wanted: impl Fn(&Screen) -> bool) -> bool {
        is_wanted(&self.screen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the screen satisfies `is_wanted`. Panics with the screen's content after a timeout.
    #[track_caller]
    pub(crate) fn sees(&self, what: &str, is_wanted: impl Fn(&Screen) -> bool) {
        let began = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
            if is_wanted(&screen) {
                return;
            }
            let shown = screen.lines().join("\n");
            assert!(
                began.elapsed() < LIMIT,
                "{what} does not appear:\n{shown}\n(cursor: {:?})",
                screen.before_cursor()
            );
            drop(screen);
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // errors mean that the program has already ended
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

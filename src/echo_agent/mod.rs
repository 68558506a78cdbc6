//! `echo-agent claude|codex …`: an agent that repeats the prompt and counts the turns of its sessions.
//!
//! It implements the headless protocol of both real agents and nothing else. With it, a job can be tested without an
//! account: `--claude-cmd "invoke-persist echo-agent claude"`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use crate::backend::Backend;
use crate::backend::echo::{EchoCall, EchoTurn};
use crate::cli;
use crate::digest;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock;
use crate::ui::Ui;

pub(crate) fn run(ui: &Ui, options: &cli::EchoAgent) -> Result<()> {
    let arguments: Vec<String> =
        options.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let backend = arguments.first().and_then(|name| Backend::from_name(name)).ok_or_else(|| {
        Error::usage("echo-agent requires an agent").with_hint("run 'invoke-persist echo-agent claude …'")
    })?;
    if let Some(text) = version_or_help(backend, &arguments[1..]) {
        return ui.print(&text);
    }
    let echo = &backend.spec().echo;
    let call = (echo.parse)(&arguments[1..]);
    let sessions = Sessions::open()?;
    let id = sessions.select(&call)?;
    let Some(number) = sessions.add_turn(&id) else {
        return Err(Error::new(ErrorKind::Io, (echo.unknown_session)(&id)));
    };
    let answer = call.answer(number);
    for event in (echo.events)(&call, EchoTurn { id: &id, number, answer: &answer }) {
        ui.print(&(event.to_line() + "\n"))?;
    }
    match &call.answer_file {
        Some(path) => fs::write(path, answer).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot write '{}'", path.display())).with_io_cause(&error)
        }),
        None => Ok(()),
    }
}

/// Returns the output for `--version` and `--help`.
fn version_or_help(backend: Backend, arguments: &[String]) -> Option<String> {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let option = options.find(|argument| ["--version", "--help"].contains(&argument.as_str()))?;
    if option == "--version" {
        return Some(format!("{} (echo agent)\n", env!("CARGO_PKG_VERSION")));
    }
    let page = backend.spec().help_pages.iter().find(|page| page.arguments == arguments)?;
    Some(format!("Options:\n  {}\n", page.options.join("\n  ")))
}

impl EchoCall {
    /// Returns the prompt, from standard input if no argument contains it.
    fn prompt(&self) -> String {
        self.prompt.clone().unwrap_or_else(|| {
            let mut bytes = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    /// Returns the answer: the number of the turn, the prompt, and the settings.
    fn answer(&self, turn: usize) -> String {
        let prompt = self.prompt();
        let echoed = if prompt.len() > 200 { format!("{} bytes", prompt.len()) } else { prompt.trim().to_owned() };
        let mut answer = format!("turn {turn}: {echoed}");
        for (setting, value) in [("model", &self.model), ("effort", &self.effort), ("role", &self.role)] {
            if let Some(value) = value {
                let _ = write!(answer, " [{setting}: {}]", value.trim()); // cannot fail
            }
        }
        answer
    }
}

/// The sessions of the echo agent: a directory with one file for each, which has one byte for each turn.
struct Sessions(PathBuf);

impl Sessions {
    fn open() -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Io, "cannot use the echo agent's directory").with_io_cause(&error);
        let dir = match env::var_os(env::ECHO_DIR) {
            Some(dir) => PathBuf::from(dir),
            None => lock::dir().map_err(failed)?.join("echo-agent"),
        };
        fs::create_dir_all(&dir).map_err(failed)?;
        Ok(Self(dir))
    }

    /// Adds a turn to a session, and returns the number of its turns. Returns `None` if the session does not exist.
    fn add_turn(&self, id: &str) -> Option<usize> {
        let mut file = fs::OpenOptions::new().append(true).open(self.file(id)?).ok()?;
        file.write_all(b"\n").ok()?;
        usize::try_from(file.metadata().ok()?.len()).ok()
    }

    /// Returns the file of a session, if it exists.
    fn file(&self, id: &str) -> Option<PathBuf> {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        Some(self.0.join(id)).filter(|path| is_id && path.is_file())
    }

    /// Returns the session of a call: the one it names, a fork of it, or a new one.
    fn select(&self, call: &EchoCall) -> Result<String> {
        match &call.session {
            Some(id) => match self.file(id).filter(|_| call.fork) {
                Some(file) => self.start(&fs::read(file).unwrap_or_default()),
                None => Ok(id.clone()),
            },
            None => self.start(&[]),
        }
    }

    /// Starts a session with these turns, and returns its ID in the form of a UUID.
    fn start(&self, turns: &[u8]) -> Result<String> {
        let now = jiff::Timestamp::now().as_nanosecond();
        let digest = digest::md5([format!("{now} {}", std::process::id()).as_bytes()]);
        let id = [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..]].join("-");
        fs::write(self.0.join(&id), turns).map_err(|error| cannot_save(&error))?;
        Ok(id)
    }
}

fn cannot_save(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot save the echo agent's session").with_io_cause(error)
}

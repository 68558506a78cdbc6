//! `echo-agent claude|codex …`: an agent that answers what it was asked and counts the turns of its sessions. It speaks
//! the headless protocol of both real agents, so that a job can be rehearsed without an account:
//! `--claude-cmd "invoke-persist echo-agent claude"`. Not a model of what the real ones do beyond that.

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
    let backend = arguments.first().and_then(|name| Backend::from_name(name));
    let backend = backend
        .ok_or_else(|| Error::usage("echo-agent wants an agent").with_hint("invoke-persist echo-agent claude …"))?;
    if let Some(about) = about(backend, &arguments[1..]) {
        return ui.print(&about);
    }
    let echo = &backend.spec().echo;
    let call = (echo.parse)(&arguments[1..]);
    let sessions = Sessions::open()?;
    let id = sessions.of(&call)?;
    let Some(number) = sessions.turn(&id) else {
        return Err(Error::new(ErrorKind::Io, (echo.unknown_session)(&id)));
    };
    let answer = call.answer(number);
    for event in (echo.events)(&call, EchoTurn { id: &id, number, answer: &answer }) {
        ui.print(&(event.to_line() + "\n"))?;
    }
    match &call.answer_file {
        Some(path) => fs::write(path, answer).map_err(|error| {
            Error::new(ErrorKind::Io, format!("'{}' cannot be written", path.display())).with_io_cause(&error)
        }),
        None => Ok(()),
    }
}

/// What it says of itself where it is asked for its version or its help.
fn about(backend: Backend, arguments: &[String]) -> Option<String> {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let asked = options.find(|argument| ["--version", "--help"].contains(&argument.as_str()))?;
    if asked == "--version" {
        return Some(format!("{} (echo agent)\n", env!("CARGO_PKG_VERSION")));
    }
    let page = backend.spec().help_pages.iter().find(|page| page.arguments == arguments)?;
    Some(format!("Options:\n  {}\n", page.options.join("\n  ")))
}

/// The prompt of a call and the answer to it.
impl EchoCall {
    /// The prompt, from standard input where no argument has it.
    fn prompt(&self) -> String {
        self.prompt.clone().unwrap_or_else(|| {
            let mut bytes = Vec::new();
            let _ = std::io::stdin().read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    /// The answer: what was asked, and everything that shows whether it was remembered.
    fn answer(&self, turn: usize) -> String {
        let prompt = self.prompt();
        let prompt = if prompt.len() > 200 { format!("{} bytes", prompt.len()) } else { prompt.trim().to_owned() };
        let mut answer = format!("turn {turn}: {prompt}");
        for (what, value) in [("model", &self.model), ("effort", &self.effort), ("role", &self.role)] {
            if let Some(value) = value {
                let _ = write!(answer, " [{what}: {}]", value.trim()); // a string takes everything
            }
        }
        answer
    }
}

/// The sessions of the echo agent: a file for each, one byte for every turn.
struct Sessions(PathBuf);

impl Sessions {
    fn open() -> Result<Self> {
        let failed =
            |error| Error::new(ErrorKind::Io, "the echo agent's directory cannot be used").with_io_cause(&error);
        let dir = match env::var_os(env::ECHO_DIR) {
            Some(dir) => PathBuf::from(dir),
            None => lock::dir().map_err(failed)?.join("echo-agent"),
        };
        fs::create_dir_all(&dir).map_err(failed)?;
        Ok(Self(dir))
    }

    /// Adds a turn to a session and tells how many it has; `None` for a session that is not there.
    fn turn(&self, id: &str) -> Option<usize> {
        let mut file = fs::OpenOptions::new().append(true).open(self.file(id)?).ok()?;
        file.write_all(b"\n").ok()?;
        usize::try_from(file.metadata().ok()?.len()).ok()
    }

    /// The file of a session that is there.
    fn file(&self, id: &str) -> Option<PathBuf> {
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        Some(self.0.join(id)).filter(|path| is_id && path.is_file())
    }

    /// The session that a call is about: the one it names, one with the same turns, or a new one.
    fn of(&self, call: &EchoCall) -> Result<String> {
        match &call.session {
            Some(id) => match self.file(id).filter(|_| call.fork) {
                Some(file) => self.start(&fs::read(file).unwrap_or_default()),
                None => Ok(id.clone()),
            },
            None => self.start(&[]),
        }
    }

    /// A new session with these turns, its id in the form of a UUID.
    fn start(&self, turns: &[u8]) -> Result<String> {
        let now = jiff::Timestamp::now().as_nanosecond();
        let digest = digest::md5([format!("{now} {}", std::process::id()).as_bytes()]);
        let id = [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..]].join("-");
        fs::write(self.0.join(&id), turns).map_err(|error| cannot_save(&error))?;
        Ok(id)
    }
}

fn cannot_save(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "the echo agent cannot save a session").with_io_cause(error)
}

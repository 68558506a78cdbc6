//! `echo-agent claude|codex …`: an agent that repeats the prompt and counts the turns of its sessions.
//!
//! It implements the headless protocol of both real agents, so that a job can be tested without an account:
//! `--claude-cmd "invoke-persist echo-agent claude"`. With a [`script`] it also calls tools, and fails as the real agents
//! do.

mod script;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::backend::echo::{EchoCall, EchoOutcome, EchoProtocol, EchoTurn};
use crate::backend::{Backend, Cause};
use crate::cli;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock;
use crate::random;
use crate::schema::Schema;
use crate::ui::Ui;
use crate::ui::json::JsonObject;
use script::{Script, ScriptAction};

/// The exit status of a turn that fails.
const FAILED: i32 = 1;

/// Returns the exit status of the agent.
pub(crate) fn run(ui: &Ui, options: &cli::EchoAgent) -> Result<i32> {
    let name = options.arguments.first().map(|name| name.to_string_lossy());
    let backend = name.and_then(|name| Backend::from_name(&name)).ok_or_else(|| {
        Error::usage("echo-agent requires an agent").with_hint("run 'invoke-persist echo-agent claude …'")
    })?;
    let (path, arguments) = script_option(&options.arguments[1..])?;
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    if let Some(text) = version_or_help(backend, &arguments) {
        return ui.print(&text).map(|()| 0);
    }
    let path = path.or_else(|| env::var_os(env::ECHO_SCRIPT).map(PathBuf::from));
    let script = path.map(|path| Script::load(&path)).transpose()?.unwrap_or_default();
    let protocol = &backend.spec().echo;
    let call = (protocol.parse)(&arguments);
    let sessions = Sessions::open()?;
    let next = sessions.next_turn(&call);
    let refused = |action: &&ScriptAction| matches!(action, ScriptAction::Fail(Cause::RefusedArguments, _));
    if let Some(ScriptAction::Fail(cause, _)) = script.actions(next).iter().find(refused) {
        // nothing reaches the model, so neither a turn nor a session begins
        let failure = (protocol.fail)(&EchoTurn::new(&call, "", next), *cause, None);
        let _ = std::io::stderr().write_all(failure.stderr.as_bytes());
        return Ok(FAILED);
    }
    let id = sessions.select(&call)?;
    if call.interactive {
        return converse(ui, &sessions, &id);
    }
    let Some(number) = sessions.add_turn(&id) else {
        return Err(Error::new(ErrorKind::Io, (protocol.unknown_session)(&id)));
    };
    let turn = EchoTurn {
        tokens: script.tokens(number),
        session_tokens: script.session_tokens(number),
        ..EchoTurn::new(&call, &id, number)
    };
    Player { ui, protocol, turn, began: false }.play(script.actions(number))
}

/// Splits off the option of the echo agent itself, which stands before those of the agent.
fn script_option(arguments: &[OsString]) -> Result<(Option<PathBuf>, &[OsString])> {
    const OPTION: &str = "--script";
    let Some((first, rest)) = arguments.split_first() else { return Ok((None, arguments)) };
    if first == OPTION {
        let missing = || Error::usage(format!("{OPTION} is missing its file")).with_hint(format!("add {OPTION} FILE"));
        let (path, rest) = rest.split_first().ok_or_else(missing)?;
        return Ok((Some(path.into()), rest));
    }
    let inline = first.to_str().and_then(|first| first.strip_prefix(OPTION)?.strip_prefix('='));
    Ok(inline.map_or((None, arguments), |path| (Some(path.into()), rest)))
}

/// Talks to a person at a terminal: each line is a turn.
fn converse(ui: &Ui, sessions: &Sessions, id: &str) -> Result<i32> {
    ui.print(&format!("The echo agent repeats each line. Session {id}; Ctrl-D ends it.\n> "))?;
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let number = sessions.add_turn(id).unwrap_or_default();
        ui.print(&format!("turn {number}: {line}\n> "))?;
    }
    ui.print("\n").map(|()| 0)
}

/// Plays one turn.
struct Player<'a> {
    ui: &'a Ui,
    protocol: &'a EchoProtocol,
    turn: EchoTurn<'a>,
    /// Whether the start of the turn is written.
    began: bool,
}

impl Player<'_> {
    /// Plays all actions, and returns the exit status. A turn without a message is answered as without a script.
    fn play(mut self, actions: &[ScriptAction]) -> Result<i32> {
        let mut answer = None;
        for action in actions {
            match action {
                ScriptAction::Say(text) => {
                    self.say(text)?;
                    answer = Some(text.clone());
                }
                ScriptAction::Sleep(duration) => {
                    self.begin()?;
                    thread::sleep(*duration);
                }
                ScriptAction::Tool(tool) => {
                    self.begin()?;
                    for events in (self.protocol.tool)(&self.turn, tool) {
                        self.write(&events)?;
                    }
                    if tool.outcome == EchoOutcome::Refused {
                        self.turn.refused.push((self.turn.items, tool.clone()));
                    }
                    self.turn.items += 1;
                }
                ScriptAction::Usage(_) => {}
                ScriptAction::Fail(cause, wait) => {
                    self.begin()?;
                    let failure = (self.protocol.fail)(&self.turn, *cause, *wait);
                    self.write(&failure.events)?;
                    return Ok(FAILED);
                }
                ScriptAction::Exit(status) => return Ok(*status),
                ScriptAction::Hang => {
                    self.begin()?;
                    loop {
                        thread::sleep(Duration::from_secs(3600));
                    }
                }
                ScriptAction::Garbage => return self.ui.print("this is not what an agent prints\n").map(|()| 0),
                ScriptAction::Empty => return self.end(""),
            }
        }
        let answer = if let Some(answer) = answer {
            answer
        } else {
            let schema = self.turn.call.schema.as_deref().and_then(|text| Schema::parse(text).ok());
            let answer = match schema {
                Some(schema) => schema.sample().to_string(),
                None => self.turn.call.answer(self.turn.number),
            };
            self.say(&answer)?;
            answer
        };
        self.end(&answer)
    }

    fn begin(&mut self) -> Result<()> {
        if self.began {
            return Ok(());
        }
        self.began = true;
        self.write(&(self.protocol.begin)(&self.turn))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.begin()?;
        self.write(&(self.protocol.message)(&self.turn, text))?;
        self.turn.items += 1;
        Ok(())
    }

    fn end(&mut self, answer: &str) -> Result<i32> {
        self.begin()?;
        self.write(&(self.protocol.end)(&self.turn, answer))?;
        if let Some(path) = &self.turn.call.answer_file {
            fs::write(path, answer).map_err(|error| {
                Error::new(ErrorKind::Io, format!("cannot write '{}'", path.display())).with_io_cause(&error)
            })?;
        }
        Ok(0)
    }

    fn write(&self, events: &[JsonObject]) -> Result<()> {
        events.iter().try_for_each(|event| self.ui.print(&(event.to_line() + "\n")))
    }
}

/// Returns the output for `--version` and `--help`.
fn version_or_help(backend: Backend, arguments: &[String]) -> Option<String> {
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let option = options.find(|argument| ["--version", "--help"].contains(&argument.as_str()))?;
    if option == "--version" {
        return Some(format!("{} (echo agent)\n", env!("CARGO_PKG_VERSION")));
    }
    let spec = backend.spec();
    let page = spec.help_pages.iter().find(|page| page.arguments == arguments)?;
    let listed = spec.features.iter().filter(|feature| feature.evidence.is_listed());
    let options: Vec<&str> = page.options.iter().copied().chain(listed.map(|feature| feature.option)).collect();
    Some(format!("Usage: {} {}\n\nOptions:\n  {}\n", spec.name, page.path(), options.join("\n  ")))
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

    /// Returns the number that the turn of a call would have.
    fn next_turn(&self, call: &EchoCall) -> usize {
        let file = call.session.as_deref().and_then(|id| self.file(id));
        let turns = file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len());
        usize::try_from(turns).unwrap_or(usize::MAX).saturating_add(1)
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
                Some(file) => self.start(&fs::read(file).unwrap_or_default(), call.new_id.as_deref()),
                None => Ok(id.clone()),
            },
            None => self.start(&[], call.new_id.as_deref()),
        }
    }

    /// Starts a session with these turns, and returns its ID: `id`, or a new UUID.
    fn start(&self, turns: &[u8], id: Option<&str>) -> Result<String> {
        let id = id.map_or_else(random::uuid, str::to_owned);
        if self.file(&id).is_some() {
            return Err(Error::new(ErrorKind::Io, format!("Session ID {id} is already in use.")));
        }
        fs::write(self.0.join(&id), turns).map_err(|error| cannot_save(&error))?;
        Ok(id)
    }
}

fn cannot_save(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot save the echo agent's session").with_io_cause(error)
}

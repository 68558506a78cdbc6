//! `echo-agent claude|codex …`: an agent that answers what it was asked and counts the turns of its sessions. It speaks
//! the headless protocol of both real agents, so that a job can be rehearsed without an account:
//! `--claude-cmd "invoke-persist echo-agent claude"`. Not a model of what the real ones do beyond that.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

use crate::backend::Backend;
use crate::cli;
use crate::digest;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::lock;
use crate::ui;
use crate::ui::json::JsonObject;

pub(crate) fn run(options: &cli::EchoAgent) -> Result<()> {
    let arguments: Vec<String> =
        options.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let backend = arguments.first().and_then(|name| Backend::from_name(name));
    let backend = backend
        .ok_or_else(|| Error::usage("echo-agent wants an agent").with_hint("invoke-persist echo-agent claude …"))?;
    if let Some(about) = about(backend, &arguments[1..]) {
        return ui::print(&about);
    }
    let call = Call::parse(backend, &arguments[1..]);
    let sessions = Sessions::open()?;
    match backend {
        Backend::Claude => claude(&call, &sessions),
        Backend::Codex => codex(&call, &sessions),
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

/// What the arguments ask for, read as the real programs read them.
#[derive(Default)]
struct Call {
    session: Option<String>,
    fork: bool,
    prompt: Option<String>,
    model: Option<String>,
    effort: Option<String>,
    role: Option<String>,
    answer_file: Option<PathBuf>,
    stream: bool,
}

impl Call {
    fn parse(backend: Backend, arguments: &[String]) -> Self {
        let mut call = Self::default();
        let mut words = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().cloned();
            match argument.as_str() {
                "--resume" => call.session = value(),
                "--fork-session" => call.fork = true,
                "--model" => call.model = value(),
                "--effort" => call.effort = value(),
                "--append-system-prompt" => call.role = value(),
                "--append-system-prompt-file" => call.role = value().and_then(|path| fs::read_to_string(path).ok()),
                "--output-format" => call.stream = value().as_deref() == Some("stream-json"),
                "-o" => call.answer_file = value().map(PathBuf::from),
                "--config" | "--enable" | "--disable" | "--image" => drop(value()),
                "--" => words.extend(rest.by_ref().cloned()),
                flag if flag.starts_with("--") || flag == "-p" => {}
                _ => words.push(argument.clone()),
            }
        }
        let mut words = words.into_iter();
        if backend == Backend::Codex {
            words.next(); // exec
            let mut next = words.next();
            if let Some("resume" | "fork") = next.as_deref() {
                call.fork = next.as_deref() == Some("fork");
                call.session = words.next();
                next = words.next();
            }
            call.prompt = next.filter(|prompt| prompt != "-");
        } else {
            call.prompt = words.next();
        }
        call
    }

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
    fn of(&self, call: &Call) -> Result<String> {
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

fn claude(call: &Call, sessions: &Sessions) -> Result<()> {
    let id = sessions.of(call)?;
    let Some(turn) = sessions.turn(&id) else {
        return Err(Error::new(ErrorKind::Io, format!("No conversation found with session ID: {id}")));
    };
    let answer = call.answer(turn);
    if call.stream {
        say(&JsonObject::new().with("type", "system").with("subtype", "init").with("session_id", id.as_str()))?;
        let text = serde_json::json!([{ "type": "text", "text": answer }]);
        let message = JsonObject::new().with("role", "assistant").with("content", text);
        say(&JsonObject::new()
            .with("type", "assistant")
            .with_object("message", message)
            .with("session_id", id.as_str()))?;
    }
    say(&JsonObject::new()
        .with("type", "result")
        .with("subtype", "success")
        .with("is_error", false)
        .with("num_turns", turn)
        .with("result", answer)
        .with("session_id", id))
}

fn codex(call: &Call, sessions: &Sessions) -> Result<()> {
    let id = sessions.of(call)?;
    let Some(turn) = sessions.turn(&id) else {
        return Err(Error::new(ErrorKind::Io, format!("no rollout found for thread id {id}")));
    };
    let answer = call.answer(turn);
    say(&JsonObject::new().with("type", "thread.started").with("thread_id", id))?;
    say(&JsonObject::new().with("type", "turn.started"))?;
    let item = JsonObject::new().with("id", "item_0").with("type", "agent_message").with("text", answer.as_str());
    say(&JsonObject::new().with("type", "item.completed").with_object("item", item))?;
    let usage = JsonObject::new().with("input_tokens", 0).with("output_tokens", 0);
    say(&JsonObject::new().with("type", "turn.completed").with_object("usage", usage))?;
    match &call.answer_file {
        Some(path) => fs::write(path, answer).map_err(|error| {
            Error::new(ErrorKind::Io, format!("'{}' cannot be written", path.display())).with_io_cause(&error)
        }),
        None => Ok(()),
    }
}

fn say(event: &JsonObject) -> Result<()> {
    ui::print(&(event.to_line() + "\n"))
}

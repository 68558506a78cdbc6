//! Waits for the end of recorded turns, and copies their outputs.
//!
//! The record and its lock are polled. That costs a few system calls ten times a second, works on every file system, and
//! cannot disturb the turn.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::duration::duration;
use super::selector::RecordedTurn;
use crate::backend::{Backend, OutputMode, OutputParser};
use crate::cli::ColorChoice;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::records::record::State;
use crate::render::{RenderOptions, Renderer};
use crate::ui::spinner::Spinner;
use crate::ui::{OutputStream, Ui, shell, stdio, stdout_error};

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The limit on the bytes of an output that one read returns.
const CHUNK: usize = 128 << 10;

/// The limit on the bytes of the first line of an output, which decides whether it is a stream of events.
const LONGEST_FIRST_LINE: usize = 256 << 10;

/// The command whose output is a stream of events.
const STREAM_COMMAND: &str = "resume-stream";

/// The pauses between two checks of a turn.
#[derive(Debug)]
pub(crate) struct Poll {
    pause: Duration,
    /// When the wait ends.
    limit: Option<Instant>,
}

impl Poll {
    /// Creates the pauses of a wait that ends at `limit`.
    pub(crate) fn until(limit: Option<Instant>) -> Self {
        Self { pause: SHORTEST_PAUSE, limit }
    }

    /// Pauses. Returns false if the limit has passed.
    pub(crate) fn pause(&mut self) -> bool {
        let left = self.limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        thread::sleep(left.map_or(self.pause, |left| left.min(self.pause)));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// Begins again with short pauses.
    fn reset(&mut self) {
        self.pause = SHORTEST_PAUSE;
    }
}

/// Returns the time at which a wait ends that `option` limits to `text`.
///
/// # Errors
///
/// A usage error if `text` is not a duration.
pub(crate) fn limit(context: &Context, option: &str, text: Option<&str>) -> Result<Option<Instant>> {
    let limit = text.map(|text| duration(option, text)).transpose()?;
    Ok(limit.and_then(|limit| context.started.checked_add(limit))) // ignored if it overflows the clock
}

impl RecordedTurn {
    /// Returns whether the turn is over, so that nothing is added to its output.
    pub(crate) fn is_over(&self) -> bool {
        !self.dir.is_alive(&self.id)
    }

    /// Waits until the turn is over, and reads its record again. A terminal shows what the turn does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TurnRunning`] at `limit`.
    pub(crate) fn wait(&mut self, ui: &Ui, limit: Option<Instant>) -> Result<()> {
        let mut poll = Poll::until(limit);
        let progress = if self.is_over() { None } else { Spinner::start(ui, "waiting") };
        while !self.is_over() {
            if let Some(progress) = &progress {
                self.refresh();
                let activity = self.record.activity.as_deref().unwrap_or(self.record.state.name());
                progress.handle().set(&format!("{}: {activity}", self.id));
            }
            if !poll.pause() {
                self.refresh();
                return Err(still_running(&[self]));
            }
        }
        self.refresh();
        Ok(())
    }

    /// Copies the outputs of a detached turn to those of this process. With `follow`, continues until the turn is over.
    ///
    /// Returns whether the complete output of an ended turn was printed. If the reader of standard output is gone, that
    /// is not the case. `view` transforms standard output.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TurnRunning`] at the limit of `follow`. [`ErrorKind::Io`] if the outputs cannot be read or written.
    pub(crate) fn copy_outputs(&self, ui: &Ui, follow: Follow, view: &mut dyn View) -> Result<bool> {
        let stdout = ui.stdout().map_err(|error| stdout_error(&error))?;
        let unwanted = AtomicBool::new(false);
        thread::scope(|scope| {
            // concurrently, because a reader may want one stream to its end before the other
            // at a terminal an error follows the output, if the turn is over
            let mut printed = None;
            if follow == Follow::No && ui.terminal_width().is_some() {
                printed = Some(self.copy_stdout(&stdout, follow, view));
            }
            let errors = thread::Builder::new().spawn_scoped(scope, || {
                self.copy(follow, "err", |bytes| {
                    Ui::copy_to_stderr(bytes);
                    follow != Follow::WhileRead || !unwanted.load(Ordering::SeqCst)
                })
            });
            let errors = errors.map_err(|error| self.cannot_read("err", &error))?;
            let printed = printed.unwrap_or_else(|| self.copy_stdout(&stdout, follow, view));
            unwanted.store(!matches!(printed, Ok(true)), Ordering::SeqCst);
            let errors = errors.join().unwrap_or(Ok(false));
            Ok(printed? & errors?)
        })
    }

    fn copy_stdout(&self, stdout: &OutputStream, follow: Follow, view: &mut dyn View) -> Result<bool> {
        let mut failed = None;
        let mut print = |bytes: &[u8]| {
            failed = failed.take().or_else(|| stdout.write_all(bytes).err());
            failed.is_none()
        };
        let copied = self.copy(follow, "out", |bytes| print(&view.show(bytes)));
        let is_printed = print(&view.end(matches!(copied, Ok(true))));
        match failed {
            Some(error) if !stdio::is_reader_gone(&error) => Err(stdout_error(&error)),
            _ => Ok(copied? && is_printed),
        }
    }

    /// Reads a file of the turn to its end. Returns whether the turn was over and everything was read.
    ///
    /// `write` gets the bytes, or none if nothing was added, and returns whether it wants more.
    fn copy(&self, follow: Follow, extension: &str, mut write: impl FnMut(&[u8]) -> bool) -> Result<bool> {
        let cannot_read = |error: io::Error| self.cannot_read(extension, &error);
        let mut file = self.dir.open(&self.id, extension).map_err(cannot_read)?;
        let mut buffer = vec![0; CHUNK];
        let mut poll = Poll::until(follow.limit());
        let mut is_wanted = true;
        loop {
            let is_over = self.is_over(); // asked first, so that what is read then is complete
            loop {
                let count = match file.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(cannot_read)?,
                };
                is_wanted = is_wanted && write(&buffer[..count]);
                if !is_wanted && !matches!(follow, Follow::ToTheEnd(_)) {
                    return Ok(false);
                }
                if count == 0 {
                    break;
                }
                poll.reset();
            }
            if is_over || follow == Follow::No {
                return Ok(is_over && is_wanted);
            }
            if !poll.pause() {
                return Err(still_running(&[self]));
            }
        }
    }

    /// Returns whether a detached turn has printed nothing on standard error. A failed one has its error there, unless
    /// the disk was full.
    pub(crate) fn has_no_errors(&self) -> bool {
        let errors = self.dir.open(&self.id, "err").and_then(|file| file.metadata());
        errors.is_ok_and(|metadata| metadata.len() == 0)
    }

    /// Remembers that the output of the turn was printed, so that it need not be kept.
    pub(crate) fn mark_fetched(&self) {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true); // never through a symlink
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = self.dir.file(&self.id, "fetched");
        // an error only means that the output is kept longer
        if options.open(&path).is_ok() && !self.dir.file(&self.id, "record").exists() {
            let _ = std::fs::remove_file(path); // the turn was pruned meanwhile
        }
    }

    /// Returns the error for a turn whose process ended without a result.
    pub(crate) fn lost(&self) -> Error {
        let record = &self.record;
        if !self.has_record() {
            let error = Error::new(ErrorKind::TurnNotFound, format!("the turn {} has no record any more", self.id));
            return error.caused_by("its call ended without a turn, or the record was removed");
        }
        let process = record.pid.map_or_else(|| "its process".to_owned(), |pid| format!("its process {pid}"));
        let session = match (&record.session_id, &record.alias) {
            (Some(id), _) => Some(format!("--session-id={id}")),
            (None, Some(name)) => Some(format!("--session-name={name}")),
            (None, None) => None,
        };
        let error = Error::new(ErrorKind::TurnLost, format!("the turn {} is lost", self.id))
            .caused_by(format!("{process} ended without a result"));
        let error = self.with_session(error);
        match session {
            Some(session) => {
                let line = self.line(&["resume-json", &session, "--prompt=Continue"]);
                error.with_hint(format!("its session may have the prompt; to continue it, run: {line}"))
            }
            None => error.with_hint("check the agent's own list of sessions, then send the prompt again"),
        }
    }

    /// Returns a command line for the agent of this turn.
    fn line(&self, words: &[&str]) -> String {
        let backend = self.record.backend.as_ref().map(|backend| format!("--backend={backend}"));
        let words = backend.iter().map(String::as_str).chain(words.iter().copied());
        let words = words.chain(self.place_args().iter().map(String::as_str));
        words.fold("invoke-persist".to_owned(), |line, word| line + " " + &shell::quote(word))
    }

    /// Adds the session of this turn, which the agent may have reached.
    fn with_session(&self, error: Error) -> Error {
        let id = self.record.session_id.as_deref().and_then(|id| crate::session::AgentSessionId::new(id).ok());
        let error = if self.record.turn_started == Some(false) { error } else { error.with_turn_started() };
        error.with_session_id(id)
    }

    fn cannot_read(&self, extension: &str, error: &io::Error) -> Error {
        let path = self.dir.file(&self.id, extension);
        let error = Error::new(ErrorKind::Io, format!("cannot read the output of the turn {}", self.id))
            .caused_by(path.display())
            .with_io_cause(error);
        error.with_hint(format!("read its record with {}", self.command("show-turn")))
    }
}

/// Whether output is awaited that a running turn has not printed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    No,
    /// Until the turn is over, or this limit.
    ToTheEnd(Option<Instant>),
    /// Until the turn is over, or nothing reads the output.
    WhileRead,
}

impl Follow {
    fn limit(self) -> Option<Instant> {
        match self {
            Self::ToTheEnd(limit) => limit,
            Self::No | Self::WhileRead => None,
        }
    }
}

/// Returns the error for turns that did not end within the limit of the wait.
pub(crate) fn still_running(turns: &[&RecordedTurn]) -> Error {
    let describe = |turn: &&RecordedTurn| {
        let state = if turn.record.state == State::Queued { "queued" } else { "running" };
        format!("the turn {} is still {state}", turn.id)
    };
    let described: Vec<String> = turns.iter().map(describe).collect();
    let error = Error::new(ErrorKind::TurnRunning, described.join(", "));
    let [turn] = turns else {
        return error.with_turn_started().with_hint("wait again with the same command");
    };
    let error = turn.with_session(error);
    let error = match &turn.record.activity {
        Some(activity) => error.caused_by(format!("its agent is {activity}")),
        None => error,
    };
    error.with_hint(format!("wait again with the same command, or stop it with {}", turn.command("stop-turn")))
}

/// Returns how to render a turn for standard output.
pub(crate) fn render_options(ui: &Ui, color: Option<ColorChoice>) -> RenderOptions {
    let color = match color.unwrap_or_default() {
        ColorChoice::Auto => ui.shows_colors(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    RenderOptions { color, width: ui.terminal_width() }
}

/// How an output is shown.
pub(crate) trait View {
    /// Returns what the next bytes add.
    fn show(&mut self, bytes: &[u8]) -> Vec<u8>;

    /// Returns what is shown after the last byte. If the output is not complete, it may end within a line.
    fn end(&mut self, is_complete: bool) -> Vec<u8>;
}

/// The output as it is.
pub(crate) struct Unchanged;

impl View for Unchanged {
    fn show(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_owned()
    }

    fn end(&mut self, _is_complete: bool) -> Vec<u8> {
        Vec::new()
    }
}

/// An output as text: a stream of the agent's events is rendered, anything else is unchanged.
pub(crate) struct Readable {
    backend: Option<Backend>,
    workspace: String,
    options: RenderOptions,
    elapsed: Duration,
    form: Form,
}

/// What an output is.
enum Form {
    /// Not decided before the end of the first line.
    Unknown(Vec<u8>),
    Plain,
    Events(Box<dyn OutputParser>, Box<Renderer>),
}

impl Readable {
    /// Creates the view of a turn's output.
    pub(crate) fn new(turn: &RecordedTurn, options: RenderOptions) -> Self {
        let record = &turn.record;
        let backend = record.backend.as_deref().and_then(Backend::from_name);
        let is_stream = backend.is_some() && record.command == STREAM_COMMAND;
        Self {
            backend,
            workspace: record.workspace_dir.clone().unwrap_or_default(),
            options,
            elapsed: record.elapsed(Timestamp::now()).unwrap_or_default(),
            form: if is_stream { Form::Unknown(Vec::new()) } else { Form::Plain },
        }
    }

    /// Decides by the first line what the output is. A stream can also have been printed as text.
    fn decide(&mut self, beginning: &[u8]) {
        let line = beginning.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
        let event: Option<Value> = line.and_then(|line| serde_json::from_slice(line).ok());
        let is_event = event.is_some_and(|event| event.get("type").is_some_and(Value::is_string));
        self.form = match self.backend.filter(|_| is_event) {
            Some(backend) => {
                let mode = OutputMode::Stream { partials: true };
                let parser = (backend.spec().parser)(mode, false, Some(self.workspace.clone()));
                Form::Events(parser, Box::new(Renderer::new(self.options).after(self.elapsed)))
            }
            None => Form::Plain,
        };
    }
}

impl View for Readable {
    fn show(&mut self, bytes: &[u8]) -> Vec<u8> {
        match &mut self.form {
            Form::Unknown(beginning) => {
                beginning.extend_from_slice(bytes);
                let has_line = beginning.trim_ascii_start().contains(&b'\n');
                if !has_line && beginning.len() < LONGEST_FIRST_LINE {
                    return Vec::new();
                }
                let beginning = std::mem::take(beginning);
                self.decide(&beginning);
                self.show(&beginning)
            }
            Form::Plain => bytes.to_owned(),
            Form::Events(parser, renderer) => {
                parser.feed(bytes, &mut |event| renderer.render(&event));
                renderer.take()
            }
        }
    }

    fn end(&mut self, is_complete: bool) -> Vec<u8> {
        let mut shown = Vec::new();
        if let Form::Unknown(beginning) = &mut self.form {
            let beginning = std::mem::take(beginning);
            if !is_complete && beginning.trim_ascii_start().starts_with(b"{") {
                return shown; // it may become an event
            }
            self.decide(&beginning);
            shown = self.show(&beginning);
        }
        if let Form::Events(parser, renderer) = &mut self.form {
            if is_complete {
                parser.end(&mut |event| renderer.render(&event));
            }
            renderer.end_line();
            shown.extend(renderer.take());
        }
        shown
    }
}

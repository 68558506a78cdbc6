//! One turn of an agent: the prompt put together and delivered, the agent run, its verdict understood.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::TurnOptions;
use super::outcome::{CompletedRun, TurnOutput, busy_elsewhere, still_running};
use super::request::TurnRequest;
use super::scratch_dir::ScratchDir;
use crate::agent::launcher;
use crate::backend::{
    AgentEvent, FailedRun, Invocation, OutputMode, OutputParser, PromptChannel, Retry, Role, TurnReport,
};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::paths;
use crate::process::{self, End, Passthrough, Runner};
use crate::render::Renderer;
use crate::ui::Notes;
use crate::ui::spinner::{Progress, ProgressHandle};

/// A prompt, or a role, longer than this does not go into the arguments: Linux allows 128 KiB for one of them, Windows
/// 32 KiB for all (8 KiB where a batch file is started).
const LONGEST_ARGUMENT: usize = if cfg!(windows) { 8 << 10 } else { 100 << 10 };

/// Between two tries to get a session that another program has open.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Calls agents for turns.
pub(crate) struct TurnRunner<'a> {
    pub(crate) call: &'a TurnOptions,
    pub(crate) notes: Notes,
    pub(crate) program: PathBuf,
    pub(crate) runner: Runner,
}

/// Parses an agent's output, and shows its events to whoever watches.
struct TurnSink {
    parser: Box<dyn OutputParser>,
    renderer: Option<Renderer>,
    progress: Option<ProgressHandle>,
}

impl TurnSink {
    /// What is done with each event.
    fn show<'a>(
        mut renderer: Option<&'a mut Renderer>,
        progress: Option<&'a ProgressHandle>,
    ) -> impl FnMut(AgentEvent) + 'a {
        move |event| {
            if let Some(renderer) = &mut renderer {
                renderer.render(&event);
            }
            if let (Some(progress), AgentEvent::ToolStarted(tool)) = (progress, &event) {
                progress.set(&format!("{} {}", tool.name, tool.about));
            }
        }
    }
}

impl process::OutputSink for TurnSink {
    fn write(&mut self, chunk: &[u8]) {
        self.parser.feed(chunk, &mut Self::show(self.renderer.as_mut(), self.progress.as_ref()));
    }

    fn finish(&mut self) {
        self.parser.end(&mut Self::show(self.renderer.as_mut(), self.progress.as_ref()));
        self.renderer.iter_mut().for_each(Renderer::end_line);
    }

    fn drain(&mut self) -> Vec<u8> {
        self.renderer.as_mut().map(Renderer::take).unwrap_or_default()
    }
}

impl<'a> TurnRunner<'a> {
    /// Finds the agent. From here on signals are handed to it.
    pub(crate) fn new(call: &'a TurnOptions, notes: Notes) -> Result<Self> {
        let program = call.agent.program(call.dir.as_deref())?;
        let runner = Runner::new(call.deadline)
            .map_err(|error| Error::new(ErrorKind::Io, "signals cannot be handled").with_io_cause(&error))?;
        Ok(Self { call, notes, program, runner })
    }

    /// One turn. What comes back is a success.
    pub(crate) fn ask(&self, ask: &TurnRequest<'_>) -> Result<TurnOutput> {
        let mut fallback = false;
        let mut noted = false;
        loop {
            let done = self.run(ask, fallback)?;
            match self.retry(ask, &done, fallback) {
                Retry::No => {
                    self.runner.turn_is_done();
                    return self.classify(ask, done);
                }
                Retry::WithFallback(note) => {
                    self.notes.note(note);
                    fallback = true;
                }
                Retry::SessionInUse => {
                    let id = ask.session.known().expect("only a session that exists can be in use");
                    let is_shell = self.call.agent.launcher.is_shell(); // it may have run more than the agent
                    if !ask.wait {
                        let busy = busy_elsewhere(self.call.agent.backend, id, &done.stderr);
                        return Err(if is_shell { busy.with_turn_started() } else { busy });
                    }
                    if !noted {
                        self.notes.note(&format!("waiting for the session {id}, which another program has open"));
                        noted = true;
                    }
                    if let Err(end) = self.runner.pause(BETWEEN_TRIES) {
                        return self.classify(ask, CompletedRun { end, started: is_shell, ..done });
                    }
                }
            }
        }
    }

    /// Whether the agent says that another try helps.
    fn retry(&self, ask: &TurnRequest<'_>, done: &CompletedRun, fallback: bool) -> Retry {
        let End::Exited(exit_status) = done.end else { return Retry::No };
        let (lines, resumes) = (done.account.lines, ask.session.known().is_some());
        let run = FailedRun { exit_status, stderr: &done.stderr, lines, resumes, fallback };
        (self.call.agent.backend.spec().retry)(&self.call.args, &run)
    }

    fn run(&self, ask: &TurnRequest<'_>, fallback: bool) -> Result<CompletedRun> {
        let backend = self.call.agent.backend;
        let dir = ScratchDir::default();
        let composed = (backend.spec().prompt_with_role)(ask.role, &ask.request.bytes);
        let as_argument = match std::str::from_utf8(&composed) {
            Ok(text) if !ask.request.by_stdin && self.fits(text) => Some(text),
            _ => None,
        };
        let role_file = match ask.role.filter(|_| backend.capabilities().system_prompt) {
            Some(role) if !self.fits(role) => Some(dir.file("role.md", role.as_bytes())?),
            _ => None,
        };
        let role = ask.role.filter(|role| backend.capabilities().system_prompt && !role.is_empty());
        let answer_file = match ask.form {
            OutputMode::Json if backend.capabilities().answer_file => Some(dir.path("answer")?),
            _ => None,
        };
        let arguments = (backend.spec().arguments)(&Invocation {
            session: ask.session,
            form: ask.form,
            prompt: as_argument.map_or(PromptChannel::StandardInput, PromptChannel::Argument),
            role: role.map(|role| role_file.as_deref().map_or(Role::Text(role), Role::File)),
            model: ask.model,
            effort: ask.effort,
            args: &self.call.args,
            fallback,
            answer_file: answer_file.as_deref(),
            extra: &self.call.extra,
        });
        let stdin = if as_argument.is_some() { None } else { Some(composed.into_owned()) };
        let command = process::Command {
            program: self.program.clone(),
            arguments: self.call.agent.launcher.arguments(arguments)?,
            set: self.variables(ask.held),
            unset: backend.spec().removed_env.iter().map(OsString::from).collect(),
            dir: self.call.dir.clone(),
            stdin,
            stall: self.call.stall,
        };
        let passing = match (ask.form, self.call.look) {
            (OutputMode::Json, _) => Passthrough::Off,
            (OutputMode::Stream { .. }, None) => Passthrough::Raw,
            (OutputMode::Stream { .. }, Some(_)) => Passthrough::Rendered,
        };
        let progress =
            if passing == Passthrough::Off { Progress::start(backend.name(), self.notes.quiet) } else { None };
        let wants_events = progress.is_some() || self.call.look.is_some();
        let sink = TurnSink {
            parser: (backend.spec().parser)(ask.form, wants_events.then(|| self.dir())),
            renderer: self.call.look.map(Renderer::new),
            progress: progress.as_ref().map(Progress::handle),
        };
        let mut account = None;
        let succeeded = |sink: TurnSink| ask.is_answered_by(backend, account.insert(sink.parser.into_report()));
        let run = self.runner.run(command, sink, passing, succeeded).map_err(|error| self.not_started(&error))?;
        let account = account.unwrap_or_else(|| TurnReport {
            malformed: Some("its output could not be taken in time".to_owned()),
            ..TurnReport::default()
        });
        if let (End::Exited(_) | End::Killed(_), Some(pids)) = (run.end, &run.survivors) {
            self.notes.warning(&format!("what {backend} left running could not be stopped: {}", still_running(pids)));
        }
        let written = answer_file.as_deref().and_then(|path| self.written_answer(path, account.answer.is_some()));
        let answer = written.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).or(account.answer);
        Ok(CompletedRun {
            end: run.end,
            started: run.started,
            survivors: run.survivors,
            account: TurnReport { answer, ..account },
            stderr: run.stderr,
            copied: run.copied,
        })
    }

    /// Returns what the agent wrote to `path`, if it wrote something there that can be read. `told`: whether its events
    /// hold the answer too.
    fn written_answer(&self, path: &Path, told: bool) -> Option<Vec<u8>> {
        let error = match input::regular_file(path) {
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => crate::error::io_message(&error),
        };
        let backend = self.call.agent.backend;
        let warning = format!("the file for {backend}'s answer cannot be read: {error}");
        if told {
            self.notes.warning(&format!("{warning}; the answer is the last one in {backend}'s events"));
        } else {
            Notes::warn_always(&format!("{warning}; {backend}'s events hold no answer either"));
        }
        None
    }

    /// Whether `text` can be an argument: not too long, also as PowerShell quotes it, and nothing the program cannot take.
    fn fits(&self, text: &str) -> bool {
        self.call.agent.launcher.length_of(text) <= LONGEST_ARGUMENT && launcher::accepts_argument(&self.program, text)
    }

    /// Where the agent runs.
    fn dir(&self) -> String {
        let dir = self.call.dir.clone().or_else(|| paths::current_dir().ok());
        dir.map(|dir| dir.display().to_string()).unwrap_or_default()
    }

    fn variables(&self, held: &[String]) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> =
            self.call.agent.variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
        if !held.is_empty() {
            let above = env::var(env::HELD_LOCKS).ok().flatten();
            let all: Vec<String> = above.into_iter().chain(held.iter().cloned()).collect();
            variables.push((env::HELD_LOCKS.into(), all.join(",").into()));
        }
        variables
    }

    /// Whether a shell ran and says that it could not run the agent.
    pub(crate) fn could_not_run_command(&self, done: &CompletedRun) -> bool {
        let said_nothing = done.account.lines == 0 && done.account.answer.is_none();
        said_nothing && self.call.agent.launcher.could_not_run_command(&String::from_utf8_lossy(&done.stderr))
    }
}

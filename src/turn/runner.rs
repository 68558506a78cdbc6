//! Runs the agent for one turn: composes and delivers the prompt, starts the agent, and retries if that helps.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::options::TurnOptions;
use super::outcome::{CompletedRun, TurnOutput, not_started, session_in_use, still_running};
use super::prompt::Prompt;
use super::request::TurnRequest;
use super::retry::{FOLLOW_UP, Retries};
use super::scratch_dir::ScratchDir;
use super::sink::TurnSink;
use super::structured::parse_answer;
use crate::agent::command::AgentCommand;
use crate::agent::launcher;
use crate::backend::{
    Backend, FailedRun, Fallbacks, Invocation, OutputMode, PromptChannel, Retry, Role, SchemaArgument, SchemaChannel,
    SessionMode, StderrLine, TurnReport,
};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::late_signal;
use crate::paths;
use crate::process::{self, End, Passthrough, Runner};
use crate::random;
use crate::records::record::State;
use crate::render::Renderer;
use crate::session::AgentSessionId;
use crate::sessions::lock::interrupted;
use crate::ui::spinner::Spinner;
use crate::ui::{Ui, stdout_error};

/// The limit on the bytes of a prompt or role in an argument. Linux allows 128 KiB for one argument. Windows allows
/// 32 KiB for all of them, and 8 KiB for a batch file.
const LONGEST_ARGUMENT: usize = if cfg!(windows) { 8 << 10 } else { 100 << 10 };

/// The interval between retries in a session that another program has open.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs agents for turns.
pub(crate) struct TurnRunner<'a> {
    pub(crate) options: &'a TurnOptions,
    pub(crate) ui: &'a Ui,
    pub(crate) program: PathBuf,
    pub(super) runner: Runner,
}

impl<'a> TurnRunner<'a> {
    /// Finds the agent's program. From now on, signals are forwarded to the agent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AgentNotFound`] or [`ErrorKind::AgentNotExecutable`].
    pub(crate) fn new(options: &'a TurnOptions, ui: &'a Ui) -> Result<Self> {
        let program = options.agent.program(options.dir.as_deref())?;
        let runner = Runner::new(options.deadline)
            .map_err(|error| Error::new(ErrorKind::Io, "cannot handle signals").with_io_cause(&error))?;
        if let Some(signal) = late_signal::get() {
            return Err(interrupted(signal, &format!("before {} was started", options.agent.backend)));
        }
        late_signal::release(); // the runner receives them from now on
        Ok(Self { options, ui, program, runner })
    }

    /// Runs one turn.
    ///
    /// # Errors
    ///
    /// An error for every turn that did not succeed, with the agent's reason.
    pub(crate) fn run(&self, request: &TurnRequest<'_>) -> Result<TurnOutput> {
        let recorder = &self.options.recorder;
        recorder.begin(self.options.agent.backend, request.session);
        let mut retries = Retries::new(self);
        let follow_up = Prompt::text(FOLLOW_UP);
        let capabilities = self.options.agent.backend.capabilities();
        let mut request = *request;
        let mut begun: Option<AgentSessionId> = None; // the session whose history has the prompt
        loop {
            let chosen = AgentSessionId::new(&random::uuid()).ok().filter(|_| capabilities.accepts_new_id);
            let attempt = match &begun {
                Some(id) => TurnRequest {
                    session: SessionMode::Resume(id),
                    new_id: None,
                    prompt: &follow_up,
                    // otherwise the role is a part of the prompt
                    role: request.role.filter(|_| capabilities.system_prompt),
                    ..request
                },
                None if request.session.known().is_some() => request,
                None => TurnRequest { new_id: request.new_id.or(chosen.as_ref()), ..request },
            };
            recorder.update_at_start(|turn| {
                if turn.record.tries == 0 {
                    turn.set_session(request.name, request.session.known());
                    turn.record.model = request.model_and_effort.model.map(|model| model.name.to_owned());
                    turn.record.reasoning_effort = request.model_and_effort.effort.map(str::to_owned);
                    turn.record.state = State::Running;
                }
                turn.record.tries += 1;
                let id = attempt.new_id.or(attempt.session.known());
                turn.record.session_id = id.map(|id| id.as_str().to_owned()).or(turn.record.session_id.take());
            });
            let error = match self.run_until_accepted(&attempt) {
                Err(error) if error.turn.session_unknown && attempt.may_be_missing && begun.is_none() => {
                    let Some(id) = request.session.known() else { return Err(error) };
                    Retries::check_signal(error).map_err(|error| request.with_continuation(error))?;
                    self.ui.note(&format!(
                        "{} does not have {}, because its first turn was stopped too early; starting it anew",
                        self.options.agent.backend,
                        request.session_label(id)
                    ));
                    let new_id = Some(id).filter(|_| capabilities.accepts_new_id);
                    request = TurnRequest { session: SessionMode::New, new_id, ..request };
                    continue;
                }
                Err(error) if error.turn.cause.as_ref().is_some_and(|cause| cause.retryable) => error,
                Err(error) => return Err(error),
                Ok(output) => {
                    recorder.update(|turn| {
                        turn.answer.clone_from(&output.report.answer);
                        turn.structured_answer.clone_from(&output.report.structured);
                        (turn.record.model, turn.record.reasoning_effort) = request.model_and_effort.in_force(&output);
                    });
                    return Ok(output);
                }
            };
            let error = retries.wait(error).map_err(|error| request.with_continuation(error))?;
            if error.turn.prompt_in_history == Some(true) {
                begun = error.turn.session_id.or(begun);
            }
        }
    }

    /// Runs one turn, with further calls of the agent as long as it refuses the call before anything is sent.
    fn run_until_accepted(&self, request: &TurnRequest<'_>) -> Result<TurnOutput> {
        let mut fallbacks = Fallbacks::default();
        let mut noted = false;
        loop {
            let request = &TurnRequest { new_id: request.new_id.filter(|_| !fallbacks.agent_chooses_id), ..*request };
            let run = self.run_once(request, fallbacks)?;
            match self.retry(request, &run, fallbacks) {
                Retry::No => {
                    self.runner.turn_is_done();
                    return self.classify(request, run);
                }
                Retry::WithFallbacks { fallbacks: more, note } => {
                    note.inspect(|note| self.ui.note(note));
                    fallbacks = more;
                }
                Retry::SessionInUse => {
                    let id = request.session.known().expect("only an existing session can be in use");
                    let is_shell = self.options.agent.launcher.is_shell(); // its initialization may have used the prompt
                    if !request.wait {
                        let busy = session_in_use(self.options.agent.backend, request, id, &run.stderr);
                        return Err(if is_shell { busy.with_turn_started() } else { busy });
                    }
                    if !noted {
                        let session = request.session_label(id);
                        self.ui.note(&format!("waiting for {session}, which another program has open"));
                        noted = true;
                    }
                    if let Err(end) = self.runner.pause(RETRY_INTERVAL) {
                        return self.classify(request, CompletedRun { end, started: is_shell, ..run });
                    }
                }
            }
        }
    }

    /// Returns whether to retry.
    fn retry(&self, request: &TurnRequest<'_>, run: &CompletedRun, fallbacks: Fallbacks) -> Retry {
        let End::Exited(exit_status) = run.end else { return Retry::No };
        let (lines, resumes) = (run.report.lines, request.session.known().is_some());
        let failed = FailedRun { exit_status, stderr: &run.stderr, lines, resumes, fallbacks };
        (self.options.agent.backend.spec().retry)(&self.options.args, &failed)
    }

    fn run_once(&self, request: &TurnRequest<'_>, fallbacks: Fallbacks) -> Result<CompletedRun> {
        let backend = self.options.agent.backend;
        let dir = ScratchDir::default();
        let composed = (backend.spec().prompt_with_role)(request.role, &request.prompt.bytes);
        let as_argument = match std::str::from_utf8(&composed) {
            // the prompt of a detached turn is not for the process list
            Ok(text) if !request.prompt.by_stdin && !self.options.recorder.is_detached() && self.fits(text) => {
                Some(text)
            }
            _ => None,
        };
        let role = request.role.filter(|role| backend.capabilities().system_prompt && !role.is_empty());
        let role_file = role_file(&self.options.agent, &self.program, role, &dir)?;
        let answer_file = match request.mode {
            OutputMode::Json | OutputMode::StreamedAnswer if backend.capabilities().answer_file => {
                Some(dir.path("answer")?)
            }
            _ => None,
        };
        let schema_file = self.schema_file(&dir)?;
        let schema = self.options.schema.as_ref();
        let schema =
            schema.map(|it| schema_file.as_deref().map_or(SchemaArgument::Text(&it.text), SchemaArgument::File));
        let arguments = (backend.spec().arguments)(&Invocation {
            session: request.session,
            new_id: request.new_id,
            mode: request.mode,
            prompt: as_argument.map_or(PromptChannel::StandardInput, PromptChannel::Argument),
            role: role.map(|role| role_file.as_deref().map_or(Role::Text(role), Role::File)),
            model: request.model_and_effort.model,
            effort: request.model_and_effort.effort,
            args: &self.options.args,
            fallbacks,
            answer_file: answer_file.as_deref(),
            schema,
            extra: &self.options.extra,
        });
        let stdin = if as_argument.is_some() { None } else { Some(composed.into_owned()) };
        let passing = match (request.mode, self.options.render) {
            (OutputMode::Json | OutputMode::StreamedAnswer, _) => Passthrough::Off,
            (OutputMode::Stream { .. }, None) => Passthrough::Raw,
            (OutputMode::Stream { .. }, Some(_)) => Passthrough::Rendered,
        };
        let output = match passing {
            Passthrough::Off => None,
            Passthrough::Raw | Passthrough::Rendered => Some(self.ui.stdout().map_err(|error| stdout_error(&error))?),
        };
        // events for a program come alone
        let progress = if passing == Passthrough::Raw { None } else { Spinner::start(self.ui, backend.name()) };
        let output = match &progress {
            Some(progress) => output.map(|output| output.clearing(progress.handle())),
            None => output,
        };
        let command = process::Command {
            program: self.program.clone(),
            arguments: self.options.agent.launcher.arguments(arguments)?,
            set: self.options.variables(request.locks),
            unset: backend.spec().removed_env.iter().chain(&[env::DETACHED]).map(OsString::from).collect(),
            dir: self.options.dir.clone(),
            stdin,
            output,
            stall: self.options.stall,
        };
        self.ui.log(|| describe_command(&command));
        let (began, started) = (Timestamp::now(), Instant::now());
        let wants_events = progress.is_some() || self.options.render.is_some();
        let parser = (backend.spec().parser)(request.mode, self.options.keeps_answer, wants_events.then(|| self.dir()));
        let renderer = self.options.render.map(Renderer::new);
        let progress = progress.as_ref().map(Spinner::handle);
        let sink = TurnSink::new(parser, renderer, progress, self.options.recorder.clone());
        let mut report = None;
        let succeeded = |sink: TurnSink| request.is_answered_by(backend, report.insert(sink.into_report()));
        let run =
            self.runner.run(command, sink, passing, succeeded).map_err(|error| not_started(&self.program, &error))?;
        self.ui.log(|| format!("{backend} ended after {:.3} s: {:?}", started.elapsed().as_secs_f64(), run.end));
        let report = report.unwrap_or_else(|| TurnReport {
            malformed: Some("its output was not read in time".to_owned()),
            ..TurnReport::default()
        });
        let written = answer_file.as_deref().and_then(|path| self.written_answer(path, report.answer.is_some()));
        let answer = written.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).or(report.answer);
        let structured = match &answer {
            Some(answer) if schema_file.is_some() => parse_answer(answer),
            _ => report.structured,
        };
        Ok(self.completed(request, began, run, TurnReport { answer, structured, ..report }))
    }

    /// Adds to `report` what the agent's standard error reports, and records both.
    fn completed(
        &self,
        request: &TurnRequest<'_>,
        began: Timestamp,
        run: process::Run,
        mut report: TurnReport,
    ) -> CompletedRun {
        let backend = self.options.agent.backend;
        if let (End::Exited(_) | End::Killed(_), Some(pids)) = (run.end, &run.survivors) {
            self.ui.warn(&format!("cannot stop what {backend} left running: {}", still_running(pids)));
        }
        report.denied.names.extend(denied_in_log(backend, &run.stderr));
        self.options.recorder.used(report.usage);
        self.options.recorder.update(|turn| {
            if let Some(id) = request.answering_session(&report) {
                turn.record.session_id = Some(id.as_str().to_owned());
            }
            if report.denied.complete || !report.denied.names.is_empty() {
                turn.record.denied = Some(report.denied.names.clone());
            }
        });
        let process::Run { end, started, survivors, activity, stderr, copied } = run;
        CompletedRun { end, started, began, survivors, activity, report, stderr, copied }
    }

    /// Writes the schema to a file, for an agent that reads it from one.
    fn schema_file(&self, dir: &ScratchDir) -> Result<Option<PathBuf>> {
        match &self.options.schema {
            Some(schema) if self.options.agent.backend.capabilities().schema == SchemaChannel::File => {
                dir.file("schema.json", schema.text.as_bytes()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Returns the content of the agent's answer file, or `None` if it is missing or unreadable. `in_events` means that
    /// the agent's events contain the answer too.
    fn written_answer(&self, path: &Path, in_events: bool) -> Option<Vec<u8>> {
        let error = match input::regular_file(path) {
            Ok(bytes) => return Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => crate::error::io_message(&error),
        };
        let backend = self.options.agent.backend;
        let warning = format!("cannot read the file for {backend}'s answer: {error}");
        if in_events {
            self.ui.warn(&format!("{warning}; using the last answer in {backend}'s events"));
        } else {
            self.ui.warn_always(&format!("{warning}; {backend}'s events do not contain an answer either"));
        }
        None
    }

    /// See [`fits_argument`].
    fn fits(&self, text: &str) -> bool {
        fits_argument(&self.options.agent, &self.program, text)
    }

    /// Returns the directory that the agent runs in.
    fn dir(&self) -> String {
        let dir = self.options.dir.clone().or_else(|| paths::current_dir().ok());
        dir.map(|dir| dir.display().to_string()).unwrap_or_default()
    }

    /// Returns whether a shell ran and reported that it could not run the agent.
    pub(crate) fn could_not_run_command(&self, run: &CompletedRun) -> bool {
        let is_silent = run.report.lines == 0 && run.report.answer.is_none();
        is_silent && self.options.agent.launcher.could_not_run_command(&String::from_utf8_lossy(&run.stderr))
    }
}

/// Returns the tool of each call that the agent was not allowed to make, by its standard error.
fn denied_in_log(backend: Backend, stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let tool = |line: &str| match (backend.spec().stderr_line)(line) {
        StderrLine::Denied(tool) => Some(tool.to_owned()),
        _ => None,
    };
    text.lines().filter_map(tool).collect()
}

/// Writes a role that is not a valid argument to a file.
pub(crate) fn role_file(
    agent: &AgentCommand,
    program: &Path,
    role: Option<&str>,
    dir: &ScratchDir,
) -> Result<Option<PathBuf>> {
    let long = role.filter(|role| !fits_argument(agent, program, role));
    long.map(|role| dir.file("role.md", role.as_bytes())).transpose()
}

/// Returns whether `text` can be an argument of the agent. It must be short enough with PowerShell's quotes, and the
/// program must accept it.
pub(super) fn fits_argument(agent: &AgentCommand, program: &Path, text: &str) -> bool {
    agent.launcher.length_of(text) <= LONGEST_ARGUMENT && launcher::accepts_argument(program, text)
}

/// Describes the arguments of a command for the log. A long one, which may be a prompt or a role, is cut.
pub(crate) fn describe_arguments<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> String {
    const LONGEST: usize = 200;
    let shorten = |text: String| match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    };
    let described = arguments.map(|argument| format!("{:?}", shorten(argument.display().to_string())));
    described.collect::<Vec<_>>().join(" ")
}

/// Describes a command for the log. Values of variables are omitted, because they may be secret.
fn describe_command(command: &process::Command) -> String {
    let names =
        |names: Vec<&OsString>| names.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(" ");
    let dir = command.dir.as_ref().map_or_else(|| ".".to_owned(), |dir| dir.display().to_string());
    format!(
        "starting {} {} in {dir}; set: {}; unset: {}; standard input: {}",
        command.program.display(),
        describe_arguments(command.arguments.iter().map(OsString::as_os_str)),
        names(command.set.iter().map(|(name, _)| name).collect()),
        names(command.unset.iter().collect()),
        command.stdin.as_ref().map_or("none".to_owned(), |bytes| format!("{} bytes", bytes.len())),
    )
}

//! One turn of an agent: the prompt put together and delivered, the agent run, its verdict understood.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::call::AgentCall;
use super::private_folder::PrivateFolder;
use super::progress::Progress;
use crate::backend::codex::{self, FullAuto};
use crate::backend::{Account, Backend, Form, Model, Prompt, Role, Session, Transcript, Turn};
use crate::cli;
use crate::env;
use crate::error::{Error, Kind, Result};
use crate::input;
use crate::launcher;
use crate::output::{Notes, is_obeyed};
use crate::process::{self, End, Passing, Runner};
use crate::render::Renderer;
use crate::session::{AgentSessionId, SessionName, is_blank};
use crate::store::location;

/// A prompt, or a role, longer than this does not go into the arguments: Linux allows 128 KiB for one of them, Windows
/// 32 KiB for all (8 KiB where a batch file is started).
const LONGEST_ARGUMENT: usize = if cfg!(windows) { 8 << 10 } else { 100 << 10 };

/// What the system says of a file that is no program (`ENOEXEC`; on Windows `ERROR_BAD_EXE_FORMAT`).
const EXEC_FORMAT: i32 = if cfg!(windows) { 193 } else { 8 };

/// Between two tries to get a session that another program has open.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// How much of an agent's standard error an error tells.
const MOST_WORDS: usize = 2000;

/// Where a prompt is to come from.
pub(super) enum Source<'a> {
    Text(&'a str),
    File(&'a Path),
    StandardInput,
}

impl<'a> Source<'a> {
    /// The one that the options name; more than one, or none, is an error. `stdin`: whether something else reads it.
    pub(super) fn of(options: &'a cli::Prompt, stdin: bool) -> Result<Self> {
        let source = match (options.prompt.as_deref(), options.prompt_file.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(Error::usage("--prompt and --prompt-file are both given").hint("leave one of them out"));
            }
            (None, None) => {
                return Err(
                    Error::usage("there is no prompt").hint("add --prompt TEXT, or --prompt - to read standard input")
                );
            }
            (Some("-"), None) => Self::StandardInput,
            (Some(text), None) if is_blank(text) => return Err(empty_prompt()),
            (Some(text), None) => Self::Text(text),
            (None, Some(path)) if path == Path::new("-") => Self::StandardInput,
            (None, Some(path)) => Self::File(path),
        };
        if stdin && matches!(source, Self::StandardInput) {
            return Err(Error::usage("the prompt and --stdin both want standard input").hint("leave one of them out"));
        }
        Ok(source)
    }

    /// Reads the prompt.
    pub(super) fn read(self, deadline: Option<Instant>) -> Result<Request> {
        let bytes = match self {
            Self::Text(text) => return Ok(Request::text(text)),
            Self::File(path) => input::file(path, "--prompt-file", deadline)?,
            Self::StandardInput => input::standard_input(deadline)?,
        };
        if std::str::from_utf8(&bytes).is_ok_and(is_blank) {
            return Err(empty_prompt());
        }
        Ok(Request { bytes, by_stdin: true })
    }
}

fn empty_prompt() -> Error {
    Error::usage("the prompt is empty").hint("say what the agent is to do")
}

/// A prompt, and whether it came by a way that it is to go on by.
#[derive(Clone, Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// From a file or standard input: it may hold any bytes and be of any size.
    by_stdin: bool,
}

impl Request {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into_bytes(), by_stdin: false }
    }

    /// This prompt with our standard input behind it, between tags that say so. An empty input is told as such.
    pub(super) fn with_stdin(mut self, deadline: Option<Instant>) -> Result<Self> {
        let data = input::standard_input(deadline)?;
        self.bytes.extend_from_slice(b"\n\n<stdin>\n");
        self.bytes.extend_from_slice(&data);
        if !data.is_empty() && !data.ends_with(b"\n") {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(b"</stdin>\n");
        self.by_stdin = true;
        Ok(self)
    }
}

/// The text of a role file.
pub(super) fn role(path: Option<&Path>, deadline: Option<Instant>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md")) {
        return Err(Error::usage(format!("--role-definition-md {} is no .md file", path.display())));
    }
    let text = input::text_file(path, "--role-definition-md", deadline)?;
    Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n"))) // as Python reads text
}

/// What is asked of the agent in one turn.
pub(super) struct Ask<'a> {
    pub(super) session: Session<'a>,
    /// The name it has or will have, for advice.
    pub(super) name: Option<&'a SessionName>,
    pub(super) form: Form,
    pub(super) request: &'a Request,
    pub(super) role: Option<&'a str>,
    pub(super) model: Option<Model<'a>>,
    pub(super) effort: Option<&'a str>,
    /// Locks that this turn holds, as they are handed down.
    pub(super) held: &'a [String],
    /// Whether to wait for a session that a process which is not ours has open.
    pub(super) wait: bool,
}

impl Ask<'_> {
    /// Whether `account` is that of a successful turn in the session that was asked for.
    fn is_answered_by(&self, backend: Backend, account: &Account) -> bool {
        let told = account.told_id.as_deref();
        let new = told.and_then(|told| AgentSessionId::new(told).ok());
        let in_its_session = match self.session {
            Session::New => new.is_some(),
            Session::ForkOf(history) => new.is_some_and(|new| !history.is_told_as(new.as_str())),
            // claude goes on under another id
            Session::Known(id) => backend == Backend::Claude || told.is_none_or(|told| id.is_told_as(told)),
        };
        account.failure.is_none() && account.malformed.is_none() && in_its_session
    }

    /// What a hint adds where there is a session to go on with.
    fn resumable(&self) -> &'static str {
        if self.session.known().is_some() { "; the session itself can be resumed" } else { "" }
    }
}

/// Calls agents for turns.
pub(super) struct Caller<'a> {
    pub(super) call: &'a AgentCall,
    pub(super) notes: Notes,
    program: PathBuf,
    pub(super) runner: Runner,
}

/// Listens to an agent, and makes an account of the turn where one is wanted.
struct Listener {
    transcript: Transcript,
    renderer: Option<Renderer>,
}

impl process::Listener for Listener {
    fn hear(&mut self, chunk: &[u8]) {
        self.transcript.hear(chunk, &mut |moment| self.renderer.iter_mut().for_each(|renderer| renderer.show(&moment)));
    }

    fn end(&mut self) {
        self.transcript.end(&mut |moment| self.renderer.iter_mut().for_each(|renderer| renderer.show(&moment)));
        self.renderer.iter_mut().for_each(Renderer::settle);
    }

    fn say(&mut self) -> Vec<u8> {
        self.renderer.as_mut().map(Renderer::take).unwrap_or_default()
    }
}

impl<'a> Caller<'a> {
    /// Finds the agent. From here on signals are handed to it.
    pub(super) fn new(call: &'a AgentCall, notes: Notes) -> Result<Self> {
        let program = call.agent.program(call.folder.as_deref())?;
        let runner = Runner::new(call.deadline)
            .map_err(|error| Error::new(Kind::Io, "signals cannot be handled").because(&error))?;
        Ok(Self { call, notes, program, runner })
    }

    /// One turn. What comes back is a success.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<Answer> {
        let mut full_auto = self.call.exec.full_auto;
        let mut told = false;
        loop {
            let done = self.run(ask, full_auto)?;
            let status = if let End::Exited(status) = done.end { Some(status) } else { None };
            if full_auto == FullAuto::Flag && codex::does_not_know_full_auto(status, &done.stderr) {
                self.notes
                    .note("this codex no longer knows --full-auto; calling it with sandbox_mode=\"workspace-write\"");
                full_auto = FullAuto::Setting;
                continue;
            }
            if let (Some(id), Some(1..)) = (ask.session.known(), status)
                && self.call.agent.backend == Backend::Codex
                && done.account.lines == 0 // no turn began, so asking again asks once
                && codex::is_active_writer(&done.stderr)
            {
                let is_shell = self.call.agent.launcher.is_shell(); // it may have run more than the agent
                if !ask.wait {
                    let busy = busy_elsewhere(id, &done.stderr);
                    return Err(if is_shell { busy.turn_started() } else { busy });
                }
                if !told {
                    self.notes.note(&format!("waiting for the session {id}, which another program has open"));
                    told = true;
                }
                if let Err(end) = self.runner.pause(BETWEEN_TRIES) {
                    return self.judge(ask, Done { end, started: is_shell, ..done });
                }
                continue;
            }
            self.runner.turn_is_done();
            return self.judge(ask, done);
        }
    }

    fn run(&self, ask: &Ask<'_>, full_auto: FullAuto) -> Result<Done> {
        let backend = self.call.agent.backend;
        let folder = PrivateFolder::default();
        let composed = backend.prompt_with_role(ask.role, &ask.request.bytes);
        let as_argument = match std::str::from_utf8(&composed) {
            Ok(text) if !ask.request.by_stdin && self.fits(text) => Some(text),
            _ => None,
        };
        let role_file = match ask.role.filter(|_| backend.has_place_for_role()) {
            Some(role) if !self.fits(role) => Some(folder.file("role.md", role.as_bytes())?),
            _ => None,
        };
        let role = ask.role.filter(|role| backend.has_place_for_role() && !role.is_empty());
        let answer_file = match ask.form {
            Form::Json if backend.writes_answer_file() => Some(folder.path("answer")?),
            _ => None,
        };
        let exec = codex::ExecOptions { full_auto, ..self.call.exec.clone() };
        let arguments = backend.arguments(&Turn {
            session: ask.session,
            form: ask.form,
            prompt: as_argument.map_or(Prompt::StandardInput, Prompt::Argument),
            role: role.map(|role| role_file.as_deref().map_or(Role::Text(role), Role::File)),
            model: ask.model,
            effort: ask.effort,
            exec: &exec,
            answer_file: answer_file.as_deref(),
            extra: &self.call.extra,
        });
        let stdin = if as_argument.is_some() { None } else { Some(composed.into_owned()) };
        let command = process::Command {
            program: self.program.clone(),
            arguments: self.call.agent.launcher.arguments(arguments)?,
            set: self.variables(ask.held),
            unset: backend.withheld_variables().iter().map(OsString::from).collect(),
            folder: self.call.folder.clone(),
            stdin,
            stall: self.call.stall,
        };
        let passing = match (ask.form, self.call.look) {
            (Form::Json, _) => Passing::Nothing,
            (Form::Stream { .. }, None) => Passing::Bytes,
            (Form::Stream { .. }, Some(_)) => Passing::Words,
        };
        let progress = if passing == Passing::Nothing { Progress::start(backend, self.notes.quiet) } else { None };
        let transcript = Transcript::new(backend, ask.form);
        let transcript = match &progress {
            Some(progress) => transcript.watched_by(progress.watcher()),
            None => transcript,
        };
        let transcript = if self.call.look.is_some() { transcript.telling(self.folder()) } else { transcript };
        let listener = Listener { transcript, renderer: self.call.look.map(Renderer::new) };
        let mut account = None;
        let succeeded = |listener: Listener| {
            let heard = account.insert(listener.transcript.conclude());
            ask.is_answered_by(backend, heard)
        };
        let run = self.runner.run(command, listener, passing, succeeded).map_err(|error| self.not_started(&error))?;
        let account = account.unwrap_or_else(|| Account {
            malformed: Some("its output could not be taken in time".to_owned()),
            ..Account::default()
        });
        if let (End::Exited(_) | End::Killed(_), Some(pids)) = (run.end, &run.survivors) {
            self.notes.warning(&format!("what {backend} left running could not be stopped: {}", still_running(pids)));
        }
        let written = answer_file.as_deref().and_then(|path| self.written_answer(path, account.answer.is_some()));
        let answer = written.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).or(account.answer);
        Ok(Done {
            end: run.end,
            started: run.started,
            survivors: run.survivors,
            account: Account { answer, ..account },
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
            Err(error) => crate::error::reason(&error),
        };
        let backend = self.call.agent.backend;
        let warning = format!("the file for {backend}'s answer cannot be read: {error}");
        if told {
            self.notes.warning(&format!("{warning}; the answer is the last one in {backend}'s events"));
        } else {
            Notes::loss(&format!("{warning}; {backend}'s events hold no answer either"));
        }
        None
    }

    /// Whether `text` can be an argument: not too long, also as PowerShell quotes it, and nothing the program cannot take.
    fn fits(&self, text: &str) -> bool {
        self.call.agent.launcher.length_of(text) <= LONGEST_ARGUMENT && launcher::takes(&self.program, text)
    }

    /// Where the agent runs.
    fn folder(&self) -> String {
        let folder = self.call.folder.clone().or_else(|| location::current_folder().ok());
        folder.map(|folder| folder.display().to_string()).unwrap_or_default()
    }

    fn variables(&self, held: &[String]) -> Vec<(OsString, OsString)> {
        let mut variables: Vec<(OsString, OsString)> =
            self.call.agent.variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
        if !held.is_empty() {
            let above = env::text(env::HELD).ok().flatten();
            let all: Vec<String> = above.into_iter().chain(held.iter().cloned()).collect();
            variables.push((env::HELD.into(), all.join(",").into()));
        }
        variables
    }

    fn not_started(&self, error: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        let program = self.program.display();
        // the file's own faults, and everything else: no memory, no processes, no descriptors left
        let kind = match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ExecutableFileBusy => {
                Kind::AgentNotExecutable
            }
            _ if error.raw_os_error() == Some(EXEC_FORMAT) => Kind::AgentNotExecutable,
            _ => Kind::Io,
        };
        let told = Error::new(kind, format!("'{program}' cannot be started"));
        match error.kind() {
            ErrorKind::NotFound => told.caused_by("the interpreter that its first line names is not there"),
            ErrorKind::ArgumentListTooLong => {
                told.because(error).hint("the arguments and variables are too large together")
            }
            ErrorKind::InvalidInput => told.because(error).hint("an argument holds what cannot be handed to a program"),
            _ => told.because(error),
        }
    }

    /// Whether a run was a successful turn; if not, why, in the agent's words.
    fn judge(&self, ask: &Ask<'_>, done: Done) -> Result<Answer> {
        let backend = self.call.agent.backend;
        let failed = match done.end {
            End::Exited(0) => match &done.account {
                Account { failure: Some(_), .. } => Error::new(Kind::AgentFailed, format!("{backend}'s turn failed")),
                Account { malformed: Some(why), .. } => {
                    Error::new(Kind::AgentOutputInvalid, format!("{backend} ended well, but {why}"))
                        .hint(format!("is '{}' really {backend}?", self.call.agent.launcher.name()))
                }
                _ => return Ok(Answer { account: done.account, copied: done.copied }),
            },
            End::Exited(status @ (126 | 127)) if self.could_not_run_command(&done) => {
                let shell = self.call.agent.launcher.name();
                let told = match status {
                    126 => Error::new(Kind::AgentNotExecutable, format!("{shell} cannot execute the agent's command")),
                    _ => Error::new(Kind::AgentNotFound, format!("{shell} did not find the agent's command"))
                        .hint("define it with --codex-shell-init, or in a file that the shell reads"),
                };
                // a shell ran, and what its initialization did with the prompt cannot be known
                let told = told.caused_by(last_words(&done.stderr)).agent_exit_status(Some(status)).turn_started();
                return Err(told.session_id(ask.session.known().cloned()));
            }
            End::Exited(status) => Error::new(Kind::AgentFailed, format!("{backend} ended with exit status {status}")),
            End::Killed(signal) => Error::new(Kind::AgentFailed, format!("{backend} was killed by signal {signal}")),
            End::Deadline => Error::new(Kind::Deadline, format!("the deadline passed{}", stopped(backend, &done)))
                .hint(format!("allow more time with --deadline-seconds{}", ask.resumable())),
            End::Stalled => {
                let limit = self.call.stall.unwrap_or_default().as_secs_f64();
                Error::new(Kind::Stalled, format!("{backend} said nothing for {limit} s and {}", done.fate()))
                    .hint(format!("allow more with --stall-seconds{}", ask.resumable()))
            }
            End::Interrupted(signal) => {
                Error::new(Kind::Interrupted(signal), format!("signal {signal} came{}", stopped(backend, &done)))
            }
        };
        Err(self.explain(ask, done, failed))
    }

    /// Whether a shell ran and says that it could not run the agent.
    fn could_not_run_command(&self, done: &Done) -> bool {
        let said_nothing = done.account.lines == 0 && done.account.answer.is_none();
        said_nothing && self.call.agent.launcher.could_not_run_command(&String::from_utf8_lossy(&done.stderr))
    }

    /// Adds to an error what the agent told: its reason, its verdict, its session.
    fn explain(&self, ask: &Ask<'_>, done: Done, error: Error) -> Error {
        let account = done.account;
        // what an agent says when it is stopped is no reason of its own
        let stopped = matches!(done.end, End::Deadline | End::Stalled | End::Interrupted(_));
        let reason = account.failure.and_then(|failure| failure.reason).or(account.last_words);
        let reason = reason.unwrap_or_else(|| last_words(&done.stderr));
        let mut error = match shorten(&reason) {
            _ if stopped => error,
            reason if !reason.is_empty() => error.caused_by(reason),
            _ if error.kind == Kind::AgentFailed => error.caused_by("it gave no reason"),
            _ => error,
        };
        let told = account.told_id.and_then(|id| AgentSessionId::new(&id).ok());
        // a fork that failed may have told the session that it was to be of
        let told = told.filter(|told| !matches!(ask.session, Session::ForkOf(id) if id.is_told_as(told.as_str())));
        // what the turn did is in the session that the agent reported, which need not be the one asked for
        let told = told.filter(|told| !ask.session.known().is_some_and(|known| known.is_told_as(told.as_str())));
        if let Some(id) = &told {
            error = error.hint(adopt_hint(self.call, ask.name, id));
        }
        if done.started {
            error = error.turn_started();
        }
        let status = if let End::Exited(status) = done.end { Some(status) } else { None };
        error
            .agent_exit_status(status)
            .session_id(told.or_else(|| ask.session.known().cloned()))
            .verdict(account.verdict)
    }
}

/// A successful turn.
pub(super) struct Answer {
    pub(super) account: Account,
    /// Whether a stream could be passed on. The turn is paid for either way.
    pub(super) copied: std::io::Result<()>,
}

/// A run that is over, understood.
struct Done {
    end: End,
    started: bool,
    /// See [`process::Run::survivors`].
    survivors: Option<Vec<i32>>,
    account: Account,
    stderr: Vec<u8>,
    copied: std::io::Result<()>,
}

impl Done {
    /// What became of an agent that had to be stopped.
    fn fate(&self) -> String {
        match &self.survivors {
            None => "was stopped".to_owned(),
            Some(pids) => format!("could not be stopped: {}", still_running(pids)),
        }
    }
}

/// A session that a program which is not ours has open.
fn busy_elsewhere(id: &AgentSessionId, stderr: &[u8]) -> Error {
    Error::new(Kind::SessionBusy, format!("another program has the session {id} open"))
        .caused_by(last_words(stderr))
        .agent_exit_status(Some(1))
        .session_id(Some(id.clone()))
        .hint("try again later, or wait for it with --if-busy wait")
}

fn stopped(backend: Backend, done: &Done) -> String {
    if done.started { format!("; {backend} {}", done.fate()) } else { format!(" before {backend} was called") }
}

/// Says that these processes of an agent are still there; of none, that nobody knows which.
fn still_running(pids: &[i32]) -> String {
    const MOST: usize = 5;
    let named: Vec<String> = pids.iter().take(MOST).map(i32::to_string).collect();
    match (named.join(", "), pids.len()) {
        (_, 0) => "some of its processes may still be running".to_owned(),
        (pid, 1) => format!("process {pid} is still running"),
        (named, 2..=MOST) => format!("processes {named} are still running"),
        (named, all) => format!("processes {named} and {} more are still running", all - MOST),
    }
}

/// How to save a session that an agent started and we did not, as a command that a shell takes.
pub(super) fn adopt_hint(call: &AgentCall, name: Option<&SessionName>, id: &AgentSessionId) -> String {
    let name = name.map_or("NAME", SessionName::as_str);
    let options = [format!("--session-name={name}"), format!("--adopt={id}")];
    let words: Vec<String> = options.iter().chain(&call.place).map(|option| quote(option)).collect();
    let backend = call.agent.backend;
    format!("the session {id} can still be kept: invoke-persist --backend {backend} create-session {}", words.join(" "))
}

/// `word` as a shell takes it, on one line whatever is in it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.chars().any(is_obeyed) {
        return shell_words::quote(word).into_owned();
    }
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if is_obeyed(c) => {
                c.to_string().bytes().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).map(char::from).collect()
            }
            c => c.to_string(),
        })
        .collect();
    format!("$'{escaped}'")
}

/// The end of an agent's standard error, blank lines left out.
fn last_words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let said = |line: &&str| !line.is_empty() && !codex::is_chatter(line);
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(said).collect();
    let plain: Vec<&str> = all.iter().copied().filter(|line| !codex::is_log(line)).collect();
    let lines = if plain.is_empty() { all } else { plain };
    let from = lines.len().saturating_sub(8);
    shorten(&lines[from..].join("\n"))
}

/// `words`, or their end where they are long.
fn shorten(words: &str) -> String {
    let words = words.trim();
    if words.len() <= MOST_WORDS {
        return words.to_owned();
    }
    let mut from = words.len() - MOST_WORDS;
    while !words.is_char_boundary(from) {
        from += 1;
    }
    format!("… {}", &words[from..])
}

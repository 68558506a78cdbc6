//! The supported agents. Each has a directory with all code that is specific to it.
//!
//! Code outside of these directories does not ask which agent it runs, because [`Spec`] describes an agent as data. A
//! third agent needs a directory, a variant, a match arm and a field for its options.

mod activity;
mod cause;
mod claude;
mod codex;
mod condensed;
pub(crate) mod echo;
mod event;
mod lines;
mod output;
mod session_files;
mod spec;
mod support;
mod usage;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

pub(crate) use self::cause::{Cause, Diagnosis, Evidence};
pub(crate) use self::event::{AgentEvent, Outcome, Summary, TextKind, Tool};
pub(crate) use self::output::{AgentWarning, OutputParser, TurnReport};
pub(crate) use self::session_files::WriteTimes;
pub(crate) use self::spec::{
    Capabilities, FailedRun, Home, JsonOutput, OnNewId, Retry, SandboxMark, SchemaChannel, Setting, Spec, StderrLine,
    UserDir,
};
pub(crate) use self::support::Support;
pub(crate) use self::usage::{Tokens, Usage};
use crate::session::AgentSessionId;

/// The options for starting an agent.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LaunchArgs {
    #[command(flatten)]
    pub claude: claude::ClaudeLaunchArgs,
    #[command(flatten)]
    pub codex: codex::CodexLaunchArgs,
}

/// The options of a turn that only some agents have.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct BackendArgs {
    #[command(flatten)]
    pub codex: codex::CodexArgs,
}

/// An agent that keeps sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Backend {
    /// Claude Code, the program 'claude'
    Claude,
    /// Codex CLI, the program 'codex'
    Codex,
}

/// Returns an option with its value as words of a command line.
pub(crate) fn option_words(option: &str, value: &str) -> Vec<String> {
    if value.starts_with('-') {
        vec![format!("{option}={value}")] // a separate word would be another option
    } else {
        vec![option.to_owned(), value.to_owned()]
    }
}

impl BackendArgs {
    /// Returns the files that the agent will read, each with its option.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.codex.image.iter().map(|image| ("--image", image.as_path()))
    }

    /// Takes the files of `other`, which are for one turn.
    pub(crate) fn with_files_of(mut self, other: &Self) -> Self {
        self.codex.image.clone_from(&other.codex.image);
        self
    }

    /// Makes paths that are relative to `dir` absolute, for an agent that runs in another directory.
    pub(crate) fn make_absolute(&mut self, dir: &Path) {
        for image in &mut self.codex.image {
            *image = dir.join(&image);
        }
    }
}

/// The form of the agent's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// One answer at the end.
    Json,
    /// One line for each event. `partials` adds the pieces of an answer (claude).
    Stream { partials: bool },
    /// The lines of a stream with all its pieces, of which only the last answer is used.
    StreamedAnswer,
}

/// How the prompt reaches the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PromptChannel<'a> {
    Argument(&'a str),
    StandardInput,
}

/// How a role reaches an agent that has a system prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    Text(&'a str),
    File(&'a Path),
}

/// The schema of a turn's answer, in the form of [`SchemaChannel`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum SchemaArgument<'a> {
    Text(&'a str),
    File(&'a Path),
}

/// The model of a turn. For codex, the position of a remembered model among the arguments differs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    pub name: &'a str,
    pub remembered: bool,
}

/// The session of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionMode<'a> {
    /// A new session.
    New,
    /// This session.
    Resume(&'a AgentSessionId),
    /// A new session with the history of this one, which stays unchanged.
    Fork(&'a AgentSessionId),
}

impl<'a> SessionMode<'a> {
    /// Returns the session that is resumed.
    pub(crate) fn known(self) -> Option<&'a AgentSessionId> {
        if let Self::Resume(id) = self { Some(id) } else { None }
    }

    /// Returns the session whose history the agent continues.
    fn history(self) -> Option<&'a str> {
        match self {
            Self::New => None,
            Self::Resume(id) | Self::Fork(id) => Some(id.as_str()),
        }
    }
}

/// How the arguments differ from the usual ones, because the agent refused those ([`Retry::WithFallbacks`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fallbacks {
    /// A setting replaces an option.
    pub replaced_option: bool,
    /// All options precede the agent's command.
    pub options_first: bool,
    /// The agent chooses the ID of a new session.
    pub agent_chooses_id: bool,
}

/// Everything that the arguments for one turn depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation<'a> {
    pub session: SessionMode<'a>,
    /// The ID that the new session gets, if the agent accepts one ([`Capabilities::accepts_new_id`]).
    pub new_id: Option<&'a AgentSessionId>,
    pub mode: OutputMode,
    pub prompt: PromptChannel<'a>,
    pub role: Option<Role<'a>>,
    pub model: Option<Model<'a>>,
    pub effort: Option<&'a str>,
    pub args: &'a BackendArgs,
    pub fallbacks: Fallbacks,
    /// The file to which the agent writes its last message, if it can.
    pub answer_file: Option<&'a Path>,
    pub schema: Option<SchemaArgument<'a>>,
    /// The caller's arguments for the agent.
    pub extra: &'a [OsString],
}

/// An interactive session, as the agent's command line describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InteractiveInvocation<'a> {
    pub session: &'a AgentSessionId,
    pub role: Option<Role<'a>>,
    pub model: Option<Model<'a>>,
    pub effort: Option<&'a str>,
    pub args: &'a BackendArgs,
    /// The caller's arguments for the agent.
    pub extra: &'a [OsString],
}

#[cfg(test)]
impl<'a> Invocation<'a> {
    /// Returns a turn that starts a session, without any options.
    fn plain(args: &'a BackendArgs, prompt: PromptChannel<'a>) -> Self {
        let (mode, extra) = (OutputMode::Json, &[][..]);
        Self {
            session: SessionMode::New,
            new_id: None,
            mode,
            prompt,
            role: None,
            model: None,
            effort: None,
            args,
            fallbacks: Fallbacks::default(),
            answer_file: None,
            schema: None,
            extra,
        }
    }
}

impl Invocation<'_> {
    /// Returns whether the prompt must follow `--`, because it begins with a dash or follows the caller's arguments.
    fn needs_double_dash(&self) -> bool {
        !self.extra.is_empty() || matches!(self.prompt, PromptChannel::Argument(text) if text.starts_with('-'))
    }
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Claude, Self::Codex];

    /// Returns the specification of the agent.
    pub(crate) fn spec(self) -> &'static Spec {
        match self {
            Self::Claude => &claude::SPEC,
            Self::Codex => &codex::SPEC,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.spec().name
    }

    pub(crate) fn id_key(self) -> &'static str {
        self.spec().id_key
    }

    pub(crate) fn capabilities(self) -> &'static Capabilities {
        &self.spec().capabilities
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// Returns the names of all agents, for a message.
    pub(crate) fn names() -> String {
        Self::ALL.map(Self::name).join(" or ")
    }

    /// Returns whether the caller may not pass `argument`, which follows `previous`, to the agent.
    pub(crate) fn is_reserved_arg(self, previous: Option<&str>, argument: &str) -> bool {
        // options of this program may follow, and '--' would turn them into arguments
        argument == "--" || (self.spec().is_reserved_arg)(previous, argument)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A list of arguments under construction.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn push(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(argument.as_ref().to_owned());
        self
    }

    fn all(&mut self, arguments: &[impl AsRef<OsStr>]) -> &mut Self {
        self.0.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    fn option(&mut self, name: &str, value: Option<impl AsRef<OsStr>>) -> &mut Self {
        if let Some(value) = value {
            self.push(name).push(value);
        }
        self
    }

    fn each(&mut self, name: &str, values: &[impl AsRef<OsStr>]) -> &mut Self {
        for value in values {
            self.push(name).push(value);
        }
        self
    }

    fn flag(&mut self, name: &str, given: bool) -> &mut Self {
        if given {
            self.push(name);
        }
        self
    }
}

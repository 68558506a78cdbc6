//! The agents we can call. Each file beside this one holds all that is known of one agent: its arguments as pure
//! data, what its output means, its words. A third agent is one more file and one more arm below.

pub(crate) mod claude;
pub(crate) mod codex;
mod condensed;
mod event;
mod lines;
mod output;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use self::event::{AgentEvent, Outcome, Summary, TextKind, Tokens, Tool};
pub(crate) use self::output::{AgentOutput, Failure, TurnReport};
use crate::session::{AgentSessionId, SessionName};

/// An agent that keeps sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Backend {
    /// Claude Code, the program 'claude'
    Claude,
    /// Codex CLI, the program 'codex'
    Codex,
}

/// In which form the agent is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// One answer at the end.
    Json,
    /// A line for every event; `partials`: pieces of an answer too (claude).
    Stream { partials: bool },
}

/// A page of an agent's help.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HelpPage {
    /// What asks for it.
    pub arguments: &'static [&'static str],
    /// The options of ours that it should name.
    pub options: &'static [&'static str],
}

/// How the prompt reaches the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PromptChannel<'a> {
    Argument(&'a str),
    StandardInput,
}

/// How a role reaches an agent that has a place of its own for it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    Text(&'a str),
    File(&'a Path),
}

/// The model of a turn, and where it comes from: codex puts a remembered one elsewhere than one just asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model<'a> {
    pub name: &'a str,
    pub remembered: bool,
}

/// Which session a turn is in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionMode<'a> {
    /// One that it starts.
    New,
    /// This one.
    Resume(&'a AgentSessionId),
    /// One that it starts with the history of this one, which stays as it is.
    Fork(&'a AgentSessionId),
}

impl<'a> SessionMode<'a> {
    /// The session that goes on with the turn, if there was one before.
    pub(crate) fn known(self) -> Option<&'a AgentSessionId> {
        if let Self::Resume(id) = self { Some(id) } else { None }
    }

    /// The session whose history the agent is to begin with.
    fn history(self) -> Option<&'a str> {
        match self {
            Self::New => None,
            Self::Resume(id) | Self::Fork(id) => Some(id.as_str()),
        }
    }
}

/// One turn as the agent's command line sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation<'a> {
    pub session: SessionMode<'a>,
    pub form: OutputMode,
    pub prompt: PromptChannel<'a>,
    pub role: Option<Role<'a>>,
    pub model: Option<Model<'a>>,
    pub effort: Option<&'a str>,
    /// What `codex exec` takes and claude does not.
    pub exec: &'a codex::ExecOptions,
    /// Where the agent is to leave its last message, for one that can.
    pub answer_file: Option<&'a Path>,
    /// The caller's own arguments for the agent.
    pub extra: &'a [OsString],
}

#[cfg(test)]
impl<'a> Invocation<'a> {
    /// A turn that starts a session and asks for nothing else.
    fn plain(exec: &'a codex::ExecOptions, prompt: PromptChannel<'a>) -> Self {
        let (form, extra) = (OutputMode::Json, &[][..]);
        Self {
            session: SessionMode::New,
            form,
            prompt,
            role: None,
            model: None,
            effort: None,
            exec,
            answer_file: None,
            extra,
        }
    }
}

impl Invocation<'_> {
    /// Whether the prompt must stand behind `--`: it would be read as an option, or follows arguments whose meaning we
    /// do not know.
    fn needs_double_dash(&self) -> bool {
        !self.extra.is_empty() || matches!(self.prompt, PromptChannel::Argument(text) if text.starts_with('-'))
    }
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Claude, Self::Codex];

    /// The name of the agent, of its program, and of the value of `--backend`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// The file name of its mapping, as the original has it.
    pub(crate) fn mapping_file_name(self) -> &'static str {
        match self {
            Self::Claude => claude::MAPPING_FILE,
            Self::Codex => codex::MAPPING_FILE,
        }
    }

    /// The key under which an entry of the mapping, and every JSON we print, holds the session's id.
    pub(crate) fn id_key(self) -> &'static str {
        match self {
            Self::Claude => claude::ID_KEY,
            Self::Codex => codex::ID_KEY,
        }
    }

    /// Whether a reasoning effort is remembered beside the model.
    pub(crate) fn has_effort(self) -> bool {
        self == Self::Claude
    }

    /// The variable that may name another command than the agent's own program.
    pub(crate) fn command_variable(self) -> &'static str {
        match self {
            Self::Claude => "CLAUDE_CMD",
            Self::Codex => "CODEX_CMD",
        }
    }

    /// Where the agent keeps its sessions, by its `variable`s; `account_home` is for where none says.
    pub(crate) fn home(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
        account_home: impl FnOnce() -> Option<PathBuf>,
    ) -> Option<PathBuf> {
        let (own, below_home) = match self {
            Self::Claude => ("CLAUDE_CONFIG_DIR", ".claude"),
            Self::Codex => ("CODEX_HOME", ".codex"),
        };
        let users = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from).or_else(account_home);
        variable(own).map(PathBuf::from).or_else(|| Some(users()?.join(below_home)))
    }

    /// Variables of ours that the agent must not inherit.
    pub(crate) fn removed_env(self) -> &'static [&'static str] {
        match self {
            Self::Claude => claude::REMOVED_ENV,
            Self::Codex => &[],
        }
    }

    /// Whether only this backend has the option `--option` on `command`.
    pub(crate) fn owns_option(self, command: &str, option: &str) -> bool {
        match self {
            Self::Claude => claude::owns_option(option),
            Self::Codex => codex::owns_option(command, option),
        }
    }

    /// Why `argument` cannot be handed on, where it cannot: it would change which session answers or in what form.
    pub(crate) fn is_reserved_arg(self, previous: Option<&str>, argument: &str) -> bool {
        match self {
            _ if argument == "--" => true, // it would end the options before ours
            Self::Claude => claude::is_reserved_arg(argument),
            Self::Codex => codex::is_reserved_arg(previous, argument),
        }
    }

    /// The pages of its help that name the options we use.
    pub(crate) fn help_pages(self) -> &'static [HelpPage] {
        match self {
            Self::Claude => claude::HELP_PAGES,
            Self::Codex => codex::HELP_PAGES,
        }
    }

    /// The prompt that starts a session where the caller gives none.
    pub(crate) fn default_prompt(self, name: &SessionName) -> String {
        match self {
            Self::Claude => claude::default_prompt(name),
            Self::Codex => codex::default_prompt(name),
        }
    }

    /// The prompt with a role before it, for an agent that has no other place for one.
    pub(crate) fn prompt_with_role<'a>(self, role: Option<&str>, prompt: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Claude => Cow::Borrowed(prompt),
            Self::Codex => codex::prompt_with_role(role, prompt),
        }
    }

    /// Whether a role goes beside the prompt ([`Invocation::role`]) instead of into it.
    pub(crate) fn supports_system_prompt(self) -> bool {
        self == Self::Claude
    }

    /// Whether the agent tells what it does while it works on an answer in the form [`OutputMode::Json`].
    pub(crate) fn streams_events_in_json_mode(self) -> bool {
        self == Self::Codex
    }

    /// Whether the agent can leave its last message in a file ([`Invocation::answer_file`]).
    pub(crate) fn writes_answer_file(self) -> bool {
        self == Self::Codex
    }

    /// Returns the answer as `--print-result` prints it, which the two original scripts did differently: that for claude
    /// always added a newline, that for codex only to an answer that did not end in one.
    pub(crate) fn printed_answer(self, answer: &str) -> String {
        let newline = if self == Self::Codex && answer.ends_with('\n') { "" } else { "\n" };
        format!("{answer}{newline}")
    }

    /// The arguments for one turn.
    pub(crate) fn arguments(self, turn: &Invocation<'_>) -> Vec<OsString> {
        match self {
            Self::Claude => claude::arguments(turn),
            Self::Codex => codex::arguments(turn),
        }
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

//! Every type of the command line, no logic. The comments here are the help.
#![allow(clippy::doc_markdown, reason = "in help backticks would be shown")]

mod normalize;
pub(crate) mod parse;
mod skill;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};

use crate::backend::{Backend, BackendArgs, LaunchArgs};
use crate::error::ErrorFormat;
pub(crate) use normalize::{NormalizedArgs, normalize};
pub(crate) use parse::parse;
pub(crate) use skill::{Skill, SkillAction, SkillChange, SkillHosts, SkillPlaces};

/// Keeps names for Claude Code and Codex CLI sessions, per workspace, and runs their turns.
///
/// A session is started once under a name and gone on with from any other process: with the model and effort used
/// last, with a deadline that ends the whole process tree, and with errors that say what happened.
#[derive(Debug, Parser)]
#[command(name = "invoke-persist", version, args_override_self = true, disable_help_subcommand = true)]
#[command(after_long_help = EXIT_STATUSES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

pub(crate) const EXIT_STATUSES: &str = "\
Exit status:
  0        success
  1        the agent's turn failed, answered from another session, or something else failed
  2        wrong usage, or a prompt, role or environment file that cannot be read
  3        no session of that name
  4        a session of that name exists
  5        the session is busy
  6        the mapping file cannot be used
  7        the agent's output is not what it should be
  124      the deadline passed
  126,127  the agent's program cannot be run, is not there
  128+N    ended by signal N";

const GLOBAL: &str = "Global options";

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Global {
    /// The agent to call; needed only where nothing else tells
    #[arg(long, global = true, value_enum, value_name = "AGENT", help_heading = GLOBAL)]
    pub backend: Option<Backend>,
    /// How errors are told on standard error
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t, help_heading = GLOBAL)]
    pub error_format: ErrorFormat,
    /// Tell errors only: no notes, no warnings
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
}

/// The commands: for each its type, its name, the line that tells what it does, and examples. Unlike clap's derive this
/// makes the options of a command only when that command is called: making all took a third of the time of a short call.
macro_rules! commands {
    ($($variant:ident $name:literal $about:literal $([$($example:literal),*])? $(hidden $hidden:literal)?;)*) => {
        #[derive(Debug)]
        pub(crate) enum Command {
            $(#[doc = $about] $variant($variant),)*
        }

        impl Subcommand for Command {
            fn augment_subcommands(command: clap::Command) -> clap::Command {
                command.subcommand_required(true).arg_required_else_help(true)
                    $(.subcommand(
                        clap::Command::new($name).about($about)$(.hide($hidden))?.defer(|command| {
                            // the comments on the options' types are for us
                            $variant::augment_args(command).about($about).long_about(None)
                                $(.after_long_help(concat!("Examples:", $("\n  ", $example),*)))?
                        }),
                    ))*
            }

            fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
                Self::augment_subcommands(command)
            }

            fn has_subcommand(name: &str) -> bool {
                matches!(name, $($name)|*)
            }
        }

        impl FromArgMatches for Command {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                match matches.subcommand() {
                    $(Some(($name, matches)) => $variant::from_arg_matches(matches).map(Self::$variant),)*
                    _ => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
                }
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        /// A command with its options alone, as `name` has them.
        pub(crate) fn options_of(name: &str) -> Option<clap::Command> {
            match name {
                $($name => Some($variant::augment_args(clap::Command::new($name))),)*
                _ => None,
            }
        }
    };
}

commands! {
    CreateSession "create-session" "Start a session and save it under a name"
        ["invoke-persist create-session --session-name review-src",
         "invoke-persist create-session --session-name b --init-prompt 'Read docs/'",
         "invoke-persist create-session --session-name old --adopt ID"];
    Resolve "resolve" "Print what a name or id means; call nothing"
        ["invoke-persist resolve --session-name review-src",
         "invoke-persist resolve --session-name review-src --print-session-id"];
    ListSessions "list-sessions" "Print the sessions of a workspace"
        ["invoke-persist list-sessions --format table",
         "invoke-persist --backend codex list-sessions",
         "invoke-persist list-sessions --all-workspaces --format table"];
    RenameSession "rename-session" "Give a session another name"
        ["invoke-persist rename-session --session-name review-src --to review"];
    DeleteSession "delete-session" "Forget a name, or every name of an id; the agent keeps the session"
        ["invoke-persist delete-session --session-name review-src",
         "invoke-persist delete-session --session-id ID"];
    DeleteAllSessions "delete-all-sessions" "Forget all names of a workspace; the agent keeps the sessions"
        ["invoke-persist delete-all-sessions",
         "invoke-persist --backend codex delete-all-sessions --workspace-dir ../other"];
    ResumeJson "resume-json" "Go on with a session: one turn, one answer as JSON"
        ["invoke-persist resume-json --session-name a --prompt 'Go on' --print-result",
         "invoke-persist resume-json --session-name a --prompt - --deadline-seconds 600",
         "git diff | invoke-persist resume-json --session-name a --prompt OK? --stdin",
         "invoke-persist resume-json --session-name pr-7 --if-missing create --prompt Go"];
    ResumeStream "resume-stream" "Go on with a session: one turn, the agent's events as they come"
        ["invoke-persist resume-stream --session-name a --prompt 'Fix the failing tests'",
         "invoke-persist resume-stream --session-name a --prompt 'Fix it' --format text",
         "invoke-persist resume-stream --session-name a --prompt Go -- --add-dir ../lib"];
    ForkSession "fork-session" "Start a session that begins with another's history; that one stays as it is"
        ["invoke-persist fork-session --session-name a --to b --prompt 'What if?'"];
    Skill "skill" "Install, update and print the skills by which agents call this program"
        ["invoke-persist skill install",
         "invoke-persist skill list",
         "invoke-persist skill install --agent claude --scope project",
         "invoke-persist skill show claude-code-invoke-persist creation",
         "invoke-persist skill shim ~/.claude/skills/codex-cli"];
    Doctor "doctor" "Look whether everything is there that a call needs; call no model"
        ["invoke-persist doctor",
         "invoke-persist --backend codex doctor --json"];
    Demo "demo" "Show the whole round in a temporary workspace with a built-in echo agent"
        ["invoke-persist demo"];
    Completions "completions" "Print the script by which a shell completes commands and session names"
        ["invoke-persist completions bash"];
    Man "man" "Write the manual pages into a directory"
        ["invoke-persist man ~/.local/share/man/man1"];
    EchoAgent "echo-agent" "The agent of the demo: speaks the headless protocol of claude or codex and counts turns" hidden true;
}

#[derive(Debug, Args)]
pub(crate) struct Demo {}

/// Where the mapping is.
#[derive(Clone, Debug, Args)]
pub(crate) struct LocationArgs {
    /// Use this mapping file instead of the workspace's
    #[arg(long, value_name = "FILE")]
    pub mapping_file: Option<PathBuf>,
    /// Stands for the current directory
    // may be empty: each command says what that means
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub workspace_dir: Option<PathBuf>,
}

/// A name.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The session's name
    #[arg(long, value_name = "NAME", aliases = ["session-alias", "alias"])]
    pub session_name: Option<String>,
}

/// A name or an id.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// The session's id (codex: its thread's)
    #[arg(long, value_name = "ID", visible_alias = "thread-id")]
    pub session_id: Option<String>,
}

/// Which program the agent is, and what it finds in its environment.
#[derive(Debug, Args)]
#[command(next_help_heading = "Call")]
pub(crate) struct AgentArgs {
    /// Variables for the agent, as KEY=VALUE lines
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// How the agent is called.
#[derive(Debug, Args)]
#[command(next_help_heading = "Call")]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    /// The model; remembered for the next turns
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// End everything after so many seconds
    #[arg(long, value_name = "N")]
    pub deadline_seconds: Option<String>,
    /// End the turn when the agent says nothing for so many seconds (not for claude's single JSON answers)
    #[arg(long, value_name = "N")]
    pub stall_seconds: Option<String>,
    /// Add what comes on standard input to the prompt
    #[arg(long)]
    pub stdin: bool,
    /// The reasoning effort; remembered for the next turns
    #[arg(long, value_name = "EFFORT", alias = "effort", help_heading = "Call (claude)")]
    pub reasoning_effort: Option<String>,
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Arguments for the agent, handed on as they are
    #[arg(last = true, value_name = "ARG")]
    pub extra: Vec<OsString>,
}

/// What to do with a name that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfExists {
    /// Start a new session under the name
    #[default]
    Overwrite,
    /// Keep the session and start none
    Reuse,
    /// Fail with status 4
    Fail,
}

/// What to do with a name that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfMissing {
    /// Fail with status 3
    #[default]
    Fail,
    /// Start a session with this prompt and save it under the name
    Create,
}

/// What to do with a session that another call holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfBusy {
    /// Wait for its turn to end
    #[default]
    Wait,
    /// Fail with status 5
    Fail,
}

#[derive(Debug, Args)]
pub(crate) struct CreateSession {
    #[command(flatten)]
    pub name: NameArgs,
    /// Nothing to do here; see --adopt
    #[arg(long, value_name = "ID", alias = "thread-id", hide = true)]
    pub session_id: Option<String>,
    /// A role for the session: a Markdown file
    #[arg(long, value_name = "FILE.md")]
    pub role_definition_md: Option<PathBuf>,
    /// The first prompt, instead of a request to answer OK
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub init_prompt: Option<String>,
    /// Save an id you already have; no call
    #[arg(long, value_name = "ID", visible_alias = "adopt", alias = "fake-thread-id")]
    pub fake_session_id: Option<String>,
    /// If the name is taken
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_exists: IfExists,
    /// Print the id (the default)
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    /// Print what was saved as JSON
    #[arg(long)]
    pub print_mapping_json: bool,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// Print the id alone
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// One object on one line
    #[default]
    Json,
    /// Columns for people
    Table,
    /// One name a line
    Names,
}

#[derive(Debug, Args)]
pub(crate) struct ListSessions {
    /// The form of the list
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: ListFormat,
    /// The same as --format names
    #[arg(long, conflicts_with = "format")]
    pub print_aliases: bool,
    /// The sessions of every workspace that has names
    #[arg(long, conflicts_with_all = ["workspace_dir", "mapping_file"])]
    pub all_workspaces: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RenameSession {
    #[command(flatten)]
    pub name: NameArgs,
    /// The new name
    #[arg(long, value_name = "NEW")]
    pub to: Option<String>,
    /// Overwrite a session that has the new name
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSession {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// Print what is left as JSON, too
    #[arg(long)]
    pub print_mapping_json: bool,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub ignored: Ignored,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteAllSessions {
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub ignored: Ignored,
}

/// What claude's delete commands always took and never used.
#[derive(Debug, Args)]
pub(crate) struct Ignored {
    #[arg(long, hide = true)]
    pub env_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    pub model: Option<String>,
    #[arg(long, hide = true)]
    pub deadline_seconds: Option<String>,
    #[arg(long, hide = true)]
    pub claude_cmd: Option<String>,
    #[arg(long, hide = true, alias = "effort")]
    pub reasoning_effort: Option<String>,
}

/// What the agent is asked.
#[derive(Debug, Args)]
pub(crate) struct PromptArgs {
    /// The prompt; '-' reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// A file with the prompt; '-' reads standard input
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
}

/// What is common to both ways to go on with a session.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub selector: SessionArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Write here what would go to standard output: at the end, in one step, for you alone
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// If there is no session of that name
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_missing: IfMissing,
    /// If another call holds the session
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_busy: IfBusy,
    /// codex: a role put before the prompt
    #[arg(long, value_name = "FILE.md")]
    pub role_definition_md: Option<PathBuf>,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeJson {
    #[command(flatten)]
    pub resume: ResumeArgs,
    /// Print the answer's text alone
    #[arg(help_heading = None::<&str>, long)]
    pub print_result: bool,
    /// Print the id alone
    #[arg(help_heading = None::<&str>, long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ForkSession {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// The name of the new session
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Overwrite a session that has the new name
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Print the answer's text alone
    #[arg(long)]
    pub print_result: bool,
    /// Print the new session's id alone
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    /// If another call holds the session
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_busy: IfBusy,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeStream {
    #[command(flatten)]
    pub resume: ResumeArgs,
    /// claude: always on, today's claude needs it
    #[arg(help_heading = None::<&str>, long)]
    pub verbose: bool,
    /// claude: pieces of the answer as they come
    #[arg(help_heading = None::<&str>, long)]
    pub include_partials: bool,
    /// The form of what is printed
    #[arg(help_heading = None::<&str>, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: StreamFormat,
    /// Colours in the text; auto: at a terminal, unless NO_COLOR is set
    #[arg(help_heading = None::<&str>, long, value_enum, value_name = "WHEN")]
    pub color: Option<ColorChoice>,
}

/// The form in which a turn is shown while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamFormat {
    /// The agent's events as they are
    #[default]
    Jsonl,
    /// A readable account, the same for both agents
    Text,
}

/// When a text has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print the checks as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub agent: AgentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that reads it
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory, made where it is not there; a page of the same name is replaced
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct EchoAgent {
    /// The agent to stand in for, then its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// A shell that can complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}

//! The types of the command line. The doc comments of options are the text of `--help`.
#![allow(clippy::doc_markdown, reason = "help would show the backticks")]

mod correction;
mod normalize;
pub(crate) mod parse;
mod skill;
mod synonyms;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};

use crate::backend::{Backend, BackendArgs, LaunchArgs};
use crate::error::ErrorFormat;
use crate::help::TOPICS;
use crate::records::record::State;
pub(crate) use normalize::{NormalizedArgs, looks_like_option, normalize};
pub(crate) use parse::parse;
pub(crate) use skill::{Skill, SkillAction, SkillChange, SkillHosts, SkillPlaces};

/// Run Claude Code and Codex CLI sessions by name
///
/// Start a session once under a name and resume it from any process. The last model and effort are reused, deadlines
/// stop the whole process tree, and errors report what went wrong. Names belong to a workspace: the current directory,
/// unless --workspace-dir is given.
#[derive(Debug, Parser)]
#[command(name = "invoke-persist", version, args_override_self = true, disable_help_subcommand = true)]
#[command(after_help = format!("{FIRST_STEPS}\n{HELP_STEP}"), after_long_help = more_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const FIRST_STEPS: &str = "Run 'invoke-persist demo' to try it without an agent or an account.\n\
    Run 'invoke-persist COMMAND --help' for details and examples.";

const HELP_STEP: &str = "Run 'invoke-persist help' for the exit statuses and the help topics.";

/// Exit statuses and their meanings, for the help and the manual page.
pub(crate) const EXIT_STATUSES: &[(&str, &str)] = &[
    ("0", "Success"),
    ("1", "The turn failed or is lost, another session answered, or an I/O error occurred"),
    ("2", "Invalid usage, or an unreadable prompt, role or environment file"),
    ("3", "Session or turn not found"),
    ("4", "Session already exists"),
    ("5", "Session is busy"),
    ("6", "Mapping file cannot be used"),
    ("7", "Agent's output is invalid, or its answer does not match --schema"),
    ("8", "The turn is complete, but --fail-on does not accept it"),
    ("75", "The turn failed for a temporary reason, or has not ended: try again later"),
    ("124", "Deadline or stall timeout expired"),
    ("126", "Agent's program is not executable"),
    ("127", "Agent's program cannot be found"),
    ("128+N", "Interrupted by signal N"),
];

/// Returns the end of the program's help: the exit statuses, and the topics.
fn more_help() -> String {
    let mut help = format!("{FIRST_STEPS}\n\nExit status:");
    // writing to memory cannot fail
    for (status, meaning) in EXIT_STATUSES {
        let _ = write!(help, "\n  {status:<5}  {meaning}");
    }
    help.push_str("\n\nTopics, for 'invoke-persist help TOPIC':");
    for topic in TOPICS {
        let _ = write!(help, "\n  {:<16}  {}", topic.name, topic.title());
    }
    help
}

const GLOBAL: &str = "Global options";
const AGENT: &str = "Agent options";

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Global {
    /// Agent to use, if it cannot be inferred
    #[arg(long, global = true, value_enum, value_name = "AGENT", help_heading = GLOBAL)]
    pub backend: Option<Backend>,
    /// Error format on stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t, help_heading = GLOBAL)]
    pub error_format: ErrorFormat,
    /// Suppress notes and most warnings
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,
}

/// Defines the commands: the type of the options, the name, the summary, details for `--help`, and examples.
///
/// Unlike clap's derive, this builds the options of a command only when that command is called. Building all of them
/// takes a third of the time of a short call.
macro_rules! commands {
    ($($variant:ident {
        name: $name:literal,
        about: $about:literal,
        details: $details:literal,
        examples: $examples:expr,
        hidden: $hidden:literal
    })*) => {
        #[derive(Debug)]
        pub(crate) enum Command {
            $(#[doc = $about] $variant($variant),)*
        }

        impl Command {
            /// Returns the name on the command line.
            pub(crate) fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)*
                }
            }
        }

        /// The examples of each command, for the help and the manual pages.
        const EXAMPLES: &[(&str, &[&str])] = &[$(($name, &$examples)),*];

        impl Subcommand for Command {
            fn augment_subcommands(command: clap::Command) -> clap::Command {
                command.subcommand_required(true).arg_required_else_help(true)
                    $(.subcommand(
                        clap::Command::new($name).about($about).hide($hidden).defer(|command| {
                            // replaces the doc comment of the options' type
                            let command = $variant::augment_args(command)
                                .about($about)
                                .long_about(concat!($about, "\n\n", $details));
                            let command = match usage($name) {
                                Some(usage) => command.override_usage(usage),
                                None => command,
                            };
                            match examples($name) {
                                [] => command,
                                examples => command.after_long_help(format!("Examples:\n  {}", examples.join("\n  "))),
                            }
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

        /// Returns the command `name` with its options only.
        pub(crate) fn options_of(name: &str) -> Option<clap::Command> {
            match name {
                $($name => Some($variant::augment_args(clap::Command::new($name))),)*
                _ => None,
            }
        }
    };
}

impl Command {
    /// Returns the options for a turn that outlives the call, for a command that has them.
    pub(crate) fn detach_args(&self) -> Option<&DetachArgs> {
        match self {
            Self::CreateSession(options) => Some(&options.detach),
            Self::ResumeJson(options) => Some(&options.resume.detach),
            Self::ResumeStream(options) => Some(&options.resume.detach),
            Self::ForkSession(options) => Some(&options.detach),
            _ => None,
        }
    }

    /// Returns the options of a turn, for a command that runs one.
    pub(crate) fn call_args(&self) -> Option<&CallArgs> {
        match self {
            Self::CreateSession(options) => Some(&options.call),
            Self::ResumeJson(options) => Some(&options.resume.options.call),
            Self::ResumeStream(options) => Some(&options.resume.options.call),
            Self::Ask(options) => Some(&options.options.call),
            Self::ForkSession(options) => Some(&options.call),
            _ => None,
        }
    }
}

/// The usage of commands that need options. clap would show these options as optional, because their absence is
/// reported later, with a better error.
const USAGES: &[(&str, &str)] = &[
    ("create-session", "--session-name <NAME>\n           [OPTIONS] [-- <ARG>...]"),
    ("resolve", "<--session-name <NAME>|--session-id <ID>>\n           [OPTIONS]"),
    ("rename-session", "--session-name <NAME> --to <NEW> [OPTIONS]"),
    ("set-session", "--session-name <NAME> [OPTIONS] [-- <ARG>...]"),
    ("delete-session", "<--session-name <NAME>|--session-id <ID>>\n           [OPTIONS]"),
    ("resume-json", "--session-name <NAME> --prompt <TEXT>\n           [OPTIONS] [-- <ARG>...]"),
    ("resume-stream", "--session-name <NAME> --prompt <TEXT>\n           [OPTIONS] [-- <ARG>...]"),
    ("wait-turn", "<--turn-id <ID>...|--session-name <NAME>|--session-id <ID>>\n           [OPTIONS]"),
    ("show-turn", "<--turn-id <ID>|--session-name <NAME>|--session-id <ID>>\n           [OPTIONS]"),
    ("stop-turn", "<--turn-id <ID>...|--session-name <NAME>|--session-id <ID>>\n           [OPTIONS]"),
    ("fork-session", "--session-name <NAME> --to <NEW>\n           --prompt <TEXT> [OPTIONS] [-- <ARG>...]"),
];

fn usage(name: &str) -> Option<String> {
    let (_, options) = USAGES.iter().find(|(command, _)| *command == name)?;
    Some(format!("invoke-persist {name} {options}"))
}

/// Returns the examples of the command `name`.
pub(crate) fn examples(name: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(command, _)| *command == name).map_or(&[], |(_, examples)| examples)
}

commands! {
    CreateSession {
        name: "create-session",
        about: "Start a session and save it under a name",
        details: "Starting a session costs one model turn: it sends --init-prompt, or a short prompt that asks for an OK. \
                  --adopt saves an existing session and costs none. To save the extra turn, start the session with the \
                  first real prompt: resume-json --if-missing create.\n\n\
                  A name that is taken is moved to the new session, unless --if-exists decides otherwise.",
        examples: [
            "invoke-persist create-session --session-name review-src",
            "invoke-persist create-session --session-name b --init-prompt 'Read docs/'",
            "invoke-persist create-session --session-name c --init-prompt Hi --print-result",
            "invoke-persist create-session --session-name old --adopt ID",
        ],
        hidden: false
    }
    Resolve {
        name: "resolve",
        about: "Show which session a name or ID refers to",
        details: "No agent is called, and nothing is written.",
        examples: [
            "invoke-persist resolve --session-name review-src",
            "invoke-persist resolve --session-name review-src --print-session-id",
        ],
        hidden: false
    }
    ListSessions {
        name: "list-sessions",
        about: "List the sessions of a workspace",
        details: "No agent is called, and nothing is written. Without --backend, the sessions of both agents are listed.",
        examples: [
            "invoke-persist list-sessions --format table",
            "invoke-persist --backend codex list-sessions",
            "invoke-persist list-sessions --all-workspaces --format table",
            "invoke-persist list-sessions --all-workspaces --format tsv",
        ],
        hidden: false
    }
    RenameSession {
        name: "rename-session",
        about: "Rename a session",
        details: "No agent is called. The session keeps its ID.",
        examples: [
            "invoke-persist rename-session --session-name review-src --to review",
        ],
        hidden: false
    }
    SetSession {
        name: "set-session",
        about: "Change the settings that are kept with a name",
        details: "Later calls use the settings unless they give their own. What --unset names is removed first. \
                  Then each option replaces the stored ones of its kind, and all others stay. \
                  No agent is called. The result is printed as by resolve.",
        examples: [
            "invoke-persist set-session --session-name a --model opus",
            "invoke-persist set-session --session-name a -- --sandbox workspace-write",
            "invoke-persist set-session --session-name a --unset arguments,model",
        ],
        hidden: false
    }
    DeleteSession {
        name: "delete-session",
        about: "Remove a name, or all names of a session ID",
        details: "No agent is called. The agent keeps the conversation.",
        examples: [
            "invoke-persist delete-session --session-name review-src",
            "invoke-persist delete-session --session-id ID",
        ],
        hidden: false
    }
    DeleteAllSessions {
        name: "delete-all-sessions",
        about: "Remove all names of a workspace",
        details: "No agent is called. The agent keeps the conversations. Without a backend, the names of both agents are \
                  removed.",
        examples: [
            "invoke-persist delete-all-sessions",
            "invoke-persist --backend codex delete-all-sessions --workspace-dir ../other",
        ],
        hidden: false
    }
    ResumeJson {
        name: "resume-json",
        about: "Resume a session for one turn; print the answer as JSON",
        details: "With --if-missing create, the first call starts the session with this prompt, without the extra turn of \
                  create-session. The last model and effort are reused. If another call uses the session, this call \
                  waits.",
        examples: [
            "invoke-persist resume-json --session-name a --prompt 'Continue' --print-result",
            "invoke-persist resume-json --session-name a --prompt - --deadline-seconds 600",
            "git diff | invoke-persist resume-json --session-name a --prompt OK? --stdin",
            "invoke-persist resume-json --session-name pr-7 --if-missing create --prompt Go",
        ],
        hidden: false
    }
    ResumeStream {
        name: "resume-stream",
        about: "Resume a session for one turn; stream the agent's events",
        details: "With --if-missing create, the first call starts the session with this prompt. The last model and effort \
                  are reused. If another call uses the session, this call waits.",
        examples: [
            "invoke-persist resume-stream --session-name a --prompt 'Fix the failing tests'",
            "invoke-persist resume-stream --session-name a --prompt 'Fix it' --format text",
            "invoke-persist resume-stream --session-name a --prompt Go -- --add-dir ../lib",
            "invoke-persist resume-stream --session-name a --prompt Go --print-result",
        ],
        hidden: false
    }
    Ask {
        name: "ask",
        about: "Resume a session for one turn; print the answer's text",
        details: "This is resume-json --print-result with the name and the prompt as arguments. \
                  A name that begins with a dash, and an ID, need resume-json.",
        examples: [
            "invoke-persist ask review-src 'And the tests?'",
            "invoke-persist ask notes 'Read docs/' --create",
            "invoke-persist ask review-src - < prompt.md",
            "git diff | invoke-persist ask review-src 'Is this OK?' --stdin",
        ],
        hidden: false
    }
    OpenSession {
        name: "open-session",
        about: "Open a session in the agent's interactive program",
        details: "The agent gets this terminal. Other calls wait for the session until the agent has ended. \
                  The last model and effort are used, and nothing is saved.",
        examples: [
            "invoke-persist open-session --session-name review-src",
            "invoke-persist open-session --session-name review-src -- --add-dir ../lib",
        ],
        hidden: false
    }
    ForkSession {
        name: "fork-session",
        about: "Start a session from the history of another",
        details: "Forking sends the prompt and costs one model turn. The original session is unchanged.",
        examples: [
            "invoke-persist fork-session --session-name a --to b --prompt 'What if?'",
        ],
        hidden: false
    }
    WaitTurn {
        name: "wait-turn",
        about: "Wait for the end of a turn; print what it printed",
        details: "The output of a detached turn is printed unchanged, and the exit status is that of the turn. \
                  That works any number of times, and for any number of callers. A limit or Ctrl-C ends the wait, not \
                  the turn.\n\n\
                  With several IDs, the record of each turn is printed as soon as it ends, one JSON object on each line.",
        examples: [
            "invoke-persist wait-turn --turn-id 20261121-105533-k3f9",
            "invoke-persist wait-turn --session-name review-src --timeout-seconds 90",
            "invoke-persist wait-turn --session-name review-src --follow",
        ],
        hidden: false
    }
    ShowTurn {
        name: "show-turn",
        about: "Print the record of a turn, or its output so far",
        details: "No agent is called, and nothing changes for the turn. The record is one JSON object.",
        examples: [
            "invoke-persist show-turn --session-name review-src",
            "invoke-persist show-turn --turn-id 20261121-105533-k3f9 --output",
            "invoke-persist show-turn --session-name review-src --format text --follow",
        ],
        hidden: false
    }
    ListTurns {
        name: "list-turns",
        about: "List the turns of a workspace",
        details: "The newest turn is first. No agent is called, and nothing is written. The totals are those of all \
                  turns that match, also beyond --limit.",
        examples: [
            "invoke-persist list-turns --format table",
            "invoke-persist list-turns --session-name review-src --state failed",
            "invoke-persist list-turns --all-workspaces --state running --state queued",
        ],
        hidden: false
    }
    StopTurn {
        name: "stop-turn",
        about: "Stop a turn that waits or runs, and print its record",
        details: "The agent and everything it started are stopped, as by a deadline. The command returns when nothing of \
                  the turn is left. A turn that has ended stays as it is, and is not an error. The session keeps the \
                  prompt, so resume it to continue.",
        examples: [
            "invoke-persist stop-turn --session-name nightly",
            "invoke-persist stop-turn --turn-id 20261121-105533-k3f9",
        ],
        hidden: false
    }
    Skill {
        name: "skill",
        about: "Install, update and print the skills for agents",
        details: "A skill teaches an agent to call this program. 'skill list' also prints the directories of original \
                  skills, for 'skill shim'.",
        examples: [
            "invoke-persist skill install",
            "invoke-persist skill list",
            "invoke-persist skill install --agent claude --scope project",
            "invoke-persist skill show claude-code-invoke-persist creation",
            "invoke-persist skill shim DIR",
        ],
        hidden: false
    }
    Doctor {
        name: "doctor",
        about: "Check the setup without calling a model",
        details: "Each check is ok, a warning or an error. The exit status is 1 if a check is an error.",
        examples: [
            "invoke-persist doctor",
            "invoke-persist --backend codex doctor --json",
        ],
        hidden: false
    }
    Demo {
        name: "demo",
        about: "Run a demo with the built-in echo agent",
        details: "The demo runs in a temporary workspace and needs no account.",
        examples: [
            "invoke-persist demo",
        ],
        hidden: false
    }
    Help {
        name: "help",
        about: "Print the help of a command, or a topic",
        details: "Without a name, the help of the program is printed, which lists the commands and the topics. \
                  A topic is about what several commands share.",
        examples: [
            "invoke-persist help resume-json",
            "invoke-persist help exit-status",
            "invoke-persist help skill install",
        ],
        hidden: false
    }
    Completions {
        name: "completions",
        about: "Print a shell completion script",
        details: "Load the script in the startup file of the shell. In ~/.bashrc: \
                  source <(invoke-persist completions bash)",
        examples: [
            "invoke-persist completions bash",
        ],
        hidden: false
    }
    Man {
        name: "man",
        about: "Write the manual pages to a directory",
        details: "There is one page for the program, one for each command and one for each help topic.",
        examples: [
            "invoke-persist man ~/.local/share/man/man1",
        ],
        hidden: false
    }
    EchoAgent {
        name: "echo-agent",
        about: "Stand in for claude or codex: echo each prompt, or play a script",
        details: "It answers each prompt with the number of the turn and the prompt. A script makes it call tools, \
wait, and fail as the real agents do. The file is named by --script FILE directly after the agent, or by \
INVOKE_PERSIST_ECHO_SCRIPT. A relative path begins in the agent's directory.\n\n\
A script has an action on each line, in shell words. '#' begins a comment. 'turn N' begins the actions of a session's \
turn N. 'every turn' begins those of all turns without a section, as does the beginning of the file. \
Failed turns count.\n\n\
Actions:\n  \
  say TEXT                            Print a message; the last one is the answer\n  \
  tool NAME INPUT => OUTPUT           Call a tool, which succeeds\n  \
  fail-tool NAME INPUT => OUTPUT      Call a tool, which fails\n  \
  refuse NAME INPUT                   Call a tool, which is not allowed\n  \
  sleep DURATION                      Wait, for example 2s or 500ms\n  \
  usage IN OUT                        Report these numbers of tokens\n  \
  empty                               End with an empty answer\n  \
  fail CAUSE [retry-after DURATION]   End with a failure\n  \
  exit STATUS                         End without an answer\n  \
  garbage                             End with output that is not the agent's\n  \
  hang                                Print nothing more and never end\n\n\
Causes: authentication, rate_limited, usage_limit, overloaded, network, context_full, model_unknown, limit_reached, \
refused_arguments, safety, other. 'retry-after' is for rate_limited and usage_limit. In a text, \\n is a line break.\n\n\
Example of a script:\n  \
  every turn\n    \
    say 'Looking at the tests.'\n    \
    tool Bash 'cargo test' => '12 passed'\n    \
    say 'All tests pass.'\n  \
  turn 2\n    \
    sleep 100ms\n    \
    fail rate_limited retry-after 7s   # turn 3 succeeds again",
        examples: [
            "invoke-persist ask a Hi --codex-cmd 'invoke-persist echo-agent codex'",
            "export CLAUDE_CMD='invoke-persist echo-agent claude --script rehearsal'",
        ],
        hidden: false
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {}

/// Options that select the mapping.
#[derive(Clone, Debug, Args)]
pub(crate) struct LocationArgs {
    /// Use FILE instead of the workspace's mapping file
    #[arg(long, value_name = "FILE")]
    pub mapping_file: Option<PathBuf>,
    /// Workspace directory [default: current directory]
    // the value may be empty: each command decides what that means
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub workspace_dir: Option<PathBuf>,
}

/// The option for a name.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Name of the session
    #[arg(long, value_name = "NAME", aliases = ["session-alias", "alias"])]
    pub session_name: Option<String>,
}

/// Options for a name or an ID.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    #[command(flatten)]
    pub name: NameArgs,
    /// ID of the session (codex: thread ID)
    #[arg(long, value_name = "ID", visible_alias = "thread-id")]
    pub session_id: Option<String>,
}

/// The option for a workspace, on commands that need no mapping.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorkspaceArgs {
    /// Workspace directory [default: current directory]
    // the value may be empty: each command decides what that means
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub workspace_dir: Option<PathBuf>,
}

/// Options that select turns.
#[derive(Debug, Args)]
pub(crate) struct TurnSelectorArgs {
    /// ID of the turn, or a unique beginning of it
    #[arg(long, value_name = "ID", conflicts_with_all = ["session_name", "session_id"])]
    pub turn_id: Vec<String>,
    #[command(flatten)]
    pub session: SessionArgs,
    #[command(flatten)]
    pub place: WorkspaceArgs,
}

/// Options for the agent's program and its environment.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = AGENT)]
pub(crate) struct AgentArgs {
    /// Set the agent's variables from the KEY=VALUE lines of FILE
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    #[command(flatten)]
    pub launch: LaunchArgs,
}

/// Options for how the agent runs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = AGENT)]
pub(crate) struct SettingsArgs {
    #[command(flatten)]
    pub agent: AgentArgs,
    /// Model; remembered for later turns
    // each heading is repeated, because the flattened options above change the next one
    #[arg(long, help_heading = AGENT, value_name = "MODEL")]
    pub model: Option<String>,
    /// Reasoning effort; remembered for later turns
    #[arg(long, value_name = "EFFORT", alias = "effort", help_heading = "Agent options (claude)")]
    pub reasoning_effort: Option<String>,
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Arguments after '--', passed to the agent unchanged
    #[arg(last = true, value_name = "ARG", help_heading = AGENT)]
    pub extra: Vec<OsString>,
}

/// Parses a number of retries.
fn number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "it is not a number, such as 3")
}

/// Parses a limit on the number of turns.
fn limit(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "it is not a number, such as 20")
}

/// Options for a turn.
#[derive(Debug, Args)]
#[command(next_help_heading = AGENT)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Stop the call and everything it started after DURATION: seconds, or 90s, 5m, 1h30m
    #[arg(long, help_heading = AGENT, value_name = "DURATION")]
    pub deadline_seconds: Option<String>,
    /// Stop the turn if the agent prints nothing for DURATION (for claude: with resume-stream only)
    #[arg(long, help_heading = AGENT, value_name = "DURATION")]
    pub stall_seconds: Option<String>,
    /// Retry a turn that failed for a temporary reason, at most N times [default: 0]
    #[arg(long, help_heading = AGENT, value_name = "N", allow_hyphen_values = true, value_parser = number)]
    pub retry: Option<u32>,
    /// Fail with status 8 after a complete turn with a refused tool or an empty answer
    #[arg(long, help_heading = AGENT, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Require an answer that matches the JSON Schema in FILE; --print-result then prints it as one line of JSON
    #[arg(long, help_heading = AGENT, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Keep the agent options of this call with the name, for later turns; see 'invoke-persist help settings'
    #[arg(long, help_heading = AGENT)]
    pub remember: bool,
    /// Append stdin to the prompt
    #[arg(long, help_heading = AGENT)]
    pub stdin: bool,
    /// Write what is known of the turn to FILE, as JSON, also if it fails
    #[arg(long, help_heading = AGENT, value_name = "FILE")]
    pub summary_file: Option<PathBuf>,
}

/// The option of calls that use what is kept with a name.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Ignore everything that is kept with the name: model, effort and settings
    #[arg(long, help_heading = AGENT)]
    pub forget_settings: bool,
}

/// Options of a turn that can outlive the call.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Return as soon as the turn is accepted, and print its record; wait-turn prints its output later
    #[arg(help_heading = None::<&str>, long)]
    pub detach: bool,
    /// With --detach, print only the turn's ID
    #[arg(help_heading = None::<&str>, long, requires = "detach")]
    pub print_turn_id: bool,
}

/// What a call does not accept of a complete turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// The agent was not allowed to use a tool
    Denied,
    /// The answer has no text
    Empty,
}

/// What to do if the name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfExists {
    /// Start a new session under the name
    #[default]
    Overwrite,
    /// Keep the existing session, without a turn
    Reuse,
    /// Fail with status 4
    Fail,
}

/// What to do if the name cannot be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfMissing {
    /// Fail with status 3
    #[default]
    Fail,
    /// Start a session with this prompt, and save it under the name
    Create,
}

/// What to do if another call uses the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfBusy {
    /// Wait until its turn ends
    #[default]
    Wait,
    /// Fail with status 5
    Fail,
}

#[derive(Debug, Args)]
pub(crate) struct CreateSession {
    #[command(flatten)]
    pub name: NameArgs,
    /// Ignored; see --adopt
    #[arg(long, value_name = "ID", alias = "thread-id", hide = true)]
    pub session_id: Option<String>,
    /// Markdown file with a role for the session
    #[arg(long, value_name = "FILE.md")]
    pub role_definition_md: Option<PathBuf>,
    /// First prompt, which costs a model turn [default: ask for an OK]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub init_prompt: Option<String>,
    /// Save an existing session ID under the name, without a turn
    #[arg(long, value_name = "ID", aliases = ["fake-session-id", "fake-thread-id"])]
    pub adopt: Option<String>,
    /// What to do if the name is taken
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_exists: IfExists,
    /// Print the text of the first answer
    #[arg(long, conflicts_with_all = ["adopt", "print_mapping_json"])]
    pub print_result: bool,
    /// Print the session ID (the default)
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    /// Print the saved entry as JSON
    #[arg(long)]
    pub print_mapping_json: bool,
    #[command(flatten)]
    pub detach: DetachArgs,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// Print only the session ID
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

/// How sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// One JSON object on one line
    #[default]
    Json,
    /// A table that fits the terminal
    Table,
    /// Tab-separated values with a header line, for scripts
    Tsv,
    /// One name per line; after the workspace and the agent if several are listed
    Names,
}

#[derive(Debug, Args)]
pub(crate) struct ListSessions {
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: ListFormat,
    /// Same as --format names
    #[arg(long, conflicts_with = "format")]
    pub print_aliases: bool,
    /// List the sessions of all workspaces
    #[arg(long, conflicts_with_all = ["workspace_dir", "mapping_file"])]
    pub all_workspaces: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RenameSession {
    #[command(flatten)]
    pub name: NameArgs,
    /// New name
    #[arg(long, value_name = "NEW")]
    pub to: Option<String>,
    /// Take the new name even if another session has it
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub place: LocationArgs,
}

/// What is kept with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeptSetting {
    Model,
    #[value(alias = "reasoning-effort")]
    Effort,
    /// What was given after '--'
    Arguments,
    /// Options that configure codex, such as --config
    Config,
    /// The agent's command and its shell
    Command,
    EnvFile,
    /// All of these
    All,
}

#[derive(Debug, Args)]
pub(crate) struct SetSession {
    #[command(flatten)]
    pub name: NameArgs,
    /// What to remove before anything is set; repeatable
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub unset: Vec<KeptSetting>,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSession {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// Also print the remaining mapping
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

/// Options that the original's delete commands for claude accepted and ignored.
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

/// Options for the prompt.
#[derive(Debug, Args)]
pub(crate) struct PromptArgs {
    /// Prompt of the turn; '-' reads stdin
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the prompt from FILE; '-' reads stdin
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
}

/// The session, the prompt and the options of the resume commands.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub selector: SessionArgs,
    #[command(flatten)]
    pub prompt: PromptArgs,
    #[command(flatten)]
    pub detach: DetachArgs,
    #[command(flatten)]
    pub options: ResumeOptions,
}

/// Options of every command that resumes a session.
#[derive(Debug, Args)]
pub(crate) struct ResumeOptions {
    /// Write the output to FILE instead of stdout: atomically, on exit, readable only by you
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// What to do if the name cannot be found
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_missing: IfMissing,
    /// What to do if another call uses the session
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_busy: IfBusy,
    /// Markdown file with a role, placed before the prompt (codex)
    #[arg(long, value_name = "FILE.md")]
    pub role_definition_md: Option<PathBuf>,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
    #[command(flatten)]
    pub forget: ForgetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeJson {
    #[command(flatten)]
    pub resume: ResumeArgs,
    /// Print only the answer's text
    #[arg(help_heading = None::<&str>, long)]
    pub print_result: bool,
    /// Print only the session ID
    #[arg(help_heading = None::<&str>, long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Name of the session
    #[arg(value_name = "NAME")]
    pub session_name: String,
    /// Prompt, as one argument; '-' reads stdin
    #[arg(value_name = "PROMPT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// The rest of a prompt without quotes, which is refused
    #[arg(hide = true)]
    pub rest: Vec<String>,
    /// Start the session if the name cannot be found; same as --if-missing create
    #[arg(help_heading = None::<&str>, long, conflicts_with = "if_missing")]
    pub create: bool,
    #[command(flatten)]
    pub options: ResumeOptions,
}

#[derive(Debug, Args)]
pub(crate) struct OpenSession {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// What to do if another call uses the session
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_busy: IfBusy,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub forget: ForgetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForkSession {
    #[command(flatten)]
    pub selector: SessionArgs,
    /// Name of the new session
    #[arg(long, value_name = "NEW")]
    pub to: Option<String>,
    /// Take the new name even if another session has it
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Print only the answer's text
    #[arg(long)]
    pub print_result: bool,
    /// Print only the new session's ID
    #[arg(long, visible_alias = "print-thread-id")]
    pub print_session_id: bool,
    /// What to do if another call uses the session
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub if_busy: IfBusy,
    #[command(flatten)]
    pub detach: DetachArgs,
    #[command(flatten)]
    pub place: LocationArgs,
    #[command(flatten)]
    pub call: CallArgs,
    #[command(flatten)]
    pub forget: ForgetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeStream {
    #[command(flatten)]
    pub resume: ResumeArgs,
    /// Accepted for compatibility; always on (claude)
    #[arg(help_heading = None::<&str>, long)]
    pub verbose: bool,
    /// Print parts of the answer as they arrive (claude)
    #[arg(help_heading = None::<&str>, long)]
    pub include_partials: bool,
    /// Print only the last answer's text, after the stream has ended
    #[arg(help_heading = None::<&str>, long, conflicts_with_all = ["format", "color"])]
    pub print_result: bool,
    /// Output format
    #[arg(help_heading = None::<&str>, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: StreamFormat,
    /// When to color the text; auto: at a terminal, unless NO_COLOR is set [default: auto]
    #[arg(help_heading = None::<&str>, long, value_enum, value_name = "WHEN")]
    pub color: Option<ColorChoice>,
}

/// How a running turn is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamFormat {
    /// The agent's events, unchanged
    #[default]
    Jsonl,
    /// Readable text, the same for both agents
    Text,
}

/// When a text is colored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct WaitTurn {
    #[command(flatten)]
    pub selector: TurnSelectorArgs,
    /// Print the output as it arrives
    #[arg(long)]
    pub follow: bool,
    /// Wait at most DURATION, then exit with status 75: seconds, or 90s, 5m, 1h30m
    #[arg(long, value_name = "DURATION")]
    pub timeout_seconds: Option<String>,
}

/// How a recorded turn is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TurnFormat {
    /// The record, or with --output the unchanged output
    #[default]
    Json,
    /// The output; a stream of events as readable text
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct ShowTurn {
    #[command(flatten)]
    pub selector: TurnSelectorArgs,
    /// Print what the turn has printed so far
    #[arg(long)]
    pub output: bool,
    /// Print the output as it arrives, until the turn ends
    #[arg(long)]
    pub follow: bool,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: TurnFormat,
    /// When to color the text; auto: at a terminal, unless NO_COLOR is set [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    pub color: Option<ColorChoice>,
}

/// How turns are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TurnListFormat {
    /// One JSON object on one line
    #[default]
    Json,
    /// A table that fits the terminal
    Table,
}

#[derive(Debug, Args)]
pub(crate) struct ListTurns {
    #[command(flatten)]
    pub session: SessionArgs,
    /// List only turns in this state; repeatable
    #[arg(long, value_enum, value_name = "STATE")]
    pub state: Vec<State>,
    /// List at most N turns
    #[arg(long, value_name = "N", default_value_t = 20, allow_hyphen_values = true, value_parser = limit)]
    pub limit: usize,
    /// Output format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: TurnListFormat,
    /// List the turns of all workspaces
    #[arg(long, conflicts_with = "workspace_dir")]
    pub all_workspaces: bool,
    #[command(flatten)]
    pub place: WorkspaceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopTurn {
    #[command(flatten)]
    pub turn: TurnSelectorArgs,
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
pub(crate) struct Help {
    /// Command or topic
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell that reads the script
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Directory, created if missing; existing pages are replaced
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(override_usage = "invoke-persist echo-agent claude|codex [--script FILE] [ARG]...")]
pub(crate) struct EchoAgent {
    /// Agent to stand in for, and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "AGENT")]
    pub arguments: Vec<OsString>,
}

/// A shell with a completion script.
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
    fn command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}

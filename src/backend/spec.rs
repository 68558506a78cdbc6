//! What the rest of the program knows of an agent: names, options, abilities and rules as data, and a few functions.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;

use super::echo::EchoProtocol;
use super::output::OutputParser;
use super::{BackendArgs, InteractiveInvocation, Invocation, LaunchArgs, OutputMode};
use crate::session::SessionName;

/// Everything about one agent that other layers use.
pub(crate) struct Spec {
    /// The name of the agent, of its program, and of the value of `--backend`.
    pub name: &'static str,
    /// The file name of its mapping, as the original has it.
    pub mapping_file: &'static str,
    /// The key under which an entry of the mapping, and every JSON that is printed, holds the session ID.
    pub id_key: &'static str,
    /// The variable that may name another command than the agent's program.
    pub command_variable: &'static str,
    /// What to do if the agent's program is missing.
    pub missing_hint: &'static str,
    /// Variables that change how the agent is called, beside [`command_variable`](Self::command_variable).
    pub launch_variables: &'static [&'static str],
    /// Variables that the agent must not inherit.
    pub removed_env: &'static [&'static str],
    /// Where the agent keeps its sessions.
    pub home: Home,
    pub capabilities: Capabilities,
    /// The skill by which agents use sessions of this one.
    pub skill: SkillTexts,
    /// Where this agent looks for skills.
    pub skill_dirs: SkillDirs,
    /// How the echo agent plays this agent.
    pub echo: EchoProtocol,
    /// The pages of its help that name the options this program uses.
    pub help_pages: &'static [HelpPage],
    /// Options of this program that only this agent has, on the commands that have them.
    pub owns_option: fn(command: &str, option: &str) -> bool,
    /// The options of the original script for this agent that may be shortened, by command.
    pub original_options: fn(command: &str) -> Vec<&'static str>,
    /// Returns whether the caller may not pass `argument`, which follows `previous`, to the agent: it would change which
    /// session answers or the form of the output.
    pub is_reserved_arg: fn(previous: Option<&str>, argument: &str) -> bool,
    /// Returns the prompt that starts a session if the caller gives none.
    pub default_prompt: fn(name: &SessionName) -> String,
    /// Returns the prompt with a role before it, for an agent without a system prompt.
    pub prompt_with_role: for<'a> fn(role: Option<&str>, prompt: &'a [u8]) -> Cow<'a, [u8]>,
    /// Returns the answer as `--print-result` prints it.
    pub printed_answer: fn(answer: &str) -> String,
    /// Returns how the options start the agent.
    pub launch: for<'a> fn(&'a LaunchArgs) -> Launch<'a>,
    /// Returns the arguments for one turn.
    pub arguments: fn(&Invocation<'_>) -> Vec<OsString>,
    /// Returns the arguments for an interactive session.
    pub interactive_arguments: fn(&InteractiveInvocation<'_>) -> Vec<OsString>,
    /// Returns the parser of the agent's standard output. `events_from`: the directory in which the agent runs, if its
    /// events are wanted.
    pub parser: fn(mode: OutputMode, events_from: Option<String>) -> Box<dyn OutputParser>,
    /// Returns whether a run that failed is worth another try.
    pub retry: fn(&BackendArgs, &FailedRun<'_>) -> Retry,
    /// Returns how much a line of standard error explains a failure.
    pub stderr_line: fn(line: &str) -> StderrLine,
}

/// The directory in which an agent keeps its sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    /// The variable that names it.
    pub variable: &'static str,
    /// Its name in the user's home directory, if the variable is unset.
    pub default_dir: &'static str,
}

impl Home {
    /// Returns where the agent keeps its sessions: what its own variable names, else its directory in the user's home.
    /// `account_home` is the home directory for a caller whose variables name none.
    pub(crate) fn find(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
        account_home: impl FnOnce() -> Option<PathBuf>,
    ) -> Option<PathBuf> {
        if let Some(dir) = variable(self.variable) {
            return Some(dir.into());
        }
        let home = variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from).or_else(account_home)?;
        Some(home.join(self.default_dir))
    }
}

/// The texts of a skill that are about one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkillTexts {
    /// The skill's name, which is also its directory's.
    pub name: &'static str,
    /// The agent's name in prose.
    pub agent: &'static str,
    /// The option of this program that takes a session ID, in the agent's words.
    pub id_option: &'static str,
    pub main: &'static str,
    pub creation: &'static str,
    pub invocation: &'static str,
}

/// Where an agent looks for skills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkillDirs {
    /// The user's skills.
    pub user: UserDir,
    /// The skills of a project, below its root.
    pub project: &'static str,
    /// Further directories in which the agent looks, if it takes none of two skills that have one name.
    pub duplicates: Option<DuplicateDirs>,
}

/// A directory of the user's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UserDir {
    /// In the agent's [`Home`].
    Agent(&'static str),
    /// In the user's home directory.
    Home(&'static str),
}

/// Directories besides the usual ones in which an agent finds skills, beginning with those of the project.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DuplicateDirs {
    /// Below every directory from the current one up to the project's root.
    pub up_to_root: &'static str,
    /// Below the project's root.
    pub root: &'static str,
    /// The user's.
    pub user: &'static [UserDir],
}

/// What an agent can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capabilities {
    /// A reasoning effort is remembered beside the model.
    pub effort: bool,
    /// A role goes beside the prompt ([`Invocation::role`]) instead of into it.
    pub system_prompt: bool,
    /// The agent reports events while it works on an answer in [`OutputMode::Json`].
    pub events_in_json_mode: bool,
    /// The agent can write its last message to a file ([`Invocation::answer_file`]).
    pub answer_file: bool,
    pub json_output: JsonOutput,
    pub on_new_id: OnNewId,
    /// The original's delete commands took the options of a call and ignored them.
    pub delete_ignores_call_options: bool,
}

/// What `resume-json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonOutput {
    /// The agent's own JSON, unchanged.
    PassThrough,
    /// An object made by this program.
    Report,
}

/// What an answer from another session than the one that was resumed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnNewId {
    /// The agent gave the session a new ID, which replaces the old one.
    Follow,
    /// The agent did not know the session and started a new one.
    Lost,
}

/// A page of an agent's help.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HelpPage {
    /// The arguments that print it.
    pub arguments: &'static [&'static str],
    /// The options this program uses that it should name.
    pub options: &'static [&'static str],
}

/// An option of this program and the variable that stands for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub option: &'static str,
    pub variable: &'static str,
    /// The option's value.
    pub value: Option<&'a str>,
}

/// How an agent is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    pub command: Setting<'a>,
    /// The shell that runs the command, for an agent that may have one.
    pub shell: Option<ShellLaunch<'a>>,
}

/// The settings of a shell that starts an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShellLaunch<'a> {
    /// Which kind of shell; without it there is none.
    pub kind: Setting<'a>,
    /// The shell with its options.
    pub command: Setting<'a>,
    /// What the shell runs first.
    pub init: Setting<'a>,
}

/// The end of a run, as far as another try depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedRun<'a> {
    pub exit_status: i32,
    pub stderr: &'a [u8],
    /// How many lines came on standard output.
    pub lines: u64,
    /// Whether the turn was to be in a session that exists.
    pub resumes: bool,
    /// See [`Invocation::fallback`].
    pub fallback: bool,
}

/// Whether a run that failed is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    No,
    /// Once more with [`Invocation::fallback`], after this note.
    WithFallback(&'static str),
    /// Another program has the session open; nothing was sent.
    SessionInUse,
}

/// How much a line of an agent's standard error explains a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StderrLine {
    /// Nothing.
    Noise,
    /// Less than what is not a log line.
    Log,
    Message,
}

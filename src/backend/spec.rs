//! The description of an agent for the rest of the program: names, options, capabilities, rules and a few functions.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::cause::{Cause, Diagnosis, Evidence};
use super::echo::EchoProtocol;
use super::output::OutputParser;
use super::session_files::SessionFiles;
use super::support::{Feature, HelpPage, Release};
use super::{BackendArgs, Fallbacks, InteractiveInvocation, Invocation, LaunchArgs, OutputMode};
use crate::session::SessionName;

/// Everything about one agent that other layers use.
pub(crate) struct Spec {
    /// The name of the agent and of its program, and the value of `--backend`.
    pub name: &'static str,
    /// The file name of its mapping, which is the same as in the original.
    pub mapping_file: &'static str,
    /// The key of the session ID, in entries of the mapping and in printed JSON.
    pub id_key: &'static str,
    /// The variable that replaces the agent's program by another command.
    pub command_variable: &'static str,
    /// The hint if the agent's program is missing.
    pub missing_hint: &'static str,
    /// Further variables that change how the agent is started.
    pub launch_variables: &'static [&'static str],
    /// Variables that the agent must not inherit.
    pub removed_env: &'static [&'static str],
    pub command_sandbox: CommandSandbox,
    /// Where the agent keeps its sessions.
    pub home: Home,
    /// The files of its sessions.
    pub session_files: SessionFiles,
    pub capabilities: Capabilities,
    /// The skill that lets agents use sessions of this agent.
    pub skill: SkillTexts,
    /// The directories in which this agent finds skills.
    pub skill_dirs: SkillDirs,
    /// How the echo agent imitates this agent.
    pub echo: EchoProtocol,
    /// The help pages that list the options which this program uses.
    pub help_pages: &'static [HelpPage],
    /// What its older releases lack.
    pub features: &'static [Feature],
    /// Returns the release in what the agent prints for `--version`, unless that has an unknown form.
    pub release: fn(version: &str) -> Option<Release>,
    /// Returns whether only this agent has the option, on this command.
    pub owns_option: fn(command: &str, option: &str) -> bool,
    /// Returns the options of a command in the original script for this agent. Those may be abbreviated.
    pub original_options: fn(command: &str) -> Vec<&'static str>,
    /// Options of the agent that callers give to this program by mistake, and whether each takes a value. They belong
    /// after `--`.
    pub passed_options: &'static [(&'static str, bool)],
    /// Returns whether the caller may not pass `argument`, which follows `previous`, to the agent. Such an argument would
    /// change the session or the form of the output.
    pub is_reserved_arg: fn(previous: Option<&str>, argument: &str) -> bool,
    /// Returns the prompt that starts a session if the caller gives none.
    pub default_prompt: fn(name: &SessionName) -> String,
    /// Returns the prompt with the role before it, for an agent without a system prompt.
    pub prompt_with_role: for<'a> fn(role: Option<&str>, prompt: &'a [u8]) -> Cow<'a, [u8]>,
    /// Returns the answer as `--print-result` prints it.
    pub printed_answer: fn(answer: &str) -> String,
    /// Returns the settings for starting the agent.
    pub launch: for<'a> fn(&'a LaunchArgs) -> Launch<'a>,
    /// Returns the arguments for one turn.
    pub arguments: fn(&Invocation<'_>) -> Vec<OsString>,
    /// Returns the arguments for an interactive session.
    pub interactive_arguments: fn(&InteractiveInvocation<'_>) -> Vec<OsString>,
    /// Returns the parser of the agent's standard output. `keeps_answer` means that the answer of a stream is needed too.
    /// If the events are needed, `events_from` is the directory that the agent runs in.
    pub parser: fn(mode: OutputMode, keeps_answer: bool, events_from: Option<String>) -> Box<dyn OutputParser>,
    /// Returns whether to retry a failed run.
    pub retry: fn(&BackendArgs, &FailedRun<'_>) -> Retry,
    /// Returns the agent's code for the failure of the last turn of a session, from the files in the agent's `home`.
    /// The turn began after `since`.
    pub failure_code: fn(home: &Path, session: &str, since: Timestamp) -> Option<Box<RawValue>>,
    /// Returns why a run failed.
    pub diagnose: fn(&Evidence<'_>) -> Diagnosis,
    /// Returns what to do about a cause, as a hint.
    pub cause_hint: fn(Cause) -> Option<&'static str>,
    /// Returns the agent's arguments that allow these tools, for a hint.
    pub allowing_arguments: fn(tools: &[&str]) -> Vec<String>,
    /// Returns the options that configure the agent, as they are typed, for [`BackendArgs`].
    pub config_words: fn(&BackendArgs) -> Vec<String>,
    /// Returns the kind of an option of the agent, with its values. At most one of a kind is in force. The option that
    /// selects the model is of the kind `model`, and that for the reasoning effort of the kind `effort`.
    pub setting_kind: fn(option: &[&str]) -> String,
    /// Returns whether an option of the agent switches off a protection.
    pub is_unprotected: fn(option: &[&str]) -> bool,
    /// Returns whether an option of the agent is for one turn, such as an image.
    pub is_for_one_turn: fn(option: &[&str]) -> bool,
    /// Returns whether the interactive program lacks an option of the agent.
    pub is_for_turns_only: fn(option: &[&str]) -> bool,
    /// The agent's own option for a schema.
    pub schema_option: &'static str,
    /// Returns what to do if the agent or its API refused a schema for this reason, as a hint.
    pub schema_hint: fn(reason: &str) -> Option<&'static str>,
    /// Returns what a line of standard error is.
    pub stderr_line: fn(line: &str) -> StderrLine,
}

/// The sandbox in which the agent runs a command of its model. On Linux it is a PID namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandSandbox {
    pub mark: SandboxMark,
    /// What lets the agent run this program outside of the sandbox, as a hint.
    pub way_out: &'static str,
}

/// How a command recognizes its sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SandboxMark {
    /// Its first process runs this program.
    Program(&'static str),
    /// It sets this variable.
    Variable(&'static str),
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
    /// Returns the directory that the agent's variable names. Without it, returns the directory in the user's home.
    /// `account_home` returns the home directory if no variable names it.
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

/// The texts of a skill that are specific to one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkillTexts {
    /// The name of the skill and of its directory.
    pub name: &'static str,
    /// The agent's name in prose.
    pub agent: &'static str,
    /// The option of this program for a session ID, in the agent's terms.
    pub id_option: &'static str,
    pub main: &'static str,
    pub creation: &'static str,
    pub invocation: &'static str,
}

/// The directories in which an agent finds skills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkillDirs {
    /// The user's skills.
    pub user: UserDir,
    /// The skills of a project, below its root.
    pub project: &'static str,
    /// Further directories, for an agent that ignores both of two skills with the same name.
    pub duplicates: Option<DuplicateDirs>,
}

/// A directory of the user.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UserDir {
    /// In the agent's [`Home`].
    Agent(&'static str),
    /// In the user's home directory.
    Home(&'static str),
}

/// The directories besides the usual ones in which an agent finds skills.
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
    /// The reasoning effort is remembered like the model.
    pub effort: bool,
    /// The role is an argument ([`Invocation::role`]) instead of a part of the prompt.
    pub system_prompt: bool,
    /// The agent reports events during a turn in [`OutputMode::Json`].
    pub events_in_json_mode: bool,
    /// The agent accepts an ID for a new session ([`Invocation::new_id`]).
    pub accepts_new_id: bool,
    /// The agent can write its last message to a file ([`Invocation::answer_file`]).
    pub answer_file: bool,
    pub schema: SchemaChannel,
    pub json_output: JsonOutput,
    pub on_new_id: OnNewId,
    /// The original's delete commands accepted the options of a turn and ignored them.
    pub delete_ignores_call_options: bool,
}

/// How the schema of an answer reaches the agent, and how the answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaChannel {
    /// An argument has the schema, and the agent's result has the answer as a member.
    Argument,
    /// A file has the schema, and the text of the answer is JSON.
    File,
}

/// What `resume-json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonOutput {
    /// The agent's own JSON, unchanged.
    PassThrough,
    /// An object that this program creates.
    Report,
}

/// What it means if the answer is from another session than the resumed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnNewId {
    /// The session has a new ID, which replaces the old one.
    Follow,
    /// The agent could not find the session and started a new one.
    Lost,
}

/// An option of this program, and the variable that replaces it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub option: &'static str,
    pub variable: &'static str,
    /// The option's value.
    pub value: Option<&'a str>,
}

/// How an agent is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch<'a> {
    pub command: Setting<'a>,
    /// The shell that runs the command, for an agent that supports shells.
    pub shell: Option<ShellLaunch<'a>>,
}

/// The settings of a shell that starts an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShellLaunch<'a> {
    /// The kind of shell. Without it, no shell is used.
    pub kind: Setting<'a>,
    /// The shell with its options.
    pub command: Setting<'a>,
    /// The commands that the shell runs first.
    pub init: Setting<'a>,
}

/// The facts about a failed run that a retry depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedRun<'a> {
    pub exit_status: i32,
    pub stderr: &'a [u8],
    /// The number of lines on standard output.
    pub lines: u64,
    /// Whether the turn resumed an existing session.
    pub resumes: bool,
    /// See [`Invocation::fallbacks`].
    pub fallbacks: Fallbacks,
}

/// Whether to retry a failed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    No,
    /// Call the agent again with these [`Invocation::fallbacks`], which are more than those of the failed run.
    WithFallbacks {
        fallbacks: Fallbacks,
        /// The note to print, if the call has another effect.
        note: Option<&'static str>,
    },
    /// Another program has the session open. The prompt was not sent.
    SessionInUse,
}

/// What a line of an agent's standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StderrLine {
    /// It explains nothing, and is not a warning to report.
    Noise,
    /// It explains less than a message.
    Log,
    /// The log has it for a call of this tool that was not allowed.
    Denied(&'static str),
    /// It warns that the reasoning effort of the call has no effect.
    IgnoredEffort,
    Message,
}

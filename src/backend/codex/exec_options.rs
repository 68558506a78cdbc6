//! The options of `codex exec` that its commands `resume` and `fork` do not take in the same way, and where they go. Also
//! those that the interactive program lacks.
//!
//! The tests of the real agents compare these lists with the help of codex.

/// The options of `codex exec` that its commands lack. They work before the name of the command.
pub(crate) const BEFORE_COMMAND: &[ExecOption] = &[
    ExecOption { long: "--add-dir", short: None, takes_value: true },
    ExecOption { long: "--approve-for-me", short: None, takes_value: false },
    ExecOption { long: "--cd", short: Some("-C"), takes_value: true },
    ExecOption { long: "--color", short: None, takes_value: true },
    ExecOption { long: "--local-provider", short: None, takes_value: true },
    ExecOption { long: "--oss", short: None, takes_value: false },
    ExecOption { long: "--profile", short: Some("-p"), takes_value: true },
    ExecOption { long: "--sandbox", short: Some("-s"), takes_value: true },
];

/// The options of `codex exec` that take several values. Its commands take one for each time the option is given.
pub(crate) const SEVERAL_VALUES: &[ExecOption] =
    &[ExecOption { long: "--image", short: Some("-i"), takes_value: true }];

/// The options that the interactive program lacks. It asks instead, or needs none of them.
pub(crate) const EXEC_ONLY: &[&str] = &[
    "--color",
    "--cyber-access-program",
    "--ignore-rules",
    "--ignore-user-config",
    "--output-schema",
    "--skip-git-repo-check",
    "--thread-source",
    "--trust",
];

/// An option of `codex exec`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecOption {
    pub(crate) long: &'static str,
    pub(crate) short: Option<&'static str>,
    pub(crate) takes_value: bool,
}

//! The agent's program, with its arguments and its environment.

pub(crate) mod command;
mod env_file;
pub(crate) mod launcher;
pub(crate) mod login_shell;
pub(crate) mod probe;
mod shlex;

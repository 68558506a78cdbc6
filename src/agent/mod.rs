//! Which program an agent is, and with what arguments and environment it is started.

pub(crate) mod command;
mod env_file;
pub(crate) mod launcher;
pub(crate) mod login_shell;
pub(crate) mod probe;
mod shlex;

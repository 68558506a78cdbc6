//! One turn of an agent: a request in, an outcome out.

pub(crate) mod detach;
pub(crate) mod duration;
pub(crate) mod endless_wait;
pub(crate) mod files_in_use;
mod first_process;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod prompt;
pub(crate) mod recovery_hint;
pub(crate) mod request;
pub(crate) mod resume;
mod retry;
mod review;
pub(crate) mod runner;
pub(crate) mod scratch_dir;
pub(crate) mod selector;
mod sink;
pub(crate) mod start;
mod structured;
pub(crate) mod summary;
mod update;
pub(crate) mod watch;

//! The basis of every test: an isolated sandbox for the program, scripted agents, and assertions about the result.
//! Nothing here depends on the implementation of the program.
//!
//! ```ignore
//! let sandbox = Sandbox::new();
//! sandbox.agent(Backend::Claude.answers("id-1", "done"));
//! sandbox.succeeds(&["create-session", "--session-name", "a"]);
//! assert_eq!(sandbox.only_call().argv[0], "-p");
//! sandbox.fails(&["resolve", "--session-name", "b"], 3, "session_not_found");
//! ```

#![allow(dead_code, reason = "some tests do not run on every system")]

mod agent;
mod calls;
mod digest;
#[cfg(target_os = "linux")]
mod disk;
mod outcome;
mod placeholders;
#[path = "../../stand_in/plan.rs"]
mod plan;
#[cfg(unix)]
mod privileges;
mod random;
#[path = "../../stand_in/record.rs"]
mod record;
mod running;
mod sandbox;
#[cfg(target_os = "linux")]
mod screen;
mod self_test;
#[cfg(target_os = "linux")] // other systems open the user side of a terminal in other ways
mod terminal;
mod wait;

#[allow(unused_imports, reason = "as above")]
pub(crate) use self::{
    agent::{Backend, Plan},
    calls::Call,
    digest::md5_hex,
    outcome::{AssertExt, Failure, Finished},
    plan::{SignalName, Sink, Size, Step, Turn},
    random::Random,
    record::Input,
    running::{RunCommand, Running},
    sandbox::Sandbox,
    wait::wait_until,
};
#[allow(unused_imports, reason = "as above")]
pub(crate) use predicates::prelude::PredicateBooleanExt;
#[allow(unused_imports, reason = "as above")]
pub(crate) use predicates::str::{contains, ends_with, is_empty, starts_with};

/// The length of an argument that is too long for an agent's command line. The system accepts it (Linux: 128 KiB for
/// one, Windows: 32 KiB for all).
pub(crate) const LONG_ARGUMENT: usize = if cfg!(windows) { 20_000 } else { 120_000 };

#[cfg(target_os = "linux")]
#[allow(unused_imports, reason = "as above")]
pub(crate) use self::disk::Disk;
#[cfg(unix)]
#[allow(unused_imports, reason = "as above")]
pub(crate) use self::{privileges::bound_by_permissions, running::signal_process, wait::is_alive};

#[cfg(target_os = "linux")]
pub(crate) use self::{
    screen::Screen,
    terminal::{Dialogue, Terminal},
};

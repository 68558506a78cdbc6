//! Names for the sessions of coding agents, and turns that cannot hang, orphan or lose one.

mod backend;
mod cli;
mod commands;
mod completion;
mod digest;
mod env;
mod error;
mod input;
mod json;
mod launcher;
mod lock;
mod output;
mod process;
mod random;
mod raw;
mod render;
mod session;
mod skill;
mod stdio;
mod store;
mod table;

use std::time::Instant;

use error::Kind;

fn main() {
    let started = Instant::now();
    let (format, done) = commands::start(started);
    process::release_signals();
    let kind = done.err().map(|error| {
        error.report(format);
        error.kind
    });
    stdio::finish_stderr(matches!(kind, Some(Kind::Interrupted(_))));
    std::process::exit(kind.map_or(0, Kind::exit_status));
}

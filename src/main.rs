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

fn main() {
    let started = Instant::now();
    let (format, done) = commands::start(started);
    std::process::exit(match done {
        Ok(()) => 0,
        Err(error) => {
            error.report(format);
            error.kind.exit_status()
        }
    });
}

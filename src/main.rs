//! Runs sessions of coding agents by name. No turn hangs, leaves orphans or is lost.

mod agent;
mod backend;
mod backend_selection;
mod cli;
mod commands;
mod completion;
mod context;
mod digest;
mod echo_agent;
mod env;
mod error;
mod help;
mod input;
mod json;
mod late_signal;
mod lock;
mod paths;
mod process;
mod random;
mod records;
mod render;
mod schema;
mod session;
mod sessions;
mod skills;
mod store;
mod sys;
mod time;
mod turn;
mod ui;

use std::time::Instant;

use clap::CommandFactory;

use cli::Cli;
use context::Context;
use error::{ErrorFormat, ErrorKind, Result};
use records::recorder::TurnRecorder;
use turn::detach;
use ui::Ui;

fn main() {
    let started = Instant::now();
    let ui = Ui::new();
    let turn = TurnRecorder::new(started);
    let (format, outcome) = run(started, &ui, &turn);
    late_signal::release();
    let outcome = outcome.inspect_err(|error| ui.report(error, format));
    ui.finish(outcome.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Interrupted(_))));
    turn.close(); // after all output, because others then read it
    std::process::exit(outcome.unwrap_or_else(|error| error.exit_status()));
}

/// Parses the command line and runs its command. Returns the exit status or error, and how to report an error.
fn run(started: Instant, ui: &Ui, turn: &TurnRecorder) -> (ErrorFormat, Result<i32>) {
    process::prepare_signals();
    sys::keep_files_private();
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let arguments = match detach::arguments() {
        None => arguments.collect(),
        Some(Err(error)) => return (ErrorFormat::Text, Err(error)),
        Some(Ok(arguments)) => {
            turn.set_detached();
            ui.start_stderr_copy();
            arguments
        }
    };
    if let Some(shell) = env::var_os(env::COMPLETE) {
        return (ErrorFormat::Text, completion::candidates::respond(started, &shell, arguments).map(|()| 0));
    }
    let command_line = Cli::command(); // built once: this is most of the start-up time
    let default_backend = backend_selection::default_backend(&program).ok().flatten();
    let (normalized, format) = cli::normalize(&command_line, &arguments, default_backend);
    let outcome = normalized.and_then(|normalized| {
        let Some(Cli { global, command }) = cli::parse(command_line, &program, &normalized)? else {
            return Ok(0);
        };
        let ui = ui.with_quiet(global.quiet).with_log(started)?;
        turn.update(|turn| command.name().clone_into(&mut turn.record.command));
        commands::run(&Context { started, global, ui, turn: turn.clone(), normalized, program }, &command)
    });
    (format, outcome)
}

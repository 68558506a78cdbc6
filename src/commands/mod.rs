//! The commands, one per file. No command imports another. Shared code is in the layers below.

mod ask;
mod completions;
mod create_session;
mod delete_all_sessions;
mod delete_session;
mod demo;
mod doctor;
mod fork_session;
mod help;
mod list_sessions;
mod list_turns;
mod man;
mod open_session;
mod rename_session;
mod resolve;
mod resume_json;
mod resume_stream;
mod set_session;
mod show_turn;
mod skill;
mod stop_turn;
mod wait_turn;

use crate::cli::Command;
use crate::context::Context;
use crate::error::Result;
use crate::turn::detach;
use crate::turn::summary::with_summary;

/// Runs the command. Returns the exit status of this program.
pub(crate) fn run(context: &Context, command: &Command) -> Result<i32> {
    let detach = command.detach_args().filter(|options| options.detach && !context.turn.is_detached());
    if let Some(options) = detach {
        return detach::launch(context, command, options);
    }
    match command.call_args() {
        Some(options) => with_summary(context, options, || run_command(context, command)),
        None => run_command(context, command),
    }
}

fn run_command(context: &Context, command: &Command) -> Result<i32> {
    match command {
        Command::OpenSession(options) => return open_session::run(context, options),
        Command::EchoAgent(options) => return crate::echo_agent::run(&context.ui, options),
        Command::CreateSession(options) => create_session::run(context, options),
        Command::Resolve(options) => resolve::run(context, options),
        Command::ListSessions(options) => list_sessions::run(context, options),
        Command::RenameSession(options) => rename_session::run(context, options),
        Command::SetSession(options) => set_session::run(context, options),
        Command::DeleteSession(options) => delete_session::run(context, options),
        Command::DeleteAllSessions(options) => delete_all_sessions::run(context, options),
        Command::ResumeJson(options) => resume_json::run(context, options),
        Command::ResumeStream(options) => resume_stream::run(context, options),
        Command::Ask(options) => ask::run(context, options),
        Command::ForkSession(options) => fork_session::run(context, options),
        Command::WaitTurn(options) => return wait_turn::run(context, options),
        Command::ShowTurn(options) => show_turn::run(context, options),
        Command::ListTurns(options) => list_turns::run(context, options),
        Command::StopTurn(options) => stop_turn::run(context, options),
        Command::Skill(options) => skill::run(context, &options.action),
        Command::Doctor(options) => doctor::run(context, options),
        Command::Demo(_) => demo::run(context),
        Command::Completions(options) => completions::run(context, options),
        Command::Help(options) => help::run(context, options),
        Command::Man(options) => man::run(options),
    }
    .map(|()| 0)
}

//! `wait-turn`: waits for the end of turns, and prints what a detached one has printed.

use std::time::Instant;

use crate::cli;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::records::record::State;
use crate::turn::endless_wait::refuse_endless_wait;
use crate::turn::selector::{RecordedTurn, selected_turns};
use crate::turn::watch::{Follow, Poll, Unchanged, limit, still_running};
use crate::ui::json::to_line;

/// Returns the exit status of the turn. Of several, that of the first one that did not succeed.
pub(super) fn run(context: &Context, options: &cli::WaitTurn) -> Result<i32> {
    let limit = limit(context, "--timeout-seconds", options.timeout_seconds.as_deref())?;
    let turns = selected_turns(context, &options.selector)?;
    turns.iter().try_for_each(refuse_endless_wait)?;
    if options.selector.turn_id.len() > 1 {
        return wait_for_all(context, options, turns, limit);
    }
    let mut turns = turns.into_iter();
    let turn = turns.next().expect("a selection has a turn");
    wait(context, options, turn, limit)
}

fn wait(context: &Context, options: &cli::WaitTurn, mut turn: RecordedTurn, limit: Option<Instant>) -> Result<i32> {
    let is_detached = turn.record.detached;
    let mut is_printed = false;
    if options.follow && is_detached {
        is_printed = turn.copy_outputs(&context.ui, Follow::ToTheEnd(limit), &mut Unchanged)?;
    }
    turn.wait(&context.ui, limit)?;
    if !options.follow && is_detached {
        is_printed = turn.copy_outputs(&context.ui, Follow::No, &mut Unchanged)?;
    }
    if is_printed {
        turn.mark_fetched();
    }
    if turn.record.state == State::Lost {
        return Err(turn.lost());
    }
    if let Some(message) = turn.record.message.as_ref().filter(|_| is_detached && turn.has_no_errors()) {
        context.ui.warn_always(&format!("the turn {} could not store its output: {message}", turn.id));
    }
    if !is_detached {
        let failure = turn.record.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let state = turn.record.state.name();
        context.ui.note(&format!("the turn {} has {state}{failure}; its output went to its caller", turn.id));
    }
    Ok(turn.record.exit_status())
}

/// Prints the record of each turn as soon as it ends.
fn wait_for_all(
    context: &Context,
    options: &cli::WaitTurn,
    mut turns: Vec<RecordedTurn>,
    limit: Option<Instant>,
) -> Result<i32> {
    if options.follow {
        return Err(Error::usage("--follow prints one turn, but several are selected")
            .with_hint("call the command once for each turn"));
    }
    let mut poll = Poll::until(limit);
    let mut failed = None;
    loop {
        let mut running = Vec::new();
        for mut turn in turns {
            if !turn.is_over() {
                running.push(turn);
                continue;
            }
            turn.refresh();
            context.ui.print(&(to_line(&turn.record) + "\n"))?;
            failed = failed.or(Some(turn.record.exit_status()).filter(|status| *status != 0));
        }
        if running.is_empty() {
            return Ok(failed.unwrap_or_default());
        }
        turns = running;
        if !poll.pause() {
            turns.iter_mut().for_each(RecordedTurn::refresh);
            return Err(still_running(&turns.iter().collect::<Vec<_>>()));
        }
    }
}

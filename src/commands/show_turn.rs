//! `show-turn`: prints the record of a turn, or what a detached one has printed so far.

use crate::cli::{self, TurnFormat};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::records::record::State;
use crate::turn::selector::selected_turn;
use crate::turn::watch::{Follow, Readable, Unchanged, render_options};
use crate::ui::json::to_line;

pub(super) fn run(context: &Context, options: &cli::ShowTurn) -> Result<()> {
    let is_text = options.format == TurnFormat::Text;
    if options.color.is_some() && !is_text {
        return Err(Error::usage("--color requires --format text").with_hint("add --format text"));
    }
    let mut turn = selected_turn(context, &options.selector)?;
    if !(is_text || options.output || options.follow) {
        return context.ui.print(&(to_line(&turn.record) + "\n"));
    }
    if !turn.record.detached {
        return Err(Error::usage(format!("the turn {} has no stored output", turn.id))
            .caused_by("it was not detached, so its output went to its caller")
            .with_hint(format!("print its record with {}", turn.command("show-turn"))));
    }
    let follow = if options.follow { Follow::WhileRead } else { Follow::No };
    if is_text {
        let mut view = Readable::new(&turn, render_options(&context.ui, options.color));
        turn.copy_outputs(&context.ui, follow, &mut view)?;
    } else if turn.copy_outputs(&context.ui, follow, &mut Unchanged)? {
        turn.mark_fetched();
    }
    turn.refresh();
    if turn.record.state == State::Lost {
        context.ui.warn(&turn.lost().to_single_line());
    }
    Ok(())
}

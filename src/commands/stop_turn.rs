//! `stop-turn`: stops turns from any process, and prints their records.

use crate::cli;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::records::stop::stop;
use crate::turn::selector::selected_turns;
use crate::ui::json::to_line;

pub(super) fn run(context: &Context, options: &cli::StopTurn) -> Result<()> {
    for mut turn in selected_turns(context, &options.turn)? {
        stop(&turn.dir, &turn.id, &turn.record).map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot stop the turn {}", turn.id))
                .with_io_cause(&error)
                .with_hint(format!("check its state: {}", turn.command("show-turn")))
        })?;
        turn.refresh();
        context.ui.print(&format!("{}\n", to_line(&turn.record)))?;
    }
    Ok(())
}

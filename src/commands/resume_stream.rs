//! `resume-stream`: one more turn in a session, and the agent's events as they come.

use crate::backend::OutputMode;
use crate::cli::{self, ColorChoice, StreamFormat};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::render::RenderOptions;
use crate::turn::outcome::finish_call;
use crate::turn::resume::{CompletedTurn, ResumeCall};
use crate::ui::output_file::with_output_file;
use crate::ui::{Ui, stdout_error};

pub(super) fn run(context: &Context, options: &cli::ResumeStream) -> Result<()> {
    with_output_file(&context.ui, options.resume.output_file.as_deref(), |ui| {
        let look = look(ui, options)?;
        let partials = options.include_partials || look.is_some();
        let prints_id = look.is_none();
        let mode = OutputMode::Stream { partials };
        let turn = ResumeCall::new(context, ui, &options.resume, mode, look, prints_id)?.run()?;
        let CompletedTurn { session, lost, output, .. } = turn;
        let copied = output.copied.map_err(|error| stdout_error(&error));
        lost.map_or_else(|| finish_call(copied, &session.id), Err)
    })
}

/// How the turn is to be shown, where people are to read it.
fn look(ui: &Ui, options: &cli::ResumeStream) -> Result<Option<RenderOptions>> {
    if options.format == StreamFormat::Jsonl {
        return match options.color {
            Some(_) => {
                Err(Error::usage("--color has no meaning for the agent's events").with_hint("add --format text"))
            }
            None => Ok(None),
        };
    }
    let color = match options.color.unwrap_or_default() {
        ColorChoice::Auto => ui.shows_colors(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    Ok(Some(RenderOptions { color, width: ui.terminal_width() }))
}

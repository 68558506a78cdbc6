//! `resume-stream`: runs one turn in a session and prints the agent's events as they arrive.

use crate::backend::OutputMode;
use crate::cli::{self, ColorChoice, StreamFormat};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::render::RenderOptions;
use crate::turn::outcome::finished;
use crate::turn::resume::{CompletedTurn, resume};
use crate::ui::output_file::redirected;
use crate::ui::{stdio, stdout_error};

pub(super) fn run(context: &Context, options: &cli::ResumeStream) -> Result<()> {
    redirected(options.resume.output_file.as_deref(), || {
        let rendering = render_options(options)?;
        let partials = options.include_partials || rendering.is_some();
        let prints_id = rendering.is_none();
        let (_, done) = resume(context, &options.resume, OutputMode::Stream { partials }, rendering, prints_id)?;
        let CompletedTurn { resolved, lost, copied, .. } = done;
        let copied = copied.map_err(|error| stdout_error(&error));
        lost.map_or_else(|| finished(copied, &resolved.id), Err)
    })
}

/// Returns how to render the turn as text, or `None` for the agent's events.
fn render_options(options: &cli::ResumeStream) -> Result<Option<RenderOptions>> {
    if options.format == StreamFormat::Jsonl {
        return match options.color {
            Some(_) => Err(Error::usage("--color requires --format text").with_hint("add --format text")),
            None => Ok(None),
        };
    }
    let color = match options.color.unwrap_or_default() {
        ColorChoice::Auto => stdio::shows_colors(),
        ColorChoice::Always => true,
        ColorChoice::Never => false,
    };
    Ok(Some(RenderOptions { color, width: stdio::terminal_width() }))
}

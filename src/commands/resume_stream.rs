//! `resume-stream`: runs one turn in a session and prints the agent's events as they arrive.

use crate::backend::OutputMode;
use crate::cli::{self, StreamFormat};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::render::RenderOptions;
use crate::turn::outcome::finish_call;
use crate::turn::resume::{CompletedTurn, ResumeCall, ResumeRequest, resume_and_print};
use crate::turn::watch;
use crate::ui::output_file::with_output_file;
use crate::ui::{Ui, stdout_error};

pub(super) fn run(context: &Context, options: &cli::ResumeStream) -> Result<()> {
    if options.print_result {
        let request = ResumeRequest::of(&options.resume, OutputMode::StreamedAnswer)?;
        return resume_and_print(context, ResumeRequest { prints_id: false, ..request }, true, false);
    }
    with_output_file(&context.ui, options.resume.options.output_file.as_deref(), |ui| {
        let rendering = render_options(ui, options)?;
        let partials = options.include_partials || rendering.is_some();
        let request = ResumeRequest {
            prints_id: rendering.is_none(),
            render: rendering,
            ..ResumeRequest::of(&options.resume, OutputMode::Stream { partials })?
        };
        let turn = ResumeCall::new(context, ui, request)?.run()?;
        let CompletedTurn { session, lost, output, .. } = turn;
        let copied = output.copied.map_err(|error| stdout_error(&error));
        lost.map_or_else(|| finish_call(copied, output.rejected, &session.id), Err)
    })
}

/// Returns how to render the turn as text, or `None` for the agent's events.
fn render_options(ui: &Ui, options: &cli::ResumeStream) -> Result<Option<RenderOptions>> {
    if options.format == StreamFormat::Jsonl {
        return match options.color {
            Some(_) => Err(Error::usage("--color requires --format text").with_hint("add --format text")),
            None => Ok(None),
        };
    }
    Ok(Some(watch::render_options(ui, options.color)))
}

//! `resume-json`: one more turn in a session, and its answer as JSON.

use crate::backend::OutputMode;
use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::turn::outcome::finished;
use crate::turn::resume::{print_answer, resume};
use crate::ui::output_file::with_output_file;

pub(super) fn run(context: &Context, options: &cli::ResumeJson) -> Result<()> {
    with_output_file(&context.ui, options.resume.output_file.as_deref(), |ui| {
        let prints_id = options.print_session_id || !options.print_result;
        let (resuming, done) = resume(context, ui, &options.resume, OutputMode::Json, None, prints_id)?;
        let printed = print_answer(ui, &resuming.store, &done, options.print_result, options.print_session_id);
        done.lost.map_or_else(|| finished(printed, &done.resolved.id), Err)
    })
}

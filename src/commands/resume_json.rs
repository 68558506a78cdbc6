//! `resume-json`: runs one turn in a session and prints the answer as JSON.

use crate::backend::OutputMode;
use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::turn::outcome::finish_call;
use crate::turn::resume::ResumeCall;
use crate::ui::output_file::with_output_file;

pub(super) fn run(context: &Context, options: &cli::ResumeJson) -> Result<()> {
    with_output_file(&context.ui, options.resume.output_file.as_deref(), |ui| {
        let prints_id = options.print_session_id || !options.print_result;
        let call = ResumeCall::new(context, ui, &options.resume, OutputMode::Json, None, prints_id)?;
        let turn = call.run()?;
        let printed = turn.print(ui, &call.store, options.print_result, options.print_session_id);
        turn.lost.map_or_else(|| finish_call(printed, &turn.session.id), Err)
    })
}

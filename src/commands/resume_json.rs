//! `resume-json`: runs one turn in a session and prints the answer as JSON.

use crate::backend::OutputMode;
use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::turn::resume::{ResumeRequest, resume_and_print};

pub(super) fn run(context: &Context, options: &cli::ResumeJson) -> Result<()> {
    let request = ResumeRequest {
        prints_id: options.print_session_id || !options.print_result,
        ..ResumeRequest::of(&options.resume, OutputMode::Json)?
    };
    resume_and_print(context, request, options.print_result, options.print_session_id)
}

//! `completions`: prints a shell script that calls this program for completions. [`crate::completion::candidates`]
//! computes them.

use std::path::Path;

use crate::cli;
use crate::completion;
use crate::context::Context;
use crate::error::Result;
use crate::paths;

pub(super) fn run(context: &Context, options: &cli::Completions) -> Result<()> {
    // keep the name of the call, because the name of a symlink chooses a backend
    let name = completion::command_name(&context.program).unwrap_or("invoke-persist");
    // a program that was found on PATH is called by its name again
    let called = Path::new(&context.program);
    let program = match called.components().count() {
        0 | 1 => Path::new(name).to_owned(),
        _ if called.is_absolute() => called.to_owned(),
        _ => paths::current_dir()?.join(called),
    };
    context.ui.print(&options.shell.script(name, paths::to_text(&program)?))
}

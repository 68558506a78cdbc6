//! `completions`: prints the script that teaches a shell to ask this program what a word may become. The answers are in
//! [`crate::completion::candidates`].

use std::path::Path;

use crate::cli;
use crate::completion;
use crate::context::Context;
use crate::error::Result;
use crate::paths;

pub(super) fn run(context: &Context, options: &cli::Completions) -> Result<()> {
    // under the name it was called by: a link chooses a backend
    let name = completion::command_name(&context.program).unwrap_or("invoke-persist");
    // found on PATH it is called so again, whatever is there by then
    let called = Path::new(&context.program);
    let program = match called.components().count() {
        0 | 1 => Path::new(name).to_owned(),
        _ if called.is_absolute() => called.to_owned(),
        _ => paths::current_dir()?.join(called),
    };
    context.ui.print(&options.shell.script(name, paths::to_text(&program)?))
}

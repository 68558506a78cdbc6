//! `resolve`: prints which session a name or ID refers to. It calls no agent and writes nothing.

use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::sessions::lookup::look_up;
use crate::sessions::selector::SessionSelector;
use crate::ui::{print, print_object};

pub(super) fn run(context: &Context, options: &cli::Resolve) -> Result<()> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    let backend = context.backend(&options.place, Some(&subject))?;
    let (store, _) = context.store(backend, &options.place)?;
    let resolved = look_up(&store, &subject)?;
    if options.print_session_id {
        return print(&format!("{}\n", resolved.id));
    }
    print_object(&resolved.describe(&store, resolved.model(), resolved.effort()))
}

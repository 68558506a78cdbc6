//! `resolve`: prints which session a name or ID refers to. It calls no agent and writes nothing.

use crate::cli;
use crate::context::Context;
use crate::error::Result;
use crate::sessions::lookup::find_session;
use crate::sessions::selector::SessionSelector;

pub(super) fn run(context: &Context, options: &cli::Resolve) -> Result<()> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    let backend = context.backend(&options.place, &subject)?;
    let (store, _) = context.store(backend, &options.place)?;
    let resolved = find_session(&store, &subject)?;
    if options.print_session_id {
        return context.ui.print(&format!("{}\n", resolved.id));
    }
    if resolved.names().len() > 1 {
        context.ui.note(&format!("several names are for {}", resolved.label()));
    }
    context.ui.print_json(&resolved.describe_all(&store))
}

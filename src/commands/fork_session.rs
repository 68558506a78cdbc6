//! `fork-session`: a new session that begins with the history of another and has a name of its own. The other stays as
//! it is.

use super::call::AgentCall;
use super::create_session::{Beginning, create};
use super::hold::{hold_name, hold_session};
use super::resolve::look_up;
use super::resume::{Done, print_answer};
use super::turn::{Caller, Source};
use super::{Context, Subject, finished};
use crate::backend::Form;
use crate::cli::{self, IfBusy};
use crate::error::{Error, Kind, Result};
use crate::session::SessionName;
use crate::store::Store;

pub(super) fn run(context: &Context, options: &cli::ForkSession) -> Result<()> {
    let subject = Subject::of(&options.selector)?.required()?;
    let to = options.to.as_deref().and_then(SessionName::new);
    let to = to.ok_or_else(|| Error::usage("the new session's name is missing").hint("add --to NAME"))?;
    if subject.name.as_ref() == Some(&to) {
        return Err(
            Error::usage(format!("'{to}' is the name of the session to be forked")).hint("choose another for --to")
        );
    }
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = AgentCall::new(context, &store, &workspace, &options.call, Form::Json)?;
    store.deadline = call.deadline;
    let source = Source::of(&options.prompt, options.call.stdin)?;
    look_up(&store, &subject)?; // what is not there is told before the prompt is read
    refuse_taken(&store, &to, options.force)?;
    let request = source.read(call.deadline)?;
    let request = if call.stdin { request.with_stdin(call.deadline)? } else { request };

    let wait = options.if_busy == IfBusy::Wait;
    let _name = hold_name(&store, &to, &call, wait)?;
    // a turn that is under way would be in the fork by half
    let (history, _held) = hold_session(&store, &subject, &call, context.notes, wait)?;
    refuse_taken(&store, &to, options.force)?;
    store.prepare()?;
    let caller = Caller::new(&call, context.notes)?;
    let beginning = Beginning { name: &to, form: Form::Json, request: &request, role: None, history: Some(&history) };
    let created = create(&caller, &store, &beginning)?;
    drop(caller);
    if let Some(replaced) = &created.replaced {
        context.notes.note(&format!("'{to}' was the name of {replaced} before"));
    }
    let done = Done::created(&to, created, "forked");
    let printed = print_answer(&store, &done, options.print_result, options.print_session_id);
    finished(printed, &done.resolved.id)
}

/// Fails for a name that means something already. A mapping that cannot be read holds none; whoever writes it says so.
fn refuse_taken(store: &Store, name: &SessionName, force: bool) -> Result<()> {
    let Some(mapping) = store.read().ok().flatten().filter(|mapping| !force && mapping.contains(name)) else {
        return Ok(());
    };
    let id = mapping.get(name).map(|entry| entry.id);
    let told = id.as_ref().map(|id| format!(", {id}")).unwrap_or_default();
    Err(Error::new(Kind::SessionExists, format!("a session named '{name}' exists{told}"))
        .session_id(id)
        .hint("choose another name for --to, or overwrite it with --force"))
}

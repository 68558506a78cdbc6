//! `fork-session`: a new session that begins with the history of another and has a name of its own. The other stays as
//! it is.

use crate::backend::OutputMode;
use crate::cli::{self, IfBusy};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::session::SessionName;
use crate::sessions::lock::{lock_name, lock_session};
use crate::sessions::lookup::look_up;
use crate::sessions::selector::SessionSelector;
use crate::store::Store;
use crate::turn::options::TurnOptions;
use crate::turn::outcome::finished;
use crate::turn::prompt::PromptSource;
use crate::turn::resume::{CompletedTurn, print_answer};
use crate::turn::runner::TurnRunner;
use crate::turn::start::{NewSession, start_session};

pub(super) fn run(context: &Context, options: &cli::ForkSession) -> Result<()> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    let to = options.to.as_deref().and_then(SessionName::new);
    let to = to.ok_or_else(|| Error::usage("the new session's name is missing").with_hint("add --to NAME"))?;
    if subject.name.as_ref() == Some(&to) {
        return Err(Error::usage(format!("'{to}' is the name of the session to be forked"))
            .with_hint("choose another for --to"));
    }
    let backend = context.backend(&options.place, Some(&subject))?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let call = TurnOptions::new(context, &store, &workspace, &options.call, OutputMode::Json)?;
    store.deadline = call.deadline;
    let source = PromptSource::of(&options.prompt, options.call.stdin)?;
    look_up(&store, &subject)?; // what is not there is told before the prompt is read
    refuse_taken(&store, &to, options.force)?;
    let request = source.read(call.deadline)?;
    let request = if call.stdin { request.with_stdin(call.deadline)? } else { request };

    let wait = options.if_busy == IfBusy::Wait;
    let _name = lock_name(&store, &to, wait)?;
    // a turn that is under way would be in the fork by half
    let (history, _held) = lock_session(&store, &subject, |id| call.session_key(id), context.notes, wait)?;
    refuse_taken(&store, &to, options.force)?;
    store.prepare()?;
    let caller = TurnRunner::new(&call, context.notes)?;
    let beginning =
        NewSession { name: &to, form: OutputMode::Json, request: &request, role: None, history: Some(&history) };
    let created = start_session(&caller, &store, &beginning)?;
    drop(caller);
    if let Some(replaced) = &created.replaced {
        context.notes.note(&format!("'{to}' was the name of {replaced} before"));
    }
    let done = CompletedTurn::created(&to, created, "forked");
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
    Err(Error::new(ErrorKind::SessionExists, format!("a session named '{name}' exists{told}"))
        .with_session_id(id)
        .with_hint("choose another name for --to, or overwrite it with --force"))
}

//! `fork-session`: starts a new session from the history of another, under its own name. The original is unchanged.

use crate::backend::OutputMode;
use crate::cli::{self, IfBusy};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::session::SessionName;
use crate::sessions::conflict::name_taken;
use crate::sessions::lock::{lock_name, lock_session};
use crate::sessions::lookup::find_session;
use crate::sessions::selector::SessionSelector;
use crate::store::Store;
use crate::turn::files_in_use::FilesInUse;
use crate::turn::options::TurnOptions;
use crate::turn::outcome::finish_call;
use crate::turn::prompt::PromptSource;
use crate::turn::resume::CompletedTurn;
use crate::turn::runner::TurnRunner;
use crate::turn::start::{NewSession, start_session};

pub(super) fn run(context: &Context, options: &cli::ForkSession) -> Result<()> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    let to = options.to.as_deref().and_then(SessionName::new);
    let to = to.ok_or_else(|| Error::usage("the new session's name is missing").with_hint("add --to NEW"))?;
    if subject.name.as_ref() == Some(&to) {
        return Err(Error::usage(format!("'{to}' is the name of the session to fork"))
            .with_hint("choose another name for --to"));
    }
    let backend = context.backend(&options.place, &subject)?;
    let (mut store, workspace) = context.store(backend, &options.place)?;
    let found = find_session(&store.silenced(), &subject).ok(); // a missing session is reported later
    let (forgets, mode) = (options.forget.forget_settings, OutputMode::Json);
    let call = TurnOptions::new(context, &store, &workspace, &options.call, mode, found.as_ref(), forgets)?;
    store.deadline = call.deadline;
    let prompt_file = ("the prompt file", options.prompt.prompt_file.as_deref());
    FilesInUse::of(&call, &[prompt_file]).refuse_summary(&options.call, &store)?;
    let source = PromptSource::of(&options.prompt, options.call.stdin)?;
    find_session(&store, &subject)?; // report a missing session before reading the prompt
    refuse_taken(&store, &to, options.force)?;
    call.check_agent(&context.ui)?;
    let prompt = source.read(call.deadline)?;
    let prompt = if call.stdin { prompt.with_stdin(call.deadline)? } else { prompt };

    store.prepare()?; // before a wait, and again after it
    call.recorder.update(|turn| turn.set_session(Some(&to), None));
    call.open_record(&workspace.resolved, &prompt.bytes, &context.ui)?;
    let wait = options.if_busy == IfBusy::Wait;
    let _name = lock_name(&store, &to, wait, &call.recorder, || Ok(()))?;
    let accept = || call.accept(&context.ui);
    // a running turn would be half in the fork
    let (history, _held) =
        lock_session(&store, &subject, |id| call.session_key(id), &context.ui, wait, &call.recorder, accept)?;
    refuse_taken(&store, &to, options.force)?;
    store.prepare()?;
    let role = history.role(&store)?;
    let caller = TurnRunner::new(&call, &context.ui)?;
    let beginning = NewSession {
        name: &to,
        mode: OutputMode::Json,
        prompt: &prompt,
        role: role.as_deref(),
        history: Some(&history),
        overwrites: options.force,
    };
    let created = start_session(caller, &store, &beginning)?;
    created.note_replaced(&context.ui, &to);
    let done = CompletedTurn::created(&to, created, "forked");
    let printed = done.print(&context.ui, &store, options.print_result, options.print_session_id);
    finish_call(printed, done.output.rejected, &done.session.id)
}

/// Fails if the name is taken. An unreadable mapping counts as empty here, because a later write reports the error.
fn refuse_taken(store: &Store, name: &SessionName, force: bool) -> Result<()> {
    let Some(mapping) = store.read().ok().flatten().filter(|mapping| !force && mapping.contains(name)) else {
        return Ok(());
    };
    let id = mapping.get(name).map(|entry| entry.id);
    Err(name_taken(store.backend, name, id)
        .with_hint("choose another name for --to, or replace the session with --force"))
}

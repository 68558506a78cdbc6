//! `open-session`: runs the agent's interactive program in a session, at the caller's terminal.

use std::io::{self, IsTerminal};

use crate::backend::{InteractiveInvocation, Role};
use crate::cli::{self, IfBusy};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::process::foreground;
use crate::sessions::lock::lock_session;
use crate::sessions::lookup::find_session;
use crate::sessions::selector::SessionSelector;
use crate::sessions::settings;
use crate::turn::options::TurnOptions;
use crate::turn::outcome::not_started;
use crate::turn::runner::{describe_arguments, role_file};
use crate::turn::scratch_dir::ScratchDir;

/// Returns the agent's exit status.
pub(super) fn run(context: &Context, options: &cli::OpenSession) -> Result<i32> {
    let subject = SessionSelector::of(&options.selector)?.required()?;
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(Error::usage("standard input and output are not a terminal, which an interactive agent needs")
            .with_hint("run one turn with invoke-persist ask NAME PROMPT"));
    }
    let backend = context.backend(&options.place, &subject)?;
    let (store, workspace) = context.store(backend, &options.place)?;
    let session = find_session(&store, &subject)?;
    let forgets = options.forget.forget_settings;
    let stored = if forgets { None } else { settings::stored(&store, &session)? };
    let stored = stored.map(|stored| settings::for_interactive(backend, stored));
    let call = TurnOptions::without_limits(&store, &workspace, &options.settings, stored.as_ref(), None)?;
    let call = TurnOptions { forgets, ..call };
    let program = call.agent.program(call.dir.as_deref())?;
    let wait = options.if_busy == IfBusy::Wait;
    let (session, lock) =
        lock_session(&store, &subject, |id| call.session_key(id), &context.ui, wait, &call.recorder, || Ok(()))?;
    let in_force = call.model_and_effort(Some(&session));
    let role = session.role(&store)?;
    let dir = ScratchDir::default();
    let role_file = role_file(&call.agent, &program, role.as_deref(), &dir)?;
    let arguments = (backend.spec().interactive_arguments)(&InteractiveInvocation {
        session: &session.id,
        role: role.as_deref().map(|role| role_file.as_deref().map_or(Role::Text(role), Role::File)),
        model: in_force.model,
        effort: in_force.effort,
        args: &call.args,
        extra: &call.extra,
    });
    let mut command = std::process::Command::new(&program);
    command.args(call.agent.launcher.arguments(arguments)?);
    command.envs(call.variables(&[call.session_key(&session.id).handed_down()]));
    for name in backend.spec().removed_env {
        command.env_remove(name);
    }
    if let Some(dir) = &call.dir {
        command.current_dir(dir);
    }
    context
        .ui
        .log(|| format!("starting {} {} at the terminal", program.display(), describe_arguments(command.get_args())));
    let agent = foreground::Foreground::new()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot handle signals").with_io_cause(&error))?;
    agent.run(command, || lock.share_with_children()).map_err(|error| not_started(&program, &error))
}

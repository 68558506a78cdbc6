//! `--detach`: runs the turn in a separate process, which outlives the call.
//!
//! That process is this program with the same arguments. It reports to the call that the turn is accepted, or fails like
//! the call without `--detach`. It is not a daemon: it ends with its turn.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::first_process::{self, FirstProcess};
use crate::backend::{Backend, SandboxMark};
use crate::cli;
use crate::context::Context;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::records::record::Record;
use crate::records::recorder::ACCEPTED;
use crate::sessions::lock::interrupted;
use crate::ui::shell;

const CANNOT_DETACH: &str = "cannot detach the turn";

/// Starts the turn of `command` in a separate process. Returns when the turn is accepted, and prints its record.
///
/// If the process ends before that, it has reported why. Then returns its exit status.
///
/// # Errors
///
/// [`ErrorKind::Io`] if the process cannot be started or would end with this call, and the errors of printing.
pub(crate) fn launch(context: &Context, command: &cli::Command, options: &cli::DetachArgs) -> Result<i32> {
    check_first_process(context)?;
    let failed = |error: io::Error| Error::new(ErrorKind::Io, CANNOT_DETACH).with_io_cause(&error);
    let mut child = start(context, command.name()).map_err(failed)?;
    let mut report = Vec::new();
    child.stdout.take().expect("standard output is piped").read_to_end(&mut report).map_err(failed)?;
    let Some(line) = report.strip_prefix(ACCEPTED.as_bytes()) else {
        let status = child.wait().map_err(failed)?;
        context.ui.print_bytes(&report)?;
        return status.code().ok_or_else(|| interrupted(signal(status), "before the turn was accepted"));
    };
    let record: Record = serde_json::from_slice(line).map_err(|error| failed(error.into()))?;
    let id = record.turn_id.unwrap_or_default();
    let printed =
        if options.print_turn_id { context.ui.print(&format!("{id}\n")) } else { context.ui.print_bytes(line) };
    // a caller that repeated the call would send the prompt twice
    printed.map(|()| 0).map_err(|error| {
        let place = record.workspace_dir.map(|dir| format!(" {}", shell::quote(&format!("--workspace-dir={dir}"))));
        let line = format!("invoke-persist wait-turn --turn-id {id}{}", place.unwrap_or_default());
        error.with_turn_started().with_hint(format!("the turn was accepted; to wait for it, run: {line}"))
    })
}

/// Refuses a turn that would end with this call, because it cannot leave its container or sandbox.
fn check_first_process(context: &Context) -> Result<()> {
    let Some(first) = first_process::find() else { return Ok(()) };
    let refused = |why: String| Error::new(ErrorKind::Io, CANNOT_DETACH).caused_by(why);
    let is_sandbox = |backend: &Backend| match backend.spec().command_sandbox.mark {
        SandboxMark::Program(name) => first == FirstProcess::Ancestor(name.to_owned()),
        SandboxMark::Variable(name) => env::var_os(name).is_some(),
    };
    if let Some(agent) = Backend::ALL.into_iter().find(is_sandbox) {
        let hint = format!("{}, or call without --detach", agent.spec().command_sandbox.way_out);
        return Err(
            refused(format!("the sandbox of {agent} ends all processes of a command together with it")).with_hint(hint)
        );
    }
    match first {
        FirstProcess::Own => {
            Err(refused("this call is the first process of its container, which ends with it".to_owned())
                .with_hint("call without --detach, or from a process that keeps the container"))
        }
        FirstProcess::Ancestor(name) => {
            // a job in a container is such a call too, and its container usually runs for long enough
            context.ui.log(|| format!("the turn ends with '{name}', the first process of this container or sandbox"));
            Ok(())
        }
    }
}

/// Starts this program again. The arguments do not reach its command line, because a prompt is not for the process list.
#[cfg(unix)]
fn start(context: &Context, name: &str) -> io::Result<Child> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::process::CommandExt;

    let (inherited, mut arguments) = io::pipe()?;
    let mut command = command(&[name.into(), "--detach".into()], &inherited.as_raw_fd().to_string())?;
    command.arg0(&context.program);
    crate::sys::start_detached(&mut command, inherited.into());
    let child = command.spawn()?;
    drop(command); // closes this process's end of the pipe
    for argument in std::env::args_os().skip(1) {
        arguments.write_all(argument.as_bytes())?;
        arguments.write_all(&[0])?;
    }
    Ok(child)
}

/// Starts this program again with the same arguments, outside of the caller's job if the job allows that.
#[cfg(windows)]
fn start(context: &Context, _name: &str) -> io::Result<Child> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    crate::sys::disinherit_standard_handles(); // a reader of this call's output would wait until the turn ends
    let start = |leaves_job| {
        let mut command = command(&arguments, "1")?;
        crate::sys::start_detached(&mut command, leaves_job);
        command.spawn()
    };
    start(true).or_else(|error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        context.ui.warn_always("the turn ends with the job of its caller, which its processes cannot leave");
        start(false)
    })
}

fn command(arguments: &[OsString], marker: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdout(Stdio::piped()).env(env::DETACHED, marker);
    // it does not run inside a turn of the caller, because the caller does not wait for it
    command.env_remove(env::HELD_LOCKS);
    Ok(command)
}

/// Returns the arguments and a marker if this is the process of a detached turn, else `None`.
///
/// # Errors
///
/// A usage error if the variable was set by another program.
pub(crate) fn arguments() -> Option<Result<Vec<OsString>>> {
    let marker = env::var_os(env::DETACHED)?;
    Some(read_arguments(&marker).ok_or_else(|| {
        Error::usage(format!("the variable {} is only for this program itself", env::DETACHED)).with_hint("unset it")
    }))
}

#[cfg(unix)]
fn read_arguments(marker: &std::ffi::OsStr) -> Option<Vec<OsString>> {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    crate::sys::inherited_pipe(marker.to_str()?.parse().ok()?)?.read_to_end(&mut bytes).ok()?;
    let arguments =
        bytes.split_inclusive(|&byte| byte == 0).map(|argument| argument.strip_suffix(&[0]).map(<[u8]>::to_vec));
    arguments.map(|argument| argument.map(OsString::from_vec)).collect()
}

#[cfg(windows)]
fn read_arguments(marker: &std::ffi::OsStr) -> Option<Vec<OsString>> {
    (marker == "1").then(|| std::env::args_os().skip(1).collect())
}

/// Returns the signal that ended a process.
#[cfg(unix)]
fn signal(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.signal().unwrap_or_default()
}

/// Returns 0, because processes do not end by signals on Windows.
#[cfg(windows)]
fn signal(_status: ExitStatus) -> i32 {
    0
}

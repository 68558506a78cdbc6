//! Windows: handles that agents must not inherit, and no umask.
#![expect(unsafe_code, reason = "no safe call changes whether a handle is inherited, or replaces a standard handle")]

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle, RawHandle};
use std::os::windows::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle,
};
use windows_sys::Win32::System::Threading::{CREATE_BREAKAWAY_FROM_JOB, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS};

/// Does nothing, because Windows has no umask and the temp directory is private to its user.
pub(crate) fn keep_files_private() {}

/// Runs `work`, because Windows has no umask.
pub(crate) fn with_callers_umask<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Makes the standard handles of this process uninheritable.
///
/// A new process inherits every inheritable handle, and these were inherited too. A server that a turn leaves running
/// would keep the output open. A reader that waits for the end of the output would then wait for the server. The
/// agent's own pipes are not affected.
pub(crate) fn disinherit_standard_handles() {
    let handles: [RawHandle; 3] =
        [io::stdin().as_raw_handle(), io::stdout().as_raw_handle(), io::stderr().as_raw_handle()];
    for handle in handles {
        // SAFETY: the call only reads the handle's value, and fails if it is closed or invalid
        unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
    }
}

/// Makes the program start in a new process group, without a console. `leaves_job` means that it leaves the job
/// of this process, which the job may forbid.
pub(crate) fn start_detached(command: &mut Command, leaves_job: bool) {
    let job = if leaves_job { CREATE_BREAKAWAY_FROM_JOB } else { 0 };
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | job);
}

/// Does nothing, because processes do not end with their parents on Windows.
pub(crate) fn outlive_parent() {}

/// Replaces the standard streams of this process and closes the old ones. Standard input is empty from now on.
///
/// A reader of an old stream would otherwise wait until this process ends.
pub(crate) fn replace_standard_streams(stdout: &File, stderr: &File) -> io::Result<()> {
    let replaced = [
        (STD_INPUT_HANDLE, File::open("NUL")?),
        (STD_OUTPUT_HANDLE, stdout.try_clone()?),
        (STD_ERROR_HANDLE, stderr.try_clone()?),
    ];
    for (stream, file) in replaced {
        // SAFETY: the call only returns the handle's value
        let old = unsafe { GetStdHandle(stream) };
        // SAFETY: the handle is open, and from now on it belongs to the stream
        if unsafe { SetStdHandle(stream, file.into_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        if !old.is_null() && old != INVALID_HANDLE_VALUE {
            // SAFETY: the process that started this one made a handle for each stream, and nothing else refers to it
            drop(unsafe { OwnedHandle::from_raw_handle(old) });
        }
    }
    Ok(())
}

/// Does nothing, because opening a file does not block on Windows.
pub(crate) fn without_blocking(_options: &mut std::fs::OpenOptions) {}

/// Retries while Windows reports that another process has the file open, for example a virus scanner.
///
/// A missing permission gives the same error, so retries end after two seconds.
pub(crate) fn retry_while_open<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    /// `ERROR_SHARING_VIOLATION`, for which the standard library has no name.
    const SHARING_VIOLATION: i32 = 32;
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error)
                if (error.kind() == io::ErrorKind::PermissionDenied
                    || error.raw_os_error() == Some(SHARING_VIOLATION))
                    && started.elapsed() < TIMEOUT =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::windows::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn file_that_another_reader_has_opened_is_replaced_later() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        fs::write(&old, "old").unwrap();
        fs::write(&new, "new").unwrap();
        let mut unshared = Some(fs::OpenOptions::new().read(true).share_mode(0).open(&old).unwrap());
        let mut attempts = 0;
        retry_while_open(|| {
            attempts += 1;
            let replaced = fs::rename(&new, &old);
            assert_eq!(replaced.is_ok(), attempts > 1);
            unshared = None;
            replaced
        })
        .unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "new");
    }
}

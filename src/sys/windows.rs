//! Windows: handles that agents must not inherit, and no umask.
#![expect(unsafe_code, reason = "no safe call changes whether a handle is inherited")]

use std::io;
use std::os::windows::io::{AsRawHandle, RawHandle};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

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

/// Does nothing, because opening a file does not block on Windows.
pub(crate) fn without_blocking(_options: &mut std::fs::OpenOptions) {}

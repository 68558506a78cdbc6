//! Handles that agents must not inherit.
#![expect(unsafe_code, reason = "whether a handle is inherited has no safe call")]

use std::io;
use std::os::windows::io::{AsRawHandle, RawHandle};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

/// Keeps our standard handles from the agent. A program that is started inherits every handle that can be inherited, and
/// ours came to us that way: a server that a turn leaves running would hold our output open, and whoever reads that to
/// its end would wait for the server. The agent's own pipes are not touched.
pub(crate) fn keep_standard_handles() {
    let handles: [RawHandle; 3] =
        [io::stdin().as_raw_handle(), io::stdout().as_raw_handle(), io::stderr().as_raw_handle()];
    for handle in handles {
        // SAFETY: the call only reads the handle's value, and fails for one that is closed or was never there
        unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
    }
}

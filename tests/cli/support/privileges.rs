//! Restricts programs by file permissions even if the tests run as root.

/// Calls `run` in such a way that permissions restrict the programs it starts, even if root runs the tests.
///
/// The programs still run as root and own its files, but cannot override permissions. The restriction applies to the
/// thread that starts them, so a separate thread keeps it away from other tests.
#[track_caller]
pub(crate) fn bound_by_permissions<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            give_up_privileges();
            run()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(target_os = "linux")]
fn give_up_privileges() {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

    if rustix::process::geteuid().is_root() {
        for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
            remove_capability_from_bounding_set(capability).expect("root may drop its capabilities");
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn give_up_privileges() {
    assert!(!rustix::process::geteuid().is_root(), "root can drop its capabilities only on Linux: run as another user");
}

//! The first process of a container or sandbox. On Linux its end ends all processes of its PID namespace, which they
//! cannot leave.

/// The first process of the PID namespace of this process.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has PID namespaces"))]
pub(super) enum FirstProcess {
    /// This process.
    Own,
    /// An ancestor of this process, with this program.
    Ancestor(String),
}

/// Returns the first process of this process's namespace. Returns `None` if that is the system's init, or a process that
/// did not start this one, as for `docker exec`.
#[cfg(target_os = "linux")]
pub(super) fn find() -> Option<FirstProcess> {
    use std::fs;
    use std::path::Path;

    /// The namespace of the machine always has this number, which the kernel calls `PROC_PID_INIT_INO`.
    const OF_MACHINE: &str = "pid:[4026531836]";
    if fs::read_link("/proc/self/ns/pid").ok()? == Path::new(OF_MACHINE) {
        return None;
    }
    if std::process::id() == 1 {
        return Some(FirstProcess::Own);
    }
    // /proc may belong to an outer namespace, so the number of the first process is not always 1 there
    let depth = process_ids("self")?.len();
    let is_first = |pid: &String| process_ids(pid).is_some_and(|ids| ids.len() == depth && ids[depth - 1] == 1);
    let first = crate::lock::ancestors().iter().map(u32::to_string).find(is_first)?;
    let arguments = fs::read(format!("/proc/{first}/cmdline")).unwrap_or_default();
    let program = arguments.split(|&byte| byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    Some(FirstProcess::Ancestor(name.trim_start_matches('-').to_owned())) // a login shell begins with a dash
}

/// Returns the IDs of a process in the namespace of `/proc` and in all inner ones (`proc_pid_status(5)`).
#[cfg(target_os = "linux")]
fn process_ids(pid: &str) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let ids: Vec<u32> = ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect();
    (!ids.is_empty()).then_some(ids)
}

/// Returns `None`, because only Linux has PID namespaces.
#[cfg(not(target_os = "linux"))]
pub(super) fn find() -> Option<FirstProcess> {
    None
}

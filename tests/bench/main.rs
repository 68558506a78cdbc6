//! Speed and memory as ratios against something else in the same run: `cargo bench`. Machines are shared and noisy, so no
//! absolute time means anything; of several runs the fastest counts on both sides. Linux only: memory is read in `/proc`.
//!
//! Memory is the peak that the process itself had (`VmHWM`). What `wait4` tells of a child holds its parent's peak too.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the benchmark reads /proc, which is Linux's");
}

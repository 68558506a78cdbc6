//! Benchmarks of speed and memory: `cargo bench`. Linux only, because memory is read in `/proc`.
//!
//! Machines are shared and noisy, so times are ratios to another program in the same run. The fastest of several runs
//! counts on both sides.
//!
//! Memory is the peak of the process itself (`VmHWM`). The value from `wait4` would include the peak of the parent.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the benchmark needs /proc, which only Linux has");
}

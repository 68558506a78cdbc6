//! The tests of the program as a user meets it: through its arguments, its outputs and its files. A module per feature.

mod account;
mod backend_choice;
mod bad_input;
#[cfg(target_os = "linux")] // pipes that do not block are made in another way elsewhere
mod blocked_outputs;
mod busy_sessions;
mod codex_shells;
mod completions;
mod conformance;
#[cfg(unix)] // KILL is Unix's
mod crashes;
mod demo;
mod doctor;
mod forks;
mod from_the_scripts;
mod hostile_places;
mod layers;
mod lists;
#[cfg(target_os = "linux")] // processes above a call, and mount namespaces
mod locks;
mod log;
mod man_pages;
mod many_writers;
mod mapping_file;
mod names;
mod odd_output;
mod output_file;
mod path_parity;
mod processes;
mod prompts;
mod readme;
mod session_ids;
mod settings;
mod signals;
mod skills;
mod skills_at_once;
mod support;
mod verdicts;

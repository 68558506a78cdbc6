//! Tests of the program through its arguments, its outputs and its files. One module per feature.

mod agents_workflow;
mod ask;
mod backend_choice;
mod bad_input;
#[cfg(target_os = "linux")] // other systems create nonblocking pipes in another way
mod blocked_outputs;
mod busy_sessions;
mod causes;
mod codex_shells;
mod completions;
mod concurrent_skills;
mod conformance;
mod corrections;
#[cfg(unix)] // KILL is a Unix signal
mod crashes;
mod demo;
mod detached_turns;
mod doctor;
mod echo_scripts;
mod first_turns;
mod forks;
mod good_turns;
mod help;
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
mod old_releases;
mod open_session;
mod original_calls;
mod output_file;
mod path_parity;
mod print_result;
mod processes;
mod prompts;
mod queues;
mod readme;
mod retries;
mod roles;
mod schemas;
mod session_ids;
mod settings;
mod signals;
mod skills;
mod stored_settings;
mod summaries;
mod support;
#[cfg(target_os = "linux")] // other systems open the user side of a terminal in other ways
mod terminals;
mod text_format;
mod turns;
mod verdicts;

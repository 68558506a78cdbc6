//! Tests of the program with the published `claude` and `codex` instead of stand-ins.
//!
//! They verify the assumptions in the stand-ins. The agents run unmodified, but without an account. Their model is
//! [`model_api`] on loopback, and they read and write only files in the [`world`] of one test.
//!
//! They need an installation of 800 MB, so `cargo test` does not run them by default:
//!
//! ```text
//! tests/real_agents/install.sh DIR
//! INVOKE_PERSIST_TEST_AGENTS=DIR cargo test --test real_agents -- --ignored
//! ```
#![cfg(unix)] // install.sh and the links in a test's world
#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "cases that only Linux has use the rest"))]

mod agents;
mod call;
mod model_api;
mod processes;
mod world;

#[allow(dead_code, reason = "these tests use only a part of it")]
#[path = "../cli/support"]
mod shared {
    pub(crate) mod outcome;
    pub(crate) mod running;
    #[cfg(target_os = "linux")]
    pub(crate) mod screen;
    #[cfg(target_os = "linux")]
    pub(crate) mod terminal;
    pub(crate) mod wait;
}

#[path = "../../src/backend/codex/exec_options.rs"]
mod exec_options;

/// Declares tests from functions with a [`world::World`]: one for each agent, or for the named agent.
///
/// Tests of `every_release` also pass with the oldest supported releases. The filter `every_release` selects them.
///
/// All tests of this crate are declared here, so that all are ignored by default.
macro_rules! real_agent_tests {
    (every_release both: $($case:ident),+ $(,)?) => {
        mod every_release {
            use super::{$($case),+};
            real_agent_tests! { both: $($case),+ }
        }
    };
    (both: $($case:ident),+ $(,)?) => {
        $(mod $case {
            real_agent_tests!(@test claude, $case, Claude);
            real_agent_tests!(@test codex, $case, Codex);
        })+
    };
    (claude: $($case:ident),+ $(,)?) => {
        $(mod $case { real_agent_tests!(@test claude, $case, Claude); })+
    };
    (codex: $($case:ident),+ $(,)?) => {
        $(mod $case { real_agent_tests!(@test codex, $case, Codex); })+
    };
    (@test $name:ident, $case:ident, $agent:ident) => {
        #[test]
        #[ignore = "needs the real agents: see the top of tests/real_agents/main.rs"]
        fn $name() {
            super::$case(&crate::world::World::new(crate::agents::Agent::$agent));
        }
    };
}

mod cases {
    mod causes;
    mod deadlines;
    #[cfg(target_os = "linux")] // the process list
    mod detached;
    mod doctor;
    mod every_release;
    mod failures;
    mod first_turns;
    mod good_turns;
    mod inputs;
    mod memory;
    mod nesting;
    mod options;
    #[cfg(target_os = "linux")] // the terminal
    mod picture;
    mod quick_start;
    mod schemas;
    mod settings;
    mod skills;
    mod stored_settings;
    mod streams;
    mod summaries;
}

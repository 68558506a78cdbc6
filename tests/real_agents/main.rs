//! The program against the agents themselves: the published `claude` and `codex`, not stand-ins.
//!
//! What a stand-in does is what we believe; these tests find out whether it is so. The agents run whole, without an
//! account: the model they talk to is [`model_api`], on loopback, and everything they read and write lies in the
//! [`world`] of one test.
//!
//! They need an installation of 800 MB, so plain `cargo test` leaves them out:
//!
//! ```text
//! tests/real_agents/install.sh DIR
//! INVOKE_PERSIST_TEST_AGENTS=DIR cargo test --test real_agents -- --ignored
//! ```
#![cfg(unix)] // install.sh and the links in a test's world

mod agents;
mod call;
mod model_api;
mod processes;
mod world;

#[allow(dead_code, reason = "the other tests use all of it")]
#[path = "../cli/support"]
mod shared {
    pub(crate) mod outcome;
    pub(crate) mod running;
    pub(crate) mod wait;
}

/// Makes tests of functions that take a [`world::World`]: one for each agent, or for the one that is named.
///
/// The only place where a test of this crate is declared, so that none can forget to be ignored.
macro_rules! real_agent_tests {
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
    mod deadlines;
    mod doctor;
    mod failures;
    mod inputs;
    mod memory;
    mod nesting;
    mod settings;
    mod skills;
    mod streams;
}

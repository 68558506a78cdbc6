//! `stand-in-agent`: replaces `claude`, `codex` or a wrapper around them in the tests.
//!
//! The tests link it under those names into a directory that is first on PATH. Its plan (see [`plan`]) and its record
//! (see [`record`]) are in the directory of the name that was called. Their location is not in the environment, because
//! the agent's environment is itself under test.
//!
//! It does not imitate claude or codex: every answer comes from the plan.

mod journal;
mod output;
mod plan;
mod player;
mod record;
mod signals;

use std::env;

use player::{Player, SCENE_OPTION};

fn main() {
    let program = env::current_exe().expect("the path of a running program is known");
    let mut argv: Vec<_> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if argv.first().is_some_and(|first| first == SCENE_OPTION) {
        let rest = argv.split_off(2);
        let scene = serde_json::from_str(&argv[1]).expect("only the stand-in itself passes scenes");
        Player::continue_scene(program, rest, scene)
    } else {
        Player::answer_call(program, argv)
    }
}

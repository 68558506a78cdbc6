//! `stand-in-agent`: plays `claude`, `codex` or a wrapper around them in the tests.
//!
//! The tests link it under those names into a directory that is first on PATH. It finds its plan (see [`plan`]) and
//! keeps its record (see [`record`]) beside itself, in the directory of the name it was called under, and never asks
//! the environment for them: what reaches an agent's environment is itself under test.
//!
//! It knows nothing of what claude and codex would do. Every answer comes from the plan.

mod journal;
mod output;
mod plan;
mod player;
mod record;
mod signals;

use std::env;

use player::{Player, SCENE_OPTION};

fn main() {
    let program = env::current_exe().expect("the system tells the path of a running program");
    let mut argv: Vec<_> = env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if argv.first().is_some_and(|first| first == SCENE_OPTION) {
        let rest = argv.split_off(2);
        let scene = serde_json::from_str(&argv[1]).expect("only the stand-in itself hands on scenes");
        Player::continue_scene(program, rest, scene)
    } else {
        Player::answer_call(program, argv)
    }
}

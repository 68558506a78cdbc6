//! Records of turns. Each turn of a workspace has a file, and a lock that shows whether its process is alive.
//!
//! A record never fails or delays a turn: if it cannot be written, the turn runs without one.

pub(crate) mod dir;
mod live;
pub(crate) mod record;
pub(crate) mod recorder;
pub(crate) mod stop;

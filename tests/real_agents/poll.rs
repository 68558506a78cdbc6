//! Waiting for something that nobody announces.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to look away between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to see, or the limit has passed.
pub(crate) fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(STEP);
    }
}

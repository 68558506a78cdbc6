//! Defers a signal that arrives after a turn is done.
//!
//! The answer still has to be printed and the session saved, so the first such signal is kept until then. A second one
//! ends the program immediately.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The signal that is kept. [`NONE`] means that none has arrived. [`USUAL`] means that signals are not kept.
static KEPT: AtomicI32 = AtomicI32::new(USUAL);

/// Wakes the threads that wait for a signal.
static CHANGE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

const NONE: i32 = 0;
const USUAL: i32 = -1;

/// Keeps the next signal.
pub(crate) fn hold() {
    KEPT.store(NONE, Ordering::SeqCst);
}

/// Returns whether the next signal is kept.
pub(crate) fn is_held() -> bool {
    KEPT.load(Ordering::SeqCst) != USUAL
}

/// Returns the signal that was kept.
pub(crate) fn get() -> Option<i32> {
    Some(KEPT.load(Ordering::SeqCst)).filter(|signal| *signal > NONE)
}

/// Restores the usual meaning of signals. The rest of the program may be interrupted.
pub(crate) fn release() {
    KEPT.store(USUAL, Ordering::SeqCst);
}

/// Keeps `signal`. Returns false if it must have its usual effect instead.
pub(crate) fn receive(signal: i32) -> bool {
    let received = KEPT.compare_exchange(NONE, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    drop(CHANGE.0.lock()); // a waiter either waits already, or has not read the signal yet
    CHANGE.1.notify_all();
    received
}

/// Waits for `pause`, or until a signal arrives that is kept.
pub(crate) fn pause(pause: Duration) {
    if get().is_some() {
        return thread::sleep(pause);
    }
    let guard = CHANGE.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(CHANGE.1.wait_timeout_while(guard, pause, |()| get().is_none()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_signal_only_while_held() {
        assert!(!receive(15));
        hold();
        assert!(is_held() && get().is_none());
        assert!(receive(15) && !receive(2));
        assert_eq!(get(), Some(15));
        release();
        assert!(!is_held() && get().is_none() && !receive(15));
    }
}

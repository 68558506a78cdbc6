//! Defers a signal that arrives after a turn is done.
//!
//! The answer still has to be printed and the session saved, so the first such signal is kept until then. A second one
//! ends the program immediately.

use std::sync::atomic::{AtomicI32, Ordering};

/// The signal that is kept. [`NONE`] means that none has arrived. [`USUAL`] means that signals are not kept.
static KEPT: AtomicI32 = AtomicI32::new(USUAL);

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
    KEPT.compare_exchange(NONE, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok()
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

//! Random numbers for tests that depend on the order of events.

use std::ops::{Deref, DerefMut};

use fastrand::Rng;

/// A generator with a new seed in every run, which it prints if the test fails.
pub(crate) struct Random {
    seed: u64,
    rng: Rng,
}

impl Random {
    pub(crate) fn new() -> Self {
        Self::from_seed(fastrand::u64(..))
    }

    /// Returns the generator of a failed run, so that the run can be repeated.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { seed, rng: Rng::with_seed(seed) }
    }
}

impl Deref for Random {
    type Target = Rng;

    fn deref(&self) -> &Rng {
        &self.rng
    }
}

impl DerefMut for Random {
    fn deref_mut(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {0:#x}: `Random::from_seed({0:#x})` repeats this run", self.seed);
        }
    }
}

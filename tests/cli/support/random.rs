//! Chance, for tests that look for what only some order of events brings out.

use std::time::UNIX_EPOCH;

/// A generator (xorshift64*) that begins elsewhere in every run, and tells where when the test fails.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new() -> Self {
        let now = UNIX_EPOCH.elapsed().expect("the clock is set");
        Self::from_seed(now.as_secs() ^ (u64::from(now.subsec_nanos()) << 32))
    }

    pub(crate) fn from_seed(seed: u64) -> Self {
        Self { seed, state: seed | 1 } // from 0 it would never come away
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("a length");
        usize::try_from(self.next() % end).expect("less than a length")
    }

    /// A number from 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "32 bits fit")]
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 32) as f64 / f64::from(u32::MAX)
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.below(end));
        }
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {:#x}: Random::from_seed plays it again", self.seed);
        }
    }
}

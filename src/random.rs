//! Chance, from the keys that the standard library's hash maps get from the system. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// A number that nobody can foresee.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Sixteen hexadecimal digits that no other process comes to.
pub(crate) fn digits() -> String {
    format!("{:016x}", number())
}

/// What this process calls itself: unlike its number, no process on any machine has the same, now or later.
pub(crate) fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| digits() + &digits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_differ_each_time_and_the_token_does_not() {
        assert_ne!(digits(), digits());
        assert_eq!((token(), token().len()), (token(), 32));
    }
}

//! Random numbers, from the random keys of the standard library's hash maps. They must not be used for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// Returns a random number.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns sixteen random hexadecimal digits.
pub(crate) fn digits() -> String {
    format!("{:016x}", number())
}

/// Returns the token of this process. Unlike a process ID it is unique on all machines and never reused.
pub(crate) fn token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| digits() + &digits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_change_but_the_token_does_not() {
        assert_ne!(digits(), digits());
        assert_eq!((token(), token().len()), (token(), 32));
    }
}

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

/// Returns a random UUID (version 4).
pub(crate) fn uuid() -> String {
    let (version, variant) = (4 << 12, 0b10 << 62);
    let (high, low) = (number() & !(0xf << 12) | version, number() >> 2 | variant);
    let (first, second, third) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{first:08x}-{second:04x}-{third:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
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
    fn uuid_has_its_version_and_variant() {
        for _ in 0..100 {
            let uuid = uuid();
            let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]), "{uuid}");
        }
        assert_ne!(uuid(), uuid());
    }

    #[test]
    fn digits_change_but_the_token_does_not() {
        assert_ne!(digits(), digits());
        assert_eq!((token(), token().len()), (token(), 32));
    }
}

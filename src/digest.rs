//! MD5 digests for the names of directories and locks. The original scripts use MD5, and the names are not secret.

use md5::{Digest, Md5};

/// Returns the MD5 digest of all `parts` together, as lowercase hexadecimal digits.
pub(crate) fn md5<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16");
    digest.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

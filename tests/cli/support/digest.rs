//! Checksums, as they appear in file names and records.

use md5::{Digest as _, Md5};

use super::record::hex;

/// Returns the MD5 of all parts together, in hexadecimal digits.
pub(crate) fn md5_hex<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let digest = parts.into_iter().fold(Md5::new(), Md5::chain_update);
    hex(&digest.finalize())
}

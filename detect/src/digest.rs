//! A hash over several parts, one after the other.

use xxhash_rust::xxh3::Xxh3;

/// Takes a length before each part: "a", "bc" is not "ab", "c".
pub(crate) fn update<P: AsRef<[u8]>>(hash: &mut Xxh3, parts: &[P]) {
    for part in parts.iter().map(AsRef::as_ref) {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
}

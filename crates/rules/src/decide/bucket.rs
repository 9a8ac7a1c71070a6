//! The bucket: where a user falls, the same on every proxy and in every language.

use std::io::Read as _;

use crate::vocab::Bucket;

/// `murmur3_x86_32(salt + ":" + value, seed 0)`, the published formula.
pub fn hash(salt: &[u8], value: &[u8]) -> u32 {
    let mut text = salt.chain(&b":"[..]).chain(value);
    // Reading from memory cannot fail.
    murmur3::murmur3_32(&mut text, 0).unwrap_or_default()
}

/// The bucket of a value under a salt.
pub fn bucket(salt: &[u8], value: &[u8]) -> Bucket {
    Bucket::from_hash(hash(salt, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_hold() {
        for (salt, value, expected_hash, expected_bucket) in [
            ("plan-1", "user1", 0x0657_d4a0, 247),
            ("plan-1", "用户一", 0xe653_1509, 8997),
            ("plan-2", "user1", 0x5aee_75fe, 3552),
        ] {
            assert_eq!(hash(salt.as_bytes(), value.as_bytes()), expected_hash, "{salt} {value}");
            assert_eq!(bucket(salt.as_bytes(), value.as_bytes()).number(), expected_bucket);
        }
    }
}

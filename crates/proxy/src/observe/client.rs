//! Who asked: the text that is hashed for callers who compare, and a number of our own to tell clients apart.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use ring::digest::{Context, SHA256};

/// Longer names of clients are cut: a header's value may have 64 KiB, and thousands of them are kept.
const TEXT_LIMIT: usize = 1 << 10;

static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A client of a service.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) text: Box<[u8]>,
    /// Of service and text; unpredictable, and of this process alone.
    pub(super) number: u64,
}

impl Client {
    /// What a rule hashed of it, else its identity, else its address.
    pub fn new(service: &str, text: &[u8]) -> Client {
        let text = text.get(..TEXT_LIMIT).unwrap_or(text);
        let mut hasher = STATE.build_hasher();
        service.hash(&mut hasher);
        text.hash(&mut hasher);
        Client { text: text.into(), number: hasher.finish() }
    }
}

/// The first eight bytes of SHA-256 of `salt:client`.
pub fn salted(salt: &str, client: &[u8]) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(salt.as_bytes());
    context.update(b":");
    context.update(client);
    let digest = context.finish();
    digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Whether a hash stands in a sample: its lowest bits are 0.
pub fn is_sampled(hash: u64, bits: u32) -> bool {
    hash.trailing_zeros() >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_any_sha256() {
        // printf 'abc:42' | sha256sum
        assert_eq!(format!("{:016x}", salted("abc", b"42")), "77fed3f4d816b7f4");
        assert_eq!(format!("{:016x}", salted("", "用户".as_bytes())), "a3a03c9e2e1125a5");
    }

    #[test]
    fn a_sample_has_low_bits_of_zero() {
        for (hash, bits, expected) in
            [(0b1000, 3, true), (0b1000, 4, false), (0b0001, 0, true), (0, 64, true)]
        {
            assert_eq!(is_sampled(hash, bits), expected, "{hash:b} {bits}");
        }
    }
}

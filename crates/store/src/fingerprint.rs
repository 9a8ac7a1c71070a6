//! Telling one state of a shared store from another without its documents.
//!
//! Answers: do two proxies run the same documents? A store's revision grows with every key, those of the fleet included, so two proxies of the same documents may be
//! at different ones. What they compare instead is this sum over keys and the revisions these were last written at.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Cursor;

/// A state's sum: equal for equal keys and modification revisions, and, but for one chance in 2^64, only for those.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Puts one key at one revision in, or takes it out again.
    pub(crate) fn toggle(&mut self, key: &[u8], mod_revision: i64) {
        let text = [key, b"\0", &mod_revision.to_be_bytes()].concat();
        // Reading from memory does not fail; 0 would only make two states look alike.
        let hash = murmur3::murmur3_x64_128(&mut Cursor::new(text), 0).unwrap_or(0);
        self.0 ^= (hash >> 64) as u64;
    }

    /// The sum of these keys.
    pub(crate) fn of<'a>(keys: impl IntoIterator<Item = (&'a [u8], i64)>) -> Fingerprint {
        let mut sum = Fingerprint::default();
        for (key, mod_revision) in keys {
            sum.toggle(key, mod_revision);
        }
        sum
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(sum: Fingerprint) -> String {
        sum.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Fingerprint, Self::Error> {
        u64::from_str_radix(&text, 16).map(Fingerprint)
    }
}

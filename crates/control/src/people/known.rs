//! Tokens that were looked up a moment ago.
//!
//! Instances ask for values with one token all the time. Owns: for how long a look into the store may be spared: until
//! anything is written, and half a second at most, so that what is revoked is dead on every process within a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::tokens::Token;
use super::users::User;

const KNOWN_FOR: Duration = Duration::from_millis(500);
/// More than a platform has.
const TOKENS: usize = 10_000;

#[derive(Default)]
pub struct KnownTokens(Mutex<HashMap<String, Known>>);

struct Known {
    found: Arc<(Token, User)>,
    /// How many changes of the store there were then.
    written: u64,
    at: Instant,
}

impl KnownTokens {
    pub fn get(&self, id: &str, (written, now): (u64, Instant)) -> Option<Arc<(Token, User)>> {
        let known = self.0.lock();
        let known = known.get(id)?;
        let is_fresh = known.written == written && now.saturating_duration_since(known.at) < KNOWN_FOR;
        is_fresh.then(|| known.found.clone())
    }

    pub fn keep(&self, id: &str, found: Arc<(Token, User)>, (written, at): (u64, Instant)) {
        let mut known = self.0.lock();
        if known.len() >= TOKENS {
            known.clear();
        }
        known.insert(id.to_owned(), Known { found, written, at });
    }
}

//! The channels of control.yaml, and how often each may be tested.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::settings::Channel;

/// Between two tests of a channel: chats refuse many messages, and then those that matter too.
const TEST_EVERY: Duration = Duration::from_secs(10);

/// Where notices go.
#[derive(Default)]
pub struct Channels {
    pub all: BTreeMap<String, Channel>,
    /// The control plane's address from outside, without a slash at its end.
    pub base: String,
    tested: Mutex<HashMap<String, Instant>>,
}

impl Channels {
    pub fn new(all: BTreeMap<String, Channel>, base: String) -> Channels {
        Channels { all, base, tested: Mutex::default() }
    }

    /// Whether it is time for another test, and else after how long; asked, it is not for a while.
    pub fn begin_test(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut tested = self.tested.lock();
        let left = tested.get(name).and_then(|at| TEST_EVERY.checked_sub(now.saturating_duration_since(*at)));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Err(left);
        }
        tested.insert(name.to_owned(), now);
        Ok(())
    }
}

//! Instances of shadows that could not be connected to.
//!
//! Answers: is it worth a copy's try to connect there? A refused connection costs as much processor time as a request;
//! while nothing listens, no request should pay it. Owns: when each may be tried again. Never: looks at users' pools, or
//! moves a copy to another instance, whose load would grow.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

/// How long copies for an address count as failed without a try: a shadow that starts gets them this much later.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Absent(RwLock<HashMap<SocketAddr, Instant>>);

impl Absent {
    /// Nothing took the connection.
    pub fn note(&self, address: SocketAddr, now: Instant) {
        self.0.write().insert(address, now + PAUSE);
    }

    pub fn holds(&self, address: SocketAddr, now: Instant) -> bool {
        self.0.read().get(&address).is_some_and(|until| now < *until)
    }

    /// Forgets those that may be tried again.
    pub fn sweep(&self, now: Instant) {
        self.0.write().retain(|_, until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tried_again_after_the_pause() {
        let (absent, now) = (Absent::default(), Instant::now());
        let [dead, other] = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse().unwrap());
        absent.note(dead, now);
        assert!(absent.holds(dead, now) && !absent.holds(other, now));
        assert!(!absent.holds(dead, now + PAUSE));
        absent.sweep(now);
        assert!(absent.holds(dead, now));
        absent.sweep(now + PAUSE);
        assert!(absent.0.read().is_empty());
    }
}

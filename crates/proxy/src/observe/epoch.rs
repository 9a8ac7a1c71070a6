//! Which second is it? The boot's wall time, and from then on the monotonic clock: no second comes twice.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    begun: Instant,
    /// Since 1970, when `begun` was.
    wall: Duration,
}

impl Epoch {
    pub fn new(begun: Instant, wall: SystemTime) -> Epoch {
        Epoch { begun, wall: wall.duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Seconds since 1970.
    pub fn second(&self, at: Instant) -> u64 {
        (self.wall + at.saturating_duration_since(self.begun)).as_secs()
    }
}

//! The generic cell rate algorithm: one number says how much of a rate was used.
//!
//! The number is the theoretical arrival time (ITU-T I.371, annex A): when the next request would be due if all came at
//! the rate. A request may come early by the length of a burst; one that comes earlier is refused and changes nothing.
//! Written here and not taken from `governor`, because its stores have no bound and its clock is no argument; the tests
//! hold it against that crate.

use std::time::Duration;

/// Nanoseconds since an epoch of the process.
pub type Nanos = u64;

/// A rate and the length of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gcra {
    interval: Nanos,
    /// How much earlier than due a request may come.
    tolerance: Nanos,
}

impl Gcra {
    /// `burst` requests may come at once, each `interval` apart is the rate.
    pub fn new(interval: Duration, burst: u32) -> Gcra {
        let interval = Nanos::try_from(interval.as_nanos()).unwrap_or(Nanos::MAX).max(1);
        Gcra { interval, tolerance: interval.saturating_mul(u64::from(burst.saturating_sub(1))) }
    }

    /// What the arrival time becomes when a request passes now; the error is how long until one would. An arrival time
    /// that is past says the same as none at all.
    pub fn pass(self, due: Nanos, now: Nanos) -> Result<Nanos, Duration> {
        let due = due.max(now);
        match (due - now).checked_sub(self.tolerance) {
            None | Some(0) => Ok(due.saturating_add(self.interval)),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }
}

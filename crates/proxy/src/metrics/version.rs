//! What is counted for one version of one service, on every request.
//!
//! Answers: how often and how long, without one core waiting for another? Owns: the numbers of one version.
//! Never: labels, lookups or allocations.

use std::sync::Arc;
use std::time::Duration;

use graygate_rules::vocab::{StatusClass, TryOutcome};
use graygate_telemetry::{Counter, Distribution, Gauge, Histogram, Sharded};

/// The counts of one version. Handles are taken from `Metrics::version` when a generation is made.
#[derive(Default)]
pub struct VersionMetrics(Sharded<Counts>);

/// One thread's counts: about 400 bytes.
#[derive(Default)]
struct Counts {
    requests: [Counter; StatusClass::ALL.len()],
    tries: [Counter; TryOutcome::ALL.len()],
    /// A request may end on another thread than it began on: one shard alone can be negative, the sum cannot.
    in_flight: Gauge,
    request_duration: Histogram,
    upstream_duration: Histogram,
}

impl VersionMetrics {
    /// A request begins; it is in flight until the answer is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.0.own().in_flight.add(1);
        InFlight(self.clone())
    }

    /// A request has ended: counted once, with the time it took as a whole.
    pub fn finished(&self, status: StatusClass, duration: Duration) {
        let shard = self.0.own();
        if let Some(counter) = shard.requests.get(status as usize) {
            counter.increment();
        }
        shard.request_duration.observe(duration);
    }

    /// One try at an instance of this version has ended.
    pub fn tried(&self, outcome: TryOutcome) {
        if let Some(counter) = self.0.own().tries.get(outcome as usize) {
            counter.increment();
        }
    }

    /// An instance of this version took this long until its response header.
    pub fn upstream_answered(&self, duration: Duration) {
        self.0.own().upstream_duration.observe(duration);
    }

    /// Requests that have ended with this class of status.
    pub fn requests(&self, status: StatusClass) -> u64 {
        let of = |shard: &Counts| shard.requests.get(status as usize).map_or(0, Counter::get);
        self.0.all().map(of).sum()
    }

    /// Tries that have ended this way.
    pub fn tries(&self, outcome: TryOutcome) -> u64 {
        let of = |shard: &Counts| shard.tries.get(outcome as usize).map_or(0, Counter::get);
        self.0.all().map(of).sum()
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> i64 {
        self.0.all().map(|shard| shard.in_flight.get()).sum()
    }

    pub(super) fn request_durations(&self) -> Distribution {
        self.added(|shard| &shard.request_duration)
    }

    pub(super) fn upstream_durations(&self) -> Distribution {
        self.added(|shard| &shard.upstream_duration)
    }

    fn added(&self, of: impl Fn(&Counts) -> &Histogram) -> Distribution {
        Distribution::of(self.0.all().map(of))
    }
}

/// A request under way; dropping it ends it for `graygate_requests_in_flight`.
///
/// It is also the request's handle: `flight.version()` needs no second reference count.
pub struct InFlight(Arc<VersionMetrics>);

impl InFlight {
    pub fn version(&self) -> &VersionMetrics {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.own().in_flight.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_from_many_threads_is_exact() {
        const THREADS: u64 = 8;
        const ROUNDS: u64 = 5_000;
        for shards in [1, 4] {
            let version = Arc::new(VersionMetrics(Sharded::with_shards(shards)));
            let flights: Vec<InFlight> = std::thread::scope(|scope| {
                let counting = || {
                    for _ in 0..ROUNDS {
                        let flight = version.begin();
                        flight.version().finished(StatusClass::Success, Duration::from_millis(2));
                        flight.version().tried(TryOutcome::Reset);
                    }
                    version.begin()
                };
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(counting)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(version.requests(StatusClass::Success), THREADS * ROUNDS);
            assert_eq!(version.requests(StatusClass::ServerError), 0);
            assert_eq!(version.tries(TryOutcome::Reset), THREADS * ROUNDS);
            let seen = version.request_durations();
            assert_eq!(seen.count(), THREADS * ROUNDS);
            assert_eq!(seen.sum_seconds(), (THREADS * ROUNDS) as f64 * 2_000.0 / 1e6);
            // The last ones began on threads that are gone and end on this one.
            assert_eq!(version.in_flight(), THREADS as i64);
            drop(flights);
            assert_eq!(version.in_flight(), 0);
        }
    }
}

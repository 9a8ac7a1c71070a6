//! What is counted for one version of one service, on every request.
//!
//! Answers: how do all cores count the same version without waiting for each other? Owns: the shards.
//! Each thread counts in a shard of its own, which shares no cache line with another; a scrape adds them up.
//! Never: labels, lookups or allocations.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::instrument::{Counter, Distribution, Gauge, Histogram};
use graygate_rules::vocab::{StatusClass, TryOutcome};

/// More shards than this cost more memory a version (about 400 bytes each) than they save in waiting.
const SHARD_LIMIT: usize = 16;

/// How many shards a version has on a machine with this many cores: the next power of two.
pub(super) fn shard_count(cores: usize) -> usize {
    cores.clamp(1, SHARD_LIMIT).next_power_of_two()
}

thread_local! {
    /// The number of this thread among those that have counted something; `usize::MAX` before it has.
    static SEAT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Deals out seats in turn, so that a runtime's threads are spread evenly. It holds no measurement.
static NEXT_SEAT: AtomicUsize = AtomicUsize::new(0);

fn seat() -> usize {
    SEAT.with(|seat| {
        if seat.get() == usize::MAX {
            seat.set(NEXT_SEAT.fetch_add(1, Relaxed));
        }
        seat.get()
    })
}

/// The counts of one version. Handles are taken from `Metrics::version` when a generation is made.
pub struct VersionMetrics {
    first: Shard,
    /// With `first` a power of two of shards.
    others: Box<[Shard]>,
}

/// One thread's counts. 128 bytes, because processors fetch cache lines of 64 in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    requests: [Counter; StatusClass::ALL.len()],
    tries: [Counter; TryOutcome::ALL.len()],
    /// A request may end on another thread than it began on: one shard alone can be negative, the sum cannot.
    in_flight: Gauge,
    request_duration: Histogram,
    upstream_duration: Histogram,
}

impl VersionMetrics {
    pub(super) fn with_shards(count: usize) -> VersionMetrics {
        VersionMetrics { first: Shard::default(), others: (1..count).map(|_| Shard::default()).collect() }
    }

    /// A request begins; it is in flight until the answer is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.shard().in_flight.add(1);
        InFlight(self.clone())
    }

    /// A request has ended: counted once, with the time it took as a whole.
    pub fn finished(&self, status: StatusClass, duration: Duration) {
        let shard = self.shard();
        if let Some(counter) = shard.requests.get(status as usize) {
            counter.increment();
        }
        shard.request_duration.observe(duration);
    }

    /// One try at an instance of this version has ended.
    pub fn tried(&self, outcome: TryOutcome) {
        if let Some(counter) = self.shard().tries.get(outcome as usize) {
            counter.increment();
        }
    }

    /// An instance of this version took this long until its response header.
    pub fn upstream_answered(&self, duration: Duration) {
        self.shard().upstream_duration.observe(duration);
    }

    /// Requests that have ended with this class of status.
    pub fn requests(&self, status: StatusClass) -> u64 {
        let of = |shard: &Shard| shard.requests.get(status as usize).map_or(0, Counter::get);
        self.shards().map(of).sum()
    }

    /// Tries that have ended this way.
    pub fn tries(&self, outcome: TryOutcome) -> u64 {
        let of = |shard: &Shard| shard.tries.get(outcome as usize).map_or(0, Counter::get);
        self.shards().map(of).sum()
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> i64 {
        self.shards().map(|shard| shard.in_flight.get()).sum()
    }

    pub(super) fn request_durations(&self) -> Distribution {
        self.added(|shard| &shard.request_duration)
    }

    pub(super) fn upstream_durations(&self) -> Distribution {
        self.added(|shard| &shard.upstream_duration)
    }

    fn added(&self, of: impl Fn(&Shard) -> &Histogram) -> Distribution {
        let mut seen = Distribution::default();
        self.shards().for_each(|shard| seen.add(of(shard)));
        seen
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn shard(&self) -> &Shard {
        let own = seat() % (self.others.len() + 1);
        own.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
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
        self.0.shard().in_flight.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_cores() {
        for (cores, expected) in [(0, 1), (1, 1), (2, 2), (3, 4), (12, 16), (16, 16), (96, 16)] {
            assert_eq!(shard_count(cores), expected, "{cores}");
        }
    }

    #[test]
    fn counting_from_many_threads_is_exact() {
        const THREADS: u64 = 8;
        const ROUNDS: u64 = 5_000;
        for shards in [1, 4] {
            let version = Arc::new(VersionMetrics::with_shards(shards));
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
            assert_eq!(seen.buckets.iter().sum::<u64>(), THREADS * ROUNDS);
            assert_eq!(seen.sum_seconds(), (THREADS * ROUNDS) as f64 * 2_000.0 / 1e6);
            // The last ones began on threads that are gone and end on this one.
            assert_eq!(version.in_flight(), THREADS as i64);
            drop(flights);
            assert_eq!(version.in_flight(), 0);
        }
    }
}

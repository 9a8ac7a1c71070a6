//! The things that count: a counter, a gauge and a histogram of durations.
//!
//! Answers: how is one number kept while many threads change it? Owns: the atomics and the histogram's buckets.
//! Never: labels, names or text. Every operation is relaxed: a number orders nothing but itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Default, Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    /// One more, until the answer is dropped.
    pub fn occupy(self: &Arc<Self>) -> Occupied {
        self.add(1);
        Occupied(self.clone())
    }
}

/// One unit of a gauge, given back on drop, so that no early return and no panic can forget it.
#[derive(Debug)]
pub struct Occupied(Arc<Gauge>);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Upper bounds of the buckets, in nanoseconds beside their text in seconds.
///
/// From half a millisecond, where differences on a local network begin to mean something, to a minute, the default
/// limit of a whole request. Fourteen of them: every version pays for each in memory and in every scrape.
pub(super) const BOUNDS: [(u64, &str); 14] = [
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (10_000_000_000, "10"),
    (60_000_000_000, "60"),
];

/// The buckets and the one above them all.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations in buckets, with their sum.
///
/// There is no separate count: it is the sum of the buckets, so a scrape in the middle of an observation
/// still finds the last bucket equal to the count.
#[derive(Default, Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds would overflow after two days of 100,000 requests under way; microseconds last for years.
    sum_micros: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| nanos > *bound);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        // Rounded to the nearest: cutting off would make short durations shorter on average.
        self.sum_micros.fetch_add(nanos.saturating_add(500) / 1_000, Relaxed);
    }
}

/// What one or several histograms have seen together.
#[derive(Default, Debug)]
pub struct Distribution {
    /// Not cumulative: each bucket's own observations.
    pub(super) buckets: [u64; BUCKETS],
    sum_micros: u64,
}

impl Distribution {
    pub fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Distribution {
        let mut seen = Distribution::default();
        histograms.into_iter().for_each(|histogram| seen.add(histogram));
        seen
    }

    /// How many durations were seen.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += count.load(Relaxed);
        }
        self.sum_micros = self.sum_micros.wrapping_add(histogram.sum_micros.load(Relaxed));
    }

    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_agree_with_their_text_and_grow() {
        for (nanos, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!((seconds * 1e9).round() as u64, nanos, "{text}");
        }
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        for (nanos, bucket) in [
            (0, 0),
            (500_000, 0),
            (500_001, 1),
            (1_000_000, 1),
            (60_000_000_000, 13),
            (60_000_000_001, 14),
            (u64::MAX, 14),
        ] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_nanos(nanos));
            let mut seen = Distribution::default();
            seen.add(&histogram);
            let mut expected = [0; BUCKETS];
            expected[bucket] = 1;
            assert_eq!(seen.buckets, expected, "{nanos}");
        }
    }

    #[test]
    fn sums_are_rounded_to_microseconds() {
        let histogram = Histogram::default();
        for nanos in [1_499, 1_500, 2_000_000] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let mut seen = Distribution::default();
        seen.add(&histogram);
        assert_eq!(seen.sum_seconds(), 0.002_003);
    }

    #[test]
    fn an_occupied_unit_is_given_back() {
        let gauge = Arc::new(Gauge::default());
        let first = gauge.occupy();
        let second = gauge.occupy();
        assert_eq!(gauge.get(), 2);
        drop(first);
        assert_eq!(gauge.get(), 1);
        drop(second);
        assert_eq!(gauge.get(), 0);
    }
}

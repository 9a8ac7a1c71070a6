//! Counting from all cores without waiting: each thread counts in a shard of its own, and a scrape adds them up.
//!
//! Owns: which thread has which shard. A shard shares no cache line with another. Never: what is counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// More shards than this cost more memory than they save in waiting.
const SHARD_LIMIT: usize = 16;

/// How many shards are made on a machine with this many cores: the next power of two.
fn shard_count(cores: usize) -> usize {
    cores.clamp(1, SHARD_LIMIT).next_power_of_two()
}

thread_local! {
    /// The number of this thread among those that have counted something; `usize::MAX` before it has.
    static OWN_NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Dealt out in turn, so that a runtime's threads are spread evenly. It holds no measurement.
static NEXT_NUMBER: AtomicUsize = AtomicUsize::new(0);

fn own_number() -> usize {
    OWN_NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT_NUMBER.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// 128 bytes, because processors fetch cache lines of 64 in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Shard<T>(T);

/// Several of the same, one for each of the threads that count at a time.
pub struct Sharded<T> {
    first: Shard<T>,
    /// With `first` a power of two of shards.
    others: Box<[Shard<T>]>,
}

impl<T: Default> Sharded<T> {
    pub fn with_shards(count: usize) -> Sharded<T> {
        Sharded { first: Shard::default(), others: (1..count).map(|_| Shard::default()).collect() }
    }
}

impl<T: Default> Default for Sharded<T> {
    /// As many as this machine has use for.
    fn default() -> Sharded<T> {
        Sharded::with_shards(shard_count(std::thread::available_parallelism().map_or(1, usize::from)))
    }
}

impl<T> Sharded<T> {
    /// This thread's.
    pub fn own(&self) -> &T {
        let own = own_number() % (self.others.len() + 1);
        let shard = own.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first);
        &shard.0
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others).map(|shard| &shard.0)
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
}

//! Whether a source can be reached, as `/status` and the `graygate_source_*` metrics tell it.
//!
//! Owns: a handful of atomics that the watcher writes and anybody reads. Never: the documents themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which source documents come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceKind {
    Directory,
    Etcd,
}

impl SourceKind {
    /// As `/status` and the process file call it.
    pub fn word(self) -> &'static str {
        match self {
            SourceKind::Directory => "directory",
            SourceKind::Etcd => "etcd",
        }
    }
}

/// The state of a source's connection, shared between its watcher and those who report it.
#[derive(Debug)]
pub struct SourceStatus {
    kind: SourceKind,
    born: Instant,
    up: AtomicBool,
    from_cache: AtomicBool,
    /// Milliseconds after `born` of the last sign of life.
    last_contact: AtomicU64,
    mismatches: AtomicU64,
}

impl SourceStatus {
    /// A source that was not reached yet.
    pub fn new(kind: SourceKind, now: Instant) -> SourceStatus {
        SourceStatus {
            kind,
            born: now,
            up: AtomicBool::new(false),
            from_cache: AtomicBool::new(false),
            last_contact: AtomicU64::new(0),
            mismatches: AtomicU64::new(0),
        }
    }

    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Whether the source answers right now.
    pub fn up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether what runs came from the cache because the source was not reached since the start.
    pub fn from_cache(&self) -> bool {
        self.from_cache.load(Ordering::Relaxed)
    }

    /// The caller loaded the cache and runs what was in it; the first update of the source ends that.
    pub fn set_from_cache(&self, from_cache: bool) {
        self.from_cache.store(from_cache, Ordering::Relaxed);
    }

    /// How long what runs may be out of date: since the last sign of life, or since the start if there was none.
    /// While the source is up nothing is out of date, so it is zero.
    pub fn stale_for(&self, now: Instant) -> Duration {
        if self.up() {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_contact.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born).saturating_sub(last)
    }

    /// How often the periodic comparison found the held documents different from the store's. Anything but zero
    /// is a defect in the watch, healed by reading everything again.
    pub fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }

    /// The source gave a sign of life. True when it was down before.
    pub(super) fn reached(&self, now: Instant) -> bool {
        self.touch(now);
        !self.up.swap(true, Ordering::Relaxed)
    }

    /// A sign of life of a source whose state is already told.
    pub(super) fn touch(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.born).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.last_contact.store(millis, Ordering::Relaxed);
    }

    /// The source does not answer. True when it was up before.
    pub(super) fn lost(&self) -> bool {
        self.up.swap(false, Ordering::Relaxed)
    }

    pub(super) fn count_mismatches(&self, count: u64) {
        self.mismatches.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staleness_counts_from_the_last_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let status = SourceStatus::new(SourceKind::Etcd, start);
        assert_eq!(status.stale_for(at(7)), Duration::from_secs(7));
        assert!(status.reached(at(10)), "it was down before");
        assert!(!status.reached(at(20)), "it was up before");
        assert_eq!(status.stale_for(at(25)), Duration::ZERO);
        assert!(status.lost());
        assert!(!status.lost());
        assert_eq!(status.stale_for(at(50)), Duration::from_secs(30));
    }
}

//! Whether a source can be reached, as `/status` and the `graygate_source_*` metrics tell it.
//!
//! Owns: a handful of atomics that the watcher writes and any thread reads. Never: the documents themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use graygate_telemetry::{Computed, FamilyKind, Registry};

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

    /// Shows it on the page of metrics.
    pub fn register(self: Arc<Self>, registry: &Registry) {
        let family = |name, kind, help, read: fn(&SourceStatus) -> i64| {
            let own = self.clone();
            registry.computed(Computed { name, kind, help, read: Box::new(move || read(&own)) });
        };
        let help = "Whether the source of documents can be reached.";
        family("graygate_source_up", FamilyKind::Gauge, help, |own| i64::from(own.up()));
        let help = "Seconds since the source of documents was last heard.";
        family("graygate_source_stale_seconds", FamilyKind::Gauge, help, |own| {
            i64::try_from(own.stale_for(Instant::now()).as_secs()).unwrap_or(i64::MAX)
        });
        let help = "Times the periodic comparison found the held documents to differ from the source's.";
        family("graygate_source_mismatches_total", FamilyKind::Counter, help, |own| {
            i64::try_from(own.mismatches()).unwrap_or(i64::MAX)
        });
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
    fn the_page_says_how_the_source_is() {
        let registry = Registry::default();
        let status = Arc::new(SourceStatus::new(SourceKind::Etcd, Instant::now()));
        status.clone().register(&registry);
        let shows = |line: &str| registry.render().lines().any(|shown| shown == line);
        assert!(shows("graygate_source_up 0"));
        status.reached(Instant::now());
        status.count_mismatches(2);
        for line in
            ["graygate_source_up 1", "graygate_source_stale_seconds 0", "graygate_source_mismatches_total 2"]
        {
            assert!(shows(line), "{line}");
        }
    }

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

//! What is counted of the copies of one mirror.

use std::sync::Arc;
use std::time::Duration;

use graygate_rules::vocab::MirrorOutcome;
use graygate_telemetry::{Counter, Family, Histogram, Registry};

/// The families of all mirrors.
pub(super) struct MirrorFamilies {
    outcomes: Arc<Family<Counter>>,
    durations: Arc<Family<Histogram>>,
}

/// The counts of one mirror.
pub struct MirrorMetrics {
    outcomes: [Arc<Counter>; MirrorOutcome::ALL.len()],
    duration: Arc<Histogram>,
}

impl MirrorFamilies {
    pub fn new(registry: &Registry) -> MirrorFamilies {
        MirrorFamilies {
            outcomes: registry.counter(
                "graygate_mirrored_total",
                "Copies of requests by what became of them.",
                &["service", "to", "outcome"],
            ),
            durations: registry.histogram(
                "graygate_mirror_duration_seconds",
                "Duration of a copy, from sending it to the end of its answer.",
                &["service", "version"],
            ),
        }
    }

    /// Of copies of requests for `service` that go to `version` of the service `to`.
    pub fn of(&self, service: &str, to: &str, version: &str) -> MirrorMetrics {
        let outcome = |at: usize| {
            let word = MirrorOutcome::ALL.get(at).map_or("", |outcome| outcome.as_str());
            self.outcomes.with(&[service, to, word])
        };
        MirrorMetrics {
            outcomes: std::array::from_fn(outcome),
            duration: self.durations.with(&[to, version]),
        }
    }
}

impl MirrorMetrics {
    pub fn count(&self, outcome: MirrorOutcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.increment();
        }
    }

    /// A copy that was sent took this long.
    pub fn took(&self, duration: Duration) {
        self.duration.observe(duration);
    }
}

//! How one instance is doing: requests in flight, health, ejection, recovery.
//!
//! Answers: may this instance take a request now, and with how much of its weight?
//! Owns: the state that outlives generations. Requests touch atomics only; the lock is for
//! transitions, which are rare. Never: reads a clock; every `now` is an argument.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::budget::Budget;
use graygate_rules::spec::{Check, HealthSpec, OutlierSpec};

/// Longest ejection, however often an instance was ejected before.
pub const EJECTION_LIMIT: Duration = Duration::from_secs(300);

/// How long an instance that comes back takes to carry its whole weight again: caches are cold and
/// the reason it left may still be there.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// How long an ejection holds its place against a newer failure when no more instances may be out: two dead instances
/// that take turns must not fill the log, nor lay out the rotation with every few errors.
pub const EJECTION_STANDS: Duration = Duration::from_secs(1);

/// Steps of the recovery; each makes a pool lay out its rotation once more.
pub(super) const RECOVERY_STEPS: u32 = 10;

/// What all instances of one service share.
#[derive(Default)]
pub(super) struct ServiceVitals {
    /// Counts changes that alter who may be picked; pools compare it with what they last saw.
    pub epoch: AtomicU64,
    /// Requests in flight that began under a limit.
    pub limited_in_flight: AtomicUsize,
    pub ejections: AtomicU64,
    pub budget: Budget,
    /// Held while an ejection is weighed, so that two at once cannot pass the limit together.
    pub ejecting: Mutex<()>,
}

/// The running state of one (service, version, address).
pub(super) struct Vitals {
    /// Unique in the process; never reused, so a request cannot confuse two instances.
    pub id: u64,
    pub in_flight: AtomicUsize,
    pub service: Arc<ServiceVitals>,
    /// When it was first picked.
    first_request: OnceLock<Instant>,
    errors_in_row: AtomicU32,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    check: Option<Check>,
    health: Health,
    /// Check answers in a row that contradict `health`.
    contrary: u32,
    ejected_at: Option<Instant>,
    ejected_until: Option<Instant>,
    times_ejected: u32,
    recovering_since: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Health {
    /// No check is configured.
    #[default]
    Assumed,
    /// A check is configured and has not answered yet.
    Unknown,
    Healthy,
    Unhealthy,
}

/// Whether an instance may be picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Healthy,
    Unknown,
    Unhealthy,
    Ejected,
}

/// An instance's standing and how long it holds without a further event.
pub(super) struct Outlook {
    pub standing: Standing,
    /// Part of the weight it carries, 1 to [`RECOVERY_STEPS`] steps.
    pub steps: u32,
    pub until: Option<Instant>,
}

impl Vitals {
    pub fn start(id: u64, service: Arc<ServiceVitals>) -> Vitals {
        Vitals {
            id,
            in_flight: AtomicUsize::new(0),
            service,
            first_request: OnceLock::new(),
            errors_in_row: AtomicU32::new(0),
            record: Mutex::default(),
        }
    }

    /// It takes a request.
    pub fn note_request(&self, now: Instant) {
        self.first_request.get_or_init(|| now);
    }

    /// How long ago it took its first request.
    pub fn served_for(&self, now: Instant) -> Option<Duration> {
        self.first_request.get().map(|first| now.saturating_duration_since(*first))
    }

    /// Takes over the check a generation asks for. What another check said no longer counts.
    pub fn expect_check(&self, check: Option<&Check>) {
        let mut record = self.record.lock();
        if record.check.as_ref() == check {
            return;
        }
        record.check = check.cloned();
        record.contrary = 0;
        record.health = match check {
            Some(_) => Health::Unknown,
            None => Health::Assumed,
        };
        self.changed();
    }

    /// Takes in one answer of a check; true when it turned the health. Stale answers of a replaced
    /// check are dropped.
    pub fn checked(&self, spec: &HealthSpec, good: bool, now: Instant) -> bool {
        let mut record = self.record.lock();
        if record.check.as_ref() != Some(&spec.check) {
            return false;
        }
        let is_back = good && record.ejected_until.is_some_and(|until| until > now);
        if is_back {
            self.reinstate(&mut record, now);
        }
        let turned = record.turn(spec, good, now);
        if is_back || turned {
            self.changed();
        }
        turned
    }

    /// An answer that says the instance works: the row of errors is broken.
    pub fn good(&self) {
        // Reading first keeps the cache line shared while all is well.
        if self.errors_in_row.load(Ordering::Relaxed) != 0 {
            self.errors_in_row.store(0, Ordering::Relaxed);
        }
    }

    /// An error; true when the row is long enough to eject.
    pub fn bad(&self, spec: &OutlierSpec) -> bool {
        let row = self.errors_in_row.fetch_add(1, Ordering::Relaxed);
        row.saturating_add(1) >= spec.consecutive_errors.max(1)
    }

    /// Takes the instance out; false when it is out already. The caller has checked the limit and
    /// holds `ejecting`.
    pub fn eject(&self, spec: &OutlierSpec, now: Instant) -> bool {
        let mut record = self.record.lock();
        if record.ejected_until.is_some_and(|until| until > now) {
            return false;
        }
        let times = record.decayed(spec, now).saturating_add(1);
        let length = spec.eject_for.saturating_mul(times).min(EJECTION_LIMIT);
        record.times_ejected = times;
        record.ejected_at = Some(now);
        record.ejected_until = now.checked_add(length);
        record.recovering_since = record.ejected_until;
        self.errors_in_row.store(0, Ordering::Relaxed);
        self.service.ejections.fetch_add(1, Ordering::Relaxed);
        self.changed();
        true
    }

    /// When it was taken out, if it is out.
    pub fn ejected_at(&self, now: Instant) -> Option<Instant> {
        let record = self.record.lock();
        record.ejected_at.filter(|_| record.ejected_until.is_some_and(|until| until > now))
    }

    /// Ends an ejection early; the instance takes up its share step by step.
    pub fn take_back(&self, now: Instant) {
        self.reinstate(&mut self.record.lock(), now);
        self.changed();
    }

    fn reinstate(&self, record: &mut Record, now: Instant) {
        record.ejected_until = Some(now);
        record.recovering_since = Some(now);
        self.errors_in_row.store(0, Ordering::Relaxed);
    }

    pub fn outlook(&self, now: Instant) -> Outlook {
        self.record.lock().outlook(now)
    }

    fn changed(&self) {
        self.service.epoch.fetch_add(1, Ordering::Release);
    }
}

impl Record {
    /// Counts an answer against the thresholds; true when the health turned.
    fn turn(&mut self, spec: &HealthSpec, good: bool, now: Instant) -> bool {
        let (says, needed) = match good {
            true => (Health::Healthy, spec.healthy_after),
            false => (Health::Unhealthy, spec.unhealthy_after),
        };
        if self.health == says {
            self.contrary = 0;
            return false;
        }
        self.contrary = self.contrary.saturating_add(1);
        // The first answer decides at once: thresholds guard against flapping, and what was
        // never known cannot flap.
        if self.health != Health::Unknown && self.contrary < needed {
            return false;
        }
        if self.health == Health::Unhealthy {
            self.recovering_since = Some(now);
        }
        self.contrary = 0;
        self.health = says;
        true
    }

    /// Earlier ejections that still count: one is forgiven for every quiet `eject_for`.
    fn decayed(&self, spec: &OutlierSpec, now: Instant) -> u32 {
        let quiet = self.ejected_until.map_or(Duration::ZERO, |until| now.saturating_duration_since(until));
        let forgiven = quiet.as_millis() / spec.eject_for.as_millis().max(1);
        self.times_ejected.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    fn outlook(&self, now: Instant) -> Outlook {
        let ejected = self.ejected_until.filter(|until| *until > now);
        let standing = match (ejected, self.health) {
            (Some(_), _) => Standing::Ejected,
            (None, Health::Unhealthy) => Standing::Unhealthy,
            (None, Health::Unknown) => Standing::Unknown,
            (None, Health::Assumed | Health::Healthy) => Standing::Healthy,
        };
        let (steps, step_ends) = self.recovery(now);
        Outlook { standing, steps, until: ejected.or(step_ends) }
    }

    /// How many steps of its weight the instance carries, and when the next one comes.
    fn recovery(&self, now: Instant) -> (u32, Option<Instant>) {
        let step = RECOVERY / RECOVERY_STEPS;
        let Some(since) = self.recovering_since else {
            return (RECOVERY_STEPS, None);
        };
        let elapsed = now.saturating_duration_since(since);
        let done = u32::try_from(elapsed.as_millis() / step.as_millis().max(1));
        match done.unwrap_or(u32::MAX).saturating_add(1) {
            steps if steps >= RECOVERY_STEPS => (RECOVERY_STEPS, None),
            steps => (steps, since.checked_add(step.saturating_mul(steps))),
        }
    }
}

//! How many extra tries a service may make.
//!
//! Answers: may a failed request be sent once more, or would that multiply an outage? Owns: the service's requests and
//! extra tries of the last seconds, counted without a lock. Never: says where a try goes, or reads a clock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Over how many seconds requests and extra tries are compared.
const WINDOW: u64 = 10;

/// Extra tries for every hundred requests of the window.
const PERCENT: u64 = 20;

/// Extra tries a second that are always there: a service with few requests could otherwise not retry at all, and the
/// row of errors that ejects an instance is shorter than what the window then holds.
const FLOOR: u64 = 3;

/// One for each second of the window, and room for clocks of two threads that differ.
const SLOTS: usize = 16;

/// Requests and extra tries of one service.
#[derive(Default)]
pub(super) struct Budget {
    began: OnceLock<Instant>,
    requests: Window,
    extras: Window,
}

/// Counts by second. Each slot holds the second in its upper half and the count in its lower one, so that a slot
/// is taken over for a new second in one step. Aligned, because every request of every thread counts here.
#[derive(Default)]
#[repr(align(128))]
struct Window([AtomicU64; SLOTS]);

impl Budget {
    /// A request begins.
    pub fn count_request(&self, now: Instant) {
        self.requests.add(self.second(now));
    }

    /// Takes one extra try; false when the window holds as many as it may. Two threads at once may pass the limit
    /// together by one.
    pub fn take(&self, now: Instant) -> bool {
        let second = self.second(now);
        let allowed = FLOOR * WINDOW + self.requests.sum(second) * PERCENT / 100;
        let is_left = self.extras.sum(second) < allowed;
        if is_left {
            self.extras.add(second);
        }
        is_left
    }

    /// Counts an extra try that is made whatever the budget says, so that others wait for it.
    pub fn overdraw(&self, now: Instant) {
        self.extras.add(self.second(now));
    }

    fn second(&self, now: Instant) -> u64 {
        let began = *self.began.get_or_init(|| now);
        now.saturating_duration_since(began).as_secs() & u64::from(u32::MAX)
    }
}

impl Window {
    fn add(&self, second: u64) {
        let Some(slot) = self.0.get(second as usize % SLOTS) else { return };
        let fresh = (second << 32) | 1;
        let mut seen = slot.load(Ordering::Relaxed);
        while seen >> 32 != second {
            match slot.compare_exchange_weak(seen, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
        slot.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of the window that ends with this second.
    fn sum(&self, second: u64) -> u64 {
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = slots.filter(|slot| second.wrapping_sub(slot >> 32) < WINDOW);
        recent.map(|slot| slot & u64::from(u32::MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many extra tries are granted in a row.
    fn drain(budget: &Budget, now: Instant) -> u64 {
        (0..10_000).take_while(|_| budget.take(now)).count() as u64
    }

    #[test]
    fn a_service_without_requests_has_the_floor() {
        let budget = Budget::default();
        let start = Instant::now();
        assert_eq!(drain(&budget, start), FLOOR * WINDOW);
        assert_eq!(drain(&budget, start + Duration::from_secs(WINDOW - 1)), 0);
        assert_eq!(drain(&budget, start + Duration::from_secs(WINDOW)), FLOOR * WINDOW);
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let budget = Budget::default();
        let start = Instant::now();
        for request in 0..10_000 {
            budget.count_request(start + Duration::from_millis(request));
        }
        let end = start + Duration::from_millis(9_999);
        assert_eq!(drain(&budget, end), 2_000 + FLOOR * WINDOW);
        // Five seconds later half of the requests are out of the window, and none of the extra tries.
        assert_eq!(drain(&budget, end + Duration::from_secs(5)), 0);
        assert_eq!(drain(&budget, end + Duration::from_secs(WINDOW)), FLOOR * WINDOW);
    }

    #[test]
    fn what_is_overdrawn_is_missing_later() {
        let budget = Budget::default();
        let start = Instant::now();
        for _ in 0..10 {
            budget.overdraw(start);
        }
        assert_eq!(drain(&budget, start), FLOOR * WINDOW - 10);
    }

    #[test]
    fn threads_count_every_request() {
        let budget = Budget::default();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for request in 0..5_000 {
                        budget.count_request(start + Duration::from_micros(request * 1_600));
                    }
                });
            }
        });
        assert_eq!(budget.requests.sum(budget.second(start + Duration::from_secs(8))), 20_000);
    }
}

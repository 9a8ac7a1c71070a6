//! The series of one name: which label values exist, and until when.
//!
//! Answers: which object counts for these labels? Owns: the map from labels to handles, and its sweeping.
//! The key is the label part as it is printed, quotes and all, so two different sets of values can never be
//! the same series. (The `prometheus` crate hashes values without a separator: `svc`,`11` and `svc1`,`1` meet.)
//! Never: on the way of a request; handles are taken when a generation is made and used without coming back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::text::label_text;

/// How long a series outlives its last user. A version that is taken out and put back within this time goes on
/// counting where it was, and several scrapes see the last value of one that does not come back.
const IDLE_KEPT: Duration = Duration::from_secs(15 * 60);

/// How many unused series a family keeps at most: names that change all the time must not fill the memory.
const IDLE_LIMIT: usize = 10_000;

/// Handles by labels. A series lives while anybody holds its handle, and `IDLE_KEPT` longer.
pub(super) struct Family<T> {
    children: Mutex<HashMap<Box<str>, Child<T>>>,
}

struct Child<T> {
    handle: Arc<T>,
    idle_since: Option<Instant>,
}

impl<T> Default for Family<T> {
    fn default() -> Self {
        Family { children: Mutex::default() }
    }
}

impl<T> Family<T> {
    /// The handle for these labels; made at the first call.
    pub fn child(&self, labels: &[(&str, &str)], make: impl FnOnce() -> T) -> Arc<T> {
        let key = label_text(labels);
        let mut children = self.children.lock();
        if let Some(child) = children.get_mut(key.as_str()) {
            child.idle_since = None;
            return child.handle.clone();
        }
        let handle = Arc::new(make());
        let child = Child { handle: handle.clone(), idle_since: None };
        children.insert(key.into(), child);
        handle
    }

    /// Every series, in the order of its labels.
    pub fn each(&self, mut see: impl FnMut(&str, &T)) {
        let children = self.children.lock();
        let mut sorted: Vec<_> = children.iter().collect();
        sorted.sort_unstable_by_key(|(labels, _)| *labels);
        for (labels, child) in sorted {
            see(labels, &child.handle);
        }
    }

    /// Forgets the series nobody has held for `IDLE_KEPT`; all unused ones where there are too many.
    ///
    /// Handles are given out under the same lock, so a handle held once is held by the family alone, and a late
    /// observer never counts into a series that is gone.
    pub fn sweep(&self, now: Instant) {
        let mut children = self.children.lock();
        let mut idle = 0;
        children.retain(|_, child| {
            if Arc::strong_count(&child.handle) > 1 {
                child.idle_since = None;
                return true;
            }
            idle += 1;
            now.saturating_duration_since(*child.idle_since.get_or_insert(now)) < IDLE_KEPT
        });
        if idle > IDLE_LIMIT {
            children.retain(|_, child| child.idle_since.is_none());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counter;

    fn labels(family: &Family<Counter>) -> Vec<(String, u64)> {
        let mut seen = Vec::new();
        family.each(|labels, counter| seen.push((labels.to_owned(), counter.get())));
        seen
    }

    #[test]
    fn values_that_join_to_one_text_are_two_series() {
        let family = Family::<Counter>::default();
        let first = family.child(&[("s", "svc"), ("v", "11")], Counter::default);
        let second = family.child(&[("s", "svc1"), ("v", "1")], Counter::default);
        first.increment();
        second.add(2);
        assert_eq!(
            labels(&family),
            [(r#"s="svc",v="11""#.to_owned(), 1), (r#"s="svc1",v="1""#.to_owned(), 2)]
        );
    }

    #[test]
    fn a_series_that_comes_back_soon_goes_on_counting() {
        let family = Family::<Counter>::default();
        let start = Instant::now();
        family.child(&[("v", "1")], Counter::default).add(7);
        family.sweep(start);
        family.sweep(start + IDLE_KEPT - Duration::from_secs(1));
        assert_eq!(family.child(&[("v", "1")], Counter::default).get(), 7);
        // Coming back starts the wait anew.
        family.sweep(start + IDLE_KEPT);
        family.sweep(start + IDLE_KEPT * 2 - Duration::from_secs(1));
        assert_eq!(labels(&family).len(), 1);
        family.sweep(start + IDLE_KEPT * 2);
        assert!(labels(&family).is_empty());
    }

    #[test]
    fn a_late_observer_keeps_its_series() {
        let family = Family::<Counter>::default();
        let start = Instant::now();
        let late = family.child(&[("v", "1")], Counter::default);
        for round in 0..4 {
            family.sweep(start + IDLE_KEPT * round);
        }
        late.increment();
        assert_eq!(family.child(&[("v", "1")], Counter::default).get(), 1);
    }

    #[test]
    fn unused_series_are_bounded() {
        let family = Family::<Counter>::default();
        let held = family.child(&[("v", "held")], Counter::default);
        for number in 0..=IDLE_LIMIT {
            family.child(&[("v", &number.to_string())], Counter::default);
        }
        family.sweep(Instant::now());
        assert_eq!(labels(&family).len(), 1);
        assert_eq!(held.get(), 0);
    }
}

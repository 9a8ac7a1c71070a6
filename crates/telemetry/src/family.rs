//! The series of one name: which label values exist, and until when.
//!
//! Answers: which object counts for these labels? Owns: the map from labels to handles, its sweeping and its text.
//! The key is the label part as it is printed, quotes and all, so two different sets of values can never be
//! the same series. (The `prometheus` crate hashes values without a separator: `svc`,`11` and `svc1`,`1` meet.)
//! Never: on the way of a request; handles are taken when a generation is made and used without coming back.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::instrument::Distribution;
use super::text::{Kind, Page, label_text};

/// How long a series outlives its last user. A version that is taken out and put back within this time goes on
/// counting where it was, and several scrapes see the last value of one that does not come back.
const IDLE_KEPT: Duration = Duration::from_secs(15 * 60);

/// How many unused series a family keeps at most: names that change all the time must not fill the memory.
const IDLE_LIMIT: usize = 10_000;

/// Something that writes a part of the page.
pub(super) trait Registered: Any + Send + Sync {
    /// The first name it writes.
    fn name(&self) -> &'static str;
    fn write(&self, page: &mut Page);
    /// Forgets series that were not held for a while.
    fn sweep(&self, _now: Instant) {}
}

/// One name that a family writes, and what of each of its things stands under it.
pub struct View<T> {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub write: fn(&T, &mut Series<'_>),
}

/// Where the samples of one series are written.
pub struct Series<'a> {
    page: &'a mut Page,
    name: &'static str,
    labels: &'a str,
}

impl Series<'_> {
    pub fn value(&mut self, value: impl Display) {
        self.page.sample(self.name, self.labels, value);
    }

    /// One of several samples, told from the others by one more label, whose values are words of the program's own.
    pub fn value_of(&mut self, label: &str, word: &str, value: impl Display) {
        let comma = if self.labels.is_empty() { "" } else { "," };
        self.page.sample(self.name, &format!("{}{comma}{label}=\"{word}\"", self.labels), value);
    }

    pub fn durations(&mut self, seen: &Distribution) {
        self.page.histogram(self.name, self.labels, seen);
    }
}

/// Handles by labels. A series lives while its handle is held, and `IDLE_KEPT` longer.
pub struct Family<T> {
    labels: &'static [&'static str],
    make: fn() -> T,
    views: Vec<View<T>>,
    children: Mutex<HashMap<Box<str>, Child<T>>>,
    is_kept: AtomicBool,
}

struct Child<T> {
    handle: Arc<T>,
    idle_since: Option<Instant>,
}

impl<T> Family<T> {
    pub(super) fn new(labels: &'static [&'static str], make: fn() -> T, views: Vec<View<T>>) -> Family<T> {
        Family { labels, make, views, children: Mutex::default(), is_kept: AtomicBool::new(false) }
    }

    /// Never forgets a series: for those whose labels are few, and whose handles are not held.
    pub fn kept(self: Arc<Self>) -> Arc<Self> {
        self.is_kept.store(true, Ordering::Relaxed);
        self
    }

    /// The handle for these values of the labels, in the labels' order; made at the first call.
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(values.iter().copied()).collect();
        let key = label_text(&labels);
        let mut children = self.children.lock();
        if let Some(child) = children.get_mut(key.as_str()) {
            child.idle_since = None;
            return child.handle.clone();
        }
        let handle = Arc::new((self.make)());
        let child = Child { handle: handle.clone(), idle_since: None };
        children.insert(key.into(), child);
        handle
    }

    /// Every series, in the order of its labels.
    fn each(&self, mut see: impl FnMut(&str, &T)) {
        let children = self.children.lock();
        let mut sorted: Vec<_> = children.iter().collect();
        sorted.sort_unstable_by_key(|(labels, _)| *labels);
        for (labels, child) in sorted {
            see(labels, &child.handle);
        }
    }
}

impl<T: Send + Sync + 'static> Registered for Family<T> {
    fn name(&self) -> &'static str {
        self.views.first().map_or("", |view| view.name)
    }

    fn write(&self, page: &mut Page) {
        for view in &self.views {
            page.family(view.name, view.kind, view.help);
            self.each(|labels, thing| (view.write)(thing, &mut Series { page, name: view.name, labels }));
        }
    }

    /// Forgets the series that were not held for `IDLE_KEPT`; all unused ones where there are too many.
    ///
    /// Handles are given out under the same lock, so a handle held once is held by the family alone, and a late
    /// observer never counts into a series that is gone.
    fn sweep(&self, now: Instant) {
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
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

/// Numbers that are known all at once.
pub struct Table {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    /// Labels as they are printed, beside the number.
    rows: Mutex<Vec<(String, i64)>>,
}

impl Table {
    pub(super) fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Table {
        Table { name, help, labels, rows: Mutex::default() }
    }

    /// Puts these in the place of all there were.
    pub fn replace<'a, const LABELS: usize>(&self, rows: impl IntoIterator<Item = ([&'a str; LABELS], i64)>) {
        let text =
            |values: [&str; LABELS]| label_text(&self.labels.iter().copied().zip(values).collect::<Vec<_>>());
        let rows = rows.into_iter().map(|(values, number)| (text(values), number)).collect();
        *self.rows.lock() = rows;
    }
}

impl Registered for Table {
    fn name(&self) -> &'static str {
        self.name
    }

    fn write(&self, page: &mut Page) {
        page.family(self.name, Kind::Gauge, self.help);
        for (labels, number) in self.rows.lock().iter() {
            page.sample(self.name, labels, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counter;

    fn counters() -> Family<Counter> {
        Family::new(&["s", "v"], Counter::default, Vec::new())
    }

    fn labels(family: &Family<Counter>) -> Vec<(String, u64)> {
        let mut seen = Vec::new();
        family.each(|labels, counter| seen.push((labels.to_owned(), counter.get())));
        seen
    }

    #[test]
    fn values_that_join_to_one_text_are_two_series() {
        let family = counters();
        let first = family.with(&["svc", "11"]);
        let second = family.with(&["svc1", "1"]);
        first.increment();
        second.add(2);
        assert_eq!(
            labels(&family),
            [(r#"s="svc",v="11""#.to_owned(), 1), (r#"s="svc1",v="1""#.to_owned(), 2)]
        );
    }

    #[test]
    fn a_series_that_comes_back_soon_goes_on_counting() {
        let family = counters();
        let start = Instant::now();
        family.with(&["1"]).add(7);
        family.sweep(start);
        family.sweep(start + IDLE_KEPT - Duration::from_secs(1));
        assert_eq!(family.with(&["1"]).get(), 7);
        // Coming back starts the wait again.
        family.sweep(start + IDLE_KEPT);
        family.sweep(start + IDLE_KEPT * 2 - Duration::from_secs(1));
        assert_eq!(labels(&family).len(), 1);
        family.sweep(start + IDLE_KEPT * 2);
        assert!(labels(&family).is_empty());
    }

    #[test]
    fn a_late_observer_keeps_its_series() {
        let family = counters();
        let start = Instant::now();
        let late = family.with(&["1"]);
        for round in 0..4 {
            family.sweep(start + IDLE_KEPT * round);
        }
        late.increment();
        assert_eq!(family.with(&["1"]).get(), 1);
    }

    #[test]
    fn unused_series_are_bounded() {
        let family = counters();
        let held = family.with(&["held"]);
        for number in 0..=IDLE_LIMIT {
            family.with(&[&number.to_string()]);
        }
        family.sweep(Instant::now());
        assert_eq!(labels(&family).len(), 1);
        assert_eq!(held.get(), 0);
    }
}

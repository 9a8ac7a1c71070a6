//! The page of metrics: a room that counts registers its families here, and holds what it counts with.
//!
//! Answers: what does `GET /metrics` say? Owns: the list of families, in the order they were registered, and when unused
//! series are forgotten. Never: which families there are. A name that is registered twice is one family, so that two
//! rooms may count in it.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;

use super::family::{Family, Registered, Series, Table, View};
use super::instrument::{Counter, Distribution, Gauge, Histogram};
use super::text::{Kind, Page};

/// Sweeping looks at every series; with hundreds of changes a second once in a while is enough.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// All families of one process; cheap to clone, every clone is the same.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    families: Mutex<Vec<Arc<dyn Registered>>>,
    swept: Mutex<Option<Instant>>,
}

impl Registry {
    /// Numbers that only grow.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family<Counter>> {
        let view = View {
            name,
            kind: Kind::Counter,
            help,
            write: |counter: &Counter, series| series.value(counter.get()),
        };
        self.family(labels, Counter::default, vec![view])
    }

    /// Counters of which almost all are zero for ever: a series is shown once it has counted.
    pub fn rare_counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family<Counter>> {
        let write = |counter: &Counter, series: &mut Series<'_>| match counter.get() {
            0 => {}
            count => series.value(count),
        };
        self.family(labels, Counter::default, vec![View { name, kind: Kind::Counter, help, write }])
    }

    /// Numbers that go up and down.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family<Gauge>> {
        let view =
            View { name, kind: Kind::Gauge, help, write: |gauge: &Gauge, series| series.value(gauge.get()) };
        self.family(labels, Gauge::default, vec![view])
    }

    /// Durations.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Family<Histogram>> {
        let write = |histogram: &Histogram, series: &mut Series<'_>| {
            series.durations(&Distribution::of([histogram]));
        };
        self.family(labels, Histogram::default, vec![View { name, kind: Kind::Histogram, help, write }])
    }

    /// Things that count several numbers at once, each of which is a family of its own with the same labels.
    pub fn family<T: Send + Sync + 'static>(
        &self,
        labels: &'static [&'static str],
        make: fn() -> T,
        views: Vec<View<T>>,
    ) -> Arc<Family<T>> {
        self.register(Family::new(labels, make, views))
    }

    /// Numbers that are known all at once, and replaced together.
    pub fn table(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Arc<Table> {
        self.register(Table::new(name, help, labels))
    }

    /// A number that is worked out when the page is written.
    pub fn computed(&self, computed: Computed) {
        self.register(computed);
    }

    /// What the system knows of this process: `process_*`.
    pub fn process(&self) {
        self.register(OwnProcess(Mutex::new(ProcessCollector::for_self())));
    }

    fn register<R: Registered>(&self, new: R) -> Arc<R> {
        let mut families = self.0.families.lock();
        let same_name = families.iter().find(|family| family.name() == new.name());
        let same = same_name.and_then(|family| {
            let family: Arc<dyn Any + Send + Sync> = family.clone();
            family.downcast::<R>().ok()
        });
        same.unwrap_or_else(|| {
            let new = Arc::new(new);
            families.push(new.clone());
            new
        })
    }

    /// Forgets series whose handles were not held for a while; to be called after every publish.
    ///
    /// A generation holds the handles of everything it can count, so what is in no living generation and in no
    /// request under way is unused. Cheap when called often: it works once in `SWEEP_INTERVAL`.
    pub fn sweep(&self, now: Instant) {
        {
            let mut swept = self.0.swept.lock();
            let recent = |last: Instant| now.saturating_duration_since(last) < SWEEP_INTERVAL;
            if swept.is_some_and(recent) {
                return;
            }
            *swept = Some(now);
        }
        let families = self.0.families.lock().clone();
        families.iter().for_each(|family| family.sweep(now));
    }

    /// The whole page: Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let families = self.0.families.lock().clone();
        let mut page = Page::default();
        families.iter().for_each(|family| family.write(&mut page));
        page.into_text()
    }
}

/// A number that can be asked for at any time.
pub struct Computed {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub read: Box<dyn Fn() -> i64 + Send + Sync>,
}

impl Registered for Computed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn write(&self, page: &mut Page) {
        page.family(self.name, self.kind, self.help);
        page.sample(self.name, "", (self.read)());
    }
}

/// Locked, because its collecting reads and then writes a counter: two scrapes at once would add twice.
struct OwnProcess(Mutex<ProcessCollector>);

impl Registered for OwnProcess {
    fn name(&self) -> &'static str {
        "process_"
    }

    fn write(&self, page: &mut Page) {
        let families = self.0.lock().collect();
        // Half a page is better than none: the encoder fails only on a family without samples.
        if let Ok(text) = prometheus::TextEncoder::new().encode_to_string(&families) {
            page.append(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_two_rooms_register_is_one_family() {
        let registry = Registry::default();
        registry.gauge("problems", "Problems.", &["kind"]).with(&["rule"]).set(2);
        registry.gauge("problems", "Problems.", &["kind"]).with(&["certificate"]).set(1);
        assert_eq!(
            registry.render(),
            "# HELP problems Problems.\n# TYPE problems gauge\nproblems{kind=\"certificate\"} 1\n\
             problems{kind=\"rule\"} 2\n"
        );
    }

    #[test]
    fn families_stand_in_the_order_of_their_registration() {
        let registry = Registry::default();
        registry.counter("b_total", "B.", &[]).with(&[]).add(3);
        registry.rare_counter("a_total", "A.", &["x"]).with(&["never"]);
        registry.table("t", "T.", &["x", "y"]).replace([(["1", "2"], 7)]);
        registry.table("t", "T.", &["x", "y"]).replace([(["3", "4"], 8)]);
        assert_eq!(
            registry.render(),
            "# HELP b_total B.\n# TYPE b_total counter\nb_total 3\n\
             # HELP a_total A.\n# TYPE a_total counter\n\
             # HELP t T.\n# TYPE t gauge\nt{x=\"3\",y=\"4\"} 8\n"
        );
    }
}

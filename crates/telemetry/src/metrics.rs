//! Every metric of the contract's section 9: its name, its labels, its text.
//!
//! Answers: what does `GET /metrics` say, and whom does one ask for a handle? Owns: the families and the page.
//! Handles are resolved when a generation is made; a request counts with them and never comes here.
//! Never: a label value from a request, a process-wide instance.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::family::Family;
use super::instrument::{Counter, Distribution, Gauge, Histogram};
use super::text::{Kind, Page, label_text};
use super::version::{VersionMetrics, shard_count};
use graygate_rules::vocab::{
    FallbackReason, InstanceState, Label, Problem, Reason, Revision, StatusClass, TryOutcome,
};

/// Sweeping looks at every series; with hundreds of changes a second once in a while is enough.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The kinds of documents as labels, beside the folder that stands in front of a document's name.
const PROBLEM_KINDS: [(&str, &str); 5] = [
    ("route", "routes/"),
    ("service", "services/"),
    ("rule", "rules/"),
    ("list", "lists/"),
    ("instance", "instances/"),
];

/// What is wrong outside of a document's own kind.
const OTHER_KIND: &str = "other";

/// Service, version, and how many of its instances are in each state, in the order of `InstanceState::ALL`.
pub type InstanceCounts = (Label, Label, [u64; InstanceState::ALL.len()]);

/// All metrics of one process; cheap to clone, every clone counts in the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    shards: usize,
    versions: Family<VersionMetrics>,
    decisions: Family<Counter>,
    fallbacks: Family<Counter>,
    ejections: Family<Counter>,
    retries_suppressed: Family<Counter>,
    unrouted: Family<Counter>,
    connections: Family<Gauge>,
    connections_refused: Family<Counter>,
    /// Directory, pair, and the second since 1970 in which it expires.
    certificates: Mutex<Vec<(String, String, i64)>>,
    certificate_problems: Gauge,
    instances: Mutex<Vec<InstanceCounts>>,
    list_members: Mutex<Vec<(Label, u64)>>,
    problems: [Gauge; PROBLEM_KINDS.len()],
    other_problems: Gauge,
    offered: Gauge,
    running: Gauge,
    apply: Histogram,
    source_up: Gauge,
    source_stale: Gauge,
    source_mismatches: Gauge,
    access_log_dropped: Arc<Counter>,
    swept: Mutex<Option<Instant>>,
    /// Locked, because its collecting reads and then writes a counter: two scrapes at once would add twice.
    own_process: Mutex<ProcessCollector>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Metrics(Arc::new(Families {
            shards: shard_count(cores),
            versions: Family::default(),
            decisions: Family::default(),
            fallbacks: Family::default(),
            ejections: Family::default(),
            retries_suppressed: Family::default(),
            unrouted: Family::default(),
            connections: Family::default(),
            connections_refused: Family::default(),
            certificates: Mutex::default(),
            certificate_problems: Gauge::default(),
            instances: Mutex::default(),
            list_members: Mutex::default(),
            problems: Default::default(),
            other_problems: Gauge::default(),
            offered: Gauge::default(),
            running: Gauge::default(),
            apply: Histogram::default(),
            source_up: Gauge::default(),
            source_stale: Gauge::default(),
            source_mismatches: Gauge::default(),
            access_log_dropped: Arc::default(),
            swept: Mutex::default(),
            own_process: Mutex::new(ProcessCollector::for_self()),
        }))
    }

    /// What every request of this version counts with.
    pub fn version(&self, service: &str, version: &str) -> Arc<VersionMetrics> {
        let labels = [("service", service), ("version", version)];
        let make = || VersionMetrics::with_shards(self.0.shards);
        self.0.versions.child(&labels, make)
    }

    /// `graygate_decisions_total`; `rule` is empty where no rule decided.
    pub fn decision(&self, service: &str, version: &str, reason: Reason, rule: &str) -> Arc<Counter> {
        let labels =
            [("service", service), ("version", version), ("reason", reason.as_str()), ("rule", rule)];
        self.0.decisions.child(&labels, Counter::default)
    }

    /// `graygate_fallbacks_total`: decided `from`, served by `to`.
    pub fn fallback(&self, service: &str, from: &str, to: &str, reason: FallbackReason) -> Arc<Counter> {
        let labels = [("service", service), ("from", from), ("to", to), ("reason", reason.as_str())];
        self.0.fallbacks.child(&labels, Counter::default)
    }

    /// `graygate_ejections_total`: instances taken out because their answers were bad.
    pub fn ejections(&self, service: &str, version: &str) -> Arc<Counter> {
        let labels = [("service", service), ("version", version)];
        self.0.ejections.child(&labels, Counter::default)
    }

    /// `graygate_retries_suppressed_total`: retries not made, because the service had made too many lately.
    pub fn retries_suppressed(&self, service: &str) -> Arc<Counter> {
        self.0.retries_suppressed.child(&[("service", service)], Counter::default)
    }

    /// `graygate_unrouted_total`: answered before a service was known. The reason is a word of the program's own.
    pub fn unrouted(&self, reason: &'static str) -> Arc<Counter> {
        let labels = [("reason", reason)];
        self.0.unrouted.child(&labels, Counter::default)
    }

    /// `graygate_connections`: open connections of one listener.
    pub fn connections(&self, listener: &str) -> Arc<Gauge> {
        let labels = [("listener", listener)];
        self.0.connections.child(&labels, Gauge::default)
    }

    /// `graygate_connections_refused_total`: connections that ended before anything could be asked on them.
    pub fn connections_refused(&self, listener: &str, reason: &'static str) -> Arc<Counter> {
        let labels = [("listener", listener), ("reason", reason)];
        self.0.connections_refused.child(&labels, Counter::default)
    }

    /// `graygate_certificate_expiry_seconds` (directory, pair, seconds since 1970), replaced as a whole, and
    /// `graygate_problems{kind="certificate"}`.
    pub fn set_certificates(&self, expiries: Vec<(String, String, i64)>, held_back: usize) {
        *self.0.certificates.lock() = expiries;
        self.0.certificate_problems.set(held_back as i64);
    }

    /// `graygate_access_log_dropped_total`, for the access log to count with.
    pub fn access_log_dropped(&self) -> Arc<Counter> {
        self.0.access_log_dropped.clone()
    }

    /// `graygate_instances`, replaced as a whole.
    pub fn set_instances(&self, counts: Vec<InstanceCounts>) {
        *self.0.instances.lock() = counts;
    }

    /// `graygate_list_members`, replaced as a whole.
    pub fn set_list_members(&self, counts: Vec<(Label, u64)>) {
        *self.0.list_members.lock() = counts;
    }

    /// `graygate_problems`: documents with a problem, each counted once however many it has.
    pub fn set_problems(&self, problems: &[Problem]) {
        let documents: BTreeSet<&str> = problems.iter().map(|p| p.document.as_str()).collect();
        let mut others = documents.len();
        for (gauge, (_, folder)) in self.0.problems.iter().zip(PROBLEM_KINDS) {
            let count = documents.iter().filter(|d| d.starts_with(folder)).count();
            gauge.set(count as i64);
            others -= count;
        }
        self.0.other_problems.set(others as i64);
    }

    /// `graygate_revision{kind="offered"}`: what the source has.
    pub fn set_offered(&self, revision: Revision) {
        self.0.offered.set(revision.cast_signed());
    }

    /// `graygate_revision{kind="running"}`: what decides.
    pub fn set_running(&self, revision: Revision) {
        self.0.running.set(revision.cast_signed());
    }

    /// `graygate_apply_seconds`: from a change seen to a generation running.
    pub fn applied(&self, duration: Duration) {
        self.0.apply.observe(duration);
    }

    /// `graygate_source_up` and `graygate_source_stale_seconds` (whole seconds since the source was last heard).
    pub fn set_source(&self, up: bool, stale: Duration) {
        self.0.source_up.set(i64::from(up));
        let seconds = i64::try_from(stale.as_secs()).unwrap_or(i64::MAX);
        self.0.source_stale.set(seconds);
    }

    /// `graygate_source_mismatches_total`: how often the periodic comparison found the held documents to differ.
    pub fn set_source_mismatches(&self, mismatches: u64) {
        self.0.source_mismatches.set(i64::try_from(mismatches).unwrap_or(i64::MAX));
    }

    /// Forgets series whose handles nobody has held for a while; to be called after every publish.
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
        self.0.versions.sweep(now);
        self.0.decisions.sweep(now);
        self.0.fallbacks.sweep(now);
        self.0.ejections.sweep(now);
        self.0.retries_suppressed.sweep(now);
    }

    /// The whole page: Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        self.0.render_versions(&mut page);
        self.0.render_decisions(&mut page);
        self.0.render_instances(&mut page);
        self.0.render_state(&mut page);
        self.0.render_source(&mut page);
        self.0.render_process(&mut page);
        page.into_text()
    }
}

impl Families {
    fn render_versions(&self, page: &mut Page) {
        let name = "graygate_requests_total";
        page.family(name, Kind::Counter, "Requests by decided version.");
        self.versions.each(|labels, version| {
            for &status in StatusClass::ALL {
                let labels = format!("{labels},status=\"{status}\"");
                page.sample(name, &labels, version.requests(status));
            }
        });
        let name = "graygate_request_duration_seconds";
        page.family(name, Kind::Histogram, "Duration of a whole request.");
        self.versions.each(|labels, version| {
            page.histogram(name, labels, &version.request_durations());
        });
        let name = "graygate_requests_in_flight";
        page.family(name, Kind::Gauge, "Requests that have begun and not ended.");
        self.versions.each(|labels, version| {
            page.sample(name, labels, version.in_flight());
        });
        let name = "graygate_upstream_tries_total";
        let help = "Tries at an upstream by the version that was tried.";
        page.family(name, Kind::Counter, help);
        self.versions.each(|labels, version| {
            for &outcome in TryOutcome::ALL {
                let labels = format!("{labels},outcome=\"{outcome}\"");
                page.sample(name, &labels, version.tries(outcome));
            }
        });
        let name = "graygate_retries_suppressed_total";
        page.family(name, Kind::Counter, "Retries not made because too many were made lately.");
        self.retries_suppressed.each(|labels, counter| {
            page.sample(name, labels, counter.get());
        });
        let name = "graygate_upstream_duration_seconds";
        let help = "Time until the upstream's response header.";
        page.family(name, Kind::Histogram, help);
        self.versions.each(|labels, version| {
            page.histogram(name, labels, &version.upstream_durations());
        });
    }

    fn render_decisions(&self, page: &mut Page) {
        let name = "graygate_decisions_total";
        page.family(name, Kind::Counter, "Decisions by version, reason and rule.");
        self.decisions.each(touched(page, name));
        let name = "graygate_fallbacks_total";
        let help = "Requests served by another version than the decided one.";
        page.family(name, Kind::Counter, help);
        self.fallbacks.each(touched(page, name));
        let name = "graygate_unrouted_total";
        let help = "Requests answered before a service was known.";
        page.family(name, Kind::Counter, help);
        self.unrouted.each(|labels, counter| {
            page.sample(name, labels, counter.get());
        });
    }

    fn render_instances(&self, page: &mut Page) {
        let name = "graygate_instances";
        page.family(name, Kind::Gauge, "Instances by version and state.");
        for (service, version, counts) in self.instances.lock().iter() {
            for (state, count) in InstanceState::ALL.iter().zip(counts) {
                let labels = [("service", &**service), ("version", version), ("state", state.as_str())];
                page.sample(name, &label_text(&labels), count);
            }
        }
        let name = "graygate_ejections_total";
        page.family(name, Kind::Counter, "Instances ejected for bad answers.");
        self.ejections.each(|labels, counter| {
            page.sample(name, labels, counter.get());
        });
    }

    /// What runs, and what is wrong with what was offered.
    fn render_state(&self, page: &mut Page) {
        let name = "graygate_revision";
        page.family(name, Kind::Gauge, "Revision of the documents.");
        page.sample(name, "kind=\"offered\"", self.offered.get());
        page.sample(name, "kind=\"running\"", self.running.get());

        let name = "graygate_apply_seconds";
        let help = "Time from a change seen to a generation running.";
        page.family(name, Kind::Histogram, help);
        let mut seen = Distribution::default();
        seen.add(&self.apply);
        page.histogram(name, "", &seen);

        let name = "graygate_problems";
        page.family(name, Kind::Gauge, "Documents with a problem.");
        let kinds = PROBLEM_KINDS.iter().map(|(kind, _)| *kind);
        let gauges = self.problems.iter().chain([&self.other_problems]);
        for (kind, gauge) in kinds.chain([OTHER_KIND]).zip(gauges) {
            page.sample(name, &label_text(&[("kind", kind)]), gauge.get());
        }
        page.sample(name, "kind=\"certificate\"", self.certificate_problems.get());

        let name = "graygate_list_members";
        page.family(name, Kind::Gauge, "Members of a list.");
        for (list, count) in self.list_members.lock().iter() {
            page.sample(name, &label_text(&[("list", list)]), count);
        }
    }

    /// Where documents come from, where requests come from, and where log lines go.
    fn render_source(&self, page: &mut Page) {
        let help = "Whether the source of documents can be reached.";
        let up = self.source_up.get();
        page.single("graygate_source_up", Kind::Gauge, help, up);
        let help = "Seconds since the source of documents was last heard.";
        let stale = self.source_stale.get();
        page.single("graygate_source_stale_seconds", Kind::Gauge, help, stale);
        let help = "Times the periodic comparison found the held documents to differ from the source's.";
        let mismatches = self.source_mismatches.get();
        page.single("graygate_source_mismatches_total", Kind::Counter, help, mismatches);

        let name = "graygate_connections";
        page.family(name, Kind::Gauge, "Open client connections.");
        self.connections.each(|labels, gauge| {
            page.sample(name, labels, gauge.get());
        });
        let name = "graygate_connections_refused_total";
        page.family(name, Kind::Counter, "Connections that ended before anything could be asked on them.");
        self.connections_refused.each(|labels, counter| {
            page.sample(name, labels, counter.get());
        });
        let name = "graygate_certificate_expiry_seconds";
        page.family(name, Kind::Gauge, "When a certificate expires, in seconds since 1970.");
        for (directory, certificate, expiry) in self.certificates.lock().iter() {
            let labels = [("directory", directory.as_str()), ("certificate", certificate)];
            page.sample(name, &label_text(&labels), expiry);
        }
        let name = "graygate_access_log_dropped_total";
        let help = "Access log lines dropped because their reader was too slow.";
        page.single(name, Kind::Counter, help, self.access_log_dropped.get());
    }

    fn render_process(&self, page: &mut Page) {
        let families = self.own_process.lock().collect();
        // Half a page is better than none: the encoder fails only on a family without samples.
        if let Ok(text) = prometheus::TextEncoder::new().encode_to_string(&families) {
            page.append(&text);
        }
    }
}

/// Writes only the series that have counted: there is one for every rule and every way to fall back, and almost
/// all of them are zero for ever.
fn touched<'a>(page: &'a mut Page, name: &'a str) -> impl FnMut(&str, &Counter) + 'a {
    move |labels, counter| match counter.get() {
        0 => {}
        count => page.sample(name, labels, count),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    /// Reads one line of labels and returns what is left behind the closing brace.
    fn labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
        let mut labels = Vec::new();
        loop {
            let (name, after) = rest.split_once("=\"").expect("a label's name");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let (mut value, mut characters) = (String::new(), after.chars());
            loop {
                match characters.next().expect("a closing quote") {
                    '"' => break,
                    '\\' => match characters.next() {
                        Some('n') => value.push('\n'),
                        Some(escaped @ ('"' | '\\')) => value.push(escaped),
                        other => panic!("unknown escape {other:?}"),
                    },
                    plain => value.push(plain),
                }
            }
            labels.push((name.to_owned(), value));
            match characters.next() {
                Some(',') => rest = characters.as_str(),
                Some('}') => return (labels, characters.as_str()),
                other => panic!("{other:?} behind a label"),
            }
        }
    }

    /// Samples by their text without the value; checks every line of the page on the way.
    fn parse(page: &str) -> HashMap<String, f64> {
        let (mut types, mut samples) = (HashMap::new(), HashMap::new());
        let mut helped = HashSet::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a help text");
                assert!(!text.is_empty() && helped.insert(name), "{line}");
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(types.insert(name, kind).is_none(), "{line}");
                continue;
            }
            let end = line.find(['{', ' ']).expect("a sample's name");
            let (name, rest) = line.split_at(end);
            let (found, value) = match rest.strip_prefix('{') {
                Some(inside) => labels(inside),
                None => (Vec::new(), rest),
            };
            let value: f64 = value.strip_prefix(' ').unwrap().parse().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|part| name.strip_suffix(part))
                .find(|family| types.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            assert!(types.contains_key(family), "{line} has no type");
            let mut key = name.to_owned();
            for (name, value) in found {
                key.push_str(&format!(" {name}={value}"));
            }
            assert!(samples.insert(key, value).is_none(), "{line} stands twice");
        }
        assert_eq!(types.len(), helped.len());
        samples
    }

    fn check(metrics: &Metrics, expected: &[(&str, Option<f64>)]) {
        let samples = parse(&metrics.render());
        for (sample, value) in expected {
            assert_eq!(samples.get(*sample).copied(), *value, "{sample}");
        }
    }

    #[test]
    fn a_fresh_page_has_every_family_without_labels() {
        check(
            &Metrics::new(),
            &[
                ("graygate_revision kind=offered", Some(0.0)),
                ("graygate_source_up", Some(0.0)),
                ("graygate_problems kind=other", Some(0.0)),
                ("graygate_apply_seconds_count", Some(0.0)),
                ("graygate_apply_seconds_bucket le=+Inf", Some(0.0)),
                ("graygate_access_log_dropped_total", Some(0.0)),
            ],
        );
        let page = Metrics::new().render();
        for name in ["process_open_fds", "process_cpu_seconds_total"] {
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }

    #[test]
    fn a_version_counts_under_its_own_labels() {
        let metrics = Metrics::new();
        let eleven = metrics.version("svc", "11");
        let one = metrics.version("svc1", "1");
        let _flight = eleven.begin();
        eleven.finished(StatusClass::Success, Duration::from_millis(3));
        eleven.finished(StatusClass::ServerError, Duration::from_secs(70));
        eleven.tried(TryOutcome::ConnectFailed);
        eleven.upstream_answered(Duration::from_millis(1));
        one.finished(StatusClass::Success, Duration::ZERO);
        let duration = "graygate_request_duration_seconds";
        let bucket = |le: &str| format!("{duration}_bucket service=svc version=11 le={le}");
        check(
            &metrics,
            &[
                ("graygate_requests_total service=svc version=11 status=2xx", Some(1.0)),
                ("graygate_requests_total service=svc version=11 status=5xx", Some(1.0)),
                ("graygate_requests_total service=svc1 version=1 status=2xx", Some(1.0)),
                ("graygate_requests_total service=svc1 version=1 status=5xx", Some(0.0)),
                ("graygate_requests_in_flight service=svc version=11", Some(1.0)),
                ("graygate_upstream_tries_total service=svc version=11 outcome=connect_failed", Some(1.0)),
                ("graygate_upstream_duration_seconds_count service=svc version=11", Some(1.0)),
                (&bucket("0.0025"), Some(0.0)),
                (&bucket("0.005"), Some(1.0)),
                (&bucket("60"), Some(1.0)),
                (&bucket("+Inf"), Some(2.0)),
                (&format!("{duration}_count service=svc version=11"), Some(2.0)),
                (&format!("{duration}_sum service=svc version=11"), Some(70.003)),
            ],
        );
    }

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::new();
        let version = metrics.version("s", "v");
        for millis in [0, 1, 2, 4, 9, 30, 80, 400, 900, 3_000, 20_000, 100_000] {
            version.finished(StatusClass::Success, Duration::from_millis(millis));
        }
        let page = metrics.render();
        let counts: Vec<u64> = page
            .lines()
            .filter(|line| line.starts_with("graygate_request_duration_seconds_bucket"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(counts, [1, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 12]);
    }

    #[test]
    fn decisions_and_fallbacks_show_only_what_happened() {
        let metrics = Metrics::new();
        let rule = metrics.decision("s", "gray", Reason::Rule, "10-\"staff\"");
        let default = metrics.decision("s", "release", Reason::Default, "");
        metrics.decision("s", "gray", Reason::Rule, "20-never");
        metrics.fallback("s", "gray", "release", FallbackReason::Unhealthy).increment();
        metrics.fallback("s", "gray", "release", FallbackReason::NoInstances);
        metrics.unrouted("no_route").add(3);
        rule.increment();
        default.add(2);
        check(
            &metrics,
            &[
                ("graygate_decisions_total service=s version=gray reason=rule rule=10-\"staff\"", Some(1.0)),
                ("graygate_decisions_total service=s version=release reason=default rule=", Some(2.0)),
                ("graygate_decisions_total service=s version=gray reason=rule rule=20-never", None),
                ("graygate_fallbacks_total service=s from=gray to=release reason=unhealthy", Some(1.0)),
                ("graygate_fallbacks_total service=s from=gray to=release reason=no_instances", None),
                ("graygate_unrouted_total reason=no_route", Some(3.0)),
            ],
        );
    }

    #[test]
    fn what_is_set_replaces_what_was() {
        let metrics = Metrics::new();
        metrics.set_instances(vec![("s".into(), "old".into(), [9, 0, 0, 0])]);
        metrics.set_instances(vec![("s".into(), "v1".into(), [2, 1, 0, 3])]);
        metrics.set_list_members(vec![("staff".into(), 1_200_345)]);
        metrics.set_offered(812);
        metrics.set_running(811);
        metrics.applied(Duration::from_millis(12));
        metrics.set_source(true, Duration::from_secs(5));
        metrics.ejections("s", "v1").increment();
        metrics.retries_suppressed("s").add(7);
        metrics.access_log_dropped().add(4);
        let connection = metrics.connections("0.0.0.0:8080").occupy();
        let problem = |document: &str, field: &str| Problem {
            document: document.into(),
            field: field.into(),
            message: "wrong".into(),
            help: String::new(),
        };
        metrics.set_problems(&[
            problem("rules/a", "when"),
            problem("rules/a", "split"),
            problem("rules/b", ""),
            problem("stray.txt", ""),
        ]);
        check(
            &metrics,
            &[
                ("graygate_instances service=s version=v1 state=healthy", Some(2.0)),
                ("graygate_instances service=s version=v1 state=draining", Some(3.0)),
                ("graygate_instances service=s version=old state=healthy", None),
                ("graygate_list_members list=staff", Some(1_200_345.0)),
                ("graygate_revision kind=offered", Some(812.0)),
                ("graygate_revision kind=running", Some(811.0)),
                ("graygate_apply_seconds_count", Some(1.0)),
                ("graygate_apply_seconds_sum", Some(0.012)),
                ("graygate_source_up", Some(1.0)),
                ("graygate_source_stale_seconds", Some(5.0)),
                ("graygate_ejections_total service=s version=v1", Some(1.0)),
                ("graygate_retries_suppressed_total service=s", Some(7.0)),
                ("graygate_access_log_dropped_total", Some(4.0)),
                ("graygate_connections listener=0.0.0.0:8080", Some(1.0)),
                ("graygate_problems kind=rule", Some(2.0)),
                ("graygate_problems kind=other", Some(1.0)),
                ("graygate_problems kind=route", Some(0.0)),
            ],
        );
        drop(connection);
        let gone = ("graygate_connections listener=0.0.0.0:8080", Some(0.0));
        check(&metrics, &[gone]);
    }

    #[test]
    fn a_version_in_no_generation_is_forgotten_in_time() {
        let metrics = Metrics::new();
        let start = Instant::now();
        let held = metrics.version("s", "held");
        let flight = metrics.version("s", "late").begin();
        metrics.version("s", "gone");
        let hour = Duration::from_secs(3_600);
        let sample = |version: &str| format!("graygate_requests_in_flight service=s version={version}");
        metrics.sweep(start);
        // Too soon after the last time to do anything.
        metrics.sweep(start + Duration::from_secs(1));
        check(&metrics, &[(&sample("gone"), Some(0.0))]);
        metrics.sweep(start + hour);
        let expected: [(&str, Option<f64>); 3] =
            [(&sample("held"), Some(0.0)), (&sample("late"), Some(1.0)), (&sample("gone"), None)];
        check(&metrics, &expected);
        drop(flight);
        metrics.sweep(start + 2 * hour);
        metrics.sweep(start + 3 * hour);
        check(&metrics, &[(&sample("late"), None)]);
        assert_eq!(held.in_flight(), 0);
    }
}

//! The proxy's families: their names, their labels, and where a handle comes from.
//!
//! Handles are resolved when a generation is made; a request counts with them and never comes here.
//! Never: a label value from a request, a process-wide instance, or the text of the page.

mod mirror;
mod version;

use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_rules::vocab::{
    FallbackReason, InstanceState, Label, Reason, Revision, StatusClass, TryOutcome,
};
use graygate_telemetry::{Counter, Family, FamilyKind, Gauge, Histogram, Registry, Series, Table, View};

pub use mirror::MirrorMetrics;
pub use version::{InFlight, VersionMetrics};

/// Problems of what is no document of any kind.
pub const OTHER_PROBLEMS: &str = "other";
/// Problems of certificates, which are no documents either.
const CERTIFICATE_PROBLEMS: &str = "certificate";

/// Service, version, and how many of its instances are in each state, in the order of `InstanceState::ALL`.
pub type InstanceCounts = (Label, Label, [u64; InstanceState::ALL.len()]);

/// What the proxy counts; cheap to clone, every clone counts in the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    versions: Arc<Family<VersionMetrics>>,
    decisions: Arc<Family<Counter>>,
    fallbacks: Arc<Family<Counter>>,
    ejections: Arc<Family<Counter>>,
    retries_suppressed: Arc<Family<Counter>>,
    limited: Arc<Family<Counter>>,
    mirrors: mirror::MirrorFamilies,
    rescues: Arc<Family<Counter>>,
    unrouted: Arc<Family<Counter>>,
    connections: Arc<Family<Gauge>>,
    connections_refused: Arc<Family<Counter>>,
    certificates: Arc<Table>,
    instances: Arc<Table>,
    list_members: Arc<Table>,
    problems: Arc<Family<Gauge>>,
    offered: Arc<Gauge>,
    running: Arc<Gauge>,
    apply: Arc<Histogram>,
    access_log_dropped: Arc<Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new(&Registry::default())
    }
}

impl Metrics {
    /// Registers every family.
    pub fn new(registry: &Registry) -> Metrics {
        let of_version: &[&str] = &["service", "version"];
        let revision = registry.gauge("graygate_revision", "Revision of the documents.", &["kind"]).kept();
        let counter = |name, help, labels| registry.counter(name, help, labels);
        Metrics(Arc::new(Families {
            registry: registry.clone(),
            versions: registry.family(of_version, VersionMetrics::default, version_views()),
            retries_suppressed: counter(
                "graygate_retries_suppressed_total",
                "Retries not made because too many were made lately.",
                &["service"],
            ),
            mirrors: mirror::MirrorFamilies::new(registry),
            rescues: registry.rare_counter(
                "graygate_assets_rescued_total",
                "Files that the decided version did not have and another one did.",
                &["service", "from", "to"],
            ),
            limited: counter(
                "graygate_limited_total",
                "Requests refused because a limit was reached.",
                &["service", "route"],
            ),
            decisions: registry.rare_counter(
                "graygate_decisions_total",
                "Decisions by version, reason and rule.",
                &["service", "version", "reason", "rule"],
            ),
            fallbacks: registry.rare_counter(
                "graygate_fallbacks_total",
                "Requests served by another version than the decided one.",
                &["service", "from", "to", "reason"],
            ),
            unrouted: counter(
                "graygate_unrouted_total",
                "Requests answered before a service was known.",
                &["reason"],
            )
            .kept(),
            instances: registry.table(
                "graygate_instances",
                "Instances by version and state.",
                &["service", "version", "state"],
            ),
            ejections: counter("graygate_ejections_total", "Instances ejected for bad answers.", of_version),
            offered: revision.with(&["offered"]),
            running: revision.with(&["running"]),
            apply: registry
                .histogram("graygate_apply_seconds", "Time from a change seen to a generation running.", &[])
                .kept()
                .with(&[]),
            problems: registry.gauge("graygate_problems", "Documents with a problem.", &["kind"]).kept(),
            list_members: registry.table("graygate_list_members", "Members of a list.", &["list"]),
            connections: registry
                .gauge("graygate_connections", "Open client connections.", &["listener"])
                .kept(),
            connections_refused: counter(
                "graygate_connections_refused_total",
                "Connections that ended before anything could be asked on them.",
                &["listener", "reason"],
            )
            .kept(),
            certificates: registry.table(
                "graygate_certificate_expiry_seconds",
                "When a certificate expires, in seconds since 1970.",
                &["directory", "certificate"],
            ),
            access_log_dropped: counter(
                "graygate_access_log_dropped_total",
                "Access log lines dropped because their reader was too slow.",
                &[],
            )
            .with(&[]),
        }))
    }

    /// What every request of this version counts with.
    pub fn version(&self, service: &str, version: &str) -> Arc<VersionMetrics> {
        self.0.versions.with(&[service, version])
    }

    /// `graygate_decisions_total`; `rule` is empty where no rule decided.
    pub fn decision(&self, service: &str, version: &str, reason: Reason, rule: &str) -> Arc<Counter> {
        self.0.decisions.with(&[service, version, reason.as_str(), rule])
    }

    /// `graygate_fallbacks_total`: decided `from`, served by `to`.
    pub fn fallback(&self, service: &str, from: &str, to: &str, reason: FallbackReason) -> Arc<Counter> {
        self.0.fallbacks.with(&[service, from, to, reason.as_str()])
    }

    /// `graygate_ejections_total`: instances taken out because their answers were bad.
    pub fn ejections(&self, service: &str, version: &str) -> Arc<Counter> {
        self.0.ejections.with(&[service, version])
    }

    /// `graygate_retries_suppressed_total`: retries not made, because the service had made too many lately.
    pub fn retries_suppressed(&self, service: &str) -> Arc<Counter> {
        self.0.retries_suppressed.with(&[service])
    }

    /// `graygate_limited_total`: refused for a limit of this route or of its service, which is empty for a redirect.
    pub fn limited(&self, service: &str, route: &str) -> Arc<Counter> {
        self.0.limited.with(&[service, route])
    }

    /// `graygate_mirrored_total` and `graygate_mirror_duration_seconds`.
    pub fn mirror(&self, service: &str, to: &str, version: &str) -> MirrorMetrics {
        self.0.mirrors.of(service, to, version)
    }

    /// `graygate_assets_rescued_total`: decided `from`, found at `to`.
    pub fn rescue(&self, service: &str, from: &str, to: &str) -> Arc<Counter> {
        self.0.rescues.with(&[service, from, to])
    }

    /// `graygate_unrouted_total`: answered before a service was known. The reason is a word of the program's own.
    pub fn unrouted(&self, reason: &'static str) -> Arc<Counter> {
        self.0.unrouted.with(&[reason])
    }

    /// `graygate_connections`: open connections of one listener.
    pub fn connections(&self, listener: &str) -> Arc<Gauge> {
        self.0.connections.with(&[listener])
    }

    /// `graygate_connections_refused_total`: connections that ended before anything could be asked on them.
    pub fn connections_refused(&self, listener: &str, reason: &'static str) -> Arc<Counter> {
        self.0.connections_refused.with(&[listener, reason])
    }

    /// `graygate_certificate_expiry_seconds` (directory, pair, seconds since 1970), replaced as a whole, and
    /// `graygate_problems{kind="certificate"}`.
    pub fn set_certificates(&self, expiries: Vec<(String, String, i64)>, held_back: usize) {
        let rows = expiries.iter().map(|(directory, pair, expiry)| ([directory.as_str(), pair], *expiry));
        self.0.certificates.replace(rows);
        self.0.problems.with(&[CERTIFICATE_PROBLEMS]).set(held_back as i64);
    }

    /// `graygate_access_log_dropped_total`, for the access log to count with.
    pub fn access_log_dropped(&self) -> Arc<Counter> {
        self.0.access_log_dropped.clone()
    }

    /// `graygate_instances`, replaced as a whole.
    pub fn set_instances(&self, counts: Vec<InstanceCounts>) {
        let rows = counts.iter().flat_map(|(service, version, counts)| {
            let states = InstanceState::ALL.iter().zip(counts);
            states.map(move |(state, count)| {
                ([&**service, &**version, state.as_str()], i64::try_from(*count).unwrap_or(i64::MAX))
            })
        });
        self.0.instances.replace(rows);
    }

    /// `graygate_list_members`, replaced as a whole.
    pub fn set_list_members(&self, counts: &[(Label, u64)]) {
        let count = |members: u64| i64::try_from(members).unwrap_or(i64::MAX);
        self.0.list_members.replace(counts.iter().map(|(list, members)| ([&**list], count(*members))));
    }

    /// `graygate_problems`: how many documents of each kind have one.
    pub fn set_problems(&self, documents: impl IntoIterator<Item = (&'static str, usize)>) {
        for (kind, count) in documents {
            self.0.problems.with(&[kind]).set(count as i64);
        }
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

    /// Forgets series whose handles were not held for a while; to be called now and then after a publish.
    pub fn sweep(&self, now: Instant) {
        self.0.registry.sweep(now);
    }

    /// The whole page.
    pub fn render(&self) -> String {
        self.0.registry.render()
    }
}

/// What each version of a service shows.
fn version_views() -> Vec<View<VersionMetrics>> {
    fn requests(version: &VersionMetrics, series: &mut Series<'_>) {
        for &status in StatusClass::ALL {
            series.value_of("status", status.as_str(), version.requests(status));
        }
    }
    fn tries(version: &VersionMetrics, series: &mut Series<'_>) {
        for &outcome in TryOutcome::ALL {
            series.value_of("outcome", outcome.as_str(), version.tries(outcome));
        }
    }
    vec![
        View {
            name: "graygate_requests_total",
            kind: FamilyKind::Counter,
            help: "Requests by decided version.",
            write: requests,
        },
        View {
            name: "graygate_request_duration_seconds",
            kind: FamilyKind::Histogram,
            help: "Duration of a whole request.",
            write: |version, series| series.durations(&version.request_durations()),
        },
        View {
            name: "graygate_requests_in_flight",
            kind: FamilyKind::Gauge,
            help: "Requests that have begun and not ended.",
            write: |version, series| series.value(version.in_flight()),
        },
        View {
            name: "graygate_upstream_tries_total",
            kind: FamilyKind::Counter,
            help: "Tries at an upstream by the version that was tried.",
            write: tries,
        },
        View {
            name: "graygate_upstream_duration_seconds",
            kind: FamilyKind::Histogram,
            help: "Time until the upstream's response header.",
            write: |version, series| series.durations(&version.upstream_durations()),
        },
    ]
}

#[cfg(test)]
mod tests;

//! One compiled state of the documents, with everything a request needs resolved.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;

use super::limits::{RouteLimit, RouteLimits};
use super::mirrors::Shadows;
use crate::limits::Limits;
use crate::metrics::{Metrics, VersionMetrics};
use crate::pools::{PeerTemplate, ServicePools};
use graygate_rules::compile::Counts;
use graygate_rules::decide::{Choice, RouteId, RulePlan, ServiceId, ServicePlan, Snapshot, Trust, VersionId};
use graygate_rules::spec::{MessageGroup, Transport};
use graygate_rules::vocab::{FallbackReason, Problem, Reason, Revision};
use graygate_telemetry::Counter;

/// The one cell. Requests load it once and keep what they found to their end.
#[derive(Default)]
pub struct Live {
    running: ArcSwapOption<Generation>,
    offered: AtomicU64,
}

impl Live {
    /// What runs now; `None` before the first documents.
    pub fn running(&self) -> Option<Arc<Generation>> {
        self.running.load_full()
    }

    /// The newest revision the source has offered.
    pub fn offered(&self) -> Revision {
        self.offered.load(Ordering::Relaxed)
    }

    pub(super) fn offer(&self, revision: Revision) {
        self.offered.store(revision, Ordering::Relaxed);
    }

    pub(super) fn replace(&self, generation: Arc<Generation>) {
        self.running.store(Some(generation));
    }
}

/// A state of all documents, compiled and running.
pub struct Generation {
    pub revision: Revision,
    pub since: SystemTime,
    pub snapshot: Snapshot,
    /// In the order of the snapshot's services.
    pub services: Box<[Arc<ServiceRuntime>]>,
    /// What is believed of requests; `None`: what the process began with.
    pub trust: Option<Arc<Trust>>,
    /// Of the routes on which anything is limited.
    pub(super) route_limits: RouteLimits,
    pub(super) limits: Arc<Limits>,
    /// Where copies of requests go.
    pub shadows: Shadows,
    /// Each with the time it was first seen.
    pub problems: Vec<(Problem, SystemTime)>,
    pub counts: Counts,
    /// Consumer groups whose messages have lanes, for the gateway that stands beside.
    pub messages: Arc<[MessageGroup]>,
}

impl Generation {
    /// What limits the requests of a route, if anything does.
    pub fn limit(&self, route: RouteId) -> Option<&RouteLimit> {
        self.route_limits.get(&route)
    }

    /// Keys of limits that are remembered now; `None` where nothing is limited.
    pub fn limited_keys(&self, now: Instant) -> Option<usize> {
        (!self.route_limits.is_empty()).then(|| self.limits.keys(now))
    }

    pub fn service(&self, id: ServiceId) -> Option<&Arc<ServiceRuntime>> {
        self.services.get(id)
    }

    /// Whether any instance stands in the chain of that version, in whatever state.
    pub fn has_instances(&self, service: ServiceId, version: VersionId) -> bool {
        self.service(service).is_some_and(|service| service.pools.has_instances(version))
    }
}

/// A service's pools and counters, resolved when its generation was made.
pub struct ServiceRuntime {
    pub pools: Arc<ServicePools>,
    pub peers: Arc<PeerTemplate>,
    versions: Box<[Arc<VersionMetrics>]>,
    ejections: Box<[Arc<Counter>]>,
    retries_suppressed: Arc<Counter>,
    /// Of inherited words that no document names: label values never come from requests.
    unknown_version: Arc<VersionMetrics>,
    decisions: Decisions,
    fallbacks: HashMap<(Option<VersionId>, VersionId, FallbackReason), Arc<Counter>>,
    /// By decided version and the one that had the file; empty where a service says nothing of files.
    rescues: HashMap<(Option<VersionId>, VersionId), Arc<Counter>>,
}

/// The label of a version that only a request has named.
const UNKNOWN_VERSION: &str = "unknown";

struct Decisions {
    default: Arc<Counter>,
    inherited: Box<[Arc<Counter>]>,
    inherited_unknown: Arc<Counter>,
    /// By version, of testers' words.
    overridden: Box<[Arc<Counter>]>,
    overridden_unknown: Arc<Counter>,
    /// By rule; each with the versions it can give.
    rules: Box<[RuleCounters]>,
}

type RuleCounters = Arc<[(VersionId, Arc<Counter>)]>;

impl ServiceRuntime {
    /// Resolves everything that is counted. `before` is this service in the previous generation: ten thousand rules
    /// whose counters were found once are not looked up again for a change of one.
    pub fn resolve(
        plan: &ServicePlan,
        pools: Arc<ServicePools>,
        transport: &Transport,
        metrics: &Metrics,
        before: Option<(&ServicePlan, &ServiceRuntime)>,
    ) -> ServiceRuntime {
        let service = plan.name.as_str();
        let words = plan.versions.iter().map(|version| version.word.as_str());
        let peers = before
            .filter(|(_, runtime)| runtime.peers.transport() == transport)
            .map(|(_, runtime)| runtime.peers.clone());
        let versions = words.clone().map(|word| metrics.version(service, word));
        ServiceRuntime {
            pools,
            peers: peers.unwrap_or_else(|| Arc::new(PeerTemplate::new(transport))),
            versions: versions.collect(),
            ejections: words.map(|word| metrics.ejections(service, word)).collect(),
            retries_suppressed: metrics.retries_suppressed(service),
            unknown_version: metrics.version(service, UNKNOWN_VERSION),
            decisions: Decisions::resolve(plan, metrics, before),
            fallbacks: fallbacks(plan, metrics),
            rescues: rescues(plan, metrics),
        }
    }

    pub fn version(&self, version: Option<VersionId>) -> &Arc<VersionMetrics> {
        version.and_then(|id| self.versions.get(id)).unwrap_or(&self.unknown_version)
    }

    /// Counts that an instance of this version was ejected.
    pub fn ejected(&self, version: VersionId) {
        if let Some(counter) = self.ejections.get(version) {
            counter.increment();
        }
    }

    /// Counts a retry that the service's budget did not allow.
    pub fn retry_suppressed(&self) {
        self.retries_suppressed.increment();
    }

    /// Counts a decision.
    pub fn decided(&self, choice: &Choice) {
        let decisions = &self.decisions;
        let counter = match (choice.reason, choice.rule, choice.version) {
            (Reason::Rule, Some(rule), Some(version)) => decisions.rules.get(rule).and_then(|counters| {
                counters.iter().find(|(given, _)| *given == version).map(|(_, counter)| counter)
            }),
            (Reason::Override, _, Some(version)) => decisions.overridden.get(version),
            (Reason::Override, _, None) => Some(&decisions.overridden_unknown),
            (Reason::Inherited, _, Some(version)) => decisions.inherited.get(version),
            (Reason::Inherited, _, None) => Some(&decisions.inherited_unknown),
            _ => Some(&decisions.default),
        };
        if let Some(counter) = counter {
            counter.increment();
        }
    }

    /// Counts that a file which `from` did not have was found at `to`.
    pub fn rescued(&self, from: Option<VersionId>, to: VersionId) {
        if let Some(counter) = self.rescues.get(&(from, to)) {
            counter.increment();
        }
    }

    /// Counts that a request decided for `from` was given to `to`.
    pub fn fell_back(&self, from: Option<VersionId>, to: VersionId, reason: FallbackReason) {
        if let Some(counter) = self.fallbacks.get(&(from, to, reason)) {
            counter.increment();
        }
    }
}

fn rescues(plan: &ServicePlan, metrics: &Metrics) -> HashMap<(Option<VersionId>, VersionId), Arc<Counter>> {
    if plan.assets.is_none() {
        return HashMap::new();
    }
    let word = |id: VersionId| plan.version(id).map_or(UNKNOWN_VERSION, |version| version.word.as_str());
    let versions = 0..plan.versions.len();
    let pairs =
        versions.clone().map(Some).chain([None]).flat_map(|from| versions.clone().map(move |to| (from, to)));
    let count = |(from, to): (Option<VersionId>, VersionId)| {
        ((from, to), metrics.rescue(plan.name.as_str(), from.map_or(UNKNOWN_VERSION, word), word(to)))
    };
    pairs.map(count).collect()
}

impl Decisions {
    fn resolve(
        plan: &ServicePlan,
        metrics: &Metrics,
        before: Option<(&ServicePlan, &ServiceRuntime)>,
    ) -> Decisions {
        let service = plan.name.as_str();
        let word = |id: VersionId| plan.version(id).map_or(UNKNOWN_VERSION, |version| version.word.as_str());
        let count = |version: &str, reason, rule: &str| metrics.decision(service, version, reason, rule);
        let mut known = KnownCounters::of(plan, before);
        let rules = plan.rules.iter().map(|rule| {
            known.get(rule.name.as_str(), rule.outcome.versions()).unwrap_or_else(|| {
                let versions = rule.outcome.versions();
                versions.map(|id| (id, count(word(id), Reason::Rule, rule.name.as_str()))).collect()
            })
        });
        Decisions {
            default: count(word(0), Reason::Default, ""),
            inherited: plan
                .versions
                .iter()
                .map(|version| count(version.word.as_str(), Reason::Inherited, ""))
                .collect(),
            overridden: plan
                .versions
                .iter()
                .map(|version| count(version.word.as_str(), Reason::Override, ""))
                .collect(),
            overridden_unknown: count(UNKNOWN_VERSION, Reason::Override, ""),
            inherited_unknown: count(UNKNOWN_VERSION, Reason::Inherited, ""),
            rules: rules.collect(),
        }
    }
}

/// Counters of the previous generation by rule; empty when versions have other numbers now.
struct KnownCounters<'a> {
    rules: &'a [Arc<RulePlan>],
    counters: &'a [RuleCounters],
    /// The rule behind the last one found: rules keep their order, so the next is almost always there.
    next: usize,
    /// Made when one is not.
    by_name: Option<HashMap<&'a str, usize>>,
}

impl<'a> KnownCounters<'a> {
    fn of(plan: &ServicePlan, before: Option<(&'a ServicePlan, &'a ServiceRuntime)>) -> KnownCounters<'a> {
        let words = |plan: &ServicePlan| plan.versions.iter().map(|v| v.word.clone()).collect::<Vec<_>>();
        let same = before.filter(|(old, _)| words(old) == words(plan));
        let (rules, counters) =
            same.map_or((&[][..], &[][..]), |(old, runtime)| (&*old.rules, &*runtime.decisions.rules));
        KnownCounters { rules, counters, next: 0, by_name: None }
    }

    fn get(&mut self, rule: &str, versions: impl Iterator<Item = VersionId>) -> Option<RuleCounters> {
        let at = match self.rules.get(self.next) {
            Some(next) if next.name.as_str() == rule => self.next,
            _ => self.find(rule)?,
        };
        self.next = at + 1;
        let counters = self.counters.get(at)?;
        counters.iter().map(|(version, _)| *version).eq(versions).then(|| counters.clone())
    }

    fn find(&mut self, rule: &str) -> Option<usize> {
        let rules = self.rules;
        let index = || rules.iter().enumerate().map(|(at, rule)| (rule.name.as_str(), at)).collect();
        self.by_name.get_or_insert_with(index).get(rule).copied()
    }
}

fn fallbacks(
    plan: &ServicePlan,
    metrics: &Metrics,
) -> HashMap<(Option<VersionId>, VersionId, FallbackReason), Arc<Counter>> {
    let mut counters = HashMap::new();
    let mut add = |from: Option<VersionId>, to: VersionId| {
        let word = |id: VersionId| plan.version(id).map_or(UNKNOWN_VERSION, |version| version.word.as_str());
        for reason in FallbackReason::ALL {
            let from_word = from.map_or(UNKNOWN_VERSION, word);
            let counter = metrics.fallback(plan.name.as_str(), from_word, word(to), *reason);
            counters.insert((from, to, *reason), counter);
        }
    };
    for (from, version) in plan.versions.iter().enumerate() {
        for to in version.chain.iter().copied().filter(|to| *to != from) {
            add(Some(from), to);
        }
    }
    add(None, graygate_rules::decide::RELEASE);
    counters
}

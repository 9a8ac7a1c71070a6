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
use graygate_rules::compile::{CompiledService, Counts};
use graygate_rules::decide::{Choice, RouteId, RulePlan, ServiceId, ServicePlan, Snapshot, Trust, VersionId};
use graygate_rules::spec::{MessageGroup, Transport};
use graygate_rules::vocab::{Chunks, Derived, FallbackReason, Problem, Reason, Revision};
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
    /// What they were made from: the same in memory where nothing but rules has changed since.
    pub(super) made_from: Arc<[CompiledService]>,
    /// What is believed of requests; `None`: what the process began with.
    pub trust: Option<Arc<Trust>>,
    /// Of the routes on which anything is limited.
    pub(super) route_limits: Arc<RouteLimits>,
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
    counters: Arc<ServiceCounters>,
    /// By rule.
    rules: Chunks<RuleCounters>,
}

/// What is counted of a service, but by rule: it stays where nothing but rules changes.
struct ServiceCounters {
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
}

/// Of one rule, with the versions it can give.
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
        let counters = ServiceCounters {
            versions: versions.collect(),
            ejections: words.map(|word| metrics.ejections(service, word)).collect(),
            retries_suppressed: metrics.retries_suppressed(service),
            unknown_version: metrics.version(service, UNKNOWN_VERSION),
            decisions: Decisions::resolve(plan, metrics),
            fallbacks: fallbacks(plan, metrics),
            rescues: rescues(plan, metrics),
        };
        ServiceRuntime {
            pools,
            peers: peers.unwrap_or_else(|| Arc::new(PeerTemplate::new(transport))),
            counters: Arc::new(counters),
            rules: RuleCounting::of(plan, metrics, before).everywhere(),
        }
    }

    /// The same service with the rules of another plan, whose versions have the same numbers.
    pub fn with_rules(&self, before: &ServicePlan, plan: &ServicePlan, metrics: &Metrics) -> ServiceRuntime {
        ServiceRuntime {
            pools: self.pools.clone(),
            peers: self.peers.clone(),
            counters: self.counters.clone(),
            rules: RuleCounting::of(plan, metrics, Some((before, self))).nearby(),
        }
    }

    pub fn version(&self, version: Option<VersionId>) -> &Arc<VersionMetrics> {
        version.and_then(|id| self.counters.versions.get(id)).unwrap_or(&self.counters.unknown_version)
    }

    /// Counts that an instance of this version was ejected.
    pub fn ejected(&self, version: VersionId) {
        if let Some(counter) = self.counters.ejections.get(version) {
            counter.increment();
        }
    }

    /// Counts a retry that the service's budget did not allow.
    pub fn retry_suppressed(&self) {
        self.counters.retries_suppressed.increment();
    }

    /// Counts a decision.
    pub fn decided(&self, choice: &Choice) {
        let decisions = &self.counters.decisions;
        let counter = match (choice.reason, choice.rule, choice.version) {
            (Reason::Rule, Some(rule), Some(version)) => self.rules.get(rule).and_then(|counters| {
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
        if let Some(counter) = self.counters.rescues.get(&(from, to)) {
            counter.increment();
        }
    }

    /// Counts that a request decided for `from` was given to `to`.
    pub fn fell_back(&self, from: Option<VersionId>, to: VersionId, reason: FallbackReason) {
        if let Some(counter) = self.counters.fallbacks.get(&(from, to, reason)) {
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
    fn resolve(plan: &ServicePlan, metrics: &Metrics) -> Decisions {
        let service = plan.name.as_str();
        let word = |id: VersionId| plan.version(id).map_or(UNKNOWN_VERSION, |version| version.word.as_str());
        let count = |version: &str, reason| metrics.decision(service, version, reason, "");
        let each = |reason| {
            let words = plan.versions.iter().map(|version| version.word.as_str());
            words.map(|word| count(word, reason)).collect()
        };
        Decisions {
            default: count(word(0), Reason::Default),
            inherited: each(Reason::Inherited),
            overridden: each(Reason::Override),
            overridden_unknown: count(UNKNOWN_VERSION, Reason::Override),
            inherited_unknown: count(UNKNOWN_VERSION, Reason::Inherited),
        }
    }
}

/// How far behind the last rule that was known the next one is looked for.
const NEAR: usize = 4;

/// The counters of a service's rules, from those of the previous generation as far as they go.
struct RuleCounting<'a> {
    plan: &'a ServicePlan,
    metrics: &'a Metrics,
    /// `None` where versions have other numbers now.
    before: Option<Derived<'a, Arc<RulePlan>, RuleCounters>>,
}

impl<'a> RuleCounting<'a> {
    fn of(
        plan: &'a ServicePlan,
        metrics: &'a Metrics,
        before: Option<(&'a ServicePlan, &'a ServiceRuntime)>,
    ) -> RuleCounting<'a> {
        let words = |plan: &'a ServicePlan| plan.versions.iter().map(|version| &version.word);
        let same = before.filter(|(old, _)| words(old).eq(words(plan)));
        let before = same.map(|(old, runtime)| Derived { of: &old.rules, made: &runtime.rules });
        RuleCounting { plan, metrics, before }
    }

    /// Rules keep their order, so the next is almost always there. The few that are not are looked up.
    fn nearby(&self) -> Chunks<RuleCounters> {
        self.plan.rules.derive(self.before, near, |rule| self.look_up(rule))
    }

    /// Wherever a rule stood: ten thousand are not looked up because a few in front of them are gone.
    fn everywhere(&self) -> Chunks<RuleCounters> {
        let mut by_name: Option<HashMap<&str, usize>> = None;
        let places = || {
            let rules = self.before.iter().flat_map(|before| before.of.iter().enumerate());
            rules.map(|(at, rule)| (rule.name.as_str(), at)).collect()
        };
        let find = |old: &Chunks<Arc<RulePlan>>, rule: &Arc<RulePlan>, next: usize| {
            near(old, rule, next).or_else(|| {
                let at = *by_name.get_or_insert_with(places).get(rule.name.as_str())?;
                old.get(at).filter(|old| counts_alike(old, rule)).map(|_| at)
            })
        };
        self.plan.rules.derive(self.before, find, |rule| self.look_up(rule))
    }

    fn look_up(&self, rule: &RulePlan) -> RuleCounters {
        let word = |id| self.plan.version(id).map_or(UNKNOWN_VERSION, |version| version.word.as_str());
        let service = self.plan.name.as_str();
        let counter = |id| self.metrics.decision(service, word(id), Reason::Rule, rule.name.as_str());
        rule.outcome.versions().map(|id| (id, counter(id))).collect()
    }
}

fn near(old: &Chunks<Arc<RulePlan>>, rule: &Arc<RulePlan>, next: usize) -> Option<usize> {
    let near = old.iter_from(next).take(NEAR).position(|known| counts_alike(known, rule))?;
    Some(next + near)
}

/// Whether both are counted as one, where versions have the same numbers.
fn counts_alike(old: &Arc<RulePlan>, new: &Arc<RulePlan>) -> bool {
    Arc::ptr_eq(old, new) || (old.name == new.name && old.outcome.versions().eq(new.outcome.versions()))
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

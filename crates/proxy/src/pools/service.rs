//! The pools of one service in one generation.
//!
//! Answers: which instance takes this request? Walks the fallback chain of the decided version.
//! Owns: nothing that changes; state is behind the instances. Never: decides versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::instance::{EjectionGroup, InFlight, Instance};
use super::pool::{Asked, Offer, Pool};
use super::vitals::ServiceVitals;
use super::walk::{NoInstance, Picked, Retry, Tried, Walk};
use graygate_rules::spec::ServiceSpec;
use graygate_rules::vocab::{FallbackReason, Label, Name};

/// One service, ready to serve. Immutable; hold it in the generation.
pub struct ServicePools {
    pub(super) spec: ServiceSpec,
    pub(super) vitals: Arc<ServiceVitals>,
    /// By label.
    pub(super) groups: BTreeMap<Name, Group>,
    /// One for each of the spec's versions.
    pub(super) chains: Vec<Vec<Link>>,
    /// Index of `release`; every spec has one.
    pub(super) release: Option<usize>,
}

/// The instances with one label.
pub(super) struct Group {
    pub instances: Vec<Arc<Instance>>,
    /// For requests without a pin.
    pub open: Arc<Pool>,
    /// By the pin's value.
    pub pinned: BTreeMap<Label, Arc<Pool>>,
    pub ejection_group: Arc<EjectionGroup>,
}

/// One step of a chain, resolved to the pools that serve it.
pub(super) struct Link {
    /// Index of the word.
    pub version: usize,
    /// Only pinned requests, and those of testers, are served here.
    pub is_closed: bool,
    pub open: Option<Arc<Pool>>,
    pub pinned: BTreeMap<Label, Arc<Pool>>,
}

impl ServicePools {
    pub fn name(&self) -> &Name {
        &self.spec.name
    }

    /// The word of a version index, as rules say it.
    pub fn word(&self, version: usize) -> Option<&Name> {
        self.spec.versions.get(version).map(|one| &one.word)
    }

    /// The index of a rule's word.
    pub fn version(&self, word: &str) -> Option<usize> {
        let mut versions = self.spec.versions.iter();
        versions.position(|one| one.word.as_str() == word)
    }

    /// Every label with its instances, in the order of the labels.
    pub fn labels(&self) -> impl Iterator<Item = (&Name, &[Arc<Instance>])> {
        let groups = self.groups.iter();
        groups.map(|(label, group)| (label, group.instances.as_slice()))
    }

    /// Whether any instance at all stands in the chain of that version, in whatever state.
    pub fn has_instances(&self, version: usize) -> bool {
        let chain = self.spec.open_chain(version);
        let mut links = chain.iter().filter_map(|link| self.spec.versions.get(*link));
        links.any(|link| self.groups.contains_key(&link.label))
    }

    /// Requests in flight to the instances listed here, whatever generation began them.
    pub fn in_flight(&self) -> usize {
        let instances = self.labels().flat_map(|(_, instances)| instances);
        instances.map(|one| one.in_flight()).sum()
    }

    /// Ejections since the process knows the service.
    pub fn ejections(&self) -> u64 {
        self.vitals.ejections.load(Ordering::Relaxed)
    }

    /// The next instance for a request, which moves along its chain as far as needed.
    ///
    /// Allocates nothing and waits for nothing but, for nanoseconds, another pick of the pool.
    pub fn pick(&self, walk: &mut Walk, now: Instant) -> Result<Picked<'_>, NoInstance> {
        if walk.tries() > 0 && !walk.has_tries() {
            return Err(NoInstance::None);
        }
        let decided = walk.version;
        let ways = self.ways(walk);
        let last = ways.last_with_members().ok_or(NoInstance::None)?;
        if walk.is_granted_the_end() && walk.position < last.position {
            walk.position = last.position;
            walk.left = Some(FallbackReason::ConnectFailed);
        }
        let (instance, version) = find(&ways, &last, walk, now).ok_or(NoInstance::None)?;
        let in_flight = InFlight::take(instance, self.spec.max_connections).ok_or(NoInstance::Overloaded)?;
        if walk.tries() == 0 {
            self.vitals.budget.count_request(now);
        }
        instance.vitals.note_request(now);
        walk.reached_end |= walk.position >= last.position;
        walk.took(instance.vitals.id);
        Ok(Picked { instance, version, fallback: walk.left.filter(|_| decided != Some(version)), in_flight })
    }

    /// An available instance of this version alone, for what is no request of a user: it takes no place there, and is
    /// not reported to.
    pub fn available(&self, version: usize, now: Instant) -> Option<&Arc<Instance>> {
        let pool = self.own_pool(version).filter(|pool| pool.is_available(now))?;
        match pool.offer(Asked { tried: &Tried::default(), hash_key: None, fail_open: false, now }) {
            Offer::Instance(instance) => Some(instance),
            Offer::Spent | Offer::Dark | Offer::Empty => None,
        }
    }

    /// An instance of this version alone for a request that is not on its way along a fallback chain.
    pub fn pick_alone(&self, version: usize, now: Instant) -> Result<Picked<'_>, NoInstance> {
        let instance = self.available(version, now).ok_or(NoInstance::None)?;
        let in_flight = self.pick_again(instance).ok_or(NoInstance::Overloaded)?;
        Ok(Picked { instance, version, fallback: None, in_flight })
    }

    /// A further place at an instance that was picked before.
    pub fn pick_again(&self, instance: &Arc<Instance>) -> Option<InFlight> {
        InFlight::take(instance, self.spec.max_connections)
    }

    /// The pool of a version without its fallbacks, unless the version is closed.
    fn own_pool(&self, version: usize) -> Option<&Pool> {
        let own = self.chains.get(version)?.first()?;
        own.open.as_deref().filter(|_| !own.is_closed)
    }

    /// Whether a failed try may be followed by another pick; to be asked once for each.
    ///
    /// Every extra try is taken from the service's budget, so that an outage is not multiplied. With the budget spent,
    /// a request still gets one try in the last pool of its chain, if an instance there is available: that pool sees
    /// the request for the first time, which multiplies nothing, and a dead gray version costs no user an error.
    pub fn may_retry(&self, walk: &mut Walk, now: Instant) -> Retry {
        if !walk.has_tries() {
            return Retry::Exhausted;
        }
        if self.vitals.budget.take(now) {
            return Retry::Granted;
        }
        if walk.reached_end || !self.last_pool_is_available(walk, now) {
            return Retry::Suppressed;
        }
        self.vitals.budget.overdraw(now);
        walk.is_hurried = true;
        Retry::Granted
    }

    fn last_pool_is_available(&self, walk: &Walk, now: Instant) -> bool {
        self.ways(walk).last_with_members().is_some_and(|last| last.pool.is_available(now))
    }

    fn ways(&self, walk: &Walk) -> Ways<'_> {
        let pin = self.spec.pin_tag.as_ref().and(walk.pin.clone());
        Ways { chain: self.chain(walk.version), pin, enters_closed: walk.enters_closed }
    }

    fn chain(&self, version: Option<usize>) -> &[Link] {
        let version = version.or(self.release);
        let chain = version.and_then(|version| self.chains.get(version));
        chain.map_or(&[], Vec::as_slice)
    }
}

/// The last pool of a chain that has any member.
struct Last<'a> {
    position: usize,
    pool: &'a Pool,
    /// The word it serves.
    version: usize,
}

/// A chain as one request sees it: all of it pinned first, then all of it as if there were no pin.
struct Ways<'a> {
    chain: &'a [Link],
    pin: Option<Label>,
    enters_closed: bool,
}

impl<'a> Ways<'a> {
    fn len(&self) -> usize {
        self.chain.len() * if self.pin.is_some() { 2 } else { 1 }
    }

    /// The link at a position: the chain is gone through twice where there is a pin.
    fn link(&self, position: usize) -> Option<&'a Link> {
        self.chain.get(position).or_else(|| self.chain.get(position.checked_sub(self.chain.len())?))
    }

    /// The pool at a position, if it has any member, and the word it serves.
    fn at(&self, position: usize) -> (Option<&'a Pool>, usize) {
        let Some(link) = self.link(position) else {
            return (None, 0);
        };
        let pool = match &self.pin {
            Some(pin) if position < self.chain.len() => link.pinned.get(pin),
            _ => link.open.as_ref().filter(|_| self.enters_closed || !link.is_closed),
        };
        (pool.map(|pool| &**pool).filter(|pool| !pool.is_empty()), link.version)
    }

    /// Why nothing is to be had at a position.
    fn why_empty(&self, position: usize) -> FallbackReason {
        match self.link(position) {
            Some(link) if link.is_closed => FallbackReason::Closed,
            _ => FallbackReason::NoInstances,
        }
    }

    fn last_with_members(&self) -> Option<Last<'a>> {
        (0..self.len()).rev().find_map(|position| {
            let (pool, version) = self.at(position);
            Some(Last { position, pool: pool?, version })
        })
    }
}

/// Moves the walk on until a pool has an instance; `last` is the position that fails open.
fn find<'a>(
    ways: &Ways<'a>,
    last: &Last<'a>,
    walk: &mut Walk,
    now: Instant,
) -> Option<(&'a Arc<Instance>, usize)> {
    while walk.position < last.position {
        let (pool, version) = ways.at(walk.position);
        let asked = Asked { tried: &walk.tried, hash_key: walk.hash_key, fail_open: false, now };
        match pool.map_or(Offer::Empty, |pool| pool.offer(asked)) {
            Offer::Instance(instance) => return Some((instance, version)),
            Offer::Empty => walk.leave(ways.why_empty(walk.position)),
            Offer::Dark => walk.leave(FallbackReason::Unhealthy),
            Offer::Spent => walk.leave(FallbackReason::ConnectFailed),
        }
    }
    Some((find_at_the_end(last.pool, walk, now)?, last.version))
}

/// In the last pool an instance always takes the request: an available one, then one of the others, then,
/// where retries are left, those that failed before, the latest failure last.
fn find_at_the_end<'a>(pool: &'a Pool, walk: &mut Walk, now: Instant) -> Option<&'a Arc<Instance>> {
    let offer = |tried: &Tried| {
        let asked = Asked { tried, hash_key: walk.hash_key, fail_open: true, now };
        match pool.offer(asked) {
            Offer::Instance(instance) => Some(instance),
            Offer::Spent | Offer::Dark | Offer::Empty => None,
        }
    };
    if let Some(instance) = offer(&walk.tried).or_else(|| pool.untried(&walk.tried)) {
        return Some(instance);
    }
    let mut tried = walk.tried.clone();
    tried.keep_newest();
    if let Some(instance) = offer(&tried) {
        return Some(instance);
    }
    tried.forget();
    offer(&tried)
}

//! What the process knows about instances, across generations.
//!
//! Answers: which state belongs to this instance of this generation? Owns: the state by (service,
//! version, address), and the last pools of each service, so that what did not change goes on.
//! Never: picks, checks, or reads a clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::candidate::scatter;
use super::instance::{EjectionGroup, Instance};
use super::pool::Pool;
use super::service::{Group, Link, ServicePools};
use super::vitals::{ServiceVitals, Vitals};
use graygate_rules::spec::{HealthSpec, InstanceSpec, ServiceSpec, VersionSpec};
use graygate_rules::vocab::{Label, Name};

/// The instances of the whole process. One lives as long as the process does.
pub struct Registry {
    seed: u64,
    known: Mutex<Known>,
    /// Rung when a build may have brought new instances to check.
    pub(super) built: Notify,
}

#[derive(Default)]
struct Known {
    next_id: u64,
    services: HashMap<Name, Arc<ServiceVitals>>,
    instances: HashMap<Key, Arc<Vitals>>,
    latest: HashMap<Name, Arc<ServicePools>>,
}

/// An instance's identity: relabelled, it is another one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    service: Name,
    version: Name,
    address: SocketAddr,
}

/// One instance to check, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub id: u64,
    /// Weak: being due for a check keeps nothing alive.
    pub vitals: Weak<Vitals>,
    pub instance: InstanceSpec,
    pub service: Name,
    pub health: Arc<HealthSpec>,
}

impl Registry {
    /// `seed` spreads where the pools of different processes begin their turns.
    pub fn new(seed: u64) -> Registry {
        Registry { seed, known: Mutex::default(), built: Notify::new() }
    }

    /// Makes the pools of a generation, in the order of the specs.
    ///
    /// A service whose spec did not change keeps its pools; of a changed one every pool whose
    /// members stayed keeps its turn. State that nothing references any more is dropped.
    pub fn build<'s>(&self, specs: impl IntoIterator<Item = &'s ServiceSpec>) -> Vec<Arc<ServicePools>> {
        let mut known = self.known.lock();
        let built: Vec<_> = specs
            .into_iter()
            .map(|spec| match known.latest.get(&spec.name) {
                Some(latest) if latest.spec == *spec => latest.clone(),
                _ => Arc::new(known.assemble(spec, self.seed)),
            })
            .collect();
        known.latest = built.iter().map(|pools| (pools.name().clone(), pools.clone())).collect();
        known.forget_unreferenced();
        drop(known);
        self.built.notify_one();
        built
    }

    /// How many services and instances are remembered.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        let known = self.known.lock();
        (known.services.len(), known.instances.len())
    }

    /// Every instance of the latest generation that has a check.
    pub(super) fn targets(&self) -> Vec<Target> {
        let known = self.known.lock();
        let mut targets = Vec::new();
        for pools in known.latest.values() {
            let Some(health) = pools.spec.health.clone().map(Arc::new) else {
                continue;
            };
            let groups = pools.groups.values();
            let instances = groups.flat_map(|group| &group.instances);
            targets.extend(instances.map(|one| Target {
                id: one.vitals.id,
                vitals: Arc::downgrade(&one.vitals),
                instance: one.spec.clone(),
                service: pools.spec.name.clone(),
                health: health.clone(),
            }));
        }
        targets
    }
}

impl Known {
    fn assemble(&mut self, spec: &ServiceSpec, seed: u64) -> ServicePools {
        let vitals = self.services.entry(spec.name.clone()).or_default().clone();
        let latest = self.latest.get(&spec.name).cloned();
        let mut groups = BTreeMap::new();
        for (label, instances) in by_label(spec) {
            let states = instances.iter().map(|one| self.state(spec, one, &vitals)).collect();
            let maker = GroupMaker {
                spec,
                label: &label,
                before: latest.as_ref().and_then(|pools| pools.groups.get(&label)),
                seed,
                service: &vitals,
            };
            let group = maker.make(&instances, states);
            groups.insert(label, group);
        }
        let release = |one: &VersionSpec| one.word.as_str() == Name::RELEASE;
        ServicePools {
            chains: chains(spec, &groups),
            release: spec.versions.iter().position(release),
            spec: spec.clone(),
            vitals,
            groups,
        }
    }

    /// The lasting state of an instance, made when it is new.
    fn state(
        &mut self,
        spec: &ServiceSpec,
        instance: &InstanceSpec,
        service: &Arc<ServiceVitals>,
    ) -> Arc<Vitals> {
        let key =
            Key { service: spec.name.clone(), version: instance.version.clone(), address: instance.address };
        let check = spec.health.as_ref().map(|health| &health.check);
        let next_id = &mut self.next_id;
        let vitals = self.instances.entry(key).or_insert_with(|| {
            *next_id += 1;
            Arc::new(Vitals::start(*next_id, service.clone()))
        });
        vitals.expect_check(check);
        vitals.clone()
    }

    /// Drops what only this map still holds: no pool, no request, no running check.
    fn forget_unreferenced(&mut self) {
        self.instances.retain(|_, vitals| Arc::strong_count(vitals) > 1);
        self.services.retain(|_, vitals| Arc::strong_count(vitals) > 1);
    }
}

/// The service's instances by their label. Of two with one address the first counts: they
/// are one process, and a request that failed there should not be sent there again.
fn by_label(spec: &ServiceSpec) -> BTreeMap<Name, Vec<&InstanceSpec>> {
    let mut seen = HashSet::new();
    let mut groups: BTreeMap<Name, Vec<&InstanceSpec>> = BTreeMap::new();
    for instance in &spec.instances {
        if seen.insert((&instance.version, instance.address)) {
            let label = instance.version.clone();
            groups.entry(label).or_default().push(instance);
        }
    }
    groups
}

/// Every version's chain, resolved to the pools that serve it.
fn chains(spec: &ServiceSpec, groups: &BTreeMap<Name, Group>) -> Vec<Vec<Link>> {
    let link = |version: usize| {
        let label = &spec.versions.get(version)?.label;
        let group = groups.get(label);
        Some(Link {
            version,
            is_closed: spec.closed.contains(&version),
            open: group.map(|group| group.open.clone()),
            pinned: group.map(|group| group.pinned.clone()).unwrap_or_default(),
        })
    };
    let chain = |(at, version): (usize, &VersionSpec)| match spec.closed.contains(&at) {
        true => [at].into_iter().chain(spec.open_chain(at)).filter_map(link).collect(),
        false => version.chain.iter().copied().filter_map(link).collect(),
    };
    spec.versions.iter().enumerate().map(chain).collect()
}

/// Makes the group of one label, out of what was there before as far as it did not change.
struct GroupMaker<'a> {
    spec: &'a ServiceSpec,
    label: &'a Name,
    before: Option<&'a Group>,
    seed: u64,
    service: &'a Arc<ServiceVitals>,
}

impl GroupMaker<'_> {
    fn make(&self, specs: &[&InstanceSpec], states: Vec<Arc<Vitals>>) -> Group {
        let ejection_group = self.ejection_group(specs, &states);
        let before: HashMap<u64, &Arc<Instance>> =
            self.before.iter().flat_map(|group| &group.instances).map(|one| (one.vitals.id, one)).collect();
        let instances: Vec<_> = specs
            .iter()
            .zip(states)
            .map(|(spec, vitals)| match before.get(&vitals.id) {
                Some(one) if one.spec == **spec && Arc::ptr_eq(&one.ejection_group, &ejection_group) => {
                    (*one).clone()
                }
                _ => Arc::new(Instance::of((*spec).clone(), vitals, ejection_group.clone())),
            })
            .collect();
        let mut open = Vec::new();
        let mut pinned: BTreeMap<Label, Vec<_>> = BTreeMap::new();
        for instance in instances.iter().filter(|one| one.takes_requests()) {
            match self.pin_of(instance) {
                Some(pin) => pinned.entry(pin).or_default().push(instance.clone()),
                None => open.push(instance.clone()),
            }
        }
        let open_before = self.before.map(|group| &group.open);
        let pinned_before = |pin: &Label| self.before.and_then(|group| group.pinned.get(pin));
        Group {
            open: self.pool(open, open_before),
            pinned: pinned
                .into_iter()
                .map(|(pin, members)| {
                    let pool = self.pool(members, pinned_before(&pin));
                    (pin, pool)
                })
                .collect(),
            instances,
            ejection_group,
        }
    }

    fn pin_of(&self, instance: &Instance) -> Option<Label> {
        instance.spec.tags.get(self.spec.pin_tag.as_ref()?).cloned()
    }

    /// The pool of these members: the one before, or a new one that goes on where it was.
    fn pool(&self, members: Vec<Arc<Instance>>, before: Option<&Arc<Pool>>) -> Arc<Pool> {
        let balance = self.spec.balance;
        match before {
            Some(pool) if pool.is_of(&members, balance) => pool.clone(),
            _ => {
                let start = before.map_or(scatter(self.seed), |pool| pool.turn());
                Arc::new(Pool::open(members, balance, self.service.clone(), start))
            }
        }
    }

    fn ejection_group(&self, specs: &[&InstanceSpec], states: &[Arc<Vitals>]) -> Arc<EjectionGroup> {
        let takes_requests = |spec: &InstanceSpec| spec.weight > 0 && !spec.draining;
        let residents = specs
            .iter()
            .zip(states)
            .filter(|(spec, _)| takes_requests(spec))
            .map(|(_, vitals)| vitals.clone())
            .collect();
        let ejection_group = EjectionGroup {
            service: self.spec.name.clone(),
            outlier: self.spec.outlier.clone(),
            residents,
            sole_may_go: !self.ends_a_chain(),
        };
        match self.before {
            Some(group) if group.ejection_group.is_like(&ejection_group) => group.ejection_group.clone(),
            _ => Arc::new(ejection_group),
        }
    }

    /// Whether some chain ends at this label, so that no other version would serve in its place.
    fn ends_a_chain(&self) -> bool {
        let versions = &self.spec.versions;
        let mut ends = versions.iter().filter_map(|one| versions.get(*one.chain.last()?));
        ends.any(|end| end.label == *self.label)
    }
}

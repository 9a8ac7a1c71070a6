//! What a service becomes: a plan for the decision, and a specification for the pools.
//!
//! Start at [`build`], which plans and indexes the rules of each service on the way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::HeaderValue;

use super::assets;
use super::index::Indexes;
use super::plan::{self, Planned};
use super::resolve::ResolvedRule;
use super::services::{ServiceParts, Services};
use super::tls::TlsFiles;
use super::versions::VersionTable;
use crate::decide::{self, RELEASE, RuleId, RuleIndex, RulePlan, ServicePlan, VersionId, VersionPlan};
use crate::documents::{Balance, HealthCheck, HealthCheckKind, Rule, Service};
use crate::spec::{self, Check, HealthSpec, InstanceSpec, ServiceSpec, Transport, VersionSpec};
use crate::vocab::{Attribute, Chunks, Name, Timeouts};

/// What the pools are asked for, and how bytes reach a service's instances.
#[derive(Debug)]
pub struct CompiledService {
    pub spec: ServiceSpec,
    pub transport: Transport,
}

/// Both halves of the compiled services, in the same order, and what the next compile may use again.
pub struct Plans {
    pub snapshot: Vec<Arc<ServicePlan>>,
    pub services: Vec<CompiledService>,
    pub planned: plan::Memory,
}

/// What building services takes up and leaves behind, beside the documents.
pub struct Carried<'c, 'f> {
    pub plans: plan::Memory,
    pub indexes: &'c mut Indexes,
    pub files: &'c mut TlsFiles<'f>,
}

pub fn build(services: &Services<'_>, rules: &[ResolvedRule<'_>], mut carried: Carried<'_, '_>) -> Plans {
    let mut plans = Plans { snapshot: Vec::new(), services: Vec::new(), planned: plan::Memory::new() };
    let mut by_service = by_service(rules);
    for (name, parts) in services.iter() {
        let own = by_service.remove(name).unwrap_or_else(|| general(rules).collect());
        let transport = carried.files.transport(parts.id, parts.service);
        let before = carried.plans.remove(name).unwrap_or_default();
        let collect =
            |rules: &mut dyn Iterator<Item = &Rule>, known| VersionTable::collect(parts, rules, known);
        let (rules, planned): (_, Planned) = before.next(&own, collect);
        let index = carried.indexes.of(name, &rules);
        let named = NamedService { name, parts, versions: &planned.versions };
        plans.services.push(CompiledService { spec: named.spec(&transport), transport });
        plans.snapshot.push(Arc::new(named.plan(rules, index)));
        plans.planned.insert(name.clone(), planned);
    }
    plans
}

/// The rules of each service that a rule names, in their order. Asking every rule about every service instead would
/// cost the product of both at each change.
fn by_service<'r, 'm>(
    rules: &'r [ResolvedRule<'m>],
) -> HashMap<&'m Name, Vec<&'r ResolvedRule<'m>>, FixedState> {
    let named = rules.iter().flat_map(|rule| rule.services.into_iter().flatten());
    let names: HashSet<&Name, FixedState> = named.collect();
    let mut by_service: HashMap<&Name, Vec<&ResolvedRule<'_>>, FixedState> =
        names.into_iter().map(|name| (name, Vec::new())).collect();
    for rule in rules {
        match rule.services {
            None => by_service.values_mut().for_each(|rules| rules.push(rule)),
            Some(names) => {
                for name in names {
                    let rules = by_service.entry(name).or_default();
                    // A service that is named twice has the rule once.
                    if rules.last().is_none_or(|last| !std::ptr::eq(*last, rule)) {
                        rules.push(rule);
                    }
                }
            }
        }
    }
    by_service
}

/// The rules of every service.
fn general<'r, 'm>(rules: &'r [ResolvedRule<'m>]) -> impl Iterator<Item = &'r ResolvedRule<'m>> {
    rules.iter().filter(|rule| rule.services.is_none())
}

/// The rules whose requests are copied.
fn mirrors(rules: &Chunks<Arc<RulePlan>>) -> Box<[RuleId]> {
    let mirrors = rules.iter().enumerate().filter(|(_, rule)| rule.mirror.is_some());
    mirrors.map(|(id, _)| id).collect()
}

/// A service with the numbers of its versions.
struct NamedService<'s> {
    name: &'s Name,
    parts: &'s ServiceParts<'s>,
    versions: &'s VersionTable,
}

impl NamedService<'_> {
    fn plan(&self, rules: Chunks<Arc<RulePlan>>, index: Arc<RuleIndex>) -> ServicePlan {
        let service = self.parts.service;
        let issue_cookie = service.issue_cookie.as_ref();
        let pin = service.pin.as_ref();
        ServicePlan {
            name: self.name.clone(),
            identity: identity(service),
            issue_cookie: issue_cookie
                .map(|cookie| decide::IssueCookie { name: cookie.name.clone(), max_age: cookie.max_age }),
            pin: pin.map(|pin| decide::Pin { attribute: pin.attribute.clone(), tag: pin.tag.clone() }),
            versions: self.versions.iter().map(|version| self.version_plan(version)).collect(),
            index,
            mirrors: mirrors(&rules),
            rules,
            timeouts: service.timeouts.over(Timeouts::default()),
            retries: service.retries,
            balances_by_identity: service.balance == Balance::Hash,
            failures: service.errors.clone(),
            warm_up: service.warm_up,
            limit: service.limit.clone(),
            assets: service.assets.as_ref().map(|assets| assets::plan(assets, service, self.versions)),
        }
    }

    fn version_plan(&self, version: &Name) -> VersionPlan {
        let service = self.parts.service;
        let headers = service.version_headers.iter().find(|(of, _)| of == version);
        VersionPlan {
            chain: self.versions.chain(version, service).into(),
            // A name is made of characters that a header can carry.
            header: HeaderValue::from_str(version.as_str())
                .unwrap_or(HeaderValue::from_static(Name::RELEASE)),
            request_headers: headers.map(|(_, headers)| headers.clone()).unwrap_or_default().into(),
            word: version.clone(),
        }
    }

    fn spec(&self, transport: &Transport) -> ServiceSpec {
        let service = self.parts.service;
        let instances = self.parts.instances.iter().map(|instance| InstanceSpec {
            address: instance.address,
            version: instance.version.clone(),
            weight: instance.weight,
            tags: instance.tags.clone(),
            draining: instance.draining,
        });
        ServiceSpec {
            name: self.name.clone(),
            versions: self.versions.iter().map(|version| self.version_spec(version)).collect(),
            instances: instances.collect(),
            balance: match service.balance {
                Balance::RoundRobin => spec::Balance::RoundRobin,
                Balance::LeastRequests => spec::Balance::LeastRequests,
                Balance::Hash => spec::Balance::Hash,
            },
            health: service.health.as_ref().map(|health| health_spec(health, transport)),
            outlier: service.outlier.as_ref().map(|outlier| spec::OutlierSpec {
                consecutive_errors: outlier.consecutive_errors,
                eject_for: outlier.eject_for,
                max_ejected: outlier.max_ejected,
            }),
            max_connections: service.max_connections,
            closed: self.closed(),
            pin_tag: service.pin.as_ref().map(|pin| pin.tag.clone()),
        }
    }

    /// Every word that leads to what a closed one does, but `release`, which answers every user in the end.
    fn closed(&self) -> Vec<VersionId> {
        let label = |version: &Name| self.version_spec(version).label;
        let closed: Vec<Name> = self.parts.closed.iter().map(|version| label(version)).collect();
        let versions = self.versions.iter().enumerate();
        let versions = versions.filter(|(id, version)| *id != RELEASE && closed.contains(&label(version)));
        versions.map(|(id, _)| id).collect()
    }

    fn version_spec(&self, version: &Name) -> VersionSpec {
        let service = self.parts.service;
        let alias = service.aliases.iter().find(|(from, _)| from == version);
        VersionSpec {
            word: version.clone(),
            label: alias.map_or(version, |(_, label)| label).clone(),
            chain: self.versions.chain(version, service),
        }
    }
}

fn health_spec(health: &HealthCheck, transport: &Transport) -> HealthSpec {
    HealthSpec {
        check: match &health.kind {
            HealthCheckKind::Http { path, host, statuses, headers } => Check::Http {
                path: path.clone(),
                host: host.clone(),
                statuses: statuses.clone(),
                headers: headers.clone(),
            },
            HealthCheckKind::Tcp => Check::Tcp,
            HealthCheckKind::Grpc { service } => Check::Grpc { service: service.clone() },
        },
        interval: health.interval,
        timeout: health.timeout,
        healthy_after: health.healthy_after,
        unhealthy_after: health.unhealthy_after,
        transport: transport.clone(),
    }
}

/// What makes two requests the same user. An issued cookie is asked last, so that it counts on later requests too;
/// without a written identity it is the only one, because the address is never absent.
fn identity(service: &Service) -> Box<[Attribute]> {
    let cookie = service.issue_cookie.as_ref().map(|cookie| Attribute::Cookie(cookie.name.clone()));
    let mut identity = match (&service.identity, &cookie) {
        (Some(identity), _) => identity.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) => vec![Attribute::Ip],
    };
    identity.extend(cookie.filter(|cookie| !identity.contains(cookie)));
    identity.into()
}

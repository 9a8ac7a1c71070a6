//! Services: their versions, fallback chains, rules and instances.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::HeaderValue;

use super::planned::Planned;
use super::rule::ReadyRule;
use super::tls::TlsFiles;
use super::{CompiledService, Memory, problem};
use crate::decide::{self, PatternSets, RELEASE, RuleIndex, RulePlan, ServicePlan, VersionId, VersionPlan};
use crate::documents::{
    Balance, Document, DocumentId, Fallback, HealthCheckKind, Instance, Kind, Outcome, Rule, Service,
};
use crate::spec::{self, Check, HealthSpec, InstanceSpec, ServiceSpec, Transport, VersionSpec};
use crate::vocab::{Attribute, Name, Problem, Timeouts};

/// The services in force, each with its instances.
pub struct Services<'m> {
    services: BTreeMap<Name, Gathered<'m>>,
}

struct Gathered<'m> {
    id: &'m DocumentId,
    service: &'m Service,
    instances: Vec<&'m Instance>,
    /// Who is among them: a version and an address are an instance once.
    known: BTreeSet<(&'m Name, SocketAddr)>,
}

/// Both halves of the compiled services, in the same order, and what the next compile may use again.
pub struct Plans {
    pub snapshot: Vec<ServicePlan>,
    pub services: Vec<CompiledService>,
    pub planned: BTreeMap<Name, Planned>,
}

impl<'m> Services<'m> {
    pub fn gather(memory: &'m Memory, problems: &mut Vec<Problem>) -> Services<'m> {
        let mut services = BTreeMap::new();
        for (id, good) in memory.good(Kind::Service) {
            if let (Document::Service(service), Some(name)) = (&*good.document, Name::parse(&id.name)) {
                let (instances, known) = (Vec::new(), BTreeSet::new());
                let mut gathered = Gathered { id, service, instances, known };
                for (i, instance) in service.instances.iter().enumerate() {
                    if !gathered.take(instance) {
                        problems.push(twice(id, &format!("instances[{i}].address"), instance));
                    }
                }
                services.insert(name, gathered);
            }
        }
        for (id, good) in memory.good(Kind::Instance) {
            let Document::Instance(instance) = &*good.document else { continue };
            match services.get_mut(id.head()) {
                None => problems.push(problem(
                    id,
                    "",
                    format!("the service `{}` does not exist", id.head()),
                    "the instance is left out until then",
                )),
                Some(gathered) => {
                    if !gathered.take(instance) {
                        problems.push(twice(id, "address", instance));
                    }
                }
            }
        }
        Services { services }
    }

    pub fn has(&self, name: &Name) -> bool {
        self.services.contains_key(name)
    }
}

impl<'m> Gathered<'m> {
    /// Takes an instance in, unless it is there already.
    fn take(&mut self, instance: &'m Instance) -> bool {
        let is_new = self.known.insert((&instance.version, instance.address));
        if is_new {
            self.instances.push(instance);
        }
        is_new
    }
}

fn twice(id: &DocumentId, field: &str, instance: &Instance) -> Problem {
    let message = format!("`{}` is there twice for the version `{}`", instance.address, instance.version);
    problem(id, field, message, "the first one counts")
}

pub fn build(
    services: &Services<'_>,
    rules: &[ReadyRule<'_>],
    files: &mut TlsFiles<'_>,
    (mut before, sets): (BTreeMap<Name, Planned>, &mut PatternSets),
    problems: &mut Vec<Problem>,
) -> Plans {
    let mut plans = Plans { snapshot: Vec::new(), services: Vec::new(), planned: BTreeMap::new() };
    let mut by_service = by_service(rules);
    for (name, gathered) in &services.services {
        let concerned = by_service.remove(name).unwrap_or_else(|| general(rules).collect());
        let transport = files.transport((name, gathered.id, gathered.service), problems);
        let before = before.remove(name).unwrap_or_default();
        let own_index = before.index.clone();
        let named = |rules: &mut dyn Iterator<Item = &Rule>, words| Words::collect(gathered, rules, words);
        let (rules, mut planned) = before.next(&concerned, named);
        // Its own index of before, or that of a service which has the same rules.
        let known = own_index.iter().chain(plans.snapshot.last().map(|last| &last.index));
        let index = decide::index_from(known, &rules, sets);
        planned.index = Some(index.clone());
        let spec = spec(name, gathered, &planned.words, &transport);
        plans.snapshot.push(plan((name, gathered), &planned.words, (rules, index)));
        plans.services.push(CompiledService { spec, transport });
        plans.planned.insert(name.clone(), planned);
    }
    plans
}

/// The rules of each service that a rule names, in their order. Asking every rule about every service instead would
/// cost the product of both at each change.
fn by_service<'r, 'm>(rules: &'r [ReadyRule<'m>]) -> HashMap<&'m Name, Vec<&'r ReadyRule<'m>>, FixedState> {
    let named = rules.iter().flat_map(|rule| rule.services.into_iter().flatten());
    let names: HashSet<&Name, FixedState> = named.collect();
    let mut by_service: HashMap<&Name, Vec<&ReadyRule<'_>>, FixedState> =
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
fn general<'r, 'm>(rules: &'r [ReadyRule<'m>]) -> impl Iterator<Item = &'r ReadyRule<'m>> {
    rules.iter().filter(|rule| rule.services.is_none())
}

/// Every version of a service; `release` is the first.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Words(Vec<Name>);

impl Words {
    /// The words of these rules, those that other rules are known to have, and those of the service itself.
    fn collect(gathered: &Gathered<'_>, rules: &mut dyn Iterator<Item = &Rule>, known: Vec<Name>) -> Words {
        let service = gathered.service;
        let of_rules = rules.flat_map(|rule| {
            let (one, several) = match &rule.outcome {
                Outcome::Version(version) => (Some(version), &[][..]),
                Outcome::Split(shares) => (None, shares.as_slice()),
            };
            one.into_iter().chain(several.iter().map(|(version, _)| version))
        });
        // Ten thousand rules name a handful of versions.
        let mut words: BTreeSet<Name> = known.into_iter().collect();
        for word in of_rules {
            if !words.contains(word) {
                words.insert(word.clone());
            }
        }
        words.extend(service.aliases.iter().flat_map(|(word, label)| [word.clone(), label.clone()]));
        words.extend(service.version_headers.iter().map(|(word, _)| word.clone()));
        words.extend(gathered.instances.iter().map(|instance| instance.version.clone()));
        for (word, fallback) in &service.fallback {
            words.insert(word.clone());
            if let Fallback::To(others) = fallback {
                words.extend(others.iter().cloned());
            }
        }
        let release = Name::release();
        words.remove(&release);
        Words(std::iter::once(release).chain(words).collect())
    }

    pub fn get(&self, id: VersionId) -> Option<&Name> {
        self.0.get(id)
    }

    pub fn id(&self, word: &Name) -> VersionId {
        // Every word was collected; an unknown one could only be baseline.
        self.0.iter().position(|known| known == word).unwrap_or(RELEASE)
    }

    /// The version itself, its own fallbacks, and `release` at the end.
    fn chain(&self, word: &Name, service: &Service) -> Vec<VersionId> {
        let own = service.fallback.iter().find(|(from, _)| from == word).map(|(_, fallback)| fallback);
        let mut chain = vec![self.id(word)];
        let others = match own {
            Some(Fallback::None) => return chain,
            Some(Fallback::To(others)) => others.as_slice(),
            None => &[],
        };
        for other in others.iter().map(|other| self.id(other)).filter(|id| *id != RELEASE).chain([RELEASE]) {
            if !chain.contains(&other) {
                chain.push(other);
            }
        }
        chain
    }
}

fn plan(
    (name, gathered): (&Name, &Gathered<'_>),
    words: &Words,
    (rules, index): (Box<[Arc<RulePlan>]>, Arc<RuleIndex>),
) -> ServicePlan {
    let service = gathered.service;
    let version = |word: &Name| {
        let headers =
            service.version_headers.iter().find(|(of, _)| of == word).map(|(_, headers)| headers.clone());
        VersionPlan {
            chain: words.chain(word, service).into(),
            // A name is made of characters that a header can carry.
            header: HeaderValue::from_str(word.as_str()).unwrap_or(HeaderValue::from_static(Name::RELEASE)),
            request_headers: headers.unwrap_or_default().into(),
            word: word.clone(),
        }
    };
    let issue_cookie = service.issue_cookie.as_ref();
    ServicePlan {
        name: name.clone(),
        identity: identity(service),
        issue_cookie: issue_cookie
            .map(|cookie| decide::IssueCookie { name: cookie.name.clone(), max_age: cookie.max_age }),
        pin: service
            .pin
            .as_ref()
            .map(|pin| decide::Pin { attribute: pin.attribute.clone(), tag: pin.tag.clone() }),
        versions: words.0.iter().map(version).collect(),
        index,
        rules,
        timeouts: service.timeouts.over(Timeouts::default()),
        retries: service.retries,
        balances_by_identity: service.balance == Balance::Hash,
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

fn spec(name: &Name, gathered: &Gathered<'_>, words: &Words, transport: &Transport) -> ServiceSpec {
    let service = gathered.service;
    let label = |word: &Name| {
        service
            .aliases
            .iter()
            .find(|(from, _)| from == word)
            .map_or_else(|| word.clone(), |(_, to)| to.clone())
    };
    ServiceSpec {
        name: name.clone(),
        versions: words
            .0
            .iter()
            .map(|word| VersionSpec {
                word: word.clone(),
                label: label(word),
                chain: words.chain(word, service),
            })
            .collect(),
        instances: gathered
            .instances
            .iter()
            .map(|instance| InstanceSpec {
                address: instance.address,
                version: instance.version.clone(),
                weight: instance.weight,
                tags: instance.tags.clone(),
                draining: instance.draining,
            })
            .collect(),
        balance: match service.balance {
            Balance::RoundRobin => spec::Balance::RoundRobin,
            Balance::LeastRequests => spec::Balance::LeastRequests,
            Balance::Hash => spec::Balance::Hash,
        },
        health: service.health.as_ref().map(|health| HealthSpec {
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
        }),
        outlier: service.outlier.as_ref().map(|outlier| spec::OutlierSpec {
            consecutive_errors: outlier.consecutive_errors,
            eject_for: outlier.eject_for,
            max_ejected: outlier.max_ejected,
        }),
        max_connections: service.max_connections,
        pin_tag: service.pin.as_ref().map(|pin| pin.tag.clone()),
    }
}

//! A second evaluator, slow and obvious: it reads documents directly and shares no code with `compile` or `decide`.
//!
//! Answers: what does the contract say about this request? Every step is written as the contract tells it, without a
//! thought for speed. `documents` reads the texts; everything behind it is done here once more, in another way.

pub mod cases;
mod condition;
pub mod dice;
pub mod mmdb;
mod patterns;
pub mod program;
pub mod requests;
mod seen;
mod target;

use std::collections::BTreeMap;

use graygate_rules::documents::{
    self, Document, DocumentId, DocumentSet, Fallback, Outcome, Route, Rule, Service,
};
use graygate_rules::documents::{HostPattern, PathPattern, Target};
use graygate_rules::vocab::{Attribute, Name};

pub use seen::{Ask, Seen};

/// What became of a request, in words that both evaluators can say.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    BadRequest,
    NoRoute,
    /// `location` is `None` where a group made the host no host.
    Redirect {
        route: String,
        status: u16,
        location: Option<String>,
    },
    NoService {
        route: String,
        service: String,
    },
    Served(Box<Served>),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Served {
    pub route: String,
    pub service: String,
    pub version: String,
    pub reason: &'static str,
    pub rule: Option<String>,
    pub bucket: Option<u16>,
    pub issue_cookie: bool,
    pub chain: Vec<String>,
    pub path: String,
    /// The host of the rewrite; `Err` where a group made it no host.
    pub host: Option<Result<String, ()>>,
    /// The request's headers after the route's edits.
    pub headers: Headers,
}

/// Values by name, in their order, escaped so that a person can read them.
pub type Headers = BTreeMap<String, Vec<String>>;

/// The documents in force: those of the last set, broken ones as they last were good.
#[derive(Default)]
pub struct Oracle {
    good: BTreeMap<DocumentId, (Document, Vec<u8>)>,
}

/// One way to reach a route.
struct Way<'a> {
    name: &'a str,
    route: &'a Route,
    host: Option<&'a HostPattern>,
    path: Option<&'a PathPattern>,
}

impl Oracle {
    pub fn take(&mut self, set: &DocumentSet) {
        let mut before = std::mem::take(&mut self.good);
        for (id, raw) in &set.documents {
            let now = match documents::parse(id, raw) {
                Ok(document) => Some((document, raw.body.to_vec())),
                Err(_) => before.remove(id),
            };
            self.good.extend(now.map(|now| (id.clone(), now)));
        }
        for id in set.ambiguous.keys() {
            self.good.remove(id);
            self.good.extend(before.remove(id).map(|old| (id.clone(), old)));
        }
    }

    pub fn judge(&self, ask: &Ask) -> Verdict {
        let Some(seen) = Seen::of(ask) else { return Verdict::BadRequest };
        let Some(way) = self.route(&seen) else { return Verdict::NoRoute };
        let route = way.name.to_string();
        let (name, rewrite) = match &way.route.target {
            Target::Redirect(redirect) => {
                let location = target::location(redirect, way.path, &seen);
                return Verdict::Redirect { route, status: redirect.status, location };
            }
            Target::Service { name, rewrite } => (name, rewrite),
        };
        let Some(service) = self.service(name.as_str()) else {
            return Verdict::NoService { route, service: name.to_string() };
        };
        let choice = self.choose(name.as_str(), service, &seen);
        let path = target::path(rewrite.path.as_ref(), way.path, &seen);
        // Nothing goes upstream where the path climbs or the host is none.
        let host = match path {
            None => Some(Err(())),
            Some(_) => rewrite.host.as_ref().map(|host| target::host(host, way.path, &seen).ok_or(())),
        };
        Verdict::Served(Box::new(Served {
            route,
            service: name.to_string(),
            chain: chain(service, &choice.version),
            version: choice.version,
            reason: choice.reason,
            rule: choice.rule,
            bucket: choice.bucket,
            issue_cookie: service.issue_cookie.is_some()
                && hashed(&identity(service), &seen, hidden(service, &seen)).is_none(),
            path: match host {
                Some(Err(())) => seen.upstream.clone(),
                _ => path.unwrap_or_default(),
            },
            host,
            headers: target::edited(&way.route.request_headers, way.path, &seen),
        }))
    }

    fn service(&self, name: &str) -> Option<&Service> {
        self.good.iter().find_map(|(id, (document, _))| match document {
            Document::Service(service) if &*id.name == name => Some(&**service),
            _ => None,
        })
    }

    /// All texts of a list's lines, or `None` where no part of it is there.
    fn list(&self, name: &str) -> Option<Vec<String>> {
        let parts: Vec<&Vec<u8>> = self
            .good
            .iter()
            .filter(|(id, (document, _))| {
                matches!(document, Document::List(_))
                    && (&*id.name == name || id.name.starts_with(&format!("{name}/")))
            })
            .map(|(_, (_, body))| body)
            .collect();
        let lines = parts.iter().flat_map(|body| {
            let text = String::from_utf8((*body).clone()).unwrap_or_default();
            let lines = text.trim_start_matches('\u{feff}').lines().map(|line| line.trim().to_string());
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>()
        });
        let lines = lines.collect();
        (!parts.is_empty()).then_some(lines)
    }

    fn route(&self, seen: &Seen<'_>) -> Option<Way<'_>> {
        let mut ways: Vec<Way<'_>> = Vec::new();
        for (id, (document, _)) in &self.good {
            let Document::Route(route) = document else { continue };
            if !self.route_fits(route, seen) {
                continue;
            }
            for host in one_or_each(route.hosts.as_deref()) {
                for path in one_or_each(route.paths.as_deref()) {
                    if host.is_none_or(|host| host_fits(host, &seen.host))
                        && path.is_none_or(|path| path_fits(path, &seen.view))
                    {
                        ways.push(Way { name: &id.name, route, host, path });
                    }
                }
            }
        }
        keep_best(&mut ways, |way| way.route.priority);
        keep_best(&mut ways, |way| match way.host {
            Some(HostPattern::Exact(_)) => 2,
            Some(HostPattern::Wildcard(_)) => 1,
            None => 0,
        });
        keep_best(&mut ways, |way| match way.host {
            Some(HostPattern::Wildcard(suffix)) => suffix.len(),
            _ => 0,
        });
        keep_best(&mut ways, |way| match way.path {
            Some(PathPattern::Exact(_)) => 3,
            Some(PathPattern::Prefix(_)) => 2,
            Some(PathPattern::Regex(_)) => 1,
            None => 0,
        });
        keep_best(&mut ways, |way| match way.path {
            Some(PathPattern::Prefix(prefix)) => prefix.len(),
            _ => 0,
        });
        keep_best(&mut ways, |way| way.route.methods.is_some());
        keep_best(&mut ways, |way| way.route.when.as_ref().map_or(0, condition::count));
        ways.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        ways.into_iter().next()
    }

    fn route_fits(&self, route: &Route, seen: &Seen<'_>) -> bool {
        if route.methods.as_ref().is_some_and(|methods| !methods.contains(&seen.ask.method)) {
            return false;
        }
        let pin = match &route.target {
            Target::Service { name, .. } => {
                self.service(name.as_str()).and_then(|service| hidden(service, seen))
            }
            Target::Redirect(_) => None,
        };
        match &route.when {
            None => true,
            Some(when) => self.is_whole(when) && self.holds(when, seen, pin),
        }
    }

    fn choose(&self, name: &str, service: &Service, seen: &Seen<'_>) -> Choice {
        let word: Vec<&str> = seen.ask.word.iter().flat_map(|word| word.split(' ')).collect();
        if let [_, version, services, ..] = word.as_slice()
            && (*services == "*" || services.split(',').any(|one| one == name))
        {
            return Choice { version: version.to_string(), reason: "override", rule: None, bucket: None };
        }
        if let Some(word) = &seen.ask.inherited {
            return Choice { version: word.clone(), reason: "inherited", rule: None, bucket: None };
        }
        let mut rules: Vec<(&str, &Rule)> = self
            .good
            .iter()
            .filter_map(|(id, (document, _))| match document {
                Document::Rule(rule) => Some((&*id.name, rule)),
                _ => None,
            })
            .collect();
        rules.sort_by(|(a, first), (b, second)| {
            second.priority.cmp(&first.priority).then(a.as_bytes().cmp(b.as_bytes()))
        });
        let decides = |rule: &Rule| {
            let wanted = |services: &Vec<Name>| services.iter().any(|one| one.as_str() == name);
            let known =
                |services: &Vec<Name>| services.iter().all(|one| self.service(one.as_str()).is_some());
            rule.enabled
                && rule.services.as_ref().is_none_or(|services| wanted(services) && known(services))
                && rule.starts.is_none_or(|starts| seen.ask.now >= starts.unix_timestamp_nanos())
                && rule.ends.is_none_or(|ends| seen.ask.now < ends.unix_timestamp_nanos())
                && rule
                    .when
                    .as_ref()
                    .is_none_or(|when| self.is_whole(when) && self.holds(when, seen, hidden(service, seen)))
        };
        match rules.into_iter().find(|(_, rule)| decides(rule)) {
            None => Choice { version: "release".into(), reason: "default", rule: None, bucket: None },
            Some((name, rule)) => {
                let (version, bucket) = apply(name, rule, service, seen);
                Choice { version, reason: "rule", rule: Some(name.into()), bucket }
            }
        }
    }
}

struct Choice {
    version: String,
    reason: &'static str,
    rule: Option<String>,
    bucket: Option<u16>,
}

fn keep_best<K: Ord>(ways: &mut Vec<Way<'_>>, key: impl Fn(&Way<'_>) -> K) {
    if let Some(best) = ways.iter().map(&key).max() {
        ways.retain(|way| key(way) == best);
    }
}

fn one_or_each<T>(written: Option<&[T]>) -> Vec<Option<&T>> {
    written.map_or(vec![None], |items| items.iter().map(Some).collect())
}

fn host_fits(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        // Label by label from the right, with at least one label left over.
        HostPattern::Wildcard(suffix) => {
            let wanted: Vec<&str> = suffix.split('.').skip(1).collect();
            let mut labels: Vec<&str> = host.split('.').collect();
            let tail = labels.split_off(labels.len().saturating_sub(wanted.len()));
            tail == wanted && !labels.concat().is_empty()
        }
    }
}

fn path_fits(pattern: &PathPattern, view: &str) -> bool {
    match pattern {
        PathPattern::Exact(path) => path == view,
        // Element by element.
        PathPattern::Prefix(prefix) => {
            let wanted: Vec<&str> = prefix.split('/').collect();
            view.split('/').take(wanted.len()).eq(wanted)
        }
        PathPattern::Regex(pattern) => target::whole(&pattern.text).is_match(view),
    }
}

/// The pin's attribute, where this request is not trusted to have one.
fn hidden<'a>(service: &'a Service, seen: &Seen<'_>) -> Option<&'a Attribute> {
    service.pin.as_ref().map(|pin| &pin.attribute).filter(|_| !seen.ask.trusted)
}

fn identity(service: &Service) -> Vec<Attribute> {
    let issued = service.issue_cookie.as_ref().map(|cookie| Attribute::Cookie(cookie.name.clone()));
    let mut asked = service.identity.clone().unwrap_or_default();
    if asked.is_empty() && issued.is_none() {
        asked.push(Attribute::Ip);
    }
    asked.extend(issued);
    asked
}

/// The first value of the first attribute that has one which is not empty.
fn hashed(attributes: &[Attribute], seen: &Seen<'_>, hidden: Option<&Attribute>) -> Option<Vec<u8>> {
    attributes
        .iter()
        .filter(|attribute| Some(*attribute) != hidden)
        .filter_map(|attribute| seen.values(attribute).into_iter().next())
        .find(|value| !value.is_empty())
}

fn apply(name: &str, rule: &Rule, service: &Service, seen: &Seen<'_>) -> (String, Option<u16>) {
    let shares = match &rule.outcome {
        Outcome::Version(version) => return (version.to_string(), None),
        Outcome::Split(shares) => shares,
    };
    let hidden = hidden(service, seen);
    let identity = identity(service);
    let by = rule.by.as_ref().unwrap_or(&identity);
    let issued = service.issue_cookie.as_ref().map(|cookie| Attribute::Cookie(cookie.name.clone()));
    // The cookie that goes out with this very answer counts where a cookie that came in would.
    let given = issued.filter(|cookie| by.contains(cookie) && hashed(&identity, seen, hidden).is_none());
    let fresh = given.and(seen.ask.fresh.clone()).map(String::into_bytes);
    let found = hashed(by, seen, hidden).or(fresh);
    let salt = rule.salt.as_deref().unwrap_or(name);
    let bucket = found.map(|value| bucket(&[salt.as_bytes(), b":", &value].concat()));
    let everyone = shares.iter().find(|(_, share)| share.to_string() == "100").map(|(version, _)| version);
    // Every bucket has its owner: lay them out one after the other.
    let owners: Vec<&Name> =
        shares.iter().flat_map(|(version, share)| vec![version; usize::from(share.hundredths())]).collect();
    let owner = bucket.and_then(|bucket| owners.get(usize::from(bucket)).copied());
    (everyone.or(owner).map_or("release".into(), Name::to_string), bucket)
}

fn chain(service: &Service, version: &str) -> Vec<String> {
    let own = service.fallback.iter().find(|(from, _)| from.as_str() == version).map(|(_, to)| to);
    let mut chain = vec![version.to_string()];
    match own {
        Some(Fallback::None) => return chain,
        Some(Fallback::To(others)) => {
            chain.extend(others.iter().map(Name::to_string).filter(|other| other != "release"));
        }
        None => {}
    }
    chain.push("release".into());
    let mut once = Vec::new();
    for word in chain {
        if !once.contains(&word) {
            once.push(word);
        }
    }
    once
}

/// The published formula: murmur3_x86_32 with seed 0, then the upper digits of `h / 2^32 * 10000`.
fn bucket(text: &[u8]) -> u16 {
    let mix = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash: u32 = 0;
    let mut blocks = text.chunks_exact(4);
    for block in &mut blocks {
        let word = block.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        hash = (hash ^ mix(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let tail = blocks.remainder().iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    hash ^= mix(tail);
    hash ^= text.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    (u128::from(hash) * 10_000 / (1 << 32)) as u16
}

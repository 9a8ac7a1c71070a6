//! Users that no log has seen: numbered identities for a service, spread over the addresses it is reached by.
//!
//! What is hashed, by the service or by a rule of it, carries the number; nothing else of a user is made up, so a rule
//! for chosen people finds none of them. Numbers are the same in every run: two runs of one draft can be compared.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue, header};

use super::question::{About, Question};
use crate::decide::{HostMatch, Outcome, PathMatch, ServicePlan, ServiceTarget, Snapshot, Target};
use crate::vocab::{Attribute, Name};

/// Addresses of one service that its users are spread over: every rule about a path should meet some.
const ADDRESS_LIMIT: usize = 64;

/// Everyone made up for one service.
#[derive(Debug)]
pub struct Crowd {
    service: Name,
    /// What is hashed, by either snapshot.
    hashed: Vec<Attribute>,
    /// Never empty.
    addresses: Vec<Address>,
}

/// A way to the service that a route names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Address {
    method: String,
    host: String,
    path: String,
}

impl Crowd {
    /// One crowd for every service that either snapshot has, by name.
    pub fn of_every_service(before: &Snapshot, after: &Snapshot) -> Vec<Crowd> {
        let both = [before, after];
        let names: BTreeSet<&Name> =
            both.iter().flat_map(|side| side.services.iter()).map(|plan| &plan.name).collect();
        names.into_iter().map(|name| Crowd::of(name, both)).collect()
    }

    fn of(service: &Name, both: [&Snapshot; 2]) -> Crowd {
        let mut hashed: Vec<Attribute> = Vec::new();
        let plans = both.iter().filter_map(|side| side.services.iter().find(|plan| plan.name == *service));
        for attribute in plans.flat_map(|plan| hashed_by(plan)) {
            if !hashed.contains(attribute) {
                hashed.push(attribute.clone());
            }
        }
        let found: BTreeSet<Address> = both.iter().flat_map(|side| addresses(side, service)).collect();
        let mut addresses: Vec<Address> = found.into_iter().take(ADDRESS_LIMIT).collect();
        if addresses.is_empty() {
            addresses.push(Address::anywhere());
        }
        Crowd { service: service.clone(), hashed, addresses }
    }

    pub fn member(&self, number: u32) -> Question {
        let identity = format!("user-{number}");
        let mut headers = HeaderMap::new();
        let mut client = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let (mut cookies, mut parameters) = (Vec::new(), Vec::new());
        for attribute in &self.hashed {
            match attribute {
                Attribute::Header(name) => {
                    headers.extend(HeaderValue::from_str(&identity).ok().map(|value| (name.clone(), value)));
                }
                Attribute::Cookie(name) => cookies.push(format!("{name}={identity}")),
                Attribute::Query(name) => parameters.push(format!("{}={identity}", encoded(name))),
                Attribute::Ip => client = IpAddr::V6(documentation_address(number)),
                Attribute::Path
                | Attribute::Host
                | Attribute::Method
                | Attribute::Scheme
                | Attribute::Geo(_) => {}
            }
        }
        let line = HeaderValue::from_str(&cookies.join("; ")).ok().filter(|line| !line.is_empty());
        headers.extend(line.map(|line| (header::COOKIE, line)));
        let address = self.addresses.get(number as usize % self.addresses.len().max(1));
        let Address { method, host, path } = address.cloned().unwrap_or_else(Address::anywhere);
        let query = (!parameters.is_empty()).then(|| parameters.join("&"));
        let about = About::Service { name: self.service.clone(), identity };
        Question { method, host, path, query, headers, client, about }
    }
}

impl Address {
    fn anywhere() -> Address {
        Address { method: "GET".into(), host: String::new(), path: "/".into() }
    }
}

fn hashed_by(plan: &ServicePlan) -> impl Iterator<Item = &Attribute> {
    let by_rules = plan.rules.iter().filter_map(|rule| match &rule.outcome {
        Outcome::Split { by, .. } => by.as_deref(),
        Outcome::Version(_) => None,
    });
    plan.identity.iter().chain(by_rules.flatten())
}

/// How routes lead to the service, as far as a route says it in plain text.
fn addresses(snapshot: &Snapshot, service: &Name) -> impl Iterator<Item = Address> {
    let leads = |target: &Target| match target {
        Target::Service { service: ServiceTarget::Known(id), .. } => {
            snapshot.service(*id).is_some_and(|plan| plan.name == *service)
        }
        _ => false,
    };
    snapshot.routes.candidates.iter().filter_map(move |candidate| {
        let route = snapshot.routes.routes.get(candidate.route).filter(|route| leads(&route.target))?;
        let host = match &candidate.host {
            HostMatch::Exact(name) => name.clone(),
            HostMatch::Suffix(suffix) => format!("www{suffix}"),
            HostMatch::Any => String::new(),
        };
        let path = match &candidate.path {
            PathMatch::Exact(path) => path.clone(),
            PathMatch::Prefix(prefix) => format!("{prefix}/"),
            PathMatch::Regex(_) | PathMatch::Any => "/".into(),
        };
        let first = route.methods.as_ref().and_then(|methods| methods.first().cloned());
        Some(Address { method: first.unwrap_or_else(|| "GET".into()), host, path })
    })
}

/// A parameter's name as a query spells it.
fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// An address out of those that documentation may use (RFC 3849), so that no list of real networks has it.
fn documentation_address(number: u32) -> Ipv6Addr {
    let [a, b, c, d] = number.to_be_bytes();
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, pair(a, b), pair(c, d))
}

//! The services in force, each with its instances. Never: rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::findings::{DocumentFindings, Findings};
use super::parse;
use crate::documents::{Closure, Document, DocumentId, Instance, Kind, Service};
use crate::vocab::Name;

/// By name.
pub struct Services<'m>(BTreeMap<Name, ServiceParts<'m>>);

/// What documents say of one service.
pub struct ServiceParts<'m> {
    pub id: &'m DocumentId,
    pub service: &'m Service,
    pub instances: Vec<&'m Instance>,
    /// Versions that take no requests, as rules say them.
    pub closed: Vec<&'m Name>,
    /// A version and an address are an instance once.
    known: BTreeSet<(&'m Name, SocketAddr)>,
    /// Their addresses. What a registry found at one of them is that instance: a hand's word comes first.
    addresses: BTreeSet<SocketAddr>,
}

impl<'m> Services<'m> {
    pub fn gather(parsed: &'m parse::Memory, findings: &mut Findings) -> Services<'m> {
        let mut services = Services(BTreeMap::new());
        for (id, found) in parsed.in_force(Kind::Service) {
            if let (Document::Service(service), Some(name)) = (&*found.document, Name::parse(&id.name)) {
                services.0.insert(name, ServiceParts::of(id, service, findings));
            }
        }
        let mut discovered = Vec::new();
        for (id, found) in parsed.in_force(Kind::Instance) {
            if let Document::Instance(instance) = &*found.document {
                match services.0.get(id.head()) {
                    Some(parts) if instance.by.is_some() => {
                        discovered.push((parts.turn(instance), id, instance));
                    }
                    _ => services.add(id, instance, findings),
                }
            }
        }
        // What registries found comes after all that hands wrote, in the order in which the service names them.
        discovered.sort_by_key(|(turn, ..)| *turn);
        for (_, id, instance) in discovered {
            if let Some(parts) = services.0.get_mut(id.head()) {
                parts.add_discovered(instance);
            }
        }
        for (id, found) in parsed.in_force(Kind::Closure) {
            if let Document::Closure(closure) = &*found.document {
                services.close(id, closure, findings);
            }
        }
        services
    }

    /// An instance that is a document of its own.
    fn add(&mut self, id: &'m DocumentId, instance: &'m Instance, findings: &mut Findings) {
        let mut findings = findings.of(id);
        match self.0.get_mut(id.head()) {
            Some(parts) => parts.add(instance, "address", &mut findings),
            None => {
                let message = format!("the service `{}` does not exist", id.head());
                findings.add("", message, "the instance is left out until then");
            }
        }
    }

    fn close(&mut self, id: &'m DocumentId, closure: &'m Closure, findings: &mut Findings) {
        match self.0.get_mut(&closure.service) {
            Some(parts) => parts.closed.push(&closure.version),
            None => {
                let message = format!("the service `{}` does not exist", closure.service);
                findings.of(id).add("service", message, "it closes nothing until then");
            }
        }
    }

    pub fn get(&self, name: &Name) -> Option<&ServiceParts<'m>> {
        self.0.get(name)
    }

    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &ServiceParts<'m>)> {
        self.0.iter()
    }
}

impl<'m> ServiceParts<'m> {
    fn of(id: &'m DocumentId, service: &'m Service, findings: &mut Findings) -> ServiceParts<'m> {
        let (instances, closed) = (Vec::new(), Vec::new());
        let (known, addresses) = (BTreeSet::new(), BTreeSet::new());
        let mut parts = ServiceParts { id, service, instances, closed, known, addresses };
        let mut findings = findings.of(id);
        for (i, instance) in service.instances.iter().enumerate() {
            parts.add(instance, &format!("instances[{i}].address"), &mut findings);
        }
        parts
    }

    fn add(&mut self, instance: &'m Instance, field: &str, findings: &mut DocumentFindings<'_>) {
        let Instance { address, version, .. } = instance;
        if self.known.insert((version, *address)) {
            self.addresses.insert(*address);
            self.instances.push(instance);
        } else {
            let message = format!("`{address}` is there twice for the version `{version}`");
            findings.add(field, message, "the first one counts");
        }
    }

    /// When an instance has its turn among those that registries found.
    fn turn(&self, instance: &Instance) -> usize {
        let discover = &self.service.discover;
        let of_registry = discover.iter().position(|one| instance.by.as_ref() == Some(&one.registry));
        of_registry.unwrap_or(discover.len())
    }

    /// An instance that a registry found, unless its address is there already.
    fn add_discovered(&mut self, instance: &'m Instance) {
        if self.addresses.insert(instance.address) {
            self.known.insert((&instance.version, instance.address));
            self.instances.push(instance);
        }
    }
}

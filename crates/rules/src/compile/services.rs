//! The services in force, each with its instances. Never: rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::findings::{DocumentFindings, Findings};
use super::parse;
use crate::documents::{Document, DocumentId, Instance, Kind, Service};
use crate::vocab::Name;

/// By name.
pub struct Services<'m>(BTreeMap<Name, ServiceParts<'m>>);

/// What documents say of one service.
pub struct ServiceParts<'m> {
    pub id: &'m DocumentId,
    pub service: &'m Service,
    pub instances: Vec<&'m Instance>,
    /// A version and an address are an instance once.
    known: BTreeSet<(&'m Name, SocketAddr)>,
}

impl<'m> Services<'m> {
    pub fn gather(parsed: &'m parse::Memory, findings: &mut Findings) -> Services<'m> {
        let mut services = Services(BTreeMap::new());
        for (id, found) in parsed.in_force(Kind::Service) {
            if let (Document::Service(service), Some(name)) = (&*found.document, Name::parse(&id.name)) {
                services.0.insert(name, ServiceParts::of(id, service, findings));
            }
        }
        for (id, found) in parsed.in_force(Kind::Instance) {
            if let Document::Instance(instance) = &*found.document {
                services.add(id, instance, findings);
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

    pub fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Name, &ServiceParts<'m>)> {
        self.0.iter()
    }
}

impl<'m> ServiceParts<'m> {
    fn of(id: &'m DocumentId, service: &'m Service, findings: &mut Findings) -> ServiceParts<'m> {
        let mut parts = ServiceParts { id, service, instances: Vec::new(), known: BTreeSet::new() };
        let mut findings = findings.of(id);
        for (i, instance) in service.instances.iter().enumerate() {
            parts.add(instance, &format!("instances[{i}].address"), &mut findings);
        }
        parts
    }

    fn add(&mut self, instance: &'m Instance, field: &str, findings: &mut DocumentFindings<'_>) {
        let Instance { address, version, .. } = instance;
        if self.known.insert((version, *address)) {
            self.instances.push(instance);
        } else {
            let message = format!("`{address}` is there twice for the version `{version}`");
            findings.add(field, message, "the first one counts");
        }
    }
}

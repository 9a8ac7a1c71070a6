//! VirtualService, DestinationRule and ServiceEntry objects of Istio.
//!
//! A destination host becomes a service and its subsets versions; the subset that most requests of the last route get is
//! `release`. Istio asks the routes of a VirtualService in order: where all lead to one host, one route and a rule for
//! each is written, with the same conditions in the same order; else a route for each, with falling priorities.

mod matching;
mod routes;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use super::drafts::{Drafts, name_of};
use super::kubernetes::{self, Object};
use super::tree::Tree;
use super::yaml::Yaml;
use crate::documents::Kind;
use crate::documents::text::Node;

/// A destination: a host and, perhaps, a subset of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Destination {
    host: String,
    subset: Option<String>,
}

/// One destination of a route and its weight.
#[derive(Clone, Debug)]
struct Weighted {
    to: Destination,
    weight: u64,
}

pub fn read(inputs: &[Input<'_>]) -> Drafts {
    let mut drafts = Drafts::default();
    let objects = kubernetes::objects(inputs, &mut drafts);
    let mut services = Services::of(&objects);
    for object in objects.iter().filter(|object| object.kind == "VirtualService") {
        routes::write(object, &mut services, &mut drafts);
    }
    for object in &objects {
        match object.kind.as_str() {
            "VirtualService" => {}
            "DestinationRule" => settings::apply(object, &services, &mut drafts),
            "ServiceEntry" => services.place_entries(object, &mut drafts),
            "Service" | "Endpoints" | "EndpointSlice" => {
                drafts.left_out(
                    object.called(),
                    "addresses are read from ServiceEntry objects, whose labels name the subset",
                );
            }
            "Gateway" => {
                drafts.left_out(object.called(), "listeners and certificates stand in the process file")
            }
            _ => drafts.left_out(
                object.called(),
                "only VirtualService, DestinationRule, ServiceEntry and Service objects are read",
            ),
        }
    }
    services.report(&mut drafts);
    drafts
}

/// What hosts and subsets are called here.
struct Services<'o> {
    objects: &'o [Object],
    /// The subset that is `release`, by host.
    release: BTreeMap<String, Option<String>>,
    written: BTreeSet<String>,
}

impl<'o> Services<'o> {
    fn of(objects: &'o [Object]) -> Services<'o> {
        let mut release = BTreeMap::new();
        for object in objects.iter().filter(|object| object.kind == "VirtualService") {
            let routes = object.root.down(&["spec", "http"]).map(Tree::items).unwrap_or_default();
            // The last route that leads to a host has who is not chosen.
            for route in routes.iter().rev() {
                let heaviest = destinations(route).into_iter().rev().max_by_key(|found| found.weight);
                if let Some(found) = heaviest {
                    release.entry(host_of(&found.to.host, &object.namespace)).or_insert(found.to.subset);
                }
            }
        }
        Services { objects, release, written: BTreeSet::new() }
    }

    /// The service of a host.
    fn name(&self, host: &str) -> String {
        name_of(host)
    }

    /// The word of a subset, as rules of the host's service say it.
    fn word(&self, host: &str, subset: Option<&str>) -> String {
        let is_release = self.release.get(host).is_some_and(|release| release.as_deref() == subset);
        match subset {
            Some(subset) if !is_release => name_of(subset),
            _ => "release".into(),
        }
    }

    /// Writes the service of a host, once.
    fn write(&mut self, host: &str, drafts: &mut Drafts) -> String {
        let name = self.name(host);
        if self.written.insert(host.into()) {
            drafts.edit(Kind::Service, &name, |_| {});
            if let Some(Some(release)) = self.release.get(host) {
                let alias = Yaml::of("release", Yaml::text(name_of(release)));
                drafts.edit(Kind::Service, &name, |document| document.set("aliases", alias));
            }
        }
        name
    }

    /// The static endpoints of a ServiceEntry, by the subset whose labels they have.
    fn place_entries(&self, entry: &Object, drafts: &mut Drafts) {
        let said = entry.called();
        let hosts = entry.root.down(&["spec", "hosts"]).map(Tree::items).unwrap_or_default();
        let endpoints = entry.root.down(&["spec", "endpoints"]).map(Tree::items).unwrap_or_default();
        let ports = entry.root.down(&["spec", "ports"]).map(Tree::items).unwrap_or_default();
        let port =
            ports.first().and_then(|port| port.number_at("targetPort").or_else(|| port.number_at("number")));
        for host in hosts.iter().filter_map(Tree::scalar).map(|host| host_of(&host, &entry.namespace)) {
            if !self.written.contains(&host) {
                drafts.left_out(format!("{said}, {host}"), "no route leads to it");
                continue;
            }
            let service = self.name(&host);
            let mut placed = 0;
            for endpoint in endpoints {
                let own =
                    endpoint.at("ports").and_then(|ports| ports.entries().first()?.1.scalar()?.parse().ok());
                let port = own.or(port).and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
                let address = endpoint.text_at("address").and_then(|host| kubernetes::socket(&host, port));
                let Some(address) = address else { continue };
                let weight = endpoint.number_at("weight").and_then(|weight| u64::try_from(weight).ok());
                let version = settings::version_of(endpoint.at("labels"), &host, self.objects);
                let instance =
                    kubernetes::instance(&address, version.as_deref().unwrap_or("release"), weight);
                drafts.edit(Kind::Service, &service, |document| document.append("instances", instance));
                placed += 1;
            }
            match placed == endpoints.len() && placed > 0 {
                true => drafts.same(format!("{said}, {host}"), vec![format!("services/{service}")]),
                false => drafts.left_out(format!("{said}, {host}"), "an instance is an address with a port"),
            }
        }
    }

    /// Hosts without instances in the files.
    fn report(&self, drafts: &mut Drafts) {
        for host in &self.written {
            let entry = self.objects.iter().any(|object| {
                object.kind == "ServiceEntry"
                    && object
                        .root
                        .down(&["spec", "hosts"])
                        .map(Tree::items)
                        .unwrap_or_default()
                        .iter()
                        .filter_map(Tree::scalar)
                        .any(|found| host_of(&found, &object.namespace) == *host)
            });
            if !entry {
                let why = format!(
                    "pods are found by labels there; write their addresses below `instances/{}/`, or let a registry, each with its subset as `version`",
                    self.name(host)
                );
                drafts.left_out(format!("the instances of {host}"), why);
            }
        }
    }
}

/// One name for all spellings of a Kubernetes host: the short name, with the namespace where it is another one.
fn host_of(host: &str, namespace: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let inside = host.strip_suffix(".svc.cluster.local").or_else(|| host.strip_suffix(".svc"));
    match inside.and_then(|inside| inside.split_once('.')) {
        Some((name, found)) if found == namespace => name.into(),
        Some(_) => inside.unwrap_or(&host).into(),
        None => match host.split_once('.') {
            Some((name, found)) if found == namespace => name.into(),
            _ => host,
        },
    }
}

/// The destinations of a route; a single one has everything, whatever its weight says.
fn destinations(route: &Node) -> Vec<Weighted> {
    let entries = route.at("route").map(Tree::items).unwrap_or_default();
    let read = |entry: &Node| {
        let destination = entry.at("destination")?;
        let weight = entry.number_at("weight").and_then(|weight| u64::try_from(weight).ok());
        let weight = weight.unwrap_or(u64::from(entries.len() == 1));
        let weight = if entries.len() == 1 { weight.max(1) } else { weight };
        let to = Destination { host: destination.text_at("host")?, subset: destination.text_at("subset") };
        Some(Weighted { to, weight })
    };
    entries.iter().filter_map(read).collect()
}

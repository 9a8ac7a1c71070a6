//! Ingress objects with the annotations of ingress-nginx.
//!
//! A canary Ingress names another Service for a host and path of a main one. ingress-nginx keeps the canary's policy with
//! the main Service, for every path that leads to it, which is what rules of a service are here: the main Service becomes
//! a service, the canary's a version of it, and the policy rules in ingress-nginx's own order (header, cookie, weight).

mod annotations;
mod canary;
mod paths;

use std::collections::{BTreeMap, BTreeSet};

use super::Input;
use super::drafts::{Drafts, name_of};
use super::kubernetes::{self, Object, Port, instance};
use super::tree::Tree;
use crate::documents::Kind;
use crate::documents::text::Node;

/// What all annotations of ingress-nginx begin with.
const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// A Service and the port that is asked of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Backend {
    namespace: String,
    service: String,
    port: Port,
}

/// One path of one rule of an Ingress.
#[derive(Debug)]
struct PathRule<'o> {
    ingress: &'o Object,
    /// Empty: any host.
    host: String,
    path: String,
    path_type: String,
    backend: Backend,
}

impl PathRule<'_> {
    fn called(&self) -> String {
        let host = if self.host.is_empty() { "*" } else { &self.host };
        format!("{}, {host}{} -> {}", self.ingress.called(), self.path, self.backend.service)
    }

    fn place(&self) -> (&str, &str, &str) {
        (&self.host, &self.path, &self.path_type)
    }

    fn says(&self, annotation: &str) -> Option<String> {
        self.ingress.annotation(&format!("{PREFIX}{annotation}"))
    }
}

pub fn read(inputs: &[Input<'_>]) -> Drafts {
    let mut drafts = Drafts::default();
    let objects = kubernetes::objects(inputs, &mut drafts);
    for object in
        objects.iter().filter(|object| object.kind == "Service" || object.kind.starts_with("Endpoint"))
    {
        drafts.same(object.called(), Vec::new());
    }
    for object in &objects {
        if !matches!(object.kind.as_str(), "Ingress" | "Service" | "Endpoints" | "EndpointSlice") {
            drafts.left_out(
                object.called(),
                "only Ingress, Service, Endpoints and EndpointSlice objects are read",
            );
        }
    }
    let mut ingresses: Vec<&Object> = objects.iter().filter(|object| object.kind == "Ingress").collect();
    // The order in which ingress-nginx takes them in decides which of two canaries counts.
    ingresses.sort_by_cached_key(|object| {
        let created = object.root.down(&["metadata", "creationTimestamp"]).and_then(Tree::scalar);
        (created.unwrap_or_default(), object.namespace.clone(), object.name.clone())
    });
    let (canaries, mains): (Vec<&Object>, Vec<&Object>) =
        ingresses.into_iter().partition(|object| is_canary(object));
    let rules: Vec<PathRule<'_>> =
        mains.iter().flat_map(|ingress| path_rules(ingress, &mut drafts)).collect();
    let shadows: Vec<PathRule<'_>> =
        canaries.iter().flat_map(|ingress| path_rules(ingress, &mut drafts)).collect();
    let names = Names::of(rules.iter().chain(&shadows).map(|rule| &rule.backend));
    let mut services = Services { names, objects: &objects, without_instances: BTreeSet::new() };
    let written = paths::write(&rules, &services.names, &mut drafts);
    for route in &written {
        services.write(&route.backend, &mut drafts);
    }
    for ingress in &mains {
        let own: Vec<&PathRule<'_>> =
            rules.iter().filter(|rule| std::ptr::eq(rule.ingress, *ingress)).collect();
        annotations::apply(ingress, &own, &written, (&services.names, &mut drafts));
    }
    canary::write(&canaries, &rules, &shadows, &mut services, &mut drafts);
    services.report(&mut drafts);
    drafts
}

fn is_canary(ingress: &Object) -> bool {
    ingress.annotation(&format!("{PREFIX}canary")).as_deref() == Some("true")
}

/// The rules of an Ingress, its default backend among them; what is no Service is noted.
fn path_rules<'o>(ingress: &'o Object, drafts: &mut Drafts) -> Vec<PathRule<'o>> {
    let mut found = Vec::new();
    let rules = ingress.root.down(&["spec", "rules"]).map(Tree::items).unwrap_or_default();
    for rule in rules {
        let host = rule.text_at("host").unwrap_or_default().to_ascii_lowercase();
        for path in rule.down(&["http", "paths"]).map(Tree::items).unwrap_or_default() {
            let text = path.text_at("path").unwrap_or_else(|| "/".into());
            let path_type = path.text_at("pathType").unwrap_or_else(|| "ImplementationSpecific".into());
            match path.at("backend").and_then(|backend| read_backend(ingress, backend)) {
                Some(backend) => {
                    found.push(PathRule { ingress, host: host.clone(), path: text, path_type, backend });
                }
                None => drafts
                    .left_out(format!("{}, {host}{text}", ingress.called()), "its backend is no Service"),
            }
        }
    }
    let spec = ingress.root.at("spec");
    let default = spec.and_then(|spec| spec.at("defaultBackend").or_else(|| spec.at("backend")));
    if let Some(backend) = default.and_then(|backend| read_backend(ingress, backend)) {
        let mut hosts: BTreeSet<String> = found.iter().map(|rule| rule.host.clone()).collect();
        if hosts.is_empty() {
            hosts.insert(String::new());
        }
        for host in hosts {
            let has_root = found.iter().any(|rule| rule.host == host && rule.path == "/");
            if !has_root {
                let (path, path_type) = ("/".into(), "Prefix".into());
                found.push(PathRule { ingress, host, path, path_type, backend: backend.clone() });
            }
        }
    }
    found
}

/// A backend as `networking.k8s.io/v1` writes it, or as the API versions before it did.
fn read_backend(ingress: &Object, backend: &Node) -> Option<Backend> {
    let (service, port) = match backend.at("service") {
        Some(service) => {
            let port = service.at("port");
            let port = port.and_then(|port| port.text_at("number").or_else(|| port.text_at("name")));
            (service.text_at("name")?, port)
        }
        None => (backend.text_at("serviceName")?, backend.text_at("servicePort")),
    };
    Some(Backend { namespace: ingress.namespace.clone(), service, port: Port(port.unwrap_or_default()) })
}

/// What each backend is called here: by its Service, with namespace or port where that alone would be two.
struct Names(BTreeMap<Backend, String>);

impl Names {
    fn of<'b>(backends: impl Iterator<Item = &'b Backend>) -> Names {
        let all: BTreeSet<&Backend> = backends.collect();
        let name = |backend: &Backend| {
            let same: Vec<&&Backend> = all.iter().filter(|other| other.service == backend.service).collect();
            let mut name = backend.service.clone();
            if same.iter().any(|other| other.namespace != backend.namespace) {
                name = format!("{}.{name}", backend.namespace);
            }
            if same.iter().any(|other| other.namespace == backend.namespace && other.port != backend.port) {
                name = format!("{name}-{}", backend.port.0);
            }
            name_of(&name)
        };
        Names(all.iter().map(|backend| ((*backend).clone(), name(backend))).collect())
    }

    fn get(&self, backend: &Backend) -> &str {
        self.0.get(backend).map_or("unnamed", String::as_str)
    }
}

/// The services being written.
struct Services<'o> {
    names: Names,
    objects: &'o [Object],
    /// Who has no instance in the files: the backend's name, and the version its instances will carry.
    without_instances: BTreeSet<(String, String, String)>,
}

impl Services<'_> {
    /// Writes the service of a main backend, once.
    fn write(&mut self, backend: &Backend, drafts: &mut Drafts) {
        let name = self.names.get(backend).to_string();
        if !drafts.has(Kind::Service, &name) {
            drafts.edit(Kind::Service, &name, |_| {});
            self.place(backend, &name, "release", drafts);
        }
    }

    /// Writes the instances of a backend into a service, as one version of it.
    fn place(&mut self, backend: &Backend, service: &str, version: &str, drafts: &mut Drafts) {
        let found = kubernetes::addresses(self.objects, &backend.namespace, &backend.service, &backend.port);
        if found.is_empty() {
            self.without_instances.insert((service.into(), version.into(), backend.service.clone()));
        }
        drafts.edit(Kind::Service, service, |document| {
            for address in &found {
                document.append("instances", instance(address, version, None));
            }
        });
    }

    fn report(self, drafts: &mut Drafts) {
        for (service, version, theirs) in self.without_instances {
            drafts.left_out(
                format!("the instances of Service {theirs}"),
                format!(
                    "the files have neither Endpoints nor a cluster address of it; write them below \
                     `instances/{service}/`, or let a registry, with `version: {version}`"
                ),
            );
        }
    }
}

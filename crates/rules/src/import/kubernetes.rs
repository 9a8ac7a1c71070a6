//! Kubernetes manifests: several objects a file, lists of objects, and where a Service's instances are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Input;
use super::drafts::Drafts;
use super::tree::Tree;
use super::yaml::Yaml;
use crate::documents::text::{Node, Syntax, parse};

/// An object and where it stands.
#[derive(Debug)]
pub struct Object {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub root: Node,
}

impl Object {
    fn of(root: Node) -> Option<Object> {
        let metadata = root.at("metadata");
        let text = |key| metadata.and_then(|metadata| metadata.text_at(key));
        let kind = root.text_at("kind")?;
        // An object that the API server has to name (`generateName`) has none yet.
        let name = text("name").or_else(|| text("generateName")).unwrap_or_else(|| "unnamed".into());
        let namespace = text("namespace").unwrap_or_else(|| "default".into());
        Some(Object { kind, namespace, name, root })
    }

    /// As the report calls it.
    pub fn called(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<String> {
        self.root.down(&["metadata", "annotations"])?.text_at(name)
    }

    pub fn annotations(&self) -> &[(String, Node)] {
        self.root.down(&["metadata", "annotations"]).map(Tree::entries).unwrap_or_default()
    }
}

/// All objects of all files, lists taken apart. What cannot be read is noted.
pub fn objects(inputs: &[Input<'_>], drafts: &mut Drafts) -> Vec<Object> {
    let mut found = Vec::new();
    for input in inputs {
        for (line, text) in documents(input.text) {
            match parse(&text, Syntax::Yaml) {
                Ok(root) => unfold(root, &mut found, drafts, &format!("{}:{line}", input.name)),
                Err(error) => {
                    let place = format!("{}:{}", input.name, line + error.line.saturating_sub(1));
                    drafts.left_out(place, format!("it is no YAML: {}", error.message));
                }
            }
        }
    }
    found
}

fn unfold(root: Node, found: &mut Vec<Object>, drafts: &mut Drafts, place: &str) {
    let is_list = root.text_at("kind").is_some_and(|kind| kind.ends_with("List"));
    if is_list && root.at("items").is_some() {
        for item in root.at("items").map(Tree::items).unwrap_or_default() {
            unfold(item.clone(), found, drafts, place);
        }
        return;
    }
    match Object::of(root) {
        Some(object) => found.push(object),
        None => drafts.left_out(place, "it is no Kubernetes object: it has no `kind`"),
    }
}

/// The documents of a stream, each with the line it starts on; those that only have comments are passed over.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = vec![(1, String::new())];
    for (line, content) in (1..).zip(text.lines()) {
        let marker = content == "---" || content.starts_with("--- ") || content.starts_with("---\t");
        if marker {
            found.push((line + 1, String::new()));
        } else if content != "..."
            && let Some((_, document)) = found.last_mut()
        {
            document.push_str(content);
            document.push('\n');
        }
    }
    let says_something = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    found.retain(|(_, document)| document.lines().any(says_something));
    found
}

/// A port of a Service, by number or by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port(pub String);

/// Where the instances of a Service are: the addresses of its Endpoints or EndpointSlices, else its cluster address.
pub fn addresses(objects: &[Object], namespace: &str, service: &str, port: &Port) -> Vec<String> {
    let here = |object: &&Object| object.namespace == namespace;
    let named = |kind: &'static str| {
        objects.iter().filter(here).find(move |object| object.kind == kind && object.name == service)
    };
    let service_object = named("Service");
    let written = service_object.and_then(|object| service_port(object, port));
    let mut found = BTreeSet::new();
    let wanted = (written.as_ref().map(|port| port.name.as_str()), port);
    if let Some(endpoints) = named("Endpoints") {
        for subset in endpoints.root.at("subsets").map(Tree::items).unwrap_or_default() {
            let hosts = subset.at("addresses").map(Tree::items).unwrap_or_default();
            collect(subset, hosts.iter().filter_map(|host| host.text_at("ip")), wanted, &mut found);
        }
    }
    let of_service = |object: &&Object| {
        let label = object.root.down(&["metadata", "labels"]);
        object.kind == "EndpointSlice"
            && label.and_then(|l| l.text_at("kubernetes.io/service-name")).as_deref() == Some(service)
    };
    for slice in objects.iter().filter(here).filter(of_service) {
        let ready = |endpoint: &&Node| {
            let ready = endpoint.down(&["conditions", "ready"]).and_then(Tree::scalar);
            ready.is_none_or(|ready| ready == "true")
        };
        let endpoints = slice.root.at("endpoints").map(Tree::items).unwrap_or_default();
        let hosts = endpoints.iter().filter(ready).flat_map(|endpoint| endpoint.texts_at("addresses"));
        collect(&slice.root, hosts, wanted, &mut found);
    }
    if found.is_empty() {
        let address = service_object.and_then(|object| object.root.down(&["spec"])?.text_at("clusterIP"));
        let number = written.map(|port| port.number).or_else(|| port.0.parse().ok());
        if let (Some(address), Some(number)) = (address, number) {
            found.extend(socket(&address, number));
        }
    }
    found.into_iter().collect()
}

struct ServicePort {
    name: String,
    number: u16,
}

fn service_port(service: &Object, wanted: &Port) -> Option<ServicePort> {
    let ports = service.root.down(&["spec", "ports"])?.items();
    let read = |port: &Node| {
        let number = port.number_at("port").and_then(|number| u16::try_from(number).ok())?;
        Some(ServicePort { name: port.text_at("name").unwrap_or_default(), number })
    };
    let is_wanted = |port: &ServicePort| {
        wanted.0.is_empty() || port.name == wanted.0 || port.number.to_string() == wanted.0
    };
    ports.iter().filter_map(read).find(is_wanted)
}

/// The addresses of one set of endpoints with the port that is wanted: by the Service port's name, or the only one.
fn collect(
    ports: &Node,
    hosts: impl Iterator<Item = String>,
    (name, number): (Option<&str>, &Port),
    found: &mut BTreeSet<String>,
) {
    let ports = ports.at("ports").map(Tree::items).unwrap_or_default();
    let is_wanted = |port: &&Node| {
        let own = port.text_at("name").unwrap_or_default();
        name == Some(own.as_str())
            || own == number.0
            || port.text_at("port").as_deref() == Some(number.0.as_str())
    };
    let only = ports.first().filter(|_| ports.len() == 1);
    let port = ports.iter().find(is_wanted).or(only);
    let number = port.and_then(|port| port.number_at("port")).and_then(|number| u16::try_from(number).ok());
    if let Some(number) = number {
        found.extend(hosts.filter_map(|host| socket(&host, number)));
    }
}

/// An address and a port as an instance has them; a name is none.
pub fn socket(host: &str, port: u16) -> Option<String> {
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    (port > 0).then(|| std::net::SocketAddr::new(address, port).to_string())
}

/// An instance of a service document.
pub fn instance(address: &str, version: &str, weight: Option<u64>) -> Yaml {
    let instance = Yaml::of("address", Yaml::text(address)).with("version", Yaml::text(version));
    match weight {
        Some(weight) if weight != 1 => instance.with("weight", Yaml::number(weight)),
        _ => instance,
    }
}

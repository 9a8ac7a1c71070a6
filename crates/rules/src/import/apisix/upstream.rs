//! Upstreams: instances and how they are used.

use super::super::drafts::Drafts;
use super::super::kubernetes::{instance, socket};
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use super::{Objects, inherited};
use crate::documents::Kind;
use crate::documents::text::Node;

/// The upstream of a route: its own, or its service's.
pub fn of<'n>(route: &'n Node, service: Option<&'n Node>, objects: &'n Objects) -> Option<&'n Node> {
    if let Some(upstream) = route.at("upstream") {
        return Some(upstream);
    }
    let id = |node: &Node| node.text_at("upstream_id");
    if let Some(id) = id(route) {
        return objects.upstreams.get(&id);
    }
    inherited(route, service, "upstream").or_else(|| objects.upstreams.get(&id(service?)?))
}

/// Writes the nodes of an upstream as instances of one version; nodes that are no addresses are noted.
pub fn write(upstream: &Node, service: &str, version: &str, drafts: &mut Drafts) {
    let mut named = Vec::new();
    let mut found = Vec::new();
    for (host, port, weight) in nodes(upstream) {
        match socket(&host, port) {
            Some(address) => found.push(instance(&address, version, Some(weight))),
            None => named.push(format!("{host}:{port}")),
        }
    }
    drafts.edit(Kind::Service, service, |document| {
        for instance in found {
            document.append("instances", instance);
        }
    });
    let said = |what: &str| format!("upstream of {service}, version {version}, {what}");
    if !named.is_empty() {
        let why =
            format!("an instance is an address; write them below `instances/{service}/`, or let a registry");
        drafts.left_out(said(&named.join(", ")), why);
    }
    if let Some(name) = upstream.text_at("service_name") {
        let kind = upstream.text_at("discovery_type").unwrap_or_default();
        drafts.left_out(said(&format!("{kind} {name}")), "write `discover` into the service");
    }
}

/// Host, port and weight of each node, in both ways to write them.
fn nodes(upstream: &Node) -> Vec<(String, u16, u64)> {
    let Some(nodes) = upstream.at("nodes") else { return Vec::new() };
    let default_port = match upstream.text_at("scheme").as_deref() {
        Some("https" | "grpcs") => 443,
        _ => 80,
    };
    let listed = nodes.items().iter().filter_map(|node| {
        let port = node.number_at("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(default_port);
        let weight = node.number_at("weight").and_then(|weight| u64::try_from(weight).ok()).unwrap_or(1);
        Some((node.text_at("host")?, port, weight))
    });
    let mapped = nodes.entries().iter().filter_map(|(address, weight)| {
        let weight = weight.scalar()?.parse().ok()?;
        Some(match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host.to_string(), port.parse().ok()?, weight),
            _ => (address.clone(), default_port, weight),
        })
    });
    listed.chain(mapped).collect()
}

/// The protocol of an upstream of a split, where it is not plain HTTP.
pub fn other_scheme(upstream: &Node) -> Option<String> {
    upstream.text_at("scheme").filter(|scheme| scheme != "http")
}

/// What else the upstream says, as fields of the service and the route.
pub fn settings(
    upstream: &Node,
    (service, route): (&str, &mut Yaml),
    differences: &mut Vec<String>,
    drafts: &mut Drafts,
) {
    let mut fields: Vec<(&str, Yaml)> = Vec::new();
    let unverified = || Yaml::of("verify", Yaml::Flag(false));
    match upstream.text_at("scheme").as_deref() {
        Some("https") => fields.push(("tls", unverified())),
        Some("grpc") => fields.push(("protocol", Yaml::text("h2c"))),
        Some("grpcs") => fields.extend([("tls", unverified()), ("protocol", Yaml::text("h2"))]),
        _ => {}
    }
    match upstream.text_at("type").as_deref() {
        Some("chash") => {
            let key = upstream.text_at("key").unwrap_or_else(|| "remote_addr".into());
            let attribute = hashed(&key, upstream.text_at("hash_on").as_deref());
            match attribute {
                Some(attribute) => {
                    differences.push("another hash: who meets which instance changes once".into());
                    fields.extend([("identity", Yaml::texts([attribute])), ("balance", Yaml::text("hash"))]);
                }
                None => differences.push(format!("`{key}` cannot be hashed here; instances take turns")),
            }
        }
        Some(kind @ ("least_conn" | "ewma")) => {
            if kind == "ewma" {
                differences.push("`ewma` becomes least requests".into());
            }
            fields.push(("balance", Yaml::text("least_requests")));
        }
        _ => {}
    }
    if let Some(retries) = upstream.number_at("retries").filter(|retries| (0..=8).contains(retries)) {
        fields.push(("retries", Yaml::number(retries)));
    }
    if let Some(active) = upstream.down(&["checks", "active"]) {
        fields.push(("health", health(active)));
    }
    drafts.edit(Kind::Service, service, |document| {
        for (key, value) in fields {
            document.set(key, value);
        }
        super::timeouts(upstream, document);
    });
    match upstream.text_at("pass_host").as_deref() {
        Some("rewrite") => {
            if let Some(host) = upstream.text_at("upstream_host") {
                route.set_in("rewrite", "host", Yaml::text(host));
            }
        }
        Some("node") => differences.push("the upstream gets the client's Host, and not the node's".into()),
        _ => {}
    }
}

fn hashed(key: &str, on: Option<&str>) -> Option<String> {
    let header = |name: &str| format!("header:{}", name.to_ascii_lowercase().replace('_', "-"));
    match on.unwrap_or("vars") {
        "header" => Some(header(key.strip_prefix("http_").unwrap_or(key))),
        "cookie" => Some(format!("cookie:{}", key.strip_prefix("cookie_").unwrap_or(key))),
        "vars" => match key.split_once('_') {
            _ if key == "remote_addr" => Some("ip".into()),
            _ if key == "uri" => Some("path".into()),
            _ if key == "host" => Some("host".into()),
            Some(("arg", name)) => Some(format!("query:{name}")),
            Some(("http", name)) => Some(header(name)),
            Some(("cookie", name)) => Some(format!("cookie:{name}")),
            _ => None,
        },
        _ => None,
    }
}

fn health(active: &Node) -> Yaml {
    let seconds =
        |path: &[&str]| active.down(path).and_then(Tree::scalar).and_then(|text| text.parse::<u64>().ok());
    let mut health = match active.text_at("type").as_deref() {
        Some("tcp") => Yaml::of("tcp", Yaml::map()),
        _ => {
            let path = active.text_at("http_path").unwrap_or_else(|| "/".into());
            Yaml::of("http", Yaml::of("path", Yaml::text(path)))
        }
    };
    let mut set = |key: &str, value: Option<u64>, unit: &str| {
        if let Some(value) = value.filter(|value| *value > 0) {
            health.set(
                key,
                if unit.is_empty() { Yaml::number(value) } else { Yaml::text(format!("{value}{unit}")) },
            );
        }
    };
    set("interval", seconds(&["healthy", "interval"]), "s");
    set("timeout", seconds(&["timeout"]), "s");
    set("healthy_after", seconds(&["healthy", "successes"]), "");
    set("unhealthy_after", seconds(&["unhealthy", "http_failures"]), "");
    health
}

//! DestinationRules: subsets are versions, and traffic policies fields of the service.

use super::super::drafts::{Drafts, name_of};
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use super::{Object, Services, host_of};
use crate::documents::Kind;
use crate::documents::text::Node;

pub fn apply(object: &Object, services: &Services<'_>, drafts: &mut Drafts) {
    let spec = object.root.at("spec");
    let host = spec.and_then(|spec| spec.text_at("host")).unwrap_or_default();
    let host = host_of(&host, &object.namespace);
    let said = format!("{}, {host}", object.called());
    if !services.written.contains(&host) {
        return drafts.left_out(said, "no VirtualService in the files leads to this host");
    }
    let service = services.name(&host);
    let id = format!("services/{service}");
    for subset in spec.and_then(|spec| spec.at("subsets")).map(Tree::items).unwrap_or_default() {
        let name = subset.text_at("name").unwrap_or_default();
        let labels: Vec<String> = subset
            .at("labels")
            .map(Tree::entries)
            .unwrap_or_default()
            .iter()
            .map(|(key, value)| format!("{key}={}", value.scalar().unwrap_or_default()))
            .collect();
        drafts.same(
            format!("{said}, subset {name} ({}): the version `{}`", labels.join(", "), name_of(&name)),
            vec![id.clone()],
        );
        if subset.at("trafficPolicy").is_some() {
            let why = "a policy holds for all versions of a service";
            drafts.left_out(format!("{said}, subset {name}, trafficPolicy"), why);
        }
    }
    let Some(policy) = spec.and_then(|spec| spec.at("trafficPolicy")) else { return };
    for (key, node) in policy.entries() {
        let mut fields = Vec::new();
        let became = match key.as_str() {
            "loadBalancer" => load_balancer(node, &mut fields),
            "connectionPool" => connections(node, &mut fields),
            "outlierDetection" => outlier(node, &mut fields),
            "tls" => tls(node, &mut fields),
            _ => Err("it has no meaning here".into()),
        };
        let said = format!("{said}, {key}");
        match became {
            Ok(differences) => {
                drafts.edit(Kind::Service, &service, |document| {
                    for (key, value) in fields {
                        document.set(key, value);
                    }
                });
                drafts.judged(said, differences, vec![id.clone()]);
            }
            Err(why) => drafts.left_out(said, why),
        }
    }
}

/// The version that an endpoint with these labels carries: the subset whose labels it has.
pub fn version_of(labels: Option<&Node>, host: &str, objects: &[Object]) -> Option<String> {
    let rules = objects.iter().filter(|object| object.kind == "DestinationRule");
    for rule in rules {
        let spec = rule.root.at("spec")?;
        if host_of(&spec.text_at("host").unwrap_or_default(), &rule.namespace) != host {
            continue;
        }
        for subset in spec.at("subsets").map(Tree::items).unwrap_or_default() {
            let wanted = subset.at("labels").map(Tree::entries).unwrap_or_default();
            let has = |(key, value): &(String, Node)| labels.and_then(|l| l.text_at(key)) == value.scalar();
            if !wanted.is_empty() && wanted.iter().all(has) {
                return subset.text_at("name").map(|name| name_of(&name));
            }
        }
    }
    None
}

type Fields = Vec<(&'static str, Yaml)>;

fn load_balancer(node: &Node, fields: &mut Fields) -> Result<Vec<String>, String> {
    if let Some(hash) = node.at("consistentHash") {
        let mut differences = vec!["another hash: who meets which instance changes once".to_string()];
        let attribute = if let Some(header) = hash.text_at("httpHeaderName") {
            format!("header:{}", header.to_ascii_lowercase())
        } else if let Some(cookie) = hash.at("httpCookie") {
            let name = cookie.text_at("name").ok_or("its cookie has no name")?;
            if cookie.at("ttl").is_some() {
                let issue = Yaml::of("name", Yaml::text(&name)).with("max_age", Yaml::text("30d"));
                fields.push(("issue_cookie", issue));
                differences.push("the cookie it gives lives 30 days".into());
            }
            format!("cookie:{name}")
        } else if let Some(parameter) = hash.text_at("httpQueryParameterName") {
            format!("query:{parameter}")
        } else if hash.text_at("useSourceIp").as_deref() == Some("true") {
            "ip".into()
        } else {
            return Err("it says nothing to hash".into());
        };
        fields.extend([("identity", Yaml::texts([attribute])), ("balance", Yaml::text("hash"))]);
        return Ok(differences);
    }
    match node.text_at("simple").as_deref() {
        Some("LEAST_CONN" | "LEAST_REQUEST" | "UNSPECIFIED") | None => {
            fields.push(("balance", Yaml::text("least_requests")));
            Ok(Vec::new())
        }
        Some("ROUND_ROBIN") => Ok(Vec::new()),
        Some("RANDOM") => Ok(vec!["instances take turns instead of being drawn".into()]),
        Some(other) => Err(format!("`{other}` has no meaning here")),
    }
}

fn connections(node: &Node, fields: &mut Fields) -> Result<Vec<String>, String> {
    if let Some(most) = node.down(&["tcp", "maxConnections"]).and_then(Tree::scalar) {
        fields.push(("max_connections", Yaml::number(most)));
    }
    if let Some(timeout) = node.down(&["tcp", "connectTimeout"]).and_then(Tree::scalar) {
        fields.push(("timeouts", Yaml::of("connect", Yaml::text(timeout))));
    }
    let others: Vec<&str> =
        node.at("http").map(Tree::entries).unwrap_or_default().iter().map(|(key, _)| key.as_str()).collect();
    match (fields.is_empty(), others.is_empty()) {
        (true, _) => Err("only `maxConnections` and `connectTimeout` have a meaning here".into()),
        (false, true) => Ok(Vec::new()),
        (false, false) => Ok(vec![format!("without {}", others.join(", "))]),
    }
}

fn outlier(node: &Node, fields: &mut Fields) -> Result<Vec<String>, String> {
    let errors = node.text_at("consecutive5xxErrors").or_else(|| node.text_at("consecutiveErrors"));
    let mut outlier = Yaml::map();
    if let Some(errors) = errors {
        if errors == "0" {
            fields.push(("outlier", Yaml::text("off")));
            return Ok(Vec::new());
        }
        outlier.set("consecutive_errors", Yaml::number(errors));
    }
    if let Some(time) = node.text_at("baseEjectionTime") {
        outlier.set("eject_for", Yaml::text(time));
    }
    if let Some(most) = node.text_at("maxEjectionPercent") {
        outlier.set("max_ejected", Yaml::text(format!("{most}%")));
    }
    if outlier == Yaml::map() {
        return Err("it says nothing that has a meaning here".into());
    }
    fields.push(("outlier", outlier));
    Ok(vec!["an instance is ejected at the error itself, for the same time each time".into()])
}

fn tls(node: &Node, fields: &mut Fields) -> Result<Vec<String>, String> {
    match node.text_at("mode").as_deref() {
        Some("DISABLE") => Ok(Vec::new()),
        Some("SIMPLE") => {
            let mut tls = Yaml::map();
            if let Some(name) = node.text_at("sni") {
                tls.set("server_name", Yaml::text(name));
            }
            fields.push(("tls", tls));
            // The file is on their machines: a document that names it would be held back here.
            let ca = node.text_at("caCertificates");
            Ok(ca
                .map(|file| format!("`{file}` has to be written into `tls.ca` where it is here"))
                .into_iter()
                .collect())
        }
        _ => Err("mutual TLS of a mesh needs its certificates".into()),
    }
}

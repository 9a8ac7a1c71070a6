//! The routes of a VirtualService, as routes and rules.

use super::super::beside;
use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::pattern::whole;
use super::super::shares::{percent, percentages};
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use super::matching::{prefixes, read};
use super::{Object, Services, Weighted, destinations, host_of};
use crate::documents::Kind;
use crate::documents::text::Node;

/// Between the priorities of exact hosts, wildcards and any host, so that the more specific host still comes first.
const HOST_STEP: i64 = 10_000;
/// The priority of the first rule of a VirtualService.
const FIRST_RULE: i64 = 1_000;

/// One entry of `http`, read.
struct Entry<'n> {
    node: &'n Node,
    said: String,
    when: Condition,
    to: Vec<Weighted>,
}

pub fn write(object: &Object, services: &mut Services<'_>, drafts: &mut Drafts) {
    let spec = object.root.at("spec");
    for key in ["tcp", "tls"] {
        if spec.and_then(|spec| spec.at(key)).is_some() {
            drafts.left_out(format!("{}, {key}", object.called()), "only HTTP is routed here");
        }
    }
    let hosts = hosts(object);
    let mut entries = Vec::new();
    let nodes = spec.and_then(|spec| spec.at("http")).map(Tree::items).unwrap_or_default();
    for (number, node) in nodes.iter().enumerate() {
        let name = node.text_at("name").map(|name| format!(" ({name})")).unwrap_or_default();
        let said = format!("{}, http[{number}]{name}", object.called());
        let mut to = destinations(node);
        for found in &mut to {
            found.to.host = host_of(&found.to.host, &object.namespace);
        }
        let when = match read(node) {
            Ok(Condition::Never) => Err("its condition never holds".to_string()),
            Ok(_) if node.at("delegate").is_some() => Err("it delegates to another VirtualService".into()),
            Ok(_) if node.at("directResponse").is_some() => Err("answers are the applications'".into()),
            Ok(_) if to.is_empty() && node.at("redirect").is_none() => Err("it has no destination".into()),
            other => other,
        };
        match when {
            Ok(when) => entries.push(Entry { node, said, when, to }),
            Err(why) => drafts.left_out(said, format!("{why}; its requests are asked further")),
        }
    }
    match one_service(&entries) {
        Some(host) => write_rules(object, (&hosts, &host), &entries, (services, drafts)),
        None => write_routes(object, &hosts, &entries, (services, drafts)),
    }
}

/// The hosts that a client may name; `*` is any. A short name also stands for its long ones.
fn hosts(object: &Object) -> Vec<String> {
    let written = object.root.at("spec").map(|spec| spec.texts_at("hosts")).unwrap_or_default();
    let mut hosts = Vec::new();
    for host in written {
        if host == "*" {
            return Vec::new();
        }
        let host = host.to_ascii_lowercase();
        if !host.contains('.') {
            hosts.extend([
                format!("{host}.{}", object.namespace),
                format!("{host}.{}.svc", object.namespace),
                format!("{host}.{}.svc.cluster.local", object.namespace),
            ]);
        }
        hosts.push(host);
    }
    hosts.sort();
    hosts
}

/// The one host that every entry leads to, where an entry does nothing but choose and the last one takes every user.
fn one_service(entries: &[Entry<'_>]) -> Option<String> {
    let host = entries.first()?.to.first()?.to.host.clone();
    let only_chooses = |entry: &Entry<'_>| {
        let extra = ["redirect", "rewrite", "timeout", "headers"];
        extra.iter().all(|key| entry.node.at(key).is_none())
            && entry.to.iter().all(|found| found.to.host == host)
    };
    let last_takes_all = entries.last().is_some_and(|entry| entry.when == Condition::Always);
    (last_takes_all && entries.iter().all(only_chooses)).then_some(host)
}

fn write_rules(
    object: &Object,
    (hosts, host): (&[String], &str),
    entries: &[Entry<'_>],
    (services, drafts): (&mut Services<'_>, &mut Drafts),
) {
    let service = services.write(host, drafts);
    let mut route = Yaml::map();
    if !hosts.is_empty() {
        route.set("hosts", Yaml::texts(hosts));
    }
    route.set("service", Yaml::text(&service));
    let route = drafts.add(Kind::Route, &object.name, route);
    for (number, entry) in entries.iter().enumerate() {
        let scope = host_condition(hosts, services, (host, object));
        let place = RulePlace { name: rule_name(object, number), service: &service, number };
        let copies = copies(entry, object, (services, drafts));
        match write_rule(entry, &place, (scope, copies.as_ref()), (services, drafts)) {
            Ok((rule, differences)) => {
                let documents = [Some(route.clone()), rule].into_iter().flatten().collect();
                drafts.judged(&entry.said, differences, documents);
            }
            Err(why) => drafts.left_out(&entry.said, why),
        }
        extras(entry, drafts);
    }
}

/// Where copies of an entry's requests go; what is said of it stands in the report.
fn copies(
    entry: &Entry<'_>,
    object: &Object,
    (services, drafts): (&mut Services<'_>, &mut Drafts),
) -> Option<Yaml> {
    let several = entry.node.at("mirrors").map(Tree::items).unwrap_or_default();
    let (destination, share) = match several.first() {
        Some(first) => (first.at("destination")?, first.at("percentage")),
        None => (entry.node.at("mirror")?, entry.node.at("mirrorPercentage")),
    };
    let said = format!("{}, mirror", entry.said);
    for _ in several.iter().skip(1) {
        drafts.left_out(format!("{said}, further ones"), "a route or rule has one mirror");
    }
    let share = share.and_then(|share| share.text_at("value")).and_then(|value| value.parse::<f64>().ok());
    let host = host_of(&destination.text_at("host").unwrap_or_default(), &object.namespace);
    let service = services.write(&host, drafts);
    let version = services.word(&host, destination.text_at("subset").as_deref());
    let share = share.map(|percent| (percent * 100.0).round() as u64);
    drafts.judged(
        said,
        vec!["the Host stays as it is, without `-shadow`".into()],
        vec![format!("services/{service}")],
    );
    Some(beside::mirror(&service, &version, share))
}

fn rule_name(object: &Object, number: usize) -> String {
    format!("{}-{number}", object.name)
}

/// Rules belong to a service, whatever leads to it: where two VirtualServices do, each one's rules ask for its hosts.
fn host_condition(hosts: &[String], services: &Services<'_>, (host, own): (&str, &Object)) -> Condition {
    let leads_there = |object: &Object| {
        let routes = object.root.down(&["spec", "http"]).map(Tree::items).unwrap_or_default();
        object.kind == "VirtualService"
            && !std::ptr::eq(object, own)
            && routes
                .iter()
                .flat_map(destinations)
                .any(|found| host_of(&found.to.host, &object.namespace) == host)
    };
    if hosts.is_empty() || !services.objects.iter().any(leads_there) {
        return Condition::Always;
    }
    Condition::any(hosts.iter().map(|host| match host.strip_prefix('*') {
        Some(suffix) => Condition::test("host", "suffix", Yaml::text(suffix)),
        None => Condition::equals("host", host),
    }))
}

struct RulePlace<'p> {
    name: String,
    service: &'p str,
    number: usize,
}

/// The rule of an entry, unless every user gets `release` by it as the last word; and what differs.
fn write_rule(
    entry: &Entry<'_>,
    place: &RulePlace<'_>,
    (scope, copies): (Condition, Option<&Yaml>),
    (services, drafts): (&Services<'_>, &mut Drafts),
) -> Result<(Option<String>, Vec<String>), String> {
    let main = entry.to.first().map(|found| found.to.host.as_str()).unwrap_or_default();
    let mut words: Vec<(String, u64)> = Vec::new();
    for found in &entry.to {
        // Another host in the same route is a version of the first: that is what it is there for.
        let word = match found.to.host == main {
            true => services.word(main, found.to.subset.as_deref()),
            false => super::name_of(&found.to.host),
        };
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, weight)) => *weight += found.weight,
            None => words.push((word, found.weight)),
        }
    }
    let weights: Vec<u64> = words.iter().map(|(_, weight)| *weight).collect();
    let (shares, exact) = percentages(&weights).ok_or("all its weights are 0")?;
    let mut differences = Vec::new();
    let whole =
        words.iter().zip(&shares).find(|(_, share)| **share == 10_000).map(|((word, _), _)| word.as_str());
    let (key, outcome) = match whole {
        Some("release") if entry.when == Condition::Always && copies.is_none() => {
            return Ok((None, differences));
        }
        Some(word) => ("version", Yaml::text(word)),
        None => {
            differences.push("random per request becomes sticky per user".to_string());
            if !exact {
                differences.push("weights are rounded to hundredths of a percent".into());
            }
            let mut split = Yaml::map();
            for ((word, _), share) in
                words.iter().zip(&shares).filter(|((word, _), share)| word != "release" && **share > 0)
            {
                split.set(word, percent(*share));
            }
            ("split", split)
        }
    };
    let mut document = Yaml::of("services", Yaml::texts([place.service]));
    let priority = FIRST_RULE - i64::try_from(place.number).unwrap_or(FIRST_RULE);
    document.set("priority", Yaml::number(priority));
    Condition::all([scope, entry.when.clone()]).put(&mut document);
    document.set(key, outcome);
    if let Some(copies) = copies {
        document.set("mirror", copies.clone());
    }
    Ok((Some(drafts.add(Kind::Rule, &place.name, document)), differences))
}

fn write_routes(
    object: &Object,
    hosts: &[String],
    entries: &[Entry<'_>],
    (services, drafts): (&mut Services<'_>, &mut Drafts),
) {
    let rank = match hosts {
        [] => 0,
        hosts if hosts.iter().any(|host| host.starts_with('*')) => 1,
        _ => 2,
    };
    for (number, entry) in entries.iter().enumerate() {
        let mut route = Yaml::map();
        if !hosts.is_empty() {
            route.set("hosts", Yaml::texts(hosts));
        }
        entry.when.put(&mut route);
        let below = i64::try_from(entries.len() - number).unwrap_or_default();
        let priority = rank * HOST_STEP + below;
        let is_last_of_all = entries.len() == 1;
        if !is_last_of_all {
            route.set("priority", Yaml::number(priority));
        }
        let mut differences = Vec::new();
        let mut documents = Vec::new();
        let written = match entry.node.at("redirect") {
            Some(redirect) => write_redirect(redirect, &mut route),
            None => {
                let main = entry.to.first().map(|found| found.to.host.clone()).unwrap_or_default();
                let service = services.write(&main, drafts);
                route.set("service", Yaml::text(&service));
                documents.push(format!("services/{service}"));
                let scope = host_condition(hosts, services, (&main, object));
                let place = RulePlace { name: rule_name(object, number), service: &service, number };
                if let Some(copies) = copies(entry, object, (services, drafts)) {
                    route.set("mirror", copies);
                }
                write_rule(entry, &place, (scope, None), (services, drafts)).map(|(rule, found)| {
                    documents.extend(rule);
                    differences.extend(found);
                })
            }
        };
        let written = written.and_then(|()| settings(entry.node, &mut route, &mut differences));
        match written {
            Ok(()) => {
                let name = match is_last_of_all {
                    true => object.name.clone(),
                    false => rule_name(object, number),
                };
                documents.insert(0, drafts.add(Kind::Route, &name, route));
                drafts.judged(&entry.said, differences, documents);
            }
            Err(why) => drafts.left_out(&entry.said, why),
        }
        extras(entry, drafts);
    }
}

fn write_redirect(redirect: &Node, route: &mut Yaml) -> Result<(), String> {
    let mut to = Yaml::map();
    for (theirs, ours) in [("scheme", "scheme"), ("authority", "host"), ("uri", "path")] {
        if let Some(text) = redirect.text_at(theirs) {
            to.set(ours, Yaml::text(text));
        }
    }
    if let Some(port) = redirect.number_at("port") {
        to.set("port", Yaml::number(port));
    }
    let status = redirect.number_at("redirectCode").unwrap_or(301);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) || to == Yaml::map() {
        return Err("it is no redirect that can be said here".into());
    }
    route.set("redirect", to.with("status", Yaml::number(status)));
    Ok(())
}

/// What else a route does to its requests.
fn settings(node: &Node, route: &mut Yaml, differences: &mut Vec<String>) -> Result<(), String> {
    if let Some(rewrite) = node.at("rewrite") {
        if let Some(authority) = rewrite.text_at("authority") {
            route.set_in("rewrite", "host", Yaml::text(authority));
        }
        if let Some(uri) = rewrite.text_at("uri") {
            match prefixes(node) {
                Some(prefixes) => {
                    let elements = prefixes.iter().map(|prefix| Yaml::of("prefix", Yaml::text(prefix)));
                    route.set("paths", Yaml::List(elements.collect()));
                    route.set_in("rewrite", "prefix", Yaml::text(uri));
                    differences.push("the prefix that is replaced ends at a path element".into());
                }
                None => route.set_in("rewrite", "path", Yaml::text(uri)),
            }
        }
        if let Some(pattern) = rewrite.at("uriRegexRewrite") {
            let (found, to) = (pattern.text_at("match"), pattern.text_at("rewrite"));
            let (Some(found), Some(to)) = (found, to) else {
                return Err("`uriRegexRewrite` lacks a part".into());
            };
            let to = to.replace('\\', "$");
            route.set_in(
                "rewrite",
                "regex",
                Yaml::text(whole(&super::super::pattern::named_groups(&found))?),
            );
            route.set_in("rewrite", "replace", Yaml::text(super::super::pattern::replacement(&to)?));
            differences.push("the pattern has to match the whole path".into());
        }
    }
    if let Some(timeout) = node.text_at("timeout").filter(|timeout| timeout != "0s") {
        match timeout.ends_with("ms") || timeout.ends_with('s') {
            true if !timeout.contains('.') => route.set_in("timeouts", "request", Yaml::text(timeout)),
            _ => differences.push(format!(
                "the timeout `{timeout}` is no whole number of seconds or milliseconds, and is left out"
            )),
        }
    }
    for (side, key) in [("request", "request_headers"), ("response", "response_headers")] {
        let Some(edits) = node.down(&["headers", side]) else { continue };
        for action in ["set", "add"] {
            for (name, value) in edits.at(action).map(Tree::entries).unwrap_or_default() {
                let value = value.scalar().unwrap_or_default();
                if value.contains('%') {
                    differences
                        .push(format!("the header `{name}` gets a variable of Envoy, and is left out"));
                    continue;
                }
                let mut actions = route.get(key).cloned().unwrap_or_else(Yaml::map);
                actions.set_in(action, &name.to_ascii_lowercase(), Yaml::text(value.replace('$', "$$")));
                route.set(key, actions);
            }
        }
        let removed = edits.texts_at("remove");
        if !removed.is_empty() {
            route.set_in(key, "remove", Yaml::texts(removed));
        }
    }
    Ok(())
}

/// Parts of an entry that have no place here; the entry itself is written without them.
fn extras(entry: &Entry<'_>, drafts: &mut Drafts) {
    for (key, why) in [
        ("fault", "faults are not injected here"),
        ("corsPolicy", "CORS headers are the application's; `response_headers` can add fixed ones"),
        ("retries", "`retries` of the service says how many further tries there are; the default is 1"),
    ] {
        if entry.node.at(key).is_some() {
            drafts.left_out(format!("{}, {key}", entry.said), why);
        }
    }
    let own = entry.node.at("route").map(Tree::items).unwrap_or_default();
    if own.iter().any(|destination| destination.at("headers").is_some()) {
        let why = "headers of one destination: `version_headers` of the service can set them by version";
        drafts.left_out(format!("{}, headers of a destination", entry.said), why);
    }
}

//! Routes, services and upstreams of APISIX, and its plugin `traffic-split`.
//!
//! A route with the plugin becomes a route and a service of its own name: the route's upstream is `release`, each other
//! upstream a version, each rule of the plugin a rule. Read are the file of the standalone mode, what the Admin API
//! answers (also a list of it), single bodies of its `PUT`, and several YAML documents in one file.

mod expression;
mod plugins;
mod upstream;

use std::collections::BTreeMap;

use super::Input;
use super::condition::Condition;
use super::drafts::{Drafts, name_of};
use super::shares::{percent, percentages};
use super::tree::Tree;
use super::yaml::Yaml;
use crate::documents::Kind;
use crate::documents::text::{Node, Syntax, parse};

/// Rules of a route's plugin come in this order and below it.
const FIRST_PRIORITY: i64 = 1000;

/// Everything the files define.
#[derive(Default)]
struct Objects {
    routes: Vec<Object>,
    services: BTreeMap<String, Node>,
    upstreams: BTreeMap<String, Node>,
    plugin_configs: BTreeMap<String, Node>,
}

/// A route under the id that it has.
struct Object {
    id: String,
    node: Node,
}

pub fn read(inputs: &[Input<'_>]) -> Drafts {
    let mut drafts = Drafts::default();
    let mut objects = Objects::default();
    for input in inputs {
        for text in input.text.split("\n---") {
            // The file of the standalone mode ends with this line.
            let text = text.trim_end().strip_suffix("#END").unwrap_or(text);
            if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
                continue;
            }
            match parse(text, Syntax::Yaml) {
                Ok(root) => objects.take(&root, input.name, &mut drafts),
                Err(error) => drafts.left_out(input.name, format!("it is neither YAML nor JSON: {error}")),
            }
        }
    }
    for route in &objects.routes {
        write_route(route, &objects, &mut drafts);
    }
    drafts
}

impl Objects {
    fn take(&mut self, root: &Node, name: &str, drafts: &mut Drafts) {
        let mut known = false;
        for (key, node) in root.entries() {
            let kind = key.as_str();
            if matches!(kind, "routes" | "services" | "upstreams" | "plugin_configs")
                && !node.items().is_empty()
            {
                known = true;
                for (number, item) in node.items().iter().enumerate() {
                    self.keep(kind, None, number + 1, item);
                }
            } else if matches!(
                kind,
                "consumers"
                    | "consumer_groups"
                    | "ssls"
                    | "global_rules"
                    | "protos"
                    | "secrets"
                    | "stream_routes"
                    | "plugin_metadata"
                    | "plugins"
            ) && !node.items().is_empty()
            {
                known = true;
                drafts.left_out(
                    format!("{name}, {kind}"),
                    "only routes, services, upstreams and plugin_configs are read",
                );
            }
        }
        known |= self.take_answers(root);
        let is_route = ["uri", "uris", "host", "hosts"].iter().any(|key| root.at(key).is_some());
        if is_route {
            known = true;
            self.keep("routes", None, self.routes.len() + 1, root);
        } else if root.at("nodes").is_some() && root.at("node").is_none() {
            known = true;
            self.keep("upstreams", None, self.upstreams.len() + 1, root);
        }
        if !known {
            drafts.left_out(name, "there is no route, service or upstream of APISIX in it");
        }
    }

    /// What the Admin API answers: `{key, value}`, alone or in a list, in both of its generations.
    fn take_answers(&mut self, root: &Node) -> bool {
        let listed =
            root.at("list").or_else(|| root.down(&["node", "nodes"])).map(Tree::items).unwrap_or_default();
        let alone = [root.at("node").unwrap_or(root)];
        let answers: Vec<&Node> = if listed.is_empty() { alone.to_vec() } else { listed.iter().collect() };
        let mut found = false;
        for answer in answers {
            let (Some(key), Some(value)) = (answer.text_at("key"), answer.at("value")) else { continue };
            let mut parts = key.rsplit('/');
            let (Some(id), Some(kind)) = (parts.next(), parts.next()) else { continue };
            if matches!(kind, "routes" | "services" | "upstreams" | "plugin_configs") {
                found = true;
                self.keep(kind, Some(id), 0, value);
            }
        }
        found
    }

    fn keep(&mut self, kind: &str, id: Option<&str>, number: usize, node: &Node) {
        let own = node.text_at("id").or_else(|| id.map(str::to_string));
        let id = own.or_else(|| node.text_at("name")).unwrap_or_else(|| number.to_string());
        match kind {
            "routes" => self.routes.push(Object { id, node: node.clone() }),
            "services" => drop(self.services.insert(id, node.clone())),
            "upstreams" => drop(self.upstreams.insert(id, node.clone())),
            _ => drop(self.plugin_configs.insert(id, node.clone())),
        }
    }
}

/// A field of a route, or of the service it belongs to.
fn inherited<'n>(route: &'n Node, service: Option<&'n Node>, key: &str) -> Option<&'n Node> {
    route.at(key).or_else(|| service.and_then(|service| service.at(key)))
}

fn write_route(route: &Object, objects: &Objects, drafts: &mut Drafts) {
    let Object { id, node } = route;
    let name = node.text_at("name").unwrap_or_else(|| format!("route-{id}"));
    let said =
        format!("route {id}{}", node.text_at("name").map(|name| format!(" ({name})")).unwrap_or_default());
    if node.text_at("status").as_deref() == Some("0") {
        drafts.left_out(said, "it is disabled there (`status: 0`)");
        return;
    }
    let service = match node.text_at("service_id") {
        Some(service) => match objects.services.get(&service) {
            Some(service) => Some(service),
            None => return drafts.left_out(said, format!("its service `{service}` is not in the files")),
        },
        None => None,
    };
    let mut draft = Yaml::map();
    let mut differences = match_fields(node, service, &mut draft);
    match conditions(node) {
        Ok(when) => when.put(&mut draft),
        Err(why) => return drafts.left_out(said, why),
    }
    let service_name = name_of(&name);
    let plugins = plugins::of(node, service, objects);
    let upstream = upstream::of(node, service, objects);
    let redirect = plugins.get("redirect").and_then(|plugin| plugins::redirect(plugin));
    if let Some(redirect) = &redirect {
        match redirect {
            Ok(plugins::Redirect::All(to)) => draft.set("redirect", to.clone()),
            Ok(plugins::Redirect::ToHttps) => plugins::write_to_https(&name, &draft, drafts),
            Err(_) => {}
        }
    }
    let mut documents = Vec::new();
    if draft.get("redirect").is_none() {
        let Some(upstream) = &upstream else {
            return drafts.left_out(said, "it has no upstream in the files");
        };
        draft.set("service", Yaml::text(&service_name));
        upstream::write(upstream, &service_name, "release", drafts);
        upstream::settings(upstream, (&service_name, &mut draft), &mut differences, drafts);
        documents.push(format!("services/{service_name}"));
    }
    let left_out = plugins::apply(&plugins, &mut draft, &mut differences, drafts);
    timeouts(node, &mut draft);
    documents.insert(0, drafts.add(Kind::Route, &name, draft));
    drafts.judged(&said, differences, documents);
    if let Some(Err(why)) = redirect {
        drafts.left_out(format!("{said}, plugin redirect"), why);
    }
    for (plugin, why) in left_out {
        drafts.left_out(format!("{said}, plugin {plugin}"), why);
    }
    if let Some(plugin) = plugins.get("traffic-split") {
        write_split(plugin, &said, (&name, &service_name), (objects, drafts));
    }
}

/// Hosts, paths, methods and priority; what differs.
fn match_fields(node: &Node, service: Option<&Node>, draft: &mut Yaml) -> Vec<String> {
    let mut differences = Vec::new();
    let both = |one: &str, many: &str| [node.texts_at(one), node.texts_at(many)].concat();
    let mut hosts = both("host", "hosts");
    if hosts.is_empty() {
        hosts = service.map(|service| service.texts_at("hosts")).unwrap_or_default();
    }
    if !hosts.is_empty() {
        draft.set("hosts", Yaml::texts(hosts));
    }
    let uris = both("uri", "uris");
    let paths = paths(&uris, &mut differences);
    if let Some(paths) = paths {
        draft.set("paths", Yaml::List(paths));
    }
    let methods = node.texts_at("methods");
    if !methods.is_empty() {
        draft.set("methods", Yaml::texts(methods.iter().map(|method| method.to_ascii_uppercase())));
    }
    if let Some(priority) = node.number_at("priority").filter(|priority| *priority != 0) {
        draft.set("priority", Yaml::number(priority));
        differences.push("`priority` counts before the length of a path here, and after it there".into());
    }
    differences
}

/// `None` is every path.
fn paths(uris: &[String], differences: &mut Vec<String>) -> Option<Vec<Yaml>> {
    if uris.is_empty() || uris.iter().any(|uri| uri == "/*" || uri == "*") {
        return None;
    }
    let mut found = Vec::new();
    for uri in uris {
        let path = match uri.strip_suffix('*') {
            None if uri.contains("/:") => {
                differences.push(format!("`{uri}` reads `:name` as one path element, as the router `radixtree_uri_with_parameter` does"));
                let elements: Vec<String> = uri
                    .split('/')
                    .map(|part| if part.starts_with(':') { "[^/]+".into() } else { escaped(part) })
                    .collect();
                Yaml::of("regex", Yaml::text(elements.join("/")))
            }
            None => Yaml::of("exact", Yaml::text(uri)),
            Some(start) => match start.strip_suffix('/') {
                Some(element) => {
                    if !uris.iter().any(|other| other == element) {
                        differences.push(format!("`{element}` itself is taken too, and was not by `{uri}`"));
                    }
                    Yaml::of("prefix", Yaml::text(element))
                }
                None => {
                    differences.push(format!("`{uri}` is asked after all paths without a pattern"));
                    Yaml::of("regex", Yaml::text(format!("{}.*", escaped(start))))
                }
            },
        };
        found.push(path);
    }
    // A prefix holds the path itself.
    let prefixes: Vec<Yaml> = found.iter().filter_map(|path| path.get("prefix").cloned()).collect();
    found.retain(|path| path.get("exact").is_none_or(|exact| !prefixes.contains(exact)));
    Some(found)
}

fn escaped(text: &str) -> String {
    let special = |c: char| "\\.+*?()|[]{}^$#&-~".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// `vars` and `remote_addr` of a route.
fn conditions(node: &Node) -> Result<Condition, String> {
    for key in ["filter_func", "script"] {
        if node.at(key).is_some() {
            return Err(format!("`{key}` is a program"));
        }
    }
    let addresses = [node.texts_at("remote_addr"), node.texts_at("remote_addrs")].concat();
    let from = match addresses.is_empty() {
        true => Condition::Always,
        false => Condition::test("ip", "cidr", Yaml::texts(addresses)),
    };
    let vars = node.at("vars").map_or(Ok(Condition::Always), expression::read)?;
    Ok(Condition::all([from, vars]))
}

/// APISIX writes seconds, fractions too.
fn timeouts(node: &Node, draft: &mut Yaml) {
    for (theirs, ours) in [("connect", "connect"), ("read", "read")] {
        let seconds =
            node.down(&["timeout", theirs]).and_then(Tree::scalar).and_then(|text| text.parse::<f64>().ok());
        if let Some(millis) =
            seconds.map(|seconds| (seconds * 1000.0).round()).filter(|millis| *millis >= 1.0)
        {
            draft.set_in("timeouts", ours, Yaml::text(format!("{millis}ms")));
        }
    }
}

/// The rules of the plugin, in their order.
fn write_split(
    plugin: &Node,
    said: &str,
    (name, service): (&str, &str),
    (objects, drafts): (&Objects, &mut Drafts),
) {
    let rules = plugin.at("rules").map(Tree::items).unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        let said = format!("{said}, traffic-split rule {}", number + 1);
        let when = match split_condition(rule) {
            Ok(Condition::Never) => {
                drafts.same(format!("{said}: its condition never holds"), Vec::new());
                continue;
            }
            Ok(when) => when,
            Err(why) => {
                drafts.left_out(said, format!("{why}; its requests are asked further"));
                continue;
            }
        };
        let (versions, mut differences) = match versions(rule, number, service, (objects, drafts)) {
            Ok(found) => found,
            Err(why) => {
                drafts.left_out(said, why);
                continue;
            }
        };
        let Some((key, outcome)) = outcome(&versions, &mut differences) else {
            drafts.left_out(said, "all its weights are 0");
            continue;
        };
        let mut document = Yaml::of("services", Yaml::texts([service]));
        document
            .set("priority", Yaml::number(FIRST_PRIORITY - i64::try_from(number).unwrap_or(FIRST_PRIORITY)));
        when.put(&mut document);
        document.set(key, outcome);
        let id = drafts.add(Kind::Rule, &format!("{name}-{}", number + 1), document);
        drafts.judged(said, differences, vec![id]);
    }
}

/// `match` is a choice of `vars`; without one every request matches.
fn split_condition(rule: &Node) -> Result<Condition, String> {
    let Some(matches) = rule.at("match") else { return Ok(Condition::Always) };
    if matches.items().is_empty() {
        return Err("`match` is an empty list, whose meaning there depends on the rule before".into());
    }
    let each = matches.items().iter().map(|entry| match entry.at("vars") {
        Some(vars) => expression::read(vars),
        None => Ok(Condition::Always),
    });
    Ok(Condition::any(each.collect::<Result<Vec<_>, _>>()?))
}

/// A version and its weight.
type Weighted = (String, u64);

fn versions(
    rule: &Node,
    number: usize,
    service: &str,
    (objects, drafts): (&Objects, &mut Drafts),
) -> Result<(Vec<Weighted>, Vec<String>), String> {
    let entries = rule.at("weighted_upstreams").map(Tree::items).unwrap_or_default();
    let mut found: Vec<Weighted> = Vec::new();
    let mut differences = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let weight = entry
            .number_at("weight")
            .map_or(Ok(1), u64::try_from)
            .map_err(|_| "a weight is negative".to_string())?;
        let (word, upstream) = match (entry.text_at("upstream_id"), entry.at("upstream")) {
            (Some(id), _) => {
                let node = objects.upstreams.get(&id);
                let node = node
                    .ok_or(format!("its upstream `{id}` is not in the files; it is a 500 there as well"))?;
                (node.text_at("name").unwrap_or_else(|| format!("upstream-{id}")), Some(node))
            }
            (None, Some(node)) => {
                let word =
                    node.text_at("name").unwrap_or_else(|| format!("split-{}-{}", number + 1, place + 1));
                (word, Some(node))
            }
            (None, None) => ("release".to_string(), None),
        };
        let word = name_of(&word);
        if let Some(node) = upstream {
            upstream::write(node, service, &word, drafts);
            if let Some(scheme) = upstream::other_scheme(node) {
                differences.push(format!("`{word}` speaks {scheme}, and one service has one protocol"));
            }
        }
        match found.iter_mut().find(|(known, _)| *known == word) {
            Some((_, known)) => *known += weight,
            None => found.push((word, weight)),
        }
    }
    Ok((found, differences))
}

/// `version`, or `split` of what is not `release`.
fn outcome(versions: &[Weighted], differences: &mut Vec<String>) -> Option<(&'static str, Yaml)> {
    let weights: Vec<u64> = versions.iter().map(|(_, weight)| *weight).collect();
    let (shares, exact) = percentages(&weights)?;
    if let Some(((word, _), _)) = versions.iter().zip(&shares).find(|(_, share)| **share == 10_000) {
        return Some(("version", Yaml::text(word)));
    }
    differences.push("in turn per request becomes sticky per user".into());
    if !exact {
        differences.push("weights are rounded to hundredths of a percent".into());
    }
    let mut split = Yaml::map();
    for ((word, _), share) in
        versions.iter().zip(&shares).filter(|((word, _), share)| word != "release" && **share > 0)
    {
        split.set(word, percent(*share));
    }
    Some(("split", split))
}

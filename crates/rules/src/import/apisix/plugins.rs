//! Plugins of a route: what becomes a field, what becomes a redirect, and what has no place here.

use std::collections::BTreeMap;

use super::super::beside;
use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::pattern::{named_groups, replacement, whole};
use super::super::terms::{attribute_of, redirect_to};
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use super::Objects;
use crate::documents::Kind;
use crate::documents::text::Node;

pub type Plugins<'n> = BTreeMap<&'n str, &'n Node>;

/// The plugins in force: the route's own go before its plugin_config's and its service's. Disabled ones are not.
pub fn of<'n>(route: &'n Node, service: Option<&'n Node>, objects: &'n Objects) -> Plugins<'n> {
    let shared = route.text_at("plugin_config_id").and_then(|id| objects.plugin_configs.get(&id));
    let mut found = Plugins::new();
    for node in [service, shared, Some(route)].into_iter().flatten() {
        for (name, plugin) in node.at("plugins").map(Tree::entries).unwrap_or_default() {
            found.insert(name, plugin);
        }
    }
    found.retain(|_, plugin| {
        plugin.down(&["_meta", "disable"]).and_then(Tree::scalar).as_deref() != Some("true")
    });
    found
}

/// Writes what the plugins say into the route; what has no place, and why.
pub fn apply<'n>(
    plugins: &Plugins<'n>,
    route: &mut Yaml,
    differences: &mut Vec<String>,
    drafts: &mut Drafts,
) -> Vec<(&'n str, String)> {
    let mut left_out = Vec::new();
    for (name, plugin) in plugins {
        let written = match *name {
            "traffic-split" | "redirect" => Ok(()),
            "proxy-rewrite" => rewrite(plugin, route),
            "response-rewrite" => response(plugin, route),
            "real-ip" => Err("`trust` of the process file says who is believed".into()),
            "limit-count" | "limit-req" if route.get("limit").is_some() => {
                Err("a route has one limit, which another plugin is".into())
            }
            "limit-count" => limit_count(plugin).map(|found| found.put(route, differences)),
            "limit-req" => limit_req(plugin).map(|found| found.put(route, differences)),
            "limit-conn" => Err("`max_connections` of the service bounds requests under way".into()),
            "proxy-mirror" => mirror(plugin, route, differences, drafts),
            "prometheus" | "request-id" => Ok(()),
            _ => Err("it has no meaning here".into()),
        };
        if let Err(why) = written {
            left_out.push((*name, why));
        }
    }
    left_out
}

/// A limit and what differs.
struct Limited {
    limit: Yaml,
    differences: Vec<String>,
}

impl Limited {
    fn put(self, route: &mut Yaml, differences: &mut Vec<String>) {
        route.set("limit", self.limit);
        differences.extend(self.differences);
    }
}

/// So many in a window: an even rate of the same, all of which may come at once.
fn limit_count(plugin: &Node) -> Result<Limited, String> {
    let number = |key| plugin.number_at(key).and_then(|number| u64::try_from(number).ok()).filter(|n| *n > 0);
    let (count, window) = number("count").zip(number("time_window")).ok_or("its numbers cannot be read")?;
    let rate = beside::rate(count, window).ok_or("it is no whole number of requests in any unit")?;
    let mut differences = vec!["a window of its own becomes an even rate".to_string()];
    if plugin.text_at("policy").is_some_and(|policy| policy != "local") {
        differences.push("each proxy counts for itself".into());
    }
    differences.extend(beside::other_status(number("rejected_code").unwrap_or(503)));
    Ok(Limited { limit: beside::limit(rate, count, key(plugin)?), differences })
}

/// A leaky bucket: what is over the rate, and in the bucket, is let through at once here.
fn limit_req(plugin: &Node) -> Result<Limited, String> {
    let number = |key| plugin.number_at(key).and_then(|number| u64::try_from(number).ok());
    let count = number("rate").filter(|count| *count > 0).ok_or("its rate is no whole number")?;
    let rate = beside::rate(count, 1).ok_or("its rate is no whole number")?;
    let mut differences: Vec<String> =
        beside::other_status(number("rejected_code").unwrap_or(503)).into_iter().collect();
    if plugin.text_at("nodelay").as_deref() != Some("true") && number("burst").is_some_and(|burst| burst > 0)
    {
        differences.push("what is within the burst is not delayed".into());
    }
    Ok(Limited { limit: beside::limit(rate, number("burst").unwrap_or(0) + 1, key(plugin)?), differences })
}

/// What clients are told apart by; `None`: nothing.
fn key(plugin: &Node) -> Result<Option<String>, String> {
    let key = plugin.text_at("key").unwrap_or_else(|| "remote_addr".into());
    match plugin.text_at("key_type").as_deref() {
        Some("constant") => Ok(None),
        None | Some("var") => {
            let known = attribute_of(&format!("${key}"));
            known.map(Some).ok_or_else(|| format!("`{key}` is no attribute of a request"))
        }
        Some(other) => Err(format!("`key_type: {other}` cannot be said here")),
    }
}

fn mirror(
    plugin: &Node,
    route: &mut Yaml,
    differences: &mut Vec<String>,
    drafts: &mut Drafts,
) -> Result<(), String> {
    if plugin.at("path").is_some() {
        return Err("a copy keeps the path of its request".into());
    }
    let host = plugin.text_at("host").unwrap_or_default();
    let share = plugin.text_at("sample_ratio").and_then(|ratio| ratio.parse::<f64>().ok());
    let share = share.map(|ratio| (ratio * 10_000.0).round() as u64);
    let found = beside::shadow(&host, drafts).ok_or_else(|| format!("`{host}` is no plain URL"))?;
    route.set("mirror", beside::mirror(&found.0, "release", share));
    differences.extend(found.1);
    Ok(())
}

fn rewrite(plugin: &Node, route: &mut Yaml) -> Result<(), String> {
    if let Some(host) = plugin.text_at("host") {
        route.set_in("rewrite", "host", Yaml::text(host));
    }
    let headers = plugin.at("headers");
    for (action, group) in headers.map(Tree::entries).unwrap_or_default() {
        match action.as_str() {
            "set" | "add" => {
                for (name, value) in group.entries() {
                    let value = value.scalar().unwrap_or_default();
                    edit(route, "request_headers", action, (name, &value))?;
                }
            }
            "remove" => {
                let names = group.items().iter().filter_map(Tree::scalar);
                let names: Vec<String> = names.map(|name| name.to_ascii_lowercase()).collect();
                route.set_in("request_headers", "remove", Yaml::texts(names));
            }
            // The oldest way to write them: name and value alone.
            name => edit(route, "request_headers", "set", (name, &group.scalar().unwrap_or_default()))?,
        }
    }
    if let Some(uri) = plugin.text_at("uri") {
        if uri.contains(['$', '?']) {
            return Err(format!("its uri `{uri}` has a variable or a query in it"));
        }
        route.set_in("rewrite", "path", Yaml::text(uri));
    } else if let [pattern, to] = plugin.texts_at("regex_uri").as_slice() {
        let (regex, to) = substitution(pattern, to)?;
        route.set_in("rewrite", "regex", Yaml::text(regex));
        route.set_in("rewrite", "replace", Yaml::text(to));
    }
    match plugin.text_at("method") {
        Some(method) => Err(format!("the method stays as it is, and does not become {method}")),
        None => Ok(()),
    }
}

/// A substitution of the first place where the pattern is found, as one of the whole path.
fn substitution(pattern: &str, to: &str) -> Result<(String, String), String> {
    let (before, pattern) = match pattern.strip_prefix('^') {
        Some(pattern) => ("", pattern),
        None => ("(?<before>.*?)", pattern),
    };
    let to = match replacement(to)? {
        to if before.is_empty() => to,
        to => format!("${{before}}{to}"),
    };
    let named = named_groups(pattern);
    Ok(match pattern.ends_with('$') || pattern.ends_with(".*)") {
        true => (whole(&format!("{before}{named}"))?, to),
        false => (whole(&format!("{before}(?:{named})(?<behind>.*)"))?, format!("{to}${{behind}}")),
    })
}

fn edit(route: &mut Yaml, key: &str, action: &str, (name, value): (&str, &str)) -> Result<(), String> {
    if value.contains('$') {
        return Err(format!("the header `{name}` gets a variable, `{value}`"));
    }
    let mut actions = route.get(key).cloned().unwrap_or_else(Yaml::map);
    actions.set_in(action, &name.to_ascii_lowercase(), Yaml::text(value));
    route.set(key, actions);
    Ok(())
}

fn response(plugin: &Node, route: &mut Yaml) -> Result<(), String> {
    for (action, group) in plugin.at("headers").map(Tree::entries).unwrap_or_default() {
        match action.as_str() {
            "set" => {
                for (name, value) in group.entries() {
                    edit(route, "response_headers", "set", (name, &value.scalar().unwrap_or_default()))?;
                }
            }
            "add" => {
                for line in group.items().iter().filter_map(Tree::scalar) {
                    let (name, value) = line.split_once(':').ok_or("a header has no value")?;
                    edit(route, "response_headers", "add", (name.trim(), value.trim()))?;
                }
            }
            "remove" => {
                let names: Vec<String> = group.items().iter().filter_map(Tree::scalar).collect();
                route.set_in("response_headers", "remove", Yaml::texts(names));
            }
            name => edit(route, "response_headers", "set", (name, &group.scalar().unwrap_or_default()))?,
        }
    }
    match ["body", "status_code", "filters"].into_iter().find(|key| plugin.at(key).is_some()) {
        Some(key) => Err(format!("`{key}` of an answer stays as it is")),
        None => Ok(()),
    }
}

pub enum Redirect {
    /// Every request of the route.
    All(Yaml),
    ToHttps,
}

/// `None` where the plugin redirects nothing.
pub fn redirect(plugin: &Node) -> Option<Result<Redirect, String>> {
    if plugin.text_at("http_to_https").as_deref() == Some("true") {
        return Some(Ok(Redirect::ToHttps));
    }
    if plugin.at("regex_uri").is_some() {
        return Some(Err("a redirect by a pattern cannot be said here".into()));
    }
    let uri = plugin.text_at("uri")?;
    let status = plugin.number_at("ret_code").unwrap_or(302);
    let to = redirect_to(&uri);
    Some(match to.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) {
        Some(to) => Ok(Redirect::All(to.with("status", Yaml::number(status)))),
        None => Err(format!("`{uri}` with {status} is no plain redirect")),
    })
}

/// A route beside this one, for its plain requests.
pub fn write_to_https(name: &str, route: &Yaml, drafts: &mut Drafts) {
    let Yaml::Map(fields) = route else { return };
    let kept =
        fields.iter().filter(|(key, _)| matches!(key.as_str(), "hosts" | "paths" | "methods" | "priority"));
    let mut plain = Yaml::Map(kept.cloned().collect());
    let when = match route.get("when") {
        Some(when) => Condition::Is(when.clone()),
        None => Condition::Always,
    };
    // One condition more than the route itself, so that it is asked first.
    Condition::all([when, Condition::equals("scheme", "http")]).put(&mut plain);
    plain.set("redirect", Yaml::of("scheme", Yaml::text("https")).with("status", Yaml::number(301)));
    let id = drafts.add(Kind::Route, &format!("{name}-to-https"), plain);
    drafts.same(format!("route {name}, plain requests go to HTTPS"), vec![id]);
}

//! Routes: which requests reach which Service.
//!
//! Where one Ingress of a host has a regular expression or a rewrite, ingress-nginx makes every path of that host a
//! pattern, case-insensitive, open at its end and tried longest first; names that count keep that order here.

use std::collections::{BTreeMap, BTreeSet};

use super::super::drafts::Drafts;
use super::super::pattern::{named_groups, replacement, whole};
use super::super::yaml::Yaml;
use super::{Backend, Names, Object, PathRule};
use crate::documents::Kind;

/// A route that was written.
#[derive(Debug)]
pub struct Written<'o> {
    pub ingress: &'o Object,
    pub name: String,
    pub host: String,
    pub backend: Backend,
}

pub fn write<'o>(rules: &[PathRule<'o>], names: &Names, drafts: &mut Drafts) -> Vec<Written<'o>> {
    let patterned = patterned_hosts(rules);
    let mut taken: BTreeMap<(&str, &str, &str), String> = BTreeMap::new();
    let mut written = Vec::new();
    let mut order: Vec<&PathRule<'o>> = rules.iter().collect();
    // Longest first: patterns are asked in the order of their routes' names.
    order.sort_by_key(|rule| std::cmp::Reverse(rule.path.len()));
    for (number, rule) in order.into_iter().enumerate() {
        if let Some(first) = taken.get(&rule.place()) {
            drafts.left_out(rule.called(), format!("{first} has the same host and path, and came first"));
            continue;
        }
        taken.insert(rule.place(), rule.ingress.called());
        let is_pattern = patterned.contains(rule.host.as_str());
        let path = if is_pattern { as_pattern(rule) } else { Ok(as_plain(rule)) };
        let ((path, differences), rewrite) = match path.and_then(|path| Ok((path, rewrite(rule)?))) {
            Ok(both) => both,
            Err(why) => {
                drafts.left_out(rule.called(), why);
                continue;
            }
        };
        let mut route = Yaml::map();
        let hosts = hosts(rule);
        if !hosts.is_empty() {
            route.set("hosts", Yaml::texts(hosts));
        }
        if let Some(path) = path {
            route.set("paths", Yaml::List(vec![path]));
        }
        let service = names.get(&rule.backend);
        route.set("service", Yaml::text(service));
        if let Some(target) = rewrite {
            route.set("rewrite", Yaml::of("path", Yaml::text(target)));
        }
        let name = match is_pattern {
            true => format!("{number:03}-{}", rule.ingress.name),
            false => rule.ingress.name.clone(),
        };
        let id = drafts.add(Kind::Route, &name, route);
        let name = id.split_once('/').map_or("", |(_, name)| name).to_string();
        written.push(Written {
            ingress: rule.ingress,
            name,
            host: rule.host.clone(),
            backend: rule.backend.clone(),
        });
        drafts.judged(rule.called(), differences, vec![id, format!("services/{service}")]);
    }
    written
}

fn patterned_hosts<'r>(rules: &'r [PathRule<'_>]) -> BTreeSet<&'r str> {
    let is_patterned = |rule: &&PathRule<'_>| {
        let target = rule.says("rewrite-target");
        rule.says("use-regex").as_deref() == Some("true") || target.is_some_and(|target| target != rule.path)
    };
    rules.iter().filter(is_patterned).map(|rule| rule.host.as_str()).collect()
}

fn hosts(rule: &PathRule<'_>) -> Vec<String> {
    let alias = rule.says("server-alias").unwrap_or_default();
    let aliases =
        alias.split([',', ' ']).map(str::trim).filter(|alias| !alias.is_empty() && !alias.starts_with('~'));
    let own = Some(rule.host.as_str()).filter(|host| !host.is_empty());
    own.into_iter().chain(aliases.filter(|_| !rule.host.is_empty())).map(str::to_string).collect()
}

/// A path and what differs; no path is every path.
type Path = (Option<Yaml>, Vec<String>);

fn as_plain(rule: &PathRule<'_>) -> Path {
    let path = if rule.path.is_empty() { "/" } else { rule.path.as_str() };
    match rule.path_type.as_str() {
        "Exact" => (Some(Yaml::of("exact", Yaml::text(path))), Vec::new()),
        _ if path == "/" => (None, Vec::new()),
        "Prefix" => (Some(Yaml::of("prefix", Yaml::text(path))), Vec::new()),
        _ => {
            let differs = match path.ends_with('/') {
                true => format!(
                    "`{}` without the slash is taken too, there it is redirected",
                    path.trim_end_matches('/')
                ),
                false => format!("only whole path elements: `{path}x` was taken there and is not here"),
            };
            (Some(Yaml::of("prefix", Yaml::text(path))), vec![differs])
        }
    }
}

fn as_pattern(rule: &PathRule<'_>) -> Result<Path, String> {
    let open = format!("(?i){}(?s:.*)", named_groups(&rule.path));
    Ok((Some(Yaml::of("regex", Yaml::text(whole(&open)?))), Vec::new()))
}

/// What becomes of the path.
fn rewrite(rule: &PathRule<'_>) -> Result<Option<String>, String> {
    let Some(target) = rule.says("rewrite-target").filter(|target| *target != rule.path) else {
        return Ok(None);
    };
    if target.contains('?') {
        return Err(format!("`rewrite-target: {target}` changes the query, which stays as it is here"));
    }
    if !target.starts_with(['/', '$']) {
        return Err(format!("`rewrite-target: {target}` is no path"));
    }
    replacement(&target).map(Some)
}

//! Upstreams as services and versions, and choices as rules.

use std::collections::{BTreeMap, BTreeSet};

use super::super::condition::Condition;
use super::super::drafts::{Drafts, name_of};
use super::super::kubernetes::{instance, socket};
use super::super::shares::percent;
use super::super::terms::attribute_of;
use super::super::yaml::Yaml;
use super::syntax::Directive;
use super::variables::{Choices, Split, Value};
use crate::documents::Kind;

/// The first rule of a service; further ones come below it.
const FIRST_PRIORITY: i64 = 1_000;

/// The services being written.
pub struct Services<'d> {
    upstreams: BTreeMap<String, &'d Directive>,
    /// Services by what made them, so that two locations with one `proxy_pass` share one.
    known: Vec<(String, Choices, String)>,
    /// Upstreams that stand in some service.
    placed: BTreeSet<String>,
}

impl<'d> Services<'d> {
    pub fn of(upstreams: &[&'d Directive]) -> Services<'d> {
        let named = upstreams.iter().map(|upstream| (upstream.first().to_string(), *upstream));
        Services { upstreams: named.collect(), known: Vec::new(), placed: BTreeSet::new() }
    }

    /// The service that a variable of this name became.
    pub fn used(&self, variable: &str) -> Option<&str> {
        self.known.iter().find(|(name, ..)| name == variable).map(|(.., service)| service.as_str())
    }

    /// The service for what a `proxy_pass` can be, and what differs.
    pub fn write(
        &mut self,
        name: &str,
        choices: &Choices,
        default_port: u16,
        drafts: &mut Drafts,
    ) -> Result<(String, Vec<String>), String> {
        let mut differences: Vec<String> = Vec::new();
        for (_, value) in &choices.0 {
            if let Value::Split(split) = value {
                differences.extend(split.differences.iter().cloned());
            }
        }
        if let Some((.., service)) =
            self.known.iter().find(|(known, same, _)| known == name && same == choices)
        {
            return Ok((service.clone(), differences));
        }
        let texts: Vec<&str> = choices.0.iter().flat_map(|(_, value)| texts(value)).collect();
        if let Some(unknown) = texts.iter().find(|text| !self.is_target(text, default_port)) {
            return Err(format!(
                "it can be `{unknown}`, which is neither an upstream of the files nor an address"
            ));
        }
        let release = texts.last().copied().unwrap_or_default();
        let id = drafts.add(Kind::Service, name, Yaml::map());
        let service = id.split_once('/').map_or("", |(_, name)| name).to_string();
        let mut seen = BTreeSet::new();
        for text in texts.iter().rev().filter(|text| seen.insert(**text)) {
            self.place(text, (&service, default_port), drafts);
        }
        if seen.len() > 1 {
            let alias = Yaml::of("release", Yaml::text(name_of(release)));
            drafts.edit(Kind::Service, &service, |document| document.set("aliases", alias));
        } else {
            drafts.edit(Kind::Service, &service, only_release);
        }
        let word = |text: &str| if text == release { "release".to_string() } else { name_of(text) };
        write_rules(choices, (&service, &word), drafts);
        self.known.push((name.into(), choices.clone(), service.clone()));
        Ok((service, differences))
    }

    fn is_target(&self, text: &str, default_port: u16) -> bool {
        self.upstreams.contains_key(text) || address(text, default_port).is_some()
    }

    /// The instances of an upstream, or of an address that stands for one.
    fn place(&mut self, target: &str, (service, default_port): (&str, u16), drafts: &mut Drafts) {
        let version = name_of(target);
        let Some(upstream) = self.upstreams.get(target).copied() else {
            if let Some(address) = address(target, default_port) {
                let instance = instance(&address, &version, None);
                drafts.edit(Kind::Service, service, |document| document.append("instances", instance));
            }
            return;
        };
        self.placed.insert(target.into());
        for server in upstream.inside().iter().filter(|directive| directive.name == "server") {
            place_server(server, (service, &version, target), drafts);
        }
    }

    /// What each upstream says beside its servers.
    pub fn report(&self, upstreams: &[&Directive], drafts: &mut Drafts) {
        for upstream in upstreams {
            let said = format!("line {}, upstream {}", upstream.line, upstream.first());
            if !self.placed.contains(upstream.first()) {
                drafts.left_out(said, "no `proxy_pass` that was read leads to it");
                continue;
            }
            let others = upstream.inside().iter().filter(|directive| directive.name != "server");
            let mut left_out = Vec::new();
            for directive in others {
                if !matches!(
                    directive.name.as_str(),
                    "keepalive"
                        | "zone"
                        | "keepalive_timeout"
                        | "keepalive_requests"
                        | "ip_hash"
                        | "hash"
                        | "least_conn"
                        | "random"
                ) {
                    left_out.push(directive.name.clone());
                }
            }
            let differences = match left_out.is_empty() {
                true => Vec::new(),
                false => vec![format!("without {}", left_out.join(", "))],
            };
            drafts.judged(said, differences, Vec::new());
        }
    }

    /// How instances of the upstreams of a service are chosen, as fields of its document.
    pub fn balance(&self, choices: &Choices, service: &str, drafts: &mut Drafts) -> Vec<String> {
        let mut differences = Vec::new();
        let names = choices.0.iter().flat_map(|(_, value)| texts(value));
        let upstreams = names.filter_map(|name| self.upstreams.get(name));
        for directive in upstreams.flat_map(|upstream| upstream.inside()) {
            let attribute = match directive.name.as_str() {
                "least_conn" => {
                    drafts.edit(Kind::Service, service, |document| {
                        document.set("balance", Yaml::text("least_requests"))
                    });
                    continue;
                }
                "ip_hash" => Some("ip".to_string()),
                "hash" => attribute_of(directive.first()),
                _ => continue,
            };
            match attribute {
                Some(attribute) => {
                    drafts.edit(Kind::Service, service, |document| {
                        document.set("identity", Yaml::texts([attribute]));
                        document.set("balance", Yaml::text("hash"));
                    });
                    differences.push("another hash: who meets which instance changes once".into());
                }
                None => differences
                    .push(format!("`{}` cannot be hashed here; instances take turns", directive.first())),
            }
        }
        differences.dedup();
        differences
    }
}

/// Instances of a service with one upstream are `release`.
fn only_release(document: &mut Yaml) {
    if let Some(Yaml::List(instances)) = document.get("instances").cloned() {
        let release = instances.into_iter().map(|instance| instance.with("version", Yaml::text("release")));
        document.set("instances", Yaml::List(release.collect()));
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Text(text) => vec![text],
        Value::Split(split) => {
            split.shares.iter().map(|(_, text)| text.as_str()).chain([split.rest.as_str()]).collect()
        }
    }
}

/// An address with a port, as a `proxy_pass` or a server names it.
fn address(text: &str, default_port: u16) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (text, default_port),
    };
    socket(host, port)
}

fn place_server(server: &Directive, (service, version, upstream): (&str, &str, &str), drafts: &mut Drafts) {
    let said = format!("upstream {upstream}, server {}", server.arguments.join(" "));
    let (mut weight, mut left_out) = (1, Vec::new());
    for argument in server.arguments.iter().skip(1) {
        match argument.split_once('=') {
            Some(("weight", number)) => weight = number.parse().unwrap_or(1),
            Some(("max_fails" | "fail_timeout" | "max_conns" | "slow_start", _)) => {
                left_out.push(argument.clone())
            }
            _ if argument == "down" => return drafts.left_out(said, "it is down"),
            _ if argument == "backup" => {
                return drafts.left_out(said, "a backup is a version of its own, and `fallback` leads there");
            }
            _ => left_out.push(argument.clone()),
        }
    }
    match address(server.first(), 80) {
        Some(address) => {
            let instance = instance(&address, version, Some(weight));
            let id = drafts.edit(Kind::Service, service, |document| document.append("instances", instance));
            let differences = match left_out.is_empty() {
                true => Vec::new(),
                false => vec![format!(
                    "without {}: `outlier` and `max_connections` of the service say it",
                    left_out.join(", ")
                )],
            };
            drafts.judged(said, differences, vec![id]);
        }
        None => {
            let why = format!(
                "an instance is an address; write it below `instances/{service}/`, with `version: {version}`"
            );
            drafts.left_out(said, why);
        }
    }
}

/// A rule for each choice before the one that is `release` for every user left.
fn write_rules(choices: &Choices, (service, word): (&str, &dyn Fn(&str) -> String), drafts: &mut Drafts) {
    for (number, (when, value)) in choices.0.iter().enumerate() {
        let (key, outcome) = match value {
            Value::Text(text) => ("version", Yaml::text(word(text))),
            Value::Split(split) => match split_of(split, word) {
                Some(outcome) => ("split", outcome),
                None => ("version", Yaml::text("release")),
            },
        };
        if *when == Condition::Always && outcome == Yaml::text("release") {
            break;
        }
        let mut document = Yaml::of("services", Yaml::texts([service]));
        document
            .set("priority", Yaml::number(FIRST_PRIORITY - i64::try_from(number).unwrap_or(FIRST_PRIORITY)));
        when.put(&mut document);
        document.set(key, outcome);
        if let (Value::Split(split), "split") = (value, key) {
            document.set("by", Yaml::texts(&split.by));
            document.set("salt", Yaml::text(&split.salt));
        }
        drafts.add(Kind::Rule, &format!("{service}-{number}"), document);
        if *when == Condition::Always {
            break;
        }
    }
}

/// The shares of what is not `release`; `None` where there are none. What `*` leads to, if it is not `release`, has the
/// rest written out.
fn split_of(split: &Split, word: &dyn Fn(&str) -> String) -> Option<Yaml> {
    let mut shares: Vec<(String, u64)> = Vec::new();
    let given: u64 = split.shares.iter().map(|(share, _)| share).sum();
    let rest = (10_000u64.saturating_sub(given), split.rest.clone());
    for (share, text) in split.shares.iter().chain([&rest]) {
        let word = word(text);
        match shares.iter_mut().find(|(known, _)| *known == word) {
            Some((_, known)) => *known += share,
            None => shares.push((word, *share)),
        }
    }
    shares.retain(|(word, share)| word != "release" && *share > 0);
    let map = shares.into_iter().fold(Yaml::map(), |map, (word, share)| map.with(&word, percent(share)));
    (map != Yaml::map()).then_some(map)
}

//! Documents back to text: what is written here reads as the same document.
//!
//! What has its default is left out, so that a text says what is particular about a document. Never: keeps comments; an
//! existing text is changed by `edit`.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Document;
use super::assets::Assets;
use super::closure::Closure;
use super::condition::{Condition, Match, Operator};
use super::discover::{Discover, Weighing};
use super::instance::Instance;
use super::lanes::MessageLanes;
use super::print::print;
use super::route::{
    HostPattern, PathPattern, PathRewrite, Redirect, Rewrite, Route, Target, TimeoutOverrides,
};
use super::rule::{Outcome, Rule};
use super::service::{
    Balance, Fallback, HealthCheck, HealthCheckKind, Outlier, Protocol, Service, Tls, WARM_UP,
};
use super::text::{Node, Value};
use crate::vocab::{
    Comparison, Failures, HeaderEdits, Limit, Mirror, Name, Share, StatusMatch, Template, format_duration,
};

/// The document's text: YAML, or of a list its lines. `None` of a plan: people write those, and no program does.
pub fn write(document: &Document) -> Option<String> {
    Some(match document {
        Document::List(part) => part.text().to_string(),
        Document::Route(route) => print(&of_route(route)),
        Document::Service(service) => print(&of_service(service)),
        Document::Rule(rule) => print(&of_rule(rule)),
        Document::Instance(instance) => print(&of_instance(instance)),
        Document::Closure(closure) => print(&of_closure(closure)),
        Document::Messages(lanes) => print(&of_messages(lanes)),
        Document::Plan(_) => return None,
    })
}

/// The entries of a map in the order they are written.
#[derive(Default)]
struct Entries(Vec<(String, Node)>);

impl Entries {
    fn put(&mut self, key: impl Display, value: Value) {
        self.0.push((key.to_string(), node(value)));
    }

    fn put_some(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn put_filled(&mut self, key: &str, value: Value) {
        let is_empty = match &value {
            Value::Map(entries) => entries.is_empty(),
            Value::List(items) => items.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.put(key, value);
        }
    }

    fn map(self) -> Value {
        Value::Map(self.0)
    }
}

/// A node that stands in no text yet.
fn node(value: Value) -> Node {
    Node { line: 0, value }
}

fn text(value: impl Display) -> Value {
    Value::Text(value.to_string())
}

fn number(value: impl Display) -> Value {
    Value::Number(value.to_string())
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().map(node).collect())
}

fn texts<T: Display>(values: impl IntoIterator<Item = T>) -> Value {
    list(values.into_iter().map(text))
}

fn map<K: Display>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    let mut map = Entries::default();
    entries.into_iter().for_each(|(key, value)| map.put(key, value));
    map.map()
}

fn duration(value: Duration) -> Value {
    text(format_duration(value))
}

fn of_rule(rule: &Rule) -> Value {
    let time = |time: Option<OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok()).map(text);
    let mut map = Entries::default();
    map.put_some("services", rule.services.as_ref().map(texts));
    map.put_some("priority", (rule.priority != 0).then(|| number(rule.priority)));
    map.put_some("enabled", (!rule.enabled).then_some(Value::Boolean(false)));
    map.put_some("starts", time(rule.starts));
    map.put_some("ends", time(rule.ends));
    map.put_some("when", rule.when.as_ref().map(of_condition));
    match &rule.outcome {
        Outcome::Version(version) => map.put("version", text(version)),
        Outcome::Split(shares) => {
            map.put("split", self::map(shares.iter().map(|(version, share)| (version, number(share)))));
        }
    }
    map.put_some("by", rule.by.as_ref().map(texts));
    map.put_some("salt", rule.salt.as_ref().map(text));
    map.put_some("mirror", rule.mirror.as_ref().map(of_mirror));
    map.map()
}

fn of_condition(condition: &Condition) -> Value {
    let several = |inner: &[Condition]| list(inner.iter().map(of_condition));
    match condition {
        Condition::All(inner) => map([("all", several(inner))]),
        Condition::Any(inner) => map([("any", several(inner))]),
        Condition::Not(inner) => map([("not", of_condition(inner))]),
        Condition::Match(found) => of_match(found),
    }
}

fn of_match(found: &Match) -> Value {
    let (operator, operand) = match &found.operator {
        Operator::Equals(operand) => ("equals", text(operand)),
        Operator::In(operands) => ("in", texts(operands)),
        Operator::InList(name) => ("in_list", text(name)),
        Operator::Prefix(operand) => ("prefix", text(operand)),
        Operator::Suffix(operand) => ("suffix", text(operand)),
        Operator::Contains(operand) => ("contains", text(operand)),
        Operator::Regex(pattern) => ("regex", text(&pattern.text)),
        Operator::Cidr(nets) => ("cidr", texts(nets)),
        Operator::Exists(wanted) => ("exists", Value::Boolean(*wanted)),
        Operator::Semver(range) => ("semver", text(range)),
        Operator::Compare(Comparison::AtLeast, operand) => ("at_least", number(operand)),
        Operator::Compare(Comparison::Above, operand) => ("above", number(operand)),
        Operator::Compare(Comparison::AtMost, operand) => ("at_most", number(operand)),
        Operator::Compare(Comparison::Below, operand) => ("below", number(operand)),
    };
    let mut map = Entries::default();
    map.put("attribute", text(&found.attribute));
    map.put(operator, operand);
    map.put_some("ignore_case", found.ignore_case.then_some(Value::Boolean(true)));
    map.map()
}

fn of_instance(instance: &Instance) -> Value {
    let mut map = Entries::default();
    map.put("address", text(instance.address));
    map.put("version", text(&instance.version));
    map.put_some("weight", (instance.weight != 1).then(|| number(instance.weight)));
    map.put_filled("tags", self::map(instance.tags.iter().map(|(tag, value)| (tag, text(value)))));
    map.put_some("draining", instance.draining.then_some(Value::Boolean(true)));
    map.put_some("by", instance.by.as_ref().map(text));
    map.map()
}

fn of_closure(closure: &Closure) -> Value {
    let mut map = Entries::default();
    map.put("service", text(&closure.service));
    map.put("version", text(&closure.version));
    map.put_some("because", (!closure.because.is_empty()).then(|| text(&closure.because)));
    map.map()
}

fn of_messages(lanes: &MessageLanes) -> Value {
    let mut map = Entries::default();
    map.put("topics", texts(&lanes.topics));
    map.put("group", text(&lanes.group));
    map.put("service", text(&lanes.service));
    map.put("lanes", texts(&lanes.lanes));
    map.put("takeover", text(format_duration(lanes.takeover)));
    map.map()
}

fn of_service(service: &Service) -> Value {
    let mut map = Entries::default();
    map.put_some("identity", service.identity.as_ref().map(texts));
    map.put_some(
        "issue_cookie",
        service
            .issue_cookie
            .as_ref()
            .map(|cookie| self::map([("name", text(&cookie.name)), ("max_age", duration(cookie.max_age))])),
    );
    map.put_filled("aliases", self::map(service.aliases.iter().map(|(word, label)| (word, text(label)))));
    map.put_filled(
        "fallback",
        self::map(service.fallback.iter().map(|(version, to)| (version, of_fallback(to)))),
    );
    map.put_some(
        "pin",
        service
            .pin
            .as_ref()
            .map(|pin| self::map([("attribute", text(&pin.attribute)), ("tag", text(&pin.tag))])),
    );
    map.put_filled("instances", list(service.instances.iter().map(of_instance)));
    map.put_filled("discover", list(service.discover.iter().map(of_discover)));
    map.put_some(
        "balance",
        match service.balance {
            Balance::RoundRobin => None,
            Balance::LeastRequests => Some(text("least_requests")),
            Balance::Hash => Some(text("hash")),
        },
    );
    map.put_some("health", service.health.as_ref().map(of_health));
    map.put_some("outlier", of_outlier(service.outlier.as_ref()));
    map.put_filled("timeouts", of_timeouts(service.timeouts));
    map.put_some("retries", (service.retries != 1).then(|| number(service.retries)));
    map.put_some(
        "protocol",
        match service.protocol {
            Protocol::Http1 => None,
            Protocol::H2 => Some(text("h2")),
            Protocol::H2c => Some(text("h2c")),
        },
    );
    map.put_some("tls", service.tls.as_ref().map(of_tls));
    map.put_some("max_connections", service.max_connections.map(number));
    map.put_filled("errors", of_failures(&service.errors));
    map.put_some("warm_up", (service.warm_up != WARM_UP).then(|| duration(service.warm_up)));
    let headers = service.version_headers.iter();
    let headers = headers.map(|(version, headers)| (version, of_headers(headers)));
    map.put_filled("version_headers", self::map(headers));
    map.put_some("limit", service.limit.as_ref().map(of_limit));
    map.put_some("assets", service.assets.as_ref().map(of_assets));
    map.map()
}

/// What differs from the default.
fn of_failures(failures: &Failures) -> Value {
    let default = Failures::default();
    let status = |one: &StatusMatch| match one {
        StatusMatch::One(status) => number(status),
        StatusMatch::Class(_) => text(one),
    };
    let statuses = || list(failures.statuses.iter().map(status));
    let mut map = Entries::default();
    map.put_some("status", (failures.statuses != default.statuses).then(statuses));
    let grpc = || list(failures.grpc.iter().map(number));
    map.put_some("grpc", (failures.grpc != default.grpc).then(grpc));
    let headers = failures.headers.iter().map(|(name, said)| (name.as_str(), texts(said)));
    map.put_filled("header", self::map(spelled_apart(headers)));
    map.map()
}

fn of_discover(discover: &Discover) -> Value {
    let mut map = Entries::default();
    map.put("registry", text(&discover.registry));
    map.put("name", text(&discover.name));
    map.put_some(
        "version_from",
        (*discover.version_from != *"version").then(|| text(&discover.version_from)),
    );
    map.put_some("weight", (discover.weight == Weighing::Equal).then_some(Value::Boolean(false)));
    map.put_filled("tags", texts(&discover.tags));
    map.put_some("port", discover.port.map(number));
    map.map()
}

fn of_fallback(fallback: &Fallback) -> Value {
    match fallback {
        Fallback::None => text("none"),
        Fallback::To(versions) => texts(versions),
    }
}

fn of_health(health: &HealthCheck) -> Value {
    let mut map = Entries::default();
    match &health.kind {
        HealthCheckKind::Http { path, host, statuses, headers } => {
            let mut http = Entries::default();
            http.put("path", text(path));
            http.put_some("host", host.as_ref().map(text));
            http.put("status", list(statuses.iter().map(number)));
            let headers = headers.iter().map(|(name, value)| (name.as_str(), text(value)));
            http.put_filled("headers", self::map(spelled_apart(headers)));
            map.put("http", http.map());
        }
        HealthCheckKind::Tcp => map.put("tcp", self::map::<&str>([])),
        HealthCheckKind::Grpc { service } => map.put("grpc", self::map([("service", text(service))])),
    }
    map.put("interval", duration(health.interval));
    map.put("timeout", duration(health.timeout));
    map.put("healthy_after", number(health.healthy_after));
    map.put("unhealthy_after", number(health.unhealthy_after));
    map.map()
}

/// `None` where it is the default.
fn of_outlier(outlier: Option<&Outlier>) -> Option<Value> {
    let Some(outlier) = outlier else { return Some(text("off")) };
    (*outlier != Outlier::default()).then(|| {
        map([
            ("consecutive_errors", number(outlier.consecutive_errors)),
            ("eject_for", duration(outlier.eject_for)),
            ("max_ejected", text(format!("{}%", outlier.max_ejected))),
        ])
    })
}

fn of_tls(tls: &Tls) -> Value {
    let path = |path: &Path| text(path.to_string_lossy());
    let mut map = Entries::default();
    if let Some((certificate, key)) = &tls.identity {
        map.put("certificate", path(certificate));
        map.put("key", path(key));
    }
    map.put_some("server_name", tls.server_name.as_ref().map(text));
    map.put_some("ca", tls.ca.as_deref().map(path));
    map.put_some("verify", (!tls.verify).then_some(Value::Boolean(false)));
    map.map()
}

fn of_timeouts(timeouts: TimeoutOverrides) -> Value {
    let mut map = Entries::default();
    map.put_some("connect", timeouts.connect.map(duration));
    map.put_some("read", timeouts.read.map(duration));
    map.put_some("request", timeouts.request.map(duration));
    map.put_some("idle", timeouts.idle.map(duration));
    map.map()
}

fn of_headers(headers: &[(HeaderName, HeaderValue)]) -> Value {
    let read = |value: &HeaderValue| text(String::from_utf8_lossy(value.as_bytes()));
    map(spelled_apart(headers.iter().map(|(name, value)| (name.as_str(), read(value)))))
}

fn of_route(route: &Route) -> Value {
    let mut map = Entries::default();
    map.put_some("hosts", route.hosts.as_ref().map(|hosts| list(hosts.iter().map(of_host))));
    map.put_some("paths", route.paths.as_ref().map(|paths| list(paths.iter().map(of_path))));
    map.put_some("methods", route.methods.as_ref().map(texts));
    map.put_some("when", route.when.as_ref().map(of_condition));
    map.put_some("priority", (route.priority != 0).then(|| number(route.priority)));
    match &route.target {
        Target::Service { name, rewrite } => {
            map.put("service", text(name));
            map.put_filled("rewrite", of_rewrite(rewrite));
        }
        Target::Redirect(redirect) => map.put("redirect", of_redirect(redirect)),
    }
    map.put_filled("request_headers", of_edits(&route.request_headers));
    map.put_filled("response_headers", of_edits(&route.response_headers));
    map.put_filled("timeouts", of_timeouts(route.timeouts));
    map.put_some("max_body", route.max_body.map(text));
    map.put_some("limit", route.limit.as_ref().map(of_limit));
    map.put_some("mirror", route.mirror.as_ref().map(of_mirror));
    map.map()
}

fn of_limit(limit: &Limit) -> Value {
    let mut map = Entries::default();
    map.put("rate", text(limit.rate));
    map.put_some("burst", (limit.burst != limit.rate.count()).then(|| number(limit.burst)));
    map.put_some("by", limit.by.as_ref().map(texts));
    map.map()
}

fn of_mirror(mirror: &Mirror) -> Value {
    let mut map = Entries::default();
    map.put("service", text(&mirror.service));
    map.put_some("version", (mirror.version.as_str() != Name::RELEASE).then(|| text(&mirror.version)));
    map.put_some("share", (mirror.share != Share::ALL).then(|| text(format!("{}%", mirror.share))));
    map.put_some("body", (mirror.body != Mirror::BODY).then(|| text(mirror.body)));
    map.put_some("max", (mirror.max != Mirror::MAX).then(|| number(mirror.max)));
    map.map()
}

fn of_assets(assets: &Assets) -> Value {
    let mut map = Entries::default();
    map.put("paths", list(assets.paths.iter().map(of_path)));
    map.put_some(
        "on",
        (assets.statuses != Assets::STATUSES).then(|| list(assets.statuses.iter().map(number))),
    );
    map.map()
}

fn of_host(host: &HostPattern) -> Value {
    match host {
        HostPattern::Exact(name) => text(name),
        HostPattern::Wildcard(suffix) => text(format!("*{suffix}")),
    }
}

fn of_path(path: &PathPattern) -> Value {
    match path {
        PathPattern::Exact(path) => map([("exact", text(path))]),
        PathPattern::Prefix(prefix) if prefix.is_empty() => map([("prefix", text("/"))]),
        PathPattern::Prefix(prefix) => map([("prefix", text(prefix))]),
        PathPattern::Regex(pattern) => map([("regex", text(&pattern.text))]),
    }
}

fn of_rewrite(rewrite: &Rewrite) -> Value {
    let mut map = Entries::default();
    put_path(&mut map, rewrite.path.as_ref());
    map.put_some("host", rewrite.host.as_ref().map(template));
    map.map()
}

fn of_redirect(redirect: &Redirect) -> Value {
    let mut map = Entries::default();
    map.put("status", number(redirect.status));
    map.put_some("scheme", redirect.scheme.map(text));
    map.put_some("host", redirect.host.as_ref().map(template));
    map.put_some("port", redirect.port.map(number));
    put_path(&mut map, redirect.path.as_ref());
    map.map()
}

fn put_path(map: &mut Entries, path: Option<&PathRewrite>) {
    match path {
        None => {}
        Some(PathRewrite::Prefix(prefix)) => map.put("prefix", template(prefix)),
        Some(PathRewrite::Fixed(path)) => map.put("path", template(path)),
        Some(PathRewrite::Regex(pattern, replace)) => {
            map.put("regex", text(&pattern.text));
            map.put("replace", template(replace));
        }
    }
}

fn template(template: &Template) -> Value {
    text(template)
}

fn of_edits(edits: &HeaderEdits) -> Value {
    let mut map = Entries::default();
    map.put_filled("remove", texts(&edits.remove));
    for (key, texts) in [("set", &edits.set), ("set_if_absent", &edits.set_if_absent), ("add", &edits.add)] {
        let texts = texts.iter().map(|(name, value)| (name.as_str(), template(value)));
        map.put_filled(key, self::map(spelled_apart(texts)));
    }
    map.map()
}

/// A header that stands twice in one map does so under two spellings of its name.
fn spelled_apart<'n>(headers: impl IntoIterator<Item = (&'n str, Value)>) -> Vec<(String, Value)> {
    let mut apart: Vec<(String, Value)> = Vec::new();
    for (name, value) in headers {
        let mut spellings = (0_u32..).map(|number| spelling(name, number));
        let is_free = |spelling: &String| apart.iter().all(|(known, _)| known != spelling);
        let free = spellings.find(is_free).unwrap_or_else(|| name.to_string());
        apart.push((free, value));
    }
    apart
}

/// The name with those of its letters in upper case that have a bit in `number`.
fn spelling(name: &str, number: u32) -> String {
    let raise = |(at, c): (usize, char)| {
        let bit = u32::try_from(at).ok().and_then(|at| number.checked_shr(at)).unwrap_or(0) & 1;
        if bit == 1 { c.to_ascii_uppercase() } else { c }
    };
    name.chars().enumerate().map(raise).collect()
}

#[cfg(test)]
mod tests;

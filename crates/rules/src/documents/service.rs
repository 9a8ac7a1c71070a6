//! Services: an upstream application, its instances, and how they are used.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::assets::Assets;
use super::condition::read_attribute;
use super::discover::Discover;
use super::fields::{Emptiness, Field};
use super::instance::Instance;
use super::limit;
use super::route::{TimeoutOverrides, header_name};
use crate::vocab::{Attribute, Failures, Label, Limit, Name, Share, StatusMatch, parse_duration};

/// Most further tries; more would only multiply an outage.
const RETRY_LIMIT: i64 = 8;
/// The highest code of gRPC.
const GRPC_CODES: i64 = 16;
/// Longest list of what counts as an error: every answer is held against all of it.
const FAILURE_LIMIT: usize = 64;
/// How long an instance's first answers say nothing about its version, where nothing else is written.
pub(super) const WARM_UP: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Service {
    /// The first one present is the identity. `None`: the client's address.
    pub identity: Option<Vec<Attribute>>,
    pub issue_cookie: Option<IssueCookie>,
    /// What rules say, and the label instances carry.
    pub aliases: Vec<(Name, Name)>,
    pub fallback: Vec<(Name, Fallback)>,
    pub pin: Option<Pin>,
    pub instances: Vec<Instance>,
    /// The registries that have more of them.
    pub discover: Vec<Discover>,
    pub balance: Balance,
    pub health: Option<HealthCheck>,
    /// `None`: turned off.
    pub outlier: Option<Outlier>,
    pub timeouts: TimeoutOverrides,
    /// Further tries after the first.
    pub retries: u32,
    pub protocol: Protocol,
    /// `None`: plain text.
    pub tls: Option<Tls>,
    pub max_connections: Option<usize>,
    /// Which answers are errors where versions are compared.
    pub errors: Failures,
    /// How long after its first request an instance's times are not compared.
    pub warm_up: Duration,
    /// Further request headers by decided version.
    pub version_headers: Vec<(Name, Vec<(HeaderName, HeaderValue)>)>,
    pub limit: Option<Limit>,
    pub assets: Option<Assets>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct IssueCookie {
    pub name: Label,
    pub max_age: Duration,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Fallback {
    /// Ends at once.
    None,
    To(Vec<Name>),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Pin {
    pub attribute: Attribute,
    pub tag: Label,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    RoundRobin,
    LeastRequests,
    Hash,
}

#[derive(Clone, PartialEq, Debug)]
pub struct HealthCheck {
    pub kind: HealthCheckKind,
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_after: u32,
    pub unhealthy_after: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub enum HealthCheckKind {
    Http { path: String, host: Option<String>, statuses: Vec<u16>, headers: Vec<(String, String)> },
    Tcp,
    Grpc { service: String },
}

#[derive(Clone, PartialEq, Debug)]
pub struct Outlier {
    pub consecutive_errors: u32,
    pub eject_for: Duration,
    pub max_ejected: Share,
}

impl Default for Outlier {
    fn default() -> Self {
        Outlier {
            consecutive_errors: 5,
            eject_for: Duration::from_secs(30),
            max_ejected: Share::parse("50").unwrap_or(Share::ALL),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http1,
    H2,
    H2c,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Tls {
    /// What the certificate has to be for; `None`: the instance's address.
    pub server_name: Option<String>,
    /// `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// What this proxy shows of itself: the files of a certificate chain and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub verify: bool,
}

impl Service {
    pub fn read(field: &Field<'_>) -> Option<Service> {
        let mut map = field.map()?;
        let tls = map.get("tls").and_then(|f| read_tls(&f));
        let service = Service {
            identity: map.get("identity").and_then(|f| f.list_of(Emptiness::Refused, read_attribute)),
            issue_cookie: map.get("issue_cookie").and_then(|f| read_issue_cookie(&f)),
            aliases: map.or("aliases", Vec::new(), |f| read_named(f, |f| f.name())),
            fallback: map.or("fallback", Vec::new(), |f| read_named(f, read_fallback)),
            pin: map.get("pin").and_then(|f| read_pin(&f)),
            instances: map.or("instances", Vec::new(), |f| f.list_of(Emptiness::Allowed, Instance::read)),
            discover: map.or("discover", Vec::new(), Discover::read_all),
            balance: map.or("balance", Balance::RoundRobin, |f| {
                f.word(&[
                    ("round_robin", Balance::RoundRobin),
                    ("least_requests", Balance::LeastRequests),
                    ("hash", Balance::Hash),
                ])
            }),
            health: map.get("health").and_then(|f| read_health(&f)),
            outlier: map.or("outlier", Some(Outlier::default()), read_outlier),
            timeouts: map.or("timeouts", TimeoutOverrides::default(), TimeoutOverrides::read),
            retries: map.or("retries", 1, |f| count(f, 0, RETRY_LIMIT)),
            protocol: map.or("protocol", Protocol::Http1, |f| {
                let protocol =
                    f.word(&[("http1", Protocol::Http1), ("h2", Protocol::H2), ("h2c", Protocol::H2c)])?;
                match (protocol, &tls) {
                    (Protocol::H2, None) => f.wrong("`h2` is spoken over TLS", "add `tls: {}`, or use `h2c`"),
                    (Protocol::H2c, Some(_)) => f.wrong("`h2c` is plain text", "use `h2`, or take `tls` out"),
                    _ => Some(protocol),
                }
            }),
            max_connections: map
                .get("max_connections")
                .and_then(|f| f.integer(1, i64::from(u32::MAX)))
                .and_then(|n| usize::try_from(n).ok()),
            errors: map.or("errors", Failures::default(), read_failures),
            warm_up: map
                .or("warm_up", WARM_UP, |f| f.parsed("a duration like `30s`, or `0s`", parse_duration)),
            version_headers: map.or("version_headers", Vec::new(), |f| read_named(f, read_headers)),
            limit: map.get("limit").and_then(|f| limit::read(&f)),
            assets: map.get("assets").and_then(|f| Assets::read(&f)),
            tls,
        };
        map.note_unknown();
        Some(service)
    }
}

fn count(field: &Field<'_>, low: i64, high: i64) -> Option<u32> {
    field.integer(low, high).and_then(|n| u32::try_from(n).ok())
}

/// A map from versions to what `read` reads.
fn read_named<T>(field: &Field<'_>, read: impl Fn(&Field<'_>) -> Option<T>) -> Option<Vec<(Name, T)>> {
    let read = |(key, value): (&str, Field<'_>)| {
        let name = Name::parse(key).or_else(|| value.wrong(format!("`{key}` is not a version's name"), ""));
        let value = read(&value);
        Some((name?, value?))
    };
    let entries: Vec<Option<(Name, T)>> = field.entries()?.into_iter().map(read).collect();
    entries.into_iter().collect()
}

fn read_fallback(field: &Field<'_>) -> Option<Fallback> {
    if field.is_text("none") {
        return Some(Fallback::None);
    }
    match field.is_list() {
        true => field.list_of(Emptiness::Allowed, Field::name).map(Fallback::To),
        false => field.wrong(
            format!("expected a list of versions or `none`, found {}", field.node.value.describe()),
            "",
        ),
    }
}

fn read_issue_cookie(field: &Field<'_>) -> Option<IssueCookie> {
    let mut map = field.map()?;
    let name = map.required("name").and_then(|f| {
        let token = |text: &str| HeaderName::from_bytes(text.as_bytes()).is_ok();
        f.parsed("a cookie's name", |text| token(text).then(|| Label::from(text)))
    });
    let max_age = map.required("max_age").and_then(|f| {
        let age = f.duration()?;
        match age < Duration::from_secs(1) {
            true => f.wrong("a cookie lives for whole seconds", "write at least `1s`"),
            false => Some(age),
        }
    });
    map.note_unknown();
    Some(IssueCookie { name: name?, max_age: max_age? })
}

fn read_pin(field: &Field<'_>) -> Option<Pin> {
    let mut map = field.map()?;
    let attribute = map.required("attribute").and_then(|f| {
        let attribute = read_attribute(&f)?;
        match attribute {
            Attribute::Header(_) | Attribute::Cookie(_) | Attribute::Query(_) => Some(attribute),
            _ => f.wrong(
                format!("`{attribute}` cannot be a pin: every request has it"),
                "use a header, a cookie or a query parameter",
            ),
        }
    });
    let tag = map.required("tag").and_then(|f| f.text().map(Label::from));
    map.note_unknown();
    Some(Pin { attribute: attribute?, tag: tag? })
}

fn read_health(field: &Field<'_>) -> Option<HealthCheck> {
    let mut map = field.map()?;
    let kind = match map.one_of(&["http", "tcp", "grpc"]) {
        Some(("http", f)) => read_http_check(&f),
        Some(("tcp", f)) => f.map().map(|inner| {
            inner.note_unknown();
            HealthCheckKind::Tcp
        }),
        Some((_, f)) => f.map().map(|mut inner| {
            let service = inner.or("service", String::new(), |f| f.text().map(String::from));
            inner.note_unknown();
            HealthCheckKind::Grpc { service }
        }),
        None => None,
    };
    let check = HealthCheck {
        interval: map.or("interval", Duration::from_secs(5), Field::duration),
        timeout: map.or("timeout", Duration::from_secs(1), Field::duration),
        healthy_after: map.or("healthy_after", 2, |f| count(f, 1, 1_000)),
        unhealthy_after: map.or("unhealthy_after", 3, |f| count(f, 1, 1_000)),
        kind: kind.clone().unwrap_or(HealthCheckKind::Tcp),
    };
    map.note_unknown();
    kind.map(|_| check)
}

fn read_http_check(field: &Field<'_>) -> Option<HealthCheckKind> {
    let mut map = field.map()?;
    let path = map.or("path", "/".to_string(), |f| {
        f.parsed("a path like `/healthz`", |text| {
            let visible = text.bytes().all(|b| b.is_ascii_graphic());
            (text.starts_with('/') && visible).then(|| text.to_string())
        })
    });
    let host = map.get("host").and_then(|f| {
        f.parsed("a host", |text| {
            HeaderValue::from_str(text).is_ok_and(|v| !v.is_empty()).then(|| text.to_string())
        })
    });
    let statuses = map.or("status", vec![200], |f| {
        f.list_of(Emptiness::Refused, |item| {
            item.integer(100, 599).and_then(|status| u16::try_from(status).ok())
        })
    });
    let headers = map.or("headers", Vec::new(), read_headers);
    map.note_unknown();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Some(HealthCheckKind::Http { path, host, statuses, headers })
}

fn read_outlier(field: &Field<'_>) -> Option<Option<Outlier>> {
    if field.is_text("off") {
        return Some(None);
    }
    let mut map = field.map()?;
    let default = Outlier::default();
    let outlier = Outlier {
        consecutive_errors: map
            .or("consecutive_errors", default.consecutive_errors, |f| count(f, 1, 1_000_000)),
        eject_for: map.or("eject_for", default.eject_for, Field::duration),
        max_ejected: map.or("max_ejected", default.max_ejected, Field::percent),
    };
    map.note_unknown();
    Some(Some(outlier))
}

/// What counts as an error; what is not written keeps its default.
fn read_failures(field: &Field<'_>) -> Option<Failures> {
    let mut map = field.map()?;
    let default = Failures::default();
    let failures = Failures {
        statuses: map
            .or("status", default.statuses, |f| short(f, f.list_of(Emptiness::Allowed, read_status))),
        grpc: map.or("grpc", default.grpc, |f| {
            short(
                f,
                f.list_of(Emptiness::Allowed, |item| {
                    item.integer(1, GRPC_CODES).and_then(|code| u8::try_from(code).ok())
                }),
            )
        }),
        headers: map.or("header", default.headers, |f| {
            let read = |(name, value): (&str, Field<'_>)| {
                let texts = value.list_of(Emptiness::Refused, |item| item.text().map(String::from));
                Some((header_name(&value, name)?, short(&value, texts)?))
            };
            let headers: Vec<_> = f.entries()?.into_iter().map(read).collect();
            short(f, headers.into_iter().collect())
        }),
    };
    map.note_unknown();
    Some(failures)
}

/// A number, or a class as text.
fn read_status(field: &Field<'_>) -> Option<StatusMatch> {
    match field.is_number() {
        true => field.integer(100, 599).and_then(|one| u16::try_from(one).ok()).map(StatusMatch::One),
        false => field.parsed("a status like `503`, or a class like `5xx`", StatusMatch::parse),
    }
}

fn short<T>(field: &Field<'_>, list: Option<Vec<T>>) -> Option<Vec<T>> {
    let list = list?;
    match list.len() > FAILURE_LIMIT {
        true => field.wrong(format!("at most {FAILURE_LIMIT} entries"), ""),
        false => Some(list),
    }
}

fn read_tls(field: &Field<'_>) -> Option<Tls> {
    let mut map = field.map()?;
    let mut path = |key| map.get(key).and_then(|f| f.text().map(PathBuf::from));
    let (certificate, key) = (path("certificate"), path("key"));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => map.wrong("`certificate` and `key` go together", "write both, or neither"),
    };
    let tls = Tls {
        identity,
        server_name: map.get("server_name").and_then(|f| f.text().map(String::from)),
        ca: map.get("ca").and_then(|f| f.text().map(PathBuf::from)),
        verify: map.or("verify", true, Field::boolean),
    };
    map.note_unknown();
    Some(tls)
}

/// Headers with fixed texts.
fn read_headers(field: &Field<'_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let read = |(name, value): (&str, Field<'_>)| {
        let name = header_name(&value, name);
        let text = match HeaderValue::from_bytes(value.text()?.as_bytes()) {
            Ok(text) => Some(text),
            Err(_) => value.wrong("a header's text has no line breaks and no control characters", ""),
        };
        Some((name?, text?))
    };
    let headers: Vec<_> = field.entries()?.into_iter().map(read).collect();
    headers.into_iter().collect()
}

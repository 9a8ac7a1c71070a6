//! `registries` of control.yaml: who and where the registries are, with every mistake that can be told without
//! connecting.
//!
//! Never: connects, resolves a name, or reads a password.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use graygate_rules::documents::fields::{Emptiness, Field, Map};
use graygate_rules::vocab::{Label, Name};
use http::Uri;

use super::settings::{
    Auth, DnsSettings, EurekaSettings, Layout, Login, NacosSettings, RegistrySettings, Tls, ZooKeeperSettings,
};

/// Longest name of a registry: names of documents, of which it is a part beside an address, have at most 128 bytes.
const NAME_BYTES: usize = 64;
/// Most servers of one registry.
const SERVER_LIMIT: usize = 16;
/// How often a Eureka server is asked, unless the file says otherwise, and at the shortest.
const EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));

/// Settings by the name that services use.
pub type Registries = BTreeMap<Name, RegistrySettings>;

/// Reads `registries`.
pub fn read(field: &Field<'_>) -> Option<Registries> {
    let read = |(name, field): (&str, Field<'_>)| {
        let known = Name::parse(name).filter(|name| name.as_str().len() <= NAME_BYTES);
        let help = format!("names are 1 to {NAME_BYTES} of A-Z a-z 0-9 . _ -");
        let known = known.or_else(|| field.wrong(format!("`{name}` is not a registry's name"), help));
        let settings = read_registry(&field);
        Some((known?, settings?))
    };
    let registries: Vec<_> = field.entries()?.into_iter().map(read).collect();
    registries.into_iter().collect()
}

fn read_registry(field: &Field<'_>) -> Option<RegistrySettings> {
    let mut map = field.map()?;
    if map.has("consul") {
        // No server of it can be tested against, and a client that never met one is not offered.
        return field.wrong("`consul` is not supported", "Consul answers DNS as well: use `dns`");
    }
    let (kind, inner) = map.one_of(&["nacos", "eureka", "zookeeper", "dns"])?;
    map.note_unknown();
    let mut inner = inner.map()?;
    let settings = match kind {
        "nacos" => read_nacos(&mut inner),
        "eureka" => read_eureka(&mut inner),
        "zookeeper" => read_zookeeper(&mut inner),
        _ => read_dns(&mut inner),
    };
    inner.note_unknown();
    settings
}

fn read_nacos(map: &mut Map<'_>) -> Option<RegistrySettings> {
    let addresses = read_addresses(map, "a host with a port like `10.0.0.1:8848`", read_host_port);
    let settings = NacosSettings {
        namespace: map.or("namespace", "public".to_owned(), |f| f.text().map(str::to_owned)),
        group: map.or("group", "DEFAULT_GROUP".to_owned(), |f| f.text().map(str::to_owned)),
        clusters: map.or("clusters", Vec::new(), |f| {
            f.list_of(Emptiness::Allowed, |item| item.text().map(str::to_owned))
        }),
        login: read_login(map),
        tls: map.get("tls").and_then(|f| read_tls(&f)),
        addresses: addresses?,
    };
    Some(RegistrySettings::Nacos(settings))
}

fn read_eureka(map: &mut Map<'_>) -> Option<RegistrySettings> {
    let addresses = read_addresses(map, "an address like `http://10.0.0.1:8761/eureka`", |text| {
        let uri: Uri = text.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
        // A password in an address would be shown with it.
        let is_bare = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        (is_http && is_bare).then(|| text.to_owned())
    });
    let settings = EurekaSettings {
        login: read_login(map),
        tls: map.get("tls").and_then(|f| read_tls(&f)),
        every: map.or("every", EVERY.0, |f| match f.duration()? {
            every if every < EVERY.1 => {
                f.wrong("a poll at least every second is too often", "write at least `1s`")
            }
            every => Some(every),
        }),
        addresses: addresses?,
    };
    Some(RegistrySettings::Eureka(settings))
}

fn read_zookeeper(map: &mut Map<'_>) -> Option<RegistrySettings> {
    let addresses = read_addresses(map, "a host with a port like `10.0.0.1:2181`", read_host_port);
    let settings = ZooKeeperSettings {
        path: map.or("path", "/services".to_owned(), |f| {
            f.parsed("a node's path like `/services`", |text| {
                let whole = text == "/" || !text.ends_with('/');
                (text.starts_with('/') && whole && !text.contains("//")).then(|| text.to_owned())
            })
        }),
        layout: map.or("layout", Layout::Curator, |f| {
            f.word(&[("curator", Layout::Curator), ("host_port", Layout::HostPort)])
        }),
        auth: map.get("auth").and_then(|f| {
            f.parsed("a scheme and its credentials like `digest:user:password`", |text| {
                let (scheme, secret) = text.split_once(':')?;
                let auth = Auth { scheme: scheme.to_owned(), secret: secret.to_owned() };
                (!scheme.is_empty() && !secret.is_empty()).then_some(auth)
            })
        }),
        addresses: addresses?,
    };
    Some(RegistrySettings::ZooKeeper(settings))
}

fn read_dns(map: &mut Map<'_>) -> Option<RegistrySettings> {
    let what = "an address with a port like `10.0.0.53:53`";
    let servers = map.required("servers").and_then(|f| {
        f.list_of(Emptiness::Refused, |item| {
            item.parsed(what, |text| text.parse::<SocketAddr>().ok().filter(|address| address.port() > 0))
        })
    });
    Some(RegistrySettings::Dns(DnsSettings { servers: servers? }))
}

fn read_addresses(
    map: &mut Map<'_>,
    what: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Option<Vec<String>> {
    let field = map.required("addresses")?;
    let addresses = field.list_of(Emptiness::Refused, |item| item.parsed(what, &read))?;
    match addresses.len() > SERVER_LIMIT {
        true => field.wrong(format!("more than {SERVER_LIMIT} addresses"), ""),
        false => Some(addresses),
    }
}

fn read_host_port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_host && is_port).then(|| text.to_owned())
}

fn read_login(map: &mut Map<'_>) -> Option<Login> {
    let username = map.get("username").and_then(|f| f.text().map(Label::from));
    let file = map.get("password_file").and_then(|f| f.text().map(PathBuf::from));
    match (username, file) {
        (Some(username), Some(password_file)) => {
            Some(Login { username: username.to_string(), password_file })
        }
        (None, None) => None,
        _ if map.has("username") && map.has("password_file") => None, // what is wrong was noted
        _ => map.wrong("`username` and `password_file` go together", "write both, or neither"),
    }
}

fn read_tls(field: &Field<'_>) -> Option<Tls> {
    let mut map = field.map()?;
    let mut path = |key| map.get(key).and_then(|f| f.text().map(PathBuf::from));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => map.wrong("`certificate` and `key` go together", "write both, or neither"),
    };
    let domain = map.get("domain").and_then(|f| f.text().map(str::to_owned));
    map.note_unknown();
    Some(Tls { ca, identity, domain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use graygate_rules::documents::fields::Notes;
    use graygate_rules::documents::text::{self, Syntax};

    fn parse(yaml: &str) -> Result<Registries, Vec<(String, String)>> {
        let node = text::parse(yaml, Syntax::Yaml).unwrap();
        let notes = Notes::of("control.yaml");
        let registries = read(&Field::root(&node, &notes));
        match registries {
            Some(registries) if notes.is_empty() => Ok(registries),
            _ => Err(notes.into_problems().into_iter().map(|p| (p.field.clone(), p.sentence())).collect()),
        }
    }

    #[test]
    fn every_kind_as_the_documentation_writes_it() {
        let registries = parse(
            r#"
nacos-main: {nacos: {addresses: ["127.0.0.1:8848", "nacos.internal:8848"], namespace: public, group: DEFAULT_GROUP, clusters: [A], username: u, password_file: F, tls: {ca: C, domain: d}}}
eureka-main: {eureka: {addresses: ["http://127.0.0.1:8761/eureka"], username: u, password_file: F, every: 5s}}
zk-main: {zookeeper: {addresses: ["127.0.0.1:2181", "[::1]:2181"], path: /services, layout: host_port, auth: "digest:u:p"}}
dns-main: {dns: {servers: ["127.0.0.1:53"]}}
"#,
        )
        .unwrap();
        let kinds: Vec<(&str, &str)> =
            registries.iter().map(|(name, settings)| (name.as_str(), settings.kind())).collect();
        let expected = [
            ("dns-main", "dns"),
            ("eureka-main", "eureka"),
            ("nacos-main", "nacos"),
            ("zk-main", "zookeeper"),
        ];
        assert_eq!(kinds, expected);
        let Some(RegistrySettings::ZooKeeper(zookeeper)) = registries.get("zk-main") else { panic!() };
        assert_eq!(zookeeper.layout, Layout::HostPort);
        assert_eq!(zookeeper.auth.as_ref().map(|auth| auth.secret.as_str()), Some("u:p"));
        assert!(!format!("{registries:?}").contains("u:p"), "a secret is printed");
        assert_eq!(parse("{}").unwrap().len(), 0);
    }

    #[test]
    fn defaults() {
        let registries = parse(
            "{n: {nacos: {addresses: ['h:1']}}, e: {eureka: {addresses: ['http://h']}}, z: {zookeeper: {addresses: ['h:1']}}}",
        )
        .unwrap();
        let Some(RegistrySettings::Nacos(nacos)) = registries.get("n") else { panic!() };
        assert_eq!((nacos.namespace.as_str(), nacos.group.as_str()), ("public", "DEFAULT_GROUP"));
        let Some(RegistrySettings::Eureka(eureka)) = registries.get("e") else { panic!() };
        assert_eq!(eureka.every, Duration::from_secs(5));
        let Some(RegistrySettings::ZooKeeper(zookeeper)) = registries.get("z") else { panic!() };
        assert_eq!((zookeeper.path.as_str(), zookeeper.layout), ("/services", Layout::Curator));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mistakes = parse(
            r#"
"a b": {nacos: {addresses: [nowhere], usernam: u}}
c: {consul: {}}
d: {dns: {servers: ["ns.internal:53"]}}
e: {eureka: {addresses: ["ftp://h", "http://u:p@h"], every: 100ms, username: u}}
f: {}
g: {nacos: {}, dns: {}}
z: {zookeeper: {addresses: [], path: services, layout: spring, auth: digest}}
"#,
        )
        .unwrap_err();
        let found: Vec<(&str, &str)> =
            mistakes.iter().map(|(field, said)| (field.as_str(), said.as_str())).collect();
        let expected = [
            ("a b", "`a b` is not a registry's name"),
            ("a b.nacos.addresses[0]", "`nowhere` is not a host with a port"),
            ("a b.nacos.usernam", "did you mean `username`?"),
            ("c", "`consul` is not supported"),
            ("d.dns.servers[0]", "`ns.internal:53` is not an address with a port"),
            ("e.eureka", "`username` and `password_file` go together"),
            ("e.eureka.addresses[0]", "`ftp://h` is not an address"),
            ("e.eureka.addresses[1]", "`http://u:p@h` is not an address"),
            ("e.eureka.every", "too often"),
            ("f", "is missing"),
            ("g", "exclude each other"),
            ("z.zookeeper.addresses", "an empty list"),
            ("z.zookeeper.auth", "`digest` is not a scheme"),
            ("z.zookeeper.layout", "`spring` is not one of"),
            ("z.zookeeper.path", "`services` is not a node's path"),
        ];
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(sorted.len(), expected.len(), "{sorted:#?}");
        for ((field, said), (expected, part)) in sorted.iter().zip(expected) {
            assert!(
                *field == expected && said.contains(part),
                "{field}: {said}; expected {expected}: {part}"
            );
        }
    }
}

//! Addresses: where it listens, where documents are, which proxies and Prometheus servers may be asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use graygate_rules::documents::fields::{Emptiness, Field};
use graygate_rules::vocab::canonical_net;
use graygate_store::etcd::EtcdSettings;
use graygate_store::{Source, read_source};
use http::Uri;
use ipnet::IpNet;

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9180);

/// Where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// A directory of certificates; none: plain text.
    pub certificates: Option<PathBuf>,
    pub hosts: Vec<String>,
    /// Without a slash at its end; empty for none.
    pub path: String,
    /// Plain text behind an ingress that ends TLS.
    pub behind_tls: bool,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            address: ADDRESS,
            certificates: None,
            hosts: Vec::new(),
            path: String::new(),
            behind_tls: false,
        }
    }
}

/// Where documents are.
#[derive(Clone, Debug)]
pub enum DocumentsFrom {
    Directory(PathBuf),
    Etcd(EtcdSettings),
}

/// Which proxies are asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProxiesFrom {
    /// Their admin addresses.
    Named(Vec<String>),
    /// Those of the fleet's keys, where their addresses are among these; a port of `None` is any.
    Fleet(Vec<(IpNet, Option<u16>)>),
}

impl Default for ProxiesFrom {
    fn default() -> ProxiesFrom {
        let loopback = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|text| text.parse().ok());
        ProxiesFrom::Fleet(loopback.map(|net| (net, None)).collect())
    }
}

pub fn read_listen(field: &Field<'_>) -> Option<Listen> {
    let mut map = field.map()?;
    let address = map.or("address", ADDRESS, |field| {
        field.parsed("an address with a port like `127.0.0.1:9180`", |text| text.parse().ok())
    });
    let certificates = map.get("tls").and_then(|field| {
        let mut map = field.map()?;
        let directory = map.required("certificates").and_then(|field| field.text().map(PathBuf::from));
        map.note_unknown();
        directory
    });
    let has_tls = map.has("tls");
    let hosts = map.or("hosts", Vec::new(), |field| {
        field.list_of(Emptiness::Allowed, |item| {
            item.parsed("a host's name without a port", |text| {
                is_host(text).then(|| text.to_ascii_lowercase())
            })
        })
    });
    let path = map.or("path", String::new(), |field| {
        field.parsed("a path like `/` or `/gray`", |text| {
            let plain = text.trim_end_matches('/');
            let is_good = text.starts_with('/')
                && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte))
                && !plain.contains("//")
                && !plain.contains("..");
            is_good.then(|| plain.to_owned())
        })
    });
    let behind_tls = map.or("behind_tls", false, Field::boolean);
    map.note_unknown();
    if behind_tls && has_tls {
        map.wrong::<()>("`tls` and `behind_tls` exclude each other", "keep one of them");
    }
    if !has_tls && !behind_tls && !address.ip().is_loopback() {
        let help = "add `tls`, or listen on 127.0.0.1; behind an ingress that ends TLS write `behind_tls: true` and `trust`";
        field
            .below("address")
            .wrong::<()>(format!("`{address}` is not a loopback address, and there is no `tls`"), help);
    }
    Some(Listen { address, certificates, hosts, path, behind_tls })
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/', '*', ' ', '@']) && text.is_ascii()
}

pub fn read_documents(field: &Field<'_>) -> Option<DocumentsFrom> {
    Some(match read_source(field)? {
        Source::Directory(settings) => DocumentsFrom::Directory(settings.path),
        Source::Etcd(settings) => DocumentsFrom::Etcd(settings),
    })
}

pub fn read_proxies(field: &Field<'_>) -> Option<ProxiesFrom> {
    if field.is_list() {
        return field.list_of(Emptiness::Allowed, read_url).map(ProxiesFrom::Named);
    }
    let mut map = field.map()?;
    let allow = map.required("allow").and_then(|field| {
        field.list_of(Emptiness::Allowed, |item| {
            item.parsed("a network and a port like `10.0.0.0/8:9090`", read_allowed)
        })
    });
    map.note_unknown();
    allow.map(ProxiesFrom::Fleet)
}

fn read_allowed(text: &str) -> Option<(IpNet, Option<u16>)> {
    if let Some(net) = canonical_net(text) {
        return Some((net, None));
    }
    let (net, port) = text.rsplit_once(':')?;
    let net = net.trim_start_matches('[').trim_end_matches(']');
    Some((canonical_net(net)?, Some(port.parse().ok().filter(|port| *port > 0)?)))
}

/// An address that is connected to.
pub fn read_url(field: &Field<'_>) -> Option<String> {
    field.parsed("an address like `http://127.0.0.1:9090`", |text| {
        let uri: Uri = text.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        (is_http && has_host).then(|| text.trim_end_matches('/').to_owned())
    })
}

pub fn read_measures(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let read = |(name, field): (&str, Field<'_>)| {
        let mut map = field.map()?;
        let url = map.required("prometheus").and_then(|field| read_url(&field));
        map.note_unknown();
        Some((name.to_owned(), url?))
    };
    let measures: Vec<Option<_>> = field.entries()?.into_iter().map(read).collect();
    measures.into_iter().collect()
}

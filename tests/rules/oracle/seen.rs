//! A request as it arrives, and what the contract says that rules see of it.

use std::net::IpAddr;

use graygate_rules::vocab::{Attribute, GeoField};
use http::HeaderMap;

use super::mmdb::{self, Row};
use super::patterns::pattern;

/// A request as it arrives; trust was settled before.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub scheme: &'static str,
    pub host: String,
    pub path: Vec<u8>,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub client: IpAddr,
    /// Whether there is a database of places.
    pub located: bool,
    pub trusted: bool,
    pub inherited: Option<String>,
    /// The text of a tester's word that holds.
    pub word: Option<String>,
    pub now: i128,
    pub fresh: Option<String>,
}

/// The request with its path and host in their one spelling.
pub struct Seen<'a> {
    pub ask: &'a Ask,
    pub view: String,
    pub upstream: String,
    pub host: String,
    pub port: Option<u16>,
}

impl<'a> Seen<'a> {
    /// `None`: answered 400.
    pub fn of(ask: &'a Ask) -> Option<Seen<'a>> {
        let (view, upstream) = normal_path(&ask.path)?;
        let (host, port) = normal_host(&ask.host)?;
        Some(Seen { ask, view, upstream, host, port })
    }

    /// Every value the attribute has.
    pub fn values(&self, attribute: &Attribute) -> Vec<Vec<u8>> {
        let one = |text: &str| vec![text.as_bytes().to_vec()];
        match attribute {
            Attribute::Header(name) => {
                self.ask.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
            }
            Attribute::Cookie(name) => self.cookies(name),
            Attribute::Query(name) => self.parameters(name),
            Attribute::Path => one(&self.view),
            // A request that names no host has none.
            Attribute::Host if self.host.is_empty() => Vec::new(),
            Attribute::Host => one(&self.host),
            Attribute::Method => one(&self.ask.method),
            Attribute::Scheme => one(self.ask.scheme),
            Attribute::Ip => one(&self.ask.client.to_string()),
            Attribute::Geo(field) => self.place(*field).into_iter().map(String::into_bytes).collect(),
        }
    }

    /// The most special network that the client is in.
    fn place(&self, field: GeoField) -> Option<String> {
        let net = |row: &Row| row.network.parse::<ipnet::IpNet>().unwrap();
        let rows = mmdb::ROWS.iter().filter(|row| net(row).contains(&self.ask.client));
        let row = rows.max_by_key(|row| net(row).prefix_len())?;
        let text = match field {
            GeoField::Country => row.country.to_string(),
            GeoField::Region => row.region.to_string(),
            GeoField::City => row.city.to_string(),
            GeoField::Asn if row.asn == 0 => String::new(),
            GeoField::Asn => row.asn.to_string(),
        };
        (!text.is_empty() && self.ask.located).then_some(text)
    }

    fn cookies(&self, name: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for line in self.ask.headers.get_all("cookie") {
            // The alphabet of the cases is ASCII here.
            for pair in String::from_utf8_lossy(line.as_bytes()).split(';') {
                if let Some((key, value)) = pair.split_once('=')
                    && key.trim() == name
                {
                    found.push(value.trim().as_bytes().to_vec());
                }
            }
        }
        found
    }

    fn parameters(&self, name: &str) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for pair in self.ask.query.iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decoded(key) == name.as_bytes() {
                found.push(decoded(value));
            }
        }
        found
    }
}

/// A part of a query: `+` is a space, good escapes are decoded, everything else stays.
fn decoded(text: &str) -> Vec<u8> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).collect()
}

/// One byte of a path as it is meant, and as it was written.
struct Letter {
    byte: u8,
    written: String,
    escaped: bool,
}

fn letters(raw: &[u8]) -> Option<Vec<Letter>> {
    let mut letters = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let written = match raw[at] {
            b'%' => String::from_utf8(raw.get(at..at + 3)?.to_vec()).ok()?,
            b'\\' => "%5C".into(),
            byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let escaped = raw[at] == b'%';
        let byte = match escaped {
            true if written[1..].bytes().all(|b| b.is_ascii_hexdigit()) => {
                u8::from_str_radix(&written[1..], 16).ok()?
            }
            true => return None,
            false => raw[at],
        };
        if byte < 0x20 || byte == 0x7f || (byte == b'#' && !escaped) {
            return None;
        }
        at += if escaped { 3 } else { 1 };
        letters.push(Letter { byte, written, escaped });
    }
    Some(letters)
}

/// The two forms of a path: the view and what the upstream gets. `None`: answered 400.
pub fn normal_path(raw: &[u8]) -> Option<(String, String)> {
    let letters = letters(raw)?;
    let text: Vec<u8> = letters.iter().map(|letter| letter.byte).collect();
    String::from_utf8(text).ok()?;
    let mut segments: Vec<&[Letter]> =
        letters.split(|letter| letter.byte == b'/' && !letter.escaped).collect();
    // Before the first slash there has to be nothing.
    if raw.first() != Some(&b'/') || !segments.remove(0).is_empty() {
        return None;
    }
    // Repeated slashes are merged first: only the last segment may be empty.
    let last = segments.len() - 1;
    let merged: Vec<&[Letter]> = segments
        .into_iter()
        .enumerate()
        .filter(|(i, segment)| *i == last || !segment.is_empty())
        .map(|(_, segment)| segment)
        .collect();
    // Then dot segments are removed, as RFC 3986 does.
    let mut kept: Vec<&[Letter]> = Vec::new();
    let mut ends_in_slash = false;
    for segment in merged {
        let spelling: Vec<u8> = segment.iter().map(|letter| letter.byte).collect();
        ends_in_slash = matches!(spelling.as_slice(), b"" | b"." | b"..");
        match spelling.as_slice() {
            b"" | b"." => {}
            b".." => {
                kept.pop()?;
            }
            _ => kept.push(segment),
        }
    }
    let mut view = Vec::new();
    let mut upstream = String::new();
    for segment in &kept {
        view.push(b'/');
        upstream.push('/');
        for (i, letter) in segment.iter().enumerate() {
            view.extend(shown(letter, &segment[i + 1..]).bytes().collect::<Vec<u8>>());
            upstream.push_str(&letter.written);
        }
    }
    if ends_in_slash || kept.is_empty() {
        view.push(b'/');
        upstream.push('/');
    }
    Some((String::from_utf8(view).ok()?, upstream))
}

enum Shown {
    Escape(&'static str),
    Byte(u8),
}

impl Shown {
    fn bytes(&self) -> impl Iterator<Item = u8> {
        match self {
            Shown::Escape(text) => text.as_bytes().to_vec().into_iter(),
            Shown::Byte(byte) => vec![*byte].into_iter(),
        }
    }
}

fn shown(letter: &Letter, after: &[Letter]) -> Shown {
    let next: String = after.iter().take(2).map(|letter| char::from(letter.byte)).collect();
    match letter.byte {
        b'/' => Shown::Escape("%2F"),
        b'\\' => Shown::Escape("%5C"),
        b'%' if ["2F", "2f", "5C", "5c"].contains(&next.as_str()) => Shown::Escape("%25"),
        byte => Shown::Byte(byte),
    }
}

/// Name and port. `None`: answered 400. The cases have no host more exotic than these.
fn normal_host(raw: &str) -> Option<(String, Option<u16>)> {
    let shape = pattern(r"^(?<name>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]*)(:(?<port>[0-9]*))?$");
    let parts = shape.captures(raw)?;
    let port = parts.name("port").map(|port| port.as_str()).filter(|port| !port.is_empty());
    let port = port.map(|port| port.parse::<u16>()).transpose().ok()?;
    let name = match parts["name"].strip_prefix('[') {
        Some(inside) => {
            let address: std::net::Ipv6Addr = inside.trim_end_matches(']').parse().ok()?;
            format!("[{address}]")
        }
        None => parts["name"].to_lowercase(),
    };
    let name = name.strip_suffix('.').unwrap_or(&name).to_string();
    (!name.is_empty() || port.is_none()).then_some((name, port))
}

//! What of a request is believed: the client's address, the scheme, and a version decided before.
//!
//! Runs once before anything else looks at the headers, for the proxy and for explanations alike, so that both see the
//! same request. Owns the removal of what an untrusted peer must not say.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::fields::{Fields, text};
use super::list::NetworkSet;
use super::overrides::Overrides;
use super::places::Places;
use super::request::cookies;
use super::rewrite::Edit;
use crate::vocab::{Attribute, Name, read_address};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// Says that a request is the copy of another one.
pub static MIRROR_HEADER: HeaderName = HeaderName::from_static("x-graygate-mirror");
/// The member of W3C baggage that carries the version.
const BAGGAGE_MEMBER: &str = "gray.version";

/// What applications would believe of a request's way, beside `X-Forwarded-*`.
const OF_THE_WAY: [&[u8]; 4] = [b"forwarded", b"x-real-ip", b"x-original-url", b"x-rewrite-url"];
const FORWARDED: &[u8] = b"x-forwarded-";
/// Of these the proxy says itself what is true.
const SET_ANYWAY: [&[u8]; 3] = [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"];

/// Who is believed what.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Peers that may set `X-Forwarded-*`.
    pub forwarded: NetworkSet,
    /// Peers that may set the version header, its baggage member and pins.
    pub version: NetworkSet,
    pub version_header: HeaderName,
    /// Whether the version also travels in baggage.
    pub baggage: bool,
    /// Who signs testers' words.
    pub overrides: Overrides,
    /// Where clients' addresses are.
    pub places: Option<Arc<Places>>,
}

/// What is believed of one request.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The client's address, canonical.
    pub client: IpAddr,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'static str,
    /// Whether the peer may set `X-Forwarded-*`.
    pub forwarded_trusted: bool,
    /// Whether the peer may set versions and pins.
    pub version_trusted: bool,
    /// Whether a trusted peer says that this is the copy of another request.
    pub mirrored: bool,
    /// The version a trusted peer decided before: always a [`Name`].
    pub inherited: Option<HeaderValue>,
    /// What has to be done to the headers before anything looks at them; nearly always nothing.
    pub edits: Vec<Edit>,
}

impl Admitted {
    pub fn inherited(&self) -> Option<&str> {
        self.inherited.as_ref().and_then(|value| value.to_str().ok())
    }
}

/// Who sent a request, as far as the connection says.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Believed whatever the settings say: for explanations.
    pub trusted: bool,
}

impl Trust {
    /// Reads what a trusted peer says, and lists what of an untrusted one's words has to be removed.
    pub(super) fn believe(&self, peer: Peer, fields: Fields<'_>) -> Admitted {
        let address = peer.address.to_canonical();
        let forwarded_trusted = peer.trusted || self.forwarded.contains(address);
        let version_trusted = peer.trusted || self.version.contains(address);
        let (client, scheme) = match forwarded_trusted {
            true => (self.client(address, fields), forwarded_scheme(fields).unwrap_or(peer.scheme)),
            false => (address, peer.scheme),
        };
        let mut edits = self.lies(fields, forwarded_trusted, version_trusted);
        // The word is for this proxy; an upstream would only write it into a log.
        if self.overrides.is_carried(fields) {
            edits.extend(remove_attribute(&Overrides::attribute(), fields));
        }
        let inherited = match version_trusted {
            true => self.inherit(fields, &mut edits),
            false => {
                if fields.contains(&self.version_header) {
                    edits.push(Edit::Remove(self.version_header.clone()));
                }
                if fields.contains(&BAGGAGE) {
                    edits.extend(set_baggage(fields, None));
                }
                None
            }
        };
        let mirrored = version_trusted && fields.contains(&MIRROR_HEADER);
        Admitted { client, scheme, forwarded_trusted, version_trusted, mirrored, inherited, edits }
    }

    /// Takes away every field that misleads.
    fn lies(&self, fields: Fields<'_>, forwarded_trusted: bool, version_trusted: bool) -> Vec<Edit> {
        let has_one = has_one_spelling(self.version_header.as_str().as_bytes());
        // Nearly every name is none that says anything of a request's way.
        let may_mislead = |name: &[u8]| {
            !has_one || matches!(name, [b'x' | b'X' | b'f' | b'F', ..]) || !has_one_spelling(name)
        };
        let mut edits = Vec::new();
        fields.names().filter(|name| may_mislead(name)).for_each(|name| {
            let is_lie = self.misleads(name, forwarded_trusted, version_trusted);
            if let Some(Ok(name)) = is_lie.then(|| HeaderName::from_bytes(name)) {
                edits.push(Edit::Remove(name));
            }
        });
        edits
    }

    /// Whether an application behind would believe what an untrusted peer says in the header of this name, in any case.
    /// Many read `_` as `-`: what is another spelling to us is the same header to them.
    fn misleads(&self, name: &[u8], forwarded_trusted: bool, version_trusted: bool) -> bool {
        let version = self.version_header.as_str().as_bytes();
        if name.eq_ignore_ascii_case(MIRROR_HEADER.as_str().as_bytes()) {
            return !version_trusted;
        }
        if has_one_spelling(name) && has_one_spelling(version) {
            return !forwarded_trusted && is_of_the_way(name) && !is_one_of(&SET_ANYWAY, name);
        }
        let read_as = |name: &[u8]| -> Vec<u8> {
            name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect()
        };
        let read = read_as(name);
        let is_respelled = !has_one_spelling(name);
        let says_way = is_of_the_way(&read) && (is_respelled || !is_one_of(&SET_ANYWAY, name));
        let says_version = !name.eq_ignore_ascii_case(version) && read == read_as(version);
        (!forwarded_trusted && says_way) || (!version_trusted && says_version)
    }

    /// The right-most address that is not a trusted proxy. What is no address ends the walk.
    fn client(&self, peer: IpAddr, fields: Fields<'_>) -> IpAddr {
        let mut client = peer;
        let lines: Vec<&[u8]> = fields.values(&FORWARDED_FOR).collect();
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b',')) {
            let Some(address) = std::str::from_utf8(hop).ok().and_then(read_address) else { break };
            client = address;
            if !self.forwarded.contains(address) {
                break;
            }
        }
        client
    }

    fn inherit(&self, fields: Fields<'_>, edits: &mut Vec<Edit>) -> Option<HeaderValue> {
        let mut written = fields.values(&self.version_header);
        let first = written.next();
        let is_name = |value: &&[u8]| text(value).is_some_and(Name::is_name);
        match first.filter(is_name).and_then(|value| HeaderValue::from_bytes(value).ok()) {
            Some(version) => {
                if written.next().is_some() {
                    edits.push(Edit::Set(self.version_header.clone(), version.clone()));
                }
                Some(version)
            }
            None => {
                edits.extend(first.map(|_| Edit::Remove(self.version_header.clone())));
                let member = self.baggage.then(|| baggage_version(fields)).flatten()?;
                HeaderValue::from_str(&member).ok()
            }
        }
    }
}

fn forwarded_scheme(fields: Fields<'_>) -> Option<&'static str> {
    let line = text(fields.first(&FORWARDED_PROTO)?)?;
    let first = line.split(',').next()?.trim();
    ["http", "https"].into_iter().find(|scheme| first.eq_ignore_ascii_case(scheme))
}

/// The members of all baggage headers that are ones by W3C's grammar: what is none, others may read in other ways.
fn baggage_members<'r>(fields: Fields<'r>) -> impl Iterator<Item = &'r str> {
    written_members(fields).filter(|member| is_member(member))
}

/// Whatever stands between commas; what no text is, is no member either.
fn written_members<'r>(fields: Fields<'r>) -> impl Iterator<Item = &'r str> {
    let lines = fields.values(&BAGGAGE).map(|line| text(line).unwrap_or("\0"));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// `key = value *( ; property )`, each property a key that may have a value.
fn is_member(member: &str) -> bool {
    let is_key = |key: &str| {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !key.is_empty() && key.bytes().all(is_token)
    };
    let is_value = |value: &str| value.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b));
    let is_pair = |(key, value): (&str, &str)| is_key(key.trim()) && is_value(value.trim());
    let mut parts = member.split(';');
    parts.next().and_then(|pair| pair.split_once('=')).is_some_and(is_pair)
        && parts.all(|property| property.split_once('=').map_or_else(|| is_key(property.trim()), is_pair))
}

fn is_version_member(member: &str) -> bool {
    member.split('=').next().is_some_and(|key| key.trim() == BAGGAGE_MEMBER)
}

fn baggage_version(fields: Fields<'_>) -> Option<String> {
    let member = baggage_members(fields).find(|member| is_version_member(member))?;
    let value = member.split_once('=')?.1.split(';').next()?.trim();
    let value = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
    Name::is_name(&value).then(|| value.into_owned())
}

/// The edit that makes `version` the only version member of the baggage; `None` removes it. Other members stay.
pub fn set_baggage(fields: Fields<'_>, version: Option<&str>) -> Option<Edit> {
    let own = version.map(|version| [BAGGAGE_MEMBER, "=", version].concat());
    let stays = |member: &str| is_member(member) && !is_version_member(member);
    if own.is_none() && written_members(fields).all(stays) {
        return None;
    }
    let kept = baggage_members(fields).filter(|member| !is_version_member(member));
    let line = kept.chain(own.as_deref()).collect::<Vec<_>>().join(",");
    Some(set_or_remove(BAGGAGE.clone(), line.as_bytes()))
}

/// Whether a name, in any case, is that of a field that says something of a request's way.
fn is_of_the_way(name: &[u8]) -> bool {
    name.get(..FORWARDED.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORWARDED))
        || is_one_of(&OF_THE_WAY, name)
}

fn is_one_of(names: &[&[u8]], name: &[u8]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

/// Whether a name has nothing in it that many read in two ways.
fn has_one_spelling(name: &[u8]) -> bool {
    !name.contains(&b'_')
}

fn set_or_remove(name: HeaderName, value: &[u8]) -> Edit {
    match HeaderValue::from_bytes(value) {
        Ok(value) if !value.is_empty() => Edit::Set(name, value),
        _ => Edit::Remove(name),
    }
}

/// The edit that removes an attribute a request must not have: a pin from an untrusted client.
pub fn remove_attribute(attribute: &Attribute, fields: Fields<'_>) -> Option<Edit> {
    match attribute {
        Attribute::Header(name) => fields.contains(name).then(|| Edit::Remove(name.clone())),
        Attribute::Cookie(name) if cookies(fields).any(|(found, _)| found == name.as_bytes()) => {
            let kept: Vec<Vec<u8>> = cookies(fields)
                .filter(|(found, _)| *found != name.as_bytes())
                .map(|(found, value)| [found, b"=", value].concat())
                .collect();
            Some(set_or_remove(header::COOKIE, &kept.join(&b"; "[..])))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::apply;
    use crate::decide::without_parameter;
    use crate::vocab::canonical_net;
    use http::HeaderMap;

    fn trust(baggage: bool) -> Trust {
        let nets = |text: &str| text.split(' ').filter_map(canonical_net).collect();
        Trust {
            forwarded: nets("10.0.0.0/8 2001:db8::/32"),
            version: nets("10.0.0.0/8"),
            version_header: HeaderName::from_static("x-gray-version"),
            baggage,
            overrides: Overrides::default(),
            places: None,
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn peer(address: &str) -> Peer {
        Peer { address: address.parse().unwrap(), scheme: "http", trusted: false }
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_address() {
        for (from, forwarded, expected) in [
            ("203.0.113.7", vec!["1.2.3.4"], "203.0.113.7"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", vec!["9.9.9.9, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", vec!["9.9.9.9", "1.2.3.4:5555, 10.0.0.2:80"], "1.2.3.4"),
            ("10.0.0.1", vec!["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", vec!["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["1.2.3.4, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["[2001:db8::7]:80"], "2001:db8::7"),
            ("::ffff:10.0.0.1", vec!["::ffff:1.2.3.4"], "1.2.3.4"),
            ("2001:db8::1", vec!["1.2.3.4"], "1.2.3.4"),
        ] {
            let lines: Vec<_> = forwarded.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let admitted = trust(false).believe(peer(from), (&headers(&lines)).into());
            assert_eq!(admitted.client.to_string(), expected, "{from} {forwarded:?}");
        }
    }

    #[test]
    fn a_version_is_inherited_from_the_trusted_only() {
        for (from, baggage, lines, expected, seen) in [
            ("10.0.0.1", false, vec![("x-gray-version", "gray")], Some("gray"), Some("gray")),
            ("1.1.1.1", false, vec![("x-gray-version", "gray")], None, None),
            ("10.0.0.1", false, vec![("x-gray-version", "")], None, None),
            ("10.0.0.1", false, vec![("x-gray-version", "a b")], None, None),
            ("10.0.0.1", false, vec![("x-gray-version", "a"), ("x-gray-version", "b")], Some("a"), Some("a")),
            ("10.0.0.1", false, vec![("x-gray-version", ""), ("x-gray-version", "b")], None, None),
            ("10.0.0.1", false, vec![("baggage", "gray.version=a")], None, None),
            ("10.0.0.1", true, vec![("baggage", "k=v, gray.version = a;p=1")], Some("a"), None),
            (
                "10.0.0.1",
                true,
                vec![("baggage", "gray.version=a"), ("x-gray-version", "b")],
                Some("b"),
                Some("b"),
            ),
            ("10.0.0.1", true, vec![("baggage", "gray.version=a"), ("x-gray-version", "")], Some("a"), None),
            ("1.1.1.1", true, vec![("baggage", "gray.version=a")], None, None),
        ] {
            let mut headers = headers(&lines);
            let admitted = trust(baggage).believe(peer(from), (&headers).into());
            apply(&admitted.edits, &mut headers);
            assert_eq!(admitted.inherited(), expected, "{from} {lines:?}");
            let left: Vec<_> = headers.get_all("x-gray-version").iter().collect();
            assert_eq!(left, seen.into_iter().collect::<Vec<_>>(), "{from} {lines:?}");
        }
    }

    #[test]
    fn baggage_keeps_its_other_members() {
        let show = |headers: &HeaderMap| {
            headers.get_all("baggage").iter().map(|v| v.to_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        for (lines, version, expected) in [
            (vec!["a=1, gray.version=x;p , b=2"], None, vec!["a=1,b=2"]),
            (vec!["gray.version=x"], None, vec![]),
            (vec!["a=1", "gray.version=x"], Some("y"), vec!["a=1,gray.version=y"]),
            (vec![], Some("y"), vec!["gray.version=y"]),
            (vec!["a=1"], None, vec!["a=1"]),
            (vec!["xgray.version=1"], None, vec!["xgray.version=1"]),
            (vec!["=;,;gray.version=forged"], None, vec![]),
            (vec!["a=1,;gray.version=x", "b"], None, vec!["a=1"]),
            (vec!["a=1,\"gray.version=x\""], Some("y"), vec!["a=1,gray.version=y"]),
            (vec!["a=1;p;q=2, b = %20 ,,"], None, vec!["a=1;p;q=2, b = %20 ,,"]),
            (vec!["a=1;p q"], None, vec![]),
            (vec!["a b=1,c=\\"], None, vec![]),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|line| ("baggage", line)).collect();
            let mut headers = headers(&lines);
            apply(set_baggage((&headers).into(), version).as_slice(), &mut headers);
            assert_eq!(show(&headers), expected);
        }
    }

    #[test]
    fn an_untrusted_client_says_nothing_of_the_way() {
        let way = [
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-server", "evil"),
            ("x-forwarded-whatever", "x"),
            ("x-real-ip", "1.2.3.4"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x_forwarded-proto", "https"),
            ("x_real_ip", "1.2.3.4"),
        ];
        let version = [("x_gray_version", "forged"), ("x-gray_version", "forged")];
        let other =
            [("x-forwarded-for", "9.9.9.9"), ("x-forwarding", "a"), ("user_id", "7"), ("x-real-ip2", "b")];
        let all: Vec<(&str, &str)> = way.iter().chain(&version).chain(&other).copied().collect();
        for (from, versions, kept) in [
            ("1.1.1.1", "10.0.0.0/8", other.len()),
            ("2001:db8::1", "10.0.0.0/8", way.len() + other.len()),
            ("1.1.1.1", "0.0.0.0/0", version.len() + other.len()),
            ("10.0.0.1", "10.0.0.0/8", all.len()),
        ] {
            let mut headers = headers(&all);
            let trust = Trust { version: canonical_net(versions).into_iter().collect(), ..trust(false) };
            apply(&trust.believe(peer(from), (&headers).into()).edits, &mut headers);
            assert_eq!(headers.len(), kept, "{from} {versions}: {headers:?}");
            assert!(other.iter().all(|(name, value)| headers[*name] == *value));
        }
        // A version header with an underscore has another spelling too.
        let underscored =
            Trust { version_header: HeaderName::from_static("application_version"), ..trust(false) };
        let mut headers = headers(&[("application-version", "forged"), ("application_versions", "x")]);
        apply(&underscored.believe(peer("1.1.1.1"), (&headers).into()).edits, &mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["application_versions"]);
    }

    #[test]
    fn the_scheme_follows_a_trusted_proxy() {
        for (from, proto, expected) in [
            ("10.0.0.1", "https", "https"),
            ("10.0.0.1", "HTTPS, http", "https"),
            ("10.0.0.1", "ftp", "http"),
            ("1.1.1.1", "https", "http"),
        ] {
            let admitted =
                trust(false).believe(peer(from), (&headers(&[("x-forwarded-proto", proto)])).into());
            assert_eq!(admitted.scheme, expected, "{from} {proto}");
        }
    }

    #[test]
    fn pins_are_removed_where_they_stand() {
        let mut with_cookies = headers(&[("cookie", "a=1; dev=li; b=2"), ("x-dev", "li")]);
        let mut remove = |attribute: &str| {
            let edit = remove_attribute(&Attribute::parse(attribute).unwrap(), (&with_cookies).into());
            apply(edit.as_slice(), &mut with_cookies);
        };
        remove("cookie:dev");
        remove("header:X-Dev");
        assert_eq!(with_cookies.get("cookie").unwrap(), "a=1; b=2");
        assert!(!with_cookies.contains_key("x-dev"));
        assert_eq!(without_parameter("a=1&d%65v=x&b", "dev").as_deref(), Some("a=1&b"));
        assert_eq!(without_parameter("a=1", "dev"), None);
    }
}

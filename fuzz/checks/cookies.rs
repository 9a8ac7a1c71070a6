//! Any bytes as cookies, baggage and a query, and any name: what is removed is gone, and everything else stays.
//! A zero byte ends the name, two lines of cookies, the baggage, and the query.

use graygate_rules::decide::{
    Arrival, Buffers, Overrides, Peer, Trust, apply, cookies, decode_parameter, parameters, remove_attribute,
    set_baggage, without_parameter,
};
use graygate_rules::vocab::Attribute;
use http::{HeaderMap, HeaderName, HeaderValue};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn owned<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Pairs {
    pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    decode_parameter(text, &mut out);
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    assert_eq!(out, percent_encoding::percent_decode(&spaced).collect::<Vec<u8>>());
    out
}

fn check_cookies(name: &str, headers: &mut HeaderMap) {
    let Some(attribute) = Attribute::parse(&format!("cookie:{name}")) else { return };
    let before = owned(cookies((&*headers).into()));
    let kept: Pairs = before.iter().filter(|(found, _)| found != name.as_bytes()).cloned().collect();
    let edit = remove_attribute(&attribute, (&*headers).into());
    assert_eq!(edit.is_some(), kept.len() < before.len());
    apply(edit.as_slice(), headers);
    assert_eq!(owned(cookies((&*headers).into())), kept);
}

fn check_query(name: &str, query: &str) {
    let pairs = |query: &str| -> Pairs {
        let decoded = |(name, value): (&[u8], &[u8])| (decoded(name), decoded(value));
        parameters(Some(query.as_bytes())).map(decoded).collect()
    };
    let before = pairs(query);
    if Attribute::parse(&format!("query:{name}")).is_none() {
        return;
    }
    let kept: Pairs = before.iter().filter(|(found, _)| found != name.as_bytes()).cloned().collect();
    match without_parameter(query, name) {
        None => assert_eq!(kept.len(), before.len()),
        Some(rest) => assert_eq!((pairs(&rest), kept.len() < before.len()), (kept, true)),
    }
}

fn check_baggage(headers: &mut HeaderMap) {
    let trust = Trust {
        forwarded: Default::default(),
        version: Default::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: true,
        overrides: Overrides::default(),
        places: None,
    };
    let peer = Peer { address: [10, 0, 0, 1].into(), scheme: "https", trusted: true };
    let inherited = |headers: &HeaderMap| {
        let arrival = Arrival {
            method: "GET",
            authority: None,
            path: b"/",
            query: None,
            fields: headers.into(),
            peer,
            version: http::Version::HTTP_10,
            now: 0,
            fresh_identity: None,
        };
        let mut buffers = Buffers::default();
        let request = arrival.admit(&trust, &mut buffers).request;
        request.unwrap().inherited.map(String::from)
    };
    let _ = inherited(headers);
    for version in [Some("gray"), None] {
        apply(set_baggage((&*headers).into(), version).as_slice(), headers);
        assert_eq!(inherited(headers).as_deref(), version);
    }
}

pub fn check(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let Some(name) = parts.next().and_then(|part| str::from_utf8(part).ok()) else { return };
    let mut headers = HeaderMap::new();
    for header in ["cookie", "cookie", "baggage"] {
        if let Some(value) = parts.next().and_then(|part| HeaderValue::from_bytes(part).ok()) {
            headers.append(header, value);
        }
    }
    check_cookies(name, &mut headers);
    check_baggage(&mut headers);
    if let Some(query) = parts.next().and_then(|part| str::from_utf8(part).ok()) {
        check_query(name, query);
    }
}

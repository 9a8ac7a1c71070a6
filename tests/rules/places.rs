//! Places of addresses: the database as its format says, every field, and what is no database.

use std::net::IpAddr;
use std::sync::Arc;

use graygate_rules::compile::{Memory, compile};
use graygate_rules::decide::{
    Arrival, Buffers, Decision, NetworkSet, Overrides, Peer, Places, Scratch, Trust,
};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::oracle::mmdb::{ROWS, database};
use crate::oracle::program::no_file;

/// The version that a client gets for which `condition` says gray.
fn version(places: Option<&Arc<Places>>, condition: &str, client: &str) -> String {
    let id = |text: &str| DocumentId::parse(text).unwrap();
    let rule = format!("when: {condition}\nversion: gray");
    let documents = [("routes/r", "service: s"), ("services/s", "{}"), ("rules/a", rule.as_str())];
    let documents = documents.map(|(name, text)| (id(name), Arc::new(Raw::yaml(text)))).into_iter().collect();
    let set = DocumentSet { documents, ..DocumentSet::default() };
    let compiled = compile(&set, &Memory::default(), &no_file);
    assert_eq!(compiled.problems, [], "{condition}");
    let proxy: IpAddr = "192.0.2.1".parse().unwrap();
    let trust = Trust {
        forwarded: [ipnet::IpNet::from(proxy)].into_iter().collect(),
        version: NetworkSet::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: false,
        overrides: Overrides::default(),
        places: places.cloned(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("a.test"));
    headers.insert("x-forwarded-for", HeaderValue::from_str(client).unwrap());
    let arrival = Arrival {
        method: "GET",
        authority: None,
        path: b"/",
        query: None,
        fields: (&headers).into(),
        peer: Peer { address: proxy, scheme: "http", trusted: false },
        version: Version::HTTP_11,
        now: 0,
        fresh_identity: None,
    };
    let mut buffers = Buffers::default();
    let request = arrival.admit(&trust, &mut buffers).request.unwrap();
    match compiled.snapshot.decide(&request, &mut Scratch::default()) {
        Decision::Version(_, choice) => {
            let plan = compiled.snapshot.service(choice.service).unwrap();
            plan.version(choice.version.unwrap()).unwrap().word.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_of_the_client_s_address_is_an_attribute() {
    let places = Arc::new(Places::read(database(&ROWS)).unwrap());
    assert_eq!((places.kind(), places.built()), ("Graygate-Test", 1_764_000_000));
    for (client, field, value) in [
        ("10.2.3.4", "country", Some("CN")),
        ("10.2.3.4", "region", Some("ZJ")),
        ("10.2.3.4", "city", Some("Hangzhou")),
        ("10.2.3.4", "asn", None),
        ("10.1.3.4", "region", None),
        ("10.1.3.4", "city", Some("用户")),
        ("10.1.3.4", "asn", Some("64512")),
        ("::ffff:10.1.3.4", "asn", Some("64512")),
        ("2001:db8:1::2", "country", Some("SE")),
        ("2001:db8:1::2", "city", None),
        ("2001:db9::1", "country", None),
        ("11.0.0.1", "country", None),
    ] {
        let exists = format!("{{attribute: 'geo:{field}', exists: true}}");
        let found = version(Some(&places), &exists, client);
        assert_eq!(found, if value.is_some() { "gray" } else { "release" }, "{client} {field}");
        assert_eq!(version(None, &exists, client), "release", "without a database it is absent");
        if let Some(value) = value {
            let equals = format!("{{attribute: 'geo:{field}', equals: '{value}'}}");
            assert_eq!(version(Some(&places), &equals, client), "gray", "{client} {field}");
        }
    }
    let at_least = "{attribute: 'geo:asn', at_least: 64514}";
    assert_eq!(version(Some(&places), at_least, "2001:db8::1"), "gray");
    assert_eq!(version(Some(&places), at_least, "10.1.0.1"), "release");
}

#[test]
fn what_is_broken_is_no_database() {
    let good = database(&ROWS);
    assert!(Places::read(good.clone()).is_ok());
    let cut = good[..good.len() - 40].to_vec();
    let mut torn = good.clone();
    torn[0..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    for (bytes, what) in
        [(Vec::new(), "empty"), (b"no database".to_vec(), "text"), (cut, "cut"), (torn, "torn")]
    {
        assert!(Places::read(bytes).is_err(), "{what}");
    }
}

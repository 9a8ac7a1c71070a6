//! Budgets and shares, without a network.

use std::sync::Arc;

use super::shadow::{Mirrors, Origin, Shadow, ShadowPool};
use super::{Copying, Told};
use crate::metrics::Metrics;
use crate::pools::{PeerTemplate, Registry};
use graygate_rules::spec::{Balance, ServiceSpec, Transport, VersionSpec};
use graygate_rules::vocab::{ByteSize, DocumentId, Mirror, Name, Share, Timeouts};
use http::HeaderValue;
use pingora::http::RequestHeader;

fn shadow(mirrors: &Mirrors, metrics: &Metrics, share: &str, max: u32) -> Arc<Shadow> {
    let name = |text| Name::parse(text).unwrap();
    let spec = ServiceSpec {
        name: name("shadow"),
        versions: vec![VersionSpec { word: name("release"), label: name("release"), chain: vec![0] }],
        instances: Vec::new(),
        balance: Balance::RoundRobin,
        health: None,
        outlier: None,
        max_connections: None,
        closed: Vec::new(),
        pin_tag: None,
    };
    let pools = Registry::new(1).build(&[spec]).pop().unwrap();
    let peers = Arc::new(PeerTemplate::new(&Transport::default()));
    let pool = ShadowPool { pools, peers, version: Some(0), timeouts: Timeouts::default() };
    let told = Told { word: HeaderValue::from_static("release"), headers: Box::default() };
    let origin = Origin { document: DocumentId::parse("routes/r").unwrap(), service: name("s") };
    let mirror = Mirror {
        service: name("shadow"),
        version: Name::release(),
        share: Share::parse(share).unwrap(),
        body: ByteSize(4),
        max,
    };
    Arc::new(mirrors.shadow(origin, &mirror, (pool, told), metrics))
}

fn head() -> RequestHeader {
    RequestHeader::build("GET", b"/", None).unwrap()
}

fn counted(metrics: &Metrics, outcome: &str) -> bool {
    let line = format!("to=\"shadow\",outcome=\"{outcome}\"}} 1");
    metrics
        .render()
        .lines()
        .any(|found| found.starts_with("graygate_mirrored_total") && found.ends_with(&line))
}

#[test]
fn a_share_is_of_all_rolls() {
    let (mirrors, metrics) = (Mirrors::default(), Metrics::default());
    for (share, expected) in [("0", 0), ("0.01", 1), ("10", 1000), ("100", 10_000)] {
        let shadow = shadow(&mirrors, &metrics, share, 1);
        assert_eq!((0..10_000).filter(|roll| shadow.wants(*roll)).count(), expected, "{share}");
    }
}

#[test]
fn a_budget_outlives_generations_and_every_place_comes_back() {
    let (mirrors, metrics) = (Mirrors::default(), Metrics::default());
    let before = shadow(&mirrors, &metrics, "100", 2);
    let mut copies: Vec<Copying> = (0..2).map(|_| Copying::of(before.clone())).collect();
    copies.iter_mut().for_each(|copy| copy.begin(head(), 0));
    let after = shadow(&mirrors, &metrics, "100", 2);
    mirrors.sweep();
    assert_eq!(after.under_way(), 2);
    let mut third = Copying::of(after.clone());
    third.begin(head(), 0);
    assert!(counted(&metrics, "over_budget"));
    copies.clear();
    assert_eq!(after.under_way(), 0, "what never became whole is given back");
}

#[test]
fn long_bodies_are_not_copied_whether_they_say_so_or_not() {
    for (declared, sent) in [(5, ""), (0, "12345")] {
        let (mirrors, metrics) = (Mirrors::default(), Metrics::default());
        let shadow = shadow(&mirrors, &metrics, "100", 2);
        let mut copy = Copying::of(shadow.clone());
        copy.begin(head(), declared);
        copy.pass(sent.as_bytes(), false);
        assert!(counted(&metrics, "too_large"));
        assert_eq!(shadow.under_way(), 0);
        copy.pass(b"", true);
        copy.answered(200);
    }
}

#[test]
fn a_body_that_is_sent_again_is_taken_once() {
    let (mirrors, metrics) = (Mirrors::default(), Metrics::default());
    let mut copy = Copying::of(shadow(&mirrors, &metrics, "100", 2));
    copy.begin(head(), 4);
    copy.pass(b"1234", false);
    copy.begin_again();
    copy.pass(b"1234", true);
    // It was not too long; and there is no instance.
    assert!(counted(&metrics, "no_instance"));
}

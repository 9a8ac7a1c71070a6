//! Any bytes as a list's parts, and as the parts after a change: members are members, and nothing else is.
//! A zero byte ends a part; an empty part ends the parts before the change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use graygate_rules::decide::{NetworkSet, ValueSet};
use graygate_rules::documents::{Body, ListPart};
use graygate_rules::vocab::{canonical_net, read_address};

fn values(parts: &[ListPart]) -> Vec<Vec<&[u8]>> {
    parts.iter().map(|part| part.values().map(|(_, value)| value.as_bytes()).collect()).collect()
}

fn check_values(set: &ValueSet, parts: &[ListPart], others: &[ListPart]) {
    let members: BTreeSet<&[u8]> = values(parts).concat().into_iter().collect();
    assert_eq!(set.len(), members.len());
    assert_eq!(set.is_empty(), members.is_empty());
    assert!(members.iter().all(|member| set.contains(member)));
    assert!(values(others).concat().iter().all(|other| set.contains(other) == members.contains(other)));
}

fn check_networks(parts: &[ListPart]) {
    let texts: Vec<&str> = parts.iter().flat_map(|part| part.values().map(|(_, value)| value)).collect();
    let nets: Vec<_> = texts.iter().filter_map(|text| canonical_net(text)).collect();
    let set: NetworkSet = nets.iter().copied().collect();
    let edges = nets.iter().flat_map(|net| match (net.network(), net.broadcast()) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            [low.to_bits().wrapping_sub(1), high.to_bits().wrapping_add(1)]
                .map(|bits| IpAddr::V4(bits.into()))
                .to_vec()
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            [low.to_bits().wrapping_sub(1), high.to_bits().wrapping_add(1)]
                .map(|bits| IpAddr::V6(bits.into()))
                .to_vec()
        }
        _ => Vec::new(),
    });
    let inside = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
    for address in texts.iter().filter_map(|text| read_address(text)).chain(inside).chain(edges) {
        let address = address.to_canonical();
        assert_eq!(
            set.contains(address),
            nets.iter().any(|net| net.contains(&address)),
            "{address} in {nets:?}"
        );
    }
}

pub fn check(data: &[u8]) {
    let bodies: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let border = bodies.iter().position(|body| body.is_empty()).unwrap_or(bodies.len());
    let parts = |bodies: &[&[u8]]| -> Vec<ListPart> {
        bodies.iter().filter_map(|body| ListPart::read(&Body::from(*body))).collect()
    };
    let (before, after) = (parts(&bodies[..border]), parts(&bodies[border..]));
    let old = ValueSet::of_parts(values(&before));
    check_values(&old, &before, &after);
    let hashed = |parts: &[ListPart]| -> Vec<_> {
        values(parts).into_iter().map(|part| old.hash_part(part)).collect()
    };
    if let Some(new) = old.edited(hashed(&before), hashed(&after)) {
        check_values(&new, &after, &before);
    }
    check_networks(&before);
}

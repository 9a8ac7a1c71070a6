//! The stage that checks message lanes: what they refer to, and that no message can belong to two documents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::findings::Findings;
use super::parse;
use super::services::Services;
use crate::documents::{Document, Kind, MessageLanes};
use crate::spec::MessageGroup;
use crate::vocab::Label;

/// The groups in force.
pub fn groups(parsed: &parse::Memory, services: &Services<'_>, findings: &mut Findings) -> Vec<MessageGroup> {
    let (mut topics, mut groups) = (BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for (id, document) in parsed.in_force(Kind::Messages) {
        let Document::Messages(lanes) = &*document.document else { continue };
        let mut findings = findings.of(id);
        if !groups.insert(&lanes.group) {
            let message = format!("the group `{}` has lanes in another document", lanes.group);
            findings.add("group", message, "the document does nothing until then");
            continue;
        }
        // A message carries one mark, which says one group's lane.
        if let Some(twice) = lanes.topics.iter().find(|topic| topics.contains(topic)) {
            let message = format!("the topic `{twice}` has lanes in another document");
            findings.add("topics", message, "the document does nothing until then");
            continue;
        }
        topics.extend(&lanes.topics);
        if !services.has(&lanes.service) {
            let message = format!("the service `{}` does not exist", lanes.service);
            findings.add("service", message, "clients are known by their listener alone until then");
        }
        found.push(group(lanes, services));
    }
    found
}

fn group(lanes: &MessageLanes, services: &Services<'_>) -> MessageGroup {
    let mut versions: BTreeMap<IpAddr, BTreeSet<Label>> = BTreeMap::new();
    for instance in services.get(&lanes.service).into_iter().flat_map(|parts| &parts.instances) {
        let address = instance.address.ip().to_canonical();
        versions.entry(address).or_default().insert(instance.version.as_str().into());
    }
    // Of several versions at one address none is known by it.
    let addresses = versions.into_iter().filter_map(|(address, versions)| {
        let mut versions = versions.into_iter();
        versions.next().filter(|_| versions.next().is_none()).map(|version| (address, version))
    });
    MessageGroup {
        group: lanes.group.clone(),
        topics: lanes.topics.clone(),
        lanes: lanes.lanes.iter().map(|lane| lane.as_str().into()).collect(),
        takeover: lanes.takeover,
        addresses: addresses.collect(),
    }
}

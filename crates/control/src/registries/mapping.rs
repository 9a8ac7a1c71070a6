//! What a registry's entries mean: from an answer to the instances it shows, as documents say them.
//!
//! Answers: which address, version, weight and tags has an entry, and does it take new requests? Owns: the order in
//! which marks of a version are looked at, and when a registry's word about health is heard. An entry that cannot be
//! understood is a problem of its own. Never: IO; names of hosts come in resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use graygate_rules::documents::{Discover, Weighing};
use graygate_rules::vocab::{Label, Name};

use super::belief::Shown;
use super::entry::{Answer, Entry, EntryState};

/// Longest tag in bytes. What is longer is no zone and no developer.
const TAG_BYTES: usize = 1_024;
/// The mark of gray instances that have no version.
const GRAY: &str = "gray";
/// Heaviest instance that documents know.
const WEIGHT_LIMIT: u32 = 1_000_000;

/// An instance as its document will say it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub version: Name,
    pub weight: u32,
    pub tags: BTreeMap<Label, Label>,
    pub draining: bool,
}

/// Something about an entry that cannot be understood.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryProblem {
    /// What the registry calls the entry, or its address.
    pub entry: String,
    pub message: String,
}

/// The addresses of hosts that are called by name.
pub type Hosts = BTreeMap<String, IpAddr>;

/// What an answer shows, and what of it cannot be understood.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mapped {
    pub shown: Shown<Found>,
    pub problems: Vec<EntryProblem>,
}

/// Reads an answer as a service's `discover` says.
pub fn map(answer: &Answer, discover: &Discover, hosts: &Hosts) -> Mapped {
    let mut mapped = Mapped::default();
    let mut unhealthy = BTreeSet::new();
    for one in &answer.unreadable {
        mapped.problem(&one.entry, one.why.clone());
    }
    for entry in &answer.entries {
        let name = format!("{}:{}", entry.host, entry.port);
        let Some(address) = address(entry, hosts) else {
            mapped.problem(&name, format!("the host `{}` has no address", entry.host));
            continue;
        };
        match found(entry, discover) {
            Ok((found, remark)) => {
                if let Some(remark) = remark {
                    mapped.problem(&name, remark);
                }
                if entry.state == EntryState::Unhealthy {
                    unhealthy.insert(address);
                }
                // The same address twice is one instance; the first counts.
                mapped.shown.instances.entry(address).or_insert(found);
            }
            Err(why) => {
                mapped.problem(&name, why);
                mapped.shown.unclear.insert(address);
            }
        }
    }
    drain_unhealthy(&mut mapped.shown.instances, &unhealthy);
    mapped.problems.sort();
    mapped
}

impl Mapped {
    fn problem(&mut self, entry: &str, message: String) {
        self.problems.push(EntryProblem { entry: entry.to_owned(), message });
    }
}

fn address(entry: &Entry, hosts: &Hosts) -> Option<SocketAddr> {
    let bare = entry.host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| hosts.get(&entry.host).copied());
    address.map(|address: IpAddr| SocketAddr::new(address.to_canonical(), entry.port))
}

fn found(entry: &Entry, discover: &Discover) -> Result<(Found, Option<String>), String> {
    let version = version(entry, &discover.version_from)?;
    let (weight, remark) = match discover.weight {
        Weighing::Equal => (1, None),
        Weighing::Registry => weight(entry),
    };
    let tag = |key: &Label| {
        let value = entry.metadata.get(&**key).filter(|value| value.len() <= TAG_BYTES)?;
        Some((key.clone(), Label::from(value.as_str())))
    };
    let found = Found {
        version,
        weight,
        tags: discover.tags.iter().filter_map(tag).collect(),
        draining: entry.state == EntryState::Offline,
    };
    Ok((found, remark))
}

/// The version: the metadata key that says it, else `gray: "true"`, else the release. A version that is no name is not
/// the release: its users would meet a program they were never meant to meet.
fn version(entry: &Entry, version_from: &str) -> Result<Name, String> {
    let marked = entry.metadata.get(version_from).map(|text| text.trim()).filter(|text| !text.is_empty());
    if let Some(text) = marked {
        return Name::parse(text)
            .ok_or_else(|| format!("`{text}` in `{version_from}` is not a version's name"));
    }
    let is_gray = entry.metadata.get(GRAY).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    Ok(if is_gray { Name::parse(GRAY).unwrap_or_else(Name::release) } else { Name::release() })
}

/// The registry's own weight, else that of the metadata, else 1. What cannot be read costs no instance.
fn weight(entry: &Entry) -> (u32, Option<String>) {
    match (entry.weight, entry.metadata.get("weight")) {
        (Some(weight), _) => (weight, None),
        (None, None) => (1, None),
        (None, Some(text)) => match text.trim().parse() {
            Ok(weight) if weight <= WEIGHT_LIMIT => (weight, None),
            _ => (1, Some(format!("`{text}` is not a weight from 0 to {WEIGHT_LIMIT}; it counts as 1"))),
        },
    }
}

/// Takes the unhealthy out, as long as at least half of their version is well: beyond that the registry is wrong about
/// more than single instances, and active checks know better.
fn drain_unhealthy(instances: &mut BTreeMap<SocketAddr, Found>, unhealthy: &BTreeSet<SocketAddr>) {
    let mut counts: BTreeMap<Name, (usize, usize)> = BTreeMap::new();
    for (address, found) in instances.iter().filter(|(_, found)| !found.draining) {
        let (all, ill) = counts.entry(found.version.clone()).or_default();
        *all += 1;
        *ill += usize::from(unhealthy.contains(address));
    }
    for address in unhealthy {
        if let Some(found) = instances.get_mut(address)
            && let Some((all, ill)) = counts.get(&found.version)
        {
            found.draining |= ill * 2 <= *all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registries::entry::Unreadable;

    fn discover(change: impl FnOnce(&mut Discover)) -> Discover {
        let mut discover = Discover {
            registry: Name::parse("r").unwrap(),
            name: "s".into(),
            version_from: "version".into(),
            weight: Weighing::Registry,
            tags: vec!["zone".into(), "developer".into()],
            port: None,
        };
        change(&mut discover);
        discover
    }

    fn entry(host: &str, metadata: &[(&str, &str)]) -> Entry {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Entry { host: host.to_owned(), port: 80, metadata, ..Entry::default() }
    }

    fn mapped(entries: Vec<Entry>, discover: &Discover) -> Mapped {
        map(&Answer { entries, unreadable: Vec::new() }, discover, &Hosts::new())
    }

    fn only(entry: Entry, discover: &Discover) -> Result<Found, String> {
        let mapped = mapped(vec![entry], discover);
        let found = mapped.shown.instances.into_values().next();
        found.ok_or_else(|| mapped.problems.into_iter().map(|one| one.message).collect())
    }

    #[test]
    fn marks_of_a_version() {
        for (metadata, from, expected) in [
            (&[("version", "v7.0.1")][..], "version", Some("v7.0.1")),
            (&[("version", "v2"), ("gray", "true")], "version", Some("v2")),
            (&[("gray", "true")], "version", Some("gray")),
            (&[("gray", "TRUE")], "version", Some("gray")),
            (&[("gray", "false")], "version", Some("release")),
            (&[("version", " ")], "version", Some("release")),
            (&[], "version", Some("release")),
            (&[("lane", "feat1"), ("version", "v2")], "lane", Some("feat1")),
            (&[("version", "v2")], "lane", Some("release")),
            (&[("version", "版本")], "version", None),
            (&[("version", "a b")], "version", None),
        ] {
            let found = only(entry("10.0.0.1", metadata), &discover(|d| d.version_from = from.into()));
            assert_eq!(
                found.ok().map(|one| one.version.to_string()).as_deref(),
                expected,
                "{metadata:?} {from}"
            );
        }
    }

    #[test]
    fn weights() {
        for (own, written, weighing, expected) in [
            (Some(40), None, Weighing::Registry, 40),
            (Some(0), None, Weighing::Registry, 0),
            (Some(40), Some("7"), Weighing::Registry, 40),
            (None, Some("7"), Weighing::Registry, 7),
            (None, Some("heavy"), Weighing::Registry, 1),
            (None, None, Weighing::Registry, 1),
            (Some(40), Some("7"), Weighing::Equal, 1),
        ] {
            let mut one = entry("10.0.0.1", &[]);
            one.weight = own;
            one.metadata.extend(written.map(|text| ("weight".to_owned(), text.to_owned())));
            let found = only(one, &discover(|d| d.weight = weighing)).unwrap();
            assert_eq!(found.weight, expected, "{own:?} {written:?} {weighing:?}");
        }
    }

    #[test]
    fn tags_are_the_keys_that_are_named() {
        let found =
            only(entry("10.0.0.1", &[("developer", "li"), ("secret", "x")]), &discover(|_| {})).unwrap();
        assert_eq!(found.tags, BTreeMap::from([("developer".into(), "li".into())]));
    }

    #[test]
    fn a_broken_entry_costs_its_neighbours_nothing() {
        let entries =
            vec![entry("10.0.0.1", &[]), entry("10.0.0.2", &[("version", "?")]), entry("nowhere", &[])];
        let unreadable = vec![Unreadable { entry: "i-4".into(), why: "there is no port".into() }];
        let mapped = map(&Answer { entries, unreadable }, &discover(|_| {}), &Hosts::new());
        let there: Vec<String> = mapped.shown.instances.keys().map(ToString::to_string).collect();
        assert_eq!(there, ["10.0.0.1:80"]);
        // Where it is known, what it said before stays in force.
        assert_eq!(mapped.shown.unclear, BTreeSet::from(["10.0.0.2:80".parse().unwrap()]));
        let problems: Vec<&str> = mapped.problems.iter().map(|one| one.entry.as_str()).collect();
        assert_eq!(problems, ["10.0.0.2:80", "i-4", "nowhere:80"]);
    }

    #[test]
    fn hosts_and_addresses() {
        let hosts = Hosts::from([("patient-1".to_owned(), "10.0.0.9".parse().unwrap())]);
        let entries =
            ["patient-1", "::ffff:10.0.0.2", "[2001:db8::1]", "10.0.0.9"].map(|host| entry(host, &[]));
        let mapped = map(&Answer { entries: entries.into(), unreadable: vec![] }, &discover(|_| {}), &hosts);
        let there: Vec<String> = mapped.shown.instances.keys().map(ToString::to_string).collect();
        assert_eq!(there, ["10.0.0.2:80", "10.0.0.9:80", "[2001:db8::1]:80"]);
    }

    #[test]
    fn a_registry_s_word_about_health_is_heard_while_half_are_well() {
        use EntryState::{Offline, Serving, Unhealthy};
        for (states, expected) in [
            (&[Serving, Unhealthy][..], &[false, true][..]),
            (&[Serving, Unhealthy, Unhealthy], &[false, false, false]),
            (&[Unhealthy], &[false]),
            (&[Unhealthy, Unhealthy], &[false, false]),
            (&[Offline, Unhealthy], &[true, false]),
            (&[Offline, Offline], &[true, true]),
            (&[Serving, Serving, Offline, Unhealthy], &[false, false, true, true]),
        ] {
            let entries = states.iter().enumerate();
            let entries = entries
                .map(|(i, state)| Entry { state: *state, ..entry(&format!("10.0.0.{i}"), &[]) })
                .collect();
            let shown = mapped(entries, &discover(|_| {})).shown;
            let draining: Vec<bool> = shown.instances.values().map(|found| found.draining).collect();
            assert_eq!(draining, expected, "{states:?}");
        }
    }
}

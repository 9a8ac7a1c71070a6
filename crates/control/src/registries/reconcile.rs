//! From what is believed to what has to be written: the difference between the instances that should be there and the
//! documents that are.
//!
//! Owns: names and texts of documents, and whose they are. A document without `by`, or under a name that is not ours, is
//! a hand's and is never touched. Never: writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use graygate_rules::documents::{Document, DocumentId, Format, Instance, Kind, Raw};
use graygate_rules::vocab::Name;

use super::mapping::Found;

/// An instance document that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    pub id: DocumentId,
    /// `None`: a hand's, or one that cannot be read.
    pub of: Option<Ownership>,
}

/// Whose a document is, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ownership {
    pub registry: Name,
    pub address: SocketAddr,
    pub found: Found,
}

/// What has to be done to one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Put { id: DocumentId, text: String },
    Delete { id: DocumentId },
}

impl Change {
    pub fn id(&self) -> &DocumentId {
        match self {
            Change::Put { id, .. } | Change::Delete { id } => id,
        }
    }
}

/// What a service should have from one registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desired {
    pub registry: Name,
    pub instances: BTreeMap<SocketAddr, Found>,
}

impl Written {
    /// Reads a document that stands under `instances/`.
    pub fn read(id: &DocumentId, raw: &Raw) -> Written {
        let document = graygate_rules::documents::parse(id, raw).ok();
        Written { id: id.clone(), of: document.and_then(|document| Written::ownership(id, &document)) }
    }

    /// Whose a document is that was read.
    pub fn ownership(id: &DocumentId, document: &Document) -> Option<Ownership> {
        let Document::Instance(Instance { address, version, weight, tags, draining, by: Some(by) }) =
            document
        else {
            return None;
        };
        // `by` under another name was written by a hand that copied one of ours.
        let is_ours = id.tail() == Some(document_name(by, *address).as_str());
        let (version, tags) = (version.clone(), tags.clone());
        let found = Found { version, weight: *weight, tags, draining: *draining };
        is_ours.then(|| Ownership { registry: by.clone(), address: *address, found })
    }
}

/// What has to change for the documents of a service to be these. `strays` are registries whose documents may go.
pub fn plan(
    service: &Name,
    desired: &[Desired],
    written: &[Written],
    strays: &dyn Fn(&Name) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let by_id: BTreeMap<&DocumentId, &Written> = written.iter().map(|one| (&one.id, one)).collect();
    let mut wanted = BTreeSet::new();
    for one in desired {
        for (address, found) in &one.instances {
            let Some(id) = document_id(service, &one.registry, *address) else { continue };
            let is_there = match by_id.get(&id).map(|written| &written.of) {
                None => false,
                Some(None) => true, // a hand's: it counts, whatever it says
                Some(Some(of)) => of.found == *found,
            };
            if !is_there {
                changes.push(Change::Put { id: id.clone(), text: text(&one.registry, *address, found) });
            }
            wanted.insert(id);
        }
    }
    let is_known = |registry: &Name| desired.iter().any(|one| one.registry == *registry);
    for one in written {
        if let Some(of) = &one.of
            && !wanted.contains(&one.id)
            && (is_known(&of.registry) || strays(&of.registry))
        {
            changes.push(Change::Delete { id: one.id.clone() });
        }
    }
    changes
}

/// `<registry>.<address>-<port>`, with dashes for colons.
fn document_name(registry: &Name, address: SocketAddr) -> String {
    format!("{registry}.{}-{}", address.ip().to_string().replace(':', "-"), address.port())
}

fn document_id(service: &Name, registry: &Name, address: SocketAddr) -> Option<DocumentId> {
    DocumentId::of(Kind::Instance, &format!("{service}/{}", document_name(registry, address)))
}

/// A document's text: the same instance is always the same text.
fn text(registry: &Name, address: SocketAddr, found: &Found) -> String {
    // JSON's strings are YAML's too, so nothing a registry says can become more than a text.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!("address: {}\n", quoted(&address.to_string()));
    let _ = writeln!(text, "version: {}", quoted(found.version.as_str()));
    let _ = writeln!(text, "weight: {}", found.weight);
    if !found.tags.is_empty() {
        let tags: Vec<String> =
            found.tags.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
        let _ = writeln!(text, "tags: {{{}}}", tags.join(", "));
    }
    if found.draining {
        text.push_str("draining: true\n");
    }
    let _ = writeln!(text, "by: {}", quoted(registry.as_str()));
    text
}

/// The text as a document, as both stores hold it.
pub fn raw(text: &str) -> Raw {
    Raw { body: text.as_bytes().into(), format: Format::Yaml }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn found(version: &str) -> Found {
        Found { version: name(version), weight: 1, tags: BTreeMap::new(), draining: false }
    }

    fn desired(registry: &str, instances: &[(&str, &str)]) -> Desired {
        let instances =
            instances.iter().map(|(address, version)| (address.parse().unwrap(), found(version))).collect();
        Desired { registry: name(registry), instances }
    }

    fn written(id: &str, body: &str) -> Written {
        Written::read(&DocumentId::parse(&format!("instances/s/{id}")).unwrap(), &Raw::yaml(body))
    }

    /// What a plan does, as words, with `gone` as the only registry whose documents may go.
    fn planned(desired: &[Desired], written: &[Written]) -> Vec<String> {
        let changes = plan(&name("s"), desired, written, &|registry| registry.as_str() == "gone");
        let word = |change: &Change| match change {
            Change::Put { id, .. } => format!("put {id}"),
            Change::Delete { id } => format!("delete {id}"),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let tags = BTreeMap::from([("zone".into(), "a: \"b\"\n#c".into())]);
        for (address, expected) in [
            ("10.0.0.1:80", "instances/s/r.10.0.0.1-80"),
            ("[2001:db8::1]:80", "instances/s/r.2001-db8--1-80"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let id = document_id(&name("s"), &name("r"), address).unwrap();
            assert_eq!(id.to_string(), expected);
            // A version that YAML would read as a number stays a text.
            for version in ["gray", "7.10", "null", "1e3"] {
                let found = Found { version: name(version), weight: 40, tags: tags.clone(), draining: true };
                let read = Written::read(&id, &raw(&text(&name("r"), address, &found)));
                assert_eq!(read.of, Some(Ownership { registry: name("r"), address, found }));
            }
        }
    }

    #[test]
    fn the_difference_is_written() {
        let body =
            |port: u16, version: &str| format!("{{address: '10.0.0.1:{port}', version: {version}, by: r}}");
        let there = [
            written("r.10.0.0.1-80", &body(80, "v1")),
            written("r.10.0.0.1-81", &body(81, "v1")),
            written("r.10.0.0.1-82", &body(82, "v1")),
        ];
        let want = [desired("r", &[("10.0.0.1:80", "v1"), ("10.0.0.1:81", "v2"), ("10.0.0.1:83", "v1")])];
        let expected = [
            "put instances/s/r.10.0.0.1-81",
            "put instances/s/r.10.0.0.1-83",
            "delete instances/s/r.10.0.0.1-82",
        ];
        assert_eq!(planned(&want, &there), expected);
    }

    #[test]
    fn what_a_hand_wrote_is_never_touched() {
        let there = [
            // Without `by`, under the very name that ours would have.
            written("r.10.0.0.1-80", "{address: '10.0.0.1:80', version: mine}"),
            written("mine", "{address: '10.0.0.2:80', version: mine}"),
            // A copy of one of ours under another name.
            written("copy", "{address: '10.0.0.3:80', version: v1, by: r}"),
            written("r.10.0.0.4-80", "not: [an instance"),
        ];
        assert_eq!(planned(&[desired("r", &[("10.0.0.1:80", "v1")])], &there), Vec::<String>::new());
        assert_eq!(planned(&[], &there), Vec::<String>::new());
    }

    #[test]
    fn documents_of_registries_that_are_not_written_any_more_go() {
        let there = [
            written("gone.10.0.0.1-80", "{address: '10.0.0.1:80', version: v1, by: gone}"),
            written("other.10.0.0.1-80", "{address: '10.0.0.1:80', version: v1, by: other}"),
        ];
        assert_eq!(planned(&[], &there), ["delete instances/s/gone.10.0.0.1-80"]);
        let empty = [desired("other", &[])];
        let expected = ["delete instances/s/gone.10.0.0.1-80", "delete instances/s/other.10.0.0.1-80"];
        assert_eq!(planned(&empty, &there), expected);
    }
}

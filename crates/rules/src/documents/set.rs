//! The raw documents of one moment: who they are, what bytes they have, which revision they form.
//!
//! Answers: which documents exist, and what could not become one?
//! Owns: the identity of a document and the shape of a complete set. Never: reads bodies, or does IO.
//! Start at [`DocumentSet`]; sources fill it, the compiler reads it.

use crate::vocab::{Label, Name, Problem, Revision};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What a document describes; the folder it lives in says which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Route,
    Service,
    Rule,
    List,
    Instance,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Route, Kind::Service, Kind::Rule, Kind::List, Kind::Instance];

    /// The folder of a directory, and the segment behind the prefix in etcd.
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Route => "routes",
            Kind::Service => "services",
            Kind::Rule => "rules",
            Kind::List => "lists",
            Kind::Instance => "instances",
        }
    }

    /// One of them, in English.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Route => "route",
            Kind::Service => "service",
            Kind::Rule => "rule",
            Kind::List => "list",
            Kind::Instance => "instance",
        }
    }

    pub fn from_folder(folder: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.folder() == folder)
    }

    /// How many names, divided by slashes, name a document of this kind.
    fn depths(self) -> &'static [usize] {
        match self {
            Kind::Route | Kind::Service | Kind::Rule => &[1],
            Kind::List => &[1, 2],
            Kind::Instance => &[2],
        }
    }
}

/// The identity of a document: `rules/x`, `lists/pilot`, `lists/pilot/part-1`, `instances/patient/p-7f9c`.
///
/// Cheap to clone. Orders by kind, then by name, so a set has the same order on every proxy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    pub kind: Kind,
    /// Without the folder; lists and instances may have two names, divided by a slash.
    pub name: Label,
}

impl DocumentId {
    /// The identity of a kind and a name; `None` when the name is not allowed for this kind.
    pub fn of(kind: Kind, name: &str) -> Option<DocumentId> {
        let fits = kind.depths().contains(&name.split('/').count());
        (fits && name.split('/').all(Name::is_name)).then(|| DocumentId { kind, name: name.into() })
    }

    /// Reads what [`Display`](fmt::Display) prints.
    pub fn parse(text: &str) -> Option<DocumentId> {
        let (folder, name) = text.split_once('/')?;
        DocumentId::of(Kind::from_folder(folder)?, name)
    }

    /// The list a part belongs to, the service of an instance; everywhere else the whole name.
    pub fn head(&self) -> &str {
        match self.name.split_once('/') {
            Some((head, _)) => head,
            None => &self.name,
        }
    }

    /// The part of a list, the id of an instance.
    pub fn tail(&self) -> Option<&str> {
        self.name.split_once('/').map(|(_, tail)| tail)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.folder(), self.name)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// The bytes of a document, shared.
///
/// Two bodies are equal when they are the same allocation, or else when their bytes are: most documents of two
/// successive sets are the same allocation, so comparing sets costs little even with lists of many megabytes.
#[derive(Clone, Eq)]
pub struct Body(Arc<[u8]>);

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body(bytes.into())
    }
}

impl From<&[u8]> for Body {
    fn from(bytes: &[u8]) -> Body {
        Body(bytes.into())
    }
}

impl From<&str> for Body {
    fn from(text: &str) -> Body {
        Body(text.as_bytes().into())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if text.len() <= 80 => write!(f, "{text:?}"),
            _ => write!(f, "<{} bytes>", self.0.len()),
        }
    }
}

/// How a body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// YAML or JSON; the body decides.
    Yaml,
    /// A `.json` file: JSON by its standard.
    Json,
    /// A list: one value a line.
    List,
}

/// One document as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    pub body: Body,
    pub format: Format,
}

impl Raw {
    pub fn yaml(body: impl Into<Body>) -> Raw {
        Raw { body: body.into(), format: Format::Yaml }
    }

    pub fn list(body: impl Into<Body>) -> Raw {
        Raw { body: body.into(), format: Format::List }
    }
}

/// Every document of a source at one revision. Cloning copies the index, never a body.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DocumentSet {
    pub revision: Revision,
    pub documents: BTreeMap<DocumentId, Arc<Raw>>,
    /// Files or keys that are no document: a bad extension or name, an unknown folder. Sorted.
    pub strays: Vec<Problem>,
    /// Documents that are there and cannot be had: under two file names (`x.yaml` and `x.json`), unreadable, or too
    /// large. None is taken, and none is deleted: the last good one stays in force. Never also in `documents`.
    pub ambiguous: BTreeMap<DocumentId, Problem>,
}

impl DocumentSet {
    /// Whether both say the same, whatever their revisions.
    pub fn same_content(&self, other: &DocumentSet) -> bool {
        self.strays == other.strays
            && self.ambiguous == other.ambiguous
            && self.documents.len() == other.documents.len()
            && self
                .documents
                .iter()
                .zip(&other.documents)
                .all(|((a, left), (b, right))| a == b && (Arc::ptr_eq(left, right) || left == right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_what_they_print() {
        for (text, good) in [
            ("rules/x", true),
            ("routes/a.b-c_D", true),
            ("lists/pilot", true),
            ("lists/pilot/part-1", true),
            ("instances/patient/patient-7f9c", true),
            ("instances/patient", false),
            ("rules/x/y", false),
            ("lists/a/b/c", false),
            ("lists/a/", false),
            ("lists//a", false),
            ("rule/x", false),
            ("rules/", false),
            ("rules/用户", false),
            ("rules", false),
        ] {
            let read = DocumentId::parse(text).map(|id| id.to_string());
            assert_eq!(read.as_deref(), good.then_some(text), "{text}");
        }
    }

    #[test]
    fn names_of_two_parts_are_taken_apart() {
        let part = DocumentId::parse("lists/pilot/part-1").unwrap();
        assert_eq!((part.head(), part.tail()), ("pilot", Some("part-1")));
        let whole = DocumentId::parse("lists/pilot").unwrap();
        assert_eq!((whole.head(), whole.tail()), ("pilot", None));
    }

    #[test]
    fn sets_compare_by_content() {
        let id = DocumentId::parse("rules/x").unwrap();
        let one = |revision, body: &str| DocumentSet {
            revision,
            documents: BTreeMap::from([(id.clone(), Arc::new(Raw::yaml(body)))]),
            ..DocumentSet::default()
        };
        assert!(one(1, "a: 1").same_content(&one(2, "a: 1")));
        assert!(!one(1, "a: 1").same_content(&one(1, "a: 2")));
        assert!(!one(1, "a: 1").same_content(&DocumentSet::default()));
    }
}

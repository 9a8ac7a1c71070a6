//! The raw documents of one moment: who they are, what bytes they have, which revision they form.
//!
//! Answers: which documents exist, and what could not become one?
//! Owns: the identity of a document and the shape of a complete set. Never: reads bodies, or does IO.
//! Start at [`DocumentSet`]; sources fill it, the compiler reads it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, RangeFrom};
use std::sync::Arc;

use crate::vocab::{Chunks, Dealt, DocumentId, Problem, Revision};

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

/// Documents in the order of their identities. Two states of a store share what they have in common, so that ten
/// thousand documents are copied, compared and let go at the cost of those that changed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Documents(Chunks<Document>);

/// A document and who it is.
type Document = (DocumentId, Arc<Raw>);

/// How a document differs between two sets; `None` where it is not there.
#[derive(Clone, Copy, Debug)]
pub struct Difference<'d> {
    pub id: &'d DocumentId,
    pub before: Option<&'d Arc<Raw>>,
    pub now: Option<&'d Arc<Raw>>,
}

impl Documents {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, id: &DocumentId) -> Option<&Arc<Raw>> {
        let (found, raw) = self.0.get(self.place(id))?;
        (found == id).then_some(raw)
    }

    pub fn contains_key(&self, id: &DocumentId) -> bool {
        self.get(id).is_some()
    }

    /// Returns what was there before.
    pub fn insert(&mut self, id: DocumentId, raw: Arc<Raw>) -> Option<Arc<Raw>> {
        let place = self.place(&id);
        let before = self.0.get(place).filter(|(found, _)| *found == id).cloned();
        match before {
            Some((id, before)) => {
                self.0.replace(place, (id, raw));
                Some(before)
            }
            None => {
                self.0.insert(place, (id, raw));
                None
            }
        }
    }

    pub fn remove(&mut self, id: &DocumentId) -> Option<Arc<Raw>> {
        let place = self.place(id);
        let is_there = self.0.get(place).is_some_and(|(found, _)| found == id);
        is_there.then(|| self.0.remove(place)).flatten().map(|(_, raw)| raw)
    }

    pub fn retain(&mut self, mut is_kept: impl FnMut(&DocumentId, &Arc<Raw>) -> bool) {
        self.0 = self.0.iter().filter(|(id, raw)| is_kept(id, raw)).cloned().collect();
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&DocumentId, &Arc<Raw>)> {
        self.0.iter().map(|(id, raw)| (id, raw))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &DocumentId> {
        self.0.iter().map(|(id, _)| id)
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &Arc<Raw>> {
        self.0.iter().map(|(_, raw)| raw)
    }

    /// The documents from an identity on.
    pub fn range(&self, from: RangeFrom<DocumentId>) -> impl Iterator<Item = (&DocumentId, &Arc<Raw>)> {
        self.0.iter_from(self.place(&from.start)).map(|(id, raw)| (id, raw))
    }

    /// Calls `see` with each document that is not the same in memory as it was before, until that returns false.
    pub fn differences<'d>(&'d self, before: &'d Documents, mut see: impl FnMut(Difference<'d>) -> bool) {
        self.0.walk_beside(&before.0, |now, before| {
            let order = match (now, before) {
                (Some((now, _)), Some((before, _))) => now.cmp(before),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let (dealt, now, before) = match order {
                Ordering::Less => (Dealt::Own, now, None),
                Ordering::Equal => (Dealt::Both, now, before),
                Ordering::Greater => (Dealt::Other, None, before),
            };
            let (id, _) = now.or(before)?;
            let (now, before) = (now.map(|(_, raw)| raw), before.map(|(_, raw)| raw));
            let is_same = now.zip(before).is_some_and(|(now, before)| Arc::ptr_eq(now, before));
            (is_same || see(Difference { id, before, now })).then_some(dealt)
        });
    }

    fn place(&self, id: &DocumentId) -> usize {
        self.0.partition_point(|(known, _)| known < id)
    }
}

impl FromIterator<Document> for Documents {
    /// Of two with one identity the later one stays.
    fn from_iter<I: IntoIterator<Item = Document>>(documents: I) -> Self {
        documents.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl From<BTreeMap<DocumentId, Arc<Raw>>> for Documents {
    fn from(documents: BTreeMap<DocumentId, Arc<Raw>>) -> Self {
        Documents(documents.into_iter().collect())
    }
}

impl<'d> IntoIterator for &'d Documents {
    type Item = (&'d DocumentId, &'d Arc<Raw>);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'd>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

impl IntoIterator for Documents {
    type Item = Document;
    type IntoIter = std::vec::IntoIter<Document>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().cloned().collect::<Vec<_>>().into_iter()
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Every document of a source at one revision. Cloning copies neither bodies nor an index.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DocumentSet {
    pub revision: Revision,
    pub documents: Documents,
    /// Files or keys that are no document: a bad extension or name, an unknown folder. Sorted.
    pub strays: Vec<Problem>,
    /// Documents that are there and cannot be had: under two file names (`x.yaml` and `x.json`), unreadable, or too
    /// large. None is taken, and none is deleted: the last good one stays in force. Never also in `documents`.
    pub ambiguous: BTreeMap<DocumentId, Problem>,
}

impl DocumentSet {
    /// Whether both say the same, whatever their revisions.
    pub fn same_content(&self, other: &DocumentSet) -> bool {
        self.strays == other.strays && self.ambiguous == other.ambiguous && self.documents == other.documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_compare_by_content() {
        let id = DocumentId::parse("rules/x").unwrap();
        let one = |revision, body: &str| DocumentSet {
            revision,
            documents: [(id.clone(), Arc::new(Raw::yaml(body)))].into_iter().collect(),
            ..DocumentSet::default()
        };
        assert!(one(1, "a: 1").same_content(&one(2, "a: 1")));
        assert!(!one(1, "a: 1").same_content(&one(1, "a: 2")));
        assert!(!one(1, "a: 1").same_content(&DocumentSet::default()));
    }

    #[test]
    fn two_sets_differ_where_one_was_changed() {
        let id = |name: usize| DocumentId::parse(&format!("rules/{name:04}")).unwrap();
        let before: Documents =
            (0..1000).map(|name| (id(name), Arc::new(Raw::yaml(format!("a: {name}").as_str())))).collect();
        let mut now = before.clone();
        now.insert(id(17), Arc::new(Raw::yaml("a: x")));
        now.insert(id(2000), Arc::new(Raw::yaml("a: y")));
        now.remove(&id(500));
        assert_eq!(now.remove(&id(501)).unwrap(), before.get(&id(501)).unwrap().clone());
        now.insert(id(501), before.get(&id(501)).unwrap().clone());
        let mut told = Vec::new();
        now.differences(&before, |found| {
            told.push((found.id.to_string(), found.before.is_some(), found.now.is_some()));
            true
        });
        let expected = [("rules/0017", true, true), ("rules/0500", true, false), ("rules/2000", false, true)];
        assert_eq!(told, expected.map(|(id, before, now)| (id.to_owned(), before, now)));
        let from: Vec<_> = now.range(id(998)..).map(|(id, _)| id.to_string()).collect();
        assert_eq!(from, ["rules/0998", "rules/0999", "rules/2000"]);
        assert_eq!((now.len(), now == before, now.get(&id(500))), (1000, false, None));
    }
}

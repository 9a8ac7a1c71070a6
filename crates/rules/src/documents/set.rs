//! The raw documents of one moment: who they are, what bytes they have, which revision they form.
//!
//! Answers: which documents exist, and what could not become one?
//! Owns: the identity of a document and the shape of a complete set. Never: reads bodies, or does IO.
//! Start at [`DocumentSet`]; sources fill it, the compiler reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::vocab::{DocumentId, Problem, Revision};

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

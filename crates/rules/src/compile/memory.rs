//! What one compile leaves to the next: each stage's own memory, side by side.

use std::sync::Arc;

use super::last::Last;
use super::{index, lists, parse, plan, tls};
use crate::documents::{Document, DocumentId, Documents, Kind, Raw};

/// The stages' memories: what did not change is neither read nor made again, and broken documents keep their last good
/// version.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    pub(super) parsed: parse::Memory,
    pub(super) lists: lists::Memory,
    pub(super) plans: plan::Memory,
    pub(super) indexes: index::Memory,
    pub(super) files: tls::Memory,
    /// What it all came to; `None` before the first compile.
    pub(super) last: Option<Last>,
}

impl Memory {
    /// Remembers the last good documents of an earlier life, so that a broken one is held back after a restart too.
    pub fn from_good(documents: impl IntoIterator<Item = (DocumentId, Arc<Raw>)>) -> Memory {
        Memory { parsed: parse::Memory::from_good(documents), ..Memory::default() }
    }

    /// The documents of a kind that are in force.
    pub fn good(&self, kind: Kind) -> impl Iterator<Item = (&DocumentId, &Document)> {
        self.parsed.in_force(kind).map(|(id, found)| (id, &*found.document))
    }

    /// The text of every document in force: what a cache should hold.
    pub fn good_texts(&self) -> &Documents {
        self.parsed.good_texts()
    }

    /// What is worth being built again; [`Memory::renew`] takes it up, now or after further changes.
    pub fn stale(&self) -> Option<index::Stale> {
        self.indexes.stale()
    }

    /// The next compile compares the rules of then with these.
    pub fn renew(&mut self, renewed: &index::Renewed) {
        self.indexes.renew(renewed);
    }
}

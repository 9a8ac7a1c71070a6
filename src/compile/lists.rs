//! Lists: parts united, once as texts and, where a rule looks at addresses, once as networks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::kept::Memory;
use crate::decide::{NetworkSet, ValueSet};
use crate::documents::{Document, DocumentId};
use crate::vocab::{Label, canonical_net};

/// A list as both of its forms, each made when first asked for.
#[derive(Clone, Default, Debug)]
struct Built {
    /// The parts it was made from: the same parts mean the same sets.
    parts: Vec<(DocumentId, Arc<Document>)>,
    values: Option<Arc<ValueSet>>,
    networks: Option<Result<Arc<NetworkSet>, String>>,
}

/// The sets of the last compile, by list.
pub type ListCache = BTreeMap<Label, ListEntry>;

/// One list's sets.
#[derive(Clone, Default, Debug)]
pub struct ListEntry(Built);

/// The lists of one compile.
pub struct Lists {
    entries: RefCell<ListCache>,
    sizes: Vec<(Label, u64)>,
}

impl Lists {
    pub fn build(memory: &Memory, previous: &ListCache) -> Lists {
        let mut parts: BTreeMap<Label, Vec<(DocumentId, Arc<Document>)>> = BTreeMap::new();
        for (id, document) in memory.good() {
            if matches!(&**document, Document::List(_)) {
                parts.entry(id.head().into()).or_default().push((id.clone(), document.clone()));
            }
        }
        let entries: ListCache = parts
            .into_iter()
            .map(|(name, parts)| {
                let unchanged = previous.get(&name).cloned().filter(|entry| {
                    entry.0.parts.len() == parts.len()
                        && entry.0.parts.iter().zip(&parts).all(|((_, a), (_, b))| Arc::ptr_eq(a, b))
                });
                let entry = unchanged.unwrap_or(ListEntry(Built { parts, ..Built::default() }));
                (name, entry)
            })
            .collect();
        let mut lists = Lists { entries: RefCell::new(entries), sizes: Vec::new() };
        let names: Vec<Label> = lists.entries.borrow().keys().cloned().collect();
        lists.sizes = names
            .into_iter()
            .filter_map(|name| {
                let size = lists.values(&name)?.len() as u64;
                Some((name, size))
            })
            .collect();
        lists
    }

    /// The list's texts; `None` when there is no such list.
    pub fn values(&self, name: &str) -> Option<Arc<ValueSet>> {
        let mut entries = self.entries.borrow_mut();
        let built = &mut entries.get_mut(name)?.0;
        let values = built.values.get_or_insert_with(|| {
            let members = members(&built.parts).map(|(_, _, value)| value.as_bytes());
            Arc::new(members.collect())
        });
        Some(values.clone())
    }

    /// The list's addresses and networks; the error names the first line that is neither, and its part.
    pub fn networks(&self, name: &str) -> Option<Result<Arc<NetworkSet>, String>> {
        let mut entries = self.entries.borrow_mut();
        let built = &mut entries.get_mut(name)?.0;
        let networks = built.networks.get_or_insert_with(|| {
            let nets = members(&built.parts).map(|(part, line, value)| {
                canonical_net(value)
                    .ok_or_else(|| format!("`{value}` in line {line} of {part} is not an address or a CIDR"))
            });
            nets.collect::<Result<NetworkSet, String>>().map(Arc::new)
        });
        Some(networks.clone())
    }

    pub fn sizes(&self) -> Vec<(Label, u64)> {
        self.sizes.clone()
    }

    pub fn into_cache(self) -> ListCache {
        self.entries.into_inner()
    }
}

/// Every value with the part and the line it stands in.
fn members(parts: &[(DocumentId, Arc<Document>)]) -> impl Iterator<Item = (&DocumentId, usize, &str)> {
    parts
        .iter()
        .filter_map(|(id, document)| match &**document {
            Document::List(part) => Some((id, part)),
            _ => None,
        })
        .flat_map(|(id, part)| part.values().map(move |(line, value)| (id, line, value)))
}

//! Lists: parts united, once as texts and, where a rule looks at addresses, once as networks.
//!
//! A part that changed costs what it holds, and not what its list holds: the set of texts is edited, not made anew.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::kept::Memory;
use crate::decide::{NetworkSet, ValueSet};
use crate::documents::{Document, DocumentId, Kind, ListPart};
use crate::vocab::{Label, canonical_net};

/// A list's parts in their order; the same documents mean the same sets.
type Parts = Vec<(DocumentId, Arc<Document>)>;

/// A list as both of its forms; networks are made when first asked for.
#[derive(Clone, Default, Debug)]
struct Built {
    /// The parts it was made from: the same parts mean the same sets.
    parts: Parts,
    values: Arc<ValueSet>,
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
    are_as_before: bool,
}

impl Lists {
    pub fn build(memory: &Memory, mut previous: ListCache) -> Lists {
        let mut parts: BTreeMap<Label, Parts> = BTreeMap::new();
        for (id, good) in memory.good(Kind::List) {
            match parts.get_mut(id.head()) {
                Some(parts) => parts.push((id.clone(), good.document.clone())),
                None => drop(parts.insert(id.head().into(), vec![(id.clone(), good.document.clone())])),
            }
        }
        let mut are_as_before = true;
        let entries: ListCache = parts
            .into_iter()
            .map(|(name, parts)| {
                let before = previous.remove(&name).map(|entry| entry.0);
                let values = before.as_ref().map(|before| before.values.clone());
                let built = Built::of(parts, before);
                are_as_before &= values.is_some_and(|values| Arc::ptr_eq(&values, &built.values));
                (name, ListEntry(built))
            })
            .collect();
        are_as_before &= previous.is_empty();
        let sizes = entries.iter().map(|(name, entry)| (name.clone(), entry.0.values.len() as u64)).collect();
        Lists { entries: RefCell::new(entries), sizes, are_as_before }
    }

    /// The list's texts; `None` when there is no such list.
    pub fn values(&self, name: &str) -> Option<Arc<ValueSet>> {
        Some(self.entries.borrow().get(name)?.0.values.clone())
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

    /// Whether all of them are the sets of the compile before, and none is gone.
    pub fn are_as_before(&self) -> bool {
        self.are_as_before
    }

    /// Distinct members of each list.
    pub fn sizes(&self) -> Vec<(Label, u64)> {
        self.sizes.clone()
    }

    pub fn into_cache(self) -> ListCache {
        self.entries.into_inner()
    }
}

impl Built {
    /// What these parts make, out of what was there before as far as it goes.
    fn of(parts: Parts, before: Option<Built>) -> Built {
        let Some(before) = before else { return Built::anew(parts) };
        if pointers(&before.parts).eq(pointers(&parts)) {
            return before;
        }
        let old: HashSet<_> = pointers(&before.parts).collect();
        let new: HashSet<_> = pointers(&parts).collect();
        let removed: Vec<_> =
            before.parts.iter().filter(|(_, part)| !new.contains(&Arc::as_ptr(part))).collect();
        let added: Vec<_> = parts.iter().filter(|(_, part)| !old.contains(&Arc::as_ptr(part))).collect();
        if removed.len() + added.len() > parts.len() {
            return Built::anew(parts);
        }
        let hashed = |(_, part): &&(DocumentId, Arc<Document>)| before.values.hash_part(texts(part));
        match before.values.edited(removed.iter().map(hashed), added.iter().map(hashed)) {
            Some(values) => Built { parts, values: Arc::new(values), networks: None },
            None => Built::anew(parts),
        }
    }

    fn anew(parts: Parts) -> Built {
        let values = Arc::new(ValueSet::of_parts(parts.iter().map(|(_, part)| texts(part))));
        Built { parts, values, networks: None }
    }
}

fn pointers(parts: &[(DocumentId, Arc<Document>)]) -> impl Iterator<Item = *const Document> {
    parts.iter().map(|(_, part)| Arc::as_ptr(part))
}

/// Part, line number and value of every member.
fn members(parts: &[(DocumentId, Arc<Document>)]) -> impl Iterator<Item = (&DocumentId, usize, &str)> {
    parts.iter().flat_map(|(id, part)| lines(part).map(move |(line, value)| (id, line, value)))
}

fn texts(part: &Document) -> impl Iterator<Item = &[u8]> {
    lines(part).map(|(_, value)| value.as_bytes())
}

fn lines(part: &Document) -> impl Iterator<Item = (usize, &str)> {
    let list = match part {
        Document::List(list) => Some(list),
        _ => None,
    };
    list.into_iter().flat_map(ListPart::values)
}

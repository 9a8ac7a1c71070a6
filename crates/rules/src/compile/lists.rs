//! Lists: parts united, once as texts and, where a rule looks at addresses, once as networks.
//!
//! A part that changed costs what it holds, and not what its list holds: the set of texts is edited, not built again.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::parse;
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
#[derive(Clone, Default, Debug)]
pub struct Memory(BTreeMap<Label, Built>);

/// The lists of one compile.
pub struct Lists {
    built: RefCell<BTreeMap<Label, Built>>,
    /// `None`: none has changed.
    sizes: Option<Vec<(Label, u64)>>,
    are_as_before: bool,
}

impl Lists {
    /// Unites the parts in force, out of the sets of the last compile as far as those go.
    pub fn unite(parsed: &parse::Memory, Memory(mut previous): Memory) -> Lists {
        let mut are_as_before = true;
        let mut built = BTreeMap::new();
        for (name, parts) in parts_by_list(parsed) {
            let before = previous.remove(&name);
            let values = before.as_ref().map(|before| before.values.clone());
            let now = Built::of(parts, before);
            are_as_before &= values.is_some_and(|values| Arc::ptr_eq(&values, &now.values));
            built.insert(name, now);
        }
        are_as_before &= previous.is_empty();
        let sizes = built.iter().map(|(name, built)| (name.clone(), built.values.len() as u64)).collect();
        Lists { built: RefCell::new(built), sizes: Some(sizes), are_as_before }
    }

    /// The lists of the last compile, where none of their parts has changed.
    pub fn as_before(Memory(built): Memory) -> Lists {
        Lists { built: RefCell::new(built), sizes: None, are_as_before: true }
    }

    /// The list's texts; `None` when there is no such list.
    pub fn values(&self, name: &str) -> Option<Arc<ValueSet>> {
        Some(self.built.borrow().get(name)?.values.clone())
    }

    /// The list's addresses and networks; the error names the first line that is neither, and its part.
    pub fn networks(&self, name: &str) -> Option<Result<Arc<NetworkSet>, String>> {
        let mut built = self.built.borrow_mut();
        let built = built.get_mut(name)?;
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

    /// Distinct members of each list, where they were counted.
    pub fn sizes(&self) -> Option<Vec<(Label, u64)>> {
        self.sizes.clone()
    }

    pub fn into_memory(self) -> Memory {
        Memory(self.built.into_inner())
    }
}

fn parts_by_list(parsed: &parse::Memory) -> BTreeMap<Label, Parts> {
    let mut by_list: BTreeMap<Label, Parts> = BTreeMap::new();
    for (id, part) in parsed.in_force(Kind::List) {
        let part = (id.clone(), part.document.clone());
        match by_list.get_mut(id.head()) {
            Some(parts) => parts.push(part),
            None => drop(by_list.insert(id.head().into(), vec![part])),
        }
    }
    by_list
}

impl Built {
    /// What these parts make, out of what was there before as far as it goes.
    fn of(parts: Parts, before: Option<Built>) -> Built {
        let Some(before) = before else { return Built::whole(parts) };
        if pointers(&before.parts).eq(pointers(&parts)) {
            return before;
        }
        let old: HashSet<_> = pointers(&before.parts).collect();
        let new: HashSet<_> = pointers(&parts).collect();
        let removed: Vec<_> =
            before.parts.iter().filter(|(_, part)| !new.contains(&Arc::as_ptr(part))).collect();
        let added: Vec<_> = parts.iter().filter(|(_, part)| !old.contains(&Arc::as_ptr(part))).collect();
        if removed.len() + added.len() > parts.len() {
            return Built::whole(parts);
        }
        let hashed = |(_, part): &&(DocumentId, Arc<Document>)| before.values.hash_part(texts(part));
        match before.values.edited(removed.iter().map(hashed), added.iter().map(hashed)) {
            Some(values) => Built { parts, values: Arc::new(values), networks: None },
            None => Built::whole(parts),
        }
    }

    fn whole(parts: Parts) -> Built {
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

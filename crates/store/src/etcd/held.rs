//! The state of the prefix as the watch has it.
//!
//! Answers: which documents does the store hold, after this listing and these events?
//! Owns: documents, strays and the revision of every key. Never: talks to etcd, or knows the time.

use super::keyspace::{Prefix, Slot, format};
use crate::fingerprint::Fingerprint;
use crate::strays::capped;
use graygate_rules::documents::{DocumentSet, Documents, Raw};
use graygate_rules::vocab::{Problem, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every key of the prefix at one revision.
pub struct Listing {
    pub revision: i64,
    pub keys: Vec<Listed>,
}

/// One key of a listing.
pub struct Listed {
    pub key: Vec<u8>,
    pub mod_revision: i64,
    /// 0 where the key belongs to no lease.
    pub lease: i64,
    /// `None` in a listing of keys alone.
    pub value: Option<Vec<u8>>,
}

/// One change of one key.
pub struct Change<'a> {
    pub key: &'a [u8],
    pub mod_revision: i64,
    /// `None` for a deletion.
    pub value: Option<&'a [u8]>,
}

pub(super) struct Held {
    prefix: Prefix,
    /// The store's revision the documents are of: of the listing, then of the newest event of their watch.
    revision: i64,
    revisions: BTreeMap<Vec<u8>, i64>,
    documents: Documents,
    strays: BTreeMap<Vec<u8>, Problem>,
    fingerprint: Fingerprint,
}

impl Held {
    pub fn new(prefix: Prefix) -> Held {
        Held {
            prefix,
            revision: 0,
            revisions: BTreeMap::new(),
            documents: Documents::default(),
            strays: BTreeMap::new(),
            fingerprint: Fingerprint::default(),
        }
    }

    /// Tells this state from others, on whichever proxy.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.documents.values().map(|raw| raw.body.len()).sum()
    }

    pub fn set(&self) -> DocumentSet {
        DocumentSet {
            revision: Revision::try_from(self.revision).unwrap_or(0),
            documents: self.documents.clone(),
            strays: capped(self.strays.values().cloned().collect()),
            ambiguous: BTreeMap::new(),
        }
    }

    /// Takes a complete listing in place of everything held. What did not change keeps its body; a listed key
    /// without a value is one whose held value is known to be right.
    pub fn replace(&mut self, listing: Listing) {
        let mut old = std::mem::replace(self, Held::new(self.prefix.clone()));
        for listed in listing.keys {
            let slot = self.prefix.slot(&listed.key);
            if let Slot::Document(id) = &slot
                && let Some(raw) = old.documents.remove(id)
                && listed.value.as_ref().is_none_or(|value| **value == *raw.body)
            {
                self.documents.insert(id.clone(), raw);
                self.set_revision(&listed.key, listed.mod_revision);
                continue;
            }
            let change = Change {
                key: &listed.key,
                mod_revision: listed.mod_revision,
                value: Some(listed.value.as_deref().unwrap_or_default()),
            };
            self.store(slot, &change);
        }
        self.revision = listing.revision;
    }

    /// Applies one event; true when it concerns documents.
    pub fn apply(&mut self, change: &Change) -> bool {
        let slot = self.prefix.slot(change.key);
        let ours = slot != Slot::Reserved;
        match change.value {
            Some(_) => self.store(slot, change),
            None => {
                if let Some(old) = self.revisions.remove(change.key) {
                    self.fingerprint.toggle(change.key, old);
                }
                self.strays.remove(change.key);
                if let Slot::Document(id) = slot {
                    self.documents.remove(&id);
                }
            }
        }
        ours
    }

    /// Whether a key is one of a document, by its name.
    pub fn is_document(&self, key: &[u8]) -> bool {
        matches!(self.prefix.slot(key), Slot::Document(_))
    }

    /// Every change of documents up to this revision was applied.
    pub fn reached(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    fn store(&mut self, slot: Slot, change: &Change) {
        match slot {
            Slot::Reserved => return,
            Slot::Document(id) => {
                let raw = Raw { body: change.value.unwrap_or_default().into(), format: format(id.kind) };
                self.documents.insert(id, Arc::new(raw));
            }
            Slot::Stray(problem) => drop(self.strays.insert(change.key.to_vec(), problem)),
        }
        self.set_revision(change.key, change.mod_revision);
    }

    fn set_revision(&mut self, key: &[u8], mod_revision: i64) {
        self.fingerprint.toggle(key, mod_revision);
        if let Some(old) = self.revisions.insert(key.to_vec(), mod_revision) {
            self.fingerprint.toggle(key, old);
        }
    }

    /// Whether the held value of a listed key is the listed one, as far as its revision tells.
    pub fn has(&self, listed: &Listed) -> bool {
        self.revisions.get(&listed.key) == Some(&listed.mod_revision)
    }

    /// Keys on which a listing disagrees, except those that were touched by events since it was begun.
    pub fn mismatches(&self, listing: &Listing, touched: &BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
        let listed: BTreeMap<&[u8], &Listed> =
            listing.keys.iter().map(|listed| (listed.key.as_slice(), listed)).collect();
        let wrong = listed.values().filter(|one| !self.has(one)).map(|one| one.key.clone());
        let surplus = self.revisions.keys().filter(|key| !listed.contains_key(key.as_slice()));
        wrong.chain(surplus.cloned()).filter(|key| !touched.contains(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graygate_rules::documents::DocumentId;

    fn listing(revision: i64, keys: &[(&str, i64, &str)]) -> Listing {
        let keys = keys.iter().map(|(key, mod_revision, value)| Listed {
            key: format!("/g/{key}").into_bytes(),
            mod_revision: *mod_revision,
            lease: 0,
            value: Some(value.as_bytes().to_vec()),
        });
        Listing { revision, keys: keys.collect() }
    }

    fn held(keys: &[(&str, i64, &str)]) -> Held {
        let mut held = Held::new(Prefix::new("/g"));
        held.replace(listing(10, keys));
        held
    }

    fn event(held: &mut Held, key: &str, mod_revision: i64, value: Option<&str>) -> bool {
        held.reached(mod_revision);
        held.apply(&Change {
            key: format!("/g/{key}").as_bytes(),
            mod_revision,
            value: value.map(str::as_bytes),
        })
    }

    #[test]
    fn the_same_keys_have_the_same_fingerprint_however_they_came() {
        let listed = held(&[("rules/a", 12, "1"), ("stray", 4, "")]);
        let mut heard = held(&[("rules/b", 3, "2")]);
        assert_ne!(heard.fingerprint(), listed.fingerprint());
        event(&mut heard, "stray", 4, Some(""));
        event(&mut heard, "rules/a", 11, Some("0"));
        event(&mut heard, "rules/a", 12, Some("1"));
        event(&mut heard, "fleet/x", 13, Some(""));
        event(&mut heard, "rules/b", 14, None);
        event(&mut heard, "rules/never", 14, None);
        assert_eq!(heard.fingerprint(), listed.fingerprint());
        heard.replace(listing(20, &[("rules/a", 12, "1"), ("stray", 4, "")]));
        assert_eq!(heard.fingerprint(), listed.fingerprint());
        event(&mut heard, "rules/a", 21, Some("1"));
        assert_ne!(heard.fingerprint(), listed.fingerprint());
    }

    fn told(held: &Held) -> Vec<String> {
        let set = held.set();
        let documents = set.documents.iter().map(|(id, raw)| format!("{id}={:?}", raw.body));
        documents.chain(set.strays.iter().map(|p| p.document())).collect()
    }

    #[test]
    fn events_move_documents_and_the_revision() {
        let mut held = held(&[("rules/a", 3, "1"), ("stray", 4, "")]);
        assert_eq!(held.revision(), 10);
        assert!(event(&mut held, "rules/b", 12, Some("2")));
        assert!(event(&mut held, "rules/a", 12, None));
        assert!(event(&mut held, "stray", 13, None));
        assert!(!event(&mut held, "fleet/proxy", 14, Some("")));
        assert_eq!(told(&held), ["rules/b=\"2\""]);
        assert_eq!(held.set().revision, 14);
    }

    #[test]
    fn a_listing_replaces_everything_and_keeps_equal_bodies() {
        let mut held = held(&[("rules/a", 3, "1"), ("rules/b", 4, "2"), ("rules/c", 5, "3")]);
        let before = held.set().documents;
        held.replace(listing(20, &[("rules/a", 3, "1"), ("rules/b", 15, "new"), ("strange", 16, "")]));
        assert_eq!(told(&held), ["rules/a=\"1\"", "rules/b=\"new\"", "/g/strange"]);
        let after = held.set().documents;
        let a = DocumentId::parse("rules/a").unwrap();
        assert!(Arc::ptr_eq(before.get(&a).unwrap(), after.get(&a).unwrap()));
        assert_eq!(held.bytes(), 4);
    }

    #[test]
    fn a_listing_of_keys_alone_keeps_the_held_values() {
        let mut held = held(&[("rules/a", 3, "1"), ("rules/b", 4, "2")]);
        let mut keys = listing(20, &[("rules/a", 3, ""), ("rules/b", 15, "new")]);
        assert!(held.has(&keys.keys[0]));
        assert!(!held.has(&keys.keys[1]));
        keys.keys[0].value = None;
        held.replace(keys);
        assert_eq!(told(&held), ["rules/a=\"1\"", "rules/b=\"new\""]);
    }

    #[test]
    fn a_comparison_names_what_differs() {
        let held = held(&[("rules/a", 3, "1"), ("rules/b", 4, "2")]);
        let none = BTreeSet::new();
        for (keys, expected) in [
            (&[("rules/a", 3, "1"), ("rules/b", 4, "2")][..], &[][..]),
            (&[("rules/a", 7, "1"), ("rules/b", 4, "2")], &["/g/rules/a"]),
            (&[("rules/a", 3, "1")], &["/g/rules/b"]),
            (&[("rules/a", 3, "1"), ("rules/b", 4, "2"), ("rules/c", 6, "")], &["/g/rules/c"]),
        ] {
            let wrong = held.mismatches(&listing(10, keys), &none);
            let wrong: Vec<_> = wrong.iter().map(|key| String::from_utf8_lossy(key)).collect();
            assert_eq!(wrong, expected);
        }
        let touched = BTreeSet::from([b"/g/rules/a".to_vec(), b"/g/rules/b".to_vec()]);
        assert!(held.mismatches(&listing(10, &[]), &touched).is_empty());
    }
}

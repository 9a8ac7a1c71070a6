//! A model of etcd: keys with revisions, a history that can be compacted, and data that can be lost.

use graygate_store::etcd::{Listed, Listing, Part};
use std::collections::BTreeMap;

/// Below which everything lives.
pub const PREFIX: &str = "/graygate";

#[derive(Clone)]
pub struct Event {
    pub revision: i64,
    pub key: String,
    pub value: Option<String>,
}

/// A key that is watched and is no document.
pub const STRAY: &str = "Rules/x";

/// Documents by identity.
pub type State = BTreeMap<String, String>;

pub struct Store {
    pub revision: i64,
    pub compacted: i64,
    keys: BTreeMap<String, (i64, String)>,
    log: Vec<Event>,
    /// Every state of every life of the store, by revision.
    had: BTreeMap<i64, Vec<State>>,
}

impl Store {
    pub fn new() -> Store {
        let mut store =
            Store { revision: 1, compacted: 0, keys: BTreeMap::new(), log: Vec::new(), had: BTreeMap::new() };
        store.remember();
        store
    }

    /// Writes or deletes several keys in one transaction.
    pub fn write(&mut self, changes: Vec<(&str, Option<String>)>) {
        self.revision += 1;
        for (id, value) in changes {
            match &value {
                Some(text) => drop(self.keys.insert(id.to_owned(), (self.revision, text.clone()))),
                None if self.keys.remove(id).is_none() => continue,
                None => {}
            }
            self.log.push(Event { revision: self.revision, key: format!("{PREFIX}/{id}"), value });
        }
        self.remember();
    }

    pub fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.retain(|event| event.revision > self.compacted);
    }

    /// Starts again with nothing.
    pub fn wipe(&mut self) {
        (self.revision, self.compacted) = (1, 0);
        self.keys.clear();
        self.log.clear();
        self.remember();
    }

    fn remember(&mut self) {
        let state = self.state();
        self.had.entry(self.revision).or_default().push(state);
    }

    pub fn state(&self) -> State {
        let documents = self.keys.iter().filter(|(id, _)| !id.starts_with("fleet/") && *id != STRAY);
        documents.map(|(id, (_, text))| (id.clone(), text.clone())).collect()
    }

    pub fn has_stray(&self) -> bool {
        self.keys.contains_key(STRAY)
    }

    /// Whether these were all the documents at that revision, in any life of the store.
    pub fn had(&self, revision: i64, state: &State) -> bool {
        self.had.get(&revision).is_some_and(|states| states.contains(state))
    }

    /// Whether the document ever had this text.
    pub fn ever_had(&self, id: &str, text: &str) -> bool {
        self.had.values().flatten().any(|state| state.get(id).is_some_and(|had| had == text))
    }

    pub fn listing(&self) -> Listing {
        let listed = self.keys.iter().filter(|(id, _)| !id.starts_with("fleet/"));
        let keys = listed.map(|(id, (mod_revision, text))| Listed {
            key: format!("{PREFIX}/{id}").into_bytes(),
            mod_revision: *mod_revision,
            lease: 0,
            value: Some(text.clone().into_bytes()),
        });
        Listing { revision: self.revision, keys: keys.collect() }
    }

    /// What the watch of a part still has to send.
    pub fn events_from(&self, part: Part, revision: i64) -> Vec<Event> {
        let is_of = |event: &&Event| match part {
            Part::Strays => event.key.ends_with(STRAY),
            Part::Documents => !event.key.ends_with(STRAY) && !event.key.contains("/fleet/"),
        };
        self.log.iter().filter(|event| event.revision >= revision).filter(is_of).cloned().collect()
    }
}

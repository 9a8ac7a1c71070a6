//! A keeper in memory: figures that no one keeps, and tests.
//!
//! Owns: the same promises as the others, but that nothing stays. A hook may refuse a write, or let it happen and lose the
//! answer, as a store that goes away in the middle does. Never: disk.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use graygate_store::leader::Term;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::keeper::{
    Entry, OPERATION_LIMIT, Order, PAGE_LIMIT, Range, Reserve, Revision, Slot, State, StateError, Stored,
    Transaction, Write,
};

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Written,
    /// Nothing is written, and an error told.
    Refused,
    /// It is written, and an error told.
    AnswerLost,
}

/// Decides it, for each write that would be taken.
pub type Hook = Box<dyn FnMut(&Transaction) -> Fate + Send>;

/// Records and documents in memory.
pub struct Memory {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    revision: Revision,
    records: BTreeMap<String, Stored>,
    documents: BTreeMap<String, Stored>,
    /// The term that counts; writes of other terms are refused.
    term: Option<i64>,
    hook: Option<Hook>,
    crowded: Option<String>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { inner: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Memory {
    pub fn hooked(&self, hook: Hook) {
        self.inner.lock().hook = Some(hook);
    }

    /// From now on there is room for writes from the reserve alone, and this is said; or for all of them again.
    pub fn crowd(&self, why: Option<&str>) {
        self.inner.lock().crowded = why.map(str::to_owned);
    }

    /// From now on this term alone writes for a lead.
    pub fn elect(&self, created: i64) {
        self.inner.lock().term = Some(created);
    }

    /// All documents, as a stranger reads them.
    pub fn documents(&self) -> BTreeMap<String, Bytes> {
        let inner = self.inner.lock();
        inner.documents.iter().map(|(name, stored)| (name.clone(), stored.value.clone())).collect()
    }

    /// A stranger's write.
    pub fn write_document(&self, name: &str, text: Option<&str>) {
        let mut inner = self.inner.lock();
        inner.revision += 1;
        let revision = inner.revision;
        match text {
            Some(text) => {
                let value = Bytes::copy_from_slice(text.as_bytes());
                inner.documents.insert(name.to_owned(), Stored { value, revision });
            }
            None => drop(inner.documents.remove(name)),
        }
    }
}

impl Inner {
    fn of(&self, slot: &Slot) -> Option<&Stored> {
        match slot {
            Slot::Record(name) => self.records.get(name),
            Slot::Document(name) => self.documents.get(name),
        }
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, StateError> {
        if transaction.writes.len() > OPERATION_LIMIT {
            return Err(StateError::TooLarge(format!("more than {OPERATION_LIMIT} writes")));
        }
        let differs =
            |slot: &Slot, revision: Revision| self.of(slot).map_or(0, |stored| stored.revision) != revision;
        let conflicts = transaction.expects.iter().filter(|expect| differs(&expect.slot, expect.revision));
        let conflicts: Vec<Slot> = conflicts.map(|expect| expect.slot.clone()).collect();
        if !conflicts.is_empty() {
            return Err(StateError::Conflict(conflicts));
        }
        if let Some(Term::Etcd { created, .. }) = &transaction.lead
            && self.term.is_some_and(|term| term != *created)
        {
            return Err(StateError::LeadLost);
        }
        if let Some(crowded) = self.crowded.as_ref().filter(|_| transaction.reserve == Reserve::Untouched) {
            return Err(StateError::Full(crowded.clone()));
        }
        let fate = self.hook.as_mut().map_or(Fate::Written, |hook| hook(transaction));
        let away = || StateError::Away("the store went away".to_owned());
        if fate == Fate::Refused {
            return Err(away());
        }
        self.revision += 1;
        let revision = self.revision;
        for write in &transaction.writes {
            let (slot, stored) = match write {
                Write::Put(slot, value) => (slot, Some(Stored { value: value.clone(), revision })),
                Write::Delete(slot) => (slot, None),
            };
            let (map, name) = match slot {
                Slot::Record(name) => (&mut self.records, name),
                Slot::Document(name) => (&mut self.documents, name),
            };
            match stored {
                Some(stored) => drop(map.insert(name.clone(), stored)),
                None => drop(map.remove(name)),
            }
        }
        if fate == Fate::AnswerLost { Err(away()) } else { Ok(revision) }
    }
}

#[async_trait]
impl State for Memory {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError> {
        Ok(self.inner.lock().of(slot).cloned())
    }

    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError> {
        let inner = self.inner.lock();
        let limit = range.limit.min(PAGE_LIMIT);
        let entry = |(name, stored): (&String, &Stored)| Entry { name: name.clone(), stored: stored.clone() };
        let below = inner
            .records
            .range(range.prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&range.prefix));
        Ok(match range.order {
            Order::Ascending => below
                .filter(|(name, _)| range.after.as_ref().is_none_or(|after| *name > after))
                .take(limit)
                .map(entry)
                .collect(),
            Order::Descending => {
                let all: Vec<_> = below.collect();
                let before = all.into_iter().rev();
                before
                    .filter(|(name, _)| range.after.as_ref().is_none_or(|after| *name < after))
                    .take(limit)
                    .map(entry)
                    .collect()
            }
        })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError> {
        let written = self.inner.lock().commit(&transaction);
        self.changes.send_modify(|count| *count += 1);
        written
    }

    fn part_bytes(&self) -> Option<usize> {
        None
    }

    fn crowded(&self) -> Option<String> {
        self.inner.lock().crowded.clone()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

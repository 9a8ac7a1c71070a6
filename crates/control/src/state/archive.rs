//! A store whose oldest records of the audit lie in another one: etcd and the database below `state`.
//!
//! Owns: what is looked for in both, and moved from one to the other. Never: when, or how much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::keeper::{
    Entry, OPERATION_LIMIT, Order, Range, Revision, Slot, State, StateError, Stored, Transaction, Write,
};

/// What is looked for in both: records, the texts they speak of, and documents' histories.
const MOVED: [&str; 3] = ["audit/", "texts/", HISTORY];
/// Entries of a history are empty, and their revision is what they say: moved ones hold it as their value.
const HISTORY: &str = "history/";

/// The two.
pub struct Archived {
    hot: Arc<dyn State>,
    cold: Arc<dyn State>,
}

impl Archived {
    pub fn new(hot: Arc<dyn State>, cold: Arc<dyn State>) -> Archived {
        Archived { hot, cold }
    }

    /// What was written last, alone.
    pub fn hot(&self) -> &Arc<dyn State> {
        &self.hot
    }

    /// Copies records to where the old ones lie. Again after a crash is as good.
    pub async fn keep(&self, entries: &[Entry]) -> Result<(), StateError> {
        for batch in entries.chunks(OPERATION_LIMIT) {
            let mut transaction = Transaction::default();
            for Entry { name, stored } in batch {
                let value = match name.starts_with(HISTORY) {
                    true => Bytes::from(stored.revision.to_string()),
                    false => stored.value.clone(),
                };
                transaction.put(Slot::record(name), value);
            }
            self.cold.commit(transaction).await?;
        }
        Ok(())
    }
}

fn is_moved(name: &str) -> bool {
    MOVED.iter().any(|prefix| name.starts_with(prefix))
}

/// As it was before it was moved.
fn moved_back(name: &str, stored: Stored) -> Stored {
    match name.starts_with(HISTORY) {
        true => {
            let revision = std::str::from_utf8(&stored.value).ok().and_then(|text| text.parse().ok());
            Stored { value: Bytes::new(), revision: revision.unwrap_or(0) }
        }
        false => stored,
    }
}

#[async_trait]
impl State for Archived {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError> {
        match (self.hot.get(slot).await?, slot) {
            (None, Slot::Record(name)) if is_moved(name) => {
                Ok(self.cold.get(slot).await?.map(|stored| moved_back(name, stored)))
            }
            (found, _) => Ok(found),
        }
    }

    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError> {
        let hot = self.hot.list(range).await?;
        if !is_moved(&range.prefix) {
            return Ok(hot);
        }
        let cold = self.cold.list(range).await?;
        let old = cold.into_iter().map(|entry| {
            let stored = moved_back(&entry.name, entry.stored);
            (entry.name, stored)
        });
        let mut both: BTreeMap<String, Stored> = old.collect();
        both.extend(hot.into_iter().map(|entry| (entry.name, entry.stored)));
        let entries = both.into_iter().map(|(name, stored)| Entry { name, stored });
        Ok(match range.order {
            Order::Ascending => entries.take(range.limit).collect(),
            Order::Descending => entries.rev().take(range.limit).collect(),
        })
    }

    /// What is taken away is taken from both.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError> {
        let gone = transaction.writes.iter().filter_map(|write| match write {
            Write::Delete(Slot::Record(name)) if is_moved(name) => Some(Slot::record(name)),
            _ => None,
        });
        let gone: Vec<Slot> = gone.collect();
        let revision = self.hot.commit(transaction).await?;
        if !gone.is_empty() {
            let mut also = Transaction::default();
            for slot in gone {
                also.delete(slot);
            }
            self.cold.commit(also).await?;
        }
        Ok(revision)
    }

    fn part_bytes(&self) -> Option<usize> {
        self.hot.part_bytes()
    }

    fn stale(&self) -> Option<Duration> {
        self.hot.stale()
    }

    fn crowded(&self) -> Option<String> {
        self.hot.crowded()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.hot.changes()
    }
}

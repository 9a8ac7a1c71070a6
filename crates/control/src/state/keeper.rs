//! What a keeper of records and documents is asked, and what it promises.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use graygate_store::leader::Term;
use tokio::sync::watch;

/// Counts the writes of a store; that of a value is the one that wrote it. 0: there is none.
pub type Revision = u64;

/// Most operations of one transaction; both keepers take the same, so that what one takes the other does.
pub const OPERATION_LIMIT: usize = graygate_store::commit::CHANGE_LIMIT;
/// Most bytes of one transaction over etcd.
pub const TRANSACTION_BYTES: usize = graygate_store::commit::COMMIT_BYTES;
/// Most records of one page of a listing.
pub const PAGE_LIMIT: usize = 1_000;

/// The name of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    /// One of the control plane's own, such as `users/li`.
    Record(String),
    /// A document as operators write it, such as `rules/x`.
    Document(String),
}

impl Slot {
    pub fn record(name: impl Into<String>) -> Slot {
        Slot::Record(name.into())
    }

    pub fn document(name: impl Into<String>) -> Slot {
        Slot::Document(name.into())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Record(name) | Slot::Document(name) => f.write_str(name),
        }
    }
}

/// A value and the write it came with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub value: Bytes,
    pub revision: Revision,
}

/// A value found under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: String,
    pub stored: Stored,
}

/// Which records a listing shows.
#[derive(Clone, Debug)]
pub struct Range {
    /// What their names begin with, such as `users/`.
    pub prefix: String,
    /// Begin behind this name, in the direction of the listing.
    pub after: Option<String>,
    pub limit: usize,
    pub order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Ascending,
    Descending,
}

impl Range {
    pub fn all(prefix: &str) -> Range {
        Range { prefix: prefix.to_owned(), after: None, limit: PAGE_LIMIT, order: Order::Ascending }
    }

    pub fn newest(prefix: &str, limit: usize) -> Range {
        Range { prefix: prefix.to_owned(), after: None, limit, order: Order::Descending }
    }

    pub fn after(mut self, name: Option<String>) -> Range {
        self.after = name;
        self
    }
}

/// What has to be so for a transaction to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expect {
    pub slot: Slot,
    /// The write the value came with; 0: there is no value.
    pub revision: Revision,
}

/// One change of one value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    Put(Slot, Bytes),
    Delete(Slot),
}

impl Write {
    pub fn slot(&self) -> &Slot {
        match self {
            Write::Put(slot, _) | Write::Delete(slot) => slot,
        }
    }

    fn weight(&self) -> usize {
        let (name, value) = match self {
            Write::Put(slot, value) => (slot, value.len()),
            Write::Delete(slot) => (slot, 0),
        };
        2 * name.to_string().len() + value + 128
    }
}

/// Writes that happen together, if everything is as expected.
#[derive(Clone, Default, Debug)]
pub struct Transaction {
    pub expects: Vec<Expect>,
    pub writes: Vec<Write>,
    /// Only written while this lead lasts.
    pub lead: Option<Term>,
    pub reserve: Reserve,
}

/// Whether a write may take the room that is kept for what makes things better when the store is nearly full.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Reserve {
    #[default]
    Untouched,
    /// A rollback, a pause, a deletion, and the sign-in of a person who has to do one of them.
    Used,
}

impl Transaction {
    pub fn expect(&mut self, slot: Slot, revision: Revision) -> &mut Transaction {
        self.expects.push(Expect { slot, revision });
        self
    }

    pub fn put(&mut self, slot: Slot, value: impl Into<Bytes>) -> &mut Transaction {
        self.writes.push(Write::Put(slot, value.into()));
        self
    }

    pub fn delete(&mut self, slot: Slot) -> &mut Transaction {
        self.writes.push(Write::Delete(slot));
        self
    }

    /// Bytes it weighs on the way to a store.
    pub fn weight(&self) -> usize {
        self.writes.iter().map(Write::weight).sum()
    }
}

/// Why nothing was written, or nothing can be read.
#[derive(thiserror::Error, Clone, Debug)]
pub enum StateError {
    /// Another process wrote these meanwhile.
    #[error("changed meanwhile: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Conflict(Vec<Slot>),
    /// Another process leads.
    #[error("another control process leads")]
    LeadLost,
    #[error("more than one transaction holds: {0}")]
    TooLarge(String),
    /// The store does not answer, or refuses; the change may or may not have been written.
    #[error("the store cannot be used: {0}")]
    Away(String),
    /// The store has no room.
    #[error("the store is nearly full: {0}")]
    Full(String),
    /// What is stored cannot be understood.
    #[error("`{name}` in the store cannot be read: {message}")]
    Broken { name: String, message: String },
    /// A second process on the same state.
    #[error("{0}")]
    Taken(String),
}

/// A keeper of records and documents.
#[async_trait]
pub trait State: Send + Sync {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError>;

    /// Records in the order of their names; documents are not listed here, the document source has them all.
    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError>;

    /// Writes everything, or nothing; the revision of the write.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError>;

    /// The size up to which one value is quick to write; a list is kept in parts of it. `None`: any size.
    fn part_bytes(&self) -> Option<usize>;

    /// Since when reads tell what was known before, because the store is away.
    fn stale(&self) -> Option<std::time::Duration> {
        None
    }

    /// What to say where the store is so full that only writes from its reserve are taken.
    fn crowded(&self) -> Option<String> {
        None
    }

    /// Moves whenever records were changed by anyone, this process included.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Reads a record that is JSON.
pub fn read_json<T: serde::de::DeserializeOwned>(name: &str, value: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(value)
        .map_err(|error| StateError::Broken { name: name.to_owned(), message: error.to_string() })
}

/// A record as JSON. Every record type of this crate can be printed, so the error is a defect and told as such.
pub fn to_json<T: serde::Serialize>(name: &str, value: &T) -> Result<Bytes, StateError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| StateError::Broken { name: name.to_owned(), message: error.to_string() })
}

/// The first name behind all that begin with a prefix; `None` where there is none.
pub(super) fn behind(prefix: &str) -> Option<Vec<u8>> {
    let mut bytes = prefix.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

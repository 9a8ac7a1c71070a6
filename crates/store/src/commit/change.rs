//! What one commit is: slots, what is expected of them, what changes, and what it came to.
//!
//! The same for both stores. Never: how anything is written.

use std::fmt;

use crate::leader::Term;
use crate::update::SourceError;
use graygate_rules::documents::{Body, DocumentId};
use graygate_rules::vocab::Revision;

/// Changes of one commit. etcd refuses more than 128 operations by default; both stores take the same, so that what is
/// written to one can be written to the other.
pub const CHANGE_LIMIT: usize = 120;
/// Bytes of one commit, keys and overhead included. etcd refuses requests above 1.5 MiB by default.
pub const COMMIT_BYTES: usize = 1_400 << 10;

/// The name of something that is stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    Document(DocumentId),
    /// A record of a control plane's own, such as `users/li`. Proxies do not watch these; a directory has none.
    Record(String),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Document(id) => write!(f, "{id}"),
            Slot::Record(name) => f.write_str(name),
        }
    }
}

/// Which state of one slot this is. Only ever compared: in etcd it is the revision the value was written at, in a
/// directory a hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub u64);

impl Version {
    /// There is nothing.
    pub const NONE: Version = Version(0);
}

/// A value, and which one it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub body: Body,
    pub version: Version,
}

/// What has to be so for anything to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    pub slot: Slot,
    pub version: Version,
}

/// One change of one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Put(Slot, Body),
    Delete(Slot),
}

impl Change {
    pub fn slot(&self) -> &Slot {
        match self {
            Change::Put(slot, _) | Change::Delete(slot) => slot,
        }
    }

    pub(super) fn body(&self) -> Option<&Body> {
        match self {
            Change::Put(_, body) => Some(body),
            Change::Delete(_) => None,
        }
    }
}

/// In which order a directory gets its files. A reader in between sees some of them: it must be on the safe side then.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Order {
    /// Where what is removed was needed by what is there.
    #[default]
    AdditionsFirst,
    /// Where what is added must not meet what is removed.
    RemovalsFirst,
}

/// Changes that belong together, and what they rest on.
#[derive(Clone, Default, Debug)]
pub struct Commit {
    pub guards: Vec<Guard>,
    pub changes: Vec<Change>,
    pub order: Order,
    /// Written only while this term lasts.
    pub term: Option<Term>,
}

impl Commit {
    pub fn guard(mut self, slot: Slot, version: Version) -> Commit {
        self.guards.push(Guard { slot, version });
        self
    }

    pub fn put(mut self, slot: Slot, body: impl Into<Body>) -> Commit {
        self.changes.push(Change::Put(slot, body.into()));
        self
    }

    pub fn delete(mut self, slot: Slot) -> Commit {
        self.changes.push(Change::Delete(slot));
        self
    }

    pub fn in_order(mut self, order: Order) -> Commit {
        self.order = order;
        self
    }

    pub fn bound_to(mut self, term: Term) -> Commit {
        self.term = Some(term);
        self
    }

    /// The version a slot is expected to have, where it is guarded.
    pub(super) fn expected(&self, slot: &Slot) -> Option<Version> {
        self.guards.iter().find(|guard| guard.slot == *slot).map(|guard| guard.version)
    }

    pub(super) fn check(&self) -> Result<(), CommitError> {
        if self.changes.len() > CHANGE_LIMIT || self.guards.len() > CHANGE_LIMIT {
            return Err(CommitError::TooLarge(format!("more than {CHANGE_LIMIT} changes or guards")));
        }
        let bytes: usize = self.changes.iter().map(|change| change.body().map_or(0, |body| body.len())).sum();
        if bytes > COMMIT_BYTES {
            return Err(CommitError::TooLarge(format!("more than {COMMIT_BYTES} bytes")));
        }
        Ok(())
    }
}

/// What a commit came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The store's revision; `None` for a directory, which has none that two processes would agree on.
    pub revision: Option<Revision>,
    /// What each slot that was written has now, in the order of the changes; [`Version::NONE`] where it was removed.
    pub versions: Vec<Version>,
}

/// Why not everything was written.
#[derive(thiserror::Error, Debug)]
pub enum CommitError {
    /// Nothing was written: these are no longer as they were seen.
    #[error("changed by another writer meanwhile: {}", named(.0))]
    Conflict(Vec<Slot>),
    /// Nothing was written.
    #[error("another process leads by now")]
    TermOver,
    /// Nothing was written.
    #[error("too large to be written at once: {0}")]
    TooLarge(String),
    /// Nothing was written: etcd reached its quota.
    #[error("the store has no room: {0}")]
    Full(String),
    /// Nothing was written.
    #[error("`{slot}` cannot be written: {because}")]
    Unwritable { slot: Slot, because: String },
    /// Nothing was written.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store got it and did not answer: it may or may not have been written.
    #[error("whether it was written is not known: {0}")]
    Unknown(SourceError),
    /// A directory gave up in between; these were written, the rest was not.
    #[error("{} written, then {error}", named(.written))]
    Partial { written: Vec<Slot>, error: String },
}

fn named(slots: &[Slot]) -> String {
    match slots.is_empty() {
        true => "nothing".to_owned(),
        false => slots.iter().map(|slot| format!("`{slot}`")).collect::<Vec<_>>().join(", "),
    }
}

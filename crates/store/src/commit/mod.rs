//! Writing several documents at once, or none of them.
//!
//! Answers: is everything still as the writer saw it, and what was written? Owns: the guards of a change, and the two
//! ways to keep its promise: one transaction of etcd, and renames in the order the caller gives in a directory.
//! Never: writes over what the caller has not seen, checks a document, or writes for a leader that no longer leads.
//! Start at [`Commit`] and [`Store::commit`].

mod change;
mod etcd;
mod files;

use super::source::Source;

pub use self::change::{
    CHANGE_LIMIT, COMMIT_BYTES, Change, Commit, CommitError, Committed, Guard, Order, Slot, Stored, Version,
};
pub(crate) use self::etcd::weight;
pub use self::etcd::{EtcdStore, Page, Turn, Usage};
pub use self::files::DirectoryStore;

/// Where documents are written.
#[derive(Clone)]
pub enum Store {
    Directory(DirectoryStore),
    Etcd(EtcdStore),
}

impl Store {
    /// The store behind a source; `records` is the prefix of a control plane's own records in etcd.
    pub fn of(source: &Source, records: &str) -> Store {
        match source {
            Source::Directory(settings) => Store::Directory(DirectoryStore::new(&settings.path)),
            Source::Etcd(settings) => Store::Etcd(EtcdStore::new(settings.clone(), records)),
        }
    }

    /// What is there now; `None` where there is nothing.
    pub async fn read(&self, slot: &Slot) -> Result<Option<Stored>, CommitError> {
        match self {
            Store::Directory(store) => store.read(slot).await,
            Store::Etcd(store) => store.read(slot).await,
        }
    }

    /// Writes all of it, or says why nothing was written. Only a directory that fails in between leaves a part, and says
    /// which.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        commit.check()?;
        match self {
            Store::Directory(store) => store.commit(commit).await,
            Store::Etcd(store) => store.commit(&commit).await,
        }
    }
}

#[cfg(test)]
mod tests;

//! Documents from a directory into etcd, and back.
//!
//! Answers: what would a push change, and did it happen?
//! Owns: the comparison and its division into commits. Never: checks documents (callers do, before), and never writes
//! over a change it has not seen: every operation is bound to the revision the comparison saw.
//! Start at [`compare`], then [`write`](fn@write); a dry run is a comparison that is only printed.

mod plan;
mod pull;
pub mod split;

pub use plan::{Difference, Plan, Surplus};
pub use pull::{PullError, Pulled, pull};

use super::commit::{Change, Commit, CommitError, EtcdStore, Guard, Slot};
use super::etcd::{Connection, EtcdSettings, Extent};
use super::update::SourceError;
use graygate_rules::documents::DocumentSet;
use graygate_rules::vocab::{Problem, Revision};
use plan::{Step, Stored};

/// Why nothing, or not everything, was written.
#[derive(thiserror::Error, Debug)]
pub enum PushError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{} documents cannot be stored", .0.len())]
    Documents(Vec<Problem>),
    #[error("changed by another writer meanwhile: {}; {done} of {of} transactions were written, push again", .documents.join(", "))]
    Conflict { documents: Vec<String>, done: usize, of: usize },
    /// The last transaction may or may not have been written.
    #[error("{error}; {done} of {of} transactions are known to be written, push again")]
    Interrupted { error: CommitError, done: usize, of: usize },
}

/// What a push did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The store's revision with everything written; 0 when there was nothing to write.
    pub revision: Revision,
    pub transactions: usize,
}

/// Compares documents with what the store holds now.
pub async fn compare(
    settings: &EtcdSettings,
    local: &DocumentSet,
    surplus: Surplus,
) -> Result<Plan, PushError> {
    let prefix = settings.keys();
    let connection = Connection::any(settings).await?;
    let listing = connection.list(&prefix, Extent::KeysAndValues).await?;
    Plan::of(local, Stored::of(listing, &prefix), surplus).map_err(PushError::Documents)
}

/// Writes what a comparison found, each key only if it is still as the comparison saw it.
pub async fn write(settings: &EtcdSettings, plan: &Plan) -> Result<Written, PushError> {
    let transactions = plan.transactions(&settings.keys());
    let of = transactions.len();
    let mut written = Written { revision: 0, transactions: 0 };
    let store = EtcdStore::new(settings.clone(), "");
    for (done, steps) in transactions.into_iter().enumerate() {
        match store.commit(&commit(steps)).await {
            Ok(committed) => written.revision = committed.revision.unwrap_or(0),
            Err(CommitError::Conflict(slots)) => {
                let documents = slots.iter().map(Slot::to_string).collect();
                return Err(PushError::Conflict { documents, done, of });
            }
            Err(error) => return Err(PushError::Interrupted { error, done, of }),
        }
        written.transactions = done + 1;
    }
    Ok(written)
}

/// The steps of one transaction, each bound to what the comparison saw.
fn commit(steps: &[Step]) -> Commit {
    let slot = |step: &Step| Slot::Document(step.id.clone());
    Commit {
        guards: steps.iter().map(|step| Guard { slot: slot(step), version: step.seen }).collect(),
        changes: steps
            .iter()
            .map(|step| match &step.body {
                Some(body) => Change::Put(slot(step), body.clone()),
                None => Change::Delete(slot(step)),
            })
            .collect(),
        ..Commit::default()
    }
}

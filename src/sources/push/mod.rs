//! Documents from a directory into etcd, and back.
//!
//! Answers: what would a push change, and did it happen?
//! Owns: guarded transactions. Never: checks documents (callers do, before), and never writes over a change it
//! has not seen: every operation is bound to the revision the comparison saw.
//! Start at [`compare`], then [`write`]; a dry run is a comparison that is only printed.

mod plan;
mod pull;
mod split;

pub use plan::{Difference, Plan, Surplus};
pub use pull::{PullError, Pulled, pull};

use super::SourceError;
use super::etcd::{Connection, EtcdSettings, Extent, Prefix};
use crate::documents::DocumentSet;
use crate::vocab::{Problem, Revision};
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use plan::{Step, Stored};

/// Why nothing, or not everything, was written.
#[derive(thiserror::Error, Debug)]
pub enum PushError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{} documents cannot be stored", .0.len())]
    Documents(Vec<Problem>),
    #[error("changed by somebody else meanwhile: {}; {done} of {of} transactions were written, push again", .documents.join(", "))]
    Conflict { documents: Vec<String>, done: usize, of: usize },
    /// The last transaction may or may not have been written.
    #[error("{error}; {done} of {of} transactions are known to be written, push again")]
    Interrupted { error: SourceError, done: usize, of: usize },
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
    let prefix = settings.keys();
    let transactions = plan.transactions(&prefix);
    let of = transactions.len();
    let mut written = Written { revision: 0, transactions: 0 };
    if of == 0 {
        return Ok(written);
    }
    let mut connection = Connection::any(settings).await?;
    for (done, steps) in transactions.into_iter().enumerate() {
        let answer = connection
            .transact(transaction(steps, &prefix))
            .await
            .map_err(|error| PushError::Interrupted { error, done, of })?;
        if !answer.succeeded() {
            let documents = conflicts(steps, &answer);
            return Err(PushError::Conflict { documents, done, of });
        }
        let revision = answer.header().map_or(0, |header| header.revision());
        written.revision = Revision::try_from(revision).unwrap_or(0);
        written.transactions = done + 1;
    }
    Ok(written)
}

impl Connection {
    async fn transact(&mut self, transaction: Txn) -> Result<TxnResponse, SourceError> {
        let mut kv = self.kv.clone();
        self.request(kv.txn(transaction)).await
    }
}

fn transaction(steps: &[Step], prefix: &Prefix) -> Txn {
    let key = |step: &Step| prefix.key(&step.id);
    let guards = steps.iter().map(|step| Compare::mod_revision(key(step), CompareOp::Equal, step.seen));
    let operations = steps.iter().map(|step| match &step.body {
        Some(body) => {
            // Taking the lease away would make a registered instance immortal.
            let options = step.leased.then(|| PutOptions::new().with_ignore_lease());
            TxnOp::put(key(step), body.to_vec(), options)
        }
        None => TxnOp::delete(key(step), None),
    });
    // If a guard fails, the same request tells which.
    let look = || Some(GetOptions::new().with_keys_only());
    let looks = steps.iter().map(|step| TxnOp::get(key(step), look()));
    Txn::new()
        .when(guards.collect::<Vec<_>>())
        .and_then(operations.collect::<Vec<_>>())
        .or_else(looks.collect::<Vec<_>>())
}

fn conflicts(steps: &[Step], answer: &TxnResponse) -> Vec<String> {
    let found = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(got) => got.kvs().first().map_or(0, |pair| pair.mod_revision()),
        _ => 0,
    });
    steps
        .iter()
        .zip(found)
        .filter(|(step, revision)| step.seen != *revision)
        .map(|(step, _)| step.id.to_string())
        .collect()
}

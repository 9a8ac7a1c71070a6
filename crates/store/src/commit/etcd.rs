//! Commits as transactions of etcd: every guard is a comparison inside the store.
//!
//! Owns: keys of slots, one connection that is opened again when it fails, and what an answer says. A request that was
//! sent and not answered is told apart from one that never was: only the latter may simply be tried again.

use std::sync::Arc;

use etcd_client::{
    Compare, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
    TxnResponse, WatchOptions,
};
use tokio::sync::{Mutex, watch};

use super::change::{Change, Commit, CommitError, Committed, Slot, Stored, Version};
use crate::etcd::{Backoff, Connection, EtcdSettings, Prefix};
use crate::leader::Term;
use crate::update::{Shutdown, SourceError, ended};
use graygate_rules::documents::DocumentId;
use graygate_rules::vocab::Revision;

/// What an operation and its guard weigh beyond key and value.
const OVERHEAD: usize = 128;
/// Values of one page.
const PAGE_LIMIT: usize = 1_000;
/// What etcd says when its quota is reached.
const NO_SPACE: &str = "database space exceeded";
/// What etcd says of a transaction that it did not begin.
const REFUSALS: [&str; 5] = [
    "permission denied",
    "too many operations in txn request",
    "request is too large",
    "duplicate key given in txn request",
    "user name is empty",
];

/// Documents and records of one etcd.
#[derive(Clone)]
pub struct EtcdStore {
    settings: Arc<EtcdSettings>,
    documents: Prefix,
    records: Prefix,
    /// Opened when it is needed; taken away by the first request that fails on it.
    connection: Arc<Mutex<Option<Connection>>>,
}

/// Which way a page is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    Ascending,
    Descending,
}

/// The room one member of the store takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Whose.
    pub endpoint: String,
    /// What its quota is compared with: freed pages count until they are given back by a defragmentation.
    pub bytes: u64,
    pub quota: Option<u64>,
}

/// Which records a listing shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What their names begin with, such as `users/`.
    pub prefix: String,
    /// Begin behind this name, in the direction of the listing.
    pub after: Option<String>,
    pub limit: usize,
    pub turn: Turn,
}

impl EtcdStore {
    /// A store that keeps documents below the settings' prefix, and records below another one.
    pub fn new(settings: EtcdSettings, records: &str) -> EtcdStore {
        EtcdStore {
            documents: settings.keys(),
            records: Prefix::new(records),
            settings: Arc::new(settings),
            connection: Arc::default(),
        }
    }

    /// The key of a slot.
    pub fn key(&self, slot: &Slot) -> String {
        match slot {
            Slot::Document(id) => self.documents.key(id),
            Slot::Record(name) => format!("{}{name}", self.records.as_str()),
        }
    }

    pub async fn read(&self, slot: &Slot) -> Result<Option<Stored>, CommitError> {
        let connection = self.connection().await?;
        let mut kv = connection.kv.clone();
        let mut found = self.used(connection.request(kv.get(self.key(slot), None)).await).await?;
        Ok(found.take_kvs().pop().map(|pair| Stored {
            version: version(pair.mod_revision()),
            body: pair.into_key_value().1.into(),
        }))
    }

    /// Records in the order of their names.
    pub async fn page(&self, page: &Page) -> Result<Vec<(String, Stored)>, CommitError> {
        let beginning = self.key(&Slot::Record(page.prefix.clone()));
        let (mut first, mut end) = (beginning.clone().into_bytes(), behind(&beginning));
        if let Some(after) = &page.after {
            let after = self.key(&Slot::Record(after.clone())).into_bytes();
            match page.turn {
                // The next key possible behind that one.
                Turn::Ascending => first = first.max([after.as_slice(), b"\0"].concat()),
                Turn::Descending => end = end.min(after),
            }
        }
        let order = match page.turn {
            Turn::Ascending => SortOrder::Ascend,
            Turn::Descending => SortOrder::Descend,
        };
        let limit = i64::try_from(page.limit.min(PAGE_LIMIT)).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(end).with_sort(SortTarget::Key, order).with_limit(limit);
        let connection = self.connection().await?;
        let mut kv = connection.kv.clone();
        let mut found = self.used(connection.request(kv.get(first, Some(options))).await).await?;
        let records = self.records.as_str();
        let named = found.take_kvs().into_iter().map(|pair| {
            let version = version(pair.mod_revision());
            let (key, value) = pair.into_key_value();
            let key = String::from_utf8_lossy(&key);
            let name = key.strip_prefix(records).unwrap_or(&key).to_owned();
            (name, Stored { version, body: value.into() })
        });
        Ok(named.collect())
    }

    /// How much room the store takes, and its quota where it says one (etcd does since 3.6).
    pub async fn usage(&self) -> Result<Usage, CommitError> {
        let connection = self.connection().await?;
        let mut maintenance = connection.maintenance.clone();
        let told = self.used(connection.request(maintenance.status()).await).await?;
        let quota = told.db_size_quota();
        Ok(Usage {
            endpoint: connection.endpoint().to_owned(),
            bytes: told.db_size().unsigned_abs(),
            quota: (quota > 0).then_some(quota.unsigned_abs()),
        })
    }

    /// Counts up whenever a record was changed by any writer, until the shutdown. After a gap it counts up as well: what
    /// happened in it is not known.
    pub async fn follow(&self, changes: watch::Sender<u64>, shutdown: Shutdown) {
        let mut backoff = Backoff::default();
        let following = async {
            loop {
                if self.watch(&changes, &mut backoff).await.is_err() {
                    tokio::time::sleep(backoff.next(rand::random())).await;
                }
                changes.send_modify(|count| *count += 1);
            }
        };
        tokio::select! {
            () = following => {}
            () = ended(shutdown) => {}
        }
    }

    async fn watch(&self, changes: &watch::Sender<u64>, backoff: &mut Backoff) -> Result<(), SourceError> {
        let connection = Connection::any(&self.settings).await?;
        let mut client = connection.watch.clone();
        let options = WatchOptions::new().with_range(behind(self.records.as_str()));
        let mut stream = connection.request(client.watch(self.records.as_str(), Some(options))).await?;
        backoff.reset();
        // What changed before the watch began was not heard.
        changes.send_modify(|count| *count += 1);
        while let Some(heard) =
            stream.message().await.map_err(|error| connection.failed(error.to_string()))?
        {
            if heard.canceled() {
                return Err(connection.failed("the watch was ended"));
            }
            if !heard.events().is_empty() {
                changes.send_modify(|count| *count += 1);
            }
        }
        Err(connection.failed("the watch ended"))
    }

    pub async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let connection = self.connection().await?;
        let answer = transact(&connection, commit, |slot| self.key(slot)).await;
        if matches!(answer, Err(CommitError::Unknown(_))) {
            self.connection.lock().await.take();
        }
        answer
    }

    async fn connection(&self) -> Result<Connection, SourceError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let opened = Connection::any(&self.settings).await?;
        *held = Some(opened.clone());
        Ok(opened)
    }

    /// Lets go of a connection whose request failed: the next one may find another endpoint.
    async fn used<T>(&self, outcome: Result<T, SourceError>) -> Result<T, SourceError> {
        if outcome.is_err() {
            self.connection.lock().await.take();
        }
        outcome
    }
}

/// The first key behind all that begin with this text.
fn behind(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            break;
        }
    }
    bytes
}

fn version(mod_revision: i64) -> Version {
    Version(u64::try_from(mod_revision).unwrap_or(0))
}

fn revision(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

/// What a change of a document weighs in a transaction.
pub(crate) fn weight(prefix: &Prefix, id: &DocumentId, bytes: usize) -> usize {
    2 * prefix.key(id).len() + bytes + OVERHEAD
}

/// Writes a commit in one transaction.
async fn transact(
    connection: &Connection,
    commit: &Commit,
    key: impl Fn(&Slot) -> String,
) -> Result<Committed, CommitError> {
    let mut kv = connection.kv.clone();
    let answer = connection.request(kv.txn(transaction(commit, &key))).await;
    let answer = answer.map_err(|error| match &error {
        SourceError::Etcd { message, .. } if message.contains(NO_SPACE) => CommitError::Full(message.clone()),
        SourceError::Etcd { message, .. } if REFUSALS.iter().any(|refusal| message.contains(refusal)) => {
            CommitError::Source(error)
        }
        _ => CommitError::Unknown(error),
    })?;
    if !answer.succeeded() {
        return Err(refusal(commit, &answer));
    }
    let written = answer.header().map_or(0, |header| header.revision());
    let versions = commit.changes.iter().map(|change| match change {
        Change::Put(..) => version(written),
        Change::Delete(_) => Version::NONE,
    });
    Ok(Committed { revision: Revision::try_from(written).ok(), versions: versions.collect() })
}

fn transaction(commit: &Commit, key: &impl Fn(&Slot) -> String) -> Txn {
    let guards = commit
        .guards
        .iter()
        .map(|guard| Compare::mod_revision(key(&guard.slot), CompareOp::Equal, revision(guard.version)));
    let term = commit.term.iter().filter_map(Term::comparison);
    let operations = commit.changes.iter().map(|change| match change {
        Change::Put(slot, body) => {
            // Taking the lease away would make a registered instance immortal. A key without one has none afterwards.
            let is_there = commit.expected(slot).is_some_and(|version| version != Version::NONE);
            let options = is_there.then(|| PutOptions::new().with_ignore_lease());
            TxnOp::put(key(slot), body.to_vec(), options)
        }
        Change::Delete(slot) => TxnOp::delete(key(slot), None),
    });
    // If a guard fails, the same request tells which.
    let looks = commit
        .guards
        .iter()
        .map(|guard| TxnOp::get(key(&guard.slot), Some(GetOptions::new().with_keys_only())));
    Txn::new()
        .when(guards.chain(term).collect::<Vec<_>>())
        .and_then(operations.collect::<Vec<_>>())
        .or_else(looks.collect::<Vec<_>>())
}

/// Which guards failed. Where all of them hold, it was the term.
fn refusal(commit: &Commit, answer: &TxnResponse) -> CommitError {
    let found = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(got) => got.kvs().first().map_or(0, |pair| pair.mod_revision()),
        _ => 0,
    });
    let failed = commit.guards.iter().zip(found).filter(|(guard, found)| guard.version != version(*found));
    let failed: Vec<_> = failed.map(|(guard, _)| guard.slot.clone()).collect();
    match failed.is_empty() {
        true => CommitError::TermOver,
        false => CommitError::Conflict(failed),
    }
}

//! The keeper for a fleet: records and documents in one etcd, written in one transaction.
//!
//! Owns: how long an answer may take, and what is still known of records while etcd is away. The transactions are the
//! store's own. Never: a write that waits longer than its answer may.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use graygate_rules::documents::DocumentId;
use graygate_store::commit::{self, Commit, CommitError, EtcdStore, Page, Turn};
use graygate_store::etcd::EtcdSettings;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::keeper::{
    Entry, OPERATION_LIMIT, Order, Range, Reserve, Revision, Slot, State, StateError, Stored,
    TRANSACTION_BYTES, Transaction, Write,
};
use crate::client;

/// How long any request may take: an action that cannot be written is answered within 2 s.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long what was read before is still told while etcd is away.
const STALE_LIMIT: Duration = Duration::from_secs(60);
/// While it is away, how long after a vain try the next one is made.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Bytes of records that are remembered for that time, and the longest that is.
const REMEMBERED: (usize, usize) = (32 << 20, 1 << 20);
/// Between two looks at how full it is.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// What etcd's quota is where neither its answer nor its figures say one: its own default.
const QUOTA: u64 = 2 << 30;
/// Above this share of the quota, in percent, what is left is a reserve.
const CROWDED_PERCENT: u64 = 70;
/// Where etcd says its quota, before 3.6.
const QUOTA_FIGURE: &str = "etcd_server_quota_backend_bytes ";
/// Largest page of its figures.
const FIGURES_LIMIT: usize = 8 << 20;
/// A list is kept in parts of about this size.
const PART_BYTES: usize = 64 << 10;

/// Records below one prefix, documents below another.
pub struct Etcd {
    settings: EtcdSettings,
    state_prefix: String,
    /// Replaced where a request was not answered: another endpoint may do it.
    store: Mutex<EtcdStore>,
    memory: Mutex<Memory>,
    changes: watch::Sender<u64>,
    /// Whether a task of its own tries again while etcd is away, so that requests fail at once.
    is_followed: AtomicBool,
    failed: Notify,
    /// Bytes, and the quota.
    room: Mutex<Option<(u64, u64)>>,
}

/// What was read of late, and since when nothing can be.
#[derive(Default)]
struct Memory {
    values: HashMap<Slot, Option<Stored>>,
    pages: HashMap<String, Vec<Entry>>,
    bytes: usize,
    failing: Option<Instant>,
    tried: Option<Instant>,
}

impl Etcd {
    pub fn new(settings: EtcdSettings, state_prefix: &str) -> Etcd {
        Etcd {
            store: Mutex::new(EtcdStore::new(settings.clone(), state_prefix)),
            settings,
            state_prefix: state_prefix.to_owned(),
            memory: Mutex::default(),
            changes: watch::Sender::new(0),
            is_followed: AtomicBool::new(false),
            failed: Notify::new(),
            room: Mutex::default(),
        }
    }

    /// Watches records, tries again where etcd is away, and looks how full it is, until the shutdown.
    pub async fn follow(&self, shutdown: watch::Receiver<bool>) {
        let store = EtcdStore::new(self.settings.clone(), &self.state_prefix);
        self.is_followed.store(true, Ordering::Release);
        tokio::select! {
            () = store.follow(self.changes.clone(), shutdown) => {}
            () = self.try_again() => {}
            () = self.measure(&store) => {}
        }
        self.is_followed.store(false, Ordering::Release);
    }

    async fn try_again(&self) {
        loop {
            if self.memory.lock().failing.is_none() {
                self.failed.notified().await;
            }
            tokio::time::sleep(TRY_EVERY).await;
            let store = self.store.lock().clone();
            let slot = commit::Slot::Record("probe".to_owned());
            match tokio::time::timeout(PATIENCE, store.read(&slot)).await {
                Ok(Ok(_)) => self.memory.lock().failing = None,
                _ => *self.store.lock() = EtcdStore::new(self.settings.clone(), &self.state_prefix),
            }
        }
    }

    async fn measure(&self, store: &EtcdStore) {
        let mut quota = None;
        loop {
            if let Ok(usage) = store.usage().await {
                quota = match usage.quota.or(quota) {
                    Some(known) => Some(known),
                    None => told_quota(&usage.endpoint).await,
                };
                *self.room.lock() = Some((usage.bytes, quota.unwrap_or(QUOTA)));
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    /// Runs a request within the time there is, and remembers whether it could be.
    async fn ask<T, F: Future<Output = Result<T, CommitError>>>(
        &self,
        request: impl FnOnce(EtcdStore) -> F,
    ) -> Result<T, StateError> {
        let away = || StateError::Away("etcd does not answer".to_owned());
        if self.is_followed.load(Ordering::Acquire) && self.memory.lock().failing.is_some() {
            return Err(away());
        }
        let begun = Instant::now();
        let store = self.store.lock().clone();
        let asked = match tokio::time::timeout(PATIENCE, request(store)).await {
            Ok(answer) => answer.map_err(refused),
            Err(_) => Err(away()),
        };
        let mut memory = self.memory.lock();
        if matches!(asked, Err(StateError::Away(_))) {
            memory.failing.get_or_insert(begun);
            memory.tried = Some(Instant::now());
            *self.store.lock() = EtcdStore::new(self.settings.clone(), &self.state_prefix);
            self.failed.notify_one();
        } else {
            memory.failing = None;
        }
        drop(memory);
        asked
    }

    /// Whether a try would be in vain: the last one was a moment ago, or another task tries.
    fn is_hopeless(&self) -> bool {
        let memory = self.memory.lock();
        let is_tried = || memory.tried.is_some_and(|tried| tried.elapsed() < TRY_EVERY);
        memory.failing.is_some() && (self.is_followed.load(Ordering::Acquire) || is_tried())
    }
}

/// The quota as an etcd before 3.6 says it among its figures. Its endpoint stands in the file.
async fn told_quota(endpoint: &str) -> Option<u64> {
    let request = http::Request::get(format!("{}/metrics", endpoint.trim_end_matches('/')));
    let answer = client::send(request.body(Vec::new()).ok()?, PATIENCE, FIGURES_LIMIT).await.ok()?;
    let text = String::from_utf8(answer.into_body()).ok()?;
    let figure = text.lines().find_map(|line| line.strip_prefix(QUOTA_FIGURE))?;
    let bytes: f64 = figure.trim().parse().ok()?;
    (bytes > 0.0).then_some(bytes as u64)
}

#[async_trait]
impl State for Etcd {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError> {
        if self.is_hopeless()
            && let Some(found) = self.memory.lock().value(slot)
        {
            return Ok(found);
        }
        let Some(asked) = store_slot(slot) else { return Ok(None) };
        match self.ask(|store| async move { store.read(&asked).await }).await {
            Ok(found) => {
                let found = found.map(stored);
                self.memory.lock().keep_value(slot, &found);
                Ok(found)
            }
            Err(error) => self.memory.lock().value(slot).ok_or(error),
        }
    }

    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError> {
        let name = format!("{range:?}");
        if self.is_hopeless()
            && let Some(found) = self.memory.lock().page(&name)
        {
            return Ok(found);
        }
        let page = Page {
            prefix: range.prefix.clone(),
            after: range.after.clone(),
            limit: range.limit,
            turn: match range.order {
                Order::Ascending => Turn::Ascending,
                Order::Descending => Turn::Descending,
            },
        };
        match self.ask(|store| async move { store.page(&page).await }).await {
            Ok(found) => {
                let entries = found.into_iter().map(|(name, found)| Entry { name, stored: stored(found) });
                let entries: Vec<_> = entries.collect();
                self.memory.lock().keep_page(name, &entries);
                Ok(entries)
            }
            Err(error) => self.memory.lock().page(&name).ok_or(error),
        }
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError> {
        if transaction.writes.len() > OPERATION_LIMIT {
            return Err(StateError::TooLarge(format!("more than {OPERATION_LIMIT} writes")));
        }
        if transaction.weight() > TRANSACTION_BYTES {
            return Err(StateError::TooLarge(format!("more than {} KiB", TRANSACTION_BYTES >> 10)));
        }
        if let Some(crowded) = self.crowded().filter(|_| transaction.reserve == Reserve::Untouched) {
            return Err(StateError::Full(crowded));
        }
        let asked = as_commit(&transaction)?;
        let committed = self.ask(|store| async move { store.commit(&asked).await }).await?;
        let revision = committed.revision.unwrap_or(0);
        let mut memory = self.memory.lock();
        for write in &transaction.writes {
            let value = match write {
                Write::Put(_, value) => Some(Stored { value: value.clone(), revision }),
                Write::Delete(_) => None,
            };
            memory.keep_value(write.slot(), &value);
        }
        drop(memory);
        self.changes.send_modify(|count| *count += 1);
        Ok(revision)
    }

    fn part_bytes(&self) -> Option<usize> {
        Some(PART_BYTES)
    }

    fn stale(&self) -> Option<Duration> {
        self.memory.lock().failing.map(|since| since.elapsed())
    }

    fn crowded(&self) -> Option<String> {
        let (bytes, quota) = (*self.room.lock())?;
        (bytes > quota / 100 * CROWDED_PERCENT).then(|| {
            format!(
                "etcd takes {} MiB of its quota of {}, and above {CROWDED_PERCENT} % only pauses, rollbacks and \
                 deletions are written; compact and defragment it, or raise its quota",
                bytes >> 20,
                quota >> 20
            )
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// The store's name for a slot; none for a document whose name cannot be one.
fn store_slot(slot: &Slot) -> Option<commit::Slot> {
    match slot {
        Slot::Record(name) => Some(commit::Slot::Record(name.clone())),
        Slot::Document(name) => DocumentId::parse(name).map(commit::Slot::Document),
    }
}

fn as_commit(transaction: &Transaction) -> Result<Commit, StateError> {
    let named = |slot: &Slot| {
        store_slot(slot).ok_or_else(|| StateError::Broken {
            name: slot.to_string(),
            message: "no document has this name".to_owned(),
        })
    };
    let mut commit = Commit::default();
    for expect in &transaction.expects {
        commit = commit.guard(named(&expect.slot)?, commit::Version(expect.revision));
    }
    for write in &transaction.writes {
        commit = match write {
            Write::Put(slot, value) => commit.put(named(slot)?, &value[..]),
            Write::Delete(slot) => commit.delete(named(slot)?),
        };
    }
    Ok(match &transaction.lead {
        Some(lead) => commit.bound_to(lead.clone()),
        None => commit,
    })
}

fn refused(error: CommitError) -> StateError {
    match error {
        CommitError::Conflict(slots) => {
            let own = slots.into_iter().map(|slot| match slot {
                commit::Slot::Record(name) => Slot::Record(name),
                commit::Slot::Document(id) => Slot::Document(id.to_string()),
            });
            StateError::Conflict(own.collect())
        }
        CommitError::TermOver => StateError::LeadLost,
        CommitError::TooLarge(what) => StateError::TooLarge(what),
        CommitError::Full(what) => StateError::Full(what),
        other => StateError::Away(other.to_string()),
    }
}

fn stored(found: commit::Stored) -> Stored {
    Stored { value: Bytes::copy_from_slice(&found.body), revision: found.version.0 }
}

impl Memory {
    fn value(&self, slot: &Slot) -> Option<Option<Stored>> {
        self.is_fresh().then(|| self.values.get(slot).cloned()).flatten()
    }

    fn page(&self, name: &str) -> Option<Vec<Entry>> {
        self.is_fresh().then(|| self.pages.get(name).cloned()).flatten()
    }

    fn is_fresh(&self) -> bool {
        self.failing.is_some_and(|since| since.elapsed() < STALE_LIMIT)
    }

    fn keep_value(&mut self, slot: &Slot, value: &Option<Stored>) {
        let bytes = 64 + value.as_ref().map_or(0, |stored| stored.value.len());
        if bytes <= REMEMBERED.1 {
            self.make_room(bytes);
            self.values.insert(slot.clone(), value.clone());
        }
    }

    fn keep_page(&mut self, name: String, entries: &[Entry]) {
        let bytes = entries.iter().map(|entry| entry.name.len() + entry.stored.value.len()).sum();
        if bytes <= REMEMBERED.1 {
            self.make_room(bytes);
            self.pages.insert(name, entries.to_vec());
        }
    }

    /// Forgets everything where there is too much of it; what is in use is read again at once.
    fn make_room(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > REMEMBERED.0 {
            self.values.clear();
            self.pages.clear();
            self.bytes = bytes;
        }
    }
}

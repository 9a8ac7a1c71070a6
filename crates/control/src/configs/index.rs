//! The items and audiences in memory, and the answer to who asks.
//!
//! Owns: what is read of items, and the one place it is replaced. Never: a store; what a write is compared with is read
//! from there. Start at [`Configs::answer`].

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use graygate_judge::plan::State;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::audience::{Asker, Audiences};
use super::given::{Answer, Given};
use super::item::{ItemId, ItemName};
use crate::state::Revision;

/// Answers by application, and by whether a plan gave them.
const REQUESTS: &str = "graygate_config_requests_total";

/// An item as it is read.
#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Arc<str>,
    pub revision: Revision,
}

/// What someone gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub value: Arc<str>,
    pub gray: bool,
    pub plan: Option<String>,
    /// Moves with whatever may have changed the answer, and never back.
    pub version: u64,
}

/// Answers by application.
#[derive(Default, Debug)]
struct Counter {
    gray: AtomicU64,
    release: AtomicU64,
}

impl Counter {
    fn count(&self, gray: bool) {
        let count = if gray { &self.gray } else { &self.release };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// All items, twice: in order for lists of them, and by name for who asks.
#[derive(Default, Debug)]
struct Items {
    sorted: BTreeMap<ItemId, Entry>,
    by_name: HashMap<String, Entry>,
}

pub struct Configs {
    items: RwLock<Items>,
    audiences: ArcSwap<Audiences>,
    pub given: Given,
    counters: RwLock<BTreeMap<String, Arc<Counter>>>,
    /// Moves with every change that may change an answer.
    changes: watch::Sender<u64>,
    /// What was read: the number of the newest write of items.
    pub read: tokio::sync::Mutex<Read>,
    /// Set once items and plans were read.
    pub is_read: AtomicBool,
    /// Names this process's records.
    pub process: String,
    /// Parts of identities that were read.
    pub learned: Mutex<std::collections::HashMap<String, Revision>>,
}

/// How far the store was read.
#[derive(Default, Debug)]
pub struct Read {
    /// None: nothing yet.
    pub sequence: Option<u64>,
    pub plans: BTreeMap<String, Revision>,
    /// Whether the identities of running plans were read.
    pub is_given_read: bool,
}

impl Default for Configs {
    fn default() -> Configs {
        Configs {
            items: RwLock::default(),
            audiences: ArcSwap::from_pointee(Audiences::none()),
            given: Given::default(),
            counters: RwLock::default(),
            changes: watch::Sender::new(0),
            read: tokio::sync::Mutex::default(),
            is_read: AtomicBool::new(false),
            process: crate::people::short_id(),
            learned: Mutex::default(),
        }
    }
}

impl Configs {
    /// The value for who asks; none of a key that is not there. `now` is nanoseconds since 1970.
    pub fn answer(&self, item: &ItemName<'_>, asker: &Asker<'_>, now: i128) -> Option<Told> {
        let name = item.to_string();
        let entry = self.items.read().by_name.get(&name).cloned()?;
        let audiences = self.audiences.load();
        let mut told = Told { value: entry.value, gray: false, plan: None, version: entry.revision };
        for audience in audiences.of_key(&name) {
            told.version = told.version.max(audience.revision);
            if told.gray || !audience.is_giving() {
                continue;
            }
            let identity = asker.identity(audience.by.as_deref());
            // Who had the value keeps it while a plan is paused, and the audience grows by no one.
            let gray = audiences.gives(audience, asker, now)
                && (audience.state != State::Paused
                    || self.given.had(&audience.plan, audience.run, &identity));
            let address = asker.address.to_string();
            self.given.note(&Answer {
                plan: &audience.plan,
                run: audience.run,
                moves: audience.moves,
                identity: &identity,
                instance: asker.instance.unwrap_or_default(),
                address: &address,
                key: item.key(),
                gray,
                at: i64::try_from(now / 1_000_000).unwrap_or(i64::MAX),
            });
            if gray && let Some(value) = audience.values.get(item.key()) {
                (told.value, told.gray) = (value.clone(), true);
                told.plan = Some(audience.plan.clone());
            }
        }
        Some(told)
    }

    /// Counts an answer that is sent.
    pub fn count(&self, app: &str, gray: bool) {
        if let Some(counter) = self.counters.read().get(app) {
            return counter.count(gray);
        }
        self.counters.write().entry(app.to_owned()).or_default().count(gray);
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        let mut out = format!("# TYPE {REQUESTS} counter\n");
        for (app, counter) in &*self.counters.read() {
            for (gray, count) in [(true, &counter.gray), (false, &counter.release)] {
                let count = count.load(Ordering::Relaxed);
                let _ = writeln!(out, "{REQUESTS}{{app=\"{app}\",gray=\"{gray}\"}} {count}");
            }
        }
        out
    }

    pub fn entry(&self, id: &ItemId) -> Option<Entry> {
        self.items.read().sorted.get(id).cloned()
    }

    /// Items behind one, in order.
    pub fn page(
        &self,
        after: Option<&ItemId>,
        takes: impl Fn(&ItemId) -> bool,
        limit: usize,
    ) -> Vec<(ItemId, Entry)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let items = self.items.read();
        let found = items.sorted.range((from, Bound::Unbounded)).filter(|(id, _)| takes(id));
        found.take(limit).map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    pub fn audiences(&self) -> Arc<Audiences> {
        self.audiences.load_full()
    }

    pub fn replace_audiences(&self, audiences: Arc<Audiences>) {
        self.audiences.store(audiences);
        self.tell();
    }

    pub fn replace_all(&self, sorted: BTreeMap<ItemId, Entry>) {
        let by_name = sorted.iter().map(|(id, entry)| (id.to_string(), entry.clone())).collect();
        *self.items.write() = Items { sorted, by_name };
        self.tell();
    }

    pub fn replace(&self, changed: Vec<(ItemId, Option<Entry>)>) {
        let mut items = self.items.write();
        for (id, entry) in changed {
            let name = id.to_string();
            match entry {
                Some(entry) => {
                    items.by_name.insert(name, entry.clone());
                    items.sorted.insert(id, entry);
                }
                None => {
                    items.by_name.remove(&name);
                    items.sorted.remove(&id);
                }
            }
        }
        drop(items);
        self.tell();
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Told of every change that may change an answer.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

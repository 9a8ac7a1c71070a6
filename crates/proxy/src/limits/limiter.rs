//! A limit that runs, and the keys and states that limits share.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use parking_lot::Mutex;

use super::gcra::{Gcra, Nanos};
use super::table::Table;
use graygate_rules::vocab::{Attribute, DocumentId, Limit};

/// What all limits of the process share; it outlives generations, so that a change of a document gives no client more.
pub struct Limits {
    shared: Arc<Shared>,
    /// Arrival times of limits without keys, by the document that says the limit.
    together: Mutex<HashMap<DocumentId, Arc<AtomicU64>>>,
}

struct Shared {
    epoch: Instant,
    /// A client that could find two keys with one hash could use up another one's requests.
    secret: RandomState,
    table: Table,
}

impl Limits {
    pub fn new(epoch: Instant) -> Limits {
        let shared = Shared { epoch, secret: RandomState::default(), table: Table::default() };
        Limits { shared: Arc::new(shared), together: Mutex::default() }
    }

    /// The limit that a document says, going on from what it has let through so far.
    pub fn limiter(&self, document: &DocumentId, limit: &Limit) -> Limiter {
        let keys = match &limit.by {
            Some(by) => Keys::Each { by: by.clone(), seed: self.shared.secret.hash_one(document) },
            None => Keys::All(self.together.lock().entry(document.clone()).or_default().clone()),
        };
        let gcra = Gcra::new(limit.rate.interval(), limit.burst);
        Limiter { shared: self.shared.clone(), gcra, keys }
    }

    /// Forgets limits that no document says any more.
    pub fn sweep(&self) {
        self.together.lock().retain(|_, due| Arc::strong_count(due) > 1);
    }

    /// Keys that are remembered now.
    pub fn keys(&self, now: Instant) -> usize {
        self.shared.table.keys(self.shared.nanos(now))
    }
}

impl Shared {
    /// From 1 on: 0 stands for a free place.
    fn nanos(&self, now: Instant) -> Nanos {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        Nanos::try_from(since).unwrap_or(Nanos::MAX).saturating_add(1)
    }
}

/// One limit.
pub struct Limiter {
    shared: Arc<Shared>,
    gcra: Gcra,
    keys: Keys,
}

enum Keys {
    All(Arc<AtomicU64>),
    Each { by: Box<[Attribute]>, seed: u64 },
}

/// A request that came too early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// How long until one would pass.
    pub wait: Duration,
}

impl Refusal {
    /// The wait in whole seconds, as `retry-after` says it; 1 at least.
    pub fn seconds(self) -> u64 {
        let seconds = self.wait.as_secs();
        (seconds + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

impl Limiter {
    /// What tells one client from another; `None`: nothing does.
    pub fn by(&self) -> Option<&[Attribute]> {
        match &self.keys {
            Keys::All(_) => None,
            Keys::Each { by, .. } => Some(by),
        }
    }

    /// Whether a request passes at this moment. `key` is the value of the first attribute of [`Limiter::by`] that it has;
    /// without one where there should be one it is not limited.
    pub fn pass(&self, key: Option<&[u8]>, now: Instant) -> Result<(), Refusal> {
        let now = self.shared.nanos(now);
        let decide = |due: Nanos| self.gcra.pass(due, now);
        let passed = match (&self.keys, key) {
            (Keys::All(due), _) => {
                let mut refusal = None;
                let next = |known: Nanos| decide(known).map_err(|wait| refusal = Some(wait)).ok();
                let passed = due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
                match (passed, refusal) {
                    (Err(_), Some(wait)) => Err(wait),
                    _ => Ok(()),
                }
            }
            (Keys::Each { .. }, None) => Ok(()),
            (Keys::Each { seed, .. }, Some(key)) => {
                self.shared.table.update(self.shared.secret.hash_one((seed, key)), now, decide)
            }
        };
        passed.map_err(|wait| Refusal { wait })
    }
}

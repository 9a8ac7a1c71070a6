//! The counts of one second, while it lasts and afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::client::{Client, is_sampled, salted};
use super::edges::passed;
use super::row::{Counts, Row, RowKey};
use super::waiting::Standing;

/// Rows of a second; what would be in others is counted as left out.
pub const ROW_LIMIT: usize = 2_000;
/// Clients whose first request of a second is told apart from their others; 2 MiB.
const TIMED_LIMIT: usize = 1 << 17;
/// Clients with an error that are kept of one service's second. Above, only those in a sample are.
const FAILING_LIMIT: usize = 4_096;
/// What a row of a second costs, beside its lists.
const ROW_BYTES: usize = 96;
/// What a client costs beside its text.
const CLIENT_BYTES: usize = 32;

/// What ended, or has lasted long enough to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub key: &'a Arc<RowKey>,
    pub client: &'a Client,
    pub standing: Standing,
    pub end: End,
    pub took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// An instance answered.
    Answered { is_error: bool, is_warm: bool },
    /// None did, or not yet.
    Unanswered,
}

/// The salts that a service is asked with at present.
pub type Salts<'a> = &'a [Arc<str>];

/// A second that lasts.
#[derive(Default, Debug)]
pub struct Second {
    pub second: u64,
    /// By the number of their key.
    rows: HashMap<u64, Row, RandomState>,
    /// Clients that had a request.
    timed: HashSet<u64, RandomState>,
    /// Clients that have an error in a row.
    failed: HashSet<(u64, u64), RandomState>,
    services: BTreeMap<Box<str>, Crowd>,
}

/// What is particular of a service's second.
#[derive(Clone, Default, Debug)]
pub struct Crowd {
    /// Requests that had no row.
    pub left_out: u64,
    /// Clients with an error that are kept.
    failing: usize,
    /// Above 0, only those clients are kept whose hash under one of `salts` has as many zeros at its end.
    pub sampled: u32,
    pub salts: Vec<Arc<str>>,
}

/// A second that is over.
#[derive(Debug)]
pub struct Closed {
    pub second: u64,
    pub rows: Box<[ClosedRow]>,
    pub services: BTreeMap<Box<str>, Crowd>,
}

#[derive(Debug)]
pub struct ClosedRow {
    pub key: Arc<RowKey>,
    pub counts: Counts,
    pub slower: Box<[u32]>,
    pub failing: Box<[Box<[u8]>]>,
}

impl Second {
    pub fn new(second: u64) -> Second {
        Second { second, ..Second::default() }
    }

    pub fn count(&mut self, seen: &Seen<'_>, salts: Salts<'_>) {
        let Standing { is_undrawn, has_tried_own, is_at_own, has_failed } = seen.standing;
        let is_answered = seen.end != End::Unanswered;
        let is_fallback = is_answered && !is_at_own;
        if !(is_undrawn || has_tried_own || is_fallback) {
            return;
        }
        let is_first = self.timed.len() < TIMED_LIMIT && self.timed.insert(seen.client.number);
        let Some(row) = self.row(seen.key) else { return };
        if is_undrawn {
            row.counts.undrawn += 1;
            return;
        }
        row.counts.fallbacks += u32::from(is_fallback);
        if !has_tried_own {
            return;
        }
        row.counts.requests += 1;
        let is_warm = !matches!(seen.end, End::Answered { is_warm: false, .. });
        if is_first && is_warm {
            row.time(passed(seen.took));
        }
        let is_bad_answer = is_at_own && matches!(seen.end, End::Answered { is_error: true, .. });
        if has_failed || is_bad_answer {
            self.fail(seen.key, seen.client, salts);
        }
    }

    /// A request that was counted turned out to be an error.
    pub fn fail(&mut self, key: &Arc<RowKey>, client: &Client, salts: Salts<'_>) {
        let number = key.number;
        let Some(row) = self.rows.get_mut(&number).filter(|row| row.counts.errors < row.counts.requests)
        else {
            return;
        };
        row.counts.errors += 1;
        if !self.failed.insert((number, client.number)) {
            return;
        }
        let crowd = self.services.entry(key.service.clone()).or_default();
        if !crowd.keeps(&client.text) {
            return;
        }
        row.failing.push(client.text.clone());
        crowd.failing += 1;
        if crowd.failing > FAILING_LIMIT {
            self.thin_out(&key.service, salts);
        }
    }

    /// Keeps about half of a service's clients with an error, and the same ones as every other proxy does.
    fn thin_out(&mut self, service: &str, salts: Salts<'_>) {
        let Some(crowd) = self.services.get_mut(service) else { return };
        if crowd.sampled == 0 {
            crowd.salts = salts.to_vec();
        }
        crowd.sampled += 1;
        let rows = self.rows.values_mut().filter(|row| *row.key.service == *service);
        crowd.failing = rows.fold(0, |kept, row| {
            row.failing.retain(|client| crowd.keeps(client));
            kept + row.failing.len()
        });
    }

    /// The row of a key; none where there are too many already.
    fn row(&mut self, key: &Arc<RowKey>) -> Option<&mut Row> {
        if self.rows.len() >= ROW_LIMIT && !self.rows.contains_key(&key.number) {
            self.services.entry(key.service.clone()).or_default().left_out += 1;
            return None;
        }
        Some(self.rows.entry(key.number).or_insert_with(|| Row::new(key.clone())))
    }

    /// What is kept of it, and empties it for the next second.
    pub fn close(&mut self, next: u64) -> Closed {
        let rows = self.rows.drain().map(|(_, row)| ClosedRow {
            slower: row.slower(),
            counts: row.counts,
            failing: row.failing.into(),
            key: row.key,
        });
        let closed = Closed {
            second: self.second,
            rows: rows.collect(),
            services: std::mem::take(&mut self.services),
        };
        // Their memory is used again.
        self.timed.clear();
        self.failed.clear();
        self.second = next;
        closed
    }
}

impl Crowd {
    fn keeps(&self, client: &[u8]) -> bool {
        let is_in = |salt: &Arc<str>| is_sampled(salted(salt, client), self.sampled);
        self.sampled == 0 || self.salts.iter().any(is_in)
    }
}

impl Closed {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.services.is_empty()
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let row = |row: &ClosedRow| {
            let clients: usize = row.failing.iter().map(|client| client.len() + CLIENT_BYTES).sum();
            ROW_BYTES + row.slower.len() * size_of::<u32>() + clients
        };
        self.rows.iter().map(row).sum()
    }
}

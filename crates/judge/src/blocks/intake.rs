//! Which rows enter a run?
//!
//! Owns what makes a row too old, too late, a repetition, or too far ahead, and how many were left out. A proxy's second is
//! compared once and as a whole, because its gray and its release rows belong together: what comes after it was compared is
//! late. Never: figures of a row ([`super::Row`] knows whether those are possible).

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::edges::Edges;
use super::names::{row_hash, stream_hash};
use super::row::Row;

/// A row older than that is no longer told by any proxy; a proxy that sends one has a clock that is wrong.
const OLDEST: u64 = 120;
/// The same forwards, beside the fleet's clocks.
const FURTHEST_AHEAD: u64 = 120;
/// Rows of one batch: a thousand proxies with 262 rows each, in some 100 MiB.
pub const MOST_ROWS: usize = 1 << 18;
/// Different (proxy, service, route, rule) within two minutes, at 32 bytes each.
const MOST_STREAMS: usize = 1 << 19;
/// Streams that ended are forgotten in passing, after so many batches.
const FORGET_EVERY: u32 = 128;

/// What was let in so far, and what was not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Intake {
    /// The run's first second; rows before it do not enter.
    start: Option<u64>,
    newest: Option<u64>,
    left_out: u64,
    edges: Option<Edges>,
    /// Which seconds of a (proxy, service, route, rule) were compared. Not kept with a run: a new leader goes on from the
    /// cursors that are, so no one tells it those seconds again.
    #[serde(skip)]
    streams: HashMap<u64, Window>,
    #[serde(skip)]
    batches: u32,
}

/// The last 128 seconds of a stream, the lowest bit for the newest.
#[derive(Clone, Copy, Debug)]
struct Window {
    newest: u64,
    older: [u64; 2],
}

impl Intake {
    pub fn new(start: Option<u64>) -> Self {
        Self { start, ..Self::default() }
    }

    /// The rows of a batch that enter, in their order. `now` is the fleet's clock, where there is one to believe.
    pub fn admit(&mut self, rows: Vec<Row>, now: Option<u64>) -> Vec<Row> {
        let mut keys = HashSet::new();
        let mut streams = Vec::new();
        let mut entered = Vec::with_capacity(rows.len().min(MOST_ROWS));
        for row in rows {
            let Some(enters) = self.enters(&row, now) else { continue };
            let (second, teller, series) = (row.key.second, &row.key.teller, &row.key.series);
            let stream = stream_hash(teller, series);
            let fits = entered.len() < MOST_ROWS && self.remembers(stream);
            if !enters
                || !fits
                || self.compared(stream, second)
                || !keys.insert(row_hash(second, teller, series))
            {
                self.leave_out(1);
                continue;
            }
            streams.push((stream, second));
            self.reach(second);
            entered.push(row);
        }
        for (stream, second) in streams {
            let window = self.streams.entry(stream).or_insert(Window { newest: second, older: [0, 0] });
            window.set(second);
        }
        self.forget();
        entered
    }

    /// Whether a row's second and edges are good; none where it is from before the run.
    fn enters(&mut self, row: &Row, now: Option<u64>) -> Option<bool> {
        let second = row.key.second;
        if second < *self.start.get_or_insert(second) {
            return None;
        }
        let old = self.newest.is_some_and(|newest| second.saturating_add(OLDEST) < newest);
        let ahead = now.is_some_and(|now| second > now.saturating_add(FURTHEST_AHEAD));
        if old || ahead {
            return Some(false);
        }
        let edges = row.edges.as_deref().unwrap_or(Edges::usual());
        let same = self.edges.get_or_insert_with(|| edges.clone()).same_as(edges);
        Some(same)
    }

    /// Time has come that far, with or without rows that enter.
    pub fn reach(&mut self, second: u64) {
        self.start.get_or_insert(second);
        self.newest = self.newest.max(Some(second));
    }

    pub fn leave_out(&mut self, rows: u64) {
        self.left_out = self.left_out.saturating_add(rows);
    }

    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    pub fn edges(&self) -> &Edges {
        self.edges.as_ref().unwrap_or(Edges::usual())
    }

    fn compared(&self, stream: u64, second: u64) -> bool {
        self.streams.get(&stream).is_some_and(|window| window.has(second))
    }

    fn remembers(&self, stream: u64) -> bool {
        self.streams.len() < MOST_STREAMS || self.streams.contains_key(&stream)
    }

    fn forget(&mut self) {
        self.batches = self.batches.wrapping_add(1);
        if self.batches.is_multiple_of(FORGET_EVERY) || self.streams.len() >= MOST_STREAMS {
            let newest = self.newest.unwrap_or(0);
            self.streams.retain(|_, window| window.newest.saturating_add(OLDEST) >= newest);
        }
    }
}

impl Window {
    fn has(&self, second: u64) -> bool {
        let Some(age) = self.newest.checked_sub(second) else { return false };
        let [low, high] = self.older;
        match age {
            0..64 => low >> age & 1 == 1,
            64..128 => high >> (age - 64) & 1 == 1,
            _ => true,
        }
    }

    fn set(&mut self, second: u64) {
        let ahead = second.saturating_sub(self.newest);
        let bits = u128::from(self.older[0]) | u128::from(self.older[1]) << 64;
        let bits = u32::try_from(ahead).ok().and_then(|ahead| bits.checked_shl(ahead)).unwrap_or(0);
        self.newest = self.newest.max(second);
        let age = u32::try_from(self.newest - second).ok();
        let bits = bits | age.and_then(|age| 1u128.checked_shl(age)).unwrap_or(0);
        self.older = [bits as u64, (bits >> 64) as u64];
    }
}

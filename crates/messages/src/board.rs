//! What all gateways know together: which lanes there are, how far each is, and who holds what.
//!
//! Owns: the keys and what stands in them. Never: asks or writes; the keeper does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use graygate_store::board::Entries;
use serde::{Deserialize, Serialize};

/// A lane of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneKey {
    pub group: String,
    pub lane: String,
}

impl LaneKey {
    pub fn new(group: &str, lane: &str) -> LaneKey {
        LaneKey { group: group.to_owned(), lane: lane.to_owned() }
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.lane)
    }
}

/// How far a lane is. Each is confirmed by every gateway before the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its group is made, and begins at the end of every queue.
    Priming,
    /// Base leaves its messages out, and what was asked before has come back.
    Excluding,
    /// Producers mark.
    Open,
    /// Producers no longer mark, and what they sent before is stored.
    Unmarking,
    /// What is on its way still arrives.
    Draining,
}

impl Step {
    pub const ALL: [Step; 5] = [Step::Priming, Step::Excluding, Step::Open, Step::Unmarking, Step::Draining];

    pub const fn word(self) -> &'static str {
        match self {
            Step::Priming | Step::Excluding => "opening",
            Step::Open => "open",
            Step::Unmarking | Step::Draining => "closing",
        }
    }
}

/// What is kept of a lane for as long as there may be a message of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    pub step: Step,
    /// Seconds since 1970 at which the step began.
    pub since: u64,
    /// Topics whose messages are marked, or ever were: on these the lane's group has its beginning.
    pub topics: BTreeSet<String>,
    /// Topics that documents have added since, which are primed before a message there is marked.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub joining: BTreeSet<String>,
}

/// A record as it stands on the board.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub record: Record,
    /// Never the same for two lanes, whatever their names.
    pub created: i64,
    pub modified: i64,
}

/// The board at one revision.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct View {
    pub records: BTreeMap<LaneKey, Kept>,
    pub gateways: BTreeSet<String>,
    /// The modification of the record that a gateway has confirmed.
    pub confirmed: BTreeMap<(LaneKey, String), i64>,
    pub live: BTreeMap<LaneKey, BTreeMap<String, usize>>,
    pub drains: BTreeMap<LaneKey, BTreeSet<String>>,
    /// Messages marked and acknowledged, by gateway.
    pub counts: BTreeMap<LaneKey, BTreeMap<String, Counted>>,
}

/// What one gateway counted of a lane since it began.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counted {
    pub sent: u64,
    pub acknowledged: u64,
}

const RECORD: &str = "record";
const GATEWAY: &str = "gateway";
const CONFIRMED: &str = "confirmed";
const LIVE: &str = "live";
const DRAIN: &str = "drain";
const COUNT: &str = "count";

pub fn record_key(key: &LaneKey) -> String {
    format!("{RECORD}/{key}")
}

pub fn gateway_key(gateway: &str) -> String {
    format!("{GATEWAY}/{gateway}")
}

pub fn confirmed_key(key: &LaneKey, gateway: &str) -> String {
    format!("{CONFIRMED}/{key}/{gateway}")
}

pub fn live_key(key: &LaneKey, gateway: &str) -> String {
    format!("{LIVE}/{key}/{gateway}")
}

pub fn drain_key(key: &LaneKey, gateway: &str) -> String {
    format!("{DRAIN}/{key}/{gateway}")
}

pub fn count_key(key: &LaneKey, gateway: &str) -> String {
    format!("{COUNT}/{key}/{gateway}")
}

impl View {
    /// What cannot be read is left out: a newer gateway may have written it.
    pub fn read(entries: &Entries) -> View {
        let mut view = View::default();
        for (key, entry) in entries {
            let parts: Vec<&str> = key.split('/').collect();
            match *parts.as_slice() {
                [GATEWAY, gateway] => {
                    view.gateways.insert(gateway.to_owned());
                }
                [RECORD, group, lane] => {
                    if let Ok(record) = serde_json::from_str(&entry.value) {
                        let kept = Kept { record, created: entry.created, modified: entry.modified };
                        view.records.insert(LaneKey::new(group, lane), kept);
                    }
                }
                [kind, group, lane, gateway] => {
                    view.take(kind, LaneKey::new(group, lane), gateway, &entry.value);
                }
                _ => {}
            }
        }
        view
    }

    fn take(&mut self, kind: &str, key: LaneKey, gateway: &str, value: &str) {
        let gateway = gateway.to_owned();
        match kind {
            CONFIRMED => {
                if let Ok(modified) = value.parse() {
                    self.confirmed.insert((key, gateway), modified);
                }
            }
            LIVE => {
                self.live.entry(key).or_default().insert(gateway, value.parse().unwrap_or(1));
            }
            DRAIN => {
                self.drains.entry(key).or_default().insert(gateway);
            }
            COUNT => {
                if let Ok(counted) = serde_json::from_str(value) {
                    self.counts.entry(key).or_default().insert(gateway, counted);
                }
            }
            _ => {}
        }
    }

    pub fn is_live(&self, key: &LaneKey) -> bool {
        self.live.get(key).is_some_and(|by| !by.is_empty())
    }

    pub fn is_drained(&self, key: &LaneKey) -> bool {
        self.drains.get(key).is_some_and(|by| !by.is_empty())
    }

    pub fn is_drained_by(&self, key: &LaneKey, gateway: &str) -> bool {
        self.drains.get(key).is_some_and(|by| by.contains(gateway))
    }

    pub fn is_live_by(&self, key: &LaneKey, gateway: &str) -> bool {
        self.live.get(key).is_some_and(|by| by.contains_key(gateway))
    }

    pub(crate) fn forget_live(&mut self, key: &LaneKey, gateway: &str) {
        if let Some(by) = self.live.get_mut(key) {
            by.remove(gateway);
        }
    }

    pub(crate) fn forget_drain(&mut self, key: &LaneKey, gateway: &str) {
        if let Some(by) = self.drains.get_mut(key) {
            by.remove(gateway);
        }
    }

    pub fn step(&self, key: &LaneKey) -> Option<Step> {
        self.records.get(key).map(|kept| kept.record.step)
    }

    /// Whether every gateway has confirmed the record as it is.
    pub fn is_confirmed(&self, key: &LaneKey) -> bool {
        let Some(kept) = self.records.get(key) else { return false };
        self.gateways
            .iter()
            .all(|gateway| self.confirmed.get(&(key.clone(), gateway.clone())) == Some(&kept.modified))
    }

    /// The mark of a lane's messages.
    pub fn mark(&self, key: &LaneKey) -> Option<String> {
        self.records.get(key).map(|kept| format!("{}.{}", key.lane, kept.created))
    }
}

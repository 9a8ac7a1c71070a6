//! What people and programs are told of lanes: the same in `/status` and in `graygate lanes`.

use serde::Serialize;

use super::board::View;
use super::metrics::LaneState;

/// A lane of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LaneReport {
    pub group: String,
    pub lane: String,
    /// `opening`, `open`, `draining`, `closing`.
    pub state: &'static str,
    /// The property that its messages carry.
    pub mark: String,
    /// Gateways whose base clients take its messages.
    pub drained_by: Vec<String>,
    /// Living consumers of its own.
    pub consumers: usize,
    /// Messages that gateways marked and no one has acknowledged, since the gateways that run began.
    pub lag: u64,
}

pub fn reports(view: &View) -> Vec<LaneReport> {
    let report = |key: &super::board::LaneKey| {
        let counts = view.counts.get(key).into_iter().flat_map(|by| by.values());
        let (sent, acknowledged) =
            counts.fold((0_u64, 0_u64), |(sent, done), one| (sent + one.sent, done + one.acknowledged));
        Some(LaneReport {
            group: key.group.clone(),
            lane: key.lane.clone(),
            state: LaneState::of(view, key)?.word(),
            mark: view.mark(key)?,
            drained_by: view.drains.get(key).into_iter().flatten().cloned().collect(),
            consumers: view.live.get(key).into_iter().flat_map(|by| by.values()).sum(),
            lag: sent.saturating_sub(acknowledged),
        })
    };
    view.records.keys().filter_map(report).collect()
}

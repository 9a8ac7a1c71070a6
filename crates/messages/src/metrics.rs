//! What is counted of lanes.

use std::sync::Arc;

use graygate_telemetry::{Counter, Family, Registry, Table};

use super::board::{LaneKey, Step, View};

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a producer.
    Sent,
    /// To a consumer.
    Received,
}

impl Direction {
    pub const fn word(self) -> &'static str {
        match self {
            Direction::Sent => "sent",
            Direction::Received => "received",
        }
    }
}

/// What a lane is, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneState {
    Opening,
    /// Its own clients take its messages, or none are there and no one does yet.
    Open,
    /// Base takes its messages.
    Draining,
    Closing,
}

impl LaneState {
    pub const ALL: [LaneState; 4] =
        [LaneState::Opening, LaneState::Open, LaneState::Draining, LaneState::Closing];

    pub const fn word(self) -> &'static str {
        match self {
            LaneState::Opening => "opening",
            LaneState::Open => "open",
            LaneState::Draining => "draining",
            LaneState::Closing => "closing",
        }
    }

    pub fn of(view: &View, key: &LaneKey) -> Option<LaneState> {
        Some(match view.step(key)? {
            Step::Priming | Step::Excluding => LaneState::Opening,
            Step::Unmarking | Step::Draining => LaneState::Closing,
            Step::Open if view.is_drained(key) => LaneState::Draining,
            Step::Open => LaneState::Open,
        })
    }
}

/// The families of all lanes.
pub struct Metrics {
    messages: Arc<Family<Counter>>,
    states: Arc<Table>,
    takeovers: Arc<Counter>,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let messages = registry.counter(
            "graygate_messages_total",
            "Messages of groups with lanes; `lane` is empty for base.",
            &["group", "lane", "direction"],
        );
        let takeovers = registry.counter(
            "graygate_lane_takeovers_total",
            "How often this gateway's base clients took over the messages of a lane.",
            &[],
        );
        let states = registry.table(
            "graygate_lane_state",
            "1 for the state a lane is in.",
            &["group", "lane", "state"],
        );
        Metrics { messages: messages.kept(), states, takeovers: takeovers.with(&[]) }
    }

    pub fn count(&self, (group, lane): (&str, &str), direction: Direction, count: u64) {
        self.messages.with(&[group, lane, direction.word()]).add(count);
    }

    pub fn takeovers(&self, total: u64) {
        self.takeovers.add(total.saturating_sub(self.takeovers.get()));
    }

    pub fn states(&self, view: &View) {
        let rows = view.records.keys().flat_map(|key| {
            let now = LaneState::of(view, key);
            LaneState::ALL.into_iter().map(move |state| {
                ([key.group.as_str(), key.lane.as_str(), state.word()], i64::from(now == Some(state)))
            })
        });
        self.states.replace(rows);
    }
}

//! What a plan goes by beside what is written: how far it has come, and what is seen at the moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table::State;
use super::written::{Plan, Step};

/// What has happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    /// Steps that have begun.
    pub begun: usize,
    /// Time spent ACTIVE in the step at hand, or COMPLETED.
    pub held: Duration,
    /// The step whose beginning was approved.
    pub approved: Option<usize>,
    pub promoted: bool,
}

impl Progress {
    pub fn draft() -> Self {
        Self { state: State::Draft, begun: 0, held: Duration::ZERO, approved: None, promoted: false }
    }

    /// Time went by. It counts where something is held or watched.
    pub fn hold(&mut self, time: Duration) {
        let counts = match self.state {
            State::Active => self.begun > 0,
            State::Completed => true,
            State::Draft | State::Paused | State::Rollback => false,
        };
        if counts {
            self.held = self.held.saturating_add(time);
        }
    }

    /// The step at hand, where one has begun.
    pub fn step<'p>(&self, plan: &'p Plan) -> Option<&'p Step> {
        plan.steps.get(self.begun.checked_sub(1)?)
    }
}

/// What is seen at the moment. Names are told to people as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Guards that say regression.
    pub regressions: Vec<String>,
    pub instances: Instances,
    /// Proxies that do not run the step's rules yet, and for how long that has been so.
    pub behind: Vec<String>,
    pub behind_for: Duration,
    /// Living proxies that could not be asked for too long.
    pub unreadable: Vec<String>,
    /// Gray requests seen in this step.
    pub gray_requests: u64,
    /// Guards that are on and had nothing to compare in this step.
    pub without_evidence: Vec<String>,
    /// Lists the next step names that are missing or have problems.
    pub lists: Vec<String>,
    pub window: Window,
    /// What someone else did to what the plan stands on.
    pub disturbed: Option<Disturbance>,
}

/// Which versions have an instance that takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instances {
    pub gray: bool,
    pub release: bool,
}

/// Whether steps may begin now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Open,
    /// And when it opens, as a text for people.
    Closed(String),
}

/// A hand's change that a plan does not fight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// A rule of the plan is not what the plan wrote.
    Rules(Vec<String>),
    DocumentDeleted,
    /// The plan's version or `release` stands for something else now.
    Alias(String),
}

//! What is written of a plan: its steps, and what it does by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Gray requests a step wants to have seen where no one wrote how many.
const REQUESTS: u64 = 100;
/// The same of a step of chosen people alone: they may be three.
const REQUESTS_OF_CHOSEN: u64 = 1;

/// What is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub on_regression: OnRegression,
    pub on_unknown: OnUnknown,
    /// How long guards go on after completion.
    pub watch: Duration,
    pub promote: Promotion,
}

/// One widening of the audience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub audience: Audience,
    pub hold: Duration,
    pub min_requests: Option<u64>,
    /// Asked before the step begins.
    pub approval: bool,
    pub tolerate: Option<f64>,
}

/// Whom a step adds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// People by name.
    Chosen,
    /// A share of every user, in percent, with people by name or without.
    Share(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRegression {
    Rollback,
    Pause,
}

/// What a step does whose hold is over without proof or enough requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    Hold,
    Advance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    Manual,
    /// Once `watch` ended without regression.
    Automatic,
}

impl Step {
    pub fn is_of_all(&self) -> bool {
        matches!(self.audience, Audience::Share(share) if share >= 100.0)
    }

    pub(super) fn wanted_requests(&self) -> u64 {
        self.min_requests.unwrap_or(match self.audience {
            Audience::Chosen => REQUESTS_OF_CHOSEN,
            Audience::Share(_) => REQUESTS,
        })
    }
}

//! What has a run gathered against a version?
//!
//! Owns the evidence of one guard on one service: errors ([`errors`]), latency ([`latency`]) and limits ([`limit`]), each with
//! what it has to remember between seconds. Never: verdicts; a threshold is [`crate::Judge`]'s.

mod clients;
mod errors;
mod latency;
mod limit;

pub use clients::{Clients, MOST_CLIENTS};
pub use errors::{ChosenErrors, DrawnErrors, Errors};
pub use latency::{Histories, History, Latency};
pub use limit::{Counted, LimitEvidence};

use serde::{Deserialize, Serialize};

use crate::blocks::{Edges, Seen};

/// People whom the hash did not draw differ by nature; who is more than three times as bad is a regression all the same.
pub const CHOSEN_TOLERATE: f64 = 3.0;

/// A logarithm of an e-value for each stratum, before its part of alpha.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Strata {
    pub drawn: f64,
    pub chosen: f64,
    pub inherited: f64,
}

/// The parts of alpha that strata have: drawn is the experiment that alpha is promised for.
pub(crate) const DRAWN_PART: f64 = 0.9;
pub(crate) const BESIDE_PART: f64 = 0.05;

impl Strata {
    /// The largest of the strata's e-values times their parts, as a logarithm, where drawn has `drawn_part`.
    fn largest(&self, drawn_part: f64) -> f64 {
        let beside = BESIDE_PART.ln() + self.chosen.max(self.inherited);
        beside.max(drawn_part.ln() + self.drawn)
    }
}

/// What a second is judged with, beside its rows.
#[derive(Clone, Copy, Debug)]
pub struct Second<'a> {
    /// Seconds since the one before, at least 1; those between had no rows.
    pub passed: u64,
    pub tolerate: f64,
    pub edges: &'a Edges,
    pub histories: &'a Histories,
}

/// The evidence of one guard on one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    Errors(Box<Errors>),
    Latency(Latency),
    Limit(LimitEvidence),
}

impl Evidence {
    /// One second's rows. Says whether they could have shown anything, good or bad.
    pub fn second(&mut self, seen: &Seen<'_>, second: Second<'_>) -> bool {
        match self {
            Self::Errors(errors) => errors.second(seen, second),
            Self::Latency(latency) => latency.second(seen, second),
            Self::Limit(limit) => limit.second(&seen.gray, second),
        }
    }

    /// The logarithm of the e-value times its part of alpha, for one of the plan's services.
    pub fn log(&self) -> f64 {
        match self {
            Self::Errors(errors) => errors.strata().largest(errors.drawn_part()),
            Self::Latency(latency) => latency.strata().largest(DRAWN_PART),
            Self::Limit(limit) => limit.log(),
        }
    }

    /// The strata, where there are three.
    pub fn strata(&self) -> Option<Strata> {
        match self {
            Self::Errors(errors) => Some(errors.strata()),
            Self::Latency(latency) => Some(latency.strata()),
            Self::Limit(_) => None,
        }
    }
}

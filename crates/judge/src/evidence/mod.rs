//! What has a run gathered against a version?
//!
//! Owns the evidence of one guard on one service: errors ([`errors`]), latency ([`latency`]) and limits ([`limit`]), each with
//! what it has to remember between seconds. Never: verdicts; a threshold is [`crate::Judge`]'s.

mod clients;
mod errors;
mod histories;
mod latency;
mod limit;
mod strata;

pub use clients::{Clients, MOST_CLIENTS};
pub use errors::{ChosenErrors, DrawnErrors, Errors};
pub use histories::{Histories, History};
pub use latency::Latency;
pub use limit::{Counted, LimitEvidence};
use strata::DRAWN_PART;
pub use strata::{CHOSEN_TOLERATE, Second, Strata};

use serde::{Deserialize, Serialize};

use crate::blocks::Seen;

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

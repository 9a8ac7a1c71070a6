//! Has gray passed a limit that someone wrote?
//!
//! Owns evidence against a share of gray's requests: of errors, of requests slower than a time, or of fallbacks. There is no
//! other side, so an outage of everything above the limit is a regression as well: that is what a limit is.

use serde::{Deserialize, Serialize};

use super::strata::Second;
use crate::blocks::Total;
use crate::odds::{Mixture, SECOND_CAP, above_limit, rates_above};

/// What is counted beside the limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    Errors,
    /// Requests slower than so many milliseconds.
    Slower(f64),
    Fallbacks,
}

/// One limit's evidence.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitEvidence {
    counted: Counted,
    above: f64,
    mixture: Mixture,
}

impl LimitEvidence {
    /// `above` is a share from 0 to 1.
    pub fn new(counted: Counted, above: f64) -> Self {
        Self { counted, above, mixture: Mixture::new(rates_above(above).count()) }
    }

    pub(super) fn second(&mut self, gray: &Total, second: Second<'_>) -> bool {
        self.mixture.pass(second.passed.saturating_sub(1));
        let Some((events, of)) = self.counted.of(gray, second) else {
            self.mixture.pass(1);
            return false;
        };
        let logs =
            rates_above(self.above).map(|ratio| above_limit(events, of, ratio, self.above).min(SECOND_CAP));
        self.mixture.second(&logs.collect::<Vec<_>>());
        of > 0
    }

    pub(super) fn log(&self) -> f64 {
        self.mixture.log()
    }
}

impl Counted {
    /// So many of so many; none where no edge is at or above the limit.
    fn of(self, gray: &Total, second: Second<'_>) -> Option<(u64, u64)> {
        Some(match self {
            Self::Errors => (gray.errors, gray.requests),
            Self::Slower(ms) => (gray.slower_than(second.edges.first_at_or_above(ms)?), gray.timed),
            Self::Fallbacks => (gray.fallbacks, gray.fallbacks.saturating_add(gray.requests)),
        })
    }
}

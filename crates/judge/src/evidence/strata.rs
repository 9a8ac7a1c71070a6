//! What kinds of evidence share: the strata of people, and what a second is judged with.

use super::histories::Histories;
use crate::blocks::Edges;

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
    pub(super) fn largest(&self, drawn_part: f64) -> f64 {
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

//! Is gray slower than release was?
//!
//! Owns what was counted of release's times, route by route, and evidence at five quantiles: how many gray requests are
//! slower than release's quantile times what is tolerated, beside how many release requests are slower than it. A quantile is
//! fixed by earlier seconds alone, so what a second shows cannot move the mark it is held to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CHOSEN_TOLERATE, Second, Strata};
use crate::blocks::{Block, Edges, Seen, Stratum, Total};
use crate::odds::{Events, LATENCY_RATIOS, Mixture, SECOND_CAP, beside_release, log_mean};

/// In thousandths: exact, where 0.999 is not.
const QUANTILES: [u64; 5] = [500, 900, 950, 990, 999];
const WHOLE: u64 = 1000;
/// A quantile of fewer requests than that is one of their times, and not release's.
const FEWEST_TIMED: u64 = 200;
/// Routes whose times are remembered, for a service: half a KiB each. Requests of further ones are no evidence of latency.
const MOST_ROUTES: usize = 4096;

/// How long release took, for each route of a service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Histories(BTreeMap<Box<str>, History>);

/// How many release requests were timed, and how many of them took longer than each edge.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    timed: u64,
    slower: Vec<u64>,
}

impl Histories {
    /// A second's release requests, once that second was judged.
    pub fn add(&mut self, seen: &Seen<'_>) {
        for (route, total) in &seen.release {
            if let Some(history) = self.0.get_mut(*route) {
                history.add(total);
            } else if self.0.len() < MOST_ROUTES {
                self.0.entry((*route).into()).or_default().add(total);
            }
        }
    }

    /// Where a quantile of a route lies, as an edge.
    fn quantile(&self, route: &str, quantile: u64, edges: &Edges) -> Option<usize> {
        self.0.get(route)?.quantile(quantile, edges.len())
    }
}

impl History {
    fn add(&mut self, total: &Total) {
        self.timed = self.timed.saturating_add(total.timed);
        if self.slower.len() < total.slower.len() {
            self.slower.resize(total.slower.len(), 0);
        }
        for (sum, slower) in self.slower.iter_mut().zip(&total.slower) {
            *sum = sum.saturating_add(*slower);
        }
    }

    /// The smallest edge that at most `1 - quantile` of the requests were slower than.
    fn quantile(&self, quantile: u64, edges: usize) -> Option<usize> {
        if self.timed < FEWEST_TIMED {
            return None;
        }
        let allowed = u128::from(self.timed) * u128::from(WHOLE - quantile);
        let edge = self.slower.partition_point(|&slower| u128::from(slower) * u128::from(WHOLE) > allowed);
        (edge < edges).then_some(edge)
    }
}

/// Evidence of latency in the three strata.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    drawn: Slowness,
    chosen: Slowness,
    inherited: Slowness,
}

impl Latency {
    pub(super) fn second(&mut self, seen: &Seen<'_>, second: Second<'_>) -> bool {
        let apart = Second { tolerate: second.tolerate.max(CHOSEN_TOLERATE), ..second };
        let drawn = self.drawn.second(&seen.drawn, second);
        let chosen = self.chosen.second(&seen.chosen, apart);
        let inherited = self.inherited.second(&seen.inherited, apart);
        drawn || chosen || inherited
    }

    pub(super) fn strata(&self) -> Strata {
        Strata { drawn: self.drawn.log(), chosen: self.chosen.log(), inherited: self.inherited.log() }
    }
}

/// One stratum: an e-process for each quantile.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slowness(Vec<Mixture>);

impl Default for Slowness {
    fn default() -> Self {
        Self(QUANTILES.map(|_| Mixture::new(LATENCY_RATIOS.len())).to_vec())
    }
}

impl Slowness {
    fn second(&mut self, stratum: &Stratum<'_>, second: Second<'_>) -> bool {
        let mut comparable = false;
        for (mixture, quantile) in self.0.iter_mut().zip(QUANTILES) {
            mixture.pass(second.passed.saturating_sub(1));
            let mut evidence = [0.0; LATENCY_RATIOS.len()];
            for block in &stratum.blocks {
                let Some(events) = events(block, quantile, second) else { continue };
                let part = block.timed_part();
                comparable |= part > 0.0 && part < 1.0;
                for (sum, ratio) in evidence.iter_mut().zip(LATENCY_RATIOS) {
                    *sum += beside_release(events, part, ratio, 1.0);
                }
            }
            mixture.second(&evidence.map(|log| log.min(SECOND_CAP)));
        }
        comparable
    }

    /// Their mean, as e-values.
    fn log(&self) -> f64 {
        log_mean(self.0.iter().map(Mixture::log))
    }
}

/// Slow requests of a block, where release's quantile and the edge that is tolerated are known.
fn events(block: &Block<'_>, quantile: u64, second: Second<'_>) -> Option<Events> {
    let release = second.histories.quantile(block.route, quantile, second.edges)?;
    let gray = second.edges.first_at_or_above(second.tolerate * second.edges.at(release)?)?;
    Some(Events { gray: block.gray.slower_than(gray), release: block.release.slower_than(release) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_first_edge_that_few_enough_are_slower_than() {
        let history = |timed, slower: &[u64]| History { timed, slower: slower.to_vec() };
        let cases: [(History, [Option<usize>; 5]); 5] = [
            (history(199, &[100, 10]), [None; 5]),
            (history(200, &[]), [Some(0); 5]),
            // Exactly 1 - q of them is few enough.
            (history(1000, &[1000, 500, 100, 50, 10, 1]), [Some(1), Some(2), Some(3), Some(4), Some(5)]),
            (history(1000, &[1000, 501, 101, 51, 11, 2]), [Some(2), Some(3), Some(4), Some(5), Some(6)]),
            // Slower than the last edge: no quantile.
            (history(1000, &[600; 8]), [None; 5]),
        ];
        for (history, expected) in cases {
            assert_eq!(QUANTILES.map(|quantile| history.quantile(quantile, 8)), expected, "{history:?}");
        }
    }
}

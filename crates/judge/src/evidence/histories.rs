//! How long did release take, route by route?
//!
//! Owns the quantiles that gray is held to: fixed by earlier seconds alone. Never: evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blocks::{Edges, Seen, Total};

/// Quantiles are in thousandths: exact, where 0.999 is not.
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
    pub(super) fn quantile(&self, route: &str, quantile: u64, edges: &Edges) -> Option<usize> {
        self.0.get(route)?.quantile(quantile, edges.len())
    }
}

impl History {
    pub(super) fn add(&mut self, total: &Total) {
        self.timed = self.timed.saturating_add(total.timed);
        if self.slower.len() < total.slower.len() {
            self.slower.resize(total.slower.len(), 0);
        }
        for (sum, slower) in self.slower.iter_mut().zip(&total.slower) {
            *sum = sum.saturating_add(*slower);
        }
    }

    /// The smallest edge that at most `1 - quantile` of the requests were slower than.
    pub(super) fn quantile(&self, quantile: u64, edges: usize) -> Option<usize> {
        if self.timed < FEWEST_TIMED {
            return None;
        }
        let allowed = u128::from(self.timed) * u128::from(WHOLE - quantile);
        let edge = self.slower.partition_point(|&slower| u128::from(slower) * u128::from(WHOLE) > allowed);
        (edge < edges).then_some(edge)
    }
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
            assert_eq!(
                [500, 900, 950, 990, 999].map(|quantile| history.quantile(quantile, 8)),
                expected,
                "{history:?}"
            );
        }
    }
}

//! Is gray slower than release was?
//!
//! Owns what was counted of release's times, route by route, and evidence at five quantiles: how many gray requests are
//! slower than release's quantile times what is tolerated, beside how many release requests are slower than it. A quantile is
//! fixed by earlier seconds alone, so what a second shows cannot move the mark it is held to.

use serde::{Deserialize, Serialize};

use super::strata::{CHOSEN_TOLERATE, Second, Strata};
use crate::blocks::{Block, Seen, Stratum};
use crate::odds::{Events, LATENCY_RATIOS, Mixture, SECOND_CAP, beside_release, log_mean};

/// In thousandths: exact, where 0.999 is not.
const QUANTILES: [u64; 5] = [500, 900, 950, 990, 999];

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

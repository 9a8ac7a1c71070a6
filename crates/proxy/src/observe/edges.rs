//! Which times are requests counted against: `1.2^k` ms for k from 0 to 60.

use std::sync::LazyLock;
use std::time::Duration;

/// From a millisecond to 56 seconds; two neighbours are a fifth apart, which is what a plan tolerates by default.
pub const EDGES: usize = 61;
const GROWTH: f64 = 1.2;

static MILLISECONDS: LazyLock<Vec<f64>> =
    LazyLock::new(|| (0_i32..).take(EDGES).map(|k| GROWTH.powi(k)).collect());

pub fn milliseconds() -> &'static [f64] {
    &MILLISECONDS
}

/// How many edges something took longer than.
pub fn passed(took: Duration) -> usize {
    let took = took.as_secs_f64() * 1e3;
    MILLISECONDS.partition_point(|edge| *edge < took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_passes_the_edges_below_it() {
        for (micros, expected) in [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (1_200, 1),
            (1_201, 2),
            (10_000_000, 51),
            (56_347_000, 60),
            (56_348_000, 61),
            (600_000_000, 61),
        ] {
            assert_eq!(passed(Duration::from_micros(micros)), expected, "{micros}");
        }
    }
}

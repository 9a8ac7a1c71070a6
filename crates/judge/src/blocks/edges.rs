//! Which times are requests counted against?
//!
//! Owns the edges of `slower`: by default `1.2^k` ms for k from 0 to 60, from a millisecond to 56 seconds. One run has one set
//! of edges; what was counted against others cannot be compared.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// 61 edges by default. More would be another format, and a row of any length would be a way to fill memory.
const MOST_EDGES: usize = 256;
const DEFAULT_EDGES: i32 = 61;
const GROWTH: f64 = 1.2;
/// Rounded for JSON is still the same edge; the next one is a fifth away.
const SAME_EDGE: f64 = 1e-3;
/// `tolerate * tau` falls on an edge where both are powers of 1.2, but for the last digit.
const ON_THE_EDGE: f64 = 1e-9;

/// Growing times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edges(Vec<f64>);

static USUAL: LazyLock<Edges> = LazyLock::new(|| Edges((0..DEFAULT_EDGES).map(|k| GROWTH.powi(k)).collect()));

impl Default for Edges {
    fn default() -> Self {
        USUAL.clone()
    }
}

impl Edges {
    /// None where they do not grow, are not above 0, are none, or are too many.
    pub fn new(edges: Vec<f64>) -> Option<Self> {
        let good = !edges.is_empty()
            && edges.len() <= MOST_EDGES
            && edges.iter().all(|edge| edge.is_finite() && *edge > 0.0)
            && edges.is_sorted_by(|a, b| a < b);
        good.then_some(Self(edges))
    }

    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The default ones.
    pub fn usual() -> &'static Self {
        &USUAL
    }

    pub fn same_as(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.0.iter().zip(&other.0).all(|(a, b)| (a - b).abs() <= SAME_EDGE * a.max(*b))
    }

    /// The edge's time in milliseconds.
    pub fn at(&self, edge: usize) -> Option<f64> {
        self.0.get(edge).copied()
    }

    /// The first edge at or above a time.
    pub fn first_at_or_above(&self, ms: f64) -> Option<usize> {
        let edge = self.0.partition_point(|edge| *edge < ms * (1.0 - ON_THE_EDGE));
        (edge < self.len()).then_some(edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_of_a_fifth_is_the_next_edge() {
        let edges = Edges::default();
        for edge in 0..60 {
            let tolerated = 1.2 * edges.at(edge).unwrap();
            assert_eq!(edges.first_at_or_above(tolerated), Some(edge + 1));
        }
        assert_eq!(edges.first_at_or_above(1.2 * edges.at(60).unwrap()), None);
        assert_eq!(edges.first_at_or_above(0.1), Some(0));
        assert_eq!(edges.first_at_or_above(800.0), Some(37));
    }

    #[test]
    fn edges_that_were_rounded_are_the_same_ones() {
        let rounded = (0..61).map(|k| (1.2f64.powi(k) * 1000.0).round() / 1000.0).collect();
        assert!(Edges::new(rounded).unwrap().same_as(&Edges::default()));
        assert!(!Edges::new(vec![1.0, 2.0]).unwrap().same_as(&Edges::default()));
        for bad in [vec![], vec![1.0, 1.0], vec![0.0, 1.0], vec![2.0, 1.0], vec![1.0, f64::INFINITY]] {
            assert_eq!(Edges::new(bad), None);
        }
    }
}

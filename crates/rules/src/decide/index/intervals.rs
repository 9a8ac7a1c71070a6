//! Which of many intervals does a value lie in? Numbers and versions, for rules that ask for a range.
//!
//! The ends of all intervals cut the line into pieces; a tree over the pieces holds each interval in few nodes, whose
//! lists are those a piece's path to the root meets. An interval may be wider than what it stands for, never narrower.

use std::cmp::Ordering;

use semver::{Comparator, Op, VersionReq};

use super::postings::{PostingsBuilder, Rank, Span};
use crate::vocab::{Comparison, Decimal};

/// Something a line is made of.
pub trait Point: PartialEq {
    /// What is looked up, borrowed from a value.
    type Value<'v>;
    fn compare(&self, value: &Self::Value<'_>) -> Ordering;
    fn order(&self, other: &Self) -> Ordering;
}

/// Where an interval begins or ends: just before or just after a point.
#[derive(Clone, PartialEq, Debug)]
pub struct Cut<P> {
    point: P,
    after: bool,
}

/// From a cut to another; an open end is `None`.
#[derive(Clone, PartialEq, Debug)]
pub struct Interval<P> {
    low: Option<Cut<P>>,
    high: Option<Cut<P>>,
}

/// An interval with the rank of its rule.
pub struct Ranked<'i, P> {
    pub interval: &'i Interval<P>,
    pub rank: Rank,
}

#[derive(Debug)]
pub struct Intervals<P> {
    cuts: Box<[Cut<P>]>,
    /// The tree's nodes: the root is 1, the children of `n` are `2n` and `2n + 1`, the second half are the pieces.
    nodes: Box<[Span]>,
}

impl<P: Point + Clone> Intervals<P> {
    /// Intervals in the order of their ranks.
    pub fn build(intervals: &[Ranked<'_, P>], postings: &mut PostingsBuilder) -> Intervals<P> {
        let ends =
            intervals.iter().flat_map(|ranked| ranked.interval.low.iter().chain(&ranked.interval.high));
        let mut cuts: Vec<Cut<P>> = ends.cloned().collect();
        cuts.sort_by(Cut::order);
        cuts.dedup_by(|a, b| a.order(b).is_eq());
        let width = (cuts.len() + 1).next_power_of_two();
        let mut nodes: Vec<Vec<Rank>> = vec![Vec::new(); 2 * width];
        let place = |cut: &Cut<P>| cuts.partition_point(|other| other.order(cut).is_lt()) + 1;
        for Ranked { interval, rank } in intervals {
            let mut from = interval.low.as_ref().map_or(0, place) + width;
            let mut to = interval.high.as_ref().map_or(cuts.len() + 1, place) + width;
            while from < to {
                if from % 2 == 1 {
                    push(&mut nodes, from, *rank);
                    from += 1;
                }
                if to % 2 == 1 {
                    to -= 1;
                    push(&mut nodes, to, *rank);
                }
                (from, to) = (from / 2, to / 2);
            }
        }
        let nodes = nodes.iter().map(|ranks| postings.add(ranks)).collect();
        Intervals { cuts: cuts.into(), nodes }
    }

    /// Calls `found` with the lists of the intervals that the value lies in.
    pub fn each_around(&self, value: &P::Value<'_>, mut found: impl FnMut(Span)) {
        let before = |cut: &Cut<P>| match cut.point.compare(value) {
            Ordering::Equal => !cut.after,
            order => order.is_lt(),
        };
        let mut node = self.cuts.partition_point(before) + self.nodes.len() / 2;
        while node > 0 {
            if let Some(span) = self.nodes.get(node).filter(|span| !span.is_empty()) {
                found(*span);
            }
            node /= 2;
        }
    }
}

fn push(nodes: &mut [Vec<Rank>], at: usize, rank: Rank) {
    if let Some(node) = nodes.get_mut(at) {
        node.push(rank);
    }
}

impl<P: Point> Cut<P> {
    fn order(&self, other: &Cut<P>) -> Ordering {
        self.point.order(&other.point).then(self.after.cmp(&other.after))
    }
}

/// A number as it was written, and its whole part, which almost always tells two apart.
#[derive(Clone, PartialEq, Debug)]
pub struct Number {
    whole: i128,
    text: Box<str>,
}

impl Point for Number {
    type Value<'v> = (i128, Decimal<'v>);

    fn compare(&self, value: &(i128, Decimal<'_>)) -> Ordering {
        let exact =
            || Decimal::parse(self.text.as_bytes()).map_or(Ordering::Less, |own| own.compare(&value.1));
        self.whole.cmp(&value.0).then_with(exact)
    }

    fn order(&self, other: &Number) -> Ordering {
        // Two spellings of one number are one point: told apart, a cut after the one would stand before a cut before
        // the other, and a search would go astray between them.
        Decimal::parse(other.text.as_bytes())
            .map_or(Ordering::Less, |decimal| self.compare(&(other.whole, decimal)))
    }
}

/// The numbers a comparison accepts; `None` where its operand is none.
pub fn numbers(comparison: Comparison, operand: &str) -> Option<Interval<Number>> {
    let whole = Decimal::parse(operand.as_bytes())?.whole();
    let cut = |after| Some(Cut { point: Number { whole, text: operand.into() }, after });
    let (low, high) = match comparison {
        Comparison::AtLeast => (cut(false), None),
        Comparison::Above => (cut(true), None),
        Comparison::AtMost => (None, cut(true)),
        Comparison::Below => (None, cut(false)),
    };
    Some(Interval { low, high })
}

/// Major, minor and patch: a pre-release lies where its release does.
pub type Triple = [u64; 3];

impl Point for Triple {
    type Value<'v> = Triple;

    fn compare(&self, value: &Triple) -> Ordering {
        self.cmp(value)
    }

    fn order(&self, other: &Triple) -> Ordering {
        self.cmp(other)
    }
}

/// Versions a range may accept; all of those it does accept are among them.
pub fn versions(range: &VersionReq) -> Interval<Triple> {
    let (mut low, mut high) = ([0; 3], [u64::MAX; 3]);
    for comparator in &range.comparators {
        let (from, to) = spread(comparator);
        low = low.max(from);
        high = high.min(to);
    }
    Interval { low: Some(Cut { point: low, after: false }), high: Some(Cut { point: high, after: true }) }
}

/// The least and the greatest release a comparator may accept.
fn spread(comparator: &Comparator) -> (Triple, Triple) {
    let Comparator { op, major, minor, patch, .. } = comparator;
    let fill = |rest| [*major, minor.unwrap_or(rest), patch.unwrap_or(rest)];
    let (least, greatest) = (fill(0), fill(u64::MAX));
    match op {
        Op::Greater | Op::GreaterEq => (least, [u64::MAX; 3]),
        Op::Less | Op::LessEq => ([0; 3], greatest),
        Op::Tilde => (least, [*major, minor.unwrap_or(u64::MAX), u64::MAX]),
        Op::Caret => (least, [*major, u64::MAX, u64::MAX]),
        Op::Exact | Op::Wildcard => (least, greatest),
        // Whatever else there may be one day.
        _ => ([0; 3], [u64::MAX; 3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lies_in_what_accepts_it() {
        let asked = [
            (Comparison::AtLeast, "1"),
            (Comparison::Above, "1.0"),
            (Comparison::AtMost, "-0.5"),
            (Comparison::Below, "99999999999999999999999999999999999999999999"),
            (Comparison::AtLeast, "99999999999999999999999999999999999999999998.5"),
            (Comparison::Below, "1.5"),
            (Comparison::Above, "9.5"),
            (Comparison::Below, "9.50"),
            (Comparison::AtMost, "9.500"),
            (Comparison::AtLeast, "09.5"),
        ];
        let intervals: Vec<_> =
            (0..).zip(asked).map(|(rank, (how, text))| (numbers(how, text).unwrap(), rank)).collect();
        let mut postings = PostingsBuilder::default();
        let intervals: Vec<_> =
            intervals.iter().map(|(interval, rank)| Ranked { interval, rank: *rank }).collect();
        let tree = Intervals::build(&intervals, &mut postings);
        let postings = postings.build();
        for text in [
            "1", "1.00", "0.9", "1.2", "1.5", "9.5", "9.50", "-0.5", "-0.49", "-3", "0", asked[3].1,
            asked[4].1,
        ] {
            let value = Decimal::parse(text.as_bytes()).unwrap();
            let mut found: Vec<Rank> = Vec::new();
            tree.each_around(&(value.whole(), value), |span| found.extend(postings.ranks(span)));
            found.sort_unstable();
            let accepts = |(how, operand): &(Comparison, &str)| {
                how.accepts(value.compare(&Decimal::parse(operand.as_bytes()).unwrap()))
            };
            let expected: Vec<Rank> =
                (0..).zip(&asked).filter(|(_, one)| accepts(one)).map(|(i, _)| i).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_version_lies_in_every_range_that_accepts_it() {
        let ranges = [
            ">=7.0.0, <8",
            ">7.0",
            ">7",
            "=7.1",
            "=7.1.0",
            "<7.1.0-rc.1",
            "*",
            "~7.1",
            "~7",
            "7.*",
            "^0.2",
            "^0.0.3",
            "^7.1.2",
            "<=7",
            "<=7.1",
            ">8, <7",
            "^0",
        ];
        let parsed = ranges.map(|range| range.parse::<VersionReq>().unwrap());
        let intervals: Vec<_> = (0..).zip(&parsed).map(|(rank, range)| (versions(range), rank)).collect();
        let mut postings = PostingsBuilder::default();
        let intervals: Vec<_> =
            intervals.iter().map(|(interval, rank)| Ranked { interval, rank: *rank }).collect();
        let tree = Intervals::build(&intervals, &mut postings);
        let postings = postings.build();
        for text in [
            "7.0.0",
            "7.1.0",
            "7.1.0-rc.0",
            "7.1.0-rc.1",
            "8.0.0",
            "0.2.9",
            "0.0.3",
            "0.0.4",
            "6.9.9",
            "7.1.9",
            "7.2.0",
            "18446744073709551615.0.0",
            "0.0.0",
        ] {
            let version: semver::Version = text.parse().unwrap();
            let mut found: Vec<Rank> = Vec::new();
            let triple = [version.major, version.minor, version.patch];
            tree.each_around(&triple, |span| found.extend(postings.ranks(span)));
            for (rank, range) in (0..).zip(&parsed) {
                assert!(!range.matches(&version) || found.contains(&rank), "{text} {range}");
            }
        }
    }
}

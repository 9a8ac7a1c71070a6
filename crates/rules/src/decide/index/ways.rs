//! What a request must have for a condition to hold: the keys a rule is found by.
//!
//! Answers: under which keys does this condition go into an index, so that no request it holds for misses it? Of
//! several possible answers the one that the fewest rules share. Never: a key that is only likely.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::intervals::{self, Interval, Number, Triple};
use super::keys::Text;
use super::literals::{Set, Texts};
use crate::decide::condition::{Condition, Predicate, Remainder, Test};
use crate::decide::list::{NetworkSet, ValueSet};
use crate::vocab::Attribute;

/// Something a request has or has not, of one attribute.
#[derive(Debug)]
pub struct Key {
    pub kind: Kind,
    /// A hash of attribute and kind: equal keys have equal ones. Of use for counting only, where a collision is harmless.
    identity: u64,
}

#[derive(Debug)]
pub enum Kind {
    /// A value is this text; `fold`: once its case is folded.
    Value {
        fold: bool,
        text: Text,
    },
    Prefix {
        fold: bool,
        text: Text,
    },
    Suffix {
        fold: bool,
        text: Text,
    },
    /// Never empty.
    Contains {
        fold: bool,
        text: Text,
    },
    Member(Arc<ValueSet>),
    Networks(Arc<NetworkSet>),
    /// An anchored pattern.
    Pattern(Box<str>),
    /// A number in this interval.
    Number(Interval<Number>),
    /// A version that the range may accept.
    Version(Interval<Triple>),
    /// Any value at all.
    Present,
}

/// A condition with the ways to find it. They are worked out once, because an index looks at every rule's at each
/// change.
#[derive(Debug)]
pub struct Indexed {
    condition: Condition,
    ways: Ways,
}

/// The ways to find a condition, in the condition's own shape.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "almost all are predicates, and a step through memory costs more"
)]
enum Ways {
    All(Box<[Ways]>),
    Any(Box<[Ways]>),
    /// It may hold whatever the request has.
    Not,
    Is(Attribute, PredicateWays),
}

/// Almost always one, which is kept in place: an index follows this of every rule, and each step to another place in
/// memory costs more than what is done there.
type PredicateWays = SmallVec<[Way; 1]>;

/// Keys that a predicate can be found by: if none is hit, it does not hold.
#[derive(Debug)]
pub struct Way {
    keys: SmallVec<[Key; 1]>,
    /// [`Remainder::Nothing`] where a hit says that the predicate holds.
    remainder: Remainder,
    /// Bytes of the shortest text among the keys.
    tells: usize,
}

/// How a condition is best found: what that costs, and what a hit leaves open.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    cost: usize,
    pub remainder: Remainder,
}

/// How many rules could be found by each key, by the keys' identities.
#[derive(Default, Debug)]
pub struct Popularity(HashMap<u64, usize, FixedState>);

/// How popular keys are among the rules of a table and those that another table has beside it.
pub struct Shared<'p> {
    pub own: &'p Popularity,
    pub beside: Option<&'p Popularity>,
}

/// Added to the cost of keys that are more expensive to look up than a value: a set of patterns, one membership test a list.
const LOOKUP_COST: usize = 16;
/// Added to the cost of a search through a set of patterns: as much as asking so many patterns by themselves.
const PATTERNS_COST: usize = 48;
/// One in so many ranges is taken to hold an ordinary value.
const RANGES_HELD: usize = 4;
/// Added where a key hardly tells rules apart.
const PRESENCE_COST: usize = 1 << 32;

impl Indexed {
    pub fn of(condition: Condition) -> Indexed {
        Indexed { ways: Ways::of(&condition), condition }
    }

    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// How to find it; `None` when it may hold whatever the request has.
    pub(super) fn weigh(&self, popularity: &Shared<'_>) -> Option<Weight> {
        weigh(&self.ways, popularity)
    }

    /// Calls `see` with the keys it is best found by, where there is a way: if none is hit, it does not hold.
    pub(super) fn each_key<'c>(
        &'c self,
        popularity: &Shared<'_>,
        see: &mut dyn FnMut(&'c Attribute, &'c Kind),
    ) {
        each_key(&self.ways, popularity, see);
    }
}

impl Ways {
    fn of(condition: &Condition) -> Ways {
        match condition {
            Condition::All(inner) => Ways::All(inner.iter().map(Ways::of).collect()),
            Condition::Any(inner) => Ways::Any(inner.iter().map(Ways::of).collect()),
            Condition::Not(_) => Ways::Not,
            Condition::Is(predicate) => Ways::Is(predicate.attribute.clone(), ways(predicate)),
        }
    }
}

impl Key {
    fn of(attribute: &Attribute, kind: Kind) -> Key {
        let identity = FixedState::default().hash_one((attribute, kind.identity()));
        Key { kind, identity }
    }

    fn cost(&self, popularity: &Shared<'_>) -> usize {
        let shared = popularity.of(self);
        match self.kind {
            Kind::Value { .. } => shared,
            Kind::Prefix { .. } | Kind::Suffix { .. } => shared + 1,
            Kind::Member(_) | Kind::Networks(_) | Kind::Contains { .. } => shared + LOOKUP_COST,
            Kind::Pattern(_) => shared + LOOKUP_COST + PATTERNS_COST,
            Kind::Number(..) | Kind::Version(_) => shared / RANGES_HELD + LOOKUP_COST,
            Kind::Present => shared + PRESENCE_COST,
        }
    }
}

impl Kind {
    /// A number for the kind, and text or place in memory.
    fn identity(&self) -> (u8, &[u8], usize) {
        match self {
            Kind::Value { fold, text } => (u8::from(*fold), text, 0),
            Kind::Prefix { fold, text } => (2 + u8::from(*fold), text, 0),
            Kind::Suffix { fold, text } => (4 + u8::from(*fold), text, 0),
            Kind::Member(list) => (6, &[], Arc::as_ptr(list).addr()),
            Kind::Networks(networks) => (7, &[], Arc::as_ptr(networks).addr()),
            Kind::Pattern(pattern) => (8, pattern.as_bytes(), 0),
            Kind::Present => (9, &[], 0),
            Kind::Contains { fold, text } => (10 + u8::from(*fold), text, 0),
            // How many of them a value lies in is not known: they are counted together.
            Kind::Number(_) => (12, &[], 0),
            Kind::Version(_) => (13, &[], 0),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Kind::Value { text, .. }
            | Kind::Prefix { text, .. }
            | Kind::Suffix { text, .. }
            | Kind::Contains { text, .. } => text,
            _ => &[],
        }
    }
}

impl Way {
    fn of(attribute: &Attribute, kinds: Vec<Kind>, remainder: Remainder) -> Way {
        let tells = kinds.iter().map(|kind| kind.text().len()).min().unwrap_or(0);
        let keys = kinds.into_iter().map(|kind| Key::of(attribute, kind)).collect();
        Way { keys, remainder, tells }
    }

    fn cost(&self, popularity: &Shared<'_>) -> usize {
        self.keys.iter().map(|key| key.cost(popularity)).max().unwrap_or(0)
    }
}

impl Popularity {
    /// Counts every key that the condition could be found by.
    pub fn count(&mut self, indexed: &Indexed) {
        self.count_ways(&indexed.ways);
    }

    fn count_ways(&mut self, ways: &Ways) {
        match ways {
            Ways::All(inner) | Ways::Any(inner) => inner.iter().for_each(|part| self.count_ways(part)),
            Ways::Not => {}
            Ways::Is(_, ways) => {
                for key in ways.iter().flat_map(|way| way.keys.iter()) {
                    *self.0.entry(key.identity).or_default() += 1;
                }
            }
        }
    }
}

impl Shared<'_> {
    fn of(&self, key: &Key) -> usize {
        let tables = std::iter::once(self.own).chain(self.beside);
        tables.filter_map(|popularity| popularity.0.get(&key.identity)).sum()
    }
}

fn weigh(ways: &Ways, popularity: &Shared<'_>) -> Option<Weight> {
    match ways {
        Ways::Is(_, ways) => {
            let (cost, way) = best_way(ways, popularity)?;
            Some(Weight { cost, remainder: way.remainder })
        }
        Ways::Not => None,
        Ways::All(inner) => {
            let (at, best) = best_part(inner, popularity)?;
            let remainder = match (best.remainder, inner.len()) {
                (Remainder::Nothing, 1) => Remainder::Nothing,
                (Remainder::Nothing, _) => u32::try_from(at).map_or(Remainder::Everything, Remainder::AllBut),
                _ => Remainder::Everything,
            };
            Some(Weight { remainder, ..best })
        }
        Ways::Any(inner) => {
            let mut all = Weight { cost: 0, remainder: Remainder::Nothing };
            for part in inner {
                let part = weigh(part, popularity)?;
                all.cost = all.cost.max(part.cost);
                if part.remainder != Remainder::Nothing {
                    all.remainder = Remainder::Everything;
                }
            }
            Some(all)
        }
    }
}

fn each_key<'c>(ways: &'c Ways, popularity: &Shared<'_>, see: &mut dyn FnMut(&'c Attribute, &'c Kind)) {
    match ways {
        Ways::Is(attribute, ways) => {
            let keys = best_way(ways, popularity).into_iter().flat_map(|(_, way)| way.keys.iter());
            keys.for_each(|key| see(attribute, &key.kind));
        }
        Ways::Not => {}
        Ways::All(inner) => {
            let best = best_part(inner, popularity).and_then(|(at, _)| inner.get(at));
            best.into_iter().for_each(|part| each_key(part, popularity, see));
        }
        Ways::Any(inner) => inner.iter().for_each(|part| each_key(part, popularity, see)),
    }
}

fn best_way<'c>(ways: &'c PredicateWays, popularity: &Shared<'_>) -> Option<(usize, &'c Way)> {
    let ways = ways.iter().map(|way| (way.cost(popularity), way));
    ways.min_by_key(|(cost, way)| (*cost, Reverse(way.tells)))
}

fn best_part(parts: &[Ways], popularity: &Shared<'_>) -> Option<(usize, Weight)> {
    let found = parts.iter().enumerate().filter_map(|(at, part)| Some((at, weigh(part, popularity)?)));
    found.min_by_key(|(at, weight)| (weight.cost, *at))
}

/// The sets of keys a predicate can be found by, each by itself; none when it may hold whatever the request has.
fn ways(predicate: &Predicate) -> PredicateWays {
    let Predicate { attribute, test, fold, .. } = predicate;
    let fold = *fold;
    let way = |kinds, remainder| Way::of(attribute, kinds, remainder);
    let one = |kind| vec![way(vec![kind], Remainder::Nothing)];
    let ways = match test {
        // It holds for what is absent.
        Test::Exists(false) => Vec::new(),
        Test::Exists(true) => one(Kind::Present),
        Test::Equals(text) => one(Kind::Value { fold, text: text.as_ref().into() }),
        Test::OneOf(texts) => {
            let kinds = texts.iter().map(|text| Kind::Value { fold, text: text.as_ref().into() }).collect();
            vec![way(kinds, Remainder::Nothing)]
        }
        Test::Prefix(text) => one(Kind::Prefix { fold, text: text.as_ref().into() }),
        Test::Suffix(text) => one(Kind::Suffix { fold, text: text.as_ref().into() }),
        Test::Contains(text) if text.is_empty() => one(Kind::Present),
        Test::Contains(text) => one(Kind::Contains { fold, text: text.as_ref().into() }),
        Test::Member(list) if list.is_empty() => vec![way(Vec::new(), Remainder::Nothing)],
        Test::Member(list) if !fold => one(Kind::Member(list.clone())),
        Test::InNetworks(networks) => one(Kind::Networks(networks.clone())),
        Test::Regex(pattern) if !fold => {
            let found = by_texts(&Texts::read(pattern.regex.as_str()));
            let whole = one(Kind::Pattern(pattern.regex.as_str().into()));
            found.into_iter().map(|(kinds, remainder)| way(kinds, remainder)).chain(whole).collect()
        }
        Test::Compare(comparison, operand) if !fold => {
            let interval = intervals::numbers(*comparison, operand);
            vec![way(interval.into_iter().map(Kind::Number).collect(), Remainder::Nothing)]
        }
        Test::Semver(range) if !fold => {
            vec![way(vec![Kind::Version(intervals::versions(range))], Remainder::Everything)]
        }
        Test::Member(_) | Test::Regex(_) | Test::Semver(_) | Test::Compare(..) => {
            vec![way(vec![Kind::Present], Remainder::Everything)]
        }
    };
    ways.into_iter().collect()
}

/// The ways to find a pattern by texts that what it matches must have.
fn by_texts(texts: &Texts) -> Vec<(Vec<Kind>, Remainder)> {
    let Texts { fold, whole, exact, beginning, end, inner } = texts;
    let fold = *fold;
    let each = |set: &Set, kind: fn(bool, Text) -> Kind| -> Vec<Kind> {
        set.iter().map(|text| kind(fold, text.as_ref().into())).collect()
    };
    let whole = whole.iter().map(|set| {
        let remainder = if *exact { Remainder::Nothing } else { Remainder::Everything };
        (each(set, |fold, text| Kind::Value { fold, text }), remainder)
    });
    let parts = [
        beginning.as_ref().map(|set| each(set, |fold, text| Kind::Prefix { fold, text })),
        end.as_ref().map(|set| each(set, |fold, text| Kind::Suffix { fold, text })),
    ];
    let inner = inner.iter().map(|set| each(set, |fold, text| Kind::Contains { fold, text }));
    let parts = parts.into_iter().flatten().chain(inner).map(|kinds| (kinds, Remainder::Everything));
    whole.chain(parts).collect()
}

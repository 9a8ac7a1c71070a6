//! What a request must have for a condition to hold: the keys a rule is found by.
//!
//! Answers: under which keys does this condition go into an index, so that no request it holds for misses it? Of
//! several possible answers the one that the fewest rules share. Never: a key that is only likely.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use semver::VersionReq;

use super::condition::{Condition, Predicate, Test};
use super::list::{NetworkSet, ValueSet};
use super::literals::{Set, Texts};
use crate::vocab::{Attribute, Comparison};

/// Something a request has or has not.
#[derive(Clone, Copy, Debug)]
pub struct Key<'c> {
    pub attribute: &'c Attribute,
    pub kind: Kind<'c>,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind<'c> {
    /// A value is this text; `fold`: once its case is folded.
    Value {
        fold: bool,
        text: &'c [u8],
    },
    Prefix {
        fold: bool,
        text: &'c [u8],
    },
    Suffix {
        fold: bool,
        text: &'c [u8],
    },
    /// Never empty.
    Contains {
        fold: bool,
        text: &'c [u8],
    },
    Member(&'c Arc<ValueSet>),
    Networks(&'c Arc<NetworkSet>),
    /// An anchored pattern.
    Pattern(&'c str),
    /// A number that compares so.
    Number(Comparison, &'c str),
    /// A version that the range may accept.
    Version(&'c VersionReq),
    /// Any value at all.
    Present,
}

/// What remains to be asked of a condition once one of its keys was hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remainder {
    Nothing,
    /// All but this part of an `all`.
    AllBut(u32),
    Everything,
}

/// The keys of one rule: if none is hit, its condition does not hold.
#[derive(Clone, Debug)]
pub struct Access<'c> {
    pub keys: Vec<Key<'c>>,
    pub remainder: Remainder,
}

/// The identity of a key: attribute, kind, and text or place in memory.
type Identity<'c> = (&'c Attribute, u8, &'c [u8], usize);

/// How many rules could be found by each key.
#[derive(Default, Debug)]
pub struct Popularity<'c>(HashMap<Identity<'c>, usize, FixedState>);

/// Added to the cost of keys that are dearer to look up than a value: a set of patterns, one membership test a list.
const LOOKUP_COST: usize = 16;
/// Added to the cost of a search through a set of patterns: as much as asking so many patterns by themselves.
const PATTERNS_COST: usize = 48;
/// One in so many ranges is taken to hold an ordinary value.
const RANGES_HELD: usize = 4;
/// Added where a key hardly tells rules apart.
const PRESENCE_COST: usize = 1 << 32;

impl<'c> Key<'c> {
    fn identity(&self) -> Identity<'c> {
        let (kind, text, place): (u8, &'c [u8], usize) = match self.kind {
            Kind::Value { fold, text } => (u8::from(fold), text, 0),
            Kind::Prefix { fold, text } => (2 + u8::from(fold), text, 0),
            Kind::Suffix { fold, text } => (4 + u8::from(fold), text, 0),
            Kind::Member(list) => (6, &[], Arc::as_ptr(list).addr()),
            Kind::Networks(networks) => (7, &[], Arc::as_ptr(networks).addr()),
            Kind::Pattern(pattern) => (8, pattern.as_bytes(), 0),
            Kind::Present => (9, &[], 0),
            Kind::Contains { fold, text } => (10 + u8::from(fold), text, 0),
            // Nobody knows how many of them a value lies in: they are counted together.
            Kind::Number(..) => (12, &[], 0),
            Kind::Version(_) => (13, &[], 0),
        };
        (self.attribute, kind, text, place)
    }

    fn cost(&self, popularity: &Popularity<'c>) -> usize {
        let shared = popularity.0.get(&self.identity()).copied().unwrap_or_default();
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

impl<'c> Access<'c> {
    fn cost(&self, popularity: &Popularity<'c>) -> usize {
        self.keys.iter().map(|key| key.cost(popularity)).max().unwrap_or(0)
    }

    /// Bytes of the shortest text among the keys.
    fn tells(&self) -> usize {
        let bytes = |key: &Key<'_>| match key.kind {
            Kind::Value { text, .. }
            | Kind::Prefix { text, .. }
            | Kind::Suffix { text, .. }
            | Kind::Contains { text, .. } => text.len(),
            _ => 0,
        };
        self.keys.iter().map(bytes).min().unwrap_or(0)
    }
}

impl<'c> Popularity<'c> {
    /// Counts every key that the condition could be found by.
    pub fn count(&mut self, condition: &'c Condition) {
        match condition {
            Condition::All(inner) | Condition::Any(inner) => inner.iter().for_each(|c| self.count(c)),
            Condition::Not(_) => {}
            Condition::Is(predicate) => {
                for key in ways(predicate).into_iter().flat_map(|access| access.keys) {
                    *self.0.entry(key.identity()).or_default() += 1;
                }
            }
        }
    }
}

/// The keys of a condition; `None` when it may hold whatever the request has.
pub fn access<'c>(condition: &'c Condition, popularity: &Popularity<'c>) -> Option<Access<'c>> {
    match condition {
        Condition::Is(predicate) => {
            let best = |access: &Access<'c>| (access.cost(popularity), Reverse(access.tells()));
            ways(predicate).into_iter().min_by_key(best)
        }
        Condition::Not(_) => None,
        Condition::All(inner) => {
            let parts = inner.iter().enumerate().filter_map(|(at, part)| {
                let access = access(part, popularity)?;
                Some((access.cost(popularity), at, access))
            });
            let (_, at, best) = parts.min_by_key(|(cost, at, _)| (*cost, *at))?;
            let remainder = match (best.remainder, inner.len()) {
                (Remainder::Nothing, 1) => Remainder::Nothing,
                (Remainder::Nothing, _) => u32::try_from(at).map_or(Remainder::Everything, Remainder::AllBut),
                _ => Remainder::Everything,
            };
            Some(Access { keys: best.keys, remainder })
        }
        Condition::Any(inner) => {
            let parts: Vec<Access<'c>> =
                inner.iter().map(|part| access(part, popularity)).collect::<Option<_>>()?;
            let remainder = match parts.iter().all(|part| part.remainder == Remainder::Nothing) {
                true => Remainder::Nothing,
                false => Remainder::Everything,
            };
            Some(Access { keys: parts.into_iter().flat_map(|part| part.keys).collect(), remainder })
        }
    }
}

/// The sets of keys a predicate can be found by, each by itself; none when it may hold whatever the request has.
fn ways<'c>(predicate: &'c Predicate) -> Vec<Access<'c>> {
    let fold = predicate.fold;
    let way = |kinds: Vec<Kind<'c>>, remainder| Access {
        keys: kinds.into_iter().map(|kind| Key { attribute: &predicate.attribute, kind }).collect(),
        remainder,
    };
    let one = |kind| vec![way(vec![kind], Remainder::Nothing)];
    match &predicate.test {
        // It holds for what is absent.
        Test::Exists(false) => Vec::new(),
        Test::Exists(true) => one(Kind::Present),
        Test::Equals(text) => one(Kind::Value { fold, text }),
        Test::OneOf(texts) => {
            let kinds = texts.iter().map(|text| Kind::Value { fold, text }).collect();
            vec![way(kinds, Remainder::Nothing)]
        }
        Test::Prefix(text) => one(Kind::Prefix { fold, text }),
        Test::Suffix(text) => one(Kind::Suffix { fold, text }),
        Test::Contains(text) if text.is_empty() => one(Kind::Present),
        Test::Contains(text) => one(Kind::Contains { fold, text }),
        Test::Member(list) if list.is_empty() => vec![way(Vec::new(), Remainder::Nothing)],
        Test::Member(list) if !fold => one(Kind::Member(list)),
        Test::InNetworks(networks) => one(Kind::Networks(networks)),
        Test::Regex(pattern) if !fold => {
            let found = by_texts(&pattern.texts);
            let whole = one(Kind::Pattern(pattern.regex.as_str()));
            found.into_iter().map(|(kinds, remainder)| way(kinds, remainder)).chain(whole).collect()
        }
        Test::Compare(comparison, operand) if !fold => one(Kind::Number(*comparison, operand)),
        Test::Semver(range) if !fold => vec![way(vec![Kind::Version(range)], Remainder::Everything)],
        Test::Member(_) | Test::Regex(_) | Test::Semver(_) | Test::Compare(..) => {
            vec![way(vec![Kind::Present], Remainder::Everything)]
        }
    }
}

/// The ways to find a pattern by texts that what it matches must have.
fn by_texts<'c>(texts: &'c Texts) -> Vec<(Vec<Kind<'c>>, Remainder)> {
    let Texts { fold, whole, beginning, end, inner } = texts;
    let fold = *fold;
    let each = |set: &'c Set, kind: fn(bool, &'c [u8]) -> Kind<'c>| -> Vec<Kind<'c>> {
        set.iter().map(|text| kind(fold, text)).collect()
    };
    let whole = whole.iter().map(|set| {
        let remainder = if fold { Remainder::Everything } else { Remainder::Nothing };
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

impl Condition {
    /// Whether it holds, given that what `remainder` leaves out does.
    pub(super) fn rest(&self, remainder: Remainder) -> Rest<'_> {
        match (remainder, self) {
            (Remainder::Nothing, _) => Rest { parts: &[], but: usize::MAX },
            (Remainder::AllBut(at), Condition::All(parts)) => Rest { parts, but: at as usize },
            _ => Rest { parts: std::slice::from_ref(self), but: usize::MAX },
        }
    }
}

/// The parts that are still to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'c> {
    parts: &'c [Condition],
    but: usize,
}

impl<'c> Rest<'c> {
    pub fn parts(self) -> impl Iterator<Item = &'c Condition> {
        self.parts.iter().enumerate().filter(move |(at, _)| *at != self.but).map(|(_, part)| part)
    }
}

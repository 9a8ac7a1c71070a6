//! Rules by what a request must have for them: the first match without asking every rule.
//!
//! Each rule goes under keys that a request it matches must hit (see `access`); keys of one kind over one attribute
//! are a *source*. A source is opened, its attribute looked up once, only when its best rule would be next. What is
//! found is asked in the rules' order, so the answer is the linear one. A table is built whole and never changed; a
//! search allocates nothing once its buffers have grown. What becomes of it when rules change: `rule_index`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::intervals::{Interval, Intervals, Number, Triple};
use super::keys::{ByLength, Exact, TextLists};
use super::patterns::{PatternGroup, PatternSets};
use super::postings::{Next, Postings, PostingsBuilder, Queue, Rank, Span};
use super::ways::{Kind, Popularity, Remainder, Shared, each_key, weigh};
use super::words::Words;
use crate::decide::condition::{Condition, fold};
use crate::decide::list::{NetworkSet, ValueSet};
use crate::decide::request::{Scratch, Seen};
use crate::decide::snapshot::{RulePlan, Standing};
use crate::decide::version::Version;
use crate::vocab::{Attribute, Decimal};

/// A search through a set of patterns takes about as long as this many lookups in tables.
const PATTERNS_LOOKUPS: usize = 8;

/// Which rules to ask for a request, of rules in the order they are asked: their *ranks* count from 0.
#[derive(Default, Debug)]
pub struct RuleTable {
    /// By rank.
    basis: Box<[Basis]>,
    popularity: Popularity,
    postings: Postings,
    /// In the order of the best rule each leads to.
    sources: Box<[Source]>,
    /// The rules that every request asks.
    always: Span,
    /// By rank: what a hit leaves to be asked.
    remainders: Box<[Remainder]>,
    unindexed: Box<[Rank]>,
    impossible: Box<[Rank]>,
}

/// All that a table looks at of one rule.
#[derive(Clone, Debug)]
pub enum Basis {
    /// It takes no part.
    Out,
    /// It has no condition.
    Open,
    /// Held, so that no other condition can have the same place in memory.
    When(Arc<Condition>),
}

impl Basis {
    pub fn of(rule: &RulePlan) -> Basis {
        match (&rule.standing, &rule.when) {
            (Standing::Disabled | Standing::Inert(_), _) => Basis::Out,
            (Standing::Active, None) => Basis::Open,
            (Standing::Active, Some(when)) => Basis::When(when.clone()),
        }
    }

    pub fn is_of(&self, rule: &RulePlan) -> bool {
        match (self, &rule.standing, &rule.when) {
            (Basis::Out, Standing::Disabled | Standing::Inert(_), _) => true,
            (Basis::Open, Standing::Active, None) => true,
            (Basis::When(known), Standing::Active, Some(when)) => Arc::ptr_eq(known, when),
            _ => false,
        }
    }

    fn when(&self) -> Option<&Condition> {
        match self {
            Basis::When(when) => Some(when),
            Basis::Out | Basis::Open => None,
        }
    }
}

/// How far a search goes, and which rules it asks: the ranks before `limit` for which `rule` has one.
pub struct Asked<F> {
    pub limit: Rank,
    pub rule: F,
}

/// All keys of one kind over one attribute.
#[derive(Debug)]
struct Source {
    first: Rank,
    attribute: Attribute,
    lookup: Lookup,
}

#[derive(Debug)]
enum Lookup {
    Values {
        fold: bool,
        table: Exact<Span>,
    },
    Prefixes {
        fold: bool,
        table: ByLength<Span>,
    },
    Suffixes {
        fold: bool,
        table: ByLength<Span>,
    },
    Contains {
        fold: bool,
        words: Words,
    },
    Member(Arc<ValueSet>, Span),
    Networks(Arc<NetworkSet>, Span),
    Numbers(Intervals<Number>),
    Versions(Intervals<Triple>),
    /// The lists by the pattern's number.
    Patterns(Arc<PatternGroup>, Box<[Span]>),
    Present(Span),
}

impl RuleTable {
    /// A table of these rules. How many rules share a key is counted among them and those of `beside`, which are asked
    /// about the same requests.
    pub fn build(
        basis: Box<[Basis]>,
        beside: Option<&RuleTable>,
        (sets, in_set): (&mut PatternSets, usize),
    ) -> RuleTable {
        let mut popularity = Popularity::default();
        for when in basis.iter().filter_map(Basis::when) {
            popularity.count(when);
        }
        let shared = Shared { own: &popularity, beside: beside.map(|table| &table.popularity) };
        let mut gathered = Gathered::default();
        for (rank, basis) in (0..).zip(&basis) {
            gathered.add(rank, basis, &shared);
        }
        let table = gathered.build((sets, in_set));
        RuleTable { basis, popularity, ..table }
    }

    /// By rank.
    pub fn basis(&self) -> &[Basis] {
        &self.basis
    }

    /// Keeps the sets of patterns for the compile after this one, as if they had been asked for.
    pub fn keep(&self, sets: &mut PatternSets) {
        for source in &self.sources {
            if let Lookup::Patterns(group, _) = &source.lookup {
                sets.keep(group);
            }
        }
    }

    /// The rules with a condition that are asked one by one, by every request or by every one with their attribute.
    pub fn unindexed(&self) -> &[Rank] {
        &self.unindexed
    }

    /// What a search costs at most before a candidate is asked, in lookups of some tens of nanoseconds: one for each
    /// table, one for each rule that is asked one by one, and [`PATTERNS_LOOKUPS`] for each set of patterns.
    pub fn cost(&self) -> usize {
        let tables = self.sources.iter().map(|source| match source.lookup {
            Lookup::Patterns(..) => PATTERNS_LOOKUPS,
            _ => 1,
        });
        tables.sum::<usize>() + self.unindexed.len()
    }

    /// The rules that no request can match: every key they could be found by is one of an empty list.
    pub fn impossible(&self) -> &[Rank] {
        &self.impossible
    }

    /// The first rule that matches, of those that are asked.
    pub fn find<'p>(
        &self,
        asked: &Asked<impl Fn(Rank) -> Option<&'p RulePlan>>,
        seen: Seen<'_>,
        scratch: &mut Scratch,
    ) -> Option<Rank> {
        // Taken out, so that the other buffers can be used beside it.
        let mut queue = std::mem::take(&mut scratch.queue);
        queue.clear();
        queue.hit(self.always);
        queue.take_in(&self.postings);
        let mut last = None;
        let mut sources = self.sources.iter();
        let found = loop {
            while let Some(source) = sources.as_slice().first()
                && source.first < queue.head().unwrap_or(Rank::MAX).min(asked.limit)
            {
                sources.next();
                if !seen.hides(&source.attribute) {
                    source.lookup.open(&source.attribute, seen, (&mut *scratch, &mut queue));
                    queue.take_in(&self.postings);
                }
            }
            let Some(Next::Rank(rank)) = queue.pop(&self.postings) else { break None };
            if rank >= asked.limit {
                break None;
            }
            if last.replace(rank) == Some(rank) {
                continue;
            }
            let remainder = self.remainders.get(rank as usize).copied().unwrap_or(Remainder::Everything);
            if (asked.rule)(rank).is_some_and(|rule| rule.matches_beyond(remainder, seen, scratch)) {
                break Some(rank);
            }
        };
        scratch.queue = queue;
        found
    }
}

impl Lookup {
    /// Notes the lists that the request hits.
    fn open(&self, attribute: &Attribute, seen: Seen<'_>, (scratch, queue): (&mut Scratch, &mut Queue)) {
        match self {
            Lookup::Values { fold: folds, table } => each(attribute, *folds, seen, scratch, |value| {
                table.get(value).into_iter().for_each(|span| queue.hit(*span));
            }),
            Lookup::Prefixes { fold: folds, table } => each(attribute, *folds, seen, scratch, |value| {
                table.prefixes(value).for_each(|span| queue.hit(*span));
            }),
            Lookup::Suffixes { fold: folds, table } => each(attribute, *folds, seen, scratch, |value| {
                table.suffixes(value).for_each(|span| queue.hit(*span));
            }),
            Lookup::Contains { fold: folds, words } => {
                let mut found = std::mem::take(&mut queue.seen);
                found.clear_for(words);
                each(attribute, *folds, seen, scratch, |value| {
                    words.each_in(value, &mut found, |span| queue.hit(span));
                });
                queue.seen = found;
            }
            Lookup::Member(list, span) => {
                if seen.any_value(attribute, scratch, &mut |value, _| list.contains(value)) {
                    queue.hit(*span);
                }
            }
            Lookup::Networks(networks, span) => {
                if networks.contains(seen.request.client) {
                    queue.hit(*span);
                }
            }
            Lookup::Numbers(numbers) => each(attribute, false, seen, scratch, |value| {
                if let Some(number) = Decimal::parse(value) {
                    numbers.each_around(&(number.whole(), number), |span| queue.hit(span));
                }
            }),
            Lookup::Versions(versions) => each(attribute, false, seen, scratch, |value| {
                if let Some(version) = Version::read(value) {
                    versions.each_around(&version.numbers, |span| queue.hit(span));
                }
            }),
            Lookup::Patterns(group, spans) => {
                let mut hits = std::mem::take(&mut queue.hits);
                hits.clear_for(group);
                each(attribute, false, seen, scratch, |value| group.search(value, &mut hits));
                hits.numbers().filter_map(|number| spans.get(number)).for_each(|span| queue.hit(*span));
                queue.hits = hits;
            }
            Lookup::Present(span) => {
                if seen.any_value(attribute, scratch, &mut |_, _| true) {
                    queue.hit(*span);
                }
            }
        }
    }
}

/// Calls `see` with every value of the attribute, its case folded if `folds`.
fn each(
    attribute: &Attribute,
    folds: bool,
    seen: Seen<'_>,
    scratch: &mut Scratch,
    mut see: impl FnMut(&[u8]),
) {
    seen.any_value(attribute, scratch, &mut |value, folded| {
        match folds {
            true => {
                fold(value, folded);
                see(folded);
            }
            false => see(value),
        }
        false
    });
}

/// Which table of an attribute a text belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    Values,
    Prefixes,
    Suffixes,
    Contains,
}

/// The keys of one attribute.
#[derive(Default)]
struct Keys<'c> {
    texts: BTreeMap<(Part, bool), TextLists>,
    patterns: BTreeMap<&'c str, Vec<Rank>>,
    lists: BTreeMap<usize, (Option<&'c Arc<ValueSet>>, Vec<Rank>)>,
    networks: BTreeMap<usize, (Option<&'c Arc<NetworkSet>>, Vec<Rank>)>,
    numbers: Vec<(&'c Interval<Number>, Rank)>,
    versions: Vec<(&'c Interval<Triple>, Rank)>,
    present: Vec<Rank>,
}

#[derive(Default)]
struct Gathered<'c> {
    attributes: Vec<(&'c Attribute, Keys<'c>)>,
    places: HashMap<&'c Attribute, usize, FixedState>,
    /// The place of the last one: the next rule almost always goes under the same attribute.
    recent: usize,
    always: Vec<Rank>,
    remainders: Vec<Remainder>,
    unindexed: Vec<Rank>,
    impossible: Vec<Rank>,
}

impl<'c> Gathered<'c> {
    /// Takes in the next rule: without a condition, with one that has no keys, or with keys. One that takes no part
    /// has no place in any list.
    fn add(&mut self, rank: Rank, basis: &'c Basis, popularity: &Shared<'_>) {
        let weight = basis.when().and_then(|when| weigh(when, popularity));
        self.remainders.push(weight.map_or(Remainder::Everything, |weight| weight.remainder));
        match (basis, weight) {
            (Basis::Out, _) => {}
            (Basis::Open, _) => self.always.push(rank),
            (Basis::When(_), None) => {
                self.always.push(rank);
                self.unindexed.push(rank);
            }
            (Basis::When(when), Some(weight)) => {
                let (mut keys, mut told_by_presence) = (0, false);
                each_key(when, popularity, &mut |attribute, kind| {
                    keys += 1;
                    told_by_presence |= matches!(kind, Kind::Present);
                    self.put(attribute, rank, kind);
                });
                if weight.remainder != Remainder::Nothing && told_by_presence {
                    self.unindexed.push(rank);
                }
                if keys == 0 {
                    self.impossible.push(rank);
                }
            }
        }
    }

    fn put(&mut self, attribute: &'c Attribute, rank: Rank, kind: &'c Kind) {
        if self.attributes.get(self.recent).is_none_or(|(recent, _)| *recent != attribute) {
            self.recent = *self.places.entry(attribute).or_insert(self.attributes.len());
        }
        match self.attributes.get_mut(self.recent) {
            Some((_, keys)) => keys.add(rank, kind),
            None => {
                let mut keys = Keys::default();
                keys.add(rank, kind);
                self.attributes.push((attribute, keys));
            }
        }
    }

    fn build(mut self, (sets, in_set): (&mut PatternSets, usize)) -> RuleTable {
        let mut builder = SourcesBuilder::default();
        let mut too_large = Vec::new();
        for (attribute, keys) in self.attributes {
            too_large.extend(keys.build(attribute, (&mut *sets, in_set), &mut builder));
        }
        for rank in &too_large {
            // Found by presence now, which says nothing about the pattern.
            self.remainders
                .get_mut(*rank as usize)
                .into_iter()
                .for_each(|left| *left = Remainder::Everything);
        }
        self.unindexed.extend(too_large);
        let always = builder.postings.add(&self.always);
        let mut sources = builder.sources;
        sources.sort_by_key(|source| source.first);
        RuleTable {
            basis: Box::default(),
            popularity: Popularity::default(),
            postings: builder.postings.build(),
            sources: sources.into(),
            always,
            remainders: self.remainders.into(),
            unindexed: self.unindexed.into(),
            impossible: self.impossible.into(),
        }
    }
}

impl<'c> Keys<'c> {
    fn add(&mut self, rank: Rank, kind: &'c Kind) {
        let (part, fold, text) = match kind {
            Kind::Value { fold, text } => (Part::Values, fold, text),
            Kind::Prefix { fold, text } => (Part::Prefixes, fold, text),
            Kind::Suffix { fold, text } => (Part::Suffixes, fold, text),
            Kind::Contains { fold, text } => (Part::Contains, fold, text),
            Kind::Member(list) => {
                let (known, ranks) = self.lists.entry(Arc::as_ptr(list).addr()).or_default();
                *known = Some(list);
                return ranks.push(rank);
            }
            Kind::Networks(networks) => {
                let (known, ranks) = self.networks.entry(Arc::as_ptr(networks).addr()).or_default();
                *known = Some(networks);
                return ranks.push(rank);
            }
            Kind::Pattern(pattern) => return self.patterns.entry(pattern).or_default().push(rank),
            Kind::Number(interval) => return self.numbers.push((interval, rank)),
            Kind::Version(interval) => return self.versions.push((interval, rank)),
            Kind::Present => return self.present.push(rank),
        };
        self.texts.entry((part, *fold)).or_default().add(text, rank);
    }

    /// Builds the sources, and returns the rules whose patterns are too large together.
    fn build(
        mut self,
        attribute: &Attribute,
        sets: (&mut PatternSets, usize),
        builder: &mut SourcesBuilder,
    ) -> Vec<Rank> {
        let mut too_large = Vec::new();
        for ((part, fold), table) in self.texts {
            let first = table.first();
            let lists = table.build(&mut builder.postings);
            let lookup = match part {
                Part::Values => Lookup::Values { fold, table: lists.collect() },
                Part::Prefixes => Lookup::Prefixes { fold, table: lists.collect() },
                Part::Suffixes => Lookup::Suffixes { fold, table: lists.collect() },
                Part::Contains => Lookup::Contains { fold, words: Words::build(lists) },
            };
            builder.push(first, attribute, lookup);
        }
        for (list, ranks) in self.lists.into_values() {
            let span = builder.postings.add(&ranks);
            let lookup = list.map(|list| Lookup::Member(list.clone(), span));
            lookup.into_iter().for_each(|lookup| builder.push(ranks.first().copied(), attribute, lookup));
        }
        for (networks, ranks) in self.networks.into_values() {
            let span = builder.postings.add(&ranks);
            let lookup = networks.map(|networks| Lookup::Networks(networks.clone(), span));
            lookup.into_iter().for_each(|lookup| builder.push(ranks.first().copied(), attribute, lookup));
        }
        let first = self.numbers.first().map(|(_, rank)| *rank);
        let numbers = Intervals::build(&self.numbers, &mut builder.postings);
        builder.push(first, attribute, Lookup::Numbers(numbers));
        let first = self.versions.first().map(|(_, rank)| *rank);
        let versions = Intervals::build(&self.versions, &mut builder.postings);
        builder.push(first, attribute, Lookup::Versions(versions));
        too_large.extend(builder.push_patterns(&self.patterns, attribute, sets));
        self.present.extend(&too_large);
        self.present.sort_unstable();
        let span = builder.postings.add(&self.present);
        builder.push(self.present.first().copied(), attribute, Lookup::Present(span));
        too_large
    }
}

#[derive(Default)]
struct SourcesBuilder {
    postings: PostingsBuilder,
    sources: Vec<Source>,
}

impl SourcesBuilder {
    fn push(&mut self, first: Option<Rank>, attribute: &Attribute, lookup: Lookup) {
        if let Some(first) = first {
            self.sources.push(Source { first, attribute: attribute.clone(), lookup });
        }
    }

    /// Adds the sets of patterns, and returns the rules whose patterns are too large together.
    fn push_patterns(
        &mut self,
        patterns: &BTreeMap<&str, Vec<Rank>>,
        attribute: &Attribute,
        (sets, in_set): (&mut PatternSets, usize),
    ) -> Vec<Rank> {
        let (groups, left) = sets.lists_by(in_set, patterns);
        for (group, lists) in groups {
            let first = lists.iter().filter_map(|list| list.first()).min().copied();
            let spans = lists.iter().map(|list| self.postings.add(list)).collect();
            self.push(first, attribute, Lookup::Patterns(group, spans));
        }
        left
    }
}

//! Rules by what a request must have for them: the first match without asking every rule.
//!
//! Each rule goes under keys that a request it matches must hit (see `ways`); keys of one kind over one attribute
//! are a *source*. A source is opened, its attribute looked up once, only when its best rule would be next. What is
//! found is asked in the rules' order, so the answer is the linear one. A table is built whole and never changed; a
//! search allocates nothing once its buffers have grown. What becomes of it when rules change: `overlay`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::intervals::{Intervals, Number, Ranked, Triple};
use super::keys::{ByLength, Exact, TextLists};
use super::patterns::{PatternGroup, PatternSets};
use super::postings::{Next, Postings, PostingsBuilder, Rank, Span};
use super::scratch::Scratch;
use super::ways::{Indexed, Kind, Popularity, Shared};
use super::words::Words;
use crate::decide::condition::Remainder;
use crate::decide::list::{NetworkSet, ValueSet};
use crate::decide::request::{Seen, Values};
use crate::decide::text::fold;
use crate::decide::version::Version;
use crate::vocab::{Attribute, Decimal};

/// A search through a set of patterns takes about as long as this many lookups in tables.
const PATTERNS_LOOKUPS: usize = 8;

/// Which rules to ask for a request, of rules in the order they are asked: their *ranks* count from 0.
#[derive(Default, Debug)]
pub struct RuleTable {
    /// By rank.
    keys: Box<[RuleKey]>,
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

/// All that an index looks at of one rule. `W` is a condition, shared or borrowed.
#[derive(Clone, Copy, Debug)]
pub enum RuleKey<W = Arc<Indexed>> {
    /// It takes no part.
    Out,
    /// It has no condition.
    Open,
    /// Where it is shared it is held, so that no other condition can have the same place in memory.
    When(W),
}

impl<W> RuleKey<W> {
    pub fn is_active(&self) -> bool {
        !matches!(self, RuleKey::Out)
    }
}

impl RuleKey<&Arc<Indexed>> {
    pub fn shared(self) -> RuleKey {
        match self {
            RuleKey::Out => RuleKey::Out,
            RuleKey::Open => RuleKey::Open,
            RuleKey::When(when) => RuleKey::When(when.clone()),
        }
    }
}

impl RuleKey {
    /// Whether it is this one, by the condition's place in memory.
    pub fn is(&self, other: &RuleKey<&Arc<Indexed>>) -> bool {
        match (self, other) {
            (RuleKey::Out, RuleKey::Out) | (RuleKey::Open, RuleKey::Open) => true,
            (RuleKey::When(own), RuleKey::When(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }

    fn when(&self) -> Option<&Indexed> {
        match self {
            RuleKey::When(when) => Some(when),
            RuleKey::Out | RuleKey::Open => None,
        }
    }
}

/// Where sets of patterns come from, and how many patterns go into one, about.
pub struct Sets<'s> {
    pub patterns: &'s mut PatternSets,
    pub in_set: usize,
}

/// How far a search goes, and whether a rule matches: only ranks before `limit` are asked.
pub struct Bound<F> {
    pub limit: Rank,
    pub matches: F,
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
    pub fn build(keys: Box<[RuleKey]>, beside: Option<&RuleTable>, sets: &mut Sets<'_>) -> RuleTable {
        let mut popularity = Popularity::default();
        for when in keys.iter().filter_map(RuleKey::when) {
            popularity.count(when);
        }
        let shared = Shared { own: &popularity, beside: beside.map(|table| &table.popularity) };
        let mut gathered = Gathered::default();
        for (rank, key) in (0..).zip(&keys) {
            gathered.add(rank, key, &shared);
        }
        let table = gathered.build(sets);
        RuleTable { keys, popularity, ..table }
    }

    /// By rank.
    pub fn keys(&self) -> &[RuleKey] {
        &self.keys
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
    pub fn find(
        &self,
        bound: &Bound<impl Fn(Rank, Remainder, &mut Values) -> bool>,
        seen: Seen<'_>,
        scratch: &mut Scratch,
    ) -> Option<Rank> {
        scratch.queue.clear();
        scratch.queue.hit(self.always);
        scratch.queue.take_in(&self.postings);
        let mut last = None;
        let mut sources = self.sources.iter();
        loop {
            while let Some(source) = sources.as_slice().first()
                && source.first < scratch.queue.head().unwrap_or(Rank::MAX).min(bound.limit)
            {
                sources.next();
                if !seen.hides(&source.attribute) {
                    source.lookup.open(&source.attribute, seen, scratch);
                    scratch.queue.take_in(&self.postings);
                }
            }
            let Some(Next::Rank(rank)) = scratch.queue.pop(&self.postings) else { return None };
            if rank >= bound.limit {
                return None;
            }
            if last.replace(rank) == Some(rank) {
                continue;
            }
            let remainder = self.remainders.get(rank as usize).copied().unwrap_or(Remainder::Everything);
            if (bound.matches)(rank, remainder, &mut scratch.values) {
                return Some(rank);
            }
        }
    }
}

impl Lookup {
    /// Notes the lists that the request hits.
    fn open(&self, attribute: &Attribute, seen: Seen<'_>, scratch: &mut Scratch) {
        let Scratch { values, queue, hits, words: found } = scratch;
        let look = Look { attribute, seen };
        match self {
            Lookup::Values { fold, table } => look.each(*fold, values, |value| {
                if let Some(span) = table.get(value) {
                    queue.hit(*span);
                }
            }),
            Lookup::Prefixes { fold, table } => look.each(*fold, values, |value| {
                table.prefixes(value).for_each(|span| queue.hit(*span));
            }),
            Lookup::Suffixes { fold, table } => look.each(*fold, values, |value| {
                table.suffixes(value).for_each(|span| queue.hit(*span));
            }),
            Lookup::Contains { fold, words } => {
                found.clear_for(words);
                look.each(*fold, values, |value| words.each_in(value, found, |span| queue.hit(span)));
            }
            Lookup::Member(list, span) => {
                if seen.any_value(attribute, values, &mut |value, _| list.contains(value)) {
                    queue.hit(*span);
                }
            }
            Lookup::Networks(networks, span) => {
                if networks.contains(seen.request.client) {
                    queue.hit(*span);
                }
            }
            Lookup::Numbers(numbers) => look.each(false, values, |value| {
                if let Some(number) = Decimal::parse(value) {
                    numbers.each_around(&(number.whole(), number), |span| queue.hit(span));
                }
            }),
            Lookup::Versions(versions) => look.each(false, values, |value| {
                if let Some(version) = Version::read(value) {
                    versions.each_around(&version.numbers, |span| queue.hit(span));
                }
            }),
            Lookup::Patterns(group, spans) => {
                hits.clear_for(group);
                look.each(false, values, |value| group.search(value, hits));
                hits.numbers().filter_map(|number| spans.get(number)).for_each(|span| queue.hit(*span));
            }
            Lookup::Present(span) => {
                if seen.any_value(attribute, values, &mut |_, _| true) {
                    queue.hit(*span);
                }
            }
        }
    }
}

/// One attribute of a request.
#[derive(Clone, Copy)]
struct Look<'r> {
    attribute: &'r Attribute,
    seen: Seen<'r>,
}

impl Look<'_> {
    /// Calls `see` with every value, its case folded if `folds`.
    fn each(self, folds: bool, values: &mut Values, mut see: impl FnMut(&[u8])) {
        self.seen.any_value(self.attribute, values, &mut |value, folded| {
            if folds {
                fold(value, folded);
                see(folded);
            } else {
                see(value);
            }
            false
        });
    }
}

/// Which table of an attribute a text belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum TextTable {
    Values,
    Prefixes,
    Suffixes,
    Contains,
}

/// The keys of one attribute.
#[derive(Default)]
struct Keys<'c> {
    texts: BTreeMap<(TextTable, bool), TextLists>,
    patterns: BTreeMap<&'c str, Vec<Rank>>,
    lists: BTreeMap<usize, (Option<&'c Arc<ValueSet>>, Vec<Rank>)>,
    networks: BTreeMap<usize, (Option<&'c Arc<NetworkSet>>, Vec<Rank>)>,
    numbers: Vec<Ranked<'c, Number>>,
    versions: Vec<Ranked<'c, Triple>>,
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
    fn add(&mut self, rank: Rank, key: &'c RuleKey, popularity: &Shared<'_>) {
        let weight = key.when().and_then(|when| when.weigh(popularity));
        self.remainders.push(weight.map_or(Remainder::Everything, |weight| weight.remainder));
        match (key, weight) {
            (RuleKey::Out, _) => {}
            (RuleKey::Open, _) => self.always.push(rank),
            (RuleKey::When(_), None) => {
                self.always.push(rank);
                self.unindexed.push(rank);
            }
            (RuleKey::When(when), Some(weight)) => {
                let (mut keys, mut found_by_presence) = (0, false);
                when.each_key(popularity, &mut |attribute, kind| {
                    keys += 1;
                    found_by_presence |= matches!(kind, Kind::Present);
                    self.put(attribute, rank, kind);
                });
                if weight.remainder != Remainder::Nothing && found_by_presence {
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

    fn build(mut self, sets: &mut Sets<'_>) -> RuleTable {
        let mut builder = SourcesBuilder::default();
        let mut too_large = Vec::new();
        for (attribute, keys) in self.attributes {
            too_large.extend(keys.build(attribute, sets, &mut builder));
        }
        for rank in &too_large {
            // Found by presence now, which says nothing about the pattern.
            if let Some(remainder) = self.remainders.get_mut(*rank as usize) {
                *remainder = Remainder::Everything;
            }
        }
        self.unindexed.extend(too_large);
        let always = builder.postings.add(&self.always);
        let mut sources = builder.sources;
        sources.sort_by_key(|source| source.first);
        RuleTable {
            keys: Box::default(),
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
        let (table, fold, text) = match kind {
            Kind::Value { fold, text } => (TextTable::Values, fold, text),
            Kind::Prefix { fold, text } => (TextTable::Prefixes, fold, text),
            Kind::Suffix { fold, text } => (TextTable::Suffixes, fold, text),
            Kind::Contains { fold, text } => (TextTable::Contains, fold, text),
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
            Kind::Number(interval) => return self.numbers.push(Ranked { interval, rank }),
            Kind::Version(interval) => return self.versions.push(Ranked { interval, rank }),
            Kind::Present => return self.present.push(rank),
        };
        self.texts.entry((table, *fold)).or_default().add(text, rank);
    }

    /// Builds the sources, and returns the rules whose patterns are too large together.
    fn build(
        mut self,
        attribute: &Attribute,
        sets: &mut Sets<'_>,
        builder: &mut SourcesBuilder,
    ) -> Vec<Rank> {
        let mut too_large = Vec::new();
        for ((table, fold), texts) in self.texts {
            let first = texts.first();
            let lists = texts.build(&mut builder.postings);
            let lookup = match table {
                TextTable::Values => Lookup::Values { fold, table: lists.collect() },
                TextTable::Prefixes => Lookup::Prefixes { fold, table: lists.collect() },
                TextTable::Suffixes => Lookup::Suffixes { fold, table: lists.collect() },
                TextTable::Contains => Lookup::Contains { fold, words: Words::build(lists) },
            };
            builder.push(first, attribute, lookup);
        }
        for (list, ranks) in self.lists.into_values() {
            let span = builder.postings.add(&ranks);
            if let Some(list) = list {
                builder.push(ranks.first().copied(), attribute, Lookup::Member(list.clone(), span));
            }
        }
        for (networks, ranks) in self.networks.into_values() {
            let span = builder.postings.add(&ranks);
            if let Some(networks) = networks {
                builder.push(ranks.first().copied(), attribute, Lookup::Networks(networks.clone(), span));
            }
        }
        let first = self.numbers.first().map(|first| first.rank);
        let numbers = Intervals::build(&self.numbers, &mut builder.postings);
        builder.push(first, attribute, Lookup::Numbers(numbers));
        let first = self.versions.first().map(|first| first.rank);
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
        sets: &mut Sets<'_>,
    ) -> Vec<Rank> {
        let (groups, left) = sets.patterns.lists_by(sets.in_set, patterns);
        for (group, lists) in groups {
            let first = lists.iter().filter_map(|list| list.first()).min().copied();
            let spans = lists.iter().map(|list| self.postings.add(list)).collect();
            self.push(first, attribute, Lookup::Patterns(group, spans));
        }
        left
    }
}

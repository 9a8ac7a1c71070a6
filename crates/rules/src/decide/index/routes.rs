//! The routes by host and path: the best one that fits without asking every route.
//!
//! A request's host leads to at most one table for itself, one for each wildcard above it, and one for any host; a
//! table's path keys lead to candidates. What is found is asked in the contract's order, in which every candidate has
//! its rank, so that priorities reach across hosts. Never: methods and conditions, which the caller asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::keys::{ByLength, Exact, Text};
use super::path_texts::{ByPattern, PathTexts};
use super::patterns::{PatternGroup, PatternSets};
use super::postings::{Next, Postings, PostingsBuilder, Queue, Rank, Span};
use super::scratch::Scratch;
use crate::decide::candidate::{Candidate, HostMatch, PathMatch};
use crate::decide::request::{Request, Values};

#[derive(Default, Debug)]
pub struct RouteIndex {
    postings: Postings,
    exact: Exact<Paths>,
    /// With their leading dots.
    wildcards: ByLength<Paths>,
    any: Paths,
    /// The patterns of all hosts, those of one host together.
    patterns: Box<[Patterns]>,
    /// By candidate, whether its pattern is still to be asked: found by a text it needs, or, because it is too large for a
    /// set, by its host alone.
    unasked: Box<[bool]>,
}

/// The paths of one host.
#[derive(Default, Debug)]
struct Paths {
    exact: Exact<Span>,
    prefixes: ByLength<Span>,
    /// Places in [`RouteIndex::patterns`].
    patterns: std::ops::Range<u32>,
    any: Span,
}

/// Patterns that are looked up together, once the best candidate among them would be next.
#[derive(Debug)]
struct Patterns {
    first: Rank,
    lookup: Lookup,
}

#[derive(Debug)]
enum Lookup {
    Texts(Box<PathTexts>),
    /// The lists by the pattern's number.
    Set(Arc<PatternGroup>, Box<[Span]>),
}

/// A candidate whose host fits.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// Its place among the candidates.
    pub candidate: usize,
    /// Whether its path fits too; otherwise that is still to be asked.
    pub path_known: bool,
}

impl RouteIndex {
    /// Indexes candidates in the order they are asked.
    pub fn build(candidates: &[Candidate], sets: &mut PatternSets) -> RouteIndex {
        let mut hosts: HashMap<HostKey<'_>, Vec<(Rank, &PathMatch)>, FixedState> = HashMap::default();
        for (rank, candidate) in (0..).zip(candidates) {
            hosts.entry(HostKey::of(&candidate.host)).or_default().push((rank, &candidate.path));
        }
        let mut builder = Builder { unasked: vec![false; candidates.len()], ..Builder::default() };
        let (mut exact, mut wildcards, mut any) = (Exact::default(), Vec::new(), Paths::default());
        for (host, paths) in hosts {
            let paths = builder.paths(&paths, sets);
            match host {
                HostKey::Exact(name) => drop(exact.insert(name.as_bytes().into(), paths)),
                HostKey::Suffix(suffix) => wildcards.push((suffix.as_bytes().into(), paths)),
                HostKey::Any => any = paths,
            }
        }
        RouteIndex {
            postings: builder.postings.build(),
            exact,
            wildcards: wildcards.into_iter().collect(),
            any,
            patterns: builder.patterns.into(),
            unasked: builder.unasked.into(),
        }
    }

    /// What `take` makes of the first candidate it does not refuse.
    pub fn first<T>(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        mut take: impl FnMut(Reached, &mut Values) -> Option<T>,
    ) -> Option<T> {
        let queue = &mut scratch.queue;
        queue.clear();
        let (host, path) = (request.host.as_bytes(), request.path.view.as_bytes());
        // A wildcard stands for at least one label.
        let wildcards = self.wildcards.suffixes(host.get(1..).unwrap_or_default());
        for paths in self.exact.get(host).into_iter().chain(wildcards).chain([&self.any]) {
            self.look_up(paths, path, queue);
        }
        queue.take_in(&self.postings);
        let mut asked = None;
        loop {
            match scratch.queue.pop(&self.postings) {
                None => return None,
                Some(Next::Source(at)) => self.open(at, path, scratch),
                // Found by several texts of its pattern.
                Some(Next::Rank(rank)) if asked.replace(rank) == Some(rank) => {}
                Some(Next::Rank(rank)) => {
                    let candidate = rank as usize;
                    let path_known = self.unasked.get(candidate).is_some_and(|unasked| !unasked);
                    let taken = take(Reached { candidate, path_known }, &mut scratch.values);
                    if taken.is_some() {
                        return taken;
                    }
                }
            }
        }
    }

    fn look_up(&self, paths: &Paths, path: &[u8], queue: &mut Queue) {
        paths
            .exact
            .get(path)
            .into_iter()
            .chain(paths.prefixes.elements(path))
            .for_each(|span| queue.hit(*span));
        queue.hit(paths.any);
        for at in paths.patterns.clone() {
            if let Some(patterns) = self.patterns.get(at as usize) {
                queue.wait_for(at, patterns.first);
            }
        }
    }

    fn open(&self, at: u32, path: &[u8], scratch: &mut Scratch) {
        let Scratch { queue, hits, words, .. } = scratch;
        let Some(patterns) = self.patterns.get(at as usize) else { return };
        match &patterns.lookup {
            Lookup::Texts(texts) => texts.look_up(path, queue, words),
            Lookup::Set(group, spans) => {
                hits.clear_for(group);
                group.search(path, hits);
                hits.numbers().filter_map(|number| spans.get(number)).for_each(|span| queue.hit(*span));
            }
        }
        queue.take_in(&self.postings);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum HostKey<'c> {
    Exact(&'c str),
    Suffix(&'c str),
    Any,
}

impl<'c> HostKey<'c> {
    fn of(host: &'c HostMatch) -> HostKey<'c> {
        match host {
            HostMatch::Exact(name) => HostKey::Exact(name),
            HostMatch::Suffix(suffix) => HostKey::Suffix(suffix),
            HostMatch::Any => HostKey::Any,
        }
    }
}

#[derive(Default)]
struct Builder {
    postings: PostingsBuilder,
    patterns: Vec<Patterns>,
    unasked: Vec<bool>,
}

impl Builder {
    /// The tables of one host, whose paths come with their ranks in ascending order.
    fn paths(&mut self, paths: &[(Rank, &PathMatch)], sets: &mut PatternSets) -> Paths {
        let (mut exact, mut prefixes) = (BTreeMap::new(), BTreeMap::new());
        let mut patterns = ByPattern::new();
        let mut any = Vec::new();
        for (rank, path) in paths {
            let ranks: &mut Vec<Rank> = match path {
                PathMatch::Exact(path) => exact.entry(path.as_bytes()).or_default(),
                PathMatch::Prefix(prefix) => prefixes.entry(prefix.as_bytes()).or_default(),
                PathMatch::Regex(regex) => patterns.entry(regex.as_str()).or_default(),
                PathMatch::Any => &mut any,
            };
            ranks.push(*rank);
        }
        let start = self.patterns.len();
        any.extend(self.push_patterns(patterns, sets));
        any.sort_unstable();
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut spans = |table: BTreeMap<&[u8], Vec<Rank>>| -> Vec<(Text, Span)> {
            table.into_iter().map(|(key, ranks)| (key.into(), self.postings.add(&ranks))).collect()
        };
        Paths {
            exact: spans(exact).into_iter().collect(),
            prefixes: spans(prefixes).into_iter().collect(),
            patterns: place(start)..place(self.patterns.len()),
            any: self.postings.add(&any),
        }
    }

    /// Adds what finds patterns, and returns the candidates whose patterns are too large together.
    fn push_patterns(&mut self, mut patterns: ByPattern<'_>, sets: &mut PatternSets) -> Vec<Rank> {
        let by_texts = PathTexts::take(&mut patterns, sets, &mut self.postings);
        let (groups, left) = sets.lists(&patterns);
        for (group, lists) in groups {
            if let Some(first) = lists.iter().filter_map(|list| list.first()).min().copied() {
                let spans = lists.iter().map(|list| self.postings.add(list)).collect();
                self.patterns.push(Patterns { first, lookup: Lookup::Set(group, spans) });
            }
        }
        self.leave_unasked(&left);
        if let Some((texts, ranks)) = by_texts
            && let Some(first) = ranks.first().copied()
        {
            self.leave_unasked(&ranks);
            self.patterns.push(Patterns { first, lookup: Lookup::Texts(texts.into()) });
        }
        left
    }

    fn leave_unasked(&mut self, ranks: &[Rank]) {
        for rank in ranks {
            if let Some(unasked) = self.unasked.get_mut(*rank as usize) {
                *unasked = true;
            }
        }
    }
}

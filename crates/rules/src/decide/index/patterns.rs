//! Many patterns over one value in one pass: which of them match it whole?
//!
//! Owns the sets and what carries them from one compile to the next, because building one costs far more than asking
//! it. Start at [`PatternSets::lists`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternSet};

use super::keys::stable_hash;
use super::literals::Texts;
use super::postings::Rank;

/// Patterns in one set, about: a changed pattern rebuilds its set only, and the automaton's states stay small.
pub const PATTERNS_IN_SET: usize = 256;
/// A set's compiled patterns may take this many bytes; one that would take more is asked pattern by pattern.
const SET_SIZE_LIMIT: usize = 32 << 20;
/// The lazily built states of one set may take this many bytes for each thread that asks it; then they start again.
/// With 1 MiB a set of 125 patterns over user agents kept starting again (`loadtest/results/pattern-cache.md`).
const SET_CACHE: usize = 8 << 20;

/// How many sets and patterns may wait to be forgotten.
const SPARE: usize = 256;

/// Patterns that are searched together.
#[derive(Debug)]
pub struct PatternGroup {
    patterns: Arc<[Box<str>]>,
    /// `None`: too large together.
    regex: Option<Regex>,
}

/// What a search found, as a buffer that grows once.
#[derive(Debug)]
pub struct Hits(PatternSet);

impl Default for Hits {
    fn default() -> Self {
        Hits(PatternSet::new(0))
    }
}

impl Hits {
    /// Makes room for a group's patterns and forgets what was found before.
    pub fn clear_for(&mut self, group: &PatternGroup) {
        if self.0.capacity() < group.patterns.len() {
            self.0 = PatternSet::new(group.patterns.len());
        } else {
            self.0.clear();
        }
    }

    /// The numbers of the patterns found since then.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        let any = !self.0.is_empty();
        any.then(|| self.0.iter().map(|id| id.as_usize())).into_iter().flatten()
    }
}

impl PatternGroup {
    fn build(patterns: Arc<[Box<str>]>) -> PatternGroup {
        let config = Config::new()
            .match_kind(MatchKind::All)
            .which_captures(WhichCaptures::None)
            .utf8_empty(false)
            .nfa_size_limit(Some(SET_SIZE_LIMIT))
            .hybrid_cache_capacity(SET_CACHE);
        // As the patterns were read one by one: values need not be UTF-8.
        let syntax = syntax::Config::new().utf8(false);
        let regex = Regex::builder().configure(config).syntax(syntax).build_many(&patterns).ok();
        PatternGroup { patterns, regex }
    }

    /// Adds the patterns that match the value.
    pub fn search(&self, value: &[u8], hits: &mut Hits) {
        if let Some(regex) = &self.regex {
            regex.which_overlapping_matches(&Input::new(value).anchored(Anchored::Yes), &mut hits.0);
        }
    }
}

/// The groups of one compile, kept for the next.
#[derive(Clone, Default, Debug)]
pub struct PatternSets {
    kept: BTreeMap<Arc<[Box<str>]>, Arc<PatternGroup>>,
    used: BTreeMap<Arc<[Box<str>]>, Arc<PatternGroup>>,
    kept_texts: TextsOf,
    used_texts: TextsOf,
}

/// By pattern, the texts that it cannot match without.
type TextsOf = HashMap<Box<str>, Arc<Texts>, FixedState>;

/// A group with the lists of its patterns, by their numbers.
pub type Grouped<'t> = (Arc<PatternGroup>, Vec<&'t [Rank]>);

impl PatternSets {
    /// As many sets or patterns asked for since the last turn as are kept, and some: much of it may be of no use any
    /// more.
    pub fn has_grown(&self) -> bool {
        self.used.len() > self.kept.len() + SPARE || self.used_texts.len() > self.kept_texts.len() + SPARE
    }

    /// Begins again with all that is there: what is asked for from now on is what the next turn leaves.
    pub fn begin(&mut self) {
        self.kept.append(&mut self.used);
        self.kept_texts.extend(self.used_texts.drain());
    }

    /// Forgets what was not asked for since the last call.
    pub fn turn(&mut self) {
        self.kept = std::mem::take(&mut self.used);
        self.kept_texts = std::mem::take(&mut self.used_texts);
    }

    /// The texts of an anchored pattern, which are read once.
    pub(super) fn texts(&mut self, pattern: &str) -> Arc<Texts> {
        if let Some(known) = self.used_texts.get(pattern) {
            return known.clone();
        }
        let kept = self.kept_texts.remove_entry(pattern);
        let (pattern, texts) = kept.unwrap_or_else(|| (pattern.into(), Arc::new(Texts::read(pattern))));
        self.used_texts.insert(pattern, texts.clone());
        texts
    }

    /// Keeps a group that was not asked for, because what was built of it stays.
    pub fn keep(&mut self, group: &Arc<PatternGroup>) {
        self.used.entry(group.patterns.clone()).or_insert_with(|| group.clone());
    }

    /// Groups anchored patterns with their lists, and returns beside them the ranks of those that are too large
    /// together. A pattern's group follows from its text, so that a change of one leaves the other groups alone.
    pub fn lists<'t>(&mut self, table: &'t BTreeMap<&str, Vec<Rank>>) -> (Vec<Grouped<'t>>, Vec<Rank>) {
        self.lists_by(PATTERNS_IN_SET, table)
    }

    /// The same with so many patterns in a set, about.
    pub fn lists_by<'t>(
        &mut self,
        in_set: usize,
        table: &'t BTreeMap<&str, Vec<Rank>>,
    ) -> (Vec<Grouped<'t>>, Vec<Rank>) {
        let count = table.len().div_ceil(in_set).next_power_of_two() as u64;
        let mut parts: BTreeMap<u64, Vec<(&str, &'t [Rank])>> = BTreeMap::new();
        for (pattern, ranks) in table {
            parts.entry(stable_hash(pattern) & (count - 1)).or_default().push((pattern, ranks));
        }
        let (mut grouped, mut left) = (Vec::new(), Vec::new());
        for part in parts.into_values() {
            let group = self.group(part.iter().map(|(pattern, _)| Box::from(*pattern)).collect());
            let lists = part.into_iter().map(|(_, ranks)| ranks);
            if group.regex.is_some() {
                grouped.push((group, lists.collect()));
            } else {
                left.extend(lists.flatten());
            }
        }
        (grouped, left)
    }

    fn group(&mut self, patterns: Vec<Box<str>>) -> Arc<PatternGroup> {
        let known = self.used.get(&*patterns).or_else(|| self.kept.get(&*patterns)).cloned();
        let group = known.unwrap_or_else(|| Arc::new(PatternGroup::build(patterns.into())));
        self.used.insert(group.patterns.clone(), group.clone());
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[String]) -> BTreeMap<&str, Vec<Rank>> {
        patterns.iter().enumerate().map(|(rank, pattern)| (pattern.as_str(), vec![rank as Rank])).collect()
    }

    #[test]
    fn a_set_tells_which_patterns_match() {
        let patterns: Vec<String> =
            [r"\A(?:a|ab)\z", r"(?i)\A(?:AB)\z", r"\A(?:.*)\z", r"\A(?:\w+)\z", r"\A(?:)\z"]
                .map(String::from)
                .into();
        let table = table(&patterns);
        let mut sets = PatternSets::default();
        let (grouped, left) = sets.lists(&table);
        assert_eq!((grouped.len(), left.len()), (1, 0));
        let (group, lists) = &grouped[0];
        for (value, expected) in [
            (&b"ab"[..], vec![0, 1, 2, 3]),
            (b"a", vec![0, 2, 3]),
            (b"", vec![2, 4]),
            (b"\xff", vec![]),
            ("é".as_bytes(), vec![2, 3]),
            (b"ab\n", vec![]),
        ] {
            let mut hits = Hits::default();
            hits.clear_for(group);
            group.search(value, &mut hits);
            let mut found: Vec<Rank> = hits.numbers().map(|number| lists[number][0]).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_changed_pattern_rebuilds_one_set() {
        let mut patterns: Vec<String> = (0..1000).map(|i| format!(r"\A(?:user{i})\z")).collect();
        let mut sets = PatternSets::default();
        let groups = |sets: &mut PatternSets, patterns: &[String]| -> Vec<Arc<PatternGroup>> {
            let table = table(patterns);
            let (grouped, left) = sets.lists(&table);
            assert!(left.is_empty());
            sets.turn();
            grouped.into_iter().map(|(group, _)| group).collect()
        };
        let before = groups(&mut sets, &patterns);
        assert_eq!(before.len(), 4);
        patterns[500] = r"\A(?:another)\z".into();
        let after = groups(&mut sets, &patterns);
        let same = after.iter().filter(|group| before.iter().any(|old| Arc::ptr_eq(old, group))).count();
        assert!((2..4).contains(&same), "{same} of 4 sets stay");
    }
}

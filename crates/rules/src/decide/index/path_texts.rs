//! Patterns over the paths of one host, by the texts that a path must have for them to match.
//!
//! Answers: which of them are worth asking about this path? Each goes under the texts that the fewest others share; those
//! that share all of theirs with many, or have none, are left to the sets of patterns. Never: whether one matches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::keys::{ByLength, Exact, Text};
use super::literals::{self, Set, Texts};
use super::patterns::PatternSets;
use super::postings::{PostingsBuilder, Queue, Rank, Span};
use super::words::{Found, Words};

/// As many patterns asked one by one take about as long as a search through a set of them.
const SHARED: usize = 48;

/// Texts with the candidates whose patterns need them.
#[derive(Debug)]
pub struct PathTexts {
    whole: Exact<Span>,
    beginnings: ByLength<Span>,
    ends: ByLength<Span>,
    words: Option<Words>,
}

/// Where in a path a text has to stand; what is cheaper to look up comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Position {
    Whole,
    Beginning,
    End,
    Inside,
}

/// Candidates by their patterns, in ascending order.
pub type ByPattern<'p> = BTreeMap<&'p str, Vec<Rank>>;

/// Candidates by a text and where it stands.
type ByText<'t> = BTreeMap<(Position, &'t [u8]), Vec<Rank>>;

impl PathTexts {
    /// Takes the patterns that texts find out of `patterns`, and returns their candidates beside the table, smallest first.
    pub fn take(
        patterns: &mut ByPattern<'_>,
        sets: &mut PatternSets,
        postings: &mut PostingsBuilder,
    ) -> Option<(PathTexts, Vec<Rank>)> {
        let texts: Vec<Arc<Texts>> = patterns.keys().map(|pattern| sets.texts(pattern)).collect();
        let mut shared: HashMap<(Position, &[u8]), usize, FixedState> = HashMap::default();
        for (texts, ranks) in texts.iter().zip(patterns.values()) {
            for (place, text) in
                ways(texts).flat_map(|(place, set)| set.iter().map(move |text| (place, text)))
            {
                *shared.entry((place, text)).or_default() += ranks.len();
            }
        }
        let mut texts = texts.iter();
        let (mut found, mut by_text) = (Vec::new(), ByText::default());
        patterns.retain(|_, ranks| {
            let most = |(place, set): &(Position, &Set)| {
                set.iter().filter_map(|text| shared.get(&(*place, text.as_ref()))).max().copied().unwrap_or(0)
            };
            let ways = texts.next().into_iter().flat_map(|texts| ways(texts)).map(|way| (most(&way), way));
            let best =
                ways.min_by_key(|(most, (place, set))| (*most, *place, Reverse(literals::shortest(set))));
            let Some((_, (place, set))) = best.filter(|(most, _)| *most <= SHARED) else { return true };
            found.extend(&*ranks);
            for text in set {
                by_text.entry((place, text)).or_default().extend(&*ranks);
            }
            false
        });
        found.sort_unstable();
        (!found.is_empty()).then(|| (PathTexts::build(by_text, postings), found))
    }

    fn build(by_text: ByText<'_>, postings: &mut PostingsBuilder) -> PathTexts {
        let mut tables: [Vec<(Text, Span)>; 4] = Default::default();
        for ((place, text), mut ranks) in by_text {
            ranks.sort_unstable();
            let entry = (text.into(), postings.add(&ranks));
            if let Some(table) = tables.get_mut(place as usize) {
                table.push(entry);
            }
        }
        let [whole, beginnings, ends, words] = tables;
        PathTexts {
            whole: whole.into_iter().collect(),
            beginnings: beginnings.into_iter().collect(),
            ends: ends.into_iter().collect(),
            words: (!words.is_empty()).then(|| Words::build(words.into_iter())),
        }
    }

    /// Notes the lists of the texts that the path has.
    pub fn look_up(&self, path: &[u8], queue: &mut Queue, found: &mut Found) {
        let pieces = self.beginnings.prefixes(path).chain(self.ends.suffixes(path));
        self.whole.get(path).into_iter().chain(pieces).for_each(|span| queue.hit(*span));
        if let Some(words) = &self.words {
            found.clear_for(words);
            words.each_in(path, found, |span| queue.hit(span));
        }
    }
}

/// The sets of texts a pattern can be found by, each by itself: of each, a matching path has one text in that place.
fn ways(texts: &Texts) -> impl Iterator<Item = (Position, &Set)> {
    let whole = texts.whole.iter().map(|set| (Position::Whole, set));
    let beginning = texts.beginning.iter().map(|set| (Position::Beginning, set));
    let end = texts.end.iter().map(|set| (Position::End, set));
    let inside = texts.inner.iter().map(|set| (Position::Inside, set));
    // Paths are looked up as they are, so texts of folded ones find nothing.
    whole.chain(beginning).chain(end).chain(inside).filter(|_| !texts.fold)
}

#[cfg(test)]
mod tests {
    use super::super::postings::Next;
    use super::*;

    #[test]
    fn a_pattern_is_found_by_what_it_shares_with_few() {
        let mut patterns: Vec<String> = (0..100).map(|i| format!("/api/[a-z]+/v{i}")).collect();
        let others = [".*[a-z]", "/v1/.*/.*-end", "/(a|b)/.+", "/whole/[12]", ".*-in-.*"];
        patterns.extend(others.map(String::from));
        // As many as are left to a set, because nothing tells them apart.
        patterns.extend((0..=SHARED).map(|i| format!("/same/[a-z]{{{}}}", 5 + i)));
        let anchored: Vec<String> = patterns.iter().map(|pattern| format!(r"\A(?:{pattern})\z")).collect();
        let mut by_pattern: ByPattern<'_> =
            (0..).zip(&anchored).map(|(rank, pattern)| (pattern.as_str(), vec![rank])).collect();
        let mut postings = PostingsBuilder::default();
        let taken = PathTexts::take(&mut by_pattern, &mut PatternSets::default(), &mut postings);
        let (texts, found) = taken.unwrap();
        let postings = postings.build();
        assert_eq!(found, (0..100).chain([101, 102, 103, 104]).collect::<Vec<_>>());
        assert_eq!(by_pattern.len(), patterns.len() - found.len());
        let mut queue = Queue::default();
        for (path, expected) in [
            ("/api/x/v7", vec![7]),
            ("/api/x/v17", vec![17]),
            ("/v1/x/y", vec![101]),
            ("/b/x/v3", vec![3, 102]),
            ("/a/-in--end", vec![102, 104]),
            ("/whole/2", vec![103]),
            ("/whole/21", vec![]),
            ("/same/abcde", vec![]),
            ("", vec![]),
        ] {
            queue.clear();
            texts.look_up(path.as_bytes(), &mut queue, &mut Found::default());
            queue.take_in(&postings);
            let mut ranks = Vec::new();
            while let Some(Next::Rank(rank)) = queue.pop(&postings) {
                ranks.push(rank);
            }
            assert_eq!(ranks, expected, "{path}");
        }
    }
}

//! Tables from bytes to posting lists: of whole values, and of their beginnings or ends.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::postings::{PostingsBuilder, Rank, Span};

/// What a key is made of, shared by the condition it comes from and the tables it is in.
pub type Text = Arc<[u8]>;

/// A table over whole values. Its keys are what operators wrote, so a hash without a secret is enough: a stranger can
/// only look up.
pub type Exact<T> = HashMap<Text, T, FixedState>;

/// A table over pieces of values, looked into once for every length that a key has.
#[derive(Debug)]
pub struct ByLength<T> {
    /// Ascending.
    lengths: Box<[usize]>,
    table: Exact<T>,
}

impl<T> Default for ByLength<T> {
    fn default() -> Self {
        ByLength { lengths: Box::default(), table: Exact::default() }
    }
}

impl<T> ByLength<T> {
    /// The entries whose key the value begins with, shortest first.
    pub fn prefixes<'t>(&'t self, value: &'t [u8]) -> impl Iterator<Item = &'t T> {
        let pieces = self.lengths.iter().map_while(|length| value.get(..*length));
        pieces.filter_map(|piece| self.table.get(piece))
    }

    /// The entries whose key the value ends with, shortest first.
    pub fn suffixes<'t>(&'t self, value: &'t [u8]) -> impl Iterator<Item = &'t T> {
        let pieces = self.lengths.iter().map_while(|length| value.get(value.len().checked_sub(*length)?..));
        pieces.filter_map(|piece| self.table.get(piece))
    }

    /// The entries whose key is the value or stands before a `/` in it, shortest first.
    pub fn elements<'t>(&'t self, path: &'t [u8]) -> impl Iterator<Item = &'t T> {
        let ends = move |length: usize| path.len() == length || path.get(length) == Some(&b'/');
        let pieces = self.lengths.iter().map_while(|length| path.get(..*length));
        pieces.filter(move |piece| ends(piece.len())).filter_map(|piece| self.table.get(piece))
    }
}

impl<T> FromIterator<(Text, T)> for ByLength<T> {
    fn from_iter<I: IntoIterator<Item = (Text, T)>>(entries: I) -> Self {
        let table: Exact<T> = entries.into_iter().collect();
        let mut lengths: Vec<usize> = table.keys().map(|key| key.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        ByLength { lengths: lengths.into(), table }
    }
}

/// Lists by text, while an index is built.
#[derive(Default, Debug)]
pub struct TextLists {
    numbers: Exact<u32>,
    /// By number, the length of a list and its last rank.
    lists: Vec<(u32, Rank)>,
    /// Every rank with the number of its list.
    entries: Vec<(u32, Rank)>,
}

impl TextLists {
    /// Ranks come in ascending order; a double is taken once.
    pub fn add(&mut self, text: &Text, rank: Rank) {
        // Every text is a part of a document in memory, so their number stays far below what a u32 counts.
        let next = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(text.clone()).or_insert(next);
        match self.lists.get_mut(number as usize) {
            Some((_, last)) if *last == rank => return,
            Some(list) => *list = (list.0 + 1, rank),
            None => self.lists.push((1, rank)),
        }
        self.entries.push((number, rank));
    }

    /// The smallest rank.
    pub fn first(&self) -> Option<Rank> {
        self.entries.first().map(|(_, rank)| *rank)
    }

    /// The texts with their lists.
    pub fn build(self, postings: &mut PostingsBuilder) -> impl ExactSizeIterator<Item = (Text, Span)> {
        let spans = postings.add_all(self.lists.iter().map(|(length, _)| *length), &self.entries);
        self.numbers
            .into_iter()
            .map(move |(text, number)| (text, spans.get(number as usize).copied().unwrap_or_default()))
    }
}

/// A number that stays the same for the same text, in every process.
pub fn stable_hash(text: &str) -> u64 {
    FixedState::default().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: &[&str]) -> ByLength<String> {
        keys.iter().map(|key| (key.as_bytes().into(), key.to_string())).collect()
    }

    #[test]
    fn ranks_are_listed_by_text() {
        let mut lists = TextLists::default();
        assert_eq!(lists.first(), None);
        for (rank, text) in [(2, "a"), (2, "b"), (2, "a"), (3, "b"), (5, "a"), (7, "b"), (7, "b"), (9, "c")] {
            lists.add(&text.as_bytes().into(), rank);
        }
        assert_eq!(lists.first(), Some(2));
        let mut postings = PostingsBuilder::default();
        let before = postings.add(&[0, 8]);
        let built: Exact<Span> = lists.build(&mut postings).collect();
        let postings = postings.build();
        assert_eq!(postings.ranks(before), [0, 8]);
        for (text, ranks) in [("a", &[2, 5][..]), ("b", &[2, 3, 7]), ("c", &[9])] {
            assert_eq!(postings.ranks(built[text.as_bytes()]), ranks, "{text}");
        }
        assert_eq!(built.len(), 3);
    }

    #[test]
    fn pieces_are_found_by_length() {
        let found = |entries: Vec<&String>| entries.into_iter().cloned().collect::<Vec<_>>();
        let paths = table(&["", "/a", "/a/b", "/ab", "/a/"]);
        assert_eq!(found(paths.prefixes(b"/a/b").collect()), ["", "/a", "/a/", "/a/b"]);
        assert_eq!(found(paths.elements(b"/a/b").collect()), ["", "/a", "/a/b"]);
        assert_eq!(found(paths.elements(b"/abc").collect()), [""]);
        assert_eq!(found(paths.elements(b"/ab/").collect()), ["", "/ab"]);
        let hosts = table(&[".test", ".a.test"]);
        assert_eq!(found(hosts.suffixes(b"x.a.test").collect()), [".test", ".a.test"]);
        assert_eq!(found(hosts.suffixes(b"test").collect()), [""; 0]);
    }
}

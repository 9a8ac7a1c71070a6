//! A long list in chunks that two states of it share.
//!
//! Answers: what is the list with one entry more, fewer or another, at the cost of one chunk and not of ten thousand
//! entries? A copy counts its chunks, an edit copies one of them, and what two lists have in common is seen by the
//! chunks they share. Our own because the known libraries of such lists are under a licence that is not permissive
//! alone, or cannot say where two differ. Never: an order of its own; `documents` keeps a sorted one on top.

use std::fmt;
use std::iter::FusedIterator;
use std::slice;
use std::sync::Arc;

/// Entries of a chunk where a list is built whole: about as many chunks as entries in one, at some thousands.
const FILLED: usize = 64;
/// A chunk that grows beyond this is divided.
const MOST: usize = 128;
/// A chunk that shrinks below this is joined with its neighbour.
const LEAST: usize = 16;

/// Cheap to clone; entries are reached by their place.
#[derive(Clone)]
pub struct Chunks<T> {
    /// None of them is empty.
    chunks: Vec<Arc<Vec<T>>>,
    /// By chunk: the place of its first entry.
    starts: Vec<usize>,
    len: usize,
}

/// All entries in their order.
pub struct Iter<'c, T> {
    chunks: slice::Iter<'c, Arc<Vec<T>>>,
    chunk: slice::Iter<'c, T>,
    left: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new(), starts: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, place: usize) -> Option<&T> {
        let chunk = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        self.chunks.get(chunk)?.get(place - self.starts.get(chunk)?)
    }

    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter { chunks: self.chunks.iter(), chunk: [].iter(), left: self.len }
    }

    /// The entries from a place on.
    pub fn iter_from(&self, place: usize) -> Iter<'_, T> {
        let left = self.len.saturating_sub(place);
        let chunk = self.starts.partition_point(|start| *start <= place).saturating_sub(1);
        let within = place - self.starts.get(chunk).copied().unwrap_or(place);
        let mut chunks = self.chunks.get(chunk..).unwrap_or_default().iter();
        let first = chunks.next().and_then(|chunk| chunk.get(within..)).unwrap_or_default();
        Iter { chunks, chunk: first.iter(), left }
    }

    /// The place of the first entry for which `is_before` is false, where it is true of all before and of none behind.
    pub fn partition_point(&self, mut is_before: impl FnMut(&T) -> bool) -> usize {
        let behind = self.chunks.partition_point(|chunk| chunk.first().is_some_and(&mut is_before));
        let Some(at) = behind.checked_sub(1) else { return 0 };
        let (start, chunk) = (self.starts.get(at), self.chunks.get(at));
        start.copied().unwrap_or_default()
            + chunk.map_or(0, |chunk| chunk.partition_point(|entry| is_before(entry)))
    }

    /// Both lists side by side, without the chunks they share. `step` is given the next entry of each and says which of
    /// the two it has dealt with; it ends the walk with `None`.
    pub fn walk_beside<'c>(
        &'c self,
        other: &'c Chunks<T>,
        mut step: impl FnMut(Option<&'c T>, Option<&'c T>) -> Option<Dealt>,
    ) {
        let (mut own, mut others) = (Cursor::at_the_start(self), Cursor::at_the_start(other));
        loop {
            while own.skip_shared(&mut others) {}
            let entries = (own.entry(), others.entry());
            if let (None, None) = entries {
                return;
            }
            match step(entries.0, entries.1) {
                Some(Dealt::Own) => own.advance(),
                Some(Dealt::Other) => others.advance(),
                Some(Dealt::Both) => {
                    own.advance();
                    others.advance();
                }
                None => return,
            }
        }
    }

    /// What `make` gives for each entry, in chunks as these are. Where `known` is what came of an older list, the chunks
    /// of entries that stayed are taken from there, and in other chunks what came of entries that `find` finds: it is
    /// given the older list, an entry and the place behind the last that was found, and says where the entry was.
    pub fn derive<U: Clone>(
        &self,
        known: Option<Derived<'_, T, U>>,
        mut find: impl FnMut(&Chunks<T>, &T, usize) -> Option<usize>,
        mut make: impl FnMut(&T) -> U,
    ) -> Chunks<U> {
        let mut next = 0;
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for chunk in &self.chunks {
            if let Some((made, behind)) = known.and_then(|known| known.chunk(chunk, next)) {
                chunks.push(made);
                next = behind;
                continue;
            }
            let of = |entry: &T| {
                let found = known.and_then(|Derived { of, made }| {
                    let at = find(of, entry, next)?;
                    next = at + 1;
                    made.get(at).cloned()
                });
                found.unwrap_or_else(|| make(entry))
            };
            chunks.push(Arc::new(chunk.iter().map(of).collect()));
        }
        Chunks { chunks, starts: self.starts.clone(), len: self.len }
    }

    fn number(&mut self, from: usize) {
        self.starts.truncate(from);
        let mut next = match from.checked_sub(1) {
            None => 0,
            Some(before) => {
                let len = self.chunks.get(before).map_or(0, |chunk| chunk.len());
                self.starts.get(before).copied().unwrap_or_default() + len
            }
        };
        for chunk in self.chunks.iter().skip(from) {
            self.starts.push(next);
            next += chunk.len();
        }
        self.len = next;
    }
}

/// Which of two entries a step of a walk has dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dealt {
    Own,
    Other,
    Both,
}

/// What came of an older list, entry by entry.
pub struct Derived<'d, T, U> {
    pub of: &'d Chunks<T>,
    pub made: &'d Chunks<U>,
}

impl<T, U> Clone for Derived<'_, T, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, U> Copy for Derived<'_, T, U> {}

impl<T: Clone> Chunks<T> {
    pub fn insert(&mut self, place: usize, entry: T) {
        let at = self.starts.partition_point(|start| *start < place).saturating_sub(1);
        let within = place - self.starts.get(at).copied().unwrap_or_default();
        match self.chunks.get_mut(at) {
            None => self.chunks.push(Arc::new(vec![entry])),
            Some(chunk) => {
                let chunk = Arc::make_mut(chunk);
                chunk.insert(within.min(chunk.len()), entry);
                if chunk.len() > MOST {
                    // Of a list that grows at its end, chunks stay filled.
                    let half = if within == MOST { MOST - LEAST } else { chunk.len() / 2 };
                    let behind = chunk.split_off(half);
                    self.chunks.insert(at + 1, Arc::new(behind));
                }
            }
        }
        self.number(at);
    }

    pub fn replace(&mut self, place: usize, entry: T) {
        let at = self.starts.partition_point(|start| *start <= place).saturating_sub(1);
        let within = place - self.starts.get(at).copied().unwrap_or_default();
        if let Some(there) = self.chunks.get_mut(at).and_then(|chunk| Arc::make_mut(chunk).get_mut(within)) {
            *there = entry;
        }
    }

    pub fn remove(&mut self, place: usize) -> Option<T> {
        let at = self.starts.partition_point(|start| *start <= place).checked_sub(1)?;
        let within = place - self.starts.get(at)?;
        let chunk = self.chunks.get_mut(at).filter(|chunk| within < chunk.len())?;
        let chunk = Arc::make_mut(chunk);
        let gone = chunk.remove(within);
        if chunk.len() < LEAST {
            self.join(at);
        }
        self.number(at.saturating_sub(1));
        Some(gone)
    }

    /// Joins a chunk with a neighbour, and divides both again where they are many together.
    fn join(&mut self, at: usize) {
        let first = if at + 1 < self.chunks.len() { at } else { at.saturating_sub(1) };
        if first + 1 < self.chunks.len() {
            let behind = self.chunks.remove(first + 1);
            if let Some(chunk) = self.chunks.get_mut(first) {
                let chunk = Arc::make_mut(chunk);
                chunk.extend(behind.iter().cloned());
                if chunk.len() > MOST {
                    let behind = chunk.split_off(chunk.len() / 2);
                    self.chunks.insert(first + 1, Arc::new(behind));
                }
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
    }
}

impl<T, U> Derived<'_, T, U> {
    /// What came of a chunk that stayed, and the place behind it.
    fn chunk(&self, chunk: &Arc<Vec<T>>, next: usize) -> Option<(Arc<Vec<U>>, usize)> {
        let from = self.of.starts.partition_point(|start| *start < next);
        let near = self.of.chunks.get(from..)?.iter().position(|known| Arc::ptr_eq(known, chunk))?;
        let at = from + near;
        // What came of a list has its chunks.
        let made = self.made.chunks.get(at).filter(|made| made.len() == chunk.len())?;
        Some((made.clone(), self.of.starts.get(at)? + chunk.len()))
    }
}

/// A place in a list that is walked beside another.
struct Cursor<'c, T> {
    chunks: &'c [Arc<Vec<T>>],
    within: usize,
}

impl<'c, T> Cursor<'c, T> {
    fn at_the_start(list: &'c Chunks<T>) -> Cursor<'c, T> {
        Cursor { chunks: &list.chunks, within: 0 }
    }

    /// Steps over a chunk that both are about to begin.
    fn skip_shared(&mut self, other: &mut Cursor<'c, T>) -> bool {
        let (Some((own, rest)), Some((others, others_rest))) =
            (self.chunks.split_first(), other.chunks.split_first())
        else {
            return false;
        };
        let is_shared = self.within == 0 && other.within == 0 && Arc::ptr_eq(own, others);
        if is_shared {
            (self.chunks, other.chunks) = (rest, others_rest);
        }
        is_shared
    }

    fn entry(&self) -> Option<&'c T> {
        self.chunks.first()?.get(self.within)
    }

    fn advance(&mut self) {
        self.within += 1;
        if let Some((chunk, rest)) = self.chunks.split_first()
            && self.within >= chunk.len()
        {
            (self.chunks, self.within) = (rest, 0);
        }
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let mut entries = entries.into_iter();
        let mut list = Chunks::default();
        loop {
            let chunk: Vec<T> = entries.by_ref().take(FILLED).collect();
            if chunk.is_empty() {
                list.number(0);
                return list;
            }
            list.chunks.push(Arc::new(chunk));
        }
    }
}

impl<'c, T> IntoIterator for &'c Chunks<T> {
    type Item = &'c T;
    type IntoIter = Iter<'c, T>;

    fn into_iter(self) -> Iter<'c, T> {
        self.iter()
    }
}

impl<'c, T> Iterator for Iter<'c, T> {
    type Item = &'c T;

    fn next(&mut self) -> Option<&'c T> {
        loop {
            if let Some(entry) = self.chunk.next() {
                self.left -= 1;
                return Some(entry);
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> FusedIterator for Iter<'_, T> {}

impl<T: PartialEq> PartialEq for Chunks<T> {
    fn eq(&self, other: &Chunks<T>) -> bool {
        self.len == other.len && {
            let mut are_equal = true;
            self.walk_beside(other, |own, other| {
                are_equal &= own == other;
                are_equal.then_some(Dealt::Both)
            });
            are_equal
        }
    }
}

impl<T: Eq> Eq for Chunks<T> {}

impl<T: fmt::Debug> fmt::Debug for Chunks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(old: &Chunks<usize>, entry: &usize, next: usize) -> Option<usize> {
        Some(next + old.iter_from(next).take(4).position(|known| known == entry)?)
    }

    /// Edits of a list: a place in thousandths of it, and what is done there.
    fn edits() -> impl Strategy<Value = Vec<(usize, u8)>> {
        prop::collection::vec((0..1000_usize, 0..8_u8), 1..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn edits_are_those_of_a_plain_list(length in 0..600_usize, edits in edits()) {
            let mut plain: Vec<usize> = (0..length).collect();
            let mut list: Chunks<usize> = plain.iter().copied().collect();
            let doubled = |entry: &usize| 2 * entry;
            let mut derived = list.derive(None, near, doubled);
            for (turn, (place, what)) in edits.into_iter().enumerate() {
                let (before, was) = (list.clone(), plain.clone());
                let place = place * (plain.len() + 1) / 1000;
                match what {
                    0..3 => {
                        plain.insert(place, 1000 + turn);
                        list.insert(place, 1000 + turn);
                    }
                    3..5 if place < plain.len() => {
                        plain[place] = 1000 + turn;
                        list.replace(place, 1000 + turn);
                    }
                    5.. if place < plain.len() => {
                        prop_assert_eq!(list.remove(place), Some(plain.remove(place)));
                    }
                    _ => prop_assert_eq!(list.remove(plain.len()), None),
                }
                prop_assert!(list.iter().eq(&plain) && before.iter().eq(&was));
                prop_assert_eq!(list.len(), plain.len());
                prop_assert!(list.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
                prop_assert_eq!(list.get(place), plain.get(place));
                prop_assert!(list.iter_from(place).eq(&plain[place.min(plain.len())..]));
                prop_assert_eq!(list == before, plain == was);
                let known = Derived { of: &before, made: &derived };
                derived = list.derive(Some(known), near, doubled);
                prop_assert!(derived.iter().copied().eq(plain.iter().map(doubled)));
            }
        }
    }

    #[test]
    fn an_edit_costs_a_chunk_and_a_walk_the_difference() {
        let list: Chunks<usize> = (0..10_000).collect();
        let mut edited = list.clone();
        edited.replace(5_000, 0);
        edited.insert(7_000, 1);
        edited.remove(2);
        let shared =
            edited.chunks.iter().filter(|chunk| list.chunks.iter().any(|old| Arc::ptr_eq(old, chunk)));
        assert_eq!(shared.count(), list.chunks.len() - 3);
        let mut steps = 0;
        list.walk_beside(&edited, |own, other| {
            steps += 1;
            match own.cmp(&other) {
                std::cmp::Ordering::Less if own.is_some() => Some(Dealt::Own),
                std::cmp::Ordering::Greater if other.is_some() => Some(Dealt::Other),
                _ => Some(Dealt::Both),
            }
        });
        assert!(steps < 8 * MOST, "{steps}");
        let mut made = 0;
        let known = list.derive(None, near, |entry| *entry);
        let known = Derived { of: &list, made: &known };
        edited.derive(Some(known), near, |entry| {
            made += 1;
            *entry
        });
        assert_eq!(made, 2);
    }

    #[test]
    fn places_are_found_in_sorted_lists() {
        let list: Chunks<usize> = (0..1000).map(|entry| entry * 2).collect();
        for wanted in 0..2001 {
            assert_eq!(list.partition_point(|entry| *entry < wanted), wanted.div_ceil(2));
        }
        assert_eq!(Chunks::<usize>::default().partition_point(|_| true), 0);
        assert_eq!(list.get(1000), None);
    }
}

//! Posting lists and the queue that merges them: which rules or routes to ask next, best first.
//!
//! A *rank* is a place in the linear order. A key that a request hits brings a list of ranks in ascending order; the
//! queue hands out the ranks of all lists that were hit, smallest first, so that the first one that fits is the one
//! the linear order would have found. Never: what a rank stands for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A place in the linear order; smaller is asked earlier.
pub type Rank = u32;

/// Lists of one opening beyond which doubles are taken out: a parameter sent a thousand times counts once, while the
/// few lists of an ordinary request are not worth sorting.
const LISTS_LEFT_UNSORTED: usize = 8;

/// One list of ranks inside [`Postings`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

/// All lists of an index, one behind the other.
#[derive(Default, Debug)]
pub struct Postings(Box<[Rank]>);

impl Span {
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

impl Postings {
    #[cfg(test)]
    pub fn ranks(&self, span: Span) -> &[Rank] {
        &self.0[span.start as usize..span.end as usize]
    }

    fn rank(&self, at: u32) -> Option<Rank> {
        self.0.get(at as usize).copied()
    }

    /// The first rank of a list.
    pub fn first(&self, span: Span) -> Option<Rank> {
        (span.start < span.end).then(|| self.rank(span.start))?
    }
}

/// Collects lists.
#[derive(Default, Debug)]
pub struct PostingsBuilder(Vec<Rank>);

impl PostingsBuilder {
    /// Adds a list of ranks in ascending order; a double is taken once.
    pub fn add(&mut self, ranks: &[Rank]) -> Span {
        // Every rank is a document in memory, so their number stays far below what a u32 counts.
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let start = place(self.0.len());
        let mut last = None;
        for rank in ranks {
            if last.replace(*rank) != Some(*rank) {
                self.0.push(*rank);
            }
        }
        Span { start, end: place(self.0.len()) }
    }

    /// Adds many lists at once: the length of each, and the ranks of all of them in ascending order, each with the
    /// number of its list.
    pub fn add_all(&mut self, lengths: impl Iterator<Item = u32>, entries: &[(u32, Rank)]) -> Vec<Span> {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut end = place(self.0.len());
        let empty = lengths.map(|length| {
            let start = end;
            end += length;
            Span { start, end: start }
        });
        let mut spans: Vec<Span> = empty.collect();
        self.0.resize(end as usize, 0);
        for (number, rank) in entries {
            let Some(span) = spans.get_mut(*number as usize) else { continue };
            if let Some(place) = self.0.get_mut(span.end as usize) {
                *place = *rank;
            }
            span.end += 1;
        }
        spans
    }

    pub fn build(self) -> Postings {
        Postings(self.0.into())
    }
}

/// What the queue hands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Ask this one.
    Rank(Rank),
    /// Look into this closed source: its best rank would come now.
    Source(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Cursor {
    head: Reverse<Rank>,
    behind: Behind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Behind {
    /// The rest of a list.
    List(Span),
    Source(u32),
}

/// The lists that were hit, as buffers that grow once.
#[derive(Default, Debug)]
pub struct Queue {
    heap: BinaryHeap<Cursor>,
    /// Lists hit while one source is opened.
    opened: Vec<Span>,
}

impl Queue {
    pub fn clear(&mut self) {
        self.heap.clear();
        self.opened.clear();
    }

    /// The smallest rank that waits.
    pub fn head(&self) -> Option<Rank> {
        self.heap.peek().map(|cursor| cursor.head.0)
    }

    /// Notes a list; it counts once [`Queue::take_in`] is called.
    pub fn hit(&mut self, span: Span) {
        self.opened.push(span);
    }

    /// Takes in the lists noted since the last call, each once.
    pub fn take_in(&mut self, postings: &Postings) {
        if self.opened.len() > LISTS_LEFT_UNSORTED {
            self.opened.sort_unstable();
            self.opened.dedup();
        }
        for span in &self.opened {
            if let Some(cursor) = Cursor::at(*span, postings) {
                self.heap.push(cursor);
            }
        }
        self.opened.clear();
    }

    /// Puts a closed source where its best rank stands.
    pub fn wait_for(&mut self, source: u32, first: Rank) {
        self.heap.push(Cursor { head: Reverse(first), behind: Behind::Source(source) });
    }

    /// The next thing to look at. Ranks never descend; one that several lists hold comes several times.
    pub fn pop(&mut self, postings: &Postings) -> Option<Next> {
        let mut top = self.heap.peek_mut()?;
        match top.behind {
            Behind::Source(source) => {
                std::collections::binary_heap::PeekMut::pop(top);
                Some(Next::Source(source))
            }
            Behind::List(rest) => {
                let rank = top.head.0;
                match Cursor::at(rest, postings) {
                    Some(cursor) => *top = cursor,
                    None => drop(std::collections::binary_heap::PeekMut::pop(top)),
                }
                Some(Next::Rank(rank))
            }
        }
    }
}

impl Cursor {
    fn at(span: Span, postings: &Postings) -> Option<Cursor> {
        let head = Reverse(postings.first(span)?);
        Some(Cursor { head, behind: Behind::List(Span { start: span.start + 1, ..span }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_in_order_and_sources_in_between() {
        let mut builder = PostingsBuilder::default();
        let lists = [builder.add(&[1, 4, 4, 9]), builder.add(&[]), builder.add(&[0, 4])];
        let postings = builder.build();
        let mut queue = Queue::default();
        for span in lists {
            queue.hit(span);
        }
        queue.take_in(&postings);
        queue.wait_for(7, 2);
        let mut found = Vec::new();
        while let Some(next) = queue.pop(&postings) {
            found.push(next);
        }
        use Next::{Rank, Source};
        assert_eq!(found, [Rank(0), Rank(1), Source(7), Rank(4), Rank(4), Rank(9)]);
    }

    #[test]
    fn a_list_hit_a_thousand_times_is_walked_once() {
        let mut builder = PostingsBuilder::default();
        let span = builder.add(&[3, 5]);
        let postings = builder.build();
        let mut queue = Queue::default();
        for _ in 0..1000 {
            queue.hit(span);
        }
        queue.take_in(&postings);
        assert_eq!(queue.heap.len(), 1);
    }
}

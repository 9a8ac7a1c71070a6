//! Many words over one value in one pass: which of them does it contain?
//!
//! Each word goes under one piece of it, the one that the fewest words share; the value's pieces are looked up one after
//! the other, almost all of them in vain in a filter of a few kilobytes. An automaton would be as fast to ask, and a
//! hundred times slower to build. Where words are few, a search many bytes at a time leaps from one to the next.

use std::collections::HashMap;

use aho_corasick::packed::Searcher;
use foldhash::fast::FixedState;

use super::keys::Text;
use super::postings::Span;

/// Bytes of a piece; shorter words are their own piece.
const PIECE: usize = 4;
/// So many words can be searched for by vector instructions.
const FEW: usize = 64;
/// Leaps from word to word; a value that holds more of them is looked through piece by piece from there on.
const LEAPS: usize = 4;
/// Places of a filter, and of the counters pieces are weighed with: a power of two.
const PLACES: usize = 1 << 16;

/// Words with the lists of the rules that ask for them.
#[derive(Debug)]
pub struct Words {
    words: Box<[Word]>,
    /// Those whose pieces have the same length.
    classes: Box<[Class]>,
    few: Option<Few>,
}

/// A search for the first of a few words, many bytes at a time.
#[derive(Debug)]
struct Few {
    first: Searcher,
    /// By word, the numbers of those that it begins with, or that begin with it: no other can begin where it does.
    alike: Box<[Box<[usize]>]>,
}

#[derive(Debug)]
struct Word {
    text: Text,
    /// Where its piece begins.
    at: usize,
    span: Span,
    /// The number of another word with the same piece.
    next: Option<u32>,
}

#[derive(Debug)]
struct Class {
    length: usize,
    filter: Box<[u64]>,
    /// By piece, the number of a word that goes under it.
    pieces: HashMap<u32, u32, FixedState>,
}

/// Which words were found already: a value may hold one a thousand times. A buffer that grows once.
#[derive(Default, Debug)]
pub struct Found {
    /// The round a word was last found in.
    rounds: Vec<u32>,
    round: u32,
}

impl Found {
    /// Makes room for the words and forgets what was found before.
    pub fn clear_for(&mut self, words: &Words) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.rounds.fill(0);
            self.round = 1;
        }
        if self.rounds.len() < words.words.len() {
            self.rounds.resize(words.words.len(), 0);
        }
    }

    /// Whether a word is found for the first time.
    fn first(&mut self, number: usize) -> bool {
        let round = self.round;
        self.rounds.get_mut(number).is_some_and(|last| std::mem::replace(last, round) != round)
    }
}

impl Words {
    /// None of the words is empty.
    pub fn build(words: impl Iterator<Item = (Text, Span)>) -> Words {
        let words: Vec<(Text, Span)> = words.collect();
        let mut common = vec![0_u32; PLACES];
        for piece in words.iter().flat_map(|(word, _)| word.windows(PIECE)) {
            if let Some(count) = common.get_mut(place(number(piece))) {
                *count += 1;
            }
        }
        let rarity = |piece: &[u8]| common.get(place(number(piece))).copied().unwrap_or_default();
        let mut classes: Vec<Class> = Vec::new();
        let words = (0_u32..).zip(words).map(|(id, (text, span))| {
            let length = text.len().min(PIECE);
            let pieces = text.windows(length).enumerate();
            let (at, piece) = pieces.min_by_key(|(_, piece)| rarity(piece)).unwrap_or_default();
            let piece = number(piece);
            if !classes.iter().any(|class| class.length == length) {
                classes.push(Class::new(length));
            }
            let class = classes.iter_mut().find(|class| class.length == length);
            let next = class.and_then(|class| class.add(piece, id));
            Word { text, at, span, next }
        });
        let words: Box<[Word]> = words.collect();
        let few = Some(&words).filter(|words| words.len() <= FEW).and_then(|words| Few::build(words));
        Words { words, classes: classes.into(), few }
    }

    /// Calls `found` with the list of every word in the value that was not found before.
    pub fn each_in(&self, value: &[u8], known: &mut Found, mut found: impl FnMut(Span)) {
        let mut value = value;
        for _ in 0..LEAPS {
            let Some(few) = &self.few else { break };
            let Some(hit) = few.first.find(value) else { return };
            let rest = value.get(hit.start()..).unwrap_or_default();
            let first = hit.pattern().as_usize();
            for number in few.alike.get(first).into_iter().flatten().copied().chain([first]) {
                let word = self.words.get(number).filter(|word| rest.starts_with(&word.text));
                if let Some(word) = word.filter(|_| known.first(number)) {
                    found(word.span);
                }
            }
            value = rest.get(1..).unwrap_or_default();
        }
        for class in &self.classes {
            for (start, piece) in value.windows(class.length).enumerate() {
                let mut next = class.word(number(piece));
                while let Some(id) = next {
                    let Some(word) = self.words.get(id as usize) else { break };
                    let rest = start.checked_sub(word.at).and_then(|start| value.get(start..));
                    if rest.is_some_and(|rest| rest.starts_with(&word.text)) && known.first(id as usize) {
                        found(word.span);
                    }
                    next = word.next;
                }
            }
        }
    }
}

impl Few {
    fn build(words: &[Word]) -> Option<Few> {
        let first = Searcher::new(words.iter().map(|word| &word.text))?;
        let alike = words.iter().map(|word| {
            let others = words.iter().enumerate().filter(|(_, other)| !std::ptr::eq(*other, word));
            let alike = others.filter(|(_, other)| {
                other.text.starts_with(&word.text) || word.text.starts_with(&other.text)
            });
            alike.map(|(number, _)| number).collect()
        });
        Some(Few { first, alike: alike.collect() })
    }
}

impl Class {
    fn new(length: usize) -> Class {
        let filter = vec![0; PLACES / u64::BITS as usize];
        Class { length, filter: filter.into(), pieces: HashMap::default() }
    }

    /// Puts a word under its piece, and returns the one that was there.
    fn add(&mut self, piece: u32, id: u32) -> Option<u32> {
        let (block, bit) = bit(piece);
        if let Some(bits) = self.filter.get_mut(block) {
            *bits |= bit;
        }
        self.pieces.insert(piece, id)
    }

    fn word(&self, piece: u32) -> Option<u32> {
        let (block, bit) = bit(piece);
        let is_likely = self.filter.get(block).is_some_and(|bits| bits & bit != 0);
        if is_likely { self.pieces.get(&piece).copied() } else { None }
    }
}

/// At most four bytes as a number.
fn number(piece: &[u8]) -> u32 {
    match piece.first_chunk() {
        Some(four) => u32::from_le_bytes(*four),
        None => piece.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
    }
}

/// A piece's place in a filter: the upper bits of its product with 2^32 over the golden ratio.
fn place(piece: u32) -> usize {
    (piece.wrapping_mul(0x9e37_79b9) >> (u32::BITS - PLACES.trailing_zeros())) as usize
}

fn bit(piece: u32) -> (usize, u64) {
    let place = place(piece);
    (place / u64::BITS as usize, 1 << (place % u64::BITS as usize))
}

#[cfg(test)]
mod tests {
    use super::super::postings::{PostingsBuilder, Rank};
    use super::*;

    #[test]
    fn every_word_is_found_once() {
        let words = ["a", "ab", "b", "aa", "zz", "abcd", "bcde", "xyzabcd", "xxxxyyyyzzzz"];
        let mut postings = PostingsBuilder::default();
        let table = (0..).zip(words).map(|(rank, word)| (word.as_bytes().into(), postings.add(&[rank])));
        let table: Vec<(Text, Span)> = table.collect();
        let by_piece = Words { few: None, ..Words::build(table.iter().cloned()) };
        let built = Words::build(table.into_iter());
        let postings = postings.build();
        let mut seen = Found::default();
        for value in [
            "aab",
            "bbbb",
            "",
            "xazx",
            "zzz",
            "abcde",
            "xyzabcd",
            "yzabcdabcd",
            "xxxxxyyyyzzzzz",
            "xxxyyyyzzzz",
            "abcdeabcdeabcdeaazzxyzabcd",
            "zz-aa-zz-aa-zz-b-xxxxyyyyzzzz-xyzabcd",
        ] {
            let expected: Vec<Rank> =
                (0..).zip(words).filter(|(_, word)| value.contains(word)).map(|(rank, _)| rank).collect();
            for words in [&built, &by_piece] {
                seen.clear_for(words);
                let mut found = Vec::new();
                words.each_in(value.as_bytes(), &mut seen, |span| found.extend(postings.first(span)));
                found.sort_unstable();
                assert_eq!(found, expected, "{value}");
            }
        }
        seen.round = u32::MAX;
        seen.clear_for(&built);
        assert!(seen.first(0) && !seen.first(0));
    }
}

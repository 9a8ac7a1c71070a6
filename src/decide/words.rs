//! Many words over one value in one pass: which of them does it contain?

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::postings::{PostingsBuilder, Rank, Span};
use super::rule_index::Table;

/// Bytes of all words of one attribute: what is built anew with every change stays a matter of milliseconds. More
/// words than that are asked one by one.
const WORDS_LIMIT: usize = 64 << 10;

/// Words with the lists of the rules that ask for them.
#[derive(Debug)]
pub struct Words {
    automaton: AhoCorasick,
    /// By the word's number.
    spans: Box<[Span]>,
}

/// Which words were found already: a value may hold one a thousand times. A buffer that grows once.
#[derive(Default, Debug)]
pub struct Seen {
    /// The round a word was last found in.
    rounds: Vec<u32>,
    round: u32,
}

impl Seen {
    /// Makes room for the words and forgets what was found before.
    pub fn clear_for(&mut self, words: &Words) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.rounds.fill(0);
            self.round = 1;
        }
        if self.rounds.len() < words.spans.len() {
            self.rounds.resize(words.spans.len(), 0);
        }
    }

    /// Whether a word is found for the first time.
    fn first(&mut self, number: usize) -> bool {
        let round = self.round;
        self.rounds.get_mut(number).is_some_and(|last| std::mem::replace(last, round) != round)
    }
}

impl Words {
    /// None of the words is empty. `None`: too large together.
    pub fn build(table: &Table<'_>, postings: &mut PostingsBuilder) -> Option<Words> {
        if table.keys().map(|word| word.len()).sum::<usize>() > WORDS_LIMIT {
            return None;
        }
        let mut words: Vec<(&&[u8], &Vec<Rank>)> = table.iter().collect();
        words.sort_unstable();
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(words.iter().map(|(word, _)| word))
            .ok()?;
        Some(Words { automaton, spans: words.iter().map(|(_, ranks)| postings.add(ranks)).collect() })
    }

    /// Calls `found` with the list of every word in the value that was not seen before.
    pub fn each_in(&self, value: &[u8], seen: &mut Seen, mut found: impl FnMut(Span)) {
        for word in self.automaton.find_overlapping_iter(value) {
            let number = word.pattern().as_usize();
            if seen.first(number) {
                self.spans.get(number).into_iter().for_each(|span| found(*span));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_once() {
        let words = ["a", "ab", "b", "aa", "zz"];
        let table: Table<'_> = (0..).zip(words).map(|(rank, word)| (word.as_bytes(), vec![rank])).collect();
        let mut postings = PostingsBuilder::default();
        let words = Words::build(&table, &mut postings).unwrap();
        let postings = postings.build();
        let mut seen = Seen::default();
        for (value, expected) in
            [("aab", vec![0, 1, 2, 3]), ("bbbb", vec![2]), ("", vec![]), ("xazx", vec![0]), ("zzz", vec![4])]
        {
            seen.clear_for(&words);
            let mut found = Vec::new();
            words.each_in(value.as_bytes(), &mut seen, |span| found.extend(postings.first(span)));
            found.sort_unstable();
            assert_eq!(found, expected, "{value}");
        }
        seen.round = u32::MAX;
        seen.clear_for(&words);
        assert!(seen.first(0) && !seen.first(0));
    }
}

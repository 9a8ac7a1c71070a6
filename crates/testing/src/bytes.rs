//! Arbitrary bytes, near to what programs are sent: some of a set of seeds, changed in a few places.

use std::path::Path;

/// Enough chance for a test, and the same for the same seed.
pub struct Chance(u64);

impl Chance {
    /// A seed of 0 would stay 0 for ever; it is taken for 1.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.max(1))
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What bytes are made of.
pub struct Ingredients {
    /// Whole inputs to begin with; at least one.
    pub seeds: Vec<Vec<u8>>,
    /// What is put between; at least one.
    pub words: Vec<Vec<u8>>,
}

impl Ingredients {
    /// The seeds and the dictionary of a fuzz target, as `make fuzz` gives them to it, and these words.
    pub fn of_target(fuzz: &Path, target: &str, words: &[&[u8]]) -> Ingredients {
        let mut files: Vec<_> = std::fs::read_dir(fuzz.join("seeds").join(target))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let seeds = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let dictionary = std::fs::read_to_string(fuzz.join("dictionaries").join(target)).unwrap_or_default();
        let listed =
            dictionary.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).map(unescaped);
        Ingredients { seeds, words: words.iter().map(|word| word.to_vec()).chain(listed).collect() }
    }

    /// Up to three seeds behind each other, changed in up to five places.
    pub fn mixed(&self, chance: &mut Chance) -> Vec<u8> {
        let (seeds, words) = (&self.seeds, &self.words);
        let mut bytes: Vec<u8> =
            (0..1 + chance.below(3)).flat_map(|_| seeds[chance.below(seeds.len())].clone()).collect();
        for _ in 0..chance.below(6) {
            let at = chance.below(bytes.len() + 1);
            let end = (at + chance.below(12)).min(bytes.len());
            match chance.below(6) {
                0 => drop(bytes.drain(at..end)),
                1 => drop(bytes.splice(at..at, words[chance.below(words.len())].clone())),
                2 => drop(bytes.splice(at..end, words[chance.below(words.len())].clone())),
                3 => bytes.extend_from_within(at..end),
                4 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
                4 => {}
                _ => bytes.truncate(at.max(8)),
            }
        }
        bytes
    }
}

/// A dictionary's text: `\xNN` is a byte, and `\\` and `\"` are what stands behind the backslash.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, behind) {
            (b'\\', [b'x', digits @ ..]) if digits.len() >= 2 => {
                let digits = std::str::from_utf8(&digits[..2]).unwrap();
                out.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &behind[3..];
            }
            (b'\\', [escaped, ..]) => {
                out.push(*escaped);
                rest = &behind[1..];
            }
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_as_the_fuzzer_reads_them() {
        assert_eq!(unescaped(r#"a\x0d\x0A\\\"b"#), b"a\r\n\\\"b");
    }
}

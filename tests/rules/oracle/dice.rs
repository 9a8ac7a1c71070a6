//! Chance that a seed repeats.

/// SplitMix64: small, and the same for ever.
pub struct Dice {
    state: u64,
    /// Rolls said beforehand, the next one last.
    told: Vec<u16>,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice::told(seed, Vec::new())
    }

    /// Rolls what a fuzzer wrote, so that it can change one choice at a time, and goes on from the seed.
    pub fn told(seed: u64, mut told: Vec<u16>) -> Dice {
        told.reverse();
        Dice { state: seed, told }
    }

    pub(super) fn roll(&mut self) -> u64 {
        if let Some(told) = self.told.pop() {
            return told.into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(super) fn some(&mut self, from: &[&str], most: usize) -> Vec<String> {
        let count = 1 + self.below(most);
        (0..count).map(|_| quoted(self.pick(from))).collect()
    }
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

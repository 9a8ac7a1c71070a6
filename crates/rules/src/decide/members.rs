//! Membership in a list of texts: up to ten million, at less than ten bytes each.
//!
//! Owns sets of keyed hashes, in shards of lines as large as a processor's cache line. A hash says in which line it
//! stands, so that a look-up waits for memory once: at ten million that wait is nearly all it costs. A set is never
//! changed: an edited one shares every shard that stayed, so adding one user to millions costs one shard. Never: the
//! texts themselves.
//!
//! A text that is no member is taken for one with a probability of a shard's members / 2^48: below 1.2e-10 a look-up,
//! however many shards there are. The key is drawn for each set, so no client can look for such a text.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// A shard holds between half of this and this many on average: small enough to copy for a change of one, and large
/// enough that the directory of shards stays in the cache beside everything else.
const SHARD_MEMBERS: usize = 8_192;
/// Averages may drift this many doublings away before the set has to be built again.
const DRIFT: u32 = 2;
/// More leading bits than this would leave fewer than `VALUE_BITS` behind them.
const SHARD_BITS: u32 = u64::BITS - VALUE_BITS;

/// Bits of a hash that a line holds.
const VALUE_BITS: u32 = 48;
/// Values a line has room for.
const SLOTS: usize = 10;
/// Values a line gets on average: fuller ones would more often send a look-up on to the next.
const FILL: usize = 7;

/// A set of texts, compared byte for byte.
#[derive(Debug)]
pub struct ValueSet {
    key: Key,
    /// Shards are told apart by so many leading bits of the hash, and hold the `VALUE_BITS` behind them.
    bits: u32,
    /// A member of several parts is there once for each of them, so that it stays when one of them drops it.
    shards: Box<[Shard]>,
    stored: usize,
    distinct: usize,
}

/// What the hashes of a set depend on, from the system's randomness. A stranger sees neither it nor a hash, and so cannot
/// look for a text with the hash of a member: a hash made for tables is enough, in a third of the time of one that is not.
#[derive(Clone, Debug)]
struct Key(u64, SharedSeed);

/// The members of one part as a set knows them: sorted, each once.
#[derive(Clone, Default, Debug)]
pub struct Hashed(Vec<u64>);

/// Values, each in the line that it says itself, or behind it where that is full.
#[derive(Clone, Debug)]
struct Shard(Arc<[Line]>);

/// As large as a processor's cache line, and never across two of them.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct Line {
    /// The lower halves of the values, zero where none is.
    lower: [u32; SLOTS],
    upper: [u16; SLOTS],
    taken: u8,
    /// Whether a value that belongs here stands further on, because there was no room.
    passed: bool,
}

impl ValueSet {
    /// A set of these parts.
    pub fn of_parts<'a, P>(parts: impl IntoIterator<Item = P>) -> ValueSet
    where
        P: IntoIterator<Item = &'a [u8]>,
    {
        let key = Key::draw();
        let all = gathered(parts.into_iter().map(|part| hashed(&key, part)));
        let bits = bits_for(all.len());
        let mut rest = all.as_slice();
        let mut distinct = 0;
        let shards = (0..1_usize << bits).map(|shard| {
            let values = values(cut(&mut rest, shard, bits), bits);
            distinct += count_distinct(&values);
            Shard::of(&values)
        });
        ValueSet { shards: shards.collect(), key, bits, stored: all.len(), distinct }
    }

    /// A part's members, to be taken out of or put into this set.
    pub fn hash_part<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Hashed {
        hashed(&self.key, values)
    }

    /// This set without the members of some parts and with those of others. Costs as much as the parts differ. `None`
    /// where its size has left what its shards were made for, and it should be built again.
    pub fn edited(
        &self,
        removed: impl IntoIterator<Item = Hashed>,
        added: impl IntoIterator<Item = Hashed>,
    ) -> Option<ValueSet> {
        let (removed, added) = (gathered(removed), gathered(added));
        let (removed, added) = (without(&removed, &added), without(&added, &removed));
        let bits = self.bits;
        let (mut stored, mut distinct) = (self.stored, self.distinct);
        let mut shards = self.shards.clone();
        let (mut removed, mut added) = (removed.as_slice(), added.as_slice());
        while let Some(first) = removed.first().into_iter().chain(added.first()).min() {
            let at = shard_of(*first, bits);
            let [out, new] = [&mut removed, &mut added].map(|hashes| values(cut(hashes, at, bits), bits));
            if let Some(shard) = shards.get_mut(at) {
                let before = shard.values();
                let after = merged(&without(&before, &out), &new);
                stored = stored + after.len() - before.len();
                distinct = distinct + count_distinct(&after) - count_distinct(&before);
                *shard = Shard::of(&after);
            }
        }
        (bits.abs_diff(bits_for(stored)) <= DRIFT).then(|| ValueSet {
            key: self.key.clone(),
            bits,
            shards,
            stored,
            distinct,
        })
    }

    pub fn contains(&self, value: &[u8]) -> bool {
        let hash = self.key.hash(value);
        let shard = self.shards.get(shard_of(hash, self.bits));
        shard.is_some_and(|shard| shard.contains(value_of(hash, self.bits)))
    }

    /// Members, each counted once in however many parts it is.
    pub fn len(&self) -> usize {
        self.distinct
    }

    pub fn is_empty(&self) -> bool {
        self.distinct == 0
    }

    /// What it takes in memory: the lines, and for each shard two counts, which fill one more line, and its place in
    /// the directory.
    pub fn bytes(&self) -> usize {
        let around = size_of::<Line>() + size_of::<Shard>();
        self.shards.iter().map(|shard| size_of_val(&*shard.0) + around).sum()
    }

    /// How many of the shards are the same memory as those of another set.
    pub fn shared_shards(&self, other: &ValueSet) -> usize {
        self.shards.iter().zip(&other.shards).filter(|(a, b)| Arc::ptr_eq(&a.0, &b.0)).count()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }
}

impl Default for ValueSet {
    fn default() -> ValueSet {
        ValueSet::of_parts([[]])
    }
}

impl<'a> FromIterator<&'a [u8]> for ValueSet {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> Self {
        ValueSet::of_parts([values])
    }
}

impl Key {
    fn draw() -> Key {
        let random = || RandomState::new().hash_one(0);
        Key(random(), SharedSeed::from_u64(random()))
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.0, &self.1);
        text.hash(&mut hasher);
        hasher.finish()
    }
}

impl Shard {
    /// `values` are sorted.
    fn of(values: &[u64]) -> Shard {
        let mut lines = vec![Line::default(); values.len().div_ceil(FILL).max(1)];
        for value in values {
            let first = home(*value, lines.len());
            let (before, from) = lines.split_at_mut(first);
            // There are fewer values than slots, so one of them has room.
            let _ = from.iter_mut().chain(before).any(|line| line.put(*value));
        }
        Shard(lines.into())
    }

    fn contains(&self, value: u64) -> bool {
        let (before, from) = self.0.split_at(home(value, self.0.len()));
        for line in from.iter().chain(before) {
            if line.holds(value) {
                return true;
            }
            if !line.passed {
                break;
            }
        }
        false
    }

    /// Sorted.
    fn values(&self) -> Vec<u64> {
        let mut values: Vec<u64> = self.0.iter().flat_map(Line::values).collect();
        values.sort_unstable();
        values
    }
}

impl Line {
    /// Whether there was room.
    fn put(&mut self, value: u64) -> bool {
        let taken = usize::from(self.taken);
        match self.lower.get_mut(taken).zip(self.upper.get_mut(taken)) {
            Some(slot) => {
                (*slot.0, *slot.1) = halves(value);
                self.taken += 1;
                true
            }
            None => {
                self.passed = true;
                false
            }
        }
    }

    /// Compares all of them without a branch: where a value stands cannot be foreseen, and what comes behind a branch that
    /// was foreseen wrongly waits for the memory.
    fn holds(&self, value: u64) -> bool {
        let (lower, upper) = halves(value);
        let slots = self.lower.iter().zip(&self.upper);
        slots.fold(false, |found, slot| found | ((*slot.0 == lower) & (*slot.1 == upper)))
    }

    fn values(&self) -> impl Iterator<Item = u64> {
        let slots = self.lower.iter().zip(&self.upper).take(self.taken.into());
        slots.map(|(lower, upper)| u64::from(*upper) << u32::BITS | u64::from(*lower))
    }
}

fn halves(value: u64) -> (u32, u16) {
    // Cut to what each holds.
    (value as u32, (value >> u32::BITS) as u16)
}

fn hashed<'a>(key: &Key, values: impl IntoIterator<Item = &'a [u8]>) -> Hashed {
    let mut hashes: Vec<u64> = values.into_iter().map(|value| key.hash(value)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    Hashed(hashes)
}

/// The smallest number of leading bits that keeps shards at `SHARD_MEMBERS` on average.
fn bits_for(members: usize) -> u32 {
    let shards = members.div_ceil(SHARD_MEMBERS).max(1).next_power_of_two();
    shards.trailing_zeros().min(SHARD_BITS)
}

fn shard_of(hash: u64, bits: u32) -> usize {
    // A shift by all 64 bits is not defined, and no bits lead to the one shard there is.
    usize::try_from(hash.checked_shr(u64::BITS - bits).unwrap_or(0)).unwrap_or(0)
}

/// What a shard holds of a hash. Zero is an empty slot, so it makes way for its neighbour.
fn value_of(hash: u64, bits: u32) -> u64 {
    (hash << bits >> SHARD_BITS).max(1)
}

/// The line a value belongs in: lines share the values evenly, in ascending order.
fn home(value: u64, lines: usize) -> usize {
    usize::try_from((u128::from(value) * lines as u128) >> VALUE_BITS).unwrap_or(0)
}

fn values(hashes: &[u64], bits: u32) -> Vec<u64> {
    hashes.iter().map(|hash| value_of(*hash, bits)).collect()
}

/// Takes the hashes of one shard, and of those before it, off the front.
fn cut<'h>(hashes: &mut &'h [u64], shard: usize, bits: u32) -> &'h [u64] {
    let (here, later) = hashes.split_at(hashes.partition_point(|hash| shard_of(*hash, bits) <= shard));
    *hashes = later;
    here
}

fn gathered(parts: impl IntoIterator<Item = Hashed>) -> Vec<u64> {
    // The first is taken as it is: most lists have one part, and at ten million a copy is 80 MB.
    let all = parts.into_iter().map(|part| part.0).reduce(|mut all, part| {
        all.extend(part);
        all
    });
    let mut all = all.unwrap_or_default();
    all.sort_unstable();
    all
}

/// `a` with one of each taken out for each in `b`; both sorted.
fn without(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut b = b.iter().copied().peekable();
    let stays = |one: &u64| {
        while b.next_if(|other| other < one).is_some() {}
        b.next_if(|other| other == one).is_none()
    };
    a.iter().copied().filter(stays).collect()
}

fn merged(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = [a, b].concat();
    // Two sorted runs: a stable sort only merges them.
    all.sort();
    all
}

/// Distinct values of a sorted slice.
fn count_distinct(sorted: &[u64]) -> usize {
    sorted.chunk_by(|a, b| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn texts(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| format!("user-{n}")).collect()
    }

    fn bytes(texts: &[String]) -> impl Iterator<Item = &[u8]> {
        texts.iter().map(String::as_bytes)
    }

    #[test]
    fn members_are_in_and_others_are_not() {
        for members in [0, 1, 2, 7, 8, 1_023, 8_193, 100_000] {
            let texts = texts(0..members);
            let set: ValueSet = bytes(&texts).chain(bytes(&texts)).collect();
            assert_eq!(set.len(), members);
            assert_eq!(set.is_empty(), members == 0);
            assert!(bytes(&texts).all(|text| set.contains(text)));
            let others = (0..10_000).map(|n| format!("other-{n}"));
            assert!(!others.into_iter().any(|text| set.contains(text.as_bytes())));
        }
        assert!(!ValueSet::default().contains(b""));
    }

    #[test]
    fn one_more_among_many_copies_one_shard() {
        let part = texts(1_000..2_000);
        let more = [part.clone(), vec!["new".into()]].concat();
        let before =
            ValueSet::of_parts([bytes(&texts(0..1_000)), bytes(&part), bytes(&texts(2_000..100_000))]);
        let after =
            before.edited([before.hash_part(bytes(&part))], [before.hash_part(bytes(&more))]).unwrap();
        assert_eq!((before.shards(), before.shared_shards(&after)), (16, 15));
        assert!(after.contains(b"new") && !before.contains(b"new"));
        assert_eq!(after.len(), 100_001);
    }

    #[test]
    fn a_member_of_two_parts_stays_until_both_drop_it() {
        let [both, left] = [vec!["a".into(), "b".into()], vec!["b".to_string()]];
        let set = ValueSet::of_parts([bytes(&both), bytes(&left)]);
        assert_eq!(set.len(), 2);
        let one = set.edited([set.hash_part(bytes(&both))], []).unwrap();
        assert!(one.contains(b"b") && !one.contains(b"a"));
        assert_eq!(one.len(), 1);
        let none = one.edited([set.hash_part(bytes(&left))], []).unwrap();
        assert!(none.is_empty() && !none.contains(b"b"));
    }

    #[test]
    fn a_set_that_grows_or_shrinks_much_has_to_be_built_again() {
        let (few, many) = (texts(0..10), texts(10..SHARD_MEMBERS * 4));
        let small = ValueSet::of_parts([bytes(&few)]);
        let large = small.edited([], [small.hash_part(bytes(&many))]).unwrap();
        assert_eq!((large.shards(), large.len()), (1, SHARD_MEMBERS * 4));
        assert!(bytes(&few).chain(bytes(&many)).all(|text| large.contains(text)));
        assert!(large.edited([], [small.hash_part(bytes(&["new".into()]))]).is_none());
        let rebuilt = ValueSet::of_parts([bytes(&few), bytes(&many), bytes(&texts(50_000..80_000))]);
        assert_eq!(
            (rebuilt.shards(), rebuilt.edited([rebuilt.hash_part(bytes(&many))], []).is_some()),
            (8, true)
        );
        assert!(rebuilt.edited([rebuilt.hash_part(bytes(&texts(10..80_000)))], []).is_none());
    }

    /// How many lines the look-ups of members, and of others, look into, on average and at most.
    fn lines(set: &ValueSet, texts: &[String]) -> (f64, usize) {
        let looked_into = |text: &[u8]| {
            let hash = set.key.hash(text);
            let value = value_of(hash, set.bits);
            let lines = &set.shards[shard_of(hash, set.bits)].0;
            let (before, from) = lines.split_at(home(value, lines.len()));
            let on = |line: &&Line| !line.holds(value) && line.passed;
            from.iter().chain(before).take_while(on).count() + 1
        };
        let counts: Vec<usize> = bytes(texts).map(looked_into).collect();
        let sum: usize = counts.iter().sum();
        (sum as f64 / counts.len() as f64, counts.into_iter().max().unwrap())
    }

    #[test]
    fn a_look_up_waits_for_memory_once() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        for members in [10_000, 200_000] {
            let texts = texts(0..members);
            let set: ValueSet = bytes(&texts).collect();
            let others: Vec<String> = (0..members).map(|n| format!("other-{n}")).collect();
            for texts in [texts, others] {
                let (mean, most) = lines(&set, &texts);
                assert!(mean < 1.3 && most < 25, "{mean} lines, {most} at most");
            }
            assert!((8..10).contains(&(set.bytes() / members)), "{} bytes", set.bytes());
        }
    }

    #[test]
    fn a_false_member_is_less_likely_than_one_in_a_thousand_million() {
        let fullest = (SHARD_MEMBERS << DRIFT) as f64;
        assert!(fullest / 2_f64.powi(VALUE_BITS as i32) < 1e-9);
        // What a shard says a value is decides where it stands, so no two bits of it are the same one.
        assert_eq!(value_of(u64::MAX, 3), (1 << VALUE_BITS) - 1);
        assert_eq!((value_of(0, 3), value_of(1 << SHARD_BITS, 0)), (1, 1));
        assert_eq!((shard_of(u64::MAX, 0), shard_of(u64::MAX, 3)), (0, 7));
    }

    #[test]
    fn a_member_of_many_parts_pushes_others_on_and_is_found_once() {
        let crowd = texts(0..1_000);
        let part = |n: usize| vec!["everywhere".to_string(), format!("only-{n}")];
        let parts: Vec<Vec<String>> = (0..500).map(part).collect();
        let set = ValueSet::of_parts(parts.iter().chain([&crowd]).map(|part| bytes(part)));
        assert_eq!(set.len(), 1 + 500 + 1_000);
        assert!(parts.iter().chain([&crowd]).all(|part| bytes(part).all(|text| set.contains(text))));
        assert!(!bytes(&texts(1_000..5_000)).any(|text| set.contains(text)));
        let gone = set.edited(parts.iter().map(|part| set.hash_part(bytes(part))), []).unwrap();
        assert_eq!(gone.len(), 1_000);
        assert!(!gone.contains(b"everywhere") && bytes(&crowd).all(|text| gone.contains(text)));
    }

    proptest! {
        /// Any row of edits ends where building from scratch would.
        #[test]
        fn edits_lead_where_building_leads(
            steps in prop::collection::vec((0_usize..4, prop::collection::vec(0_u16..40, 0..30)), 1..12)
        ) {
            let mut parts: [Vec<String>; 4] = Default::default();
            let mut set = ValueSet::of_parts(parts.iter().map(|part| bytes(part)));
            for (which, numbers) in steps {
                let new: Vec<String> = numbers.iter().map(|n| n.to_string()).collect();
                set = set.edited([set.hash_part(bytes(&parts[which]))], [set.hash_part(bytes(&new))]).unwrap();
                parts[which] = new;
            }
            let expected: BTreeSet<&String> = parts.iter().flatten().collect();
            prop_assert_eq!(set.len(), expected.len());
            for number in 0..40 {
                let text = number.to_string();
                prop_assert_eq!(set.contains(text.as_bytes()), expected.contains(&text));
            }
        }
    }
}

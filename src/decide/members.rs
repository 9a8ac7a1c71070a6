//! Membership in a list of texts: up to ten million, at eight bytes each.
//!
//! Owns sets of keyed 64-bit hashes in sorted shards. A set is never changed: an edited one shares every shard that
//! stayed, so adding one user to millions costs one shard. Never: the texts themselves.
//!
//! A text that is no member is taken for one with a probability of members / 2^64: below 1e-12 a lookup at ten
//! million. The key is drawn for each set, so nobody outside can look for such a text.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

/// A shard holds between half of this and this many on average: small enough to copy for a change of one, large
/// enough that the directory of shards stays below a byte a member.
const SHARD_MEMBERS: usize = 1_024;
/// Averages may drift this many doublings away before everything is laid out again.
const DRIFT: u32 = 2;

/// A set of texts, compared byte for byte.
#[derive(Debug)]
pub struct ValueSet {
    key: RandomState,
    /// Shards are told apart by so many leading bits of the hash.
    bits: u32,
    /// Each sorted, and so are all of them together. A member of several parts is there once for each of them, so
    /// that it stays when one of them drops it.
    shards: Box<[Arc<[u64]>]>,
    distinct: usize,
}

/// The members of one part as a set knows them: sorted, each once.
#[derive(Clone, Default, Debug)]
pub struct Hashed(Vec<u64>);

impl ValueSet {
    /// A set of these parts.
    pub fn of_parts<'a, P>(parts: impl IntoIterator<Item = P>) -> ValueSet
    where
        P: IntoIterator<Item = &'a [u8]>,
    {
        let key = RandomState::new();
        let mut all = Vec::new();
        for part in parts {
            all.extend(hashed(&key, part).0);
        }
        all.sort_unstable();
        ValueSet::lay_out(key, &all)
    }

    /// A part's members, to be taken out of or put into this set.
    pub fn hash_part<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Hashed {
        hashed(&self.key, values)
    }

    /// This set without the members of some parts and with those of others. Costs as much as the parts differ.
    pub fn edited(
        &self,
        removed: impl IntoIterator<Item = Hashed>,
        added: impl IntoIterator<Item = Hashed>,
    ) -> ValueSet {
        let (removed, added) = (gathered(removed), gathered(added));
        let (removed, added) = (without(&removed, &added), without(&added, &removed));
        let mut shards = self.shards.clone();
        let mut distinct = self.distinct;
        let (mut removed, mut added) = (removed.as_slice(), added.as_slice());
        while let Some(first) = removed.first().into_iter().chain(added.first()).min() {
            let shard = self.shard_of(*first);
            let (out, rest) = removed.split_at(removed.partition_point(|hash| self.shard_of(*hash) <= shard));
            removed = rest;
            let (new, rest) = added.split_at(added.partition_point(|hash| self.shard_of(*hash) <= shard));
            added = rest;
            if let Some(place) = shards.get_mut(shard) {
                let edited: Arc<[u64]> = merged(&without(place, out), new).into();
                distinct = distinct + count_distinct(&edited) - count_distinct(place);
                *place = edited;
            }
        }
        let edited = ValueSet { key: self.key.clone(), bits: self.bits, shards, distinct };
        match edited.bits.abs_diff(bits_for(edited.stored())) > DRIFT {
            true => ValueSet::lay_out(self.key.clone(), &edited.shards.concat()),
            false => edited,
        }
    }

    pub fn contains(&self, value: &[u8]) -> bool {
        let hash = self.key.hash_one(value);
        self.shards.get(self.shard_of(hash)).is_some_and(|shard| is_in(shard, hash, self.bits))
    }

    /// Members, each counted once in however many parts it is.
    pub fn len(&self) -> usize {
        self.distinct
    }

    pub fn is_empty(&self) -> bool {
        self.distinct == 0
    }

    /// What it takes in memory: the hashes, and for each shard two counts and its place in the directory.
    pub fn bytes(&self) -> usize {
        let around = 2 * size_of::<usize>() + size_of::<Arc<[u64]>>();
        self.shards.iter().map(|shard| size_of_val(&**shard) + around).sum()
    }

    /// How many of the shards are the same memory as those of another set.
    pub fn shared_shards(&self, other: &ValueSet) -> usize {
        self.shards.iter().zip(&other.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// `hashes` are sorted.
    fn lay_out(key: RandomState, hashes: &[u64]) -> ValueSet {
        let bits = bits_for(hashes.len());
        let mut rest = hashes;
        let shards = (0..1_u64 << bits).map(|shard| {
            let (here, later) = rest.split_at(rest.partition_point(|hash| leading(*hash, bits) <= shard));
            rest = later;
            here.into()
        });
        ValueSet { key, bits, shards: shards.collect(), distinct: count_distinct(hashes) }
    }

    fn shard_of(&self, hash: u64) -> usize {
        usize::try_from(leading(hash, self.bits)).unwrap_or(0)
    }

    fn stored(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }
}

impl Default for ValueSet {
    fn default() -> ValueSet {
        ValueSet::lay_out(RandomState::new(), &[])
    }
}

impl<'a> FromIterator<&'a [u8]> for ValueSet {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> Self {
        ValueSet::of_parts([values])
    }
}

fn hashed<'a>(key: &RandomState, values: impl IntoIterator<Item = &'a [u8]>) -> Hashed {
    let mut hashes: Vec<u64> = values.into_iter().map(|value| key.hash_one(value)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    Hashed(hashes)
}

/// The smallest number of leading bits that keeps shards at `SHARD_MEMBERS` on average.
fn bits_for(members: usize) -> u32 {
    let shards = members.div_ceil(SHARD_MEMBERS).max(1).next_power_of_two();
    shards.trailing_zeros()
}

fn leading(hash: u64, bits: u32) -> u64 {
    // A shift by all 64 bits is not defined, and no bits lead to the one shard there is.
    hash.checked_shr(u64::BITS - bits).unwrap_or(0)
}

/// Looks where the hash should be if its shard were perfectly even, then walks to where it is: hashes are even, so
/// that is a step or two of memory where halving would take five.
fn is_in(shard: &[u64], hash: u64, bits: u32) -> bool {
    let below = u128::from(hash.checked_shl(bits).unwrap_or(0));
    let guess = usize::try_from((below * shard.len() as u128) >> u64::BITS).unwrap_or(0);
    let (before, after) = shard.split_at(guess.min(shard.len()));
    match after.first() {
        Some(first) if *first <= hash => after.iter().find(|one| **one >= hash) == Some(&hash),
        _ => before.iter().rev().find(|one| **one <= hash) == Some(&hash),
    }
}

fn gathered(parts: impl IntoIterator<Item = Hashed>) -> Vec<u64> {
    let mut all: Vec<u64> = parts.into_iter().flat_map(|part| part.0).collect();
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
        for members in [0, 1, 2, 1_023, 1_025, 100_000] {
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
        let after = before.edited([before.hash_part(bytes(&part))], [before.hash_part(bytes(&more))]);
        assert_eq!(before.shards(), 128);
        assert_eq!(before.bytes(), 100_000 * 8 + 128 * 32);
        assert_eq!(before.shared_shards(&after), 127);
        assert!(after.contains(b"new") && !before.contains(b"new"));
        assert_eq!(after.len(), 100_001);
    }

    #[test]
    fn a_member_of_two_parts_stays_until_both_drop_it() {
        let [both, left] = [vec!["a".into(), "b".into()], vec!["b".to_string()]];
        let set = ValueSet::of_parts([bytes(&both), bytes(&left)]);
        assert_eq!(set.len(), 2);
        let one = set.edited([set.hash_part(bytes(&both))], []);
        assert!(one.contains(b"b") && !one.contains(b"a"));
        assert_eq!(one.len(), 1);
        let none = one.edited([set.hash_part(bytes(&left))], []);
        assert!(none.is_empty() && !none.contains(b"b"));
    }

    #[test]
    fn a_set_that_grows_and_shrinks_is_laid_out_again() {
        let (few, many) = (texts(0..10), texts(10..50_000));
        let small = ValueSet::of_parts([bytes(&few)]);
        let large = small.edited([], [small.hash_part(bytes(&many))]);
        assert_eq!((small.shards(), large.shards(), large.len()), (1, 64, 50_000));
        assert!(bytes(&few).chain(bytes(&many)).all(|text| large.contains(text)));
        let again = large.edited([large.hash_part(bytes(&many))], []);
        assert_eq!((again.shards(), again.len()), (1, 10));
        assert!(bytes(&few).all(|text| again.contains(text)));
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
                set = set.edited([set.hash_part(bytes(&parts[which]))], [set.hash_part(bytes(&new))]);
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

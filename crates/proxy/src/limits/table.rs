//! The arrival times of keys, in a table of bounded size that grows as keys come.
//!
//! Answers: when is this key's next request due? A key is its hash under a secret; it stands in one of two sets of eight
//! places. Where both are full, the oldest arrival time goes: one that is past says nothing any more, and of the others
//! the oldest is the key that came least. Two choices keep the sets evenly filled, so that what goes is a key in use
//! only where nearly all places hold one. Never: allocates beyond [`KEYS_LIMIT`] keys.

use parking_lot::Mutex;

use super::gcra::Nanos;

/// Most keys of the whole process, which is less than a million; sixteen bytes each.
pub const KEYS_LIMIT: usize = PARTS * SETS_AT_MOST * WAYS;

/// Parts with a lock of their own, so that threads rarely wait for each other. As many as stay below a million keys.
const PARTS: usize = 244;
/// Places in a set: two cache lines that are fetched together.
const WAYS: usize = 8;
/// Sets of a part that has been used at all. A power of two.
const SETS_AT_FIRST: usize = 2;
/// Sets of a part that is full. A power of two.
const SETS_AT_MOST: usize = 512;

/// One key's place. A due time of 0 says that it is free.
#[derive(Clone, Copy, Default)]
struct Place {
    key: u64,
    due: Nanos,
}

type Set = [Place; WAYS];

pub struct Table {
    parts: Box<[Mutex<Vec<Set>>]>,
    /// Most sets of a part. A power of two.
    sets_limit: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table::of(SETS_AT_MOST)
    }
}

impl Table {
    /// With at most so many sets in a part, a power of two.
    fn of(sets_limit: usize) -> Table {
        Table { parts: (0..PARTS).map(|_| Mutex::default()).collect(), sets_limit }
    }

    /// A table that is full soon, and how many keys it holds; the real one differs in nothing else.
    #[cfg(test)]
    pub fn small() -> (Table, usize) {
        const SETS: usize = 8;
        (Table::of(SETS), PARTS * SETS * WAYS)
    }

    /// Lets `decide` turn the key's due time into another one; an error leaves it as it is. A key that is not there is
    /// due since ever.
    pub fn update<E>(
        &self,
        key: u64,
        now: Nanos,
        decide: impl FnOnce(Nanos) -> Result<Nanos, E>,
    ) -> Result<(), E> {
        // What is left of a division chooses the part, higher bits the sets.
        let Some(part) = self.parts.get(key as usize % PARTS) else { return decide(0).map(drop) };
        let mut sets = part.lock();
        let known = sets_of(key, sets.len()).into_iter().find_map(|at| {
            let way = sets.get(at)?.iter().position(|place| place.key == key && place.due > 0)?;
            Some((at, way))
        });
        if let Some(place) = known.and_then(|(at, way)| sets.get_mut(at)?.get_mut(way)) {
            place.due = decide(place.due)?;
            return Ok(());
        }
        let due = decide(0)?;
        self.insert(&mut sets, Place { key, due }, now);
        Ok(())
    }

    /// Gives the key the place that is worth least, in more room where that is still in use and there may be more.
    fn insert(&self, sets: &mut Vec<Set>, new: Place, now: Nanos) {
        if sets.is_empty() {
            sets.resize(SETS_AT_FIRST, Set::default());
        }
        while place_of(sets, new.key, now).is_some_and(|place| place.due > now)
            && sets.len() < self.sets_limit
        {
            grow(sets, now);
        }
        if let Some(place) = place_of(sets, new.key, now) {
            *place = new;
        }
    }

    /// Keys whose next request is not due yet: those that the table has to remember.
    pub fn keys(&self, now: Nanos) -> usize {
        let in_use =
            |part: &Mutex<Vec<Set>>| part.lock().iter().flatten().filter(|place| place.due > now).count();
        self.parts.iter().map(in_use).sum()
    }

    /// Places there is memory for.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len() * WAYS).sum()
    }
}

/// The two sets a key may stand in.
fn sets_of(key: u64, count: usize) -> [usize; 2] {
    let mask = count.wrapping_sub(1);
    let one = (key >> 8) as usize & mask;
    // Another function of the same hash; the constant is the golden ratio.
    let other = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & mask;
    [one, other]
}

/// The place with the oldest due time, in that of the key's two sets which has fewer keys in use.
fn place_of(sets: &mut [Set], key: u64, now: Nanos) -> Option<&mut Place> {
    let oldest = |at: usize| {
        let set = sets.get(at)?;
        let in_use = set.iter().filter(|place| place.due > now).count();
        let oldest = set.iter().enumerate().min_by_key(|(_, place)| place.due);
        oldest.map(|(way, place)| (in_use, place.due, at, way))
    };
    let (.., at, way) = sets_of(key, sets.len()).into_iter().filter_map(oldest).min()?;
    sets.get_mut(at)?.get_mut(way)
}

fn grow(sets: &mut Vec<Set>, now: Nanos) {
    let larger = vec![Set::default(); sets.len() * 2];
    for place in std::mem::replace(sets, larger).into_iter().flatten().filter(|place| place.due > now) {
        if let Some(free) = place_of(sets, place.key, now) {
            *free = place;
        }
    }
}

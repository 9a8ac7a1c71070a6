//! Maglev's table: from a key's slot to the candidate that answers for it.
//!
//! Answers: who serves this key, in the time of one look-up, however many candidates there are? It is Maglev's table
//! (Eisenbud et al., NSDI 2016, section 3.4): every candidate has an order of preference over the slots, drawn from its
//! own hash alone, and the candidates claim free slots in their turns. Shares are those of the turns, to one slot;
//! when one of n leaves, its own keys move and few others: 1.0/n of all for 10 candidates, 1.6/n for 100.
//! Never: knows health, pools or requests.

use super::candidate::{Candidate, scatter};

/// Slots; prime, so that every step walks through all of them. One for every version of every proxy: another size
/// would move almost every key.
const SLOTS: u64 = 65_537;

/// Sets a candidate's step apart from its first slot.
const STEP_SALT: u64 = 0x5851_f42d_4c95_7f2d;

/// A slot that no candidate has claimed yet.
const FREE: u32 = u32::MAX;

/// The table and what filling it needs, reserved once.
#[derive(Default)]
pub(super) struct MaglevTable {
    /// Index into the candidates, by slot.
    slots: Vec<u32>,
    claims: Vec<Claim>,
}

/// Where one candidate stands while slots are claimed.
struct Claim {
    next: u64,
    step: u64,
}

impl MaglevTable {
    /// Reserves room for that many candidates, so that laying out never allocates.
    pub fn reserve(candidates: usize) -> MaglevTable {
        MaglevTable { slots: Vec::with_capacity(SLOTS as usize), claims: Vec::with_capacity(candidates) }
    }

    /// Assigns every slot; `turns` are indexes into the candidates, in the order in which they claim, over and over.
    pub fn lay_out(&mut self, candidates: &[Candidate], turns: impl Iterator<Item = u32> + Clone) {
        self.slots.clear();
        self.claims.clear();
        // A lone candidate needs no table.
        if candidates.len() < 2 {
            return;
        }
        self.slots.resize(SLOTS as usize, FREE);
        self.claims.extend(candidates.iter().map(|one| Claim {
            next: scatter(one.key) % SLOTS,
            step: scatter(one.key ^ STEP_SALT) % (SLOTS - 1) + 1,
        }));
        for candidate in turns.cycle().take(SLOTS as usize) {
            if let Some(claim) = self.claims.get_mut(candidate as usize) {
                claim.take(&mut self.slots, candidate);
            }
        }
    }

    /// The candidate that answers for a key; the first where there is no choice.
    pub fn of(&self, key: u64) -> usize {
        // The key's upper half scaled to the slots: as even as a remainder, without a division.
        let slot = ((key >> 32) * SLOTS) >> 32;
        self.slots.get(slot as usize).map_or(0, |candidate| *candidate as usize)
    }
}

impl Claim {
    /// Takes the first slot of its order that is free; there has to be one.
    fn take(&mut self, slots: &mut [u32], candidate: u32) {
        for _ in 0..SLOTS {
            let slot = slots.get_mut(self.next as usize);
            self.next = (self.next + self.step) % SLOTS;
            if let Some(slot) = slot.filter(|slot| **slot == FREE) {
                *slot = candidate;
                return;
            }
        }
    }
}

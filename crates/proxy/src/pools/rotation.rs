//! The order in which a pool's available instances take turns.
//!
//! Answers: who is next, fair in every window and without bursts, for any weights?
//! Owns: the laid-out turns and the candidates they stand for. Laid out again only when
//! availability changes, inside memory that was reserved when the pool was made.
//! Never: knows pools, chains or why it is asked.

use std::sync::Arc;
use std::time::Instant;

use super::candidate::{Candidate, scatter};
use super::instance::Instance;
use super::maglev::MaglevTable;
use super::vitals::{RECOVERY_STEPS, Standing};
use super::walk::Tried;
use graygate_rules::spec::Balance;

/// Most turns laid out for one pool, beside one for each instance: weights whose sum is larger
/// are rounded to it, an error below 0.03 percent of the pool's requests.
const TURNS_LIMIT: u64 = 4096;

/// Further keys a hashed request is looked up under after a failure, before any untried instance will do.
const FURTHER_KEYS: u64 = 32;

/// Distance of two weight classes' phases; the golden ratio keeps any number of them apart.
const PHASE_STEP: f64 = 0.618_033_988_749_895;

/// Who is available and in which order; valid for one epoch and a stretch of time.
pub(super) struct Rotation {
    epoch: u64,
    until: Option<Instant>,
    /// No instance is available: the turns are those of all of them, for a pool that fails open.
    pub dark: bool,
    candidates: Vec<Candidate>,
    turns: Vec<Turn>,
    /// Where requests are chosen for by a hash.
    maglev: Option<MaglevTable>,
}

/// One turn; `at` is its place in the round, as a fraction of 2^32.
#[derive(Clone, Copy)]
struct Turn {
    at: u32,
    /// Index into the candidates.
    candidate: u32,
}

impl Rotation {
    /// Reserves what any availability of these members can need, so that laying out never allocates.
    pub fn reserve(members: &[Arc<Instance>], balance: Balance) -> Rotation {
        let weights = || members.iter().map(|member| u64::from(member.spec.weight));
        let divisor = weights().fold(0, greatest_common_divisor).max(1);
        let sum = weights().fold(0u64, |sum, weight| sum.saturating_add(weight / divisor));
        let count = members.len() as u64;
        let turns = sum.saturating_mul(u64::from(RECOVERY_STEPS)).min(TURNS_LIMIT.saturating_add(count));
        Rotation {
            epoch: u64::MAX,
            until: None,
            dark: true,
            candidates: Vec::with_capacity(members.len()),
            turns: Vec::with_capacity(turns as usize),
            maglev: (balance == Balance::Hash).then(|| MaglevTable::reserve(members.len())),
        }
    }

    pub fn holds(&self, epoch: u64, now: Instant) -> bool {
        self.epoch == epoch && self.until.is_none_or(|until| now < until)
    }

    /// Lays out the turns for what the members' states say now. `epoch` was read before.
    pub fn lay_out(&mut self, members: &[Arc<Instance>], epoch: u64, now: Instant) {
        self.epoch = epoch;
        self.until = None;
        self.dark = false;
        // Instances that were not checked yet serve only where no healthy one does: at start that
        // keeps the first requests from waiting, later it keeps newcomers out until they answer.
        for standing in [Standing::Healthy, Standing::Unknown] {
            self.admit(members, now, |found| found == standing);
            if !self.candidates.is_empty() {
                break;
            }
        }
        if self.candidates.is_empty() {
            self.dark = true;
            self.admit(members, now, |_| true);
        }
        self.reduce();
        self.arrange();
        if let Some(maglev) = &mut self.maglev {
            maglev.lay_out(&self.candidates, self.turns.iter().map(|turn| turn.candidate));
        }
    }

    /// The candidate of this turn, or of the first one after it that fits.
    pub fn take_turn(&self, turn: u64, fits: impl Fn(&Candidate) -> bool) -> Option<&Candidate> {
        let start = (turn % (self.turns.len() as u64).max(1)) as usize;
        let (before, after) = self.turns.split_at_checked(start)?;
        let candidate = |turn: &Turn| self.candidates.get(turn.candidate as usize);
        let mut candidates = after.iter().chain(before).filter_map(candidate);
        candidates.find(|one| fits(one))
    }

    /// The candidate that answers for the key; after a failure the one of another key that follows from it, so that
    /// the keys of an instance that fails spread over all others.
    pub fn by_key(&self, tried: &Tried, key: u64) -> Option<&Candidate> {
        let maglev = self.maglev.as_ref()?;
        let by_key = |asked: u64| self.candidates.get(maglev.of(scatter(key.wrapping_add(asked))));
        let fresh = |one: &&Candidate| !tried.contains(one.id);
        let mut asked = (0..FURTHER_KEYS).filter_map(by_key);
        asked.find(fresh).or_else(|| self.candidates.iter().find(fresh))
    }

    fn admit(&mut self, members: &[Arc<Instance>], now: Instant, fits: impl Fn(Standing) -> bool) {
        self.candidates.clear();
        for (member, instance) in members.iter().enumerate() {
            let outlook = instance.vitals.outlook(now);
            self.until = match (self.until, outlook.until) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if fits(outlook.standing) {
                self.candidates.push(Candidate {
                    member: member as u32,
                    weight: u64::from(instance.spec.weight) * u64::from(outlook.steps),
                    id: instance.vitals.id,
                    key: instance.key,
                });
            }
        }
    }

    /// Divides the weights by what they have in common, and orders equal ones together.
    fn reduce(&mut self) {
        let weights = self.candidates.iter().map(|one| one.weight);
        let divisor = weights.fold(0, greatest_common_divisor).max(1);
        for candidate in &mut self.candidates {
            candidate.weight /= divisor;
        }
        self.candidates.sort_unstable_by_key(|one| (one.weight, one.member));
    }

    /// Spreads each class of equal weights evenly over the round, then merges the classes.
    ///
    /// A class of m instances of weight w takes m*w turns at equal distances, its instances in
    /// turn. That bounds every instance's lead and lag, where spreading each instance by itself
    /// would let a hundred light ones meet in the middle and shut out a heavy one.
    fn arrange(&mut self) {
        self.turns.clear();
        let total = self.candidates.iter().map(|one| one.weight).sum::<u64>();
        let classes = self.candidates.chunk_by(|a, b| a.weight == b.weight);
        let mut first = 0u32;
        for (number, class) in classes.enumerate() {
            let weight = class.first().map_or(0, |one| one.weight);
            let rounds = match total {
                ..=TURNS_LIMIT => weight,
                _ => (u128::from(weight) * u128::from(TURNS_LIMIT) / u128::from(total)).max(1) as u64,
            };
            let phase = (0.5 + number as f64 * PHASE_STEP).fract();
            let size = class.len() as u64;
            let distance = 4_294_967_296.0 / (rounds * size) as f64;
            self.turns.extend((0..rounds * size).map(|turn| Turn {
                at: ((turn as f64 + phase) * distance) as u32,
                candidate: first + (turn % size) as u32,
            }));
            first += size as u32;
        }
        self.turns.sort_unstable_by_key(|turn| (turn.at, turn.candidate));
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

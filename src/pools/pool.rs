//! The instances that may take one kind of request: one version, one pin or none.
//!
//! Answers: which of them is next? Owns: the rotation and the cursor, both kept as long as the
//! members stay the same. Never: knows chains, or why somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::instance::Instance;
use super::rotation::{Candidate, Rotation, Turn};
use super::spec::Balance;
use super::vitals::ServiceVitals;
use super::walk::Tried;

pub(super) struct Pool {
    members: Vec<Arc<Instance>>,
    /// One for each member, from its address: every proxy hashes alike.
    keys: Vec<u64>,
    balance: Balance,
    service: Arc<ServiceVitals>,
    cursor: AtomicU64,
    rotation: RwLock<Rotation>,
}

/// What a pool has to offer a request.
pub(super) enum Offer<'a> {
    Instance(&'a Arc<Instance>),
    /// Everyone available was tried.
    Spent,
    /// Nobody is available.
    Dark,
    /// There is nobody.
    Empty,
}

/// What a request brings to a pool.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub tried: &'a Tried,
    pub hash_key: Option<u64>,
    /// Whether instances that are not available will do.
    pub fail_open: bool,
    pub now: Instant,
}

impl Pool {
    /// `start` is where the turns begin, so that many proxies do not all begin alike.
    pub fn open(
        members: Vec<Arc<Instance>>,
        balance: Balance,
        service: Arc<ServiceVitals>,
        start: u64,
    ) -> Pool {
        Pool {
            keys: members.iter().map(|one| address_key(one)).collect(),
            rotation: RwLock::new(Rotation::reserve(&members)),
            cursor: AtomicU64::new(start),
            members,
            balance,
            service,
        }
    }

    /// Whether these are the members, in this order.
    pub fn is_of(&self, members: &[Arc<Instance>], balance: Balance) -> bool {
        self.balance == balance
            && self.members.len() == members.len()
            && self.members.iter().zip(members).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Where the turns are now.
    pub fn turn(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn offer(&self, asked: Asked<'_>) -> Offer<'_> {
        if self.members.is_empty() {
            return Offer::Empty;
        }
        let epoch = self.service.epoch.load(Ordering::Acquire);
        let read = self.rotation.read();
        if read.holds(epoch, asked.now) {
            return self.choose(&read, asked);
        }
        drop(read);
        let mut write = self.rotation.write();
        if !write.holds(epoch, asked.now) {
            write.lay_out(&self.members, epoch, asked.now);
        }
        self.choose(&RwLockWriteGuard::downgrade(write), asked)
    }

    /// Somebody who was not tried yet, available or not.
    pub fn untried(&self, tried: &Tried) -> Option<&Arc<Instance>> {
        let start = self.cursor.fetch_add(1, Ordering::Relaxed) as usize % self.members.len().max(1);
        let (before, after) = self.members.split_at_checked(start)?;
        let mut all = after.iter().chain(before);
        all.find(|one| !tried.contains(one.vitals.id))
    }

    fn choose(&self, rotation: &Rotation, asked: Asked<'_>) -> Offer<'_> {
        if rotation.dark && !asked.fail_open {
            return Offer::Dark;
        }
        let chosen = match (self.balance, asked.hash_key) {
            (Balance::LeastRequests, _) => self.less_loaded(rotation, asked.tried),
            (Balance::Hash, Some(key)) => self.rendezvous(rotation, asked.tried, key),
            (Balance::RoundRobin | Balance::Hash, _) => {
                let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
                self.take_turn(rotation, turn, |one| !asked.tried.contains(one.vitals.id))
            }
        };
        match chosen.and_then(|candidate| self.member(candidate)) {
            Some(instance) => Offer::Instance(instance),
            None => Offer::Spent,
        }
    }

    /// The candidate of this turn, or of the first one after it that fits.
    fn take_turn<'r>(
        &self,
        rotation: &'r Rotation,
        turn: u64,
        fits: impl Fn(&Instance) -> bool,
    ) -> Option<&'r Candidate> {
        let start = (turn % (rotation.turns.len() as u64).max(1)) as usize;
        let (before, after) = rotation.turns.split_at_checked(start)?;
        let candidate = |turn: &Turn| rotation.candidates.get(turn.candidate as usize);
        let mut candidates = after.iter().chain(before).filter_map(candidate);
        candidates.find(|one| self.member(one).is_some_and(|member| fits(member)))
    }

    /// The better of two: the one whose turn it is and one by chance. While nobody is busier than
    /// another this is round robin; under load the slow fall behind by themselves.
    fn less_loaded<'r>(&self, rotation: &'r Rotation, tried: &Tried) -> Option<&'r Candidate> {
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
        let fresh = |one: &Instance| !tried.contains(one.vitals.id);
        let one = self.take_turn(rotation, turn, fresh)?;
        let id = self.member(one)?.vitals.id;
        let other = self.take_turn(rotation, scatter(turn), |other| fresh(other) && other.vitals.id != id);
        let load = |of: &Candidate, weighed_by: &Candidate| {
            let in_flight = self.member(of).map_or(0, |member| member.in_flight());
            in_flight as u128 * u128::from(weighed_by.weight)
        };
        match other {
            Some(other) if load(other, one) < load(one, other) => Some(other),
            _ => Some(one),
        }
    }

    /// Highest random weight: each candidate draws a number from the key and itself, the best
    /// wins. When one leaves, only its own keys move. With unequal weights the draw is
    /// exponential, -ln(u) / weight, of which the smallest wins with probability weight / total.
    fn rendezvous<'r>(&self, rotation: &'r Rotation, tried: &Tried, key: u64) -> Option<&'r Candidate> {
        let draw = |one: &Candidate| {
            let drawn = scatter(self.keys.get(one.member as usize).copied()? ^ key);
            let fresh = !tried.contains(self.member(one)?.vitals.id);
            fresh.then_some(drawn)
        };
        let drawn = rotation.candidates.iter().filter_map(|one| Some((draw(one)?, one)));
        if rotation.level {
            return drawn.max_by_key(|(drawn, _)| *drawn).map(|(_, one)| one);
        }
        drawn
            .map(|(drawn, one)| {
                // 53 bits and a half: never 0 and never 1, whose logarithms would not compare.
                let unit = ((drawn >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
                (-unit.ln() / one.weight as f64, one)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, one)| one)
    }

    fn member(&self, candidate: &Candidate) -> Option<&Arc<Instance>> {
        self.members.get(candidate.member as usize)
    }
}

/// A well-mixed number from any other: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number for an address that is the same in every process.
fn address_key(instance: &Instance) -> u64 {
    let address = instance.spec.address;
    let ip = match address.ip() {
        std::net::IpAddr::V4(ip) => u128::from(ip.to_bits()),
        std::net::IpAddr::V6(ip) => ip.to_bits(),
    };
    let halves = [(ip >> 64) as u64, ip as u64, u64::from(address.port())];
    halves.iter().fold(0, |key, half| scatter(key ^ half))
}

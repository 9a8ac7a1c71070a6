//! The instances that may take one kind of request: one version, one pin or none.
//!
//! Answers: which of them is next? Owns: the rotation and the cursor, both kept as long as the
//! members stay the same. Never: knows chains, or why it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::candidate::{Candidate, scatter};
use super::instance::Instance;
use super::rotation::Rotation;
use super::vitals::ServiceVitals;
use super::walk::Tried;
use graygate_rules::spec::Balance;

pub(super) struct Pool {
    members: Vec<Arc<Instance>>,
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
    /// No instance is available.
    Dark,
    /// There is no instance.
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
            rotation: RwLock::new(Rotation::reserve(&members, balance)),
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
        match self.members.is_empty() {
            true => Offer::Empty,
            false => self.choose(&self.laid_out(asked.now), asked),
        }
    }

    /// Whether any member is available.
    pub fn is_available(&self, now: Instant) -> bool {
        !self.members.is_empty() && !self.laid_out(now).dark
    }

    /// The rotation as the members' states are now.
    fn laid_out(&self, now: Instant) -> RwLockReadGuard<'_, Rotation> {
        // Read before the states are: a change in between makes the next pick look again.
        let epoch = || self.service.epoch.load(Ordering::Acquire);
        let read = self.rotation.read();
        if read.holds(epoch(), now) {
            return read;
        }
        drop(read);
        let mut write = self.rotation.write();
        let epoch = epoch();
        if !write.holds(epoch, now) {
            write.lay_out(&self.members, epoch, now);
        }
        RwLockWriteGuard::downgrade(write)
    }

    /// An instance that was not tried yet, available or not.
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
        let turn = || self.cursor.fetch_add(1, Ordering::Relaxed);
        let chosen = match (self.balance, asked.hash_key) {
            (Balance::LeastRequests, _) => self.less_loaded(rotation, asked.tried, turn()),
            (Balance::Hash, Some(key)) => rotation.by_key(asked.tried, key),
            (Balance::RoundRobin | Balance::Hash, _) => {
                rotation.take_turn(turn(), |one| !asked.tried.contains(one.id))
            }
        };
        match chosen.and_then(|candidate| self.member(candidate)) {
            Some(instance) => Offer::Instance(instance),
            None => Offer::Spent,
        }
    }

    /// The better of two: the one whose turn it is and one by chance. While no instance is busier than
    /// another this is round robin; under load the slow fall behind by themselves.
    fn less_loaded<'r>(&self, rotation: &'r Rotation, tried: &Tried, turn: u64) -> Option<&'r Candidate> {
        let one = rotation.take_turn(turn, |one| !tried.contains(one.id))?;
        let other =
            rotation.take_turn(scatter(turn), |other| other.id != one.id && !tried.contains(other.id));
        // Compares in_flight / weight without dividing.
        let load = |of: &Candidate, against: &Candidate| {
            let in_flight = self.member(of).map_or(0, |member| member.in_flight());
            in_flight as u128 * u128::from(against.weight)
        };
        match other {
            Some(other) if load(other, one) < load(one, other) => Some(other),
            _ => Some(one),
        }
    }

    fn member(&self, candidate: &Candidate) -> Option<&Arc<Instance>> {
        self.members.get(candidate.member as usize)
    }
}

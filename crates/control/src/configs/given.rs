//! Who was given what: the identities that had the other value, and what each instance was given last.
//!
//! Owns: the limits of both, and what of them has not been written yet. A request changes memory alone; what changed is
//! written once a second, and other processes read it. Never: a store.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Identities that had the other value, by plan, run and process, in parts.
pub const GIVEN: &str = "config-given/";
/// What instances were given last, by plan and process.
pub const SEEN: &str = "config-seen/";
/// Answers since a transition, by process.
pub const COUNTS: &str = "config-counts/";

/// Identities that are remembered of one run: eight megabytes. What is beyond does not count as having had the value.
const IDENTITIES: usize = 1_000_000;
/// Bytes of one identity.
const IDENTITY_BYTES: usize = 8;
/// Identities of one part: small enough to be written every second.
const PART: usize = 4_096;
/// Instances and keys that are remembered of one plan; those that asked longest ago go first.
const INSTANCES: usize = 4_000;
/// How many go at once, so that finding the oldest costs little for each.
const LEAVE: usize = INSTANCES / 8;

/// What an instance was given last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sighting {
    pub instance: String,
    pub address: String,
    pub key: String,
    pub gray: bool,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// How many answers there were since a transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    pub run: u64,
    pub moves: u64,
    pub gray: u64,
    pub release: u64,
}

/// A part of the identities as it is to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub plan: String,
    pub run: u64,
    pub number: usize,
    pub bytes: Vec<u8>,
}

#[derive(Default, Debug)]
pub struct Given {
    plans: Mutex<HashMap<String, Plan>>,
}

#[derive(Default, Debug)]
struct Plan {
    run: u64,
    had: HashSet<u64>,
    /// The part of this process that is not full yet.
    part: Vec<u8>,
    number: usize,
    is_unwritten: bool,
    /// By instance, address and key.
    seen: HashMap<(String, String, String), (bool, i64)>,
    is_seen_unwritten: bool,
    counted: Counted,
    is_count_unwritten: bool,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub plan: &'a str,
    pub run: u64,
    pub moves: u64,
    pub identity: &'a str,
    pub instance: &'a str,
    pub address: &'a str,
    pub key: &'a str,
    pub gray: bool,
    /// Milliseconds since 1970.
    pub at: i64,
}

fn hash(identity: &str) -> u64 {
    let hashed: [u8; 32] = Sha256::digest(identity.as_bytes()).into();
    hashed.iter().take(IDENTITY_BYTES).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Given {
    pub fn note(&self, answer: &Answer<'_>) {
        let mut plans = self.plans.lock();
        let plan = match plans.get_mut(answer.plan) {
            Some(plan) => plan,
            None => plans.entry(answer.plan.to_owned()).or_default(),
        };
        plan.begin(answer.run);
        if plan.counted.moves != answer.moves {
            plan.counted = Counted { run: answer.run, moves: answer.moves, ..Counted::default() };
        }
        let count = if answer.gray { &mut plan.counted.gray } else { &mut plan.counted.release };
        *count += 1;
        plan.is_count_unwritten = true;
        if answer.gray {
            plan.remember(hash(answer.identity));
        }
        plan.see(answer);
    }

    /// Whether an identity had the other value in this run.
    pub fn had(&self, plan: &str, run: u64, identity: &str) -> bool {
        let plans = self.plans.lock();
        plans.get(plan).is_some_and(|plan| plan.run == run && plan.had.contains(&hash(identity)))
    }

    /// Takes in what another process, or this one before it was started again, has written.
    pub fn learn(&self, plan: &str, run: u64, bytes: &[u8]) {
        let mut plans = self.plans.lock();
        let plan = plans.entry(plan.to_owned()).or_default();
        plan.begin(run);
        for part in bytes.chunks_exact(IDENTITY_BYTES) {
            if plan.had.len() < IDENTITIES {
                plan.had.insert(part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
            }
        }
    }

    /// The parts that were not written yet; they count as written from here on.
    pub fn unwritten_parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for (name, plan) in self.plans.lock().iter_mut().filter(|(_, plan)| plan.is_unwritten) {
            plan.is_unwritten = false;
            let full = plan.part.len() / (PART * IDENTITY_BYTES);
            for (more, bytes) in plan.part.chunks(PART * IDENTITY_BYTES).enumerate() {
                let number = plan.number + more;
                parts.push(Part { plan: name.clone(), run: plan.run, number, bytes: bytes.to_vec() });
            }
            plan.number += full;
            plan.part.drain(..full * PART * IDENTITY_BYTES);
        }
        parts
    }

    /// What of a part could not be written has to be written again.
    pub fn write_again(&self, parts: Vec<Part>) {
        let mut plans = self.plans.lock();
        for part in parts {
            if let Some(plan) = plans.get_mut(&part.plan).filter(|plan| plan.run == part.run) {
                if part.number < plan.number {
                    plan.number = part.number;
                    plan.part.splice(..0, part.bytes);
                }
                plan.is_unwritten = true;
            }
        }
    }

    /// The plans whose sightings were not written yet, each with all that is remembered.
    pub fn unwritten_sightings(&self) -> Vec<(String, Vec<Sighting>)> {
        let mut found = Vec::new();
        for (name, plan) in self.plans.lock().iter_mut().filter(|(_, plan)| plan.is_seen_unwritten) {
            plan.is_seen_unwritten = false;
            found.push((name.clone(), plan.sightings()));
        }
        found
    }

    pub fn sightings(&self, plan: &str) -> Vec<Sighting> {
        self.plans.lock().get(plan).map(Plan::sightings).unwrap_or_default()
    }

    /// The counts of all plans, if any of them was not written yet.
    pub fn unwritten_counts(&self) -> Option<BTreeMap<String, Counted>> {
        let mut plans = self.plans.lock();
        let is_new = plans.values().any(|plan| plan.is_count_unwritten);
        plans.values_mut().for_each(|plan| plan.is_count_unwritten = false);
        is_new.then(|| plans.iter().map(|(name, plan)| (name.clone(), plan.counted)).collect())
    }

    pub fn counted(&self, plan: &str) -> Counted {
        self.plans.lock().get(plan).map(|plan| plan.counted).unwrap_or_default()
    }
}

impl Plan {
    /// Another run remembers no one of the one before.
    fn begin(&mut self, run: u64) {
        if self.run != run {
            self.run = run;
            self.had.clear();
            self.part.clear();
            (self.number, self.is_unwritten) = (0, false);
        }
    }

    fn remember(&mut self, hash: u64) {
        if self.had.len() < IDENTITIES && self.had.insert(hash) {
            self.part.extend(hash.to_be_bytes());
            self.is_unwritten = true;
        }
    }

    fn see(&mut self, answer: &Answer<'_>) {
        let instance = (answer.instance.to_owned(), answer.address.to_owned(), answer.key.to_owned());
        self.seen.insert(instance, (answer.gray, answer.at));
        self.is_seen_unwritten = true;
        if self.seen.len() > INSTANCES {
            let mut times: Vec<i64> = self.seen.values().map(|(_, at)| *at).collect();
            let (_, last, _) = times.select_nth_unstable(LEAVE);
            let last = *last;
            let mut over = self.seen.len().saturating_sub(INSTANCES - LEAVE);
            self.seen.retain(|_, (_, at)| {
                let leaves = *at <= last && over > 0;
                over -= usize::from(leaves);
                !leaves
            });
        }
    }

    fn sightings(&self) -> Vec<Sighting> {
        let seen = self.seen.iter().map(|((instance, address, key), (gray, at))| Sighting {
            instance: instance.clone(),
            address: address.clone(),
            key: key.clone(),
            gray: *gray,
            at: *at,
        });
        seen.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(identity: &'a str, gray: bool, run: u64) -> Answer<'a> {
        Answer {
            plan: "p",
            run,
            moves: 1,
            identity,
            instance: identity,
            address: "10.0.0.1",
            key: "k",
            gray,
            at: 1,
        }
    }

    #[test]
    fn identities_are_remembered_by_run_and_read_by_others() {
        let (one, other) = (Given::default(), Given::default());
        for number in 0..10_000 {
            one.note(&answer(&format!("u{number}"), number % 2 == 0, 3));
        }
        let parts = one.unwritten_parts();
        assert_eq!(parts.iter().map(|part| part.bytes.len()).sum::<usize>(), 5_000 * 8);
        assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [0, 1]);
        parts.iter().for_each(|part| other.learn("p", part.run, &part.bytes));
        for (identity, run, had) in [("u0", 3, true), ("u9998", 3, true), ("u1", 3, false), ("u0", 2, false)]
        {
            assert_eq!(
                (one.had("p", run, identity), other.had("p", run, identity)),
                (had, had),
                "{identity} {run}"
            );
        }
        assert!(one.unwritten_parts().is_empty());
        one.note(&answer("new", true, 3));
        let more = one.unwritten_parts();
        assert_eq!((more.len(), more[0].number, more[0].bytes.len()), (1, 1, (5_000 - 4_096 + 1) * 8));
        one.write_again(more);
        assert_eq!(one.unwritten_parts().len(), 1);
        one.note(&answer("u5", true, 4));
        assert!(!one.had("p", 4, "u0") && one.had("p", 4, "u5"));
    }

    #[test]
    fn instances_are_bounded_and_the_oldest_go() {
        let given = Given::default();
        for number in 0..3 * INSTANCES as i64 {
            let instance = format!("i{number}");
            given.note(&Answer { at: number, ..answer(&instance, true, 1) });
            assert!(given.plans.lock()["p"].seen.len() <= INSTANCES);
        }
        let seen = given.sightings("p");
        assert!(seen.len() > INSTANCES / 2, "{}", seen.len());
        assert!(seen.iter().all(|sighting| sighting.at > 3 * INSTANCES as i64 / 2));
        assert_eq!(given.counted("p").gray, 3 * INSTANCES as u64);
    }
}

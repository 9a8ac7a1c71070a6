//! When which instance is checked next.
//!
//! Answers: who is due now, and how long may the checker sleep? Owns: the order of checks.
//! Never: checks, or reads a clock; time and chance are arguments.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use super::registry::Target;

/// Part of the interval by which a check may come earlier or later, so that checks of many
/// instances, and of many proxies, do not fall together.
const JITTER: f64 = 0.1;

/// Shortest pause between two checks of an instance: a mistyped interval is no attack on it.
const INTERVAL_LEAST: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Schedule {
    entries: HashMap<u64, Entry>,
    /// By time; an item counts only if it is what its entry says.
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
}

struct Entry {
    target: Target,
    /// `None` while the check runs.
    due: Option<Instant>,
}

impl Schedule {
    /// Takes over the targets of a new generation. New ones, and those whose check changed, are
    /// due at once: until they have answered, their state is unknown.
    pub fn adopt(&mut self, targets: Vec<Target>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        self.queue.clear();
        for target in targets {
            let due = match before.remove(&target.id) {
                Some(entry) if entry.target.health.check == target.health.check => entry.due,
                Some(Entry { due: None, .. }) => None,
                _ => Some(now),
            };
            if let Some(due) = due {
                self.queue.push(Reverse((due, target.id)));
            }
            self.entries.insert(target.id, Entry { target, due });
        }
    }

    /// The next target that is due, which then counts as being checked.
    pub fn take_due(&mut self, now: Instant) -> Option<Target> {
        while let Some(Reverse((due, id))) = self.queue.peek().copied() {
            let entry = self.entries.get_mut(&id).filter(|one| one.due == Some(due));
            if entry.is_some() && due > now {
                return None;
            }
            self.queue.pop();
            if let Some(entry) = entry {
                entry.due = None;
                return Some(entry.target.clone());
            }
        }
        None
    }

    /// When the next check is due.
    pub fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }

    /// A check ended. `chance` is between 0 and 1.
    pub fn ended(&mut self, checked: &Target, now: Instant, chance: f64) {
        let Some(entry) = self.entries.get_mut(&checked.id) else {
            return;
        };
        let asked_again = entry.target.health.check != checked.health.check;
        let pause = match asked_again {
            true => Duration::ZERO,
            false => jittered(entry.target.health.interval, chance),
        };
        let due = now.checked_add(pause).unwrap_or(now);
        entry.due = Some(due);
        self.queue.push(Reverse((due, checked.id)));
    }
}

fn jittered(interval: Duration, chance: f64) -> Duration {
    let interval = interval.max(INTERVAL_LEAST);
    let factor = 1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0);
    Duration::try_from_secs_f64(interval.as_secs_f64() * factor).unwrap_or(interval)
}

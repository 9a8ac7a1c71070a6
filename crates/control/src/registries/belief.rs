//! What to believe of what a registry shows: which instances of one service count as there, and which absences are
//! held back, and why.
//!
//! Owns: the rule. A removal on a steady link counts at once. After a link came up, an instance that was there before
//! and is not shown counts as there until it has been missing for the patience of the registry. An answer that takes
//! away several instances and leaves none is looked at a second time. A link that is down takes nothing away.
//! Never: IO, clocks (time is an argument), what an entry means (`mapping`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// After which time an empty answer is asked for again. Long enough for a registry's own pushes to settle, and short
/// enough that a service which was switched off as a whole is gone in seconds.
pub const SECOND_LOOK: Duration = Duration::from_secs(10);

/// What a registry shows of one service: the instances that are understood, and the addresses of those that are not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown<V> {
    pub instances: BTreeMap<SocketAddr, V>,
    /// Shown, but with something that cannot be understood: such an instance stays as it was.
    pub unclear: BTreeSet<SocketAddr>,
}

impl<V> Default for Shown<V> {
    fn default() -> Self {
        Shown { instances: BTreeMap::new(), unclear: BTreeSet::new() }
    }
}

impl<V> Shown<V> {
    fn has(&self, address: &SocketAddr) -> bool {
        self.instances.contains_key(address) || self.unclear.contains(address)
    }

    fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.unclear.is_empty()
    }
}

/// One service of one registry.
#[derive(Clone, Debug)]
pub struct Belief<V> {
    /// How long a registry that came (back) has to say that an instance is gone.
    patience: Duration,
    link: Link,
    held: BTreeMap<SocketAddr, Held<V>>,
    look: Look,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Down,
    Up { since: Instant },
}

#[derive(Clone, Debug)]
struct Held<V> {
    values: V,
    origin: Origin,
    presence: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// It was there when the link came up.
    Before,
    /// It was first shown on this link, so its removal on this link is no accident of a start.
    Link,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    Shown,
    Missing(Missing),
}

/// An absence that is not believed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    pub since: Instant,
    pub why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The link came up not long ago, and shows fewer instances than there were.
    Reconnected,
    /// The last answer took away several instances and left none.
    Emptied,
}

/// Whether, and when, the registry is to be asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    NotNeeded,
    Due(Instant),
    Asked,
}

/// An instance that counts as there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Believed<'b, V> {
    pub address: SocketAddr,
    pub values: &'b V,
    /// The registry does not show it, and is not believed yet.
    pub missing: Option<Missing>,
}

impl<V: Clone + PartialEq> Belief<V> {
    /// Begins with what was written down before, without a link.
    pub fn new(patience: Duration, before: BTreeMap<SocketAddr, V>) -> Belief<V> {
        let held =
            |(address, values)| (address, Held { values, origin: Origin::Before, presence: Presence::Shown });
        Belief {
            patience,
            link: Link::Down,
            held: before.into_iter().map(held).collect(),
            look: Look::NotNeeded,
        }
    }

    /// The link came up: everything that is held was there before, and every absence has to be shown from now on.
    pub fn up(&mut self, now: Instant) {
        self.link = Link::Up { since: now };
        self.forget_absences();
        for held in self.held.values_mut() {
            held.origin = Origin::Before;
        }
    }

    /// The link went down: what is held stays, for ever.
    pub fn down(&mut self) {
        self.link = Link::Down;
        self.forget_absences();
    }

    fn forget_absences(&mut self) {
        self.look = Look::NotNeeded;
        for held in self.held.values_mut() {
            held.presence = Presence::Shown;
        }
    }

    /// What the registry shows on its link. Additions and changes are believed at once.
    pub fn shows(&mut self, shown: &Shown<V>, now: Instant) {
        let Link::Up { since } = self.link else { return };
        let steady = now.saturating_duration_since(since) >= self.patience;
        let before = self.held.values().filter(|held| held.presence == Presence::Shown).count();
        let emptied = shown.is_empty() && before > 1;
        self.take_in(shown);
        self.held.retain(|address, held| {
            if shown.has(address) || matches!(held.presence, Presence::Missing(_)) {
                return true;
            }
            let why = match held.origin {
                Origin::Before if !steady => Why::Reconnected,
                _ if emptied => Why::Emptied,
                _ => return false,
            };
            held.presence = Presence::Missing(Missing { since: now, why });
            true
        });
        match self.look {
            Look::NotNeeded if self.doubts_emptiness() => self.look = Look::Due(now + SECOND_LOOK),
            _ if !self.doubts_emptiness() => self.look = Look::NotNeeded,
            _ => {}
        }
    }

    fn take_in(&mut self, shown: &Shown<V>) {
        for (address, values) in &shown.instances {
            let held = self.held.entry(*address).or_insert_with(|| Held {
                values: values.clone(),
                origin: Origin::Link,
                presence: Presence::Shown,
            });
            held.presence = Presence::Shown;
            if held.values != *values {
                held.values = values.clone();
            }
        }
        for address in &shown.unclear {
            if let Some(held) = self.held.get_mut(address) {
                held.presence = Presence::Shown;
            }
        }
    }

    fn doubts_emptiness(&self) -> bool {
        self.held
            .values()
            .any(|held| matches!(held.presence, Presence::Missing(Missing { why: Why::Emptied, .. })))
    }

    /// The answer to the second look, of another server where there is one: what it does not show either is gone.
    pub fn second_look(&mut self, shown: &Shown<V>, now: Instant) {
        if self.look != Look::Asked {
            return; // the link went down, or showed the instances again
        }
        self.held.retain(|address, held| match held.presence {
            Presence::Missing(Missing { why: Why::Emptied, .. }) => shown.has(address),
            _ => true,
        });
        self.ask_later(now);
    }

    /// No one answered the second look.
    pub fn second_look_failed(&mut self, now: Instant) {
        if self.look == Look::Asked {
            self.ask_later(now);
        }
    }

    fn ask_later(&mut self, now: Instant) {
        self.look = if self.doubts_emptiness() { Look::Due(now + SECOND_LOOK) } else { Look::NotNeeded };
    }

    /// Time passes: believes what has been missing for long enough. Says whether the registry is to be asked again;
    /// who asks tells the answer to [`Belief::second_look`] or [`Belief::second_look_failed`].
    #[must_use]
    pub fn passes(&mut self, now: Instant) -> bool {
        let patience = self.patience;
        self.held.retain(|_, held| match held.presence {
            // Servers that contradict each other for so long are not two looks of one state: the link counts.
            Presence::Missing(missing) => now.saturating_duration_since(missing.since) < patience,
            Presence::Shown => true,
        });
        if !self.doubts_emptiness() {
            self.look = Look::NotNeeded;
        }
        let due = matches!(self.look, Look::Due(at) if at <= now);
        if due {
            self.look = Look::Asked;
        }
        due
    }

    /// When [`Belief::passes`] has something to say at the earliest.
    pub fn wakes_at(&self) -> Option<Instant> {
        let look = match self.look {
            Look::Due(at) => Some(at),
            Look::NotNeeded | Look::Asked => None,
        };
        let missing = self.held.values().filter_map(|held| match held.presence {
            Presence::Missing(missing) => Some(missing.since + self.patience),
            Presence::Shown => None,
        });
        missing.chain(look).min()
    }

    /// The instances that count as there.
    pub fn believed(&self) -> impl Iterator<Item = Believed<'_, V>> {
        self.held.iter().map(|(address, held)| Believed {
            address: *address,
            values: &held.values,
            missing: match held.presence {
                Presence::Missing(missing) => Some(missing),
                Presence::Shown => None,
            },
        })
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
